"""The server over HTTP: the protocol, plain calls, the gallery, access checks, and its end."""

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner
from mcp import Client

from kie_ai_mcp._cli.main import cli
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S, until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.wire.conftest import SiteIn
    from tests.wire.processes import Site

TOKEN = "a-token-of-the-tests"
BASIC = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
LIMIT = 16 * 1024 * 1024
ENDS_S = 6.0


@pytest.fixture(scope="module")
def site(site_in: "SiteIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Site"]:
    """A server that listens on this machine alone, without a token."""
    with Sandbox(speed=10_000) as sandbox, site_in(tmp_path_factory.mktemp("site"), sandbox=sandbox) as site:
        yield site


@pytest.fixture(scope="module")
def guarded(site_in: "SiteIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Site"]:
    """A server that other machines may reach, with a token and a name."""
    folder, hosts = tmp_path_factory.mktemp("guarded"), ("--host", "0.0.0.0")
    with site_in(folder, *hosts, KIE_AI_HTTP_TOKEN=TOKEN, KIE_AI_ALLOWED_HOSTS="box.local") as site:
        yield site


# What is served ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "generate_nano_banana", "arguments": {"prompt": "A surreal painting of a giant banana"}}',
        '{"name": "generate_veo3_video", "arguments": {"prompt": "A cat playing a piano", "aspectRatio": "16:9"}}',
    ],
)
def test_plain_call_of_the_earlier_server_makes_a_task(site: "Site", body: str) -> None:
    answer = site.client.post("/tools/call", content=body, headers={"Content-Type": "application/json"})
    result = answer.json()
    assert (answer.status_code, result["isError"], result["structuredContent"]["status"]) == (200, False, "pending")
    (task,) = site.tool("wait_for_tasks", task_ids=[result["structuredContent"]["task_id"]])["structuredContent"][
        "tasks"
    ]
    assert (task["status"], len(task["files"])) == ("completed", 1)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.anyio
async def test_both_eras_of_the_protocol_list_call_and_tell_progress(site: "Site", mode: Any) -> None:
    messages = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        messages.append(message)

    async with Client(f"{site.url}/mcp", mode=mode, read_timeout_seconds=10) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        made = await client.call_tool("generate_nano_banana", {"prompt": f"A fox, {mode}"})
        asked = {"task_ids": [(made.structured_content or {})["task_id"]]}
        waited = await client.call_tool("wait_for_tasks", asked, progress_callback=tell)
        refused = await client.call_tool("generate_nano_banana", {"prompt": ""})
    assert {"generate_nano_banana", "generate_veo3_video", "wait_for_tasks"} <= names
    assert (waited.structured_content or {})["tasks"][0]["status"] == "completed"
    assert any("completed" in (message or "") for message in messages)
    assert refused.is_error


# Legacy clients hold a session; the others cancel a request by closing its connection.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("/tools/call", {}),
    "2025-11-25": ("/mcp", {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}),
}


def test_caller_whose_connection_was_lost_gets_its_task_when_it_asks_again(
    site_in: "SiteIn", tmp_path: Path, rows: "Rows"
) -> None:
    accept = {"Accept": "application/json, text/event-stream"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "Cursor", "version": "1"}}
    with Sandbox(hold=True) as sandbox, site_in(tmp_path, sandbox=sandbox, KIE_AI_WAIT_S="20") as site:
        begin = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        session = site.client.post("/mcp", json=begin, headers=accept).headers["mcp-session-id"]
        headers = {**accept, "Mcp-Session-Id": session, "Mcp-Protocol-Version": "2025-11-25"}
        calls = {}
        for way, (path, message) in WAYS.items():
            call = {"name": "generate_nano_banana", "arguments": {"prompt": f"A fox on a {way} line"}}
            calls[way] = path, {**message, "params": call} if message else call
            with pytest.raises(httpx.ReadTimeout):
                site.client.post(path, json=calls[way][1], headers=headers, timeout=0.5)
        until(lambda: len(sandbox.ledger) == len(calls))
        for paid in sandbox.ledger:
            sandbox.finish(paid.task_id)
        # Nobody hears what the calls, which still wait, now answer.
        until(lambda: [task["status"] for task in rows(tmp_path, "tasks")] == ["completed"] * len(calls))
        for (path, call), paid in zip(calls.values(), sandbox.ledger, strict=True):
            again = {**call, "id": 8} if "id" in call else call
            answer = site.client.post(path, json=again, headers=headers).text
            assert paid.task_id in answer
            assert "never reached its caller; nothing new was bought" in answer
        assert len(sandbox.ledger) == len(calls)


