"""Transfer of files: uploads to the service, downloads of results from public addresses."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio

from kie_ai_mcp._service.caller import Caller
from kie_ai_mcp._service.envelope import error_text
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import MediaError, shorten
from kie_ai_mcp.specs import Answer

if TYPE_CHECKING:
    import httpx

    from kie_ai_mcp._service.connections import Fault

UPLOAD_PATH = "api/file-stream-upload"
UPLOAD_FOLDER = "kie-ai-mcp"
REDIRECTS = 5
SLOWEST_DOWNLOAD = 10_000  # bytes a second below which a download is given up: whoever asks for the task waits for it
LONGEST_DOWNLOAD_S = 3600.0

# IPv6 networks whose last 32 bits are an IPv4 address.
TRANSLATED = tuple(map(IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
INSIDE = (
    ip_network("192.0.0.0/24"),  # protocol assignments; one is the metadata service of Oracle's cloud
    ip_network("168.63.129.16/32"),  # a public address by its number, and the platform's own inside Azure
    ip_network("64:ff9b:1::/48"),  # translated as a network's owner likes
    ip_network("5f00::/16"),  # segment routing
    ip_network("3fff::/20"),  # documentation
    ip_network("fec0::/10"),  # local to a site, by an earlier standard
)
"""Networks that are not public, though the `is_global` of some versions of Python says so."""


def file_mark(status: os.stat_result) -> tuple[int, ...]:
    """Return the file's identity: device, inode, size and modification time."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


async def upload(caller: Caller, path: Path, mark: tuple[int, ...], name: str, mime_type: str) -> str:
    """Stream a local file to the service, free of charge, and return the address at which it can be opened.

    `mark` is the file's `file_mark` when it was checked, `name` its name at the service.
    """
    headers = caller.authorization()
    address = f"{caller.settings.upload_url}/{UPLOAD_PATH}"
    fields = {"uploadPath": UPLOAD_FOLDER, "fileName": name}
    with caller.connections.errors_as(partial(_failed, f"{path.name} could not be uploaded")):
        client = await caller.connections.client("upload")
        with path.open("rb") as file:
            # Anyone who may write in the folder could have put a link to another file in its place.
            if file_mark(os.fstat(file.fileno())) != mark:
                problem = f"{path.name} was changed after it was looked at, so it was not sent."
                raise MediaError(problem, next_step="Call again. Nothing was charged.", can_retry=True)
            files = {"file": (name, file, mime_type)}
            response = await client.post(address, data=fields, files=files, headers=headers)
    answer = await caller.answer(response.status_code, response.text)
    match answer:
        case Answer(code=200, data={"downloadUrl": str(url)}):
            return url
    problem = error_text(answer) if answer else f"HTTP {response.status_code} without a readable answer"
    raise MediaError(f"{path.name} could not be uploaded: {problem}", next_step="Nothing was charged.")


