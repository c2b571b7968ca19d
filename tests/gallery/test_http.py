"""The HTTP server in a real browser: the gallery behind a proxy with a path of its own, and calls of other pages."""

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from pytest_httpserver import HTTPServer
from starlette.types import Receive, Scope, Send

from kie_ai_mcp._app.app import App
from kie_ai_mcp._gallery.page import entries
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web.access import Access
from kie_ai_mcp._web.site import Site
from kie_ai_mcp._web.visitors import Visitors
from tests.gallery.conftest import Past
from tests.serving import serving

if TYPE_CHECKING:
    from tests.gallery.conftest import Browser

pytestmark = pytest.mark.anyio

PREFIX = "/tools/kie"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[str]:
    """The address of a proxy that takes its prefix off and says nothing of it; other paths are not ours."""
    settings = {"db_path": tmp_path / "tasks.db", "enabled_providers": ("nano-banana",)}
    app = App.open(Settings.model_validate(settings))
    access = Access(Site(app).starlette, app.settings, "127.0.0.1", Visitors(app.engine.record.users))

    async def take_prefix_off(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            assert scope["path"].startswith(f"{PREFIX}/"), scope["path"]
            inner = {name: scope[name][len(PREFIX) :] for name in ("path", "raw_path")}
            scope = {**scope, **inner}
        await access(scope, receive, send)

    with serving(take_prefix_off, lifespan="on") as port:
        yield f"http://127.0.0.1:{port}{PREFIX}"
    app.engine.record.close()


@pytest.mark.parametrize("end", ["", "/"])
async def test_gallery_below_a_prefix_shows_and_links_its_pictures(
    past: Past, proxy: str, browser: "Browser", end: str
) -> None:
    pictures = [past.picture(name) for name in ("a fox.png", "10%25 fox#1?.png")]
    for picture in pictures:
        await past.task(f"A fox, {picture.name}", outcome=past.done(), files=(picture,))
    browser.open(f"{proxy}/gallery{end}")
    links = browser.ask("[...document.querySelectorAll('.shot, .card a[href]')].map((link) => link.href)")
    own = {link for link in links if "/gallery/" in link}
    assert len(own) == 2
    assert all(link.startswith(f"{proxy}/gallery/") for link in own)
    loaded = "Promise.all([...document.querySelectorAll('.shot')].map(async (shot) => (await loads(shot.href))))"
    loads = "(address) => new Promise((done) => { const image = new Image(); image.onload = () => done(image.width);"
    browser.ask(f"window.loads = {loads} image.onerror = () => done(0); image.src = address; }}), 1")
    assert browser.ask(loaded) == [640, 640]
    assert browser.log == []


WAKE = "document.dispatchEvent(new Event('visibilitychange'))"
STATES = "[...document.querySelectorAll('.card .state')].map((state) => state.textContent)"
PROMPTS = "[...document.querySelectorAll('.card .prompt')].map((prompt) => prompt.textContent)"


@pytest.mark.parametrize("end", ["", "/"])
async def test_open_page_follows_what_happens_and_stays_as_it_is(
    past: Past, proxy: str, browser: "Browser", end: str
) -> None:
    await past.task("An old fox", outcome=past.done(), files=(past.picture("old.png"),))
    running = await past.task("A fox")
    browser.open(f"{proxy}/gallery{end}")
    browser.ask("document.querySelectorAll('.more').forEach((more) => { more.open = true; })")
    browser.ask(
        "window.before = [...document.querySelectorAll('.card')], before[0].querySelector('.more dd').tabIndex = 0"
    )
    browser.ask("window.words = before[0].querySelector('.prompt'), null")
    browser.ask("before[0].querySelector('.more summary').focus(), document.getElementsByName('q')[0].value = 'fox'")
    picture = past.picture("new.png", (300, 200))
    await past.record.tasks.record_outcome(running, past.done(credits=7))
    await past.record.tasks.record_files(running, [str(picture)])
    await past.task("A newer fox")
    browser.ask(WAKE)
    browser.wait(f"{PROMPTS}.length === 3")
    assert browser.ask(PROMPTS) == ["A newer fox", "A fox", "An old fox"]
    assert browser.ask(STATES) == ["Pending", "Completed", "Completed"]
    assert (
        browser.ask("[...document.querySelectorAll('.card')].slice(1).map((card, at) => card === before[at])")
        == [True] * 2
    )
    assert browser.ask("[...document.querySelectorAll('.more')].map((more) => more.open)") == [False, True, True]
    assert browser.ask("before[0].querySelector('.prompt') === words")
    assert browser.ask("document.activeElement.textContent") == "Details"
    assert browser.ask("before[0].contains(document.activeElement)")
    assert browser.ask("document.getElementById('summary').value") == "3 entries · 11 credits"
    assert browser.ask("document.getElementById('news').textContent") == "nano-banana image: Completed"
    browser.wait("before[0].querySelector('img')?.naturalWidth > 0")
    assert browser.ask("before[0].querySelector('.shot').href").startswith(f"{proxy}/gallery/")
    assert browser.log == []


async def test_page_says_when_the_server_does_not_answer_and_goes_on_when_it_does(
    past: Past, proxy: str, browser: "Browser"
) -> None:
    await past.task("A fox", outcome=past.done())
    browser.open(f"{proxy}/gallery")
    browser.ask("window.real = fetch, window.fetch = () => Promise.reject(new TypeError('no')), 1")
    browser.ask(WAKE)
    browser.wait("document.getElementById('written').textContent.endsWith('; the server does not answer')")
    browser.ask("window.fetch = real, 1")
    browser.ask(WAKE)
    browser.wait("!document.getElementById('written').textContent.includes('answer')")
    assert browser.ask(PROMPTS) == ["A fox"]


async def test_entries_that_have_not_changed_are_not_sent_again(past: Past, proxy: str) -> None:
    await past.task("A fox", outcome=past.done(), files=(past.picture(),))
    async with httpx.AsyncClient(trust_env=False) as client:
        first = await client.get(f"{proxy}/gallery/entries.json", params={"start": "//evil.example"})
        (entry,) = first.json()["entries"]
        assert entry["results"][0]["address"].startswith("./")
        same = await client.get(f"{proxy}/gallery/entries.json", headers={"If-None-Match": first.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        await past.task("Another")
        other = await client.get(f"{proxy}/gallery/entries.json", headers={"If-None-Match": first.headers["etag"]})
        assert len(other.json()["entries"]) == 2


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let it be later for the site and its page."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Later":
            return super().now(tz) + timedelta(seconds=seconds)

    for module in ("_web.site", "_gallery.page"):
        monkeypatch.setattr(f"kie_ai_mcp.{module}.datetime", Later)


async def test_entries_are_not_built_again_while_nothing_is_written(
    past: Past, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = 0

    async def counted(*given: Any, **named: Any) -> dict[str, Any]:
        nonlocal built
        built += 1
        return await entries(*given, **named)

    monkeypatch.setattr("kie_ai_mcp._web.site.entries", counted)
    await past.task("A fox", outcome=past.done(keeps_s=30))
    picture = past.picture()
    await past.task("A fox", outcome=past.done(keeps_s=30), files=(picture,))
    address = f"{proxy}/gallery/entries.json"
    async with httpx.AsyncClient(trust_env=False) as client:
        tag = (await client.get(address)).headers["etag"]
        for known in (tag, f"W/{tag}", tag):
            same = await client.get(address, headers={"If-None-Match": known})
            assert (same.status_code, same.headers["etag"]) == (304, tag)
        assert built == 1
        assert (await client.get(f"{address}?start=./gallery", headers={"If-None-Match": tag})).status_code == 200
        assert (await client.get(address)).status_code == 200
        assert built == 3

        picture.unlink()
        later(monkeypatch, 31)  # a link has ended
        ended = await client.get(address, headers={"If-None-Match": tag})
        assert [entry["states"] for entry in ended.json()["entries"]] == [["completed", "expired"]] * 2
        tag = ended.headers["etag"]
        await past.task("Another")
        assert (await client.get(address, headers={"If-None-Match": tag})).status_code == 200


@pytest.mark.parametrize("seconds", [30, 61])
async def test_deleted_file_is_noticed_after_a_minute(
    past: Past, proxy: str, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    picture = past.picture()
    await past.task("A fox", outcome=past.done(), files=(picture,))
    address = f"{proxy}/gallery/entries.json"
    async with httpx.AsyncClient(trust_env=False) as client:
        tag = (await client.get(address)).headers["etag"]
        picture.unlink()
        later(monkeypatch, seconds)
        answer = await client.get(address, headers={"If-None-Match": tag})
    assert answer.status_code == (304 if seconds < 60 else 200)


async def test_database_that_is_replaced_is_shown_anew(past: Past, proxy: str, tmp_path: Path) -> None:
    await past.task("A fox", outcome=past.done())
    address = f"{proxy}/gallery/entries.json"
    other = Record(tmp_path / "other.db", RateLimit(10_000, 10.0))
    other.open()
    await Past(other, tmp_path).task("Another fox", outcome=past.done())
    other.close()
    async with httpx.AsyncClient(trust_env=False) as client:
        tag = (await client.get(address)).headers["etag"]
        for end in ("-wal", "-shm"):
            await anyio.Path(f"{past.record.path}{end}").unlink(missing_ok=True)
        await anyio.Path(other.path).replace(past.record.path)
        await client.get(address, headers={"If-None-Match": tag})
        shown = await client.get(address, headers={"If-None-Match": tag})
    assert [entry["prompt"] for entry in shown.json()["entries"]] == ["Another fox"]


async def test_plain_call_has_no_entries_for_a_page(past: Past, proxy: str) -> None:
    await past.task("A fox", outcome=past.done())
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = (await client.post(f"{proxy}/tools/call", json={"name": "list_tasks"})).json()
    assert "A fox" in answer["content"][0]["text"]
    assert "_meta" not in answer


GREET = """fetch("%s/mcp", {
  method: "POST",
  headers: {
    "Accept": "application/json, text/event-stream", "Content-Type": "application/json", "Authorization": "Bearer x",
    "Mcp-Protocol-Version": "2025-11-25",
  },
  body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: {
    protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "a page", version: "1" } } }),
}).then(
  async (answer) => {
    const session = answer.headers.get("Mcp-Session-Id");
    return [answer.status, (await answer.text()).includes("serverInfo"), Boolean(session)];
  },
  (error) => error.name,
)"""


async def test_page_on_another_port_of_this_machine_opens_a_session(proxy: str, browser: "Browser") -> None:
    with HTTPServer(threaded=True) as inspector:
        inspector.expect_request("/").respond_with_data("<title>Inspector</title>", content_type="text/html")
        browser.open(inspector.url_for("/"))
        assert browser.ask(GREET % proxy) == [200, True, True]


async def test_page_from_nowhere_can_not_call(proxy: str, browser: "Browser") -> None:
    browser.open("data:text/html,<title>From%20nowhere</title>")
    assert browser.ask(GREET % proxy) == "TypeError"
