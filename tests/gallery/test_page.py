"""Entries of the gallery: each with all that is on record, and nothing that is not true."""

import base64
import hashlib
import io
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from PIL import Image

import kie_ai_mcp_sandbox
from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._gallery.entries import PROMPT_CHARS
from kie_ai_mcp._gallery.page import page, write
from kie_ai_mcp._media.thumbnails import THUMBNAIL_PX, THUMBNAILS, THUMBNAILS_BYTES
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp.errors import MediaError

if TYPE_CHECKING:
    from tests.gallery.conftest import Past, Read

pytestmark = pytest.mark.anyio

CLIP = b"\x00\x00\x00\x18ftypmp42" + bytes(64)
REAL_CLIP = Path(kie_ai_mcp_sandbox.__file__).parent / "data" / "clip.mp4"
SOUND = b"ID3" + bytes(64)


# What an entry says --------------------------------------------------------------------------------------------------


async def test_entry_says_what_was_asked_who_made_it_when_and_what_it_cost(past: "Past", read: "Read") -> None:
    asked = {"aspectRatio": "16:9", "seed": 7}
    outcome = past.done(credits=60.5)
    task_id = await past.task(
        "Gulls pass by",
        "generate_veo3_video",
        provider="veo3",
        kind="video",
        model="veo3_fast",
        outcome=outcome,
        arguments=asked,
    )
    (card,) = read(await page(past.record)).cards
    assert card.one("h2").text == "veo3 video"
    assert card.one(class_="prompt").text == "Gulls pass by"
    assert card.one(class_="cost").text == "60.5 credits"
    assert card.one(class_="state").text == "Completed"
    assert card.one("footer").one("time").attributes["datetime"].startswith(f"{past._moment:%Y-%m-%dT%H:}")
    facts = {"Tool": "generate_veo3_video", "Model": "veo3_fast", "Id": task_id, "aspectRatio": "16:9", "seed": "7"}
    assert {term: card.fact(term) for term in facts} == facts


async def test_entries_stand_newest_first_and_their_credits_are_summed(past: "Past", read: "Read") -> None:
    for number, credits in enumerate((1000.25, None, 2.5)):
        await past.task(f"fox {number}", outcome=past.done(credits=credits))
    await past.request("fox 3")
    root = read(await page(past.record))
    assert [card.one(class_="prompt").text for card in root.cards] == ["fox 3", "fox 2", "fox 1", "fox 0"]
    assert root.one("output").text == "4 entries · 1,002.75 credits"
    assert root.card("fox 1").one(class_="cost").text == "cost unknown"


@pytest.mark.parametrize(
    ("state", "code", "message", "label", "cost"),
    [
        ("refused", 402, "Not enough credits.", "Refused", "not charged"),
        ("unknown", None, "No answer within 60 s.", "Unknown", "may have been charged"),
    ],
)
async def test_request_that_came_to_no_task_is_shown_with_its_reason(
    past: "Past",
    read: "Read",
    state: Literal["refused", "unknown"],
    code: int | None,
    message: str,
    label: str,
    cost: str,
) -> None:
    submission_id = await past.request("A fox on a tram")
    await past.record.submissions.settled(submission_id, Ending(state, code=code, message=message))
    (card,) = read(await page(past.record)).cards
    assert card.one(class_="prompt").text == "A fox on a tram"
    assert card.one(class_="state").text == label
    assert card.one(class_="error").text == (f"{message} (code {code})" if code else message)
    assert card.one(class_="cost").text == cost
    assert card.fact("Id") == f"submission {submission_id}"
    assert (card.one("h2").text, card.attributes["data-kind"]) == ("nano-banana image", "image")


