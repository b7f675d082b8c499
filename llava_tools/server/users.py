"""`Users`: API keys, and what belongs to whoever sends one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from llava_tools.errors import ImageError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.images.ref import is_handle
from llava_tools.images.sources import shorten
from llava_tools.images.store import ImageStore
from llava_tools.server.options import ServerOptions


@dataclass(eq=False)
class User:
    """A user of the server.

    Attributes:
        name: For logs and metrics: `local`, or the first digits of the key's digest.
        resolver: Opens the images that requests name, and keeps them in a store of the user's own.
        allow_urls: Whether links to public hosts are fetched, too.
        pending: Requests that wait or run.
        queued: Requests that wait for their turn, before the server reads what they are.
        seen: When a request of his last began or ended, by the clock of `pacing`.
        turn: Held by the one request that has its turn while other users are active.
        rests_until: When the next turn may begin, by the same clock.
    """

    name: str
    resolver: ImageResolver
    allow_urls: bool = False
    pending: int = field(default=0)
    queued: int = field(default=0)
    seen: float = field(default=-math.inf)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    rests_until: float = field(default=-math.inf)

    def open_image(self, source: str) -> ImageRef:
        """Return the image that a request names, and keep it.

        Args:
            source: A data URL, the handle of an earlier image, or where allowed an http(s) URL.

        Raises:
            ImageError: A source that is not allowed, or no usable image.
        """
        if is_handle(source):
            return self.resolver.get(source)
        scheme = source[:8].lower().partition(":")[0]
        if scheme not in ("data", "http", "https"):
            raise ImageError(
                f"{shorten(source)} is neither a data: URL nor the handle of an image.",
                "Send the image as data:image/png;base64,…",
            )
        if scheme == "data" or self.allow_urls:
            return self.resolver.open_block(source)
        if self.resolver.handles_only:
            raise ImageError(
                "An image is named by a link, and this server fetches none.",
                "Send it as a data: URL, or start the server with --allow-urls or --allow-host.",
            )
        return self.resolver.open(source)  # from the allowed hosts only


class Users:
    """The users of a server, by API key.

    Args:
        options: Keys, and access to images. Without keys there is one user.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._local = None if options.api_keys else _make_user("local", options)
        self._by_digest = {
            _digest(key): _make_user(f"key-{_digest(key).hex()[:8]}", options)
            for key in options.api_keys
        }

    def __iter__(self) -> Iterator[User]:
        return iter([self._local] if self._local is not None else self._by_digest.values())

    def find(self, authorization: str) -> User | None:
        """Return the user of an `Authorization` header ("" for none); None without a valid key."""
        if self._local is not None:
            return self._local
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = _digest(key.strip())
        # All are compared, in the same time, whichever fits.
        users = [u for known, u in self._by_digest.items() if hmac.compare_digest(known, digest)]
        return users[0] if users else None


def _make_user(name: str, options: ServerOptions) -> User:
    store = ImageStore(max_bytes=options.store_bytes)
    resolver = ImageResolver(store, allowed_hosts=options.allowed_hosts)
    return User(name, resolver, options.allow_urls)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
