"""Single payment: equal requests at the same time, and keys that name a request for good."""

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from kie_ai_mcp._app import patience
from kie_ai_mcp._flow import submit
from kie_ai_mcp._record import database
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import outside
from tests.helpers import eventually

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Desk, Launch, OpenDesk, Reply

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("address")]

TOOL = "generate_nano_banana"


@pytest.fixture
async def desks(open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[list["Desk"]]:
    """Two servers on one database."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_desk(tmp_path, sandbox.base_url)) for _ in range(2)]


def sent(sandbox: Sandbox) -> int:
    """How many paid requests have arrived; the second server may read the first one's tasks beside them."""
    return sum(seen.method == "POST" for seen in sandbox.requests)


def split(replies: list["Reply"], condition: Callable[["Reply"], bool]) -> tuple[list["Reply"], list["Reply"]]:
    return [reply for reply in replies if condition(reply)], [reply for reply in replies if not condition(reply)]


async def together(*calls: Any) -> list["Reply"]:
    """Make calls at the same time; the answers in the same order."""
    replies: dict[int, Reply] = {}

    async def make(number: int, call: Any) -> None:
        replies[number] = await call

    async with anyio.create_task_group() as group:
        for number, call in enumerate(calls):
            group.start_soon(make, number, call)
    return [replies[number] for number in range(len(calls))]


def said(answer: dict[str, Any]) -> list[str]:
    """Return what an answer notes besides the model that was chosen."""
    return [note for note in answer.get("notes", ()) if "was chosen" not in note]


@pytest.mark.parametrize("elsewhere", [0, 1])
async def test_twin_of_a_request_on_its_way_gets_the_same_task(
    elsewhere: int, desks: list["Desk"], sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    sandbox.play("slow:0.1", path="createTask")
    replies = await together(*[desks[number].call(TOOL, prompt="A fox") for number in (0, elsewhere, elsewhere)])
    (paid,) = sandbox.ledger
    assert [answer.data["task_id"] for answer in replies] == [paid.task_id] * 3
    assert len(rows(tmp_path, "submissions")) == sent(sandbox) == 1
    (first,), twins = split(replies, lambda answer: answer.data["charged"] == "yes")
    assert said(first.data) == []
    for twin in twins:
        assert (twin.data["charged"], twin.is_error) == ("no", False)
        (note,) = said(twin.data)
        assert note in twin.text
        assert re.search("on its way; nothing new was bought; give an idempotency_key to get another", note)


@pytest.mark.parametrize("elsewhere", [0, 1])
async def test_equal_calls_side_by_side_with_keys_of_their_own_are_tasks_of_their_own(
    elsewhere: int, desks: list["Desk"], sandbox: Sandbox
) -> None:
    sandbox.play("slow:0.1*4", path="createTask")
    keys = enumerate("abcd")
    calls = [desks[elsewhere * (number % 2)].call(TOOL, prompt="A fox", idempotency_key=key) for number, key in keys]
    replies = await together(*calls)
    assert len({answer.data["task_id"] for answer in replies}) == len(sandbox.ledger) == 4
    assert {answer.data["charged"] for answer in replies} == {"yes"}


async def test_new_key_does_not_pay_again_for_what_may_have_been_paid(desks: list["Desk"], sandbox: Sandbox) -> None:
    sandbox.play("drop-after", path="createTask")
    await desks[0].call(TOOL, prompt="A fox", idempotency_key="a")
    reply = await desks[1].call(TOOL, prompt="A fox", idempotency_key="b")
    assert (reply.is_error, reply.data["charged"]) == (True, "no")
    assert "resolve_submission(submission_id=1" in reply.text
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("elsewhere", [0, 1])
@pytest.mark.parametrize(("fault", "words"), [("code:402", "https://kie.ai/billing"), ("drop-after", "may have been")])
async def test_twin_gets_the_result_of_the_first(
    fault: str, words: str, elsewhere: int, desks: list["Desk"], sandbox: Sandbox
) -> None:
    sandbox.play(f"{fault}*always", path="createTask")
    replies = await together(desks[0].call(TOOL, prompt="A fox"), desks[elsewhere].call(TOOL, prompt="A fox"))
    assert all(answer.is_error and words in answer.text for answer in replies)
    assert len(sandbox.ledger) == (fault == "drop-after")


async def test_twin_does_not_wait_longer_than_its_client_and_is_not_sent(
    desks: list["Desk"], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "JOIN_S", 0.01)
    sandbox.play("slow:1", path="createTask")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: desks[0].call(TOOL, prompt="A fox"))
        await eventually(lambda: sent(sandbox) == 1)
        monkeypatch.setattr(patience, "USUAL_PATIENCE_S", 0.1)
        reply = await desks[1].call(TOOL, prompt="A fox")
    assert (reply.is_error, reply.data["charged"]) == (True, "no")
    assert "not sent twice" in reply.text
    assert sent(sandbox) == 1


async def test_finished_request_may_be_repeated(desks: list["Desk"], sandbox: Sandbox) -> None:
    first = await desks[0].call(TOOL, prompt="A fox")
    assert (await desks[0].call("wait_for_tasks", task_ids=[first.data["task_id"]])).data["tasks"][0]["credits"]
    second = await desks[1].call(TOOL, prompt="A fox")
    assert [first.data["task_id"], second.data["task_id"]] == [entry.task_id for entry in sandbox.ledger]
    assert [answer.data["charged"] for answer in (first, second)] == ["yes", "yes"]
    assert said(second.data) == []


async def test_repeat_beside_a_running_task_is_bought_and_says_so(desks: list["Desk"], sandbox: Sandbox) -> None:
    first, second, other = [await desk.call(TOOL, prompt="A fox") for desk in (*desks, desks[0])]
    assert len(sandbox.ledger) == 3
    assert said(first.data) == []
    for answer, earlier in ((second, first), (other, second)):
        assert answer.data["charged"] == "yes"
        (note,) = said(answer.data)
        assert note in answer.text
        assert re.search(rf"identical request is running since \d s as task {earlier.data['task_id']}", note)
    assert said((await desks[0].call(TOOL, prompt="An owl")).data) == []


# Answers that were lost ----------------------------------------------------------------------------------------------


def check_joined(answer: dict[str, Any], sandbox: Sandbox) -> None:
    (paid,) = sandbox.ledger
    assert (answer["task_id"], answer["charged"]) == (paid.task_id, "no")
    (note,) = said(answer)
    assert "never reached its caller; nothing new was bought; give an idempotency_key to get another" in note


async def give_up(desk: "Desk", sandbox: Sandbox, moment: str) -> None:
    """Let a call be cancelled while its request is sent, or while it waits for the result."""
    if "sent" in moment:
        sandbox.play("slow:0.3", path="createTask")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: desk.call(TOOL, prompt="A fox"))
        await eventually(lambda: sandbox.ledger if "sent" in moment else len(sandbox.requests) > 1)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("elsewhere", [0, 1])
