"""A guard that refuses every connection but those to this machine, for the rest of the process."""

from __future__ import annotations

import functools
import ipaddress
import socket
import sys


class ForeignConnection(BaseException):
    """Something wanted to reach another machine. No `except Exception` hides it."""


@functools.cache
def install() -> None:
    """Refuse connections, datagrams and look-ups of names that lead off this machine.

    Other processes that this one starts are not guarded.

    Raises:
        ForeignConnection: In whatever tries, from now on.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    match event:
        case "socket.connect" | "socket.sendto" | "socket.sendmsg":
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else None
        case "socket.getaddrinfo" | "socket.gethostbyname":
            # Nothing is looked up for an address that is one already.
            host = None if _address(arguments[0]) else arguments[0]
        case _:
            return
    # Sockets of a file system have no tuple as their address, and None is this machine.
    if host is not None and not _is_here(host):
        raise ForeignConnection(f"{event} {host!r}")


def _is_here(host: object) -> bool:
    address = _address(host)
    return _text(host) in ("", "localhost") if address is None else address.is_loopback


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, in any spelling (`127.1`, `0x7f000001`)."""
    name = _text(host)
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, ValueError):
        return None


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
