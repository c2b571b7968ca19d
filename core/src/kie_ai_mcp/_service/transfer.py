"""Transfer of files: uploads to the service, downloads of results from public addresses."""

import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio

from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp._service.envelope import error_text
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import MediaError, shorten

if TYPE_CHECKING:
    import httpx

    from kie_ai_mcp._service.connections import Fault

UPLOAD_PATH = "api/file-stream-upload"
UPLOAD_FOLDER = "kie-ai-mcp"
REDIRECTS = 5

SLOWEST_DOWNLOAD = 10_000
"""Bytes a second below which a download is given up: whoever asks for the task waits for it."""

LONGEST_DOWNLOAD_S = 3600.0

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
"""Networks that are not public, though the `is_global` of some versions of Python says so."""

FileMark = tuple[int, int, int, int]
"""A file's identity: device, inode, size and modification time."""


def file_mark(status: os.stat_result) -> FileMark:
    """Return the file's identity: device, inode, size and modification time."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


async def upload(caller: Caller, path: Path, mark: FileMark, name: str, mime_type: str) -> str:
    """Stream a local file to the service's upload address and return the address at which it can be opened.

    Args:
        caller: The service's caller.
        path: The file.
        mark: Its `file_mark` when it was checked.
        name: Its name at the service.
        mime_type: Its type.

    Raises:
        MediaError: The file has changed, or the service did not take it; nothing is charged for that.
        ConfigError: No key is set.
    """

    def failed(fault: "Fault") -> MediaError:
        problem = f"{path.name} could not be uploaded ({fault.reason})."
        return MediaError(problem, next_step=fault.cure, can_retry=not fault.cure)

    headers = caller.authorization()
    with caller.connections.errors_as(failed):
        client = await caller.connections.client("upload")
        with path.open("rb") as file:
            # Anyone who may write in the folder could have put a link to another file in its place.
            if file_mark(os.fstat(file.fileno())) != mark:
                raise MediaError(
                    f"{path.name} was changed after it was looked at, so it was not sent.",
                    next_step="Call again. Nothing was charged.",
                    can_retry=True,
                )
            response = await client.post(
                f"{caller.settings.upload_url}/{UPLOAD_PATH}",
                data={"uploadPath": UPLOAD_FOLDER, "fileName": name},
                files={"file": (name, file, mime_type)},
                headers=headers,
            )
    answer = await caller.answer(response.status_code, response.text)
    data = answer.data if answer is not None and isinstance(answer.data, Mapping) else {}
    url = data.get("downloadUrl")
    if answer is None or answer.code != 200 or not isinstance(url, str):
        problem = error_text(answer) if answer else f"HTTP {response.status_code} without a readable answer"
        raise MediaError(f"{path.name} could not be uploaded: {problem}", next_step="Nothing was charged.")
    return url


@asynccontextmanager
async def download(caller: Caller, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Stream a result file, following redirects to public addresses only.

    Raises:
        MediaError: The address is not public, does not answer with a file, or the file is larger than
            `max_download_mb`.
    """
    with caller.connections.errors_as(partial(_unfetched, url)):
        response, url = await _open(caller, url)
    try:
        if response.status_code != 200:
            raise MediaError(
                f"{shorten(url)} answered HTTP {response.status_code}.",
                next_step="The link may have expired; that of a result is read anew by get_task_status.",
            )
        yield _chunks(caller, response, url)
    finally:
        with caller.connections.errors_as(lambda _fault: None):  # all that counts was read
            await response.aclose()


async def _open(caller: Caller, url: str) -> tuple["httpx.Response", str]:
    """Return the response at the end of the redirects, its body unread, and its address."""
    client = await caller.connections.client("download")
    for _ in range(REDIRECTS + 1):
        target, extensions, headers = await _pinned(caller.settings, url)
        request = client.build_request("GET", target, headers=headers, extensions=extensions)
        with anyio.fail_after(caller.timeout_s):
            response = await client.send(request, stream=True)
        if not response.has_redirect_location:
            return response, url
        await response.aclose()
        url = urljoin(url, response.headers["location"])
    raise MediaError(f"{shorten(url)} redirects more than {REDIRECTS} times.")


async def _chunks(caller: Caller, response: "httpx.Response", url: str) -> AsyncIterator[bytes]:
    """Yield the body of a response; give it up where it is too large or too slow."""
    settings = caller.settings
    limit, size, began = settings.max_download_mb * 1_000_000, 0, anyio.current_time()
    chunks = response.aiter_bytes()
    while True:
        with caller.connections.errors_as(partial(_unfetched, url)):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        size += len(chunk)
        # Between two chunks lies the HTTP library's own time limit, so this is checked often enough.
        took = anyio.current_time() - began
        if took > min(caller.timeout_s + size / SLOWEST_DOWNLOAD, LONGEST_DOWNLOAD_S):
            raise MediaError(
                f"{shorten(url)} comes too slowly ({size} bytes in {took:.0f} s), so it was not saved.",
                next_step="Fetch the link yourself.",
                can_retry=True,
            )
        if size > limit:
            raise MediaError(
                f"{shorten(url)} is larger than {settings.max_download_mb} MB, so it was not fetched.",
                next_step="Raise KIE_AI_MAX_DOWNLOAD_MB, or fetch the link yourself.",
            )
        yield chunk


def _unfetched(url: str, fault: "Fault") -> MediaError:
    problem = f"{shorten(url)} could not be fetched ({fault.reason})."
    return MediaError(problem, next_step=fault.cure, can_retry=not fault.cure)


async def _pinned(settings: Settings, url: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Resolve a result's host once, refuse private addresses, and pin the connection to what was checked."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not parts.hostname:
        raise MediaError(f"{shorten(url)} is not a web address, so it was not fetched.")
    if _is_trusted(settings, parts.hostname, parts.port):
        return url, {}, {}
    try:
        entries = await anyio.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise MediaError(f"The host of {shorten(url)} can't be found: {exc}.", can_retry=True) from None
    addresses = [str(entry[4][0]) for entry in entries]
    if not addresses or not all(_is_public(address) for address in addresses):
        raise MediaError(
            f"{shorten(url)} leads to the private address {', '.join(addresses) or 'none'}, so it was not fetched.",
            next_step="If it is meant, add the host to KIE_AI_TRUSTED_HOSTS.",
        )
    if _uses_proxy(parts.scheme, parts.hostname):
        # The proxy resolves the name itself, and the HTTP library would compare the certificate with a bare address.
        return url, {}, {}
    address = addresses[0]
    host = f"[{address}]" if ":" in address else address
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    named = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    return parts._replace(netloc=netloc).geturl(), {"sni_hostname": parts.hostname}, {"Host": named}


def _is_trusted(settings: Settings, host: str, port: int | None) -> bool:
    # The address of a gateway is chosen by a plugin's author; only the user's own choices are trusted.
    services = [urlsplit(address) for address in settings.addresses]
    if any((host, port) == (service.hostname, service.port) for service in services):
        return True
    return host in settings.trusted_hosts or f"{host}:{port}" in settings.trusted_hosts


def _uses_proxy(scheme: str, host: str) -> bool:
    """Return whether the HTTP library sends a request through a proxy of the environment."""
    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


def _is_public(address: str) -> bool:
    """Return whether an address is public; of a translated IPv6 address, whether the IPv4 address in it is."""
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if any(parsed in network for network in TRANSLATED):
            embedded.append(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF))
        addresses = [entry for entry in embedded if entry is not None]
        if addresses:
            return all(map(_is_global, addresses))
        if parsed.is_site_local:
            return False
    return _is_global(parsed)


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in INSIDE)
