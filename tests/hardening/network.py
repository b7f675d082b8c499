"""A network for attacks: names of a table, listeners that count, and servers that redirect."""

from __future__ import annotations

import functools
import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

#: Addresses of public hosts. Connections to them are refused, but for those of `REDIRECTING`.
PUBLIC = {
    "public.example": "93.184.215.14",
    "images.example": "93.184.215.16",
    "v6.example": "2606:4700::1111",
    "moved.example": "93.184.215.15",
    "xn--bcher-kva.example": "93.184.215.17",
}
#: The host that answers everything with a redirect.
REDIRECTING = PUBLIC["moved.example"]
#: Hosts of private addresses: this machine, its network, the metadata of clouds.
PRIVATE = {
    "localhost": ["127.0.0.1"],
    "localhost.localdomain": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "metadata": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "private.example": ["10.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "6to4.example": ["2002:7f00:1::"],
    "zero.example": ["0.0.0.0"],
    "link.example": ["fe80::1"],
    "mixed.example": [PUBLIC["public.example"], "127.0.0.1"],
    "images.example.attacker.example": ["127.0.0.1"],
    "attacker.example": ["127.0.0.1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
}
#: Names whose first look-up of a case leads to a public address, and every later one here.
REBINDING = ("rebind.example",)


class Network:
    """What a case looked up and reached.

    Attributes:
        port: The port of 127.0.0.1 where connections are counted.
        accepted: How many there were; nobody may connect.
        contacts: Addresses and ports to which connections were tried in this case.
        lookups: Names that were looked up in this case.
        location: Where the redirecting host leads in this case.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.contacts: list[tuple[str, int]] = []
        self.lookups: list[str] = []
        self.location = b""
        self._peers: list[socket.socket] = []
        self._getaddrinfo = socket.getaddrinfo
        self._create_connection = socket.create_connection
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def begin(self, location: bytes = b"") -> None:
        """Begin a case."""
        self.contacts, self.lookups, self.location = [], [], location
        while self._peers:
            self._peers.pop().close()

    def close(self) -> None:
        """Stop counting."""
        self.begin()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.close()

    def resolve(self, host: Any, port: Any, *rest: Any, **options: Any) -> list[Any]:
        """Stand in for `socket.getaddrinfo`: addresses in any spelling, and names of the table."""
        name = host.decode() if isinstance(host, bytes) else str(host)
        self.lookups.append(name)
        if _is_address(name):
            return list(self._getaddrinfo(host, port, *rest, **options))
        addresses = self._addresses(name.lower().rstrip("."))
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            entry
            for address in addresses
            for entry in self._getaddrinfo(address, port, type=socket.SOCK_STREAM)
        ]

    def _addresses(self, name: str) -> Sequence[str]:
        if name in REBINDING:
            return [PUBLIC["public.example"] if self.lookups.count(name) == 1 else "127.0.0.1"]
        return [PUBLIC[name]] if name in PUBLIC else PRIVATE.get(name, [])

    def connect(self, address: tuple[str, int], *rest: Any, **options: Any) -> socket.socket:
        """Stand in for `socket.create_connection`: public hosts refuse, or redirect."""
        host = ipaddress.ip_address(address[0])
        text = str(getattr(host, "ipv4_mapped", None) or host)
        if text not in PUBLIC.values():
            return self._create_connection(address, *rest, **options)  # the audit hook records it
        self.contacts.append((text, address[1]))
        if text != REDIRECTING or address[1] == 443:
            raise ConnectionRefusedError(111, "Connection refused")
        client, server = socket.socketpair()
        server.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n" % self.location)
        self._peers.append(server)
        return client


def _is_address(name: str) -> bool:
    """Return whether a name is an address, in any spelling that resolvers read."""
    try:
        if ":" in name:
            socket.inet_pton(socket.AF_INET6, name.partition("%")[0])
        else:
            socket.inet_aton(name)
    except (OSError, ValueError):
        return False
    return True


_networks: list[Network] = []


@functools.cache
def _install_hook() -> None:
    sys.addaudithook(_record)


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg") and _networks:
        address = arguments[1]
        if isinstance(address, tuple):
            _networks[-1].contacts.append((str(address[0]), address[1]))


@contextmanager
def open_network() -> Iterator[Network]:
    """Put a network into the place of the machine's own; connections of any library count."""
    _install_hook()
    network = Network()
    _networks.append(network)
    try:
        with (
            mock.patch.object(socket, "getaddrinfo", network.resolve),
            mock.patch.object(socket, "create_connection", network.connect),
        ):
            yield network
    finally:
        _networks.remove(network)
        network.close()
