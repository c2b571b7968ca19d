"""Transfer of files: uploads to the service, downloads of results from public addresses."""

import hashlib
import os
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from io import FileIO
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import anyio

from kie_ai_mcp._service.caller import ANSWER_LIMIT, Caller
from kie_ai_mcp._service.envelope import error_text
from kie_ai_mcp._service.proxies import PORTS, proxy_of
from kie_ai_mcp._settings.settings import UPLOAD_URL, Settings
from kie_ai_mcp.errors import KeyRejected, MediaError, NoCredits, meaning_of, shorten
from kie_ai_mcp.specs import Answer, is_web_address

if TYPE_CHECKING:
    import httpx

    from kie_ai_mcp._service.connections import Fault

UPLOAD_PATH = "api/file-stream-upload"
UPLOAD_FOLDER = "kie-ai-mcp"
REDIRECTS = 5
CONNECT_S = 5.0  # the time in which one of several addresses of a host must answer before the next is tried
STAND_INS = " (198.18.0.0/15, where a proxy on this machine gives every name an address from there)"
GONE = "The link has probably expired."
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


class _Hashed(FileIO):
    """A file that hashes what is read of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.digest = hashlib.sha256()

    def read(self, size: int | None = -1, /) -> bytes:
        self.digest.update(chunk := super().read(size) or b"")
        return chunk


async def upload(caller: Caller, path: Path, mark: tuple[int, ...], name: str, mime_type: str, sha256: str = "") -> str:
    """Stream a local file to the service, free of charge, and return the address at which it can be opened.

    `mark` is its `file_mark` when it was checked, `sha256` the hash of its bytes, `name` its name at the service.
    """
    headers = caller.authorization()
    address = f"{caller.settings.upload_url}/{UPLOAD_PATH}"
    place = f"{urlsplit(address).hostname}, the host of KIE_AI_UPLOAD_URL"
    fields = {"uploadPath": UPLOAD_FOLDER, "fileName": name}
    problem = f"{path.name} was changed after it was looked at, so it was not used."
    changed = MediaError(problem, next_step="Call again. Nothing was charged.", can_retry=True)
    with (
        caller.connections.errors_as(partial(_failed, f"{path.name} could not be uploaded to {place}")),
        _Hashed(path) as file,
    ):
        # Anyone who may write in the folder could have put a link to another file in its place.
        if file_mark(os.fstat(file.fileno())) != mark:
            raise changed
        client = await caller.connections.client("upload", address, caller.timeout_s)
        options: dict[str, Any] = {"data": fields, "files": {"file": (name, file, mime_type)}, "headers": headers}
        status, text, _ = await caller.connections.exchange(client, "POST", address, ANSWER_LIMIT, **options)
    answer = await caller.answer(status, text)
    match answer:
        case Answer(code=200, data={"downloadUrl": str(url)}) if is_web_address(url):
            if sha256 not in {"", file.digest.hexdigest()}:
                raise changed
            return url
    problem = error_text(answer) if answer else f"HTTP {status} without a readable answer."
    meaning = meaning_of(answer.code if answer else status)
    cure = meaning.next_step if meaning.error in {KeyRejected, NoCredits} else "Call again later, or give a web link."
    if status in {404, 405} and caller.settings.upload_url != UPLOAD_URL:
        cure = f"Set KIE_AI_UPLOAD_URL to the address that takes files; {caller.settings.upload_url} does not."
    raise MediaError(
        f"{path.name} could not be uploaded to {place}: {problem}", next_step=f"Nothing was charged. {cure}"
    )


@asynccontextmanager
async def download(caller: Caller, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Stream a result file of at most `max_download_mb`, following redirects to public addresses only."""
    with caller.connections.errors_as(partial(_unfetched, url)):
        response, url = await _open(caller, url)
    try:
        if response.status_code != 200:
            raise _refused(url, response.status_code)
        yield _chunks(caller, response, url)
    finally:
        await caller.connections.end(response)


async def _open(caller: Caller, url: str) -> tuple["httpx.Response", str]:
    """Return the response at the end of the redirects, its body unread, and its address."""
    for _ in range(REDIRECTS + 1):
        response = await _sent(caller, url)
        if not response.has_redirect_location:
            return response, url
        await caller.connections.end(response)
        url = urljoin(url, response.headers["location"])
    raise MediaError(f"{shorten(url)} redirects more than {REDIRECTS} times.")


