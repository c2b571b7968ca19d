"""What who runs the server over HTTP sees of it: lines of the log, probes, figures."""

import base64
import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import Wire
from tests.helpers import LIMIT_S, until
from tests.hosts.talk import Posts
from tests.wire.processes import STATELESS

if TYPE_CHECKING:
    from tests.wire.conftest import Run, RunIn, SiteIn, Spawn
    from tests.wire.processes import Site

PROMPT = "A fox that stays among us"
TOKEN = "a-token-of-the-tests"
LOGGER = "kie_ai_mcp.requests"
AWKWARD = 'kie-"secret"\\0123456789'


def records(site: "Site") -> list[dict[str, Any]]:
    """The lines of its stderr, each of which must be a JSON object."""
    return [json.loads(line) for line in site.child.errors.splitlines()]


def calls(site: "Site") -> list[dict[str, Any]]:
    """The lines about calls among them."""
    return [record for record in records(site) if record["logger"] == LOGGER]


# The log -------------------------------------------------------------------------------------------------------------


def test_each_call_is_one_line_without_its_words(site_in: "SiteIn", sandbox: Sandbox, tmp_path: Path) -> None:
    with site_in(tmp_path, sandbox=sandbox) as site:
        task_id = site.tool("generate_nano_banana", prompt=PROMPT)["structuredContent"]["task_id"]
        assert site.tool("wait_for_tasks", task_ids=[task_id])["structuredContent"]["tasks"][0]["credits"]
        assert site.tool("get_task_status", task_id=task_id)["structuredContent"]["credits"]
        assert site.tool("get_credits")["structuredContent"]["credits"]
        site.tool("list_tasks")
        site.tool("generate_nano_banana", prompt=PROMPT, no_such_argument=1)
        assert site.client.post("/tools/call", json={"name": "no_such_tool"}).status_code == 404
        sandbox.play("drop-after@createTask")
        site.tool("generate_nano_banana", prompt=f"{PROMPT}, again")
    lines = [line for line in site.child.errors.splitlines() if LOGGER in line]
    assert len(lines) == 8
    assert not [line for line in lines[1:4] if "credits=" in line]
    assert re.search(
        rf"INFO {LOGGER}: who=- tool=generate_nano_banana outcome=accepted task_id={task_id} "
        r"estimated_credits=[\d.]+ took_s=[\d.]+$",
        lines[0],
    )
    assert [re.findall("tool=(.*?) outcome=([a-z]+)", line)[0] for line in lines[1:]] == [
        ("wait_for_tasks", "ok"),
        ("get_task_status", "ok"),
        ("get_credits", "ok"),
        ("list_tasks", "ok"),
        ("generate_nano_banana", "refused"),
        ("-", "error"),
        ("generate_nano_banana", "unknown"),
    ]
    assert [re.findall(" reason=([A-Za-z]+)", line) for line in lines[5:]] == [["InvalidArgument"], [], ["Unknown"]]
    assert PROMPT not in site.child.errors


def test_requests_that_are_turned_away_and_uploads_are_lines_without_a_token(
    site_in: "SiteIn", sandbox: Sandbox, tmp_path: Path
) -> None:
    with site_in(tmp_path, sandbox=sandbox, KIE_AI_HTTP_TOKEN=TOKEN) as site:
        assert site.client.post("/tools/call", headers={"Authorization": "Bearer wrong-token"}).status_code == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert site.client.post("/uploads", content=b"no picture", headers=bearer).status_code == 422
        assert site.client.get("/gallery", headers={**bearer, "Host": "evil.example"}).status_code == 421
        assert site.client.post("/mcp", headers={**bearer, "Origin": "https://evil.example"}).status_code == 403
    assert "refused: who=- method=POST path='/tools/call' status=401 from=127.0.0.1" in site.child.errors
    assert "who=- upload=422" in site.child.errors
    assert "path='/gallery' status=421 from=127.0.0.1 host='evil.example'" in site.child.errors
    assert "path='/mcp' status=403 from=127.0.0.1 origin='https://evil.example'" in site.child.errors
    assert "wrong-token" not in site.child.errors


def test_server_over_stdio_logs_no_calls_unless_asked(spawn: "Spawn", sandbox: Sandbox) -> None:
    for level, count in ("", 0), ("info", 1):
        child = spawn(sandbox=sandbox, KIE_AI_LOG_LEVEL=level, KIE_AI_ENABLED_PROVIDERS="nano-banana")
        child.greet("2025-11-25")
        child.call("list_tasks")
        child.close_input()
        assert child.ended() == 0
        assert child.errors.count(LOGGER) == count


