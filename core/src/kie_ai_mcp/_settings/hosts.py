"""Hosts and origins of web pages, in the one spelling in which they are compared."""

import ipaddress
import re

_HOST = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+)(?::([0-9]{1,5}|\*))?")
_NAME = re.compile(r"[a-z0-9_.-]{1,253}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_USUAL_PORTS = {"http": "80", "https": "443"}


def host_of(text: str) -> str:
    """Return the host in ``host``, ``host:port`` or an IP address; raise ValueError where there is none."""
    return _host_and_port(text)[0]


def named_host(text: str) -> str:
    """Return the host that a user names, also by a whole address; raise ValueError that says how to name one."""
    try:
        return host_of((text.partition("://")[2] or text).partition("/")[0])
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
    if address := _address(text):  # IPv6 without brackets has colons of its own
        return address, ""
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError(text)
    name, port = match[1], match[2] or ""
    if name.startswith("["):
        host = _address(name[1:-1])
    else:
        name = name.encode("idna").decode().lower().rstrip(".")
        host = _address(name) or (name if _NAME.fullmatch(name) else "")
    if not host or (port.isdecimal() and not 0 < int(port) < 65_536):
        raise ValueError(text)
    return host, port


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