def test_refused_call_is_a_result_that_says_so(site: "Site") -> None:
    result = site.tool("generate_nano_banana", prompt="A fox", image_sise="1:1")
    assert result["isError"]
    assert "image_size" in result["structuredContent"]["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "word"),
    [
        ('{"name": "generate_nano_bananas"}', "application/json", 404, "generate_nano_banana"),
        ('{"name": 1}', "application/json", 400, "arguments"),
        ('{"arguments": {}}', "application/json", 400, "name"),
        ('{"name": "list_tasks", "arguments": []}', "application/json", 400, "object"),
        ('{"name": "list_tasks", "argument": {}}', "application/json", 400, "Did you mean arguments?"),
        ("[" * 100_000, "application/json", 400, "JSON"),
        ("", "application/json", 400, "JSON"),
        ('{"name": "list_tasks"}', "text/plain", 415, "application/json"),
        ('{"name": "list_tasks"}', "", 415, "application/json"),
    ],
)
def test_malformed_call_is_answered_with_what_is_wrong(
    site: "Site", content: str, kind: str, status: int, word: str
) -> None:
    answer = site.client.post("/tools/call", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert word in answer.json()["error"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("GET", "/tools/call", 405)])
def test_unknown_address_is_answered_with_the_known_ones(site: "Site", method: str, path: str, status: int) -> None:
    answer = site.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(
        f"{method} '{path}' is not answered here. There are /mcp, POST /tools/call,"
    )
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


def test_gallery_shows_saved_pictures_and_nothing_else_can_be_fetched(site: "Site") -> None:
    made = site.tool("generate_nano_banana", prompt="A fox in a gallery")["structuredContent"]
    (task,) = site.tool("wait_for_tasks", task_ids=[made["task_id"]])["structuredContent"]["tasks"]
    picture = Path(task["files"][0])
    found = re.search(rf'"\.(/gallery/[0-9a-f]+/[^/"]+/1/{picture.name})"', site.client.get("/gallery").text)
    assert found
    answer = site.client.get(found[1])
    assert (answer.headers["content-type"], answer.content) == ("image/png", picture.read_bytes())
    others = (
        f"/gallery/0/{made['task_id']}/1/{picture.name}",
        f"{found[1]}.json",
        "/gallery/..%2f..%2ftasks.db",
        "/gallery//etc/passwd",
    )
    assert {site.client.get(address).status_code for address in others[:1] + others[2:]} == {404}
    assert site.client.get(others[1]).content == picture.read_bytes()  # the mark counts, not the name
    picture.unlink()
    assert site.client.get(found[1]).status_code == 404


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3:8080", "[fd00::9]:3000", "kie-7c9.pod.local", "evil.example", ""]
)
def test_health_is_answered_by_any_name_without_a_word_more(site: "Site", host: str) -> None:
    answer = site.client.get("/healthz", headers={"Host": host})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("end", ["/", "//"])
def test_slash_at_the_end_of_an_address_changes_nothing(site: "Site", end: str) -> None:
    headers = {"Accept": "application/json, text/event-stream"}
    calls: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        ("POST", "/tools/call", {"name": "list_tasks"}),
        ("POST", "/callbacks/kie", {"code": 200}),
        ("GET", "/healthz", None),
        ("GET", "/gallery", None),
    )
    for method, path, body in calls:
        plain = site.client.request(method, path, json=body, headers=headers)
        answer = site.client.request(method, path + end, json=body, headers=headers)
        assert (answer.status_code, answer.history) == (plain.status_code, []), path
        assert answer.status_code in {200, 400}, path


