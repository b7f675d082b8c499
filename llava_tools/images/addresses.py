"""Tells addresses of the public internet from those of this machine or a private network.

`fetch.Fetcher` checks every address that it connects to here.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Not the public internet, although some Python versions call them global: Azure's metadata
# service, protocol assignments, 6to4 relays; Teredo, 6to4, documentation.
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24",
        "2001::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip


def is_public(address: Address) -> bool:
    """Return whether an address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
        if address not in _IPV6_UNICAST or address.scope_id:
            return False
    return (
        address.is_global
        and not address.is_private
        and not address.is_multicast
        and not address.is_reserved
        and not any(address.version == net.version and address in net for net in _SPECIAL)
    )
