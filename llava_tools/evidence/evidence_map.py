"""`EvidenceMap`: how much an answer depends on each part of an image."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image

from llava_tools.core.image_grid import Box, ImageGrid
from llava_tools.evidence.blocks import Cell, window_side
from llava_tools.evidence.overlay import MAX_SIDE, draw_overlay
from llava_tools.evidence.region import peak_region
from llava_tools.images import ImageRef

#: A cell counts for nothing up to this fall, in nats: the answer loses 5% of its probability.
MIN_FALL = 0.05
#: Nor does it up to this share of the highest value.
MIN_SHARE = 0.1


@dataclass(frozen=True)
class EvidenceMap:
    """How much an answer depends on each part of an image. A notebook shows it as `draw` does.

    Attributes:
        answer: The answer.
        logprob: Natural log-probability of the whole answer with the whole image, <= 0.
        values: For each row and column of `grid` the fall of that log-probability, in nats, that
            is attributed to this cell, >= 0: the higher, the more the answer depends on it.
        image: The image.
        grid: Where the cells lie in the image.
    """

    answer: str
    logprob: float
    values: tuple[tuple[float, ...], ...] = field(repr=False)
    image: ImageRef
    grid: ImageGrid = field(repr=False)

    def box(self, row: int, column: int) -> Box | None:
        """Return the part of the image that a cell covers, in pixels of the original image.

        None if the cell covers padding alone.
        """
        return self.grid.box(row, column, self.image.size)

    @property
    def peak_cell(self) -> tuple[int, int]:
        """Row and column of the highest value; cells of padding alone do not count.

        Of several with this value it is the one with the highest values around it.
        """
        highest = max(value for _, value in self._cells.values())
        cells = [cell for cell, (_, value) in self._cells.items() if value == highest]
        return max(cells, key=lambda cell: sum(value for _, value in self._around(cell)))

    @property
    def peak_box(self) -> Box:
        """The part of the image that the cell with the highest value covers, in pixels."""
        box, _ = self._cells[self.peak_cell]
        return box

    @property
    def peak(self) -> tuple[float, float]:
        """Where the answer depends on the image most: x and y in pixels, inside the image.

        More exact than the cells: it is the mean place of those around the highest value, weighted
        by their values.
        """
        around = [(box, value) for box, value in self._around(self.peak_cell) if value > 0]
        around = around or [(self.peak_box, 1.0)]
        total = sum(value for _, value in around)
        x = sum(value * (left + right) / 2 for (left, _, right, _), value in around) / total
        y = sum(value * (top + bottom) / 2 for (_, top, _, bottom), value in around) / total
        return x, y

    def _around(self, cell: Cell) -> list[tuple[Box, float]]:
        """Return the boxes and values in a window around a cell."""
        reach = range(-(window_side(self.grid.side) // 2), window_side(self.grid.side) // 2 + 1)
        cells = [(cell[0] + rows, cell[1] + columns) for rows in reach for columns in reach]
        return [self._cells[item] for item in cells if item in self._cells]

    @property
    def noise(self) -> float:
        """The value, in nats, up to which a cell counts for nothing."""
        return max(MIN_FALL, MIN_SHARE * max(value for _, value in self._cells.values()))

    @property
    def region(self) -> tuple[int, int, int, int] | None:
        """The box around the part of the image that the answer depends on: x1, y1, x2, y2.

        In pixels of the image; x2 and y2 are exclusive. It holds the cells around the peak with at
        least half of its value. None if no cell exceeds the noise: either many parts show
        the same, as a background does, or the model answers without looking.
        """
        values = {cell: value for cell, (_, value) in self._cells.items()}
        if max(values.values()) <= self.noise:
            return None
        boxes = [self._cells[cell][0] for cell in peak_region(values)]
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        return (
            math.floor(min(lefts)),
            math.floor(min(tops)),
            math.ceil(max(rights)),
            math.ceil(max(bottoms)),
        )

    def draw(self, max_side: int = MAX_SIDE) -> Image.Image:
        """Return the image, dimmed, with the values as heat and a frame around `region`.

        Cells up to `noise` have no heat. Brighter is more, also in greyscale.

        Args:
            max_side: Pixels of the longer side, at most.

        Raises:
            ImageError: The image is damaged in a way that only decoding finds.
        """
        cells = self._cells.values()
        return draw_overlay(
            self.image, cells, noise=self.noise, frame=self.region, max_side=max_side
        )

    @cached_property
    def _cells(self) -> dict[Cell, tuple[Box, float]]:
        """The box and the value of each cell that holds a part of the image."""
        side = range(self.grid.side)
        return {
            (row, column): (box, self.values[row][column])
            for row in side
            for column in side
            if (box := self.box(row, column)) is not None
        }

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG")
        return buffer.getvalue()

    def __str__(self) -> str:
        answer = f"{self.answer!r:.80}"
        if self.region is None:
            return f"{answer} depends on no single part of the image"
        width, height = self.image.size
        return f"{answer} depends on the box {list(self.region)} of {width} x {height} pixels"