@pytest.mark.parametrize("moment", ["while it is sent", "while it waits for the result"])
async def test_request_that_was_cancelled_is_not_paid_for_twice_when_asked_again(
    moment: str, elsewhere: int, open_desk: "OpenDesk", tmp_path: Path, rows: "Rows"
) -> None:
    settings = {"wait_s": 20.0, "patience_s": 20.0}
    with Sandbox(hold=True) as sandbox:
        async with open_desk(tmp_path, sandbox.base_url, **settings) as first, AsyncExitStack() as stack:
            again = first
            if elsewhere:
                again = await stack.enter_async_context(open_desk(tmp_path, sandbox.base_url, **settings))
            await give_up(first, sandbox, moment)
            await eventually(lambda: rows(tmp_path, "tasks"))
            sandbox.finish(sandbox.ledger[0].task_id)
            reply = await again.call(TOOL, prompt="A fox")
            check_joined(reply.data, sandbox)
            assert reply.data["status"] == "completed"
            # Now it has been answered: the same words ask for another one.
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: first.call(TOOL, prompt="A fox"))
                await eventually(lambda: len(sandbox.ledger) == 2)
                group.cancel_scope.cancel()


@pytest.mark.parametrize("moment", ["while it is sent", "while it waits for the result", "once it is finished"])
async def test_repeat_with_a_key_names_the_request_whose_answer_was_lost(
    moment: str, open_desk: "OpenDesk", tmp_path: Path, rows: "Rows"
) -> None:
    with Sandbox(hold=True) as sandbox:
        async with (
            open_desk(tmp_path, sandbox.base_url, wait_s=20.0, patience_s=20.0) as first,
            open_desk(tmp_path, sandbox.base_url) as desk,
        ):
            await give_up(first, sandbox, moment)
            name = f"task {sandbox.ledger[0].task_id}"
            if "sent" in moment:
                name = "submission 1"
            if "finished" in moment:
                sandbox.finish(sandbox.ledger[0].task_id)
                await desk.call("get_task_status", task_id=sandbox.ledger[0].task_id)
            reply = await desk.call(TOOL, prompt="A fox", idempotency_key="b")
            assert (reply.data["task_id"], reply.data["charged"]) == (sandbox.ledger[1].task_id, "yes")
            (note,) = said(reply.data)
            assert re.search(rf"identical request was made \d s ago as {name}; this one was bought besides it", note)
            assert said((await desk.call(TOOL, prompt="An owl", idempotency_key="c")).data) == []


