"""The gallery as an MCP App: in a scripted host that is a page in a real browser, over the real server."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.client import ClientExtension, advertise
from PIL import Image

from kie_ai_mcp import Outcome
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.gallery import MOST_BYTES
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._mcp.apps import EXTENSION, MIME_TYPE
from kie_ai_mcp._mcp.content import listing, result_of
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox
from tests.gallery.hosts import GALLERY, NULL, Host

if TYPE_CHECKING:
    from tests.gallery.conftest import Browser, Past

pytestmark = pytest.mark.anyio

TASKS = "kie-ai/tasks"
SHOWS = advertise(EXTENSION, {"mimeTypes": [MIME_TYPE]})
HOST = "https://tempfile.aiquickdraw.com"
LINK = f"{HOST}/f/fox.png"
PICTURES = "[...document.querySelectorAll('.card img')].map((image) => image.naturalWidth)"
CARDS = "[...document.querySelectorAll('.card .prompt')].map((prompt) => prompt.textContent)"
STATES = "[...document.querySelectorAll('.card .state')].map((state) => state.textContent)"
BUTTONS = "[...document.querySelectorAll('.card button')]"
WAKE = "document.dispatchEvent(new Event('visibilitychange'))"


def png(width: int = 640, height: int = 480) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


@dataclass
class Stage:
    """A server over a history, a sandbox as its service, and a host that shows its app."""

    past: "Past"
    client: Client
    host: Host
    sandbox: Sandbox


@pytest.fixture
async def stage(past: "Past", browser: "Browser", tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(past, browser, tmp_path) as stage:
        yield stage


@asynccontextmanager
async def staged(past: "Past", browser: "Browser", folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """Serve a history, with a sandbox for what is made anew; every request of the web is answered here."""
    with Sandbox(hold=True) as sandbox:
        values = {"db_path": past.record.path, "output_dir": folder / "out", "api_key": "key-of-the-tests"}
        values |= {"base_url": sandbox.base_url, "enabled_providers": ("nano-banana", "veo3"), "watch": False}
        app = App.open(Settings.model_validate(values | settings))
        browser.intercept({LINK: ("image/png", png())})
        try:
            async with app.engine.running(), Client(server_of(app), extensions=[SHOWS]) as client:
                yield Stage(past, client, Host(browser, client, folder), sandbox)
        finally:
            browser.let_through()
            app.engine.record.close()


# What the server gives -----------------------------------------------------------------------------------------------


async def test_three_tools_name_the_page_and_no_list_of_resources_does(stage: Stage) -> None:
    tools = (await stage.client.list_tools()).tools
    named = {tool.name: tool.meta["ui"] for tool in tools if tool.meta and "ui" in tool.meta}
    assert named == {name: {"resourceUri": GALLERY} for name in ("show_result", "wait_for_tasks", "list_tasks")}
    assert GALLERY not in {str(entry.uri) for entry in (await stage.client.list_resources()).resources}


async def test_page_may_load_results_and_nothing_else(stage: Stage) -> None:
    await stage.past.task(outcome=stage.past.done("https://Cdn.example:8443/a.png", "http://plain.example/b.png"))
    odd = ("https://a.example;script-src *.evil/c.png", "https://u:p@b.example/", "https://*.evil.example/d.png")
    await stage.past.task(outcome=stage.past.done(*odd))
    (content,) = (await stage.client.read_resource(GALLERY)).contents
    assert content.mime_type == "text/html;profile=mcp-app"
    assert content.meta is not None
    domains = content.meta["ui"].pop("csp").pop("resourceDomains")
    assert content.meta["ui"] == {"permissions": {"clipboardWrite": {}}, "prefersBorder": False}
    assert domains == ["https://*.aiquickdraw.com", "https://*.redpandaai.co", "https://cdn.example:8443"]


async def test_clients_of_older_revisions_hear_nothing_of_the_page(stage: Stage) -> None:
    app = App.open(Settings.model_validate({"db_path": stage.past.record.path}))
    for revision in ("2024-11-05", "2025-03-26"):
        assert [tool.name for tool in listing(app, revision).tools if tool.meta] == []
        answer = result_of(Answer("words", entries=[{"task_id": "a"}]), revision)
        assert TASKS not in (answer.meta or {})
    assert len([tool for tool in listing(app, "2025-06-18").tools if tool.meta]) == 3
    app.engine.record.close()


async def test_words_of_answers_are_the_same_as_without_a_page(stage: Stage) -> None:
    task_id = await stage.past.task("A fox", outcome=stage.past.done(LINK), files=(stage.past.picture(),))
    shown = await stage.client.call_tool("show_result", {"task_id": task_id})
    listed = await stage.client.call_tool("list_tasks", {})
    assert shown.structured_content is None
    assert listed.structured_content is not None
    assert TASKS not in json.dumps([block.model_dump(mode="json") for block in (*shown.content, *listed.content)])
    assert "again" not in json.dumps(listed.structured_content)
    for answer in (shown, listed):
        assert answer.meta is not None
        (entry,) = answer.meta[TASKS]
        assert (entry["task_id"], entry["prompt"], entry["credits"]) == (task_id, "A fox", 4.0)
        assert entry["again"] == {
            "tool": "generate_nano_banana",
            "arguments": {"prompt": "A fox"},
            "prompt": ["prompt"],
        }
        file = {"number": 1, "kind": "image", "url": LINK, "uri": f"kie://files/{task_id}/1", "name": "picture.png"}
        assert entry["results"] == [file]


async def test_deep_arguments_of_one_task_leave_every_answer_whole(stage: Stage) -> None:
    deep: Any = "end"
    for _ in range(190):
        deep = [deep]
    await stage.past.task("Deep", arguments={"deep": deep}, outcome=stage.past.done(LINK))
    listed = await stage.client.call_tool("list_tasks", {})
    assert not listed.is_error
    assert listed.meta is not None
    (entry,) = listed.meta[TASKS]
    assert entry["again"]["arguments"]["deep"] == deep


async def test_answer_is_whole_where_its_entries_can_not_be_made(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("nested too deep")

    monkeypatch.setattr("kie_ai_mcp._app.gallery.task_entry", fail)
    task_id = await stage.past.task("A fox", outcome=stage.past.done(LINK))
    shown = await stage.client.call_tool("show_result", {"task_id": task_id})
    assert not shown.is_error
    assert shown.meta is None or TASKS not in shown.meta
    assert "the gallery's entries could not be made" in caplog.text


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize(
    ("declared", "is_given"),
    [
        (None, False),
        (advertise("io.modelcontextprotocol/tasks"), False),
        (advertise(EXTENSION, {"mimeTypes": ["text/html"]}), False),
        (advertise(EXTENSION), True),
        (SHOWS, True),
    ],
)
async def test_entries_are_made_for_clients_that_show_pages_alone(
    past: "Past", tmp_path: Path, mode: str, declared: ClientExtension | None, is_given: bool
) -> None:
    app = App.open(Settings.model_validate({"db_path": past.record.path, "watch": False}))
    task_id = await past.task("A fox", outcome=past.done(LINK))
    extensions = [] if declared is None else [declared]
    async with app.engine.running(), Client(server_of(app), mode=mode, extensions=extensions) as client:
        for name, arguments in (("list_tasks", {}), ("show_result", {"task_id": task_id})):
            answer = await client.call_tool(name, arguments)
            assert not answer.is_error
            assert (TASKS in (answer.meta or {})) is is_given
    app.engine.record.close()


async def test_words_that_are_not_stored_are_in_no_metadata_either(
    past: "Past", browser: "Browser", tmp_path: Path
) -> None:
    async with staged(past, browser, tmp_path, store_prompts=False) as stage:
        made = await stage.client.call_tool("generate_nano_banana", {"prompt": "A secret fox"})
        assert made.structured_content is not None
        task_id = made.structured_content["task_id"]
        waited = await stage.client.call_tool("wait_for_tasks", {"task_ids": [task_id], "timeout_s": 1})
        assert waited.meta is not None
        (entry,) = waited.meta[TASKS]
        assert "again" not in entry
        assert "secret" not in json.dumps(waited.meta)


async def test_metadata_hold_no_key_and_no_call_that_lacks_one(stage: Stage) -> None:
    await stage.past.task("Say key-of-the-tests", outcome=Outcome("failed", error="key-of-the-tests is wrong"))
    listed = await stage.client.call_tool("list_tasks", {})
    assert listed.meta is not None
    (entry,) = listed.meta[TASKS]
    assert entry["error"] == "[key] is wrong"
    assert "again" not in entry
    assert "key-of-the-tests" not in json.dumps(listed.meta)


async def test_metadata_are_bounded_and_arguments_are_whole_or_left_out(stage: Stage) -> None:
    for number in range(50):
        await stage.past.task(f"fox {number} {'x' * 700}", outcome=stage.past.done(LINK))
    await stage.past.task("long", arguments={"negative": "y" * 50_000}, outcome=stage.past.done(LINK))
    listed = await stage.client.call_tool("list_tasks", {"limit": 50})
    assert listed.meta is not None
    entries = listed.meta[TASKS]
    assert len(json.dumps(entries)) <= MOST_BYTES
    assert "again" not in entries[0]
    assert len(entries[1]["again"]["arguments"]["prompt"]) > 700
    assert len(listed.model_dump_json(by_alias=True)) < 100_000
    await stage.host.show("list_tasks", limit=50)
    assert len(stage.host.ask(CARDS)) == 50


# What is seen --------------------------------------------------------------------------------------------------------


async def test_picture_is_loaded_from_its_link_and_nothing_from_elsewhere(stage: Stage) -> None:
    task_id = await stage.past.task("A fox", outcome=stage.past.done(LINK), model="google/nano-banana")
    await stage.host.show("show_result", task_id=task_id)
    await stage.host.until(f"({PICTURES})[0] === 640")
    words = stage.host.ask("document.querySelector('.card').textContent")
    for part in ("nano-banana", "A fox", "Completed", "4 credits", "$0.02", "google/nano-banana", task_id):
        assert part in words
    assert {*stage.host.browser.requests} == {LINK}
    assert stage.host.reads == []
    assert stage.host.faults == []


@pytest.mark.parametrize("link", ["https://gone.aiquickdraw.com/a.png", "http://tempfile.aiquickdraw.com/a.png"])
async def test_saved_picture_is_read_from_the_server_where_its_link_is_of_no_use(stage: Stage, link: str) -> None:
    task_id = await stage.past.task(outcome=stage.past.done(link), files=(stage.past.picture(size=(300, 500)),))
    await stage.host.show("show_result", task_id=task_id)
    await stage.host.until(f"({PICTURES})[0] === 300")
    assert stage.host.reads == [f"kie://files/{task_id}/1"]
    assert [address for address in stage.host.browser.requests if address.startswith("http:")] == []


async def test_saved_picture_outlives_its_link(stage: Stage) -> None:
    task_id = await stage.past.task(outcome=stage.past.done(LINK, days_ago=9), files=(stage.past.picture(),))
    await stage.host.show("show_result", task_id=task_id)
    await stage.host.until(f"({PICTURES})[0] === 640")
    assert stage.host.browser.requests == []
    assert stage.host.ask(STATES) == ["Completed"]
    assert "Open" not in stage.host.buttons


async def test_result_that_can_not_be_shown_is_said_to_be_so(stage: Stage) -> None:
    task_id = await stage.past.task(outcome=stage.past.done("https://gone.aiquickdraw.com/a.png"))
    await stage.host.open()
    stage.host.give(await stage.client.call_tool("list_tasks", {}))
    await stage.host.until("document.querySelector('.unshown')?.textContent === \"It can't be shown here.\"")
    assert stage.host.reads == [f"kie://files/{task_id}/1"]


async def test_running_task_is_followed_to_its_end(stage: Stage) -> None:
    made = await stage.client.call_tool("generate_nano_banana", {"prompt": "A fox"})
    assert made.structured_content is not None
    task_id = made.structured_content["task_id"]
    await stage.host.open()
    stage.host.notify("tool-input", arguments={"task_ids": [task_id]})
    await stage.host.until("document.getElementById('empty').textContent === 'Waiting for 1 task…'")
    stage.host.give(await stage.client.call_tool("wait_for_tasks", {"task_ids": [task_id], "timeout_s": 1}))
    await stage.host.until(f"({STATES})[0] === 'Processing' || ({STATES})[0] === 'Pending'")
    assert stage.host.calls == []
    stage.sandbox.finish(task_id)
    stage.host.ask(WAKE)
    await stage.host.until(f"({STATES})[0] === 'Completed'")
    await stage.host.until(f"({PICTURES})[0] > 0")
    assert {*map(str, stage.host.calls)} == {str(("wait_for_tasks", {"task_ids": [task_id], "timeout_s": 3}))}
    assert stage.host.ask("document.getElementById('news').textContent") == "nano-banana image: Completed"
    assert stage.host.faults == []


async def test_list_shows_tasks_and_lost_requests_with_their_sums(stage: Stage) -> None:
    await stage.past.task("One fox", outcome=stage.past.done(LINK))
    await stage.past.task("Two foxes", outcome=Outcome("failed", error="Not allowed.", credits=0))
    await stage.host.show("list_tasks")
    assert stage.host.ask(CARDS) == ["Two foxes", "One fox"]
    assert "Not allowed." in stage.host.ask("document.querySelector('.card').textContent")
    assert stage.host.ask("document.getElementById('summary').value") == "2 entries · 4 credits"


async def test_words_of_an_answer_without_tasks_are_shown(stage: Stage) -> None:
    await stage.host.open()
    stage.host.give({"content": [{"type": "text", "text": "No task <b>x</b> is on record."}], "isError": True})
    await stage.host.until("document.getElementById('empty').textContent === 'No task <b>x</b> is on record.'")


async def test_answer_without_metadata_is_shown_all_the_same(stage: Stage) -> None:
    await stage.past.task("A fox", outcome=stage.past.done(LINK))
    result = await stage.client.call_tool("list_tasks", {})
    await stage.host.open()
    stage.host.give(result.model_copy(update={"meta": None}))
    await stage.host.until(f"({PICTURES})[0] === 640")
    assert stage.host.ask(CARDS) == ["A fox"]
    assert "Again · " not in " ".join(stage.host.buttons)


# The host's light, style and size ------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_app_follows_the_hosts_light_not_the_systems(stage: Stage, theme: str) -> None:
    stage.host.browser.look(500, 700, dark=theme == "light")
    stage.host.context = {"theme": theme}
    await stage.host.show("list_tasks")
    text = "getComputedStyle(document.body).color"
    assert stage.host.ask(text) == {"light": "rgb(28, 28, 31)", "dark": "rgb(237, 237, 240)"}[theme]
    stage.host.notify("host-context-changed", theme={"light": "dark", "dark": "light"}[theme])
    await stage.host.until(f"{text} === { ({'dark': 'rgb(28, 28, 31)', 'light': 'rgb(237, 237, 240)'}[theme])!r}")


async def test_hosts_style_is_taken_and_what_is_no_style_is_not(stage: Stage) -> None:
    stage.host.context = {
        "styles": {
            "variables": {
                "--color-text-primary": "rgb(1, 2, 3)",
                "--color-background-primary": "url(https://evil.example/a.png)",
                "--color-border-primary": "red; } body { display: none",
                "--border-radius-lg": "3px",
                "--page": "red",
                "--font-sans": "serif",
            },
            "css": {"fonts": "@import url(https://evil.example/a.css);"},
        },
        "locale": "de-DE",
        "timeZone": "nonsense",
        "safeAreaInsets": {"top": 7, "right": 0, "bottom": 0, "left": 0},
    }
    await stage.past.task("A fox", outcome=stage.past.done(LINK))
    await stage.host.show("list_tasks")
    style = stage.host.ask("document.documentElement.style.cssText")
    taken = ("--color-text-primary: rgb(1, 2, 3);", "--border-radius-lg: 3px;", "--font-sans: serif;")
    assert all(part in style for part in taken)
    assert not any(part in style for part in ("evil", "--page", "display", "red"))
    assert "padding: 7px 0px 0px" in style
    assert stage.host.ask("getComputedStyle(document.body).color") == "rgb(1, 2, 3)"
    assert stage.host.ask("/^\\d\\d\\.\\d\\d\\.\\d{4}, /.test(document.querySelector('.card time').textContent)")
    await stage.host.until(f"({PICTURES})[0] === 640")
    assert stage.host.browser.requests == [LINK]


@pytest.mark.parametrize("width", [320, 1200])
async def test_host_is_told_how_large_the_app_is(stage: Stage, width: int) -> None:
    for name in ("One fox", "Two foxes", "Three foxes"):
        await stage.past.task(name, outcome=stage.past.done(LINK))
    stage.host.browser.look(width, 700)
    await stage.host.show("list_tasks")
    await stage.host.until(f"({PICTURES}).every((width) => width === 640)")
    height = "Math.ceil(app.contentDocument.documentElement.getBoundingClientRect().height)"
    stage.host.browser.wait(f"sizes.at(-1).height === {height}")
    assert stage.host.ask("document.documentElement.scrollWidth") <= width
    await stage.host.until("document.documentElement.scrollHeight <= window.innerHeight")


# Buttons -------------------------------------------------------------------------------------------------------------


async def ready(stage: Stage, **task: Any) -> str:
    """Show one finished task; return its id."""
    given = {"prompt": "A fox", "outcome": stage.past.done(LINK), "arguments": {"output_format": "png"}, **task}
    task_id = await stage.past.task(given.pop("prompt"), **given)
    await stage.host.show("show_result", task_id=task_id)
    return task_id


async def test_app_can_be_used_with_the_keyboard_alone(stage: Stage) -> None:
    await ready(stage)
    focused = "(document.activeElement && document.activeElement.textContent) || ''"
    for _ in range(30):
        if stage.host.ask(f"({focused}).startsWith('Again')"):
            break
        stage.host.browser.press("Tab")
    assert stage.host.ask("document.activeElement.matches(':focus-visible')")
    stage.host.browser.press("Enter")
    await stage.host.until("document.querySelectorAll('.card').length === 2")
    assert len(stage.sandbox.ledger) == 1


async def test_double_click_on_make_again_makes_one_task_anew(stage: Stage) -> None:
    await ready(stage)
    assert stage.host.buttons == ["Again · ~4 credits", "Vary", "Save", "Open", "Copy prompt"]
    stage.host.press("Again")
    stage.host.press("Again")
    await stage.host.until("document.querySelectorAll('.card').length === 2")
    ((name, arguments),) = [call for call in stage.host.calls if call[0] != "wait_for_tasks"]
    key = arguments.pop("idempotency_key")
    assert (name, arguments) == ("generate_nano_banana", {"prompt": "A fox", "output_format": "png"})
    assert len(stage.sandbox.ledger) == 1
    assert "is started." in stage.host.said
    assert stage.host.ask(STATES)[1] == "Completed"
    stage.host.press("Again")
    await stage.host.until("document.querySelectorAll('.card').length === 3")
    assert stage.host.calls[-1][1]["idempotency_key"] != key or stage.host.calls[-1][0] == "wait_for_tasks"
    assert len(stage.sandbox.ledger) == 2


async def test_call_that_the_host_did_not_pass_on_keeps_its_key(stage: Stage) -> None:
    await ready(stage)
    stage.host.answers["generate_nano_banana"] = ConnectionError("the server is gone")
    for _ in range(2):
        stage.host.press("Again")
        await stage.host.until("document.querySelector('.said').textContent.includes('the server is gone')")
        stage.host.ask("document.querySelector('.said').textContent = ''")
    first, second = (arguments["idempotency_key"] for _, arguments in stage.host.calls)
    assert first == second


@pytest.mark.parametrize(
    "answer",
    [
        NULL,
        {"content": [{"type": "text", "text": "The user declined."}], "isError": True},
        {"content": "odd", "structuredContent": {"task_id": "odd", "status": "completed-ish"}},
        {"resultType": "input_required", "inputRequests": {"consent": {"method": "elicitation/create"}}},
    ],
)
async def test_answer_that_names_no_task_keeps_its_key_so_that_it_is_not_paid_twice(stage: Stage, answer: Any) -> None:
    await ready(stage)
    stage.host.answers["generate_nano_banana"] = answer
    for _ in range(2):
        stage.host.press("Again")
        await stage.host.until("!['', 'Sending…'].includes(document.querySelector('.said').textContent)")
        assert "TypeError" not in stage.host.said
        stage.host.ask("document.querySelector('.said').textContent = ''")
    del stage.host.answers["generate_nano_banana"]
    stage.host.press("Again")
    await stage.host.until("document.querySelectorAll('.card').length === 2")
    made = [arguments["idempotency_key"] for name, arguments in stage.host.calls if name == "generate_nano_banana"]
    assert len(made) == 3
    assert len({*made}) == 1
    assert stage.host.faults == []


async def test_task_as_an_answer_is_shown_and_followed(stage: Stage) -> None:
    await ready(stage)
    stage.host.answers["generate_nano_banana"] = {"resultType": "task", "taskId": "t-1", "status": "working"}
    stage.host.press("Again")
    await stage.host.until("document.querySelectorAll('.card').length === 2")
    assert stage.host.ask(STATES)[0] == "Pending"
    stage.host.ask(WAKE)
    await stage.host.until("true")
    await stage.host.answer()
    assert ("wait_for_tasks", {"task_ids": ["t-1"], "timeout_s": 3}) in stage.host.calls


async def test_price_of_words_that_changed_meanwhile_is_not_taken(stage: Stage) -> None:
    await ready(stage)
    stage.host.press("Vary")
    write = "((field) => { field.value = %r; field.dispatchEvent(new window.Event('input')); })"
    write += "(document.querySelector('textarea'))"
    stage.host.ask(write % "Two")
    stage.host.press("Make · price?")
    stage.host.browser.wait("inbox.length === 1")
    stage.host.ask(write % "Three")
    await stage.host.until("document.querySelector('.vary button').ariaBusy === 'false'")
    assert stage.host.ask("document.querySelector('.vary button').textContent") == "Make · price?"
    assert len(stage.sandbox.ledger) == 0


async def test_price_of_another_service_is_shown_in_its_unit(stage: Stage) -> None:
    await stage.host.open()
    again = {"tool": "run_model", "arguments": {"model": "fal:x", "input": {}}}
    entry = {"task_id": "a", "gateway": "fal", "credits": 0.05, "unit": "USD", "status": "completed", "again": again}
    stage.host.give({"content": [], "_meta": {TASKS: [entry]}})
    await stage.host.until("document.querySelectorAll('.card').length === 1")
    assert stage.host.buttons == ["Again · ~0.05 USD"]
    assert stage.host.ask("document.querySelector('.price').textContent") == "0.05 USD"
    assert stage.host.ask("document.getElementById('summary').value") == "1 entry · 0.05 USD"


async def test_words_about_a_purchase_stay_when_the_card_changes(stage: Stage) -> None:
    task_id = await ready(stage)
    shown = await stage.client.call_tool("show_result", {"task_id": task_id})
    assert shown.meta is not None
    saved = {name: value for name, value in shown.meta[TASKS][0].items() if name != "unsaved"}
    stage.host.answers["save_result"] = {"content": [], "structuredContent": {"files": ["/out/fox.png"]}}
    stage.host.answers["wait_for_tasks"] = {"content": [], "_meta": {TASKS: [saved]}}
    stage.host.press("Save")
    await stage.host.until(f"{BUTTONS}.every((button) => button.textContent !== 'Save')")
    assert stage.host.said == "Saved: /out/fox.png"


# What the app waits for longer than half a minute is over at once.
HURRY = """((real) => {
  window.setTimeout = (act, ms, ...rest) => real(act, ms < 30_000 ? ms : 0, ...rest);
})(window.setTimeout.bind(window)), null"""


async def test_host_that_never_answers_keeps_no_picture_waiting(stage: Stage) -> None:
    for number in range(2):
        await stage.past.task(outcome=stage.past.done(f"{HOST}/gone{number}.png"))
    await stage.host.open()
    stage.host.ask(HURRY)
    stage.host.give(await stage.client.call_tool("list_tasks", {}))
    stage.host.browser.wait("inbox.filter(({ method }) => method === 'resources/read').length === 2")
    unshown = "app.contentDocument.querySelectorAll('.unshown').length === 2"
    stage.host.browser.wait(unshown)


async def test_purchase_without_an_answer_is_said_to_be_and_taken_when_it_comes(stage: Stage) -> None:
    await ready(stage)
    stage.host.ask(HURRY)
    stage.host.press("Again")
    stage.host.browser.wait("app.contentDocument.querySelector('.said').textContent.startsWith('No answer yet.')")
    stage.host.press("Again")
    await stage.host.until("document.querySelectorAll('.card').length === 2")
    assert "is started." in stage.host.said
    assert len(stage.sandbox.ledger) == 1


async def test_host_that_opens_no_links_is_said_to(stage: Stage) -> None:
    await ready(stage)
    stage.host.refuses_links = True
    stage.host.press("Open")
    await stage.host.until("document.querySelector('.said').textContent.includes('links are not opened here')")
    stage.host.ask("document.querySelector('.more').open = true")
    stage.host.ask("document.querySelector('.more a').click()")
    await stage.host.until("document.querySelector('.more').textContent.includes('links are not opened here')")
    assert stage.host.faults == []


async def test_host_that_refuses_the_page_is_said_to(stage: Stage) -> None:
    stage.host.refusal = "<b>no</b> apps today"
    await stage.host.open()
    await stage.host.until("document.getElementById('empty').textContent.includes('refused this page: <b>no</b> apps')")
    stage.host.give({"content": [{"type": "text", "text": "A result"}]})
    await stage.host.until("document.getElementById('empty').textContent === 'A result'")
    assert stage.host.faults == []


async def test_result_that_comes_before_the_first_answer_gets_its_buttons(stage: Stage) -> None:
    task_id = await stage.past.task("A fox", outcome=stage.past.done(LINK))
    result = await stage.client.call_tool("show_result", {"task_id": task_id})
    given = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    stage.host.before = [{"method": "ui/notifications/tool-result", "params": given}]
    await stage.host.open()
    await stage.host.until("document.querySelectorAll('.card').length === 1")
    assert stage.host.buttons[0] == "Again · ~4 credits"


@pytest.mark.parametrize("odd", [7, "words", None, {"a": 1}, [7, None, "x", []], [{}]])
async def test_results_of_another_tool_leave_the_page_as_it_is(stage: Stage, odd: Any) -> None:
    await stage.host.open()
    stage.host.notify("tool-input", arguments=odd)
    stage.host.notify("host-context-changed", theme=odd, styles=odd, locale=odd, safeAreaInsets=odd)
    stage.host.give({"content": odd, "structuredContent": {"tasks": odd, "unresolved": odd}, "_meta": {TASKS: odd}})
    stage.host.give({"content": odd, "structuredContent": {"task_id": "a", "result_urls": odd, "data": odd}})
    stage.host.give({"content": [], "structuredContent": {"task_id": "b", "status": "failed"}})
    await stage.host.until("[...document.querySelectorAll('.card dd')].some((dd) => dd.textContent === 'b')")
    assert stage.host.faults == []


async def test_host_is_not_asked_after_its_end(stage: Stage) -> None:
    await stage.host.open()
    stage.host.browser.ask("post({ id: 'end', method: 'ui/resource-teardown', params: {} }), null")
    running = {"task_id": "a", "status": "pending"}
    stage.host.give({"content": [], "structuredContent": running})
    stage.host.give({"content": [], "structuredContent": running})
    await stage.host.until("document.querySelectorAll('.card').length === 1")
    stage.host.ask(WAKE)
    assert stage.host.browser.ask("inbox.length") == 0
    assert stage.host.faults == []


async def test_hosts_style_loads_nothing_by_way_of_other_values(stage: Stage) -> None:
    hidden = (
        "var(--x, url(https://evil.aiquickdraw.com/a.png))",
        "\\76 ar(--x, url(https://evil.aiquickdraw.com/b.png))",
    )
    names = ("--color-background-primary", "--color-background-secondary")
    stage.host.context = {"styles": {"variables": dict(zip(names, hidden, strict=True))}}
    await stage.past.task("A fox", outcome=stage.past.done(LINK))
    await stage.host.show("list_tasks")
    await stage.host.until(f"({PICTURES})[0] === 640")
    assert stage.host.browser.requests == [LINK]


async def test_cost_and_dollars_are_set_apart(stage: Stage) -> None:
    await ready(stage)
    assert stage.host.ask("document.querySelector('.price').textContent") == "4 credits · $0.02"


def refuse(stage: Stage, status: str, words: str) -> None:
    """Let the host answer the next purchase with an error of this status, and press the button for it."""
    answer = {"content": [{"type": "text", "text": words}], "structuredContent": {"status": status}, "isError": True}
    stage.host.answers["generate_nano_banana"] = answer
    stage.host.press("Again")


async def test_refusal_is_shown_in_the_servers_own_words_and_can_be_tried_again(stage: Stage) -> None:
    await ready(stage)
    refusal = "Status: refused\nError: <b>Not enough credits.</b>\nNext: Top up."
    refuse(stage, "refused", refusal)
    await stage.host.until("document.querySelector('.said').textContent !== 'Sending…'")
    await stage.host.until("document.querySelector('.said').textContent !== ''")
    assert stage.host.said == refusal
    assert stage.host.buttons[0] == "Again · ~4 credits"


async def test_request_that_may_have_been_charged_is_not_offered_again(stage: Stage) -> None:
    await ready(stage)
    words = "Status: unknown\nThe request MAY have been charged."
    refuse(stage, "unknown", words)
    await stage.host.until("document.querySelector('.said').textContent.startsWith('Status')")
    assert stage.host.said == words
    assert stage.host.buttons[0] == "Vary"


async def test_vary_sends_the_same_call_with_other_words_at_a_price_that_is_asked_anew(stage: Stage) -> None:
    await ready(stage)
    stage.host.press("Vary")
    assert stage.host.ask("document.activeElement.value") == "A fox"
    assert stage.host.buttons[-2:] == ["Copy prompt", "Make · ~4 credits"]
    stage.host.ask(
        "((field) => { field.value = 'Two <foxes>'; field.dispatchEvent(new window.Event('input')); })"
        "(document.querySelector('textarea'))"
    )
    stage.host.press("Make · price?")
    await stage.host.until("document.querySelector('.said').textContent === 'Press again to buy it.'")
    assert len(stage.sandbox.ledger) == 0
    (label,) = [button for button in stage.host.buttons if button.startswith("Make · ")]
    assert label.endswith(" · 4 credits")
    title = "[...document.querySelectorAll('button')].find((button) => button.textContent.startsWith('Make')).title"
    assert stage.host.ask(title) == "4 credits ($0.02)"
    stage.host.press("Make · ")
    await stage.host.until("document.querySelectorAll('.card').length === 2")
    (arguments,) = [arguments for name, arguments in stage.host.calls if name == "generate_nano_banana"]
    del arguments["idempotency_key"]
    assert arguments == {"prompt": "Two <foxes>", "output_format": "png"}
    assert len(stage.sandbox.ledger) == 1


async def test_save_saves_and_says_where(stage: Stage) -> None:
    task_id = await ready(stage)
    words = {"content": [], "structuredContent": {"status": "completed", "files": ["/out/fox.png"]}}
    stage.host.answers["save_result"] = words
    stage.host.press("Save")
    await stage.host.until("document.querySelector('.said').textContent === 'Saved: /out/fox.png'")
    assert stage.host.calls[0] == ("save_result", {"task_id": task_id})


async def test_larger_clip_is_bought_at_a_price_that_is_said_first(stage: Stage) -> None:
    clip = f"{HOST}/clip.mp4"
    task_id = await ready(
        stage, tool="generate_veo3_video", provider="veo3", kind="video", outcome=stage.past.done(clip), arguments={}
    )
    assert [button for button in stage.host.buttons if "1080p" in button] == ["Get veo3 1080p video · price?"]
    stage.host.press("Get veo3 1080p")
    await stage.host.until("document.querySelector('.said').textContent === 'Press again to buy it.'")
    assert stage.host.calls == [("estimate_cost", {"name": "get_veo3_1080p_video", "arguments": {"task_id": task_id}})]
    stage.host.answers["get_veo3_1080p_video"] = {"content": [{"type": "text", "text": "Refused."}], "isError": True}
    stage.host.press("Get veo3 1080p")
    await stage.host.until("document.querySelector('.said').textContent === 'Refused.'")
    assert stage.host.calls[1] == ("get_veo3_1080p_video", {"task_id": task_id})


async def test_links_are_opened_by_the_host(stage: Stage) -> None:
    await ready(stage)
    stage.host.press("Open")
    stage.host.ask("document.querySelector('.more').open = true")
    stage.host.ask("document.querySelector('.more a').click()")
    await stage.host.answer()
    assert stage.host.links == [LINK, LINK]


async def test_host_that_passes_nothing_on_gets_no_buttons_and_no_calls(stage: Stage) -> None:
    stage.host.capabilities = {}
    await stage.past.task("Still running")
    await ready(stage)
    await stage.host.open()
    stage.host.give(await stage.client.call_tool("list_tasks", {}))
    await stage.host.until("document.querySelectorAll('.card').length === 2")
    assert stage.host.buttons == ["Copy prompt", "Copy prompt"]
    stage.host.ask(WAKE)
    assert stage.host.browser.ask("inbox.length") == 0


async def test_tool_that_hosts_do_not_know_is_called_through_one_that_they_do(
    past: "Past", browser: "Browser", tmp_path: Path
) -> None:
    async with staged(past, browser, tmp_path, compact=True) as stage:
        await ready(stage)
        stage.host.press("Again")
        await stage.host.until("document.querySelectorAll('.card').length === 2")
        name, arguments = next(call for call in stage.host.calls if call[0] != "wait_for_tasks")
        arguments = {**arguments, "idempotency_key": ""}
        given = {"prompt": "A fox", "output_format": "png"}
        assert (name, arguments) == (
            "run_model",
            {"model": "generate_nano_banana", "input": given, "idempotency_key": ""},
        )
        assert len(stage.sandbox.ledger) == 1


async def test_app_ends_when_the_host_takes_it_down(stage: Stage) -> None:
    await stage.past.task("Still running")
    await stage.host.show("list_tasks")
    stage.host.browser.ask("post({ id: 'end', method: 'ui/resource-teardown', params: {} }), null")
    stage.host.browser.ask("post({ id: 'odd', method: 'ui/odd', params: {} }), null")
    stage.host.browser.wait("notices.length === 3")
    answers = stage.host.browser.ask("notices.slice(1)")
    assert answers[0] == {"jsonrpc": "2.0", "id": "end", "result": {}}
    assert answers[1]["error"]["code"] == -32601
    stage.host.ask(WAKE)
    assert stage.host.browser.ask("inbox.length") == 0


# What must not happen ------------------------------------------------------------------------------------------------


async def test_hostile_words_stay_words_wherever_they_come_from(stage: Stage) -> None:
    owned = "top.owned=1"
    words = f'"><script>{owned}</script><img src=x onerror="{owned}"><iframe src="https://evil.example/">'
    entry = dict.fromkeys(
        ("provider", "kind", "tool", "model", "prompt", "error", "task_id", "status", "data", "gateway"), words
    )
    results = [
        {"number": 1, "kind": "image", "url": f"javascript:{owned}", "name": words, "label": words},
        {"number": 2, "kind": "audio", "url": "https://evil.example/a.mp3", "label": words},
        {"number": 3, "kind": words, "url": f"data:text/html,{words}"},
    ]
    more = [{"tool": words, "title": words, "arguments": {}}]
    again = {"tool": words, "arguments": {words: words}, "prompt": [words]}
    whole = {**entry, "states": [words], "results": results, "more": more, "again": again, "arguments": {words: words}}
    await stage.host.open()
    stage.host.notify("tool-input", arguments={"task_ids": words})
    stage.host.give({"content": [{"type": "text", "text": words}], "_meta": {TASKS: [whole]}})
    stage.host.give(
        {"content": [], "structuredContent": {"tasks": [{**entry, "task_id": "b", "result_urls": [words]}]}}
    )
    stage.host.give({"content": [], "structuredContent": {"unresolved": [{"submission_id": words, "state": words}]}})
    await stage.host.until("document.querySelectorAll('.card').length === 3")
    stage.host.ask("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    stage.host.browser.wait("true")
    assert stage.host.browser.ask("window.owned") is None
    assert stage.host.ask("document.querySelectorAll('iframe, .card script, object, embed').length") == 0
    assert set(stage.host.ask("[...document.querySelectorAll('.card img')].map((image) => image.src)")) <= {""}
    assert stage.host.ask("[...document.links].every((link) => /^(https:|#|$)/.test(link.getAttribute('href') ?? ''))")
    handlers = "(element) => [...element.attributes].some(({ name }) => name.startsWith('on'))"
    assert stage.host.ask(f"[...document.querySelectorAll('*')].filter({handlers}).length") == 0
    assert stage.host.browser.requests == []


async def test_messages_of_other_windows_are_not_taken(stage: Stage) -> None:
    forged = {"structuredContent": {"tasks": [{"task_id": "forged", "status": "failed", "prompt": "forged"}]}}
    message = {"jsonrpc": "2.0", "method": "ui/notifications/tool-result", "params": {"content": [], **forged}}
    script = f"parent.app.contentWindow.postMessage({json.dumps(message)}, '*'); parent.sent = true;"
    await stage.host.open()
    stage.host.browser.ask(
        "(other => { other.srcdoc = " + json.dumps(f"<script>{script}</script>") + "; document.body.append(other); })"
        "(document.createElement('iframe'))"
    )
    stage.host.browser.wait("window.sent === true")
    stage.host.give({"content": [], "structuredContent": {"tasks": [{"task_id": "real", "status": "failed"}]}})
    await stage.host.until("document.querySelectorAll('.card').length > 0")
    assert stage.host.ask("[...document.querySelectorAll('.card dd')].map((value) => value.textContent)") == ["real"]
