"""Hosts and origins of web pages, in the one spelling in which they are compared."""

import ipaddress
import re
from contextlib import suppress
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f:.%]+")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_USUAL_PORTS = {"http": "80", "https": "443"}


def host_of(text: str) -> str:
    """Return the host in ``host``, ``host:port`` or an IP address; raise ValueError where there is none."""
    return _host_and_port(text)[0]


def named_host(text: str) -> str:
    """Return the host that a user names, also by a whole address; raise ValueError that says how to name one."""
    try:
        return host_of((text.partition("://")[2] if "://" in text else text).partition("/")[0])
    except ValueError:
        raise ValueError(f"{text} is no host; name each as in kie.example, kie:3000 or [fd00::5]") from None


def named_origin(text: str) -> str:
    """Return the origin that a user names; ``*`` may be its port, or all after a scheme that is not the web's."""
    scheme, separator, rest = text.lower().rstrip("/").partition("://")
    try:
        if rest == "*" and scheme not in _USUAL_PORTS and _SCHEME.fullmatch(scheme):
            return f"{scheme}://*"
        return "".join(_origin(scheme + separator + rest))
    except ValueError:
        example = "https://app.example, tauri://localhost or vscode-webview://*"
        raise ValueError(f"{text} is no origin of pages; name each as in {example}") from None


def names_of(origin: str) -> set[str]:
    """Return what a user may have named so that this origin is allowed; raise ValueError where it is none."""
    start, port = _origin(origin)
    return {start + port, f"{start}:*", f"{start.partition('://')[0]}://*"}


def _origin(text: str) -> tuple[str, str]:
    """Return ``scheme://host``, and ``:port`` where it is not the usual one."""
    scheme, separator, rest = text.lower().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise ValueError(text)
    host, port = _host_and_port(rest)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}", f":{port}" if port and port != _USUAL_PORTS.get(scheme) else ""


def _host_and_port(text: str) -> tuple[str, str]:
    address = f"[{text}]" if text.count(":") > 1 and "[" not in text else text  # IPv6 has colons of its own
    parts = urlsplit(f"//{address.removesuffix(':*')}")
    port = "*" if address.endswith(":*") else str(parts.port or "")
    name = (parts.hostname or "").encode("idna").decode().lower().rstrip(".")
    with suppress(ValueError):
        name = str(ipaddress.ip_address(name))
    if parts.netloc != address.removesuffix(":*") or "@" in address or not _NAME.fullmatch(name):
        raise ValueError(text)
    return name, port


def is_local_address(address: str) -> bool:
    """Return whether an address leads to this machine, as the sandbox's does."""
    return is_local(urlsplit(address).hostname or "")


def is_local(host: str) -> bool:
    """Return whether a host is this machine, as it calls itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
