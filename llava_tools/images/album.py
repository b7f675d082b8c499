"""Which picture a name means, where a model wrote the name.

Tool arguments come from a model, which may have read them in a document that a stranger wrote. So
a name is a handle of a picture that was given, and nothing else, unless the developer allows
directories or hosts by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from llava_tools import registry
from llava_tools.errors import ImageError, RequestError
from llava_tools.images.fetch import Fetcher
from llava_tools.images.store import Gallery
from llava_tools.images.sources import short
from llava_tools.images import ImageRef, ImageSource, open_image


class Album:
    """The pictures that tools may be shown.

    Args:
        gallery: Where handles lead; by default that of the process.
        allowed_directories: Folders whose files may be named, those in their folders included.
        allowed_hosts: Hosts ("host" or "host:port") that http(s) URLs may lead to.

    Raises:
        RequestError: A folder that is none, or a host's name that is not possible.
    """

    def __init__(
        self,
        gallery: Gallery | None = None,
        allowed_directories: Iterable[str | Path] = (),
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        for name, given in (("directories", allowed_directories), ("hosts", allowed_hosts)):
            if isinstance(given, str):
                raise RequestError(f"allowed_{name}={given!r} is one string.", "Give a list.")
        self._gallery = registry.shared() if gallery is None else gallery
        self._folders = tuple(Path(folder).expanduser().resolve() for folder in allowed_directories)
        for folder in self._folders:
            if not folder.is_dir():
                raise RequestError(f"There is no folder {short(folder)}.", "Allow folders only.")
        self._fetcher = Fetcher(allowed_hosts=frozenset(allowed_hosts), no_others=True)

    @property
    def handles_only(self) -> bool:
        """Whether nothing but handles leads to pictures."""
        return not self._folders and not self._fetcher.allowed_hosts

    def add(self, source: ImageSource) -> str:
        """Keep a picture that the developer gives, and return its handle.

        Raises:
            ImageError: See `open_image`.
        """
        return self._gallery.add(open_image(source))

    def open(self, name: str) -> ImageRef:
        """Return the picture that a model named, and keep it.

        Raises:
            ImageError: An unknown handle, a place that is not allowed, or no usable picture.
        """
        if name in self._gallery:
            return self._gallery.get(name)
        if re.match(r"https?://", name, re.IGNORECASE) and self._fetcher.allowed_hosts:
            image = open_image(name, allow_paths=False, fetcher=self._fetcher)
        elif self._folders and (path := self._within(name)) is not None:
            image = open_image(path)
        else:
            return self._gallery.get(name)
        self._gallery.add(image)
        return image

    def _within(self, name: str) -> Path | None:
        """Return the file of that name if it lies in an allowed folder, links followed."""
        for folder in self._folders:
            try:
                path = (folder / name).resolve()
            except (OSError, ValueError, RuntimeError) as error:
                raise ImageError(f"{short(name)} is not a usable path.", "Check it.") from error
            if path.is_relative_to(folder) and path != folder:
                return path
        return None
