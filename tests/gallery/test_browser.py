"""The gallery in a real browser: display, search, and no other activity."""

import json
import shutil
import wave
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_httpserver import HTTPServer

import kie_ai_mcp_sandbox
from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._gallery.page import page, write
from kie_ai_mcp._media.thumbnails import THUMBNAILS
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._settings.installation import typed_command
from tests.gallery.test_page import fill

if TYPE_CHECKING:
    from tests.gallery.conftest import Browser, Past

pytestmark = pytest.mark.anyio

CLIP = Path(kie_ai_mcp_sandbox.__file__).parent / "data" / "clip.mp4"
SHOWN = "[...document.querySelectorAll('.card:not([hidden]) .prompt')].map(prompt => prompt.textContent)"
SUMMARY = "document.getElementById('summary').value"
LIGHT, DARK = (245, 245, 243), (18, 18, 20)


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server on this machine. A browser keeps connections open, which would keep the usual one busy for ever."""
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def trap(server: HTTPServer) -> Iterator[HTTPServer]:
    """A server that must not be called."""
    yield server
    assert [request.path for request, _ in server.log] == []


async def small_history(past: "Past") -> Path:
    """Write a page over a little of everything; return it."""
    picture = past.picture()
    await past.task("Fox in the snow", outcome=past.done(credits=4), files=(picture,), model="google/nano-banana")
    await past.task("Café at night", outcome=past.done(credits=2.5, days_ago=9))
    clip = past.folder / "clip.mp4"
    shutil.copy(CLIP, clip)
    await past.task(
        "Snow falls", "generate_veo3_video", provider="veo3", kind="video", outcome=past.done(), files=(clip,)
    )
    await past.task("A rude fox", provider="veo3", kind="video", outcome=Outcome("failed", error="Not allowed."))
    await past.record.submissions.settled(await past.request("The lost fox"), Ending("unknown", message="lost"))
    return await write(past.record, past.folder / "gallery.html")


# What is seen --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height", "phone"), [(1280, 900, False), (390, 844, True)], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_page_fits_every_screen_and_follows_the_readers_light(
    past: "Past", browser: "Browser", tmp_path: Path, width: int, height: int, phone: bool, dark: bool
) -> None:
    path = await small_history(past)
    browser.look(width, height, dark=dark, phone=phone)
    browser.open(path.as_uri())
    image = browser.screenshot(tmp_path / "screenshot.png")
    assert image.getpixel((4, 4)) == (DARK if dark else LIGHT)
    assert browser.ask("Math.max(document.documentElement.scrollWidth, innerWidth)") == width
    columns = browser.ask("getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length")
    assert columns == (1 if phone else 4)
    assert browser.ask(UNREADABLE) == []
    assert browser.ask(BROKEN) == []
    assert browser.log == []


# Every state, kind and cost that does not stand on one line.
BROKEN = """[...document.querySelectorAll(".state, .kind, .cost, .body time")]
  .filter((part) => part.getClientRects().length > 1 || part.offsetHeight > 30).map((part) => part.textContent)"""

# Every text whose contrast with what is behind it is below what WCAG asks for (AA, 4.5 to 1).
UNREADABLE = """(() => {
  document.querySelectorAll(".card details").forEach((details) => { details.open = true; });
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parts = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b]
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  const texts = "header *, .notice, .notice *, .card p, .card span, .card a, figcaption, pre, dt, dd";
  for (const element of document.querySelectorAll(texts)) {
    if (!element.textContent.trim() || element.matches(".shot, .glyph") || !element.offsetParent) continue;
    const two = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    if ((two[0] + 0.05) / (two[1] + 0.05) < 4.5) poor.add(`${element.tagName}.${element.className}`);
  }
  return [...poor];
})()"""


async def test_saved_pictures_are_painted_wherever_they_lie(past: "Past", browser: "Browser", tmp_path: Path) -> None:
    rest = tuple(past.picture(f"{number}.png", (8, 8)) for number in range(THUMBNAILS - 1))
    below, elsewhere = past.picture("50 % of a #fox?.png"), Path(shutil.copy(past.picture(), tmp_path / "ä b.png"))
    await past.task(outcome=past.done(), files=(below, elsewhere))
    await past.task(outcome=past.done(), files=(*rest, past.picture("new.png")))
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    sources = browser.ask("[...document.querySelectorAll('.grid img')].map(image => image.getAttribute('src'))")
    assert [source.partition(":")[0] for source in sources[-3:]] == [
        "data",
        "./50%20%25%20of%20a%20%23fox%3F.png",
        "file",
    ]
    browser.ask("document.querySelector('.card:last-child').scrollIntoView()")
    shown = "[...document.querySelectorAll('.grid img')].filter(image => image.checkVisibility())"
    browser.wait(f"{shown}.every(image => image.complete && image.naturalWidth > 0)")
    kinds = browser.ask(f"{shown}.map(image => image.getAttribute('src').split(':')[0])")
    assert {"data", "file"} < set(kinds)
    assert any(kind.startswith("./50%") for kind in kinds)
    assert browser.log == []


async def test_page_that_a_server_gives_out_shows_what_the_same_server_has(
    past: "Past", browser: "Browser", server: HTTPServer
) -> None:
    await past.task(outcome=past.done(), files=(past.picture(size=(1200, 900)),))
    text = await page(past.record, address=lambda _record, _number, path: f"/gallery/{path.name}")
    server.expect_request("/gallery").respond_with_data(text, content_type="text/html")
    server.expect_request("/gallery/picture.png").respond_with_data(
        (past.folder / "picture.png").read_bytes(), content_type="image/png"
    )
    browser.open(server.url_for("/gallery"))
    browser.ask("document.querySelector('.shot').click()")
    browser.wait("document.getElementById('large').naturalWidth === 1200")
    assert [request.path for request, _ in server.log] == ["/gallery", "/gallery/picture.png"]
    assert browser.log == []


async def test_clip_loads_nothing_until_it_is_played(past: "Past", browser: "Browser") -> None:
    browser.open((await small_history(past)).as_uri())
    browser.ask("window.clip = document.querySelector('video'), null")
    assert browser.ask("[clip.readyState, clip.paused, clip.duration]") == [0, True, None]
    browser.ask("clip.muted = true, clip.play().then(() => null)")
    browser.wait("clip.readyState >= 2 && clip.currentTime > 0")
    assert browser.ask("clip.videoWidth") > 0
    assert browser.log == []


async def test_starting_one_player_stops_the_other(past: "Past", browser: "Browser") -> None:
    clips = tuple(Path(shutil.copy(CLIP, past.picture().with_name(f"{number}.mp4"))) for number in (1, 2))
    await past.task(kind="video", outcome=past.done(), files=clips)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    browser.ask(
        "[window.first, window.second] = document.querySelectorAll('video'), first.muted = second.muted = true, 0"
    )
    browser.ask("first.loop = true, first.play().then(() => second.play()).then(() => null)")
    browser.wait("first.paused")


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)], ids=["wide", "phone"])
async def test_tracks_are_heard_one_at_a_time_below_their_titles_and_words_are_read(
    past: "Past", browser: "Browser", tmp_path: Path, width: int, phone: bool
) -> None:
    song = past.picture().with_name("song.wav")
    with wave.open(str(song), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16_000))
    sung = replace(past.done(*[f"https://x.example/{number}" for number in range(5)]), labels=("Rain", "Drums") * 2)
    await past.task("A song of rain", provider="suno", kind="audio", outcome=sung, files=(song,) * 5)
    lyrics = "[Verse]\n" + "Drops on a long tin roof, all night\n" * 40
    await past.task("Words", provider="suno", kind="text", outcome=replace(past.done(), urls=(), data=lyrics))
    browser.look(width, 900, phone=phone)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    browser.screenshot(tmp_path / "screenshot.png")
    browser.ask("window.players = [...document.querySelectorAll('audio')], players.map(player => player.muted = true)")
    assert browser.ask("players.map(player => player.offsetHeight > 20 && player.offsetWidth > 200)") == [True] * 5
    browser.press("Tab")  # a page may make a sound only after the reader has done something
    browser.ask("players[0].loop = true, players[0].play().then(() => players[4].play()).then(() => null)")
    browser.wait("players[0].paused && players[4].readyState >= 2")
    assert browser.ask("(words => words.scrollHeight > words.clientHeight)(document.querySelector('pre'))")
    assert browser.ask("Math.max(document.documentElement.scrollWidth, innerWidth)") == width
    assert browser.ask(UNREADABLE) == []
    set_filters(browser, {"q": "tin roof"})
    assert browser.ask(SHOWN) == ["Words"]
    assert browser.log == []


async def test_moments_are_shown_as_the_reader_writes_them(past: "Past", browser: "Browser") -> None:
    browser.open((await small_history(past)).as_uri())
    written, titled = browser.ask(
        "(time => [time.textContent, time.title])(document.querySelector('.card:last-child footer time'))"
    )
    assert titled.endswith(" UTC")
    assert written == browser.ask(
        "new Intl.DateTimeFormat(undefined, {dateStyle: 'medium', timeStyle: 'short'})"
        f".format(new Date({titled.replace(' UTC', 'Z').replace(' ', 'T')!r}))"
    )


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (320, True)], ids=["wide", "narrow"])
async def test_pictures_are_shown_whole_whatever_their_shape(
    past: "Past", browser: "Browser", width: int, phone: bool
) -> None:
    for name, size in (("tall", (300, 900)), ("wide", (900, 300)), ("square", (400, 400))):
        await past.task(name, outcome=past.done(), files=(past.picture(f"{name}.png", size),))
    four = tuple(past.picture(f"{number}.png", (300, 500)) for number in range(6))
    await past.task("six", outcome=past.done(), files=four)
    browser.look(width, 900, phone=phone)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    shown = "[...document.querySelectorAll('.grid img')].filter((image) => image.checkVisibility())"
    browser.wait(f"{shown}.every((image) => image.complete)")
    shape = "[image.clientWidth / image.clientHeight, image.naturalWidth / image.naturalHeight]"
    fit = "getComputedStyle(image).objectFit"
    for (drawn, natural), object_fit in browser.ask(f"{shown}.map((image) => [{shape}, {fit}])"):
        assert object_fit == "contain" or abs(drawn - natural) < 0.02
    assert len(browser.ask(f"{shown}.map((image) => image.src)")) == 3 + 4
    assert browser.ask("document.querySelector('.count').textContent") == "+2"


GAPS = """(() => {
  const cards = [...document.querySelectorAll(".card:not([hidden])")].map((card) => card.getBoundingClientRect());
  const below = (one) => cards.filter((other) => other.left === one.left && other.top > one.top);
  const next = (one) => Math.min(...below(one).map((other) => other.top));
  return cards.map((one) => next(one) - one.bottom).filter(Number.isFinite);
})()"""


async def test_opened_details_leave_no_gap_beside_them_and_cover_nothing(past: "Past", browser: "Browser") -> None:
    for number in range(12):
        arguments = {f"argument_{index}": "x" * 150 for index in range(number)}
        await past.task(f"fox {number}", outcome=past.done(), arguments=arguments)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())

    def check() -> None:
        gaps = browser.ask(GAPS)
        assert len(gaps) == 8
        assert all(14 <= gap <= 22 for gap in gaps), gaps

    check()
    browser.ask("document.querySelectorAll('.more').forEach((more, index) => { more.open = index % 2 === 0; })")
    browser.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    check()


async def test_prompt_and_command_are_copied(past: "Past", browser: "Browser") -> None:
    words = "A fox\nin the <b>snow</b> " * 20
    task_id = await past.task(words, outcome=past.done())
    await past.record.tasks.adopt(Task("strange", "veo3", "veo3", "video"))
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    clipboard = browser.allow_copying()
    said = "[...document.querySelectorAll('.said')].map((said) => said.textContent).join('')"
    for label, copied, answer in (
        ("Copy prompt", words.strip(), "The prompt is copied."),
        ("Copy command", f"{typed_command(anywhere=True)} tasks again {task_id}", "Run it in a terminal"),
    ):
        (found,) = browser.ask(
            f"[...document.querySelectorAll('button')].filter((button) => button.textContent === {label!r})"
            ".map((button) => { button.click(); return 1; })"
        )
        assert found
        browser.wait(f"({said}).includes({answer!r})")
        assert browser.ask(clipboard) == copied
    assert browser.log == []


async def test_where_nothing_can_be_copied_the_words_are_shown(past: "Past", browser: "Browser") -> None:
    await past.task("A fox", outcome=past.done())
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    browser.ask(
        "navigator.clipboard.writeText = () => Promise.reject(new Error('no')), document.execCommand = () => false"
    )
    browser.ask("document.querySelector('.actions button').click()")
    browser.wait("document.querySelector('.said').textContent === 'A fox'")


# Costs ---------------------------------------------------------------------------------------------------------------

TABLES = """Object.fromEntries([...document.querySelectorAll("#costs table")].map((table) => [
  table.caption.textContent,
  [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
]))"""


async def test_costs_are_summed_by_day_month_model_and_provider(past: "Past", browser: "Browser") -> None:
    past.now = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a month later, at noon: 31 January and on
    await past.task("one", outcome=past.done(credits=4), model="google/nano-banana")
    past.made += 24
    await past.task("two", outcome=past.done(credits=2.5), model="google/nano-banana")
    await past.task("three", provider="veo3", kind="video", outcome=past.done(credits=None), estimated_credits=60)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    assert browser.ask("document.getElementById('dollars').textContent") == "($0.3325)"
    assert browser.ask("[...document.querySelectorAll('.usd')].map((usd) => usd.textContent.trim())") == [
        "$0.30",
        "$0.0125",
        "$0.02",
    ]
    browser.ask("document.getElementById('costs').open = true")
    browser.wait("document.querySelectorAll('#costs table').length === 4")
    assert browser.ask(TABLES) == {
        "By day": [["2026-02-01", "2", "2.5", "60", "$0.3125"], ["2026-01-31", "1", "4", "", "$0.02"]],
        "By month": [["2026-02", "2", "2.5", "60", "$0.3125"], ["2026-01", "1", "4", "", "$0.02"]],
        "By model": [
            ["generate_nano_banana", "1", "0", "60", "$0.30"],
            ["google/nano-banana", "2", "6.5", "", "$0.0325"],
        ],
        "By provider": [["veo3", "1", "0", "60", "$0.30"], ["nano-banana", "2", "6.5", "", "$0.0325"]],
    }
    set_filters(browser, {"provider": "veo3"})
    assert [rows[0][-1] for rows in browser.ask(TABLES).values()] == ["$0.30"] * 4


async def test_page_without_scripts_says_that_it_needs_them(past: "Past", browser: "Browser") -> None:
    path = await write(past.record, past.folder / "gallery.html")
    browser.run_scripts(on=False)
    try:
        browser.open(path.as_uri())
        texts = browser.named({"StaticText": []}, within_s=0.0)["StaticText"]
    finally:
        browser.run_scripts(on=True)
    assert any("allow scripts" in text for text in texts)


# Looking for something -----------------------------------------------------------------------------------------------

ALL = ["The lost fox", "A rude fox", "Snow falls", "Café at night", "Fox in the snow"]
FOUND: dict[str, tuple[dict[str, str], list[str], str]] = {
    "nothing": ({}, ALL, "5 entries · 10.5 credits"),
    "a word": ({"q": "FOX"}, [ALL[0], ALL[1], ALL[4]], "3 of 5 entries · 4 credits"),
    "all words": ({"q": " snow  fox"}, [ALL[4]], "1 of 5 entries · 4 credits"),
    "without accents": ({"q": "cafe"}, [ALL[3]], "1 of 5 entries · 2.5 credits"),
    "with accents": ({"q": "çåfé"}, [ALL[3]], "1 of 5 entries · 2.5 credits"),
    "an error": ({"q": "not allowed"}, [ALL[1]], "1 of 5 entries · 0 credits"),
    "a model": ({"q": "google/nano"}, [ALL[4]], "1 of 5 entries · 4 credits"),
    "an id": ({"q": "task-3"}, [ALL[2]], "1 of 5 entries · 4 credits"),
    "a kind": ({"kind": "video"}, ALL[1:3], "2 of 5 entries · 4 credits"),
    "a provider": ({"provider": "nano-banana"}, [ALL[0], *ALL[3:]], "3 of 5 entries · 6.5 credits"),
    "a status": ({"status": "unknown"}, ALL[:1], "1 of 5 entries · 0 credits"),
    "what expired": ({"status": "expired"}, [ALL[3]], "1 of 5 entries · 2.5 credits"),
    "what was completed": ({"status": "completed"}, ALL[2:], "3 of 5 entries · 10.5 credits"),
    "everything at once": ({"q": "snow", "kind": "video", "provider": "veo3"}, [ALL[2]], "1 of 5 entries · 4 credits"),
    "nothing of the kind": ({"q": "snow", "status": "failed"}, [], "0 of 5 entries · 0 credits"),
    "words of the page": ({"q": "details"}, [], "0 of 5 entries · 0 credits"),
    "a pattern": ({"q": ".*"}, [], "0 of 5 entries · 0 credits"),
}


def set_filters(browser: "Browser", filters: dict[str, str]) -> None:
    for name, value in filters.items():
        browser.ask(f"window.field = document.getElementsByName({name!r})[0], field.value = {json.dumps(value)}")
        browser.ask("field.dispatchEvent(new Event('input', {bubbles: true}))")


async def test_entries_are_found_by_words_kind_provider_and_status(past: "Past", browser: "Browser") -> None:
    browser.open((await small_history(past)).as_uri())
    found: dict[str, Any] = {}
    for case, (filters, _, _) in FOUND.items():
        set_filters(browser, {"q": "", "kind": "", "provider": "", "status": "", **filters})
        found[case] = (filters, browser.ask(SHOWN), browser.ask(SUMMARY))
        assert browser.ask("document.getElementById('nothing').hidden") == bool(found[case][1])
    assert found == FOUND


async def test_search_among_a_thousand_entries_takes_no_time_to_speak_of(past: "Past", browser: "Browser") -> None:
    fill(past.record.path, 1000)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    took_ms = browser.ask(
        "(start => (document.getElementsByName('q')[0].value = 'nothing', applyFilters(), document.body.offsetHeight,"
        " performance.now() - start))(performance.now())"
    )
    assert took_ms < 1000
    assert browser.ask(SUMMARY) == "0 of 1,000 entries · 0 credits"


async def test_estimates_of_what_is_shown_are_summed_as_the_page_was_written(past: "Past", browser: "Browser") -> None:
    await past.task("A fox", outcome=past.done(credits=4))
    await past.task("A clip", outcome=past.done(credits=None), estimated_credits=1060.5)
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    summary = "credits and about 1,060.5 more by estimate"
    assert browser.ask(SUMMARY) == f"2 entries · 4 {summary}"
    browser.ask("document.querySelector('[name=q]').value = 'clip'")
    browser.ask("document.getElementById('filters').dispatchEvent(new Event('input'))")
    assert browser.ask(SUMMARY) == f"1 of 2 entries · 0 {summary}"


async def test_filters_stand_in_the_address_and_are_cleared_together(past: "Past", browser: "Browser") -> None:
    address = (await small_history(past)).as_uri()
    browser.open(f"{address}#q=fox&status=failed&kind=nonsense")
    assert browser.ask(SHOWN) == ["A rude fox"]
    assert browser.ask("document.getElementsByName('kind')[0].selectedIndex") == 0
    set_filters(browser, {"status": "", "q": "café & <b>"})
    browser.open(browser.ask("location.href"))
    assert browser.ask("document.getElementsByName('q')[0].value") == "café & <b>"
    assert browser.ask(SHOWN) == []
    browser.ask("document.querySelector('#filters button').click()")
    browser.wait(f"{SHOWN}.length === 5")
    assert browser.ask("document.querySelector('#filters button').hidden")


async def test_notice_leads_to_the_lost_requests(past: "Past", browser: "Browser") -> None:
    browser.open((await small_history(past)).as_uri())
    browser.ask("document.querySelector('.notice a').click()")
    browser.wait(f"{SHOWN}.length === 1")
    assert browser.ask(SHOWN) == ["The lost fox"]


async def test_page_can_be_used_with_the_keyboard_alone(past: "Past", browser: "Browser") -> None:
    await past.task("One fox", outcome=past.done(), files=(past.picture("1.png"),))
    await past.task("Two foxes", outcome=past.done(), files=(past.picture("2.png"), past.picture("3.png")))
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    focused = "document.activeElement.getAttribute('href') || document.activeElement.name || document.activeElement.id"
    for key, name in (("/", "q"), *(("Tab", name) for name in ("kind", "provider", "status", "./2.png", "./3.png"))):
        browser.press(key)
        browser.wait(f"({focused}) === {name!r}")
    viewer = "document.getElementById('viewer').open"
    shown = (
        "large.naturalWidth && `${large.src.split('/').pop()} ${document.getElementById('caption').textContent}`"
    ).replace("large", "document.getElementById('large')")
    browser.press("Enter")
    browser.wait(viewer)
    browser.wait(f"({shown}) === '3.png Two foxes'")
    for key, expected in (
        ("ArrowRight", "1.png One fox"),
        ("ArrowRight", "2.png Two foxes"),
        ("ArrowLeft", "1.png One fox"),
        ("ArrowLeft", "3.png Two foxes"),
        ("ArrowRight", "1.png One fox"),
    ):
        browser.press(key)
        browser.wait(f"({shown}) === {expected!r}")
    browser.press("Escape")
    browser.wait(f"!{viewer} && ({focused}) === './1.png'")


NAMED: dict[str, list[str]] = {
    "heading": [
        "Gallery",
        "Entries, newest first",
        "nano-banana image",
        "veo3 video",
        "veo3 video",
        *2 * ["nano-banana image"],
    ],
    "searchbox": ["Search"],
    "combobox": ["Kind", "Provider", "Status"],
    "image": ["Fox in the snow"],
    "Video": ["Snow falls"],
}
VIEWER = {"dialog": ["Fox in the snow"], "button": ["Previous picture", "Next picture", "Close"]}


async def test_everything_that_can_be_used_has_a_name_for_screen_readers(past: "Past", browser: "Browser") -> None:
    browser.open((await small_history(past)).as_uri())
    assert browser.named(NAMED) == NAMED
    assert "" not in browser.named({"link": [], "DisclosureTriangle": []}, within_s=0.0)["link"]
    browser.ask("document.querySelector('.shot').click()")
    assert browser.named(VIEWER) == VIEWER


# What must not happen ------------------------------------------------------------------------------------------------


async def test_hostile_history_does_nothing_and_calls_no_address(
    past: "Past", browser: "Browser", trap: HTTPServer
) -> None:
    owned = f"document.title='owned';fetch('{trap.url_for('/script')}')"
    words = (
        f'"></script></style></li><script>{owned}</script><img src="{trap.url_for("/img")}" onerror="{owned}">'
        f'<link rel=stylesheet href="{trap.url_for("/css")}"><iframe src="{trap.url_for("/frame")}"></iframe>'
        f'<meta http-equiv=refresh content="0;url={trap.url_for("/meta")}"><svg onload="{owned}">'
    )
    urls = (trap.url_for("/result.png"), f"javascript:{owned}", f"data:text/html,{words}")
    await past.task(words, model=words, outcome=past.done(*urls), arguments={words: words})
    await past.task(words * 9, provider=words, outcome=Outcome("failed", error=words))
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    browser.ask("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert browser.ask("document.title") == "Gallery · kie-ai-mcp-server"
    assert browser.ask("[...document.links].filter(link => !/^(https?|file):$/.test(link.protocol)).length") == 0
    assert browser.ask("document.querySelectorAll('iframe, svg, body link, .card script, .card img').length") == 0
    assert browser.log == []


async def test_markup_that_slipped_through_would_still_be_stopped(
    past: "Past", browser: "Browser", trap: HTTPServer
) -> None:
    path = await small_history(past)
    slipped = (
        "<script>window.owned = 1</script><p onclick='window.owned = 2' id=slipped>x</p>"
        f"<img src='{trap.url_for('/img')}' onerror='window.owned = 3'><script src='{trap.url_for('/js')}'></script>"
        f"<style>p {{ background: url({trap.url_for('/css')}) }}</style>"
        f"<iframe src='{trap.url_for('/frame')}'></iframe>"
        f"<video autoplay src='{trap.url_for('/video')}'></video><form action='{trap.url_for('/form')}'></form>"
    )
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('<ul class="grid">', f'{slipped}<ul class="grid">'), encoding="utf-8")
    browser.open(path.as_uri())
    browser.ask("document.getElementById('slipped').click(), document.querySelector('form[action]').submit()")
    browser.ask(f"fetch('{trap.url_for('/fetch')}').catch(() => null)")
    assert browser.ask("window.owned") is None
    assert len([line for line in browser.log if "Content Security Policy" in line]) >= 8
    assert browser.ask(f"{SHOWN}.length") == 5


async def test_unsaved_results_are_not_fetched_by_looking_at_them(
    past: "Past", browser: "Browser", trap: HTTPServer
) -> None:
    await past.task(outcome=past.done(trap.url_for("/result.png")))
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    assert browser.ask("document.querySelector('.media a').href") == trap.url_for("/result.png")


async def test_pictures_far_below_are_loaded_when_they_are_seen(past: "Past", browser: "Browser") -> None:
    for number in range(THUMBNAILS + 12):
        await past.task(f"fox {number}", outcome=past.done(), files=(past.picture(f"{number}.png", (64, 48)),))
    browser.open((await write(past.record, past.folder / "gallery.html")).as_uri())
    loaded = "[...document.querySelectorAll('.grid img[src^=\".\"]')].map(image => image.naturalWidth > 0)"
    assert browser.ask(loaded) == [False] * 12
    browser.ask("document.querySelector('.card:last-child').scrollIntoView()")
    browser.wait(f"{loaded}.every(Boolean)")