async def test_failed_and_running_tasks_are_shown_as_what_they_are(past: "Past", read: "Read") -> None:
    await past.task("a bad fox", outcome=Outcome("failed", error="Not allowed.", error_code=400))
    await past.task("a slow fox", outcome=Outcome("processing", progress=0.4))
    await past.task("a new fox")
    root = read(await page(past.record))
    bad, slow, new = root.card("a bad fox"), root.card("a slow fox"), root.card("a new fox")
    assert (bad.one(class_="state").text, bad.one(class_="error").text) == ("Failed", "Not allowed. (code 400)")
    assert (slow.one(class_="state").text, slow.one(class_="none").text) == ("Processing", "…40% when last asked")
    assert (new.one(class_="state").text, new.one(class_="cost").text) == ("Pending", "")


@pytest.mark.parametrize(
    ("outcome", "cost"),
    [
        (None, "about 1,250.5 credits"),
        (Outcome("completed"), "about 1,250.5 credits"),
        (Outcome("completed", credits=1), "1 credit"),
        (Outcome("failed", error="no"), "cost unknown"),
    ],
)
async def test_estimate_is_shown_as_one_and_only_while_it_is_the_best_that_is_known(
    past: "Past", read: "Read", outcome: Outcome | None, cost: str
) -> None:
    await past.task(outcome=outcome, estimated_credits=1250.5)
    (card,) = read(await page(past.record)).cards
    assert card.one(class_="cost").text == cost
    assert "data-credits" not in card.attributes or cost == "1 credit"


async def test_estimates_are_summed_separately_from_reported_costs(past: "Past", read: "Read") -> None:
    await past.task(outcome=past.done(credits=4), estimated_credits=5)
    await past.task(outcome=past.done(credits=None), estimated_credits=60)
    await past.task(estimated_credits=2.5)
    await past.task(outcome=Outcome("failed", error="no"), estimated_credits=100)
    summary = read(await page(past.record)).one("output").text
    assert summary == "4 entries · 4 credits and about 62.5 more by estimate"


async def test_prices_of_several_services_are_never_added(past: "Past", read: "Read") -> None:
    await past.task(outcome=past.done(credits=4))
    for gateway, price in (("tide", 0.005), ("tide", 0.05), ("moon", 2.0), ("moon", 1.0)):
        task_id = await past.task(outcome=past.done(credits=price))
        with closing(sqlite3.connect(past.record.path)) as database:
            for table in ("tasks", "submissions"):
                database.execute(f"UPDATE {table} SET gateway = ? WHERE task_id = ?", (gateway, task_id))
            database.commit()
    past.record.units["tide"] = "USD"  # the moon's provider is not installed any more
    page_read = read(await page(past.record))
    costs = [card.one(class_="cost").text for card in page_read.cards]
    assert costs == ["1 of moon", "2 of moon", "0.05 USD", "0.005 USD", "4 credits"]
    assert [bool(card.all(class_="usd")) for card in page_read.cards] == [False] * 4 + [True]
    assert page_read.one("output").text == "5 entries · 3 of moon, 0.055 USD, 4 credits"


async def test_lost_requests_are_announced_above_everything_else(past: "Past", read: "Read") -> None:
    assert read(await page(past.record)).all(class_="notice") == []
    await past.record.submissions.settled(await past.request("one"), Ending("unknown", message="lost"))
    one = read(await page(past.record)).one(class_="notice")
    await past.record.submissions.settled(await past.request("two"), Ending("unknown", message="lost"))
    two = read(await page(past.record)).one(class_="notice")
    assert one.text.startswith("1 request lost its answer: it may have been charged.")
    assert two.text.startswith("2 requests lost their answers: they may have been charged.")
    assert two.one("a").attributes["href"] == "#status=unknown"


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        (None, "Without a prompt."),
        ("", "Without a prompt."),
        ("[not stored]", "[not stored]"),
        ("two\nlines", "two lines"),
    ],
)
async def test_entry_without_a_prompt_says_so(past: "Past", read: "Read", prompt: str | None, shown: str) -> None:
    await past.task(prompt)
    (card,) = read(await page(past.record)).cards
    assert card.one(class_="prompt").text == shown


