"""`Fetcher`: downloads images by URL without giving access to the machine's own network.

The host's name is resolved once and every address is checked. The connection goes to a checked
address, so that a second lookup cannot lead elsewhere (DNS rebinding). Redirects are checked like
the first URL. Proxies of the environment are ignored, since they would resolve the name themselves.
Nothing is retried or cached.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urljoin

from llava_tools.errors import ImageError, RequestError
from llava_tools.images.addresses import Address, is_public
from llava_tools.images.sources import shorten
from llava_tools.images.urls import Url, display_url


class FetchError(ImageError):
    """The network or the server failed; the same URL may work later."""

    retryable = True


class PrivateHostError(ImageError):
    """A host lies in a private or reserved network and is not among those allowed.

    Attributes:
        host: Its name or address.
    """

    def __init__(self, message: str, hint: str, host: str) -> None:
        super().__init__(message, hint)
        self.host = host

    def __reduce__(self) -> tuple[type[PrivateHostError], tuple[str, ...]]:
        return type(self), (self.message, self.hint, self.host)


@dataclass(frozen=True)
class Fetcher:
    """Downloads images.

    Attributes:
        allowed_hosts: Names ("host" or "host:port") that may lie in a private network. All others
            must be public.
        allowed_only: Fetch from `allowed_hosts` only, redirects included.
        max_bytes: Size limit of a body.
        timeout: Seconds for the whole download, redirects included (but not for resolving names).
        max_redirects: How many redirects are followed.
    """

    allowed_hosts: frozenset[str] = frozenset()
    allowed_only: bool = False
    max_bytes: int = 50_000_000
    timeout: float = 20.0
    max_redirects: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.allowed_hosts, str):
            raise RequestError(
                f"allowed_hosts={self.allowed_hosts!r} is one string.", "Give a set of names."
            )
        hosts = frozenset(host.lower().rstrip(".") for host in self.allowed_hosts)
        for host in hosts:
            if not host or set(host) & set("/@*?# "):
                raise RequestError(
                    f"allowed_hosts has {host!r}, which is not a host's name.",
                    "Write 'host' or 'host:port', without a scheme, a path or wildcards.",
                )
        object.__setattr__(self, "allowed_hosts", hosts)
        for name, low in (("max_bytes", 1), ("timeout", 0.001), ("max_redirects", 0)):
            if not getattr(self, name) >= low:
                raise RequestError(
                    f"{name}={getattr(self, name)!r} is out of range.", f"Use at least {low}."
                )

    def get(self, url: str) -> bytes:
        """Return the body of a URL.

        Raises:
            FetchError: The network or the server failed, or took too long.
            ImageError: The URL is not allowed, the server refused it, or the body is too large.
        """
        deadline = time.monotonic() + self.timeout
        for _ in range(self.max_redirects + 1):
            body_or_location = self._get_once(Url.parse(url), deadline)
            if isinstance(body_or_location, bytes):
                return body_or_location
            try:
                url = urljoin(url, body_or_location)
            except ValueError as error:
                raise ImageError(
                    f"{display_url(url)} redirects to {display_url(body_or_location)}, which is "
                    f"not a valid URL ({error}).",
                    "Give the image's own address.",
                ) from error
        raise ImageError(
            f"{display_url(url)} was redirected more than {self.max_redirects} times.",
            "Give the final address.",
        )

    def _get_once(self, url: Url, deadline: float) -> bytes | str:
        """Return the body, or the location of a redirect."""
        addresses = self._resolve(url)
        headers = {
            "Host": url.netloc if url.port == url.default_port else f"{url.netloc}:{url.port}",
            "User-Agent": "llava-tools",
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        expired = threading.Event()
        try:
            with _connect(url, addresses, deadline, expired) as sock:
                connection = http.client.HTTPConnection(url.host, url.port)
                connection.sock = sock
                connection.request("GET", url.target, headers=headers)
                response = connection.getresponse()
                if response.status in (301, 302, 303, 307, 308):
                    location = response.getheader("Location")
                    if not location:
                        raise ImageError(
                            f"{url.name} redirects nowhere.", "Give the image's own address."
                        )
                    return location.encode("latin-1", "replace").decode("utf-8", "replace")
                return self._read(response, url.name, deadline, expired)
        except ImageError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            if expired.is_set() or isinstance(error, TimeoutError):
                raise FetchError(
                    f"{url.name} took longer than {self.timeout:g} s.",
                    "Try it again, or raise timeout.",
                ) from error
            reason = shorten(str(error) or type(error).__name__, quote=False)
            if isinstance(error, ssl.SSLCertVerificationError):
                reason = f"its certificate was refused, {error.verify_message}"
            raise FetchError(
                f"{url.name} cannot be fetched: {reason}.", "Check the address and the network."
            ) from error

    def _resolve(self, url: Url) -> list[Address]:
        """Return the host's addresses; all must be public unless the host is allowed by name."""
        names = {url.host, url.netloc, f"{url.netloc}:{url.port}"}
        allowed = not names.isdisjoint(self.allowed_hosts)
        if self.allowed_only and not allowed:
            raise ImageError(
                f"{url.name} lies on a host that is not among those allowed.",
                f"Use one of: {', '.join(sorted(self.allowed_hosts)) or 'none is allowed'}.",
            )
        try:
            entries = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchError(
                f"{url.name} cannot be fetched: the host {url.host!r} is not known.",
                "Check its name.",
            ) from error
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in entries]
        if not addresses:
            raise FetchError(
                f"{url.name}: the host {url.host!r} has no address.", "Check its name."
            )
        for address in addresses:
            if not allowed and not is_public(address):
                raise PrivateHostError(
                    f"{url.name} leads into a private or reserved network ({address}); "
                    "nothing is fetched from there.",
                    f"If you trust it, give Fetcher or ChatLlava allowed_hosts={{{url.host!r}}}.",
                    url.host,
                )
        return addresses

    def _read(
        self,
        response: http.client.HTTPResponse,
        name: str,
        deadline: float,
        expired: threading.Event,
    ) -> bytes:
        """Check the headers, then read the body up to `max_bytes`; raise TimeoutError if late."""
        if (status := response.status) != 200:
            retryable = status >= 500 or status in (408, 425, 429)
            raise (FetchError if retryable else ImageError)(
                f"{name} was answered with HTTP {status} {shorten(response.reason, quote=False)}.",
                "Check the address.",
            )
        encoding = response.getheader("Content-Encoding", "identity").lower()
        if encoding not in ("identity", ""):
            raise ImageError(
                f"{name} came encoded as {shorten(encoding, quote=False)}, which was not "
                "requested.",
                "Download it and give its bytes.",
            )
        length = response.length
        too_large = ImageError(
            f"{name} is larger than the limit of {self.max_bytes:,} bytes.",
            "Give the address of a smaller version.",
        )
        if length is not None and length > self.max_bytes:
            raise too_large
        body = bytearray()
        while chunk := response.read1(min(65536, self.max_bytes + 1 - len(body))):
            body += chunk
            if len(body) > self.max_bytes:
                raise too_large
            if time.monotonic() > deadline:
                raise TimeoutError
        if expired.is_set():
            raise TimeoutError
        if length is not None and len(body) != length:
            raise FetchError(
                f"{name} broke off after {len(body):,} of {length:,} bytes.", "Try it again."
            )
        return bytes(body)


@contextmanager
def _connect(
    url: Url, addresses: list[Address], deadline: float, expired: threading.Event
) -> Iterator[socket.socket]:
    """Connect to the first address that answers, and close the connection at the deadline.

    A socket's own time-out restarts with every byte, so a server that sends single bytes could
    hold the connection for hours. A timer ends it instead.
    """

    def remaining() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            sock = socket.create_connection((str(address), url.port), remaining() / left)
            break
        except OSError:
            if left == 1:
                raise
    try:
        sock.settimeout(remaining())
        if url.tls:
            sock = ssl.create_default_context().wrap_socket(
                sock, server_hostname=url.host, do_handshake_on_connect=False
            )

        def shut_down(sock: socket.socket = sock) -> None:
            expired.set()
            with suppress(OSError):  # it may be closed already
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

        timer = threading.Timer(remaining(), shut_down)
        timer.daemon = True
        timer.start()
        try:
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            yield sock
        finally:
            timer.cancel()
    finally:
        sock.close()