@pytest.mark.parametrize("moment", ["once it is recorded", "while it waits for the result"])
def test_request_whose_server_was_killed_is_not_paid_for_twice_when_asked_again(
    moment: str, launch: "Launch", sandbox: Sandbox
) -> None:
    at = "record accepted" if "recorded" in moment else "read"
    dying = launch(sandbox, {"at": at, "when": "after"}, KIE_AI_WAIT_S="20")
    dying.ask(TOOL, prompt="A fox")
    assert dying.ended() == -9
    next_one = launch(sandbox)
    check_joined(next_one.call(TOOL, prompt="A fox")["structuredContent"], sandbox)
    another = next_one.call(TOOL, prompt="A fox")["structuredContent"]
    assert another["task_id"] == sandbox.ledger[1].task_id


async def test_call_does_not_wait_longer_for_the_service_than_its_client_for_it(
    open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path, rows: "Rows"
) -> None:
    sandbox.play("slow:3", path="createTask")
    async with open_desk(tmp_path, sandbox.base_url, patience_s=1.0, wait_s=14.0) as desk:
        with anyio.fail_after(2.5):
            reply = await desk.call(TOOL, prompt="A fox")
        assert (reply.is_error, reply.data["status"], reply.data["charged"]) == (False, "sending", "unknown")
        assert "Call again with the same arguments" in reply.data["next_step"]
        await eventually(lambda: rows(tmp_path, "tasks"))
        check_joined((await desk.call(TOOL, prompt="A fox")).data, sandbox)


@pytest.mark.parametrize("slow", [0.0, 0.7])
async def test_own_wait_of_a_tool_ends_with_the_patience(
    slow: float, open_desk: "OpenDesk", tmp_path: Path, rows: "Rows"
) -> None:
    with Sandbox(hold=True) as sandbox:
        sandbox.play(f"slow:{slow}", path="createTask")
        async with open_desk(tmp_path, sandbox.base_url, patience_s=1.0, wait_s=14.0) as desk:
            begun = time.monotonic()
            reply = await desk.call(TOOL, prompt="A fox")
            assert reply.data["status"] in {"pending", "processing"}
            assert time.monotonic() - begun < 5


async def test_key_of_a_lost_answer_leads_to_its_task(open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path) -> None:
    async with open_desk(tmp_path, sandbox.base_url) as desk:
        sandbox.play("slow:0.3", path="createTask")
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: desk.call(TOOL, prompt="A fox", idempotency_key="k"))
            await eventually(lambda: sandbox.ledger)
            group.cancel_scope.cancel()
        reply = await desk.call(TOOL, prompt="A fox", idempotency_key="k")
    assert (reply.data["task_id"], reply.data["charged"]) == (sandbox.ledger[0].task_id, "no")
    assert len(sandbox.ledger) == 1


async def test_lost_answer_is_given_for_a_while_only(
    desks: list["Desk"], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, rows: "Rows", tmp_path: Path
) -> None:
    sandbox.play("slow:0.2", path="createTask")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: desks[0].call(TOOL, prompt="A fox"))
        await eventually(lambda: sandbox.ledger)
        group.cancel_scope.cancel()
    await eventually(lambda: rows(tmp_path, "tasks"))
    late = time.time() + 7200
    monkeypatch.setattr(database, "time", SimpleNamespace(time=lambda: late))
    reply = await desks[0].call(TOOL, prompt="A fox")
    assert (reply.data["charged"], len(sandbox.ledger)) == ("yes", 2)


# Keys ----------------------------------------------------------------------------------------------------------------


async def test_same_key_and_body_is_the_same_task_also_in_another_process(
    desks: list["Desk"], sandbox: Sandbox
) -> None:
    replies = [await desk.call(TOOL, prompt="A fox", idempotency_key="k") for desk in (*desks, *desks)]
    (paid,) = sandbox.ledger
    assert {answer.data["task_id"] for answer in replies} == {paid.task_id}
    assert [answer.data["charged"] for answer in replies] == ["yes", "no", "no", "no"]
    assert said(replies[0].data) == []
    assert all("earlier request; nothing new was paid" in answer.text for answer in replies[1:])


def test_same_key_and_body_is_the_same_task_after_a_crash(launch: "Launch", sandbox: Sandbox) -> None:
    dying = launch(sandbox, {"at": "record accepted", "when": "after"})
    dying.ask(TOOL, prompt="A fox", idempotency_key="k")
    assert dying.ended() == -9
    reply = launch(sandbox).call(TOOL, prompt="A fox", idempotency_key="k")
    assert [reply["structuredContent"]["task_id"]] == [entry.task_id for entry in sandbox.ledger]


