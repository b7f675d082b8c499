"""Where an image's tokens lie in the image."""

from __future__ import annotations

from dataclasses import dataclass

#: Left, top, right and bottom in pixels of an image; not always whole ones.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ImageGrid:
    """The square grid of patches that a vision tower cuts an image into.

    Attributes:
        side: Rows and columns of the grid; 24 in LLaVA 1.5.
        padded: Whether images are padded to a square, which the grid covers; if not, squashed.
        offset: Position of the first patch's token among the image's tokens: 1 if the class
            embedding (CLS) is before it, -1 if the first patch has no token, otherwise 0.
    """

    side: int
    padded: bool
    offset: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of an image."""
        return self.side * self.side + self.offset

    def token(self, row: int, column: int) -> int | None:
        """Return the position of a cell's token in the image's tokens; None if it has none."""
        position = row * self.side + column + self.offset
        return position if position >= 0 else None

    def box(self, row: int, column: int, size: tuple[int, int]) -> Box | None:
        """Return the part of an image that a cell covers; None if that is padding alone.

        Args:
            row: From 0 at the top.
            column: From 0 at the left.
            size: Width and height of the image in pixels.
        """
        left, right = self._span(column, size[0], max(size))
        top, bottom = self._span(row, size[1], max(size))
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _span(self, index: int, length: int, longer: int) -> tuple[float, float]:
        """Return where a row or column begins and ends, within an image's height or width."""
        if not self.padded:
            return index * length / self.side, (index + 1) * length / self.side
        padding = (longer - length) // 2
        begin, end = (number * longer / self.side - padding for number in (index, index + 1))
        return max(0.0, begin), min(float(length), end)
