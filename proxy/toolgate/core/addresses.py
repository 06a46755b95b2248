"""Which addresses no upstream may have, in whatever form they are written.

RULE: an address that carries another is both. What cannot be read is denied.
"""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
# SECURITY: instance metadata and what only the host itself should reach, unless a toolspec names the address itself.
_DENIED: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),  # Alibaba, Azure, Oracle
        *("::/128", "fe80::/10", "fec0::/10", "ff00::/8"),
        *("fd00:ec2::254/128", "fd20:ce::254/128"),  # AWS, Google
    )
)
# IPv6 forms that carry an IPv4 address in their last 32 bits: NAT64 (well known and local), mapped, compatible.
_CARRIERS: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0/96", "::/96")
)


def denied(address: str) -> bool:
    """Whether a resolved address is one no upstream may have; what cannot be read is denied."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    return any(form in network for form in _forms(parsed) for network in _DENIED if form.version == network.version)


def _forms(address: _Address) -> tuple[_Address, ...]:
    """The address and every IPv4 address it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    carried = [
        ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        for carrier in _CARRIERS
        if address in carrier and int(address) > 1
    ]
    sixtofour = [address.sixtofour] if address.sixtofour else []
    return (address, *carried, *sixtofour, *(address.teredo or ()))


def is_address(host: str) -> bool:
    """Whether a host is an address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