@pytest.mark.anyio
async def test_client_that_asks_for_what_it_missed_gets_a_new_stream(site: "Site") -> None:
    headers = {"Accept": "application/json, text/event-stream", "Last-Event-ID": "41"}
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
    greeting = site.client.post(
        "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}, headers=headers
    )
    session = {"Mcp-Session-Id": greeting.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-11-25"}
    with site.client.stream("GET", "/mcp", headers=headers | session) as stream:
        assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream")
    assert site.client.get("/mcp", headers=headers).status_code == 400  # without a session, and no 500
    assert "without starting response" not in site.child.errors


# Who is let in -------------------------------------------------------------------------------------------------------

ADDRESSES = (
    ("GET", "/gallery"),
    ("GET", "/gallery/"),
    ("POST", "/tools/call"),
    ("POST", "/mcp"),
    ("POST", "/callbacks/kie"),
)


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:3000"}, 421),
        ({"Host": "evil.example@127.0.0.1:x"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "file://localhost"}, 403),
    ],
)
def test_other_names_and_other_sites_pages_are_refused(
    site: "Site", method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = site.client.request(method, path, headers=headers, json={"name": "list_tasks"})
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers", [{"Host": "localhost:9"}, {"Host": "[::1]:3000"}, {"Origin": "http://localhost:6274"}]
)
def test_names_of_this_machine_are_let_in(site: "Site", headers: dict[str, str]) -> None:
    assert site.client.post("/tools/call", headers=headers, json={"name": "list_tasks"}).status_code == 200


@pytest.mark.parametrize(("path", "size"), [("/tools/call", LIMIT), ("/mcp", LIMIT), ("/callbacks/kie", 1024 * 1024)])
def test_larger_requests_than_the_limit_are_refused(site: "Site", path: str, size: int) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    answer = site.client.post(path, content=b" " * (size + 1), headers=headers)
    assert answer.status_code == 413
    chunks = iter([b" " * size, b" "])  # without saying beforehand how much there is
    assert site.client.post(path, content=chunks, headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "authorization", "status"),
    [
        *((method, path, "", 401) for method, path in ADDRESSES[:4]),
        *((method, path, f"Bearer {TOKEN}x", 401) for method, path in ADDRESSES[:4]),
        ("POST", "/tools/call", f"Bearer {TOKEN}", 200),
        ("POST", "/tools/call", f"Basic {BASIC}", 401),
        ("GET", "/gallery", f"Bearer {TOKEN}", 200),
        ("GET", "/gallery", f"Basic {BASIC}", 200),
        ("GET", "/gallery", "Basic %%%", 401),
        ("GET", "/gallery/0/tasks.db", "", 401),
        ("GET", "/healthz", "", 200),
        ("POST", "/callbacks/kie", "", 400),
    ],
)
def test_token_is_asked_for(guarded: "Site", method: str, path: str, authorization: str, status: int) -> None:
    headers = {"Authorization": authorization, "Host": "box.local"}
    answer = guarded.client.request(method, path, headers=headers, json={"name": "list_tasks"})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert TOKEN not in answer.text + guarded.child.errors


# Pages ---------------------------------------------------------------------------------------------------------------

PAGES = {
    "http://localhost:6274": True,
    "http://127.0.0.1:5173": True,
    "https://[::1]:8443": True,
    "https://app.example": True,
    "https://APP.example:443": True,
    "https://app.example:8443": False,
    "http://app.example": False,
    "http://dev.example:1234": True,
    "tauri://localhost": True,
    "vscode-webview://0kq3abc": True,
    "chrome-extension://0kq3abc": False,
    "https://evil.example": False,
    "https://app.example.evil.example": False,
    "https://evil.example/https://app.example": False,
    "http://localhost.evil.example": False,
    "http://evil.example@localhost": False,
    "null": False,
    "*": False,
    "": False,
}
ALLOWED = "https://app.example/, http://dev.example:*, tauri://localhost, vscode-webview://*"
MCP_HEADERS = "authorization,content-type,mcp-protocol-version,mcp-session-id,mcp-method,mcp-param-prompt"


