"""`EvidenceMap`: how much an answer depends on each part of an image."""

from __future__ import annotations

from dataclasses import dataclass

from llava_tools.core.image_grid import Box, ImageGrid
from llava_tools.images import ImageRef


@dataclass(frozen=True)
class EvidenceMap:
    """How much an answer depends on each part of an image.

    Attributes:
        answer: The answer.
        logprob: Natural log-probability of the whole answer with the whole image, <= 0.
        values: For each row and column of `grid` the fall of that log-probability, in nats, that
            is attributed to this cell: the higher, the more the answer depends on it. Negative
            where the answer is likelier without it.
        image: The image.
        grid: Where the cells lie in the image.
    """

    answer: str
    logprob: float
    values: tuple[tuple[float, ...], ...]
    image: ImageRef
    grid: ImageGrid

    def box(self, row: int, column: int) -> Box | None:
        """Return the part of the image that a cell covers, in pixels of the original image.

        None if the cell covers padding alone.
        """
        return self.grid.box(row, column, self.image.size)

    @property
    def peak_cell(self) -> tuple[int, int]:
        """Row and column of the highest value; cells of padding alone do not count."""
        side = range(self.grid.side)
        cells = [(row, column) for row in side for column in side if self.box(row, column)]
        return max(cells, key=lambda cell: self.values[cell[0]][cell[1]])

    @property
    def peak_box(self) -> Box:
        """The part of the image that the cell with the highest value covers, in pixels."""
        box = self.box(*self.peak_cell)
        assert box is not None
        return box

    @property
    def peak(self) -> tuple[float, float]:
        """Where the answer depends on the image most: x and y in pixels, inside the image."""
        left, top, right, bottom = self.peak_box
        return (left + right) / 2, (top + bottom) / 2
