"""Errors of the HTTP library: each becomes one of ours; a variable that the library can't use is named."""

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp._service import transfer
from kie_ai_mcp._service.caller import Caller, Departure
from kie_ai_mcp._service.transfer import file_mark
from kie_ai_mcp.errors import KieError, MediaError, ReadFailed, Refused

pytestmark = pytest.mark.anyio

MakeGateway = Callable[..., Caller]

NAMES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSLKEYLOGFILE")

PASSWORD = "pass:word@0123"

# What stands in the environment; the variable that the error names; a part of the reason.
UNUSABLE: dict[str, tuple[dict[str, str], str, str]] = {
    "SOCKS proxy": ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "ALL_PROXY", "names a SOCKS proxy"),
    "SOCKS proxy, small": ({"all_proxy": "socks5h://127.0.0.1:9"}, "all_proxy", "names a SOCKS proxy"),
    "unknown scheme": ({"HTTPS_PROXY": f"ftp://{PASSWORD}:1"}, "HTTPS_PROXY", "is not the address of a proxy"),
    "no port": ({"HTTP_PROXY": f"http://{PASSWORD}:port"}, "HTTP_PROXY", "is not the address of a proxy"),
    "no address": ({"HTTP_PROXY": "::::"}, "HTTP_PROXY", "is not the address of a proxy"),
    "brackets": ({"NO_PROXY": "localhost,[::1]"}, "NO_PROXY", "has an entry that can't be used"),
    "range": ({"NO_PROXY": "fd00::/8"}, "NO_PROXY", "has an entry that can't be used"),
    "beside a good one": (
        {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "[::1]"},
        "NO_PROXY",
        "has an entry that can't be used",
    ),
    "certificates gone": ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE", "No such file"),
    "certificates in a folder": ({"SSL_CERT_FILE": "/"}, "SSL_CERT_FILE", "names a file that can't be used"),
    "no certificates": ({"SSL_CERT_FILE": os.devnull}, "SSL_CERT_FILE", "names a file that can't be used"),
    "log of keys": ({"SSLKEYLOGFILE": "/nowhere/keys"}, "SSLKEYLOGFILE", "No such file"),
    "two": ({"ALL_PROXY": "socks5://127.0.0.1:9", "SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE", "No such file"),
}


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
            return await gateway.clock()
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
    for variable in NAMES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)

    with pytest.raises(ERRORS[kind]) as error:
        await call(kind, service.url_for("").rstrip("/"))

    assert re.search(rf"{name} .*{re.escape(reason)}", error.value.message)
    assert error.value.next_step == f"Correct or unset the environment variable {name}, then restart."
    assert error.value.charged == "no"
    assert "word" not in str(error.value)
    assert service.log == []


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