def test_every_line_is_an_object_and_masked(site_in: "SiteIn", sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "out").touch()  # a file, where a folder is to be
    more = {"KIE_AI_LOG_PROMPTS": "true", "KIE_AI_API_KEY": AWKWARD, "KIE_AI_LOG_LEVEL": "debug", "KIE_AI_NOTHING": "1"}
    with site_in(tmp_path, "--log-format", "json", sandbox=sandbox, **more) as site:
        site.tool("generate_nano_banana", prompt=f"{PROMPT} {AWKWARD}")
        site.client.post("/mcp", content="no JSON", headers={"Accept": "application/json, text/event-stream"})
        site.child.process.send_signal(signal.SIGTERM)
        assert site.child.ended() == 0
    lines = records(site)
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    loggers = {line["logger"] for line in lines}
    assert {"stderr", "uvicorn.error", LOGGER} <= loggers
    assert any(logger.startswith("mcp.") for logger in loggers)
    (call,) = calls(site)
    assert (call["tool"], call["outcome"], call["who"]) == ("generate_nano_banana", "refused", "-")
    assert json.loads(call["arguments"]) == {"prompt": f"{PROMPT} [key]"}
    assert not {AWKWARD, json.dumps(AWKWARD)[1:-1], json.dumps(json.dumps(AWKWARD))[3:-3]} & {site.child.errors}
    assert "0123456789" not in site.child.errors
    assert any("KIE_AI_NOTHING" in line["message"] for line in lines)


def test_failure_at_the_start_is_an_object_as_well(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "tasks.db").write_bytes(b"no database" * 100)
    done = run("serve", "--http", "--strict", "--port", "0", "--log-format", "json")
    assert done.returncode == 2
    (line,) = map(json.loads, done.stderr.splitlines())
    assert "tasks.db" in line["message"]


def test_command_speaks_to_a_person_whatever_a_server_logs(run: "Run") -> None:
    done = run("tasks", "show", "no-such-task", KIE_AI_LOG_FORMAT="json", KIE_AI_NOTHING="1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("kie-ai-mcp-server: No task 'no-such-task'")
    assert "{" not in done.stderr


def test_traceback_is_a_field_of_one_line(tmp_path: Path) -> None:
    source = (
        "import sys, threading, warnings\n"
        "from kie_ai_mcp._settings.load import load_settings\n"
        "from kie_ai_mcp._settings.logging import log_to_stderr\n"
        "log_to_stderr(load_settings())\n"
        "warnings.warn('Beware of key-of-the-tests')\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "print('printed', file=sys.stderr)\n"
        "raise ValueError('key-of-the-tests\\nand more')\n"
    )
    (tmp_path / "fails.py").write_text(source, encoding="utf-8")
    environ = {"KIE_AI_API_KEY": "key-of-the-tests", "KIE_AI_LOG_FORMAT": "json", "HOME": str(tmp_path)}
    command = [sys.executable, str(tmp_path / "fails.py")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    lines = [*map(json.loads, done.stderr.splitlines())]
    ours = "kie_ai_mcp._settings.logging"
    assert [line["logger"] for line in lines] == ["py.warnings", ours, "stderr", ours]
    assert "ZeroDivisionError" in lines[1]["traceback"]
    assert "ValueError: [key]\nand more" in lines[3]["traceback"]
    assert "key-of-the-tests" not in done.stderr


# Probes --------------------------------------------------------------------------------------------------------------


def ready(site: "Site") -> tuple[int, list[str]]:
    """The answer of the probe, and its reasons."""
    answer = site.client.get("/readyz", headers={"Host": "10.1.2.3:8080"})
    return answer.status_code, answer.json().get("reasons", [])


def test_server_is_ready_while_it_takes_paid_requests(site_in: "SiteIn", sandbox: Sandbox, tmp_path: Path) -> None:
    out, database = tmp_path / "out", tmp_path / "tasks.db"
    with site_in(tmp_path, "--host", "0.0.0.0", sandbox=sandbox, KIE_AI_HTTP_TOKEN=TOKEN) as site:
        assert ready(site) == (200, [])
        out.rename(tmp_path / "away")
        out.touch()
        assert ready(site) == (503, ["The output folder can't be written."])
        out.unlink()
        assert ready(site) == (200, [])
        database.with_name("tasks.db-wal").unlink(missing_ok=True)
        database.unlink()
        assert ready(site) == (503, ["The task database can't be used."])
        assert site.client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"KIE_AI_API_KEY": ""}, "No key of a service is set."),
        ({"KIE_AI_BASE_URL": "ftp://me:secret-word@x.example"}, "A setting can't be used: base_url."),
    ],
)
def test_reason_names_no_value(settings: Any, reason: str, site_in: "SiteIn", tmp_path: Path) -> None:
    with site_in(tmp_path, **settings) as site:
        assert ready(site) == (503, [reason])
    assert ("no key of a service is set: nothing paid is sent" in site.child.errors) == (reason[:6] == "No key")


