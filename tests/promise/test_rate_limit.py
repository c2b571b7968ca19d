"""Two hundred calls from four processes on one database: never too many at once, all made, each once, in turn."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kie_ai_mcp._flow import submit
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import current
from tests.helpers import until

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Launch, LaunchIn, OpenDesk

on_both = pytest.mark.usefixtures("address")

PROCESSES = 4
CALLS = 50
LIMIT = 20
WINDOW_S = 1.0
SETTINGS = {"KIE_AI_RATE_LIMIT": str(LIMIT), "KIE_AI_RATE_WINDOW_S": str(WINDOW_S)}
MAY_OVERTAKE = 3 * LIMIT
"""How many later requests may be sent before an earlier one: what three windows let through."""


@dataclass(frozen=True)
class Rush:
    """What two hundred calls at once came to."""

    sandbox: Sandbox
    answers: list[dict[str, Any]]
    submissions: list[dict[str, Any]]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def rush(
    request: pytest.FixtureRequest, launch_in: "LaunchIn", rows: "Rows", tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rush]:
    folder: Path = tmp_path_factory.mktemp("rush")
    if request.param == "postgres":
        current.append(request.getfixturevalue("postgres").empty())
    with Sandbox(rate_limit=LIMIT, rate_window_s=WINDOW_S) as sandbox:
        with ExitStack() as stack:
            servers = [stack.enter_context(launch_in(folder, sandbox, None, **SETTINGS)) for _ in range(PROCESSES)]
            asked = [
                [server.ask("generate_nano_banana", prompt=f"Fox {process}.{number}") for number in range(CALLS)]
                for process, server in enumerate(servers)
            ]
            answers = [
                server.answer(number)["structuredContent"]
                for server, numbers in zip(servers, asked, strict=True)
                for number in numbers
            ]
            submissions = rows(folder, "submissions")
        current.clear()
        yield Rush(sandbox, answers, submissions)


def test_no_window_sees_more_than_the_limit(rush: Rush) -> None:
    times = sorted(entry.time for entry in rush.sandbox.ledger)
    assert len(times) == PROCESSES * CALLS
    assert min(later - first for first, later in zip(times, times[LIMIT:], strict=False)) >= WINDOW_S
    assert {seen.code for seen in rush.sandbox.requests} == {200}


def test_every_call_succeeds_and_is_made_once(rush: Rush) -> None:
    assert {answer["status"] for answer in rush.answers} == {"pending"}
    made = Counter(entry.body["input"]["prompt"] for entry in rush.sandbox.ledger)
    assert (len(made), set(made.values())) == (PROCESSES * CALLS, {1})
    task_ids = [answer["task_id"] for answer in rush.answers]
    assert sorted(task_ids) == sorted(entry.task_id for entry in rush.sandbox.ledger)
    assert sorted(task_ids) == sorted(row["task_id"] for row in rush.submissions)
    assert {row["state"] for row in rush.submissions} == {"accepted"}


def test_whoever_came_first_is_sent_first(rush: Rush) -> None:
    granted = [row["granted_at"] for row in rush.submissions]  # in the order in which they asked
    overtaken = [sum(later < mine for later in granted[place + 1 :]) for place, mine in enumerate(granted)]
    assert max(overtaken) <= MAY_OVERTAKE


@on_both
def test_call_that_waits_longer_than_its_client_is_refused_and_not_sent(
    launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    patience = {"constants": {"patience": 0.2}}
    server = launch(sandbox, patience, KIE_AI_RATE_LIMIT="1", KIE_AI_RATE_WINDOW_S="60")
    server.call("generate_nano_banana", prompt="The first fox")
    reply = server.call("generate_nano_banana", prompt="The second fox")
    assert reply["isError"]
    assert (reply["structuredContent"]["status"], reply["structuredContent"]["charged"]) == ("refused", "no")
    assert "not sent" in reply["structuredContent"]["error"]
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted", "cancelled"]
    assert len(sandbox.requests) == 1


@on_both
@pytest.mark.parametrize("end", ["cancelled while waiting to try again", "given up after refusals"])
def test_request_that_was_not_made_gives_its_slot_back(
    end: str, launch: "Launch", sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    patience = 0.2 if "given up" in end else 45.0
    constants = {"constants": {"patience": patience}}
    server = launch(sandbox, constants, KIE_AI_RATE_LIMIT="1", KIE_AI_RATE_WINDOW_S="0.1")
    sandbox.play("429:5*always")
    asked = server.ask("generate_nano_banana", prompt="The first fox")
    if "cancelled" in end:
        until(lambda: any(seen.code == 429 for seen in sandbox.requests))
        server.cancel(asked)
    else:
        server.answer(asked)
    sandbox.reset()
    assert server.call("generate_nano_banana", prompt="The second fox")["structuredContent"]["status"] == "pending"


@on_both
def test_dead_process_does_not_hold_its_place(launch: "Launch", sandbox: Sandbox) -> None:
    settings = {"KIE_AI_RATE_LIMIT": "1", "KIE_AI_RATE_WINDOW_S": "0.5"}
    dying = launch(sandbox, {"at": "ask for a slot", "when": "after"}, **settings)
    dying.call("generate_nano_banana", prompt="The first fox")
    dying.ask("generate_nano_banana", prompt="The fox that never came")
    assert dying.ended() == -9
    living = launch(sandbox, None, **settings)
    assert living.call("generate_nano_banana", prompt="The next fox")["structuredContent"]["status"] == "pending"
    assert [entry.body["input"]["prompt"] for entry in sandbox.ledger] == ["The first fox", "The next fox"]


@on_both
def test_slot_is_held_until_a_window_after_the_answer(launch: "Launch", tmp_path: Path) -> None:
    # The service counts a request when it arrives, which may be long after its slot was granted.
    slow = {"at": "connect", "within": "create", "do": "pause", "seconds": 0.4}
    with Sandbox(rate_limit=1, rate_window_s=WINDOW_S / 2) as sandbox:
        server = launch(sandbox, slow, KIE_AI_RATE_LIMIT="1", KIE_AI_RATE_WINDOW_S=str(WINDOW_S / 2))
        asked = [server.ask("generate_nano_banana", prompt=prompt) for prompt in ("The late fox", "The next fox")]
        for number in asked:
            server.answer(number)
        assert [seen.code for seen in sandbox.requests] == [200, 200]


@on_both
@pytest.mark.parametrize("limit", [1, 3])
def test_request_that_must_come_back_later_does_not_stop_those_behind_it(
    limit: int, launch: "Launch", sandbox: Sandbox
) -> None:
    sandbox.play(f"429:1*{limit}", path="createTask")
    server = launch(sandbox, None, KIE_AI_RATE_LIMIT=str(limit), KIE_AI_RATE_WINDOW_S="0.1")
    asked = [server.ask("generate_nano_banana", prompt=f"Fox {number}") for number in range(limit + 2)]
    assert {server.answer(number)["structuredContent"]["status"] for number in asked} == {"pending"}
    assert len(sandbox.ledger) == limit + 2


@on_both
def test_service_that_asks_for_no_pause_is_not_hammered(launch: "Launch", sandbox: Sandbox) -> None:
    sandbox.play("429:0*always", path="createTask")
    server = launch(sandbox, {"constants": {"patience": 1.0}})
    reply = server.call("generate_nano_banana", prompt="A fox")["structuredContent"]
    assert (reply["status"], reply["charged"]) == ("refused", "no")
    assert 2 <= len(sandbox.requests) <= 7  # pauses of 20 ms and up, each twice the one before


@pytest.mark.anyio
@on_both
async def test_client_that_waits_for_its_turn_gets_progress_all_the_time(
    open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "TELL_S", 0.05)
    texts: dict[str, list[str]] = {"The second fox": [], "The third fox": []}
    async with open_desk(tmp_path, sandbox.base_url, rate_limit=1, rate_window_s=1.0) as desk:
        await desk.call("generate_nano_banana", prompt="The first fox")

        async def ask(prompt: str) -> None:
            async def hear(progress: float, total: float | None, message: str | None) -> None:
                texts[prompt].append(message or "")

            await desk.client.call_tool("generate_nano_banana", {"prompt": prompt}, progress_callback=hear)

        async with anyio.create_task_group() as group:
            for prompt in texts:
                group.start_soon(ask, prompt)
    # One of the two asks and the other waits for it; both tell.
    assert all(len(messages) >= 3 for messages in texts.values()), texts
    assert all(message.startswith("Waiting for a free slot") for messages in texts.values() for message in messages)