async def test_long_prompt_is_folded_and_a_huge_one_is_cut(past: "Past", read: "Read") -> None:
    await past.task("fox " * 100)
    await past.task("x" * 20_000)
    huge, long = [card.one("details", class_="prompt") for card in read(await page(past.record)).cards]
    assert long.one("p").text == ("fox " * 100).strip()
    assert len(long.one("summary").text) <= 170
    assert huge.one("p").text == "x" * PROMPT_CHARS
    assert huge.one("small").text == "The first 2,000 of 20,000 characters."


async def test_task_made_elsewhere_is_shown_without_a_prompt(past: "Past", read: "Read") -> None:
    await past.record.tasks.adopt(Task("strange", "veo3", "veo3", "video"))
    (card,) = read(await page(past.record)).cards
    assert card.one(class_="prompt").text == "Made elsewhere, so its prompt is not on record."


async def test_empty_history_says_what_to_do(past: "Past", read: "Read") -> None:
    root = read(await page(past.record))
    assert root.cards == []
    assert "Ask your assistant for a picture" in root.one("main").text
    assert root.one("output").text == "0 entries · 0 credits"


# Saved, linked, expired, gone ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days_ago", "saved", "deleted", "state", "words"),
    [
        (0, True, False, "completed", None),
        (9, True, False, "completed", None),
        (0, False, False, "completed", "Not saved; the link works until"),
        (9, False, False, "completed expired", "Not saved; the link ended"),
        (0, True, True, "completed", "The saved file is gone."),
        (9, True, True, "completed expired", "The saved file is gone."),
    ],
)
async def test_result_is_expired_only_without_a_file_and_after_its_time(
    past: "Past", read: "Read", days_ago: int, saved: bool, deleted: bool, state: str, words: str | None
) -> None:
    files = (past.picture(),) if saved else ()
    await past.task(outcome=past.done(days_ago=days_ago), files=files)
    for file in files if deleted else ():
        file.unlink()
    (card,) = read(await page(past.record)).cards
    assert card.attributes["data-status"] == state
    assert len(card.all("img")) == (words is None)
    assert words is None or words in card.one(class_="none").text
    links = [link.attributes["href"] for link in card.one(class_="media").all("a", target="_blank")]
    assert links == (["https://tempfile.example/result.png"] if words and "expired" not in state else [])


async def test_every_link_of_an_unsaved_result_can_be_followed(past: "Past", read: "Read") -> None:
    await past.task(outcome=past.done("https://a.example/1.png", "https://a.example/2.png?x=1&y=2"))
    (card,) = read(await page(past.record)).cards
    links = card.one(class_="media").all("a")
    assert [link.text for link in links] == ["Open result 1", "Open result 2"]
    assert [link.attributes["href"] for link in links] == ["https://a.example/1.png", "https://a.example/2.png?x=1&y=2"]
    assert {link.attributes["rel"] for link in links} == {"noopener noreferrer"}


async def test_completed_task_without_any_result_says_so(past: "Past", read: "Read") -> None:
    await past.task(outcome=replace(past.done(), urls=()))
    (card,) = read(await page(past.record)).cards
    assert "The service named no result." in card.text


@pytest.mark.parametrize(
    ("name", "data", "element"), [("clip.mp4", CLIP, "video"), ("rain.mp3", SOUND, "audio"), ("odd.png", CLIP, "video")]
)
async def test_clip_and_sound_get_a_player_that_loads_nothing_by_itself(
    past: "Past", read: "Read", tmp_path: Path, name: str, data: bytes, element: str
) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    await past.task("Rain on tin", outcome=past.done(), files=(file,))
    (card,) = read(await page(past.record)).cards
    player = card.one(element)
    assert player.attributes["src"] == file.as_uri()
    assert player.attributes["preload"] == "none"
    assert "controls" in player.attributes
    assert player.attributes["aria-label"] == "Rain on tin"