@pytest.fixture(scope="module")
def shared_site(site_in: "SiteIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator["Site"]:
    """A server with a token that further pages may call."""
    folder = tmp_path_factory.mktemp("pages")
    with site_in(folder, KIE_AI_HTTP_TOKEN=TOKEN, KIE_AI_ALLOWED_ORIGINS=ALLOWED) as site:
        yield site


@pytest.mark.parametrize("origin", PAGES)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/tools/call"])
def test_browser_is_told_which_pages_may_call(shared_site: "Site", origin: str, path: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": MCP_HEADERS}
    before = shared_site.client.options(path, headers={"Origin": origin, **asked})
    call = {"name": "list_tasks"}
    without_token = shared_site.client.post(path, json=call, headers={"Origin": origin})
    allowed = PAGES[origin]
    assert before.status_code == (200 if allowed else 403)
    assert without_token.status_code == (401 if allowed else 403)
    for answer in (before, without_token):
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "access-control-allow-credentials" not in answer.headers
    if allowed:
        assert before.headers["access-control-allow-headers"] == MCP_HEADERS
        assert {"GET", "POST", "DELETE"} <= set(before.headers["access-control-allow-methods"].split(", "))
        exposed = without_token.headers["access-control-expose-headers"].lower()
        assert "mcp-session-id" in exposed
        assert "www-authenticate" in exposed


def test_session_is_shown_to_a_page(site: "Site") -> None:
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
    headers = {"Accept": "application/json, text/event-stream", "Origin": "http://localhost:6274"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}
    answer = site.client.post("/mcp", json=body, headers=headers)
    assert answer.headers["mcp-session-id"]
    assert answer.headers["access-control-allow-origin"] == "http://localhost:6274"


def test_page_of_this_machine_is_refused_where_the_host_is_another_s(site: "Site") -> None:
    headers = {"Origin": "http://localhost:6274", "Host": "evil.example", "Access-Control-Request-Method": "POST"}
    assert site.client.options("/mcp", headers=headers).status_code == 421


# Start and end -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taken() -> Iterator[str]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        ("--http --host 0.0.0.0", {}, ("0.0.0.0", "KIE_AI_HTTP_TOKEN")),
        ("--http --host box.local", {}, ("box.local", "KIE_AI_HTTP_TOKEN")),
        ("--http --host nowhere.invalid", {"KIE_AI_HTTP_TOKEN": TOKEN}, ("nowhere.invalid", "--host")),
        ("--http --port TAKEN", {}, ("TAKEN", "--port")),
        ("--http", {"KIE_AI_HTTP_TOKEN": "short-one"}, ("KIE_AI_HTTP_TOKEN can't be used", "16 characters")),
        ("--http --strict", {"KIE_AI_PUBLIC_URL": "kie.example"}, ("KIE_AI_PUBLIC_URL", "https://")),
        ("--http --strict", {"KIE_AI_PUBLIC_URL": "https://kie.example/?a=b"}, ("KIE_AI_PUBLIC_URL", "before any ?")),
        (
            "--http --strict",
            {"KIE_AI_ALLOWED_HOSTS": "kie, *.kie.example"},
            ("KIE_AI_ALLOWED_HOSTS", "*.kie.example is no host"),
        ),
        (
            "--http --strict",
            {"KIE_AI_ALLOWED_ORIGINS": "*"},
            ("KIE_AI_ALLOWED_ORIGINS", "* is no origin", "https://app.example"),
        ),
        ("--http", {"KIE_AI_OAUTH_ISSUER": "https://login.example"}, ("KIE_AI_OAUTH_ISSUER", "KIE_AI_PUBLIC_URL")),
        ("--http", {"KIE_AI_OAUTH_ISSUER": "http://login.example"}, ("KIE_AI_OAUTH_ISSUER", "https://")),
        ("--port 3000", {}, ("--http",)),
        ("--http --reload", {}, ("--http",)),
    ],
)
def test_wrong_start_is_one_line_with_the_cure(
    arguments: str, settings: dict[str, str], words: tuple[str, ...], taken: str, tmp_path: Path
) -> None:
    values = {"KIE_AI_DB_PATH": str(tmp_path / "tasks.db"), "KIE_AI_ENABLED_PROVIDERS": "veo3", **settings}
    # A server that starts all the same is ended as any other.
    bound = threading.Timer(20, os.kill, (os.getpid(), signal.SIGTERM))
    bound.start()
    try:
        ended = CliRunner().invoke(cli, ["serve", *arguments.replace("TAKEN", taken).split()], env=values)
    finally:
        bound.cancel()
    (line,) = ended.stderr.splitlines()
    may_pass = "TAKEN" in arguments or "nowhere" in arguments
    assert (ended.exit_code, ended.stdout) == (1 if may_pass else 2, "")
    assert [word for word in words if word.replace("TAKEN", taken) not in line] == []
    assert "short-one" not in line


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")
@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_lets_paid_requests_end_and_cuts_waits(
    site_in: "SiteIn", tmp_path: Path, rows: "Rows", received: signal.Signals
) -> None:
    with Sandbox(hold=True) as sandbox, site_in(tmp_path, sandbox=sandbox) as site, ThreadPoolExecutor(2) as pool:
        first = site.tool("generate_nano_banana", prompt="A fox before")["structuredContent"]["task_id"]
        sandbox.play("slow:0.5@createTask")
        wait = {"name": "wait_for_tasks", "arguments": {"task_ids": [first], "timeout_s": 60}}
        waiting = pool.submit(site.client.post, "/tools/call", json=wait)
        paying = pool.submit(site.tool, "generate_nano_banana", prompt="A fox meanwhile")
        until(lambda: len(sandbox.ledger) == 2 and any("recordInfo" in seen.path for seen in sandbox.requests))
        site.child.process.send_signal(received)
        until(lambda: httpx.get(f"{site.url}/readyz", trust_env=False).status_code == 503)
        assert httpx.get(f"{site.url}/readyz", trust_env=False).json()["reasons"] == ["The server is ending."]
        assert httpx.get(f"{site.url}/healthz", trust_env=False).status_code == 200
        site.child.process.send_signal(signal.SIGTERM)  # a second one does not cut the ending short
        assert paying.result()["structuredContent"]["task_id"] == sandbox.ledger[1].task_id
        cut = waiting.result()
        assert (cut.status_code, cut.json()["error"]) == (
            503,
            "The server is ending. Tasks that run go on by themselves. Call again once it runs.",
        )
        assert site.child.ended(ENDS_S) == (0 if received == signal.SIGTERM else 128 + received)
    assert {row["state"] for row in rows(tmp_path, "submissions")} == {"accepted"}
    assert "Traceback" not in site.child.errors
    lines = site.child.errors.splitlines()
    first, last = (line for line in lines if "kie_ai_mcp.requests" not in line)
    assert first == lines[0]
    assert f"{received.name}: no new requests are taken" in last


def test_serving_over_stdio_does_not_pay_for_the_web_server() -> None:
    code = (
        "import sys, mcp.server.lowlevel, mcp.server.stdio; sdk = {*sys.modules};"
        "import kie_ai_mcp._mcp.server;"
        "web = ('uvicorn', 'starlette', 'watchfiles', 'kie_ai_mcp._web.site', 'kie_ai_mcp_authors.reload');"
        "print([name for name in {*sys.modules} - sdk if name.startswith(web)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"
