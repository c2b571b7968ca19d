"""Errors of the HTTP library: each becomes one of ours; a variable that the library can't use is named."""

import _socket
import os
import re
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
import h11
import httpx
import pytest
from httpx._transports.default import AsyncResponseStream
from pytest_httpserver import HTTPServer
from werkzeug.serving import generate_adhoc_ssl_context

from kie_ai_mcp._service import transfer
from kie_ai_mcp._service.caller import Caller, Departure, clock_of
from kie_ai_mcp._service.transfer import file_mark
from kie_ai_mcp.errors import KieError, MediaError, ReadFailed, Refused, Unknown

if TYPE_CHECKING:
    from tests.core.conftest import Line, Raw

pytestmark = pytest.mark.anyio

MakeGateway = Callable[..., Caller]

NAMES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSLKEYLOGFILE")

PASSWORD = "pass:word@0123"

# What stands in the environment; the variable that the error names; a part of the reason.
UNUSABLE: dict[str, tuple[dict[str, str], str, str]] = {
    "SOCKS 4": ({"ALL_PROXY": "socks4://127.0.0.1:9"}, "ALL_PROXY", "is not the address of an http, https or socks5"),
    "unknown scheme": ({"HTTP_PROXY": f"ftp://{PASSWORD}:1"}, "HTTP_PROXY", "is not the address of an http"),
    "small": ({"http_proxy": f"ftp://{PASSWORD}:1"}, "http_proxy", "is not the address of an http"),
    "no port": ({"HTTP_PROXY": f"http://{PASSWORD}:port"}, "HTTP_PROXY", "is not the address of an http"),
    "no address": ({"HTTP_PROXY": "::::"}, "HTTP_PROXY", "is not the address of an http"),
    "certificates gone": ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE", "No such file"),
    "certificates in a folder": ({"SSL_CERT_FILE": "/"}, "SSL_CERT_FILE", "names a file that can't be used"),
    "no certificates": ({"SSL_CERT_FILE": os.devnull}, "SSL_CERT_FILE", "names a file that can't be used"),
    "log of keys": ({"SSLKEYLOGFILE": "/nowhere/keys"}, "SSLKEYLOGFILE", "No such file"),
    "two": ({"ALL_PROXY": "socks4://127.0.0.1:9", "SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE", "No such file"),
}

DEAD = "http://127.0.0.1:9"
# Spellings of NO_PROXY in use, each beside entries that the HTTP library itself stumbles over.
DIRECT = [
    *("localhost", "LOCALHOST", "*", "localhost:PORT", "http://localhost", ".localhost", "*.localhost"),
    *("127.0.0.1", "127.0.0.0/8", "127.0.0.1:PORT"),
]
BY_PROXY = ["", "example", "host", "localhost:1", "10.0.0.0/8", "127.0.0.1:1", "[::1]:PORT", "fd00::/8"]
ODD = "[::1],fd00::/8,[::1,[,:::,10.0.0.0/99,://,"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in NAMES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


@pytest.fixture
def call(tmp_path: Path, make_gateway: MakeGateway) -> Callable[[str, str], Awaitable[object]]:
    """Makes one call of a kind: ``call("read", address)``."""
    file = tmp_path / "fox.png"
    file.write_bytes(b"fox")

    async def make(kind: str, address: str) -> object:
        gateway = make_gateway(address, upload_url=address)
        if kind == "create":
            return await gateway.create(["x"], {}, Departure())
        if kind == "read":
            return await gateway.read(["x"], {})
        if kind == "clock":
            return await clock_of(gateway)
        if kind == "upload":
            return await transfer.upload(gateway, file, file_mark(file.stat()), "fox.png", "image/png")
        async with transfer.download(gateway, f"{address}/x") as chunks:
            return [chunk async for chunk in chunks]

    return make


ERRORS: dict[str, type[KieError]] = {
    "create": Refused,
    "read": ReadFailed,
    "clock": ReadFailed,
    "upload": MediaError,
    "download": MediaError,
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("case", UNUSABLE)
async def test_variable_the_library_cant_use_is_named_in_one_error_before_sending(
    kind: str,
    case: str,
    call: Callable[[str, str], Awaitable[object]],
    service: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environ, name, reason = UNUSABLE[case]
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(ERRORS[kind]) as error:
        await call(kind, service.url_for("").rstrip("/"))

    assert re.search(rf"{name} .*{re.escape(reason)}", error.value.message)
    assert error.value.next_step == f"Correct or unset the environment variable {name}, then restart."
    assert error.value.charged == "no"
    assert "word" not in str(error.value)
    assert service.log == []


@pytest.mark.parametrize("entry", [*DIRECT, *BY_PROXY])
async def test_no_proxy_counts_in_every_spelling_and_none_breaks_a_call(
    entry: str, call: Callable[[str, str], Awaitable[object]], service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.expect_request("/x").respond_with_json({"code": 200, "data": {"state": "success"}})
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    monkeypatch.setenv("NO_PROXY", ODD + entry.replace("PORT", str(service.port)))
    host = "127.0.0.1" if "127" in entry else "localhost"
    read = call("read", f"http://{host}:{service.port}")

    if entry in DIRECT:
        await read
    else:
        with pytest.raises(ReadFailed, match="could not be read") as error:
            await read
        assert error.value.next_step == "Check the proxy that HTTP_PROXY names, then call again."
    assert len(service.log) == (entry in DIRECT)


@pytest.mark.parametrize("proxy", ["socks5://HERE", "socks5h://HERE", "socks://HERE/", "http://HERE", "HERE"])
@pytest.mark.parametrize("kind", ["create", "read", "download"])
async def test_proxy_reaches_a_host_that_only_it_can_resolve(
    kind: str, proxy: str, call: Callable[[str, str], Awaitable[object]], raw: "Raw", monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def relay(line: "Line") -> None:
        if "socks" in proxy:
            line.receive()
            line.send(b"\x05\x00")
            asked.append(line.receive())
            line.send(b"\x05\x00\x00\x01" + bytes(6))
        asked.append(line.receive())
        body = '{"code": 200, "data": {"taskId": "t-1"}}'
        line.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}")

    address, _ = raw(relay, reads=False)
    monkeypatch.setenv("ALL_PROXY", proxy.replace("HERE", address.removeprefix("http://")))

    await call(kind, "http://files.only-there")

    assert b"files.only-there" in asked[0]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "api.localhost", "2130706433", "0x7f.1", "[::1]", "10.1.1.1"]
)
async def test_proxy_is_asked_for_no_private_address(
    host: str, make_gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", DEAD)
    monkeypatch.setattr(socket, "getaddrinfo", _socket.getaddrinfo)  # the one that knows every spelling of a number

    with pytest.raises(MediaError, match=r"leads to the private address|can't be found"):
        async with transfer.download(make_gateway("https://api.kie.ai/api/v1"), f"http://{host}/a.png"):
            pass


# Errors that the library lets through, or that a later version may raise.
ANY = [
    *(httpx.InvalidURL("no"), httpx.CookieConflict("two"), httpx.StreamClosed(), httpx.DecodingError("no")),
    *(UnicodeError("no"), ssl.SSLError("no"), ImportError("no"), ValueError("no"), KeyError("no"), RuntimeError("no")),
    *(anyio.BrokenResourceError(), anyio.ClosedResourceError(), anyio.EndOfStream(), h11.LocalProtocolError("no")),
    *(ExceptionGroup("no", [OSError("no")]), AssertionError("no"), TypeError("no"), zlib.error("no")),
]
STEPS = {
    "made": (httpx.AsyncClient, "__init__"),
    "asked": (httpx.AsyncClient, "send"),
    "read": (AsyncResponseStream, "__aiter__"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", ANY, ids=repr)
async def test_whatever_the_library_raises_becomes_an_error_of_ours(
    error: Exception,
    step: str,
    call: Callable[[str, str], Awaitable[object]],
    service: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service.expect_request("/x").respond_with_json({"code": 200, "data": {"taskId": "t-1"}})
    service.expect_request("/api/file-stream-upload").respond_with_json({"code": 200, "data": {}})

    def fail(*_args: object, **_options: object) -> NoReturn:
        raise error

    monkeypatch.setattr(*STEPS[step], fail)
    for kind in ERRORS if step != "read" else ERRORS.keys() - {"clock"}:
        with pytest.raises(KieError) as raised:
            await call(kind, service.url_for("").rstrip("/"))
        sent = kind == "create" and step == "read"
        assert type(raised.value) is (Unknown if sent else ERRORS[kind])
        assert raised.value.charged == ("unknown" if sent else "no")


async def test_answer_that_was_read_counts_although_the_connection_fails_as_it_is_closed(
    call: Callable[[str, str], Awaitable[object]], service: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.expect_request("/x").respond_with_json({"code": 200, "data": {"taskId": "t-1"}})

    async def fail(_stream: AsyncResponseStream) -> None:
        raise anyio.BrokenResourceError

    monkeypatch.setattr(AsyncResponseStream, "aclose", fail)
    for kind in ("create", "read", "download"):
        assert await call(kind, service.url_for("").rstrip("/"))


async def test_certificate_that_is_not_trusted_names_the_variable_that_helps(
    call: Callable[[str, str], Awaitable[object]],
) -> None:
    server = HTTPServer(host="localhost", ssl_context=generate_adhoc_ssl_context())
    with server, pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED") as error:
        await call("create", server.url_for("").rstrip("/"))

    assert "SSL_CERT_FILE" in error.value.next_step
    assert server.log == []


@pytest.mark.parametrize("address", ["http://" + "a" * 70 + ".example", "http://a..example", "http://a b.example"])
@pytest.mark.parametrize("kind", ["create", "read", "clock", "upload"])
async def test_host_that_no_name_server_can_be_asked_for_is_an_error_of_ours(
    kind: str, address: str, call: Callable[[str, str], Awaitable[object]]
) -> None:
    with pytest.raises(ERRORS[kind]) as error:
        await call(kind, address)

    assert error.value.charged == "no"


@pytest.mark.parametrize("location", ["http://[", "http://a.example:x/", "//[::1/x"])
async def test_redirect_to_no_address_is_an_error_of_ours(
    location: str, call: Callable[[str, str], Awaitable[object]], service: HTTPServer
) -> None:
    service.expect_request("/x").respond_with_data("", 302, headers={"Location": location})

    with pytest.raises(MediaError):
        await call("download", service.url_for("").rstrip("/"))


async def test_error_of_whoever_saves_a_download_is_left_as_it_is(
    service: HTTPServer, make_gateway: MakeGateway
) -> None:
    service.expect_request("/x").respond_with_data(b"picture")
    gateway = make_gateway(service.url_for("").rstrip("/"))

    async def save() -> None:
        async with transfer.download(gateway, service.url_for("/x")):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await save()
