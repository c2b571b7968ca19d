"""The sandbox as a server: its command, its control by tests, its ledger."""

import gc
import signal
import socket
import subprocess
import sys
import threading
import time
from asyncio import BaseTransport
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO

import click
import httpx
import pytest
from click.testing import CliRunner

from kie_ai_mcp_sandbox import command, kie_describe_provider, kie_register_commands
from kie_ai_mcp_sandbox.server import Sandbox
from kie_ai_mcp_sandbox.wire import Protocol
from tests.helpers import LIMIT_S

Connect = Callable[[Sandbox], httpx.Client]

BODY = {"model": "google/nano-banana", "input": {"prompt": "a fox"}}
SERVE = [sys.executable, "-c", "from kie_ai_mcp_sandbox.command import sandbox; sandbox()", "--port", "0"]


def test_addresses_belong_together() -> None:
    with Sandbox() as sandbox:
        assert sandbox.host == f"127.0.0.1:{sandbox.port}"
        assert sandbox.upload_url == f"http://{sandbox.host}"
        assert sandbox.base_url == f"http://{sandbox.host}/api/v1"


def test_stopping_is_quick_and_leaves_no_thread_even_with_open_requests(connect: Connect) -> None:
    before = set(threading.enumerate())
    with Sandbox() as sandbox:
        client = connect(sandbox)
        client.post("jobs/createTask", json={**BODY, "callBackUrl": "http://127.0.0.1:9/"})
        sandbox.play("timeout")
        sandbox.play("slow:60")
        for _ in range(2):
            with pytest.raises(httpx.TimeoutException):
                client.post("jobs/createTask", json=BODY, timeout=0.02)
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert set(threading.enumerate()) == before
    with pytest.raises(httpx.ConnectError):
        client.get("chat/credit")


