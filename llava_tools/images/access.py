"""`ImageResolver`: opens the images that messages and tool calls name, if access is allowed.

The developer's own code may name any file. A tool call may name handles of stored images, and
files and URLs in directories and on hosts that the developer allows. A message may also contain
bytes, data URLs and public URLs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from llava_tools.errors import ImageError, RequestError
from llava_tools.images.fetch import Fetcher
from llava_tools.images.loading import ImageSource, open_image
from llava_tools.images.opening import leads_to_another_computer
from llava_tools.images.ref import ImageRef, is_handle
from llava_tools.images.sources import open_path, shorten
from llava_tools.images.store import ImageStoreLike, open_store


def resolve_directories(directories: Iterable[str | Path]) -> tuple[Path, ...]:
    """Return `allowed_directories` as absolute paths without links.

    Raises:
        RequestError: One string instead of several, or a directory that does not exist.
    """
    if isinstance(directories, str):
        raise RequestError(f"allowed_directories={directories!r} is one string.", "Give a list.")
    resolved = tuple(Path(path).expanduser().resolve() for path in directories)
    for directory in resolved:
        if not directory.is_dir():
            raise RequestError(f"There is no folder {shorten(directory)}.", "Allow folders only.")
    return resolved


class ImageResolver:
    """Opens the images that messages and tool calls name, and keeps them in a store.

    Args:
        image_store: Keeps the images by handle: an `ImageStore`, or the folder of one; by default
            the shared store of the process.
        allowed_directories: Directories whose files a tool call or a message may name, with
            subdirectories. A tool call's relative path starts there, a message's in the working
            directory.
        allowed_hosts: Hosts ("host" or "host:port") that a tool call's URLs may name. URLs in
            messages may name them even if they are private.
        allow_local_paths: Whether messages may name any local file.

    Raises:
        RequestError: A directory that does not exist, or an impossible host name or store.
        ImageStoreError: The folder of the store cannot be made or used.
    """

    def __init__(
        self,
        image_store: ImageStoreLike = None,
        allowed_directories: Iterable[str | Path] = (),
        allowed_hosts: Iterable[str] = (),
        *,
        allow_local_paths: bool = False,
    ) -> None:
        if isinstance(allowed_hosts, str):
            raise RequestError(f"allowed_hosts={allowed_hosts!r} is one string.", "Give a list.")
        self._store = open_store(image_store)
        self._directories = resolve_directories(allowed_directories)
        self._hosts = frozenset(allowed_hosts)
        self._fetcher = Fetcher(allowed_hosts=self._hosts)
        self._allow_local_paths = allow_local_paths

    @property
    def handles_only(self) -> bool:
        """Whether tool calls can name images by handle only."""
        return not self._directories and not self._hosts

    def add(self, source: ImageSource) -> str:
        """Keep an image from the developer's own code, and return its handle.

        Raises:
            ImageError: See `open_image`.
        """
        return self._store.add(open_image(source))

    def get(self, handle: str) -> ImageRef:
        """Return the image of a handle (`img_...`).

        Raises:
            ImageError: The store does not hold it.
        """
        return self._store.get(handle)

    def open(self, name: str) -> ImageRef:
        """Return the image that a tool call names, and keep it.

        Raises:
            ImageError: An unknown handle, a path or URL that is not allowed, or no usable image.
        """
        if name in self._store:
            return self._store.get(name)
        if re.match(r"https?://", name, re.IGNORECASE) and self._hosts:
            fetcher = Fetcher(allowed_hosts=self._hosts, allowed_only=True)
            image = open_image(name, allow_paths=False, fetcher=fetcher)
        elif self._directories and (path := self._within(name)) is not None:
            image = self._open_within(path)
        elif self.handles_only or is_handle(name):
            return self._store.get(name)  # raises the error for an unknown handle
        else:
            raise ImageError(
                f"There is no picture {shorten(name)} here: it is not in an allowed directory, and "
                "not on an allowed host.",
                "Name one that is, or a picture of this conversation by its handle (img_…).",
            )
        self._store.add(image)
        return image

    def open_block(self, source: ImageSource, *, trusted: bool = False) -> ImageRef:
        """Return the image of a message's content block, and keep it.

        Args:
            source: A URL, a data URL, encoded bytes, a file object or, where allowed, a local path.
            trusted: Whether it comes from the developer's own code; then it may be a local path.

        Raises:
            ImageError: A source that is not allowed, or no usable image.
        """
        local = isinstance(source, Path) or (
            isinstance(source, str) and not re.match(r"(https?|data):", source, re.IGNORECASE)
        )
        allow_paths = trusted or self._allow_local_paths
        if local and not allow_paths and (path := self._within(os.path.abspath(str(source)))):
            source = self._open_within(path)
        elif local and not allow_paths:
            raise ImageError(
                f"An image block names {shorten(str(source))}, which would be a local path, and "
                "messages may not name those, since a model or a stranger may have written them.",
                "Send the image's bytes, base64, or an http(s) or data: URL, name its folder in "
                "allowed_directories=, or set allow_local_paths=True where all messages are your "
                "own.",
            )
        image = open_image(source, allow_paths=allow_paths, fetcher=self._fetcher)
        self._store.add(image)
        return image

    def _open_within(self, path: Path) -> ImageRef:
        """Open a file of an allowed directory, even if the path leads elsewhere by now."""
        with open_path(path, self._directories) as file:
            return open_image(file)

    def _within(self, name: str) -> Path | None:
        """Return the path of a name, with links resolved, if it is in an allowed directory."""
        if leads_to_another_computer(name, self._directories):
            return None
        for directory in self._directories:
            try:
                path = (directory / name).resolve()
            except (OSError, ValueError, RuntimeError) as error:
                raise ImageError(f"{shorten(name)} is not a usable path.", "Check it.") from error
            if path.is_relative_to(directory) and path != directory:
                return path
        return None
