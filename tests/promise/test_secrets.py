"""Secrets: the key is in no output, whatever echoes it, in any spelling; prompts are only where they are allowed."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until

if TYPE_CHECKING:
    from tests.promise.conftest import Launch, Server

PLAIN = "0123456789abcdef0123456789abcdef"
AWKWARD = "kie/secret+0123456789"
KEYS = (PLAIN, AWKWARD)
PROMPT = "A fox that nobody may know of"
TASK = "task-of-the-test"
FAULTS = ("echo-key", "code:500", "html", "drop-after", "timeout", "http-html:502")

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "in a URL": lambda key: quote(key, safe=""),
    "in a URL's path": quote,
    "in a URL, small": lambda key: quote(key, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "with escaped slashes": lambda key: key.replace("/", "\\/"),
    "with escaped signs": lambda key: key.replace("/", "\\u002f").replace("+", "\\u002B"),
}


def forms(key: str) -> set[str]:
    """Every spelling of the key by which it could be used."""
    return {spell(key) for spell in SPELLINGS.values()}


def texts_of(folder: Path, server: "Server", secrets: set[str]) -> list[str]:
    """Where any of the secrets can be read: in files below the folder (logs and databases too), or on stdout."""
    places = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    places["stdout"] = server.said.encode()
    return [place for place, content in places.items() if any(secret.encode() in content for secret in secrets)]


def finish(server: "Server") -> None:
    server.close_input()
    assert server.ended() == 0


# The service and its proxies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("key", KEYS)
def test_key_is_nowhere_after_a_fault(key: str, fault: str, sandbox: Sandbox, launch: "Launch", tmp_path: Path) -> None:
    server = launch(sandbox, KIE_AI_API_KEY=key, KIE_AI_LOG_LEVEL="debug", KIE_AI_TIMEOUT="1000")
    task_id = server.call("generate_nano_banana", prompt="A fox")["structuredContent"]["task_id"]
    sandbox.play(f"{fault}*always")
    server.call("generate_nano_banana", prompt=PROMPT)
    server.call("get_task_status", task_id=task_id)
    if fault != "timeout":
        server.call("get_task_status", task_id="made-elsewhere")
        server.call("get_credits")
    server.call("list_tasks")
    finish(server)
    assert texts_of(tmp_path, server, forms(key)) == []


class Echo:
    """A service behind a proxy that repeats the key wherever it can, in one spelling."""

    def __init__(self) -> None:
        self.spelt = ""
        self.where = ""

    def answer(self, request: Request) -> Response:
        path, where = request.path.rpartition("/")[2], self.where
        said = f"seen https://proxy.invalid/{self.spelt}/x?key={self.spelt} Bearer {self.spelt}"
        if path == "createTask":
            if where == "a refusal":
                return _raw(f'{{"code": 422, "msg": "{said}", "data": null}}')
            if where == "a page":
                return Response(f"<html>{said}</html>", content_type="text/html")
            if where == "a refusing page":
                return Response(f"<html>{said}</html>", 403, content_type="text/html")
            return _raw(f'{{"code": 200, "msg": "{said}", "data": {{"taskId": "{TASK}"}}}}')
        if path == "recordInfo":
            state = "fail" if "fail" in where else "success"
            result = (
                f'{{"taskId": "{TASK}", "state": "{state}", "failMsg": "{said}", "note": "{said}", "resultUrls": "",'
            )
            result += f'"response": {{"resultUrls": ["http://{request.host}/files/{self.spelt}/1.png"]}}}}'
            return _raw(f'{{"code": 200, "msg": "ok", "data": {result}}}')
        if path == "credit":
            return _raw(f'{{"code": 500, "msg": "{said}", "data": "{said}"}}')
        return Response(f"<html>{said}</html>", 404, {"location": f"http://{request.host}/{self.spelt}"})


def _raw(text: str) -> Response:
    return Response(text, content_type="application/json")


@pytest.fixture
def echo(httpserver: HTTPServer) -> Iterator[Echo]:
    echo = Echo()
    httpserver.expect_request(re.compile(".*")).respond_with_handler(echo.answer)
    yield echo
    httpserver.check()


@pytest.mark.parametrize("where", ["a refusal", "a page", "a refusing page", "a failed task", "a finished task"])
@pytest.mark.parametrize(("key", "spelling"), [(PLAIN, "as it is"), *((AWKWARD, spelling) for spelling in SPELLINGS)])
def test_key_is_nowhere_when_the_service_or_a_proxy_repeats_it(
    key: str, spelling: str, where: str, echo: Echo, httpserver: HTTPServer, launch: "Launch", tmp_path: Path
) -> None:
    echo.spelt, echo.where = SPELLINGS[spelling](key), where
    server = launch(KIE_AI_API_KEY=key, KIE_AI_BASE_URL=httpserver.url_for("/api/v1"), KIE_AI_LOG_LEVEL="debug")
    server.call("generate_nano_banana", prompt="A fox")
    if "task" in where:
        server.call("get_task_status", task_id=TASK)
        server.call("wait_for_tasks", task_ids=[TASK], timeout_s=1)
    server.call("get_credits")
    server.call("list_tasks")
    finish(server)
    assert texts_of(tmp_path, server, forms(key)) == []


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_key_in_the_address_of_the_service_is_nowhere(
    key: str, listening: bool, echo: Echo, httpserver: HTTPServer, launch: "Launch", tmp_path: Path
) -> None:
    echo.where = "a page"
    address = httpserver.url_for("/") if listening else "http://127.0.0.1:9/"
    settings = {"KIE_AI_BASE_URL": f"{address}{quote(key, safe='')}/v1?key={quote(key)}", "KIE_AI_LOG_LEVEL": "debug"}
    server = launch(None, None, KIE_AI_API_KEY=key, **settings)
    server.call("generate_nano_banana", prompt="A fox")
    server.call("get_task_status", task_id="made-elsewhere")
    server.call("get_credits")
    server.call("list_tasks")
    finish(server)
    assert texts_of(tmp_path, server, forms(key)) == []


@pytest.mark.parametrize("password", ["pass word/0123", "passport-0123"])
def test_password_of_a_proxy_in_the_address_of_the_service_is_nowhere(
    password: str, launch: "Launch", tmp_path: Path
) -> None:
    address = f"http://somebody:{quote(password, safe='')}@127.0.0.1:9/api/v1"
    server = launch(None, None, KIE_AI_BASE_URL=address, KIE_AI_LOG_LEVEL="debug")
    server.call("generate_nano_banana", prompt="A fox")
    server.call("get_task_status", task_id="made-elsewhere")
    server.call("get_credits")
    finish(server)
    assert texts_of(tmp_path, server, forms(password)) == []


# What breaks ---------------------------------------------------------------------------------------------------------

BREAKS = ("write ahead", "create", "record accepted", "read", "record outcome", "list unsettled")


@pytest.mark.parametrize("at", BREAKS)
def test_key_is_nowhere_when_something_breaks_and_the_server_lives_on(
    at: str, sandbox: Sandbox, launch: "Launch", tmp_path: Path
) -> None:
    orders = {"at": at, "do": "raise"}
    server = launch(sandbox, orders, KIE_AI_API_KEY=AWKWARD, KIE_AI_LOG_LEVEL="debug", KIE_AI_OUTPUT_DIR="")
    server.call("generate_nano_banana", prompt="A fox")
    server.call("get_task_status", task_id="made-elsewhere")
    server.call("list_tasks")
    assert server.call("generate_nano_banana", prompt="An owl")["structuredContent"]["status"] == "pending"
    finish(server)
    assert texts_of(tmp_path, server, forms(AWKWARD)) == []


def test_server_lives_on_when_catching_up_with_earlier_tasks_breaks(
    sandbox: Sandbox, launch: "Launch", tmp_path: Path
) -> None:
    server = launch(sandbox, KIE_AI_API_KEY=AWKWARD)
    server.call("generate_nano_banana", prompt="A fox")
    finish(server)
    sandbox.advance(10)
    server = launch(sandbox, {"at": "save", "do": "raise"}, KIE_AI_API_KEY=AWKWARD)
    server.call("list_tasks")
    until(lambda: "LookupError" in server.errors)
    assert server.call("generate_nano_banana", prompt="An owl")["structuredContent"]["status"] == "pending"
    finish(server)
    assert texts_of(tmp_path, server, forms(AWKWARD)) == []


@pytest.mark.parametrize("name", ["prompt", "image_size", "no_such_argument", "callBackUrl", "idempotency_key"])
def test_key_among_the_arguments_is_repeated_nowhere(
    name: str, sandbox: Sandbox, launch: "Launch", tmp_path: Path
) -> None:
    server = launch(sandbox, KIE_AI_API_KEY=AWKWARD, KIE_AI_LOG_LEVEL="debug")
    given: dict[str, Any] = {"prompt": "A fox", name: f"https://a.invalid/?key={AWKWARD}"}
    server.call("generate_nano_banana", **given)
    server.call("get_task_status", task_id=AWKWARD)
    server.call("list_tasks")
    finish(server)
    assert texts_of(tmp_path, server, forms(AWKWARD)) == []


@pytest.mark.parametrize("words", [("serve", "--strict"), ()])
@pytest.mark.parametrize("setting", ["KIE_AI_TIMEOUT", "KIE_AI_BASE_URL", "KIE_AI_DB_PATH", "KIE_AI_OUTPUT_DIR"])
def test_key_in_the_wrong_setting_is_repeated_nowhere(
    setting: str, words: tuple[str, ...], launch: "Launch", tmp_path: Path
) -> None:
    settings = {"KIE_AI_API_KEY": AWKWARD, setting: f"/proc/{AWKWARD}"}
    server = launch(None, None, *words, **settings)
    if not words:
        assert server.call("generate_nano_banana", prompt="A fox")["isError"]
        server.call("list_tasks")
        server.close_input()
    assert server.ended() == (2 if words else 0)
    assert texts_of(tmp_path, server, forms(AWKWARD)) == []


# Prompts -------------------------------------------------------------------------------------------------------------


def test_prompt_is_kept_where_it_may_be(sandbox: Sandbox, launch: "Launch", tmp_path: Path) -> None:
    server = launch(sandbox)
    task_id = server.call("generate_nano_banana", prompt=PROMPT)["structuredContent"]["task_id"]
    server.call("wait_for_tasks", task_ids=[task_id])
    finish(server)
    (sidecar,) = (tmp_path / "out").glob("*.json")
    assert json.loads(sidecar.read_text("utf-8"))["arguments"] == {"prompt": PROMPT}
    assert any(place.startswith("tasks.db") for place in texts_of(tmp_path, server, {PROMPT}))


@pytest.mark.parametrize("fate", ["saved", "refused", "lost", "killed", "unrecorded", "failed"])
def test_prompt_that_is_not_to_be_stored_is_in_no_file(
    fate: str, sandbox: Sandbox, launch: "Launch", tmp_path: Path
) -> None:
    orders: dict[str, Any] = {}
    if fate == "unrecorded":
        orders = {"at": "create", "when": "after", "do": "limit", "size": 2_000}
    elif fate == "killed":
        orders = {"at": "record accepted"}
    elif fate in {"refused", "lost"}:
        sandbox.play("code:402" if fate == "refused" else "drop-after", path="createTask")
    server = launch(sandbox, orders, KIE_AI_STORE_PROMPTS="false", KIE_AI_LOG_LEVEL="debug")
    asked = server.ask("generate_nano_banana", prompt=PROMPT + (" [fail]" if fate == "failed" else ""))
    if fate != "killed":
        task_id = server.answer(asked)["structuredContent"].get("task_id")
        if fate in {"saved", "failed"}:
            server.call("wait_for_tasks", task_ids=[task_id])
            assert len(list((tmp_path / "out").glob("*"))) == (2 if fate == "saved" else 0)
        server.close_input()
    server.ended()
    assert [place for place in texts_of(tmp_path, server, {PROMPT}) if place != "stdout"] == []


@pytest.mark.parametrize("where", ["a refusal", "a refusing page", "a failed task"])
def test_prompt_that_the_service_repeats_is_not_stored_either(
    where: str, echo: Echo, httpserver: HTTPServer, launch: "Launch", tmp_path: Path
) -> None:
    echo.spelt, echo.where = PROMPT, where
    server = launch(KIE_AI_BASE_URL=httpserver.url_for("/api/v1"), KIE_AI_STORE_PROMPTS="false")
    server.call("generate_nano_banana", prompt=PROMPT)
    if "task" in where:
        server.call("get_task_status", task_id=TASK)
    finish(server)
    assert [place for place in texts_of(tmp_path, server, {PROMPT}) if place != "stdout"] == []


ELEMENTS = {"name": "fox", "description": PROMPT, "element_input_urls": ["https://m.invalid/1.png"] * 2}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("generate_speech", {"text": PROMPT, "style": PROMPT}),
        ("generate_music", {"prompt": PROMPT, "lyrics": PROMPT, "title": PROMPT, "style": PROMPT}),
        ("run_model", {"model": "kling-3.0-omni/text-to-video", "input": {"prompt": PROMPT}}),
        (
            "run_model",
            {
                "model": "kling-3.0/video",
                "input": {
                    "prompt": "the fox runs",
                    "duration": "5",
                    "mode": "std",
                    "sound": False,
                    "multi_shots": False,
                    "image_urls": ["https://m.invalid/0.png"],
                    "kling_elements": [ELEMENTS],
                },
            },
        ),
    ],
)
def test_words_in_any_argument_are_stored_nowhere(
    tool: str, arguments: dict[str, Any], sandbox: Sandbox, launch: "Launch", tmp_path: Path
) -> None:
    server = launch(sandbox, KIE_AI_STORE_PROMPTS="false", KIE_AI_ENABLED_PROVIDERS="market,speech,suno")
    task_id = server.call(tool, **arguments)["structuredContent"]["task_id"]
    server.call("wait_for_tasks", task_ids=[task_id])
    finish(server)
    assert [place for place in texts_of(tmp_path, server, {PROMPT}) if place != "stdout"] == []
    names = [path.name.lower() for path in (tmp_path / "out").iterdir()]
    assert names
    assert not [name for name in names if "nobody" in name]


def test_same_request_is_known_again_without_its_prompt(sandbox: Sandbox, launch: "Launch") -> None:
    sandbox.play("drop-after", path="createTask")
    server = launch(sandbox, KIE_AI_STORE_PROMPTS="false")
    server.call("generate_nano_banana", prompt=PROMPT)
    reply = server.call("generate_nano_banana", prompt=PROMPT)
    assert "resolve_submission" in reply["structuredContent"]["next_step"]
    assert len(sandbox.ledger) == 1
