"""`EmbeddedImage`: an image that a data set keeps as base64 inside a larger file."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from llava_tools.errors import ImageError


@dataclass(frozen=True)
class EmbeddedImage:
    """Where an image stands in a file; it is read when it is needed, as there are thousands.

    Attributes:
        path: The file.
        offset: Of the base64 text in the file, in bytes.
        length: Of the base64 text, in bytes.
    """

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes of the image.

        Raises:
            ImageError: The file has changed since it was loaded.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return base64.b64decode(file.read(self.length), validate=True)
        except (OSError, binascii.Error) as error:
            raise ImageError(
                f"The image at byte {self.offset} of {self.path} cannot be read ({error}).",
                "Leave the file as it is until the run is over, or start anew.",
            ) from error
