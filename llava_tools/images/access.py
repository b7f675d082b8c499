"""Which pictures a conversation may name, and how they are opened.

Content of messages may have been written by a model or have come over a network: what a message
names is trusted less than what the developer's own code names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from llava_tools import registry
from llava_tools.errors import ImageError
from llava_tools.images.fetch import Fetcher
from llava_tools.images.sources import short
from llava_tools.images import ImageRef, ImageSource, open_image


@dataclass(frozen=True)
class Pictures:
    """Opens the pictures of messages, and keeps them known by their handles.

    Attributes:
        allow_local_paths: Whether messages may name files of this machine.
        fetcher: How URLs are fetched; by default from public hosts only.
    """

    allow_local_paths: bool = False
    fetcher: Fetcher = field(default_factory=Fetcher)

    def known(self, handle: str) -> ImageRef:
        """Return the picture of a handle (`img_...`).

        Raises:
            ImageError: This process has not been given that picture.
        """
        return registry.shared().get(handle)

    def open(self, source: ImageSource) -> ImageRef:
        """Open a URL, a data URL, encoded bytes, a file object or, where allowed, a local path.

        The picture is known by its handle from here on, so that tools can be asked about it.

        Raises:
            ImageError: It is not allowed, or not a usable picture.
        """
        local = isinstance(source, Path) or (
            isinstance(source, str) and not re.match(r"(https?|data):", source, re.IGNORECASE)
        )
        if local and not self.allow_local_paths:
            raise ImageError(
                f"An image block names {short(str(source))}, which would be a local path, and "
                "messages may not name those, since a model or a stranger may have written them.",
                "Send the picture's bytes, base64, or an http(s) or data: URL, or set "
                "allow_local_paths=True where all messages are your own.",
            )
        image = open_image(source, allow_paths=self.allow_local_paths, fetcher=self.fetcher)
        registry.shared().add(image)
        return image