async def test_tracks_stand_below_each_other_with_their_titles(past: "Past", read: "Read", tmp_path: Path) -> None:
    files = tuple(tmp_path / f"{number}.mp3" for number in range(6))
    for file in files:
        file.write_bytes(SOUND)
    notes = tmp_path / "7.json"
    notes.write_text("[1]\n")
    done = past.done(*(f"https://x.example/{number}" for number in range(6)))
    done = replace(done, labels=("Rain", "Drums", "Bass", "Voice", "Organ", ""), data=[{"id": "a-1"}])
    await past.task("A song", kind="audio", outcome=done, files=(*files, notes))
    (card,) = read(await page(past.record)).cards
    assert [player.attributes["src"] for player in card.all("audio")] == [file.as_uri() for file in files]
    assert [name.text for name in card.all("figcaption")] == ["Rain", "Drums", "Bass", "Voice", "Organ"]
    assert card.all("audio")[0].attributes["aria-label"] == "Rain"
    assert "a-1" in card.fact("Data")
    assert "7.json" in card.text


@pytest.mark.parametrize("saved", [False, True])
async def test_words_are_shown_as_they_are(past: "Past", read: "Read", tmp_path: Path, saved: bool) -> None:
    file = tmp_path / "lyrics.txt"
    file.write_text("x")
    lyrics = "[Verse]\n<b>Drops</b>"
    outcome = replace(past.done(), urls=(), data=lyrics)
    await past.task("Words", kind="text", outcome=outcome, files=(file,) if saved else ())
    (card,) = read(await page(past.record)).cards
    assert card.one("pre").text == "[Verse] <b>Drops</b>"
    assert ("lyrics.txt" in card.text) == saved


async def test_links_of_unsaved_tracks_name_them(past: "Past", read: "Read") -> None:
    outcome = replace(past.done("https://x.example/1", "https://x.example/2"), labels=("Rain", ""))
    await past.task(kind="audio", outcome=outcome)
    (card,) = read(await page(past.record)).cards
    assert [link.text for link in card.one("div", class_="media").all("a")] == ["Open result 1: Rain", "Open result 2"]


