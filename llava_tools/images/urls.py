"""Splits http(s) URLs, and shortens them for messages."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from llava_tools.errors import ImageError, on_one_line

#: Characters of a name in the domain name system, at most.
_MAX_HOST = 253


def display_url(url: str) -> str:
    """Return a URL for messages: without credentials and query, which may be secrets."""
    try:
        parts = urlsplit(url)
        text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        scheme, _, rest = url.partition("?")[0].partition("://")
        text = f"{scheme}://{rest.rpartition('@')[2]}"
    text = text if len(text) <= 100 else text[:60] + "…" + text[-39:]
    return on_one_line(text)


@dataclass(frozen=True)
class Url:
    """A URL that all parsers read alike.

    Attributes:
        name: For messages.
        tls: Whether its scheme is https.
        host: In ASCII and lower case.
        port: Its own or the default one.
        target: Path and query, quoted.
    """

    name: str
    tls: bool
    host: str
    port: int
    target: str

    @property
    def default_port(self) -> int:
        """The port of its scheme."""
        return 443 if self.tls else 80

    @property
    def netloc(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @classmethod
    def parse(cls, url: str) -> Url:
        """Split a URL; raise an error if parsers may differ about it."""
        name = display_url(url)
        if "\\" in url or any(ord(c) < 32 or ord(c) == 127 for c in url):
            raise ImageError(f"{name} has control characters or backslashes.", "Give a clean URL.")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").rstrip(".")
            host = host if ":" in host else host.encode("idna").decode("ascii").lower()
            target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
            if parts.query:
                target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        except (ValueError, UnicodeError) as error:
            raise ImageError(
                f"{name} is not a valid URL ({error}).", "Check the address."
            ) from error
        scheme = parts.scheme.lower()
        if scheme not in ("http", "https"):
            raise ImageError(f"{name} is not an http(s) URL.", "Only those are fetched.")
        if parts.username is not None or parts.password is not None:
            raise ImageError(
                f"{name} carries a user name or password.", "Download it and give its bytes."
            )
        if not host or len(host) > _MAX_HOST or set(host) & set(" %<>\"'`{}|^"):
            raise ImageError(f"{name} names no valid host.", "Write http(s)://host/path.")
        tls = scheme == "https"
        return cls(name, tls, host, (443 if tls else 80) if port is None else port, target)
