"""Which addresses lead out into the internet, where results may be fetched from."""

import ipaddress
from urllib.request import getproxies, proxy_bypass

TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
"""IPv6 networks whose last 32 bits are an IPv4 address."""

INSIDE = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocol assignments; one is the metadata service of Oracle's cloud
            "168.63.129.16/32",  # a public address by its number, and the platform's own inside Azure
            "64:ff9b:1::/48",  # translated as a network's owner likes
            "5f00::/16",  # segment routing
            "3fff::/20",  # documentation
        ),
    )
)
"""Networks that lead nowhere in public, though not every Python's `is_global` says so."""


def through_a_proxy(scheme: str, host: str) -> bool:
    """Whether the HTTP library sends a request through a proxy of the environment."""
    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


def is_public(address: str) -> bool:
    """Whether an address is one that anybody reaches; also by what a translated IPv6 address stands for."""
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inside = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if any(parsed in network for network in TRANSLATED):
            inside.append(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF))
        hidden = [entry for entry in inside if entry is not None]
        if hidden:
            return all(map(_is_outside, hidden))
        if parsed.is_site_local:
            return False
    return _is_outside(parsed)


def _is_outside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in INSIDE)