def test_stopping_while_a_client_waits_ends_its_wait(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = []
    with Sandbox() as sandbox:
        client = connect(sandbox)
        sandbox.play("timeout")

        def ask() -> None:
            try:
                client.post("jobs/createTask", json=BODY)
            except httpx.TransportError as error:
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        deadline = time.monotonic() + 5
        while not sandbox.ledger:
            assert time.monotonic() < deadline
    thread.join(timeout=LIMIT_S)
    assert len(failures) == 1
    assert caplog.records == []


def test_sandbox_comes_back_on_the_same_port_with_its_memory(connect: Connect) -> None:
    with Sandbox() as sandbox:
        client = connect(sandbox)
        client.post("jobs/createTask", json=BODY)
        port = sandbox.port
        sandbox.stop()
        assert len(sandbox.ledger) == 1
        with pytest.raises(httpx.TransportError):
            client.get("chat/credit")
        sandbox.start()
        assert sandbox.port == port
        assert client.get("chat/credit").json()["data"] == 9996


def test_taken_port_is_an_error() -> None:
    with Sandbox() as sandbox, pytest.raises(OSError, match="in use"):
        Sandbox(port=sandbox.port).start()


def test_answers_are_sent_at_once(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    options = []
    ready = Protocol.connection_made

    def connection_made(protocol: Protocol, transport: BaseTransport) -> None:
        ready(protocol, transport)
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(Protocol, "connection_made", connection_made)
    with Sandbox() as sandbox:
        connect(sandbox).get("chat/credit")
    assert len(options) == 1
    assert options[0]


def test_two_sandboxes_know_nothing_of_each_other(connect: Connect) -> None:
    with Sandbox() as one, Sandbox() as other:
        made = connect(one).post("jobs/createTask", json=BODY).json()["data"]["taskId"]
        assert connect(other).get("jobs/recordInfo", params={"taskId": made}).json()["code"] == 422
        assert other.ledger == []


def test_requests_are_noted_with_what_was_answered(connect: Connect) -> None:
    with Sandbox() as sandbox:
        client = connect(sandbox)
        client.post("jobs/createTask", json=BODY)
        client.get("jobs/recordInfo", params={"taskId": "nobody"})
        client.get("nowhere")
        noted = [(seen.method, seen.path, seen.body, seen.code) for seen in sandbox.requests]
    assert noted == [
        ("POST", "/api/v1/jobs/createTask", BODY, 200),
        ("GET", "/api/v1/jobs/recordInfo", None, 422),
        ("GET", "/api/v1/nowhere", None, 404),
    ]


def test_everything_can_be_controlled_over_http(connect: Connect) -> None:
    with Sandbox(hold=True) as sandbox:
        client = connect(sandbox)
        control = f"{sandbox.upload_url}/_sandbox"
        assert client.post(f"{control}/faults", json={"fault": "code:500", "times": 2}).json() == {"ok": True}
        codes = [client.post("jobs/createTask", json=BODY).json()["code"] for _ in range(3)]
        assert codes == [500, 500, 200]
        (accepted,) = client.get(f"{control}/ledger").json()
        assert (accepted["path"], accepted["model"], accepted["body"]) == ("jobs/createTask", BODY["model"], BODY)
        assert [seen["code"] for seen in client.get(f"{control}/requests").json()] == [500, 500, 200]
        client.post(f"{control}/advance", json={"seconds": 60})
        assert client.get(f"{control}/tasks").json()[0]["state"] == "generating"
        client.post(f"{control}/finish", json={"task_id": accepted["task_id"], "fail": "asleep"})
        (task,) = client.get(f"{control}/tasks").json()
        assert (task["state"], task["failure"], task["family"]) == ("fail", "asleep", "market")
        assert client.post(f"{control}/reset").json() == {"ok": True}
        assert client.get(f"{control}/ledger").json() == client.get(f"{control}/requests").json() == []


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("faults", {"fault": "nonsense"}, "there is no fault"),
        ("faults", {"fault": "cut", "times": -1}, "times"),
        ("faults", {}, "fault"),
        ("faults", [], "JSON object"),
        ("finish", {"task_id": "nobody"}, "nobody"),
        ("advance", {"days": 1}, "days"),
    ],
)
def test_control_that_makes_no_sense_is_explained(connect: Connect, path: str, body: object, says: str) -> None:
    with Sandbox() as sandbox:
        answer = connect(sandbox).post(f"{sandbox.upload_url}/_sandbox/{path}", json=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_finishing_a_task_that_has_ended_otherwise_is_an_error(connect: Connect) -> None:
    with Sandbox(hold=True) as sandbox:
        made = connect(sandbox).post("jobs/createTask", json=BODY).json()["data"]["taskId"]
        sandbox.finish(made)
        sandbox.finish(made)  # as one that was faster than its test
        with pytest.raises(ValueError, match="has ended"):
            sandbox.finish(made, fail="too late")


@pytest.fixture
def served() -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts the command in a process of its own; gives the process and the base URL it printed."""
    started: list[subprocess.Popen[str]] = []

    def serve(*options: str) -> tuple[subprocess.Popen[str], str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen([*SERVE, *options], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        assert process.stdout
        words, _, url = process.stdout.readline().strip().rpartition(" ")
        assert words == "sandbox listening on"
        return process, url

    yield serve
    for process in started:
        process.kill()
        process.communicate()


def rest(stream: IO[str] | None) -> str:
    assert stream
    return stream.read()


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't be told to end there")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_serves_until_a_signal_and_ends_well(
    served: Callable[..., tuple[subprocess.Popen[str], str]], number: signal.Signals
) -> None:
    process, url = served("--key", "k", "--credits", "5", "--fault", "code:455*2@chat/credit", "--speed", "10")
    headers = {"Authorization": "Bearer k"}
    answers = [httpx.get(f"{url}/chat/credit", headers=headers, trust_env=False).json() for _ in range(3)]
    assert [answer["code"] for answer in answers] == [455, 455, 200]
    assert answers[2]["data"] == 5
    process.send_signal(number)
    assert process.wait(timeout=LIMIT_S) == 0
    assert rest(process.stdout).endswith("export KIE_AI_API_KEY=k\n")
    assert rest(process.stderr) == ""


def test_command_ends_with_its_stdin(served: Callable[..., tuple[subprocess.Popen[str], str]]) -> None:
    process, url = served("--until-stdin-closes", "--rate-limit", "1")
    with httpx.Client(headers={"Authorization": "Bearer k"}, trust_env=False, verify=False) as client:
        codes = [client.post(f"{url}/jobs/createTask", json=BODY).json()["code"] for _ in range(2)]
    assert codes == [200, 429]
    assert process.stdin
    process.stdin.close()
    assert process.wait(timeout=LIMIT_S) == 0
    assert rest(process.stderr) == ""
    process.stdin = None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fault", "nonsense"], "there is no fault 'nonsense'"),
        (["--speed", "0"], "not in the range x>0"),
        (["--port", "x"], "'x' is not a valid "),
    ],
)
def test_command_explains_what_it_cannot_do(options: list[str], says: str) -> None:
    result = CliRunner().invoke(command.sandbox, options)
    assert result.exit_code == 2
    assert says in result.output


def test_command_explains_a_taken_port() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Sandbox() as sandbox:
        result = CliRunner().invoke(command.sandbox, ["--port", str(sandbox.port)])
    assert result.exit_code == 2
    assert f"can't listen on 127.0.0.1:{sandbox.port}" in result.output
    assert "choose another --port" in result.output
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_plugin_adds_its_commands_and_makes_nothing() -> None:
    group = click.Group()
    kie_register_commands(group)
    assert list(group.commands) == ["sandbox", "demo"]
    assert kie_describe_provider().kinds == ()


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys, kie_ai_mcp.hookspecs; before = set(sys.modules); import kie_ai_mcp_sandbox;"
        "print(sorted(set(sys.modules) - before))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['kie_ai_mcp_sandbox']"


def test_connections_that_come_while_it_stops_are_closed_too() -> None:
    def knock(port: int, opened: threading.Event, ended: threading.Event) -> None:
        with ExitStack() as connections:
            while not ended.is_set():
                try:
                    connections.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))
                except OSError:
                    return
                opened.set()

    for _ in range(10):
        opened, ended = threading.Event(), threading.Event()
        with Sandbox(speed=1000) as sandbox:
            knocking = threading.Thread(target=knock, args=(sandbox.port, opened, ended))
            knocking.start()
            opened.wait()
        ended.set()
        knocking.join()
    gc.collect()  # what is open still would warn now, and warnings are errors