async def test_same_key_and_other_body_is_an_error_that_says_so(desks: list["Desk"], sandbox: Sandbox) -> None:
    await desks[0].call(TOOL, prompt="A fox", idempotency_key="k")
    reply = await desks[1].call(TOOL, prompt="An owl", idempotency_key="k")
    assert (reply.is_error, reply.data["charged"]) == (True, "no")
    assert "idempotency_key: 'k' is not accepted: it belongs to another request, submission 1" in reply.text
    assert sent(sandbox) == 1


@pytest.mark.parametrize("other", ["sending", "unknown"])
async def test_key_of_another_body_is_an_error_also_where_that_body_has_a_twin(
    other: str, desks: list["Desk"], sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    await desks[0].call(TOOL, prompt="A fox", idempotency_key="k")
    sandbox.play("slow:0.2" if other == "sending" else "drop-after", path="createTask")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: desks[0].call(TOOL, prompt="An owl"))
        await eventually(lambda: sent(sandbox) == 2 and rows(tmp_path, "submissions")[-1]["state"] == other)
        reply = await desks[1].call(TOOL, prompt="An owl", idempotency_key="k")
    assert reply.is_error
    assert "idempotency_key" in reply.text


async def test_request_without_a_key_joins_one_with_a_key_on_its_way(desks: list["Desk"], sandbox: Sandbox) -> None:
    sandbox.play("slow:0.2", path="createTask")
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: desks[0].call(TOOL, prompt="A fox", idempotency_key="k"))
        await eventually(lambda: sandbox.ledger)
        joined = await desks[1].call(TOOL, prompt="A fox")
    again = await desks[1].call(TOOL, prompt="A fox", idempotency_key="k")
    assert joined.data["task_id"] == again.data["task_id"] == sandbox.ledger[0].task_id
    assert "on its way" in joined.data["notes"][0]
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("fault", ["code:402", "http:422"])
async def test_key_of_a_refused_request_may_be_used_again(fault: str, desks: list["Desk"], sandbox: Sandbox) -> None:
    sandbox.play(fault, path="createTask")
    assert (await desks[0].call(TOOL, prompt="A fox", idempotency_key="k")).is_error
    assert not (await desks[1].call(TOOL, prompt="A fox", idempotency_key="k")).is_error
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("key", ["k" * 201, 7, ["k"]])
async def test_unusable_key_is_refused_before_anything_is_recorded(
    key: Any, desks: list["Desk"], sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    reply = await desks[0].call(TOOL, prompt="A fox", idempotency_key=key)
    assert reply.is_error
    assert "idempotency_key" in reply.text
    assert (rows(tmp_path, "submissions"), sandbox.requests) == ([], [])


async def test_key_of_a_task_that_was_taken_off_the_record_does_not_hang(
    desks: list["Desk"], sandbox: Sandbox, tmp_path: Path
) -> None:
    await desks[0].call(TOOL, prompt="A fox", idempotency_key="k")
    with outside(desks[0].app.engine.record) as database:
        database.execute("DELETE FROM tasks")
    with anyio.fail_after(2):
        await desks[1].call(TOOL, prompt="A fox", idempotency_key="k")


async def test_task_of_another_request_is_not_adopted(
    desks: list["Desk"], sandbox: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    made = await desks[0].call(TOOL, prompt="A fox")
    sandbox.play("drop-after", path="createTask")
    await desks[0].call(TOOL, prompt="An owl")
    reply = await desks[1].call("resolve_submission", submission_id=2, action="adopt", task_id=made.data["task_id"])
    assert reply.is_error
    assert "submission 1" in reply.text
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted", "unknown"]


async def test_adoption_that_cant_read_the_record_does_not_discard(
    desks: list["Desk"], sandbox: Sandbox, rows: "Rows", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.play("drop-after", path="createTask")
    await desks[0].call(TOOL, prompt="A fox")
    record = desks[0].app.engine.record
    find, broken = record.tasks.find, [StorageError("The disk failed.")]

    async def find_at_the_second_try(task_id: str) -> TaskRecord | None:
        if broken:
            raise broken.pop()
        return await find(task_id)

    monkeypatch.setattr(record.tasks, "find", find_at_the_second_try)
    adoption = {"submission_id": 1, "action": "adopt", "task_id": sandbox.ledger[0].task_id}
    reply = await desks[0].call("resolve_submission", **adoption)
    assert reply.is_error
    assert "The disk failed." in reply.text
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["unknown"]
    assert not (await desks[0].call("resolve_submission", **adoption)).is_error
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted"]