async def test_file_that_is_no_medium_is_not_shown_as_one(past: "Past", read: "Read", tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    file.write_text("<script>alert(1)</script>", encoding="utf-8")
    await past.task(outcome=past.done(), files=(file,))
    (card,) = read(await page(past.record)).cards
    assert "The saved file is gone." in card.text
    assert card.all("img") == []


@pytest.mark.parametrize("file", ["picture.png", "", ".", "/", "/dev/null", "\0", "/no/such/picture.png"])
async def test_recorded_file_that_can_not_be_shown_does_not_stop_the_page(
    past: "Past", read: "Read", monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(past.picture().parent)
    task_id = await past.task(outcome=past.done())
    await past.record.tasks.record_files(task_id, [file])
    (card,) = read(await page(past.record)).cards
    assert ("The saved file is gone." if file else "Not saved") in card.text


async def test_results_that_are_not_saved_are_named_beside_those_that_are(past: "Past", read: "Read") -> None:
    task_id = await past.task(outcome=past.done("https://a.example/1", "https://a.example/2"))
    await past.record.tasks.record_files(task_id, [str(past.picture()), ""])
    (card,) = read(await page(past.record)).cards
    assert len(card.all("img")) == 1
    assert "Not savedresults 2" in card.text


# Pictures on the page ------------------------------------------------------------------------------------------------


def embedded(address: str) -> Image.Image:
    head, _, data = address.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


async def test_newest_pictures_are_embedded_small_and_the_others_loaded_when_they_are_seen(
    past: "Past", read: "Read"
) -> None:
    rest = [past.picture(f"{number}.png", (8, 8)) for number in range(THUMBNAILS)]
    await past.task(outcome=past.done(), files=tuple(rest))
    large, small = past.picture("large.png", (1600, 1200)), past.picture("small.jpg", (40, 30))
    await past.task(outcome=past.done(), files=(large, small))
    images = read(await page(past.record)).one("ul").all("img")
    sources = [image.attributes["src"] for image in images]
    assert max(embedded(sources[0]).size) == THUMBNAIL_PX
    assert embedded(sources[1]).size == (40, 30)
    assert [source.startswith("data:") for source in sources] == [True] * THUMBNAILS + [False] * 2
    assert sources[-1] == rest[-1].as_uri()
    assert {image.attributes["loading"] for image in images} == {"lazy"}


async def test_picture_leads_to_its_whole_file(past: "Past", read: "Read") -> None:
    await past.task("A fox", outcome=past.done(), files=(past.picture(),))
    (card,) = read(await page(past.record)).cards
    shot = card.one("a", class_="shot")
    assert shot.attributes["href"] == (past.folder / "picture.png").as_uri()
    assert shot.one("img").attributes["alt"] == "A fox"


async def test_without_pillow_pictures_are_loaded_from_their_files(
    past: "Past", read: "Read", monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = past.picture()
    await past.task(outcome=past.done(), files=(picture,))
    monkeypatch.setitem(sys.modules, "PIL", None)
    (image,) = read(await page(past.record)).one("ul").all("img")
    assert image.attributes["src"] == picture.as_uri()


async def test_clip_has_a_frame_of_it_as_its_picture(past: "Past", read: "Read", tmp_path: Path) -> None:
    clip, cut = tmp_path / "clip.mp4", tmp_path / "cut.mp4"
    shutil.copy(REAL_CLIP, clip)
    cut.write_bytes(CLIP)
    await past.task(outcome=past.done(), files=(clip, cut))
    players = read(await page(past.record)).one("ul").all("video")
    assert embedded(players[0].attributes["poster"]).size == (320, 180)
    assert "poster" not in players[1].attributes


async def test_without_pyav_a_clip_is_a_player_all_the_same(
    past: "Past", read: "Read", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(REAL_CLIP, tmp_path / "clip.mp4")
    await past.task(outcome=past.done(), files=(tmp_path / "clip.mp4",))
    monkeypatch.setitem(sys.modules, "av", None)
    (player,) = read(await page(past.record)).one("ul").all("video")
    assert "poster" not in player.attributes


async def test_broken_and_monstrous_pictures_do_not_stop_the_page(
    past: "Past", read: "Read", monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, huge = past.picture("cut.png"), past.picture("huge.png", (300, 300))
    cut.write_bytes(cut.read_bytes()[:200])
    large = past.picture("large.png", (250, 250))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200 * 200)
    await past.task(outcome=past.done(), files=(cut, huge, large))
    images = read(await page(past.record)).one("ul").all("img")
    assert [image.attributes["src"] for image in images] == [cut.as_uri(), huge.as_uri(), large.as_uri()]


async def test_changed_picture_gets_a_new_thumbnail(past: "Past", read: "Read") -> None:
    picture = past.picture(size=(64, 48))
    await past.task(outcome=past.done(), files=(picture,))
    (before,) = read(await page(past.record)).one("ul").all("img")
    past.picture(size=(32, 48))
    (after,) = read(await page(past.record)).one("ul").all("img")
    assert [embedded(image.attributes["src"]).size for image in (before, after)] == [(64, 48), (32, 48)]


async def test_server_may_address_files_its_own_way(past: "Past", read: "Read") -> None:
    clip = past.folder.parent / "clip.mp4"
    clip.write_bytes(CLIP)
    await past.task(outcome=past.done(), files=(past.picture(), clip))
    text = await page(past.record, address=lambda _record, _number, path: f"/files/{path.name}?a=1&b=2")
    (card,) = read(text).cards
    assert card.one("a", class_="shot").attributes["href"] == "/files/picture.png?a=1&b=2"
    assert card.one("video").attributes["src"] == "/files/clip.mp4?a=1&b=2"
    assert "file:/" not in text


# The whole page ------------------------------------------------------------------------------------------------------


async def test_filters_offer_what_there_is_and_how_often(past: "Past", read: "Read") -> None:
    await past.task(outcome=past.done())
    await past.task(provider="veo3", kind="video", outcome=past.done(days_ago=9))
    await past.task(provider="veo3", kind="video")
    root = read(await page(past.record))
    offered = {
        choice.attributes["name"]: [option.text for option in choice.all("option")[1:]] for choice in root.all("select")
    }
    assert offered == {
        "kind": ["image (1)", "video (2)"],
        "provider": ["nano-banana (1)", "veo3 (2)"],
        "status": ["completed (2)", "expired (1)", "pending (1)"],
    }


async def test_page_holds_the_newest_entries_and_says_that_there_are_older_ones(past: "Past", read: "Read") -> None:
    await past.record.submissions.settled(await past.request("refused"), Ending("refused", code=422, message="no"))
    for number in range(5):
        await past.task(f"fox {number}")
    root = read(await page(past.record, limit=3))
    whole = read(await page(past.record, limit=6))
    assert [card.one(class_="prompt").text for card in root.cards] == ["fox 4", "fox 3", "fox 2"]
    assert "older entries are left out" in root.one("header", class_="top").text
    assert len(whole.cards) == 6
    for number in range(5):
        await past.record.submissions.settled(
            await past.request(f"refused {number}"), Ending("refused", code=422, message="no")
        )
    refused = read(await page(past.record, limit=2))
    assert [card.one(class_="prompt").text for card in refused.cards] == ["refused 4", "refused 3"]
    assert "older entries are left out" in refused.one("header", class_="top").text
    assert "older entries" not in whole.text


async def test_lost_request_is_shown_however_old_it_is(past: "Past", read: "Read") -> None:
    await past.record.submissions.settled(await past.request("the lost fox"), Ending("unknown", message="lost"))
    for number in range(5):
        await past.task(f"fox {number}")
    root = read(await page(past.record, limit=2))
    assert [card.one(class_="prompt").text for card in root.cards] == ["fox 4", "fox 3", "the lost fox"]


async def test_task_adopted_late_keeps_the_prompt_it_was_asked_with(past: "Past", read: "Read") -> None:
    lost = await past.request("the lost fox")
    await past.record.submissions.settled(lost, Ending("unknown", message="lost"))
    for number in range(5):
        await past.task(f"fox {number}")
    found = Task("found", "nano-banana", "nano-banana", created_at=datetime.now(UTC))
    await past.record.tasks.adopt(found)
    await past.record.submissions.resolve(lost, found)
    root = read(await page(past.record, limit=2))
    assert [card.one(class_="prompt").text for card in root.cards] == ["the lost fox", "fox 4"]
    assert root.all(class_="notice") == []


def fill(path: Path, count: int) -> None:
    """Write tasks the way another program would, all at once."""
    address = "https://tempfile.aiquickdraw.com/f/0123456789abcdef0123456789abcdef.png"
    prompt = "A lighthouse above a sea of clouds, first light, long lens, film grain, soft haze. " * 3
    tasks = [
        (f"{number:032x}", f"2026-01-01 00:{number // 60 % 60:02}:{number % 60:02}.000000") for number in range(count)
    ]
    with closing(sqlite3.connect(path)) as database:
        database.executemany(
            "INSERT INTO submissions (state, tool, provider, api_type, kind, gateway, arguments, body_hash, owner,"
            " created_at, asked_at, answered_at, task_id) VALUES ('accepted', 'generate_nano_banana', 'nano-banana',"
            " 'nano-banana', 'image', 'kie', json_object('prompt', ?), ?, 'x', ?, 0, 0, ?)",
            [(prompt, task_id, moment, task_id) for task_id, moment in tasks],
        )
        database.executemany(
            "INSERT INTO tasks (task_id, api_type, status, created_at, updated_at, provider, tool, credits,"
            " result_urls) VALUES (?, 'nano-banana', 'completed', ?, ?, 'nano-banana', 'generate_nano_banana', 4,"
            " json_array(?))",
            [(task_id, moment, moment, address) for task_id, moment in tasks],
        )
        database.commit()


async def test_thousand_entries_weigh_less_than_three_megabytes(past: "Past", read: "Read") -> None:
    fill(past.record.path, 1200)
    text = await page(past.record)
    assert text.count('"task_id": "') == 1000
    assert text.count("A lighthouse above a sea") >= 1000
    assert len(text.encode()) + THUMBNAILS_BYTES < 4_000_000


async def test_database_of_the_node_server_is_shown(read: "Read", tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "seed.db")) as database:
        database.execute(
            "CREATE TABLE tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT UNIQUE NOT NULL,"
            " api_type TEXT NOT NULL, status TEXT DEFAULT 'pending', created_at TEXT DEFAULT CURRENT_TIMESTAMP,"
            " updated_at TEXT DEFAULT CURRENT_TIMESTAMP, result_url TEXT, error_message TEXT)"
        )
        database.execute(
            "INSERT INTO tasks (task_id, api_type, status, result_url) VALUES ('old', 'veo3', 'completed', 'https://x.example/1')"
        )
        database.commit()
    record = Record(tmp_path / "seed.db", RateLimit(20, 10.0))
    (card,) = read(await page(record)).cards
    record.close()
    assert card.one("h2").text == "veo3 video"
    assert card.one(class_="media").one("a").attributes["href"] == "https://x.example/1"


async def test_page_may_run_its_own_script_and_show_files_and_nothing_else(past: "Past", read: "Read") -> None:
    await past.task(outcome=past.done(), files=(past.picture(),))
    text = await page(past.record)
    root = read(text)
    rules = dict(
        rule.split(" ", 1) for rule in root.one(http_equiv="Content-Security-Policy").attributes["content"].split("; ")
    )
    style, script = (
        re.search("<style>(.*?)</style>", text, re.DOTALL),
        re.search("<script>(.*?)</script>", text, re.DOTALL),
    )
    assert style
    assert script
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'" for found in (style, script)
    ]
    assert rules == {
        "default-src": "'none'",
        "style-src": hashes[0],
        "script-src": hashes[1],
        "img-src": "'self' file: data:",
        "media-src": "'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert {len(root.all(name)) for name in ("iframe", "object", "embed", "base")} == {0}
    assert [name for element in root.all() for name in element.attributes if name.startswith("on")] == []
    styles = {element.name: element.attributes["style"] for element in root.all() if "style" in element.attributes}
    assert re.fullmatch(r"grid-row-end: span \d+;", styles.pop("li"))
    assert styles == {}


# The file ------------------------------------------------------------------------------------------------------------


async def test_page_and_pictures_below_it_may_move_together(past: "Past", read: "Read", tmp_path: Path) -> None:
    inside, outside = past.picture("50 % of a #fox?.png"), tmp_path / "elsewhere" / "clip.mp4"
    outside.parent.mkdir()
    outside.write_bytes(CLIP)
    await past.task(outcome=past.done(), files=(inside, outside))
    path = await write(past.record, past.folder / "pages" / ".." / "gallery.html")
    (card,) = read(path.read_text(encoding="utf-8")).cards
    assert path == past.folder / "gallery.html"
    assert card.one("a", class_="shot").attributes["href"] == "./50%20%25%20of%20a%20%23fox%3F.png"
    assert card.one("video").attributes["src"] == outside.as_uri()


async def test_gallery_is_replaced_and_leaves_nothing_else_behind(past: "Past", read: "Read", tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    first = await write(past.record, folder / "gallery.html")
    await past.task("a fox")
    assert await write(past.record, folder / "gallery.html") == first
    assert len(read(first.read_text(encoding="utf-8")).cards) == 1
    assert [path.name for path in folder.iterdir()] == ["gallery.html"]


async def test_file_that_is_no_gallery_is_never_replaced(past: "Past") -> None:
    picture = past.picture()
    before = picture.read_bytes()
    with pytest.raises(MediaError, match=r"is not a gallery.*Choose another file with --output"):
        await write(past.record, picture)
    assert picture.read_bytes() == before
    assert [path.name for path in past.folder.iterdir()] == ["picture.png"]


async def test_place_that_can_not_be_written_is_named_with_a_cure(past: "Past", tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(MediaError, match=r"file/gallery\.html: .*Choose another file with --output"):
        await write(past.record, tmp_path / "file" / "gallery.html")