def test_database_that_hangs_is_answered_for_in_time(site_in: "SiteIn", wire: Wire, tmp_path: Path) -> None:
    with site_in(tmp_path, KIE_AI_DATABASE_URL=wire.address) as site:
        assert ready(site) == (200, [])
        wire.hangs.set()
        for _ in range(2):
            begun = time.monotonic()
            status, (reason,) = ready(site)
            assert (status, time.monotonic() - begun < 2) == (503, True)
            assert reason == "The task database or the output folder did not answer within 1.5 s."
        assert httpx.get(f"{site.url}/healthz", trust_env=False).status_code == 200
        wire.hangs.clear()
        until(lambda: ready(site) == (200, []))


# Figures -------------------------------------------------------------------------------------------------------------


def figures(site: "Site", **headers: str) -> dict[str, float]:
    """What /metrics says, read by the library's own parser: numbers by name and labels."""
    answer = site.client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in import_module("prometheus_client.parser").text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_figures_say_what_was_done_and_nothing_of_its_words(site_in: "SiteIn", tmp_path: Path) -> None:
    with Sandbox(hold=True) as sandbox, site_in(tmp_path, sandbox=sandbox) as site:
        first = figures(site)
        assert (first["kie_ai_tasks_running"], first["kie_ai_oldest_running_task_age_seconds"]) == (0, 0)
        task_id = site.tool("generate_nano_banana", prompt=PROMPT)["structuredContent"]["task_id"]
        site.tool("generate_nano_banana", prompt=PROMPT, max_credits=0.5)
        sandbox.play("drop-after@createTask")
        site.tool("generate_nano_banana", prompt=f"{PROMPT}, again")
        site.tool("list_tasks")
        site.client.post("/tools/call", json={"name": PROMPT})
        with ThreadPoolExecutor(1) as pool:
            wait = {"name": "wait_for_tasks", "arguments": {"task_ids": [task_id], "timeout_s": 60}}
            waiting = pool.submit(site.client.post, "/tools/call", json=wait)
            until(lambda: figures(site)["kie_ai_tasks_awaited"] == 1)
            found = figures(site)
            sandbox.finish(task_id)
            waiting.result()
        text = site.client.get("/metrics").text
        after = figures(site)
    calls = {
        name.partition("{")[2]: value for name, value in found.items() if name.startswith("kie_ai_tool_calls_total")
    }
    assert calls == {
        "outcome=accepted,tool=generate_nano_banana}": 1,
        "outcome=refused,tool=generate_nano_banana}": 1,
        "outcome=unknown,tool=generate_nano_banana}": 1,
        "outcome=ok,tool=list_tasks}": 1,
        "outcome=error,tool=-}": 1,
    }
    names = ("accepted", "unknown", "refused", "cancelled")
    made = {outcome: found[f"kie_ai_paid_requests_total{{outcome={outcome}}}"] for outcome in names}
    assert made == {"accepted": 1, "unknown": 1, "refused": 0, "cancelled": 0}
    price = found["kie_ai_credits_total{outcome=accepted}"]
    assert price == found["kie_ai_credits_total{outcome=unknown}"] > 0
    assert (found["kie_ai_tasks_running"], found["kie_ai_requests_unknown"]) == (1, 1)
    assert 0 < found["kie_ai_oldest_running_task_age_seconds"] < 60
    assert found["kie_ai_requests_waiting"] == 0
    assert found["kie_ai_database_seconds_count"] == found["kie_ai_database_seconds_bucket{le=+Inf}"] > 5
    assert found["kie_ai_database_seconds_sum"] > 0
    assert sys.platform != "linux" or found["process_resident_memory_bytes"] > 0
    assert (after["kie_ai_tasks_awaited"], after["kie_ai_tasks_running"]) == (0, 0)
    assert after["kie_ai_tool_calls_total{outcome=ok,tool=wait_for_tasks}"] == 1
    assert not [secret for secret in (PROMPT, task_id, "key-of-the-tests") if secret in text]


def test_requests_that_wait_for_a_slot_are_counted(site_in: "SiteIn", tmp_path: Path) -> None:
    limits = {"KIE_AI_RATE_LIMIT": "1", "KIE_AI_RATE_WINDOW_S": "30"}
    with Sandbox(hold=True) as sandbox, site_in(tmp_path, sandbox=sandbox, **limits) as site:
        site.tool("generate_nano_banana", prompt="One")
        with ThreadPoolExecutor(2) as pool:
            for number in range(2):
                call = {"name": "generate_nano_banana", "arguments": {"prompt": f"{number}"}}
                pool.submit(site.client.post, "/tools/call", json=call)
            until(lambda: figures(site)["kie_ai_requests_waiting"] == 2)
            site.child.process.send_signal(signal.SIGTERM)


