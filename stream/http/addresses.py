"""Which addresses may be connected to: checked on each socket before it connects, so whatever a name led to."""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import AddrInfoType

_UNICAST = IPv6Network("2000::/3")  # all that was ever given out; what is mapped, local, or old lies outside
_NAT64 = IPv6Network("64:ff9b::/96")  # its last four bytes are an IPv4 address


class PrivateAddress(OSError):
    """A name or URL leads to this machine, or into a private network."""

    def __init__(self) -> None:
        super().__init__("leads to a private address")


def public_socket(target: AddrInfoType) -> socket.socket:
    """A socket for this very address. Raises PrivateAddress unless it is one of the public internet."""
    family, kind, protocol, _, address = target
    if not is_public(str(address[0])):
        raise PrivateAddress()
    return socket.socket(family, kind, protocol)


def is_public(host: str) -> bool:
    """Is it a numeric address that anybody on the internet would reach as the same machine?"""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return _public_v4(address) if isinstance(address, IPv4Address) else _public_v6(address)


def _public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast  # is_global knows the shared range of carriers as well


def _public_v6(address: IPv6Address) -> bool:
    if address in _NAT64:
        return _public_v4(IPv4Address(int(address) & 0xFFFF_FFFF))
    if (inner := address.sixtofour) is not None:
        return _public_v4(inner)
    return address in _UNICAST and address.is_global
