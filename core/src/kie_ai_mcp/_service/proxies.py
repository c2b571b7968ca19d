"""Proxies: the one for an address, as the environment and the system name it."""

import os
from contextlib import suppress
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

PORTS = {"http": 80, "https": 443}


def proxy_of(url: str) -> tuple[str, str] | None:
    """Return the variable that names the proxy for an address, and the proxy's; None where it is reached directly."""
    proxies, parts = getproxies(), urlsplit(url)
    scheme = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if scheme is None or _is_exempt(parts, proxies.get("no", "")) or proxy_bypass(parts.hostname or ""):
        return None
    name, address = f"{scheme}_proxy", proxies[scheme]
    if "://" not in address:
        address = f"http://{address}"
    # Desktops write socks:// for what everybody else calls socks5://.
    return name if name in os.environ else name.upper(), address.replace("socks://", "socks5://", 1)


def _is_exempt(parts: SplitResult, no_proxy: str) -> bool:
    """Return whether `no_proxy` names a host: its name, domain, address or range of addresses, perhaps with a port."""
    host = parts.hostname or ""
    for entry in no_proxy.lower().split(","):
        name = entry.strip().rpartition("://")[2]
        with suppress(ValueError):
            if ip_address(host) in ip_network(name.strip("[]"), strict=False):
                return True
        with suppress(ValueError):
            exempt = urlsplit(f"//{name}")
            domain = (exempt.hostname or "").lstrip("*").lstrip(".")
            is_port = exempt.port in {None, parts.port or PORTS.get(parts.scheme)}
            if name == "*" or (domain and is_port and f".{host}".endswith(f".{domain}")):
                return True
    return False