async def _sent(caller: Caller, url: str) -> "httpx.Response":
    """Return the response of the first of the host's addresses that can be reached."""
    timeout_s = caller.timeout_s
    client = await caller.connections.client("download", url, timeout_s)
    with anyio.fail_after(timeout_s):
        *others, last = await _targets(caller.settings, url)
        for target in others:
            with caller.connections.errors_as(lambda fault: None if fault.is_early else _unfetched(url, fault)):
                timeout = (min(CONNECT_S, timeout_s), timeout_s, timeout_s, timeout_s)
                return await client.send(client.build_request("GET", timeout=timeout, **target), stream=True)
        return await client.send(client.build_request("GET", **last), stream=True)


async def _chunks(caller: Caller, response: "httpx.Response", url: str) -> AsyncIterator[bytes]:
    """Yield the body of a response; give it up where it is too large or too slow."""
    settings, size, began = caller.settings, 0, anyio.current_time()
    chunks = caller.connections.unpacked(response)
    while True:
        with caller.connections.errors_as(partial(_unfetched, url)):
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


def _unfetched(url: str, fault: "Fault") -> MediaError:
    return _failed(f"{shorten(url)} could not be fetched", fault)


def _refused(url: str, status: int) -> MediaError:
    """Return the error of a result's host that answered anything but the file."""
    words = {403: "The link may have expired, or the host lets no program fetch it.", 404: GONE, 410: GONE}
    passes = status >= 500 or status in {408, 425, 429}
    word = words.get(status, "The host failed or is busy." if passes else "The link may have expired.")
    step = f"{word} That of a result is read anew by get_task_status; a browser may open it all the same."
    return MediaError(f"{shorten(url)} answered HTTP {status}.", next_step=step, can_retry=passes)


async def _targets(settings: Settings, url: str) -> list[dict[str, Any]]:
    """Return requests to each address of a result's host, resolved once and pinned; refuse private ones."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or scheme not in {"http", "https"} or port == 0:
        raise MediaError(f"{shorten(url)} is not a web address, so it was not fetched.")
    if _is_trusted(settings, host, port or PORTS[scheme]):
        return [{"url": url}]
    # A proxy resolves names itself, perhaps such as this machine can't, and sees another network behind them.
    by_proxy = proxy_of(url) is not None and host.rstrip(".").rpartition(".")[2] != "localhost"
    flags = socket.AI_NUMERICHOST if by_proxy else 0
    try:
        entries = await anyio.getaddrinfo(host, port or PORTS[scheme], type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as exc:
        if by_proxy:
            return [{"url": url}]
        raise MediaError(f"The host of {shorten(url)} can't be found: {exc}.", can_retry=True) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if not addresses or not all(_is_public(address, settings.trusted_networks) for address in addresses):
        private = ", ".join(addresses) or "none"
        hint = STAND_INS if private.startswith(("198.18.", "198.19.")) else ""
        problem = f"{shorten(url)} leads to the private address {private}, so it was not fetched."
        cure = f"If it is meant, add the host to KIE_AI_TRUSTED_HOSTS, or its range to KIE_AI_TRUSTED_NETWORKS{hint}."
        raise MediaError(problem, next_step=cure)
    if by_proxy:
        return [{"url": url}]
    suffix = "" if port is None else f":{port}"
    pinned = (f"[{address}]" if ":" in address else address for address in addresses)
    named = {"headers": {"Host": f"{host}{suffix}"}, "extensions": {"sni_hostname": host}}
    return [{"url": parts._replace(netloc=f"{address}{suffix}").geturl(), **named} for address in pinned]


def _is_trusted(settings: Settings, host: str, port: int) -> bool:
    # The address of a gateway is chosen by a plugin's author; only the user's own choices are trusted.
    for address in settings.addresses:
        with suppress(ValueError):
            own = urlsplit(address)
            if (own.hostname, own.port or PORTS.get(own.scheme)) == (host, port):
                return True
    names = {host, f"{host}:{port}", f"[{host}]", f"[{host}]:{port}"}
    return not names.isdisjoint(map(str.lower, settings.trusted_hosts))


def _is_public(address: str, trusted: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return whether an address is public or trusted; of a translated IPv6 address, whether its IPv4 address is."""
    parsed = ip_address(address.split("%", 1)[0])
    if any(parsed in network for network in trusted):
        return True
    embedded: list[IPv4Address | IPv6Address | None] = []
    if isinstance(parsed, IPv6Address):
        embedded = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if any(parsed in network for network in TRANSLATED):
            embedded.append(IPv4Address(int(parsed) & 0xFFFF_FFFF))
    return all(
        entry.is_global and not entry.is_multicast and not any(entry in network for network in INSIDE)
        for entry in [entry for entry in embedded if entry is not None] or [parsed]
    )
