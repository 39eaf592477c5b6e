"""Whose question it is: the address of who asks, behind proxies that are trusted."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8,::1`; raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def address_of(scope: Mapping[str, Any], trusted: tuple[Network, ...]) -> str | None:
    """Who asks, or None for this machine itself. What a proxy that is trusted passes on is
    believed: the last address that is not a trusted one's.
    """
    peer = _parsed((scope.get("client") or ("",))[0])
    if peer is None:
        return None
    if not any(peer in network for network in trusted):
        return _told(peer)
    # A proxy may add a header of its own behind the one that a client sent.
    told = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    for part in reversed(b",".join(told).decode("latin-1").split(",")):
        address = _parsed(part.strip())
        if address is not None and not any(address in network for network in trusted):
            return _told(address)
    return None


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with its port or without; one of IPv4 also where a socket of IPv6 tells it."""
    host = text.removeprefix("[").partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _told(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address of IPv6 by the network of its household."""
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