def test_figures_need_the_token_where_there_is_one(site_in: "SiteIn", tmp_path: Path) -> None:
    with site_in(tmp_path, "--host", "0.0.0.0", KIE_AI_HTTP_TOKEN=TOKEN) as site:
        assert site.client.get("/metrics").status_code == 401
        basic = base64.b64encode(f"x:{TOKEN}".encode()).decode()
        assert site.client.get("/metrics", headers={"Authorization": f"Basic {basic}"}).status_code == 401
        assert "kie_ai_tasks_running" in figures(site, Authorization=f"Bearer {TOKEN}")


def test_users_are_named_in_the_log_and_counted_together(
    site_in: "SiteIn", run_in: "RunIn", sandbox: Sandbox, tmp_path: Path
) -> None:
    tokens = {}
    for name in ("ada", "root"):
        done = run_in(tmp_path, "users", "add", name, *["--admin"] * (name == "root"), "--json")
        tokens[name] = json.loads(done.stdout)["token"]
    with site_in(tmp_path, sandbox=sandbox, KIE_AI_HTTP_TOKEN=TOKEN) as site:
        for name, token in tokens.items():
            site.client.headers["Authorization"] = f"Bearer {token}"
            site.tool("generate_nano_banana", prompt=f"{PROMPT} and {name}")
            assert site.client.get("/metrics").status_code == 401
        assert site.client.get("/metrics", headers={"Authorization": ""}).status_code == 401
        found = figures(site, Authorization=f"Bearer {TOKEN}")
        assert site.client.post("/tools/call", headers={"Authorization": f"Bearer {TOKEN}"}, json={}).status_code == 401
        assert ready(site) == (200, [])
    assert found["kie_ai_tool_calls_total{outcome=accepted,tool=generate_nano_banana}"] == 2
    assert found["kie_ai_paid_requests_total{outcome=accepted}"] == 2
    lines = [line for line in site.child.errors.splitlines() if LOGGER in line]
    assert ["who=ada" in lines[0], "who=root" in lines[1], len(lines)] == [True, True, 2]
    assert not [token for token in (*tokens.values(), TOKEN) if token in site.child.errors]


def test_database_that_hangs_does_not_hold_up_the_other_figures(site_in: "SiteIn", wire: Wire, tmp_path: Path) -> None:
    with site_in(tmp_path, KIE_AI_DATABASE_URL=wire.address, KIE_AI_HTTP_TOKEN=TOKEN) as site:
        site.client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert "kie_ai_tasks_running" in figures(site)
        wire.hangs.set()
        begun = time.monotonic()
        found = figures(site)
        assert time.monotonic() - begun < 4
        assert "kie_ai_tasks_running" not in found
        assert "kie_ai_requests_waiting" in found
        wire.hangs.clear()
        until(lambda: "kie_ai_tasks_running" in figures(site))


# Traces --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["stdio", "http"])
def test_spans_reach_the_collector_before_the_end(
    way: str, site_in: "SiteIn", spawn: "Spawn", httpserver: HTTPServer, tmp_path: Path
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    httpserver.expect_request("/v1/traces", method="POST").respond_with_data(b"")
    settings: Any = {"OTEL_EXPORTER_OTLP_ENDPOINT": httpserver.url_for(""), "KIE_AI_ENABLED_PROVIDERS": "nano-banana"}
    settings["OTEL_BSP_SCHEDULE_DELAY"] = "60000"
    if way == "stdio":
        child = spawn(**settings)
        child.greet("2025-11-25")
        child.call("list_tasks", words=PROMPT)
        child.process.send_signal(signal.SIGTERM)
        assert child.ended() == 0
    else:
        with site_in(tmp_path, **settings) as site:
            Posts(site, STATELESS).answer("tools/call", {"name": "list_tasks", "arguments": {"words": PROMPT}})
            site.child.process.send_signal(signal.SIGTERM)
            assert site.child.ended() == 0
    sent = b"".join(request.get_data() for request, _ in httpserver.log)
    assert b"tools/call list_tasks" in sent
    assert b"kie-ai-mcp-server" in sent
    assert PROMPT.encode() not in sent


def test_collector_that_is_not_there_does_not_hold_up_the_end(spawn: "Spawn") -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    child = spawn(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", KIE_AI_ENABLED_PROVIDERS="nano-banana")
    child.greet("2025-11-25")
    child.call("list_tasks")
    begun = time.monotonic()
    child.process.send_signal(signal.SIGTERM)
    assert child.ended() == 0
    assert time.monotonic() - begun < 5
    assert "Traceback" not in child.errors
