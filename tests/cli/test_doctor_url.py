"""``doctor --url``: a server elsewhere is looked at as a client does, and each failure is named with its cure."""

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp._cli import remote_look

if TYPE_CHECKING:
    from tests.cli.conftest import Ended, Run
    from tests.conftest import Environment

TOKEN = "token-of-the-tests-0123"


@pytest.fixture(scope="module")
def address(environment: "Environment", tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that asks for a token."""
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "kie_ai_mcp", "serve", "--http", "--port", "0"]
    env = environment(folder, None, KIE_AI_HTTP_TOKEN=TOKEN, KIE_AI_ENABLED_PROVIDERS="nano-banana")
    with subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        yield line.split()[-1]
        server.kill()


def look(run: "Run", *arguments: str, **settings: Any) -> tuple["Ended", dict[str, str]]:
    ended = run("doctor", "--json", *arguments, **settings)
    (found,) = json.loads(ended.stdout)
    return ended, found


def test_server_that_answers_is_named_with_its_tools(run: "Run", address: str) -> None:
    ended, found = look(run, "--url", address, "--token-env", "KIE_TOKEN", KIE_TOKEN=TOKEN)
    assert (ended.code, found["state"]) == (0, "ok"), found
    assert found["found"].startswith("kie-ai ")
    assert int(found["found"].split()[-2]) > 5
    assert TOKEN not in ended.stdout


@pytest.mark.parametrize("token", ["", "another-token-0123456"])
def test_token_that_lacks_or_is_wrong_is_named(run: "Run", address: str, token: str) -> None:
    given = ("--token-env", "KIE_TOKEN") if token else ()
    ended, found = look(run, "--url", address, *given, KIE_TOKEN=token)
    assert (ended.code, found["state"]) == (1, "fail")
    assert "answers 401" in found["found"]
    assert "--token-env" in found["cure"]
    assert "another-token" not in ended.stdout


def test_variable_without_a_token_is_named(run: "Run") -> None:
    _, found = look(run, "--url", "https://kie.example", "--token-env", "KIE_TOKEN")
    assert (found["check"], found["found"]) == ("token", "KIE_TOKEN holds no token.")


@pytest.mark.parametrize(
    ("answer", "found", "cure"),
    [
        ({"status": 404, "response_data": "no"}, "answers 404", "ends with /mcp"),
        ({"status": 502, "response_data": "<html>"}, "answers 502", "The proxy reaches no server"),
        ({"status": 421, "response_data": '{"error": "not known as x"}'}, "not known as x", "KIE_AI_ALLOWED_HOSTS"),
        ({"status": 302, "headers": {"Location": "/kie/mcp"}}, "leads to '/kie/mcp' (302)", "leads to"),
        ({"status": 200, "response_data": "<html>Welcome"}, "is no MCP server", "Check the path"),
        ({"status": 200, "response_data": '{"result": {}}'}, "is no MCP server", "Check the path"),
    ],
)
def test_answer_of_something_else_is_put_into_words(
    run: "Run", httpserver: HTTPServer, answer: dict[str, Any], found: str, cure: str
) -> None:
    httpserver.expect_request("/mcp", method="POST").respond_with_data(**answer)
    ended, row = look(run, "--url", httpserver.url_for("/mcp"))
    assert (ended.code, row["state"]) == (1, "fail")
    assert found in row["found"]
    assert cure in row["cure"]


def test_server_that_wants_users_to_sign_in_is_well(run: "Run", httpserver: HTTPServer) -> None:
    where = {"WWW-Authenticate": 'Bearer resource_metadata="https://kie.example/.well-known/x"'}
    httpserver.expect_request("/mcp").respond_with_data("", status=401, headers=where)
    ended, row = look(run, "--url", httpserver.url_for("/mcp"))
    assert (ended.code, "OAuth" in row["found"]) == (0, True)


def test_nobody_who_listens_is_named(run: "Run") -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    _, row = look(run, "--url", f"http://127.0.0.1:{port}")
    assert "127.0.0.1 can't be reached" in row["found"]


def test_server_without_tls_and_one_that_is_silent_are_named(run: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_look, "LIMIT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        _, row = look(run, "--url", f"http://127.0.0.1:{port}")
        assert "has not answered within 0.2 s" in row["found"]
        listener.accept()[0].close()

        def speak() -> None:
            with listener.accept()[0] as plain:
                plain.recv(1000)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        speaker = threading.Thread(target=speak)
        speaker.start()
        monkeypatch.setattr(remote_look, "LIMIT_S", 10)
        _, row = look(run, "--url", f"https://127.0.0.1:{port}")
        speaker.join()
    assert "does not speak TLS" in row["found"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "The name kie.example is not known."),
        (ssl.SSLCertVerificationError("self-signed"), "The certificate of kie.example is not accepted"),
    ],
)
def test_unknown_name_and_bad_certificate_are_named(
    run: "Run", monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    def fails(*_: Any) -> None:
        raise URLError(error)

    if isinstance(error, ssl.SSLError):
        error.verify_message = "self-signed certificate"  # type: ignore[attr-defined]  # as the library sets it
    monkeypatch.setattr(remote_look.Look, "_open", fails)
    _, row = look(run, "--url", "https://kie.example")
    assert words in row["found"]


def test_address_is_checked_as_for_install(run: "Run", tmp_path: Path) -> None:
    ended = run("doctor", "--url", f"https://me:{TOKEN}@kie.example/mcp")
    assert (ended.code, TOKEN in ended.stderr, "--url" in ended.stderr) == (2, False, True)