@asynccontextmanager
async def download(caller: Caller, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Stream a result file of at most `max_download_mb`, following redirects to public addresses only."""
    with caller.connections.errors_as(partial(_failed, f"{shorten(url)} could not be fetched")):
        response, url = await _open(caller, url)
    try:
        if response.status_code != 200:
            cure = "The link may have expired; that of a result is read anew by get_task_status."
            raise MediaError(f"{shorten(url)} answered HTTP {response.status_code}.", next_step=cure)
        yield _chunks(caller, response, url)
    finally:
        with caller.connections.errors_as(lambda _fault: None):  # all that counts was read
            await response.aclose()


async def _open(caller: Caller, url: str) -> tuple["httpx.Response", str]:
    """Return the response at the end of the redirects, its body unread, and its address."""
    client = await caller.connections.client("download")
    for _ in range(REDIRECTS + 1):
        request = client.build_request("GET", **await _pinned(caller.settings, url))
        with anyio.fail_after(caller.timeout_s):
            response = await client.send(request, stream=True)
        if not response.has_redirect_location:
            return response, url
        await response.aclose()
        url = urljoin(url, response.headers["location"])
    raise MediaError(f"{shorten(url)} redirects more than {REDIRECTS} times.")


async def _chunks(caller: Caller, response: "httpx.Response", url: str) -> AsyncIterator[bytes]:
    """Yield the body of a response; give it up where it is too large or too slow."""
    settings, size, began = caller.settings, 0, anyio.current_time()
    chunks = response.aiter_bytes()
    while True:
        with caller.connections.errors_as(partial(_failed, f"{shorten(url)} could not be fetched")):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        size += len(chunk)
        # Between two chunks lies the HTTP library's own time limit, so this is checked often enough.
        took = anyio.current_time() - began
        if took > min(caller.timeout_s + size / SLOWEST_DOWNLOAD, LONGEST_DOWNLOAD_S):
            problem = f"{shorten(url)} comes too slowly ({size} bytes in {took:.0f} s), so it was not saved."
            raise MediaError(problem, next_step="Fetch the link yourself.", can_retry=True)
        if size > settings.max_download_mb * 1_000_000:
            problem = f"{shorten(url)} is larger than {settings.max_download_mb} MB, so it was not fetched."
            raise MediaError(problem, next_step="Raise KIE_AI_MAX_DOWNLOAD_MB, or fetch the link yourself.")
        yield chunk


def _failed(problem: str, fault: "Fault") -> MediaError:
    return MediaError(f"{problem} ({fault.reason}).", next_step=fault.cure, can_retry=not fault.cure)


async def _pinned(settings: Settings, url: str) -> dict[str, Any]:
    """Return a request to a result's host, resolved once and pinned to that address; refuse private ones."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or scheme not in {"http", "https"} or port == 0:
        raise MediaError(f"{shorten(url)} is not a web address, so it was not fetched.")
    if _is_trusted(settings, host, port):
        return {"url": url}
    try:
        entries = await anyio.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise MediaError(f"The host of {shorten(url)} can't be found: {exc}.", can_retry=True) from None
    addresses = [str(entry[4][0]) for entry in entries]
    if not addresses or not all(map(_is_public, addresses)):
        private = ", ".join(addresses) or "none"
        problem = f"{shorten(url)} leads to the private address {private}, so it was not fetched."
        raise MediaError(problem, next_step="If it is meant, add the host to KIE_AI_TRUSTED_HOSTS.")
    proxies = getproxies()
    if (proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host):
        # The proxy resolves the name itself, and the HTTP library would compare the certificate with a bare address.
        return {"url": url}
    address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    suffix = "" if port is None else f":{port}"
    target = parts._replace(netloc=f"{address}{suffix}").geturl()
    return {"url": target, "headers": {"Host": f"{host}{suffix}"}, "extensions": {"sni_hostname": host}}


def _is_trusted(settings: Settings, host: str, port: int | None) -> bool:
    # The address of a gateway is chosen by a plugin's author; only the user's own choices are trusted.
    chosen = ((service.hostname, service.port) for service in map(urlsplit, settings.addresses))
    return (host, port) in chosen or not {host, f"{host}:{port}"}.isdisjoint(settings.trusted_hosts)


def _is_public(address: str) -> bool:
    """Return whether an address is public; of a translated IPv6 address, whether the IPv4 address in it is."""
    parsed = ip_address(address.split("%", 1)[0])
    embedded: list[IPv4Address | IPv6Address | None] = []
    if isinstance(parsed, IPv6Address):
        embedded = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if any(parsed in network for network in TRANSLATED):
            embedded.append(IPv4Address(int(parsed) & 0xFFFF_FFFF))
    return all(
        entry.is_global and not entry.is_multicast and not any(entry in network for network in INSIDE)
        for entry in [entry for entry in embedded if entry is not None] or [parsed]
    )
