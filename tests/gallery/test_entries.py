"""Entries of the gallery as data: what the page and the app draw, without a browser."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._gallery.entries import ARGUMENT_CHARS, ARGUMENTS, DATA_CHARS, PROMPT_CHARS
from kie_ai_mcp._gallery.page import entries, html
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._settings.installation import typed_command
from kie_ai_mcp._settings.secrets import Mask

if TYPE_CHECKING:
    from tests.gallery.conftest import Past

pytestmark = pytest.mark.anyio


async def only(past: "Past") -> dict[str, Any]:
    """The only entry of a history."""
    (entry,) = (await entries(past.record, address=lambda _record, _number, path: f"files/{path.name}"))["entries"]
    return dict(entry)


async def test_task_is_told_with_all_that_is_on_record(past: "Past") -> None:
    outcome = replace(past.done("https://a.example/1.png", credits=60.5), labels=("Dawn",))
    picture = past.picture("a fox.png")
    task_id = await past.task(
        "A fox", model="m", outcome=outcome, files=(picture,), arguments={"seed": 7, "flag": None}
    )
    entry = await only(past)
    times = {name: entry.pop(name) for name in ("created_at", "finished_at")}
    assert all(value.endswith("Z") and len(value) == len("2026-01-01T00:00:00Z") for value in times.values())
    (result,) = entry.pop("results")
    assert result.pop("thumbnail").startswith("data:image/webp;base64,")
    file = {"name": "a fox.png", "kind": "image", "address": "files/a fox.png"}
    assert result == {"number": 1, "url": "https://a.example/1.png", "label": "Dawn", **file}
    assert entry == {
        "task_id": task_id,
        "provider": "nano-banana",
        "kind": "image",
        "gateway": "kie",
        "tool": "generate_nano_banana",
        "model": "m",
        "status": "completed",
        "states": ["completed"],
        "prompt": "A fox",
        "arguments": {"seed": "7", "flag": "null"},
        "credits": 60.5,
        "command": f"{typed_command(anywhere=True)} tasks again {task_id}",
    }


async def test_words_of_speech_are_its_prompt(past: "Past") -> None:
    await past.task(None, "generate_speech", kind="audio", arguments={"text": "Welcome to our shop.", "voice": "Kore"})
    entry = await only(past)
    assert (entry["prompt"], entry["arguments"]) == ("Welcome to our shop.", {"voice": "Kore"})


async def test_texts_are_bounded_and_say_how_long_they_were(past: "Past") -> None:
    arguments = {f"a{number}": "x" * 5000 for number in range(50)}
    done = replace(past.done(), urls=(), data="y" * 50_000)
    await past.task("z" * 20_000, kind="text", outcome=done, arguments=arguments)
    entry = await only(past)
    assert (len(entry["prompt"]), entry["prompt_chars"]) == (PROMPT_CHARS, 20_000)
    assert [len(value) for value in entry["arguments"].values()] == [ARGUMENT_CHARS] * ARGUMENTS
    assert len(entry["data"]) == DATA_CHARS


@pytest.mark.parametrize(
    ("days_ago", "saved", "deleted", "states", "gone"),
    [
        (0, True, False, ["completed"], False),
        (9, True, False, ["completed"], False),
        (0, False, False, ["completed"], False),
        (9, False, False, ["completed", "expired"], False),
        (0, True, True, ["completed"], True),
        (9, True, True, ["completed", "expired"], True),
    ],
)
async def test_link_counts_only_where_no_file_is_left(
    past: "Past", days_ago: int, saved: bool, deleted: bool, states: list[str], gone: bool
) -> None:
    files: tuple[Path, ...] = (past.picture(),) if saved else ()
    await past.task(outcome=past.done(days_ago=days_ago), files=files)
    for file in files if deleted else ():
        file.unlink()
    entry = await only(past)
    assert (entry["states"], entry.get("gone", False)) == (states, gone)
    assert ("expires_at" in entry) is (not saved or deleted)
    assert ("name" in entry["results"][0]) is (saved and not deleted)


@pytest.mark.parametrize(
    ("outcome", "credits", "estimate"),
    [
        (None, None, 12.5),
        (Outcome("completed"), None, 12.5),
        (Outcome("completed", credits=0), 0, None),
        (Outcome("completed", credits=1), 1, None),
        (Outcome("failed", error="no"), None, None),
    ],
)
async def test_estimate_counts_only_while_nothing_better_is_known(
    past: "Past", outcome: Outcome | None, credits: float | None, estimate: float | None
) -> None:
    await past.task(outcome=outcome, estimated_credits=12.5)
    entry = await only(past)
    assert (entry.get("credits"), entry.get("estimated_credits")) == (credits, estimate)


async def test_request_without_a_task_says_what_it_may_have_cost(past: "Past") -> None:
    for ending in (Ending("refused", code=402, message="no"), Ending("unknown", code=402, message="lost")):
        await past.record.submissions.settled(await past.request(ending.state), ending)
    shown = (await entries(past.record))["entries"]
    told = [(entry["status"], entry["cost"], entry["error"], entry["logs_page"]) for entry in shown]
    assert told == [
        ("unknown", "may have been charged", "lost (code 402)", "https://kie.ai/logs"),
        ("refused", "not charged", "no (code 402)", "https://kie.ai/logs"),
    ]
    assert {"task_id", "command", "results"} & shown[0].keys() == set()


async def test_task_made_elsewhere_has_no_words_and_no_command(past: "Past") -> None:
    await past.record.tasks.adopt(Task("strange", "veo3", "veo3", "video"))
    entry = await only(past)
    assert entry["elsewhere"] is True
    assert entry.keys() & {"command", "arguments"} == set()


def test_app_has_no_policy_of_its_own_and_the_file_may_not_connect() -> None:
    app, page = html({"mode": "app"}), html({"mode": "page", "live": ""})
    live = html({"mode": "page", "live": "./gallery/entries.json"})
    assert "Content-Security-Policy" not in app
    assert "connect-src" not in page
    assert "connect-src 'self';" in live
    assert {text.count("innerHTML") for text in (app, page, live)} == {0}


async def test_entries_are_masked_beside_the_event_loop(past: "Past") -> None:
    seen: list[int] = []

    class Noting(Mask):
        def json(self, value: Any, *more: Any, **how: Any) -> Any:
            seen.append(threading.get_ident())
            return super().json(value, *more, **how)

    await past.task("A fox at a secret place")
    (entry,) = (await entries(past.record, mask=Noting(["secret place"])))["entries"]
    assert "secret" not in entry["prompt"]
    assert threading.get_ident() not in seen
    assert seen
