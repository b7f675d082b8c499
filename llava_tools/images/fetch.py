"""Images by URL, without opening the machine's own network to whoever writes the URL.

A URL goes in, the body's bytes come out. The host's name is resolved once, every address is judged,
and the connection goes to a judged address itself, so that a second look-up cannot lead elsewhere
(DNS rebinding). Redirects are followed by hand and judged again; proxies of the environment are
ignored, since they would resolve the name themselves. Nothing is retried or cached.
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
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from llava_tools.errors import ImageError, RequestError
from llava_tools.images.addresses import Address, is_public

__all__ = ["Address", "FetchError", "Fetcher", "displayed", "is_public"]

_CHUNK = 65536
_REDIRECTS = (301, 302, 303, 307, 308)


class FetchError(ImageError):
    """The network or the server failed; the same URL may work later."""

    retryable = True


@dataclass(frozen=True)
class Fetcher:
    """How images are fetched.

    Attributes:
        allowed_hosts: Names ("host" or "host:port") that may be fetched from even if they lie in
            a private network. All others must be public.
        no_others: Fetch from `allowed_hosts` only, redirects included.
        max_bytes: The most bytes that a body may have.
        timeout: Seconds for the whole download, redirects included (but not for resolving names).
        max_redirects: How many redirects are followed.
    """

    allowed_hosts: frozenset[str] = frozenset()
    no_others: bool = False
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
            ImageError: The URL is not allowed, was answered with an error, or is too large.
        """
        deadline = time.monotonic() + self.timeout
        for _ in range(self.max_redirects + 1):
            answer = self._get_once(url, deadline)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise ImageError(
            f"{displayed(url)} was redirected more than {self.max_redirects} times.",
            "Give the final address.",
        )

    def _get_once(self, url: str, deadline: float) -> bytes | str:
        """Return the body, or where a redirect leads."""
        parts, host, port = _parse(url)
        name = displayed(url)
        allowed = self._allows(host, port, name)
        addresses = self._resolve(host, port, name, allowed)
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        default = 443 if parts.scheme.lower() == "https" else 80
        shown_host = f"[{host}]" if ":" in host else host
        headers = {
            "Host": shown_host if port == default else f"{shown_host}:{port}",
            "User-Agent": "llava-tools",
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        tls = host if default == 443 else None
        expired = threading.Event()
        try:
            with _connect(addresses, port, tls, deadline, expired) as sock:
                connection = http.client.HTTPConnection(host, port)
                connection.sock = sock
                connection.request("GET", target, headers=headers)
                response = connection.getresponse()
                if response.status in _REDIRECTS:
                    location = response.getheader("Location")
                    if not location:
                        raise ImageError(
                            f"{name} redirects nowhere.", "Give the picture's own address."
                        )
                    return location.encode("latin-1", "replace").decode("utf-8", "replace")
                return self._read(response, name, deadline, expired)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            if expired.is_set() or isinstance(error, TimeoutError):
                raise _too_slow(name, self.timeout) from error
            reason = str(error) or type(error).__name__
            if isinstance(error, ssl.SSLCertVerificationError):
                reason = f"its certificate was refused, {error.verify_message}"
            raise FetchError(
                f"{name} cannot be fetched: {reason}.", "Check the address and the network."
            ) from error

    def _allows(self, host: str, port: int, name: str) -> bool:
        """Return whether a host is allowed by name, which it may have to be."""
        shown_host = f"[{host}]" if ":" in host else host
        allowed = bool({host, shown_host, f"{shown_host}:{port}"} & self.allowed_hosts)
        if self.no_others and not allowed:
            raise ImageError(
                f"{name} lies on a host that is not among those allowed.",
                f"Use one of: {', '.join(sorted(self.allowed_hosts)) or 'none is allowed'}.",
            )
        return allowed

    def _resolve(self, host: str, port: int, name: str, allowed: bool) -> list[Address]:
        """Return the host's addresses; unless it is allowed by name, all have to be public."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchError(
                f"{name} cannot be fetched: the host {host!r} is not known.", "Check its name."
            ) from error
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        if not addresses:
            raise FetchError(f"{name}: the host {host!r} has no address.", "Check its name.")
        for address in addresses:
            if not allowed and not is_public(address):
                raise ImageError(
                    f"{name} leads into a private or reserved network ({address}), "
                    "which is not fetched from.",
                    f"If you trust it, give Fetcher or ChatLlava allowed_hosts={{{host!r}}}.",
                )
        return addresses

    def _read(
        self,
        response: http.client.HTTPResponse,
        name: str,
        deadline: float,
        expired: threading.Event,
    ) -> bytes:
        """Check the headers, then read the body in bounds."""
        status = response.status
        if status != 200:
            kind = FetchError if status >= 500 or status in (408, 425, 429) else ImageError
            raise kind(
                f"{name} was answered with HTTP {status} {response.reason}.", "Check the address."
            )
        encoding = response.getheader("Content-Encoding", "identity").lower()
        if encoding not in ("identity", ""):
            raise ImageError(
                f"{name} came encoded as {encoding}, which was not asked for.",
                "Download it and give its bytes.",
            )
        announced = response.length
        too_large = ImageError(
            f"{name} has more than the {self.max_bytes:,} bytes that are fetched.",
            "Give the address of a smaller version.",
        )
        if announced is not None and announced > self.max_bytes:
            raise too_large
        body = bytearray()
        while chunk := response.read1(min(_CHUNK, self.max_bytes + 1 - len(body))):
            body += chunk
            if len(body) > self.max_bytes:
                raise too_large
            if time.monotonic() > deadline:
                raise _too_slow(name, self.timeout)
        if expired.is_set():
            raise _too_slow(name, self.timeout)
        if announced is not None and len(body) != announced:
            raise FetchError(
                f"{name} broke off after {len(body):,} of {announced:,} bytes.", "Try it again."
            )
        return bytes(body)


def displayed(url: str) -> str:
    """Return a URL for messages: without credentials and query, which may be secrets."""
    try:
        parts = urlsplit(url)
        text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        scheme, _, rest = url.partition("?")[0].partition("://")
        text = f"{scheme}://{rest.rpartition('@')[2]}"
    text = text if len(text) <= 100 else text[:60] + "…" + text[-39:]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _too_slow(name: str, timeout: float) -> FetchError:
    return FetchError(f"{name} took longer than {timeout:g} s.", "Try it again, or raise timeout.")


def _parse(url: str) -> tuple[SplitResult, str, int]:
    """Split a URL and refuse what different parsers read differently."""
    name = displayed(url)
    if "\\" in url or any(ord(c) < 32 or ord(c) == 127 for c in url):
        raise ImageError(f"{name} has control characters or backslashes.", "Give a clean URL.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if ":" in host else host.encode("idna").decode("ascii").lower()
    except (ValueError, UnicodeError) as error:
        raise ImageError(f"{name} is not a valid URL ({error}).", "Check the address.") from error
    if parts.scheme.lower() not in ("http", "https"):
        raise ImageError(f"{name} is not an http(s) URL.", "Only those are fetched.")
    if parts.username is not None or parts.password is not None:
        raise ImageError(
            f"{name} carries a user name or password.", "Download it and give its bytes."
        )
    if not host or set(host) & set(" %<>\"'`{}|^"):
        raise ImageError(f"{name} names no valid host.", "Write http(s)://host/path.")
    default = 443 if parts.scheme.lower() == "https" else 80
    return parts, host, default if port is None else port


@contextmanager
def _connect(
    addresses: list[Address],
    port: int,
    tls: str | None,
    deadline: float,
    expired: threading.Event,
) -> Iterator[socket.socket]:
    """Connect to the first address that answers, with TLS for the host `tls`, until the deadline.

    A socket's own time-out starts anew with every byte, so a server that drips would hold us for
    hours; the timer ends that, whichever part is slow.
    """

    def left() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    for tried, address in enumerate(addresses, 1):
        try:
            share = left() / (len(addresses) - tried + 1)
            sock = socket.create_connection((str(address), port), share)
            break
        except OSError:
            if tried == len(addresses):
                raise
    try:
        sock.settimeout(left())
        if tls is not None:
            context = ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=tls, do_handshake_on_connect=False)

        def cut(held: socket.socket = sock) -> None:
            expired.set()
            with suppress(OSError):  # closed meanwhile
                socket.socket.shutdown(held, socket.SHUT_RDWR)

        timer = threading.Timer(left(), cut)
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
