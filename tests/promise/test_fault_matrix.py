"""Faults: every way the service can answer a paid request or a read, and what is reported, recorded and charged."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from kie_ai_mcp._app import patience
from kie_ai_mcp._flow import waiting
from kie_ai_mcp.errors import MEANINGS
from kie_ai_mcp_sandbox.faults import KINDS
from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Rows
    from tests.promise.conftest import Desk, Launch, OpenDesk

pytestmark = pytest.mark.anyio

LOGS = "https://kie.ai/logs"
PROMPT = "A fox reads the books"
BEYOND_THE_LIMIT = ("timeout", "slow:5", "slow-body:5")
TIMEOUT_MS = 150
ANSWERED = {"status", "charged", "next_step"}


class Case(NamedTuple):
    """What one fault leads to.

    Args:
        state: The submission's state afterwards.
        charged: What the report says about money.
        code: The code on record.
        words: What the report must say besides.
        paid: How often the service accepted.
        sent: How often it was asked; more than once only where that provably made nothing.
    """

    state: str
    charged: str
    code: int | None
    words: tuple[str, ...] = ()
    paid: int = 0
    sent: int = 1


def refused(code: int, *words: str, sent: int = 1) -> Case:
    return Case("refused", "no", code, (f"Code {code}", *words), sent=sent)


def unknown(code: int | None, *words: str, paid: int = 0) -> Case:
    return Case("unknown", "unknown", code, (LOGS, "resolve_submission", *words), paid)


# code: what it means for a paid request, whether it is the HTTP status or stands inside an HTTP 200
CODES: dict[int, Case] = {
    400: refused(400, "invalid", "Change the arguments"),
    401: refused(401, "key", "KIE_AI_API_KEY"),
    402: refused(402, "credits", "https://kie.ai/billing"),
    404: refused(404, "address"),
    405: refused(405, "address", "KIE_AI_BASE_URL"),
    408: unknown(408, "Code 408"),
    409: refused(409, "exists already"),
    413: refused(413, "too large"),
    422: refused(422, "rejects the arguments"),
    429: refused(429, "too many requests", "Wait"),
    430: refused(430, "too frequently", "Wait"),
    433: refused(433, "usage limit", "https://kie.ai/api-key"),
    451: refused(451, "media address"),
    455: refused(455, "maintenance", "later"),
    500: unknown(500, "Code 500"),
    501: unknown(501, "Code 501"),
    505: refused(505, "switched this feature off"),
    531: refused(531, "given back"),
    550: refused(550, "queue is full", "minutes"),
}
ACCEPTED = Case("accepted", "yes", None, ("Status: pending", "wait_for_tasks"), paid=1)
FAULTS: dict[str, Case] = {
    "slow:0.05": ACCEPTED,
    "slow-body:0.05": ACCEPTED,
    "string-code": ACCEPTED,
    "429:0*3": ACCEPTED._replace(sent=4),
    "429:1*always": refused(429, "too many requests"),
    "timeout": unknown(None, "TimeoutError", paid=1),
    "slow:5": unknown(None, "TimeoutError", paid=1),
    "slow-body:5": unknown(None, "TimeoutError", paid=1),
    "drop-before": unknown(None),
    "drop-after": unknown(None, paid=1),
    "cut": unknown(None, paid=1),
    "html": unknown(200, "no readable answer"),
    "empty": unknown(200, "no readable answer", paid=1),
    "list": unknown(200, "no readable answer", paid=1),
    "garbage": unknown(200, "no readable answer", paid=1),
    "no-task-id": unknown(200, "named no task id", paid=1),
    "echo-key": refused(401, "KIE_AI_API_KEY", "[key]"),
    "http-html:400": refused(400),
    "http-html:403": refused(403),
    "http-html:408": unknown(408),
    "http-html:500": unknown(500),
    "http-html:502": unknown(502),
    "http-html:504": unknown(504),
    "http:503": unknown(503),
    "code:999": unknown(999),
    "code:201": unknown(201),
    # A code that says the request failed inside may come after the request was accepted.
    "code:500!": unknown(500, paid=1),
    "http:501!": unknown(501, paid=1),
    "http-html:502!": unknown(502, paid=1),
}
# HTTP 404 and 405 prove that an address is not served, so the earlier address of the same request is asked.
MOVED = {"http:404*2": CODES[404]._replace(sent=2), "http:405*2": CODES[405]._replace(sent=2)}
TABLE: dict[str, Case] = {
    **{f"http:{code}": case for code, case in CODES.items() if code not in {404, 405, 429, 430}},
    **{f"code:{code}": case for code, case in CODES.items() if code not in {429, 430}},
    **{f"{form}:{code}*always": CODES[code] for code in (429, 430) for form in ("http", "code")},
    **MOVED,
    **FAULTS,
}


def play(sandbox: Sandbox, fault: str, path: str) -> None:
    """Plan a fault; with ``!`` the service accepts the request all the same."""
    sandbox.play(fault.removesuffix("!"), path=path, accept=True if fault.endswith("!") else None)


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox(speed=10_000, rate_limit=1_000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
async def shared(
    open_desk: "OpenDesk", service: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator["Desk"]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "USUAL_PATIENCE_S", 0.9)  # three short pauses, never one of a second
        async with open_desk(folder, service.base_url, rate_limit=1_000) as desk:
            yield desk


@pytest.fixture
def desk(shared: "Desk", service: Sandbox, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Desk":
    """The shared server, in front of a service that has forgotten everything; impatient where the fault is a delay."""
    service.reset()
    caller = shared.app.engine.callers["kie"]
    if getattr(request.node, "callspec", None) and request.node.callspec.params["fault"] in BEYOND_THE_LIMIT:
        monkeypatch.setattr(caller, "settings", caller.settings.model_copy(update={"timeout": TIMEOUT_MS}))
    return shared


def test_table_has_every_code_in_both_forms_and_every_fault() -> None:
    assert set(CODES) == set(MEANINGS)
    played = {fault.rstrip("!").partition("*")[0] for fault in TABLE}
    assert {f"{form}:{code}" for code in MEANINGS for form in ("http", "code")} <= played
    # The same task id again needs an earlier task, so it has a test of its own.
    assert {fault.partition(":")[0] for fault in played} == set(KINDS) - {"same-task-id"}


@pytest.mark.parametrize("fault", TABLE)
async def test_paid_request_is_reported_recorded_and_booked_as_the_table_says(
    fault: str, desk: "Desk", service: Sandbox, rows: "Rows"
) -> None:
    case = TABLE[fault]
    tasks = len(rows(desk.folder, "tasks"))
    play(service, fault, "createTask")
    reply = await desk.call("generate_nano_banana", prompt=f"{PROMPT} {fault}")
    submission = rows(desk.folder, "submissions")[-1]
    assert submission["arguments"] == f'{{"prompt":"{PROMPT} {fault}"}}'
    assert (submission["state"], submission["code"]) == (case.state, case.code)
    assert reply.data["charged"] == case.charged
    assert reply.is_error == (case.state != "accepted")
    assert reply.data["status"] == ("pending" if case.state == "accepted" else case.state)
    assert [word for word in (*case.words, f"Charged: {case.charged}") if word not in reply.text] == []
    assert reply.data.keys() >= ANSWERED
    paid = [entry.task_id for entry in service.ledger]
    assert (len(paid), len(service.requests)) == (case.paid, case.sent)
    made = [row["task_id"] for row in rows(desk.folder, "tasks")[tasks:]]
    assert made == (paid if case.state == "accepted" else [])
    assert [submission["task_id"], reply.data.get("task_id")] == (made or [None]) * 2


@pytest.mark.parametrize("fault", [fault for fault, case in TABLE.items() if case.state != "accepted"])
async def test_refused_request_may_be_repeated_and_an_unknown_one_only_once_settled(
    fault: str, desk: "Desk", service: Sandbox
) -> None:
    prompt = f"{PROMPT} {fault}, again"
    play(service, fault, "createTask")
    await desk.call("generate_nano_banana", prompt=prompt)
    service.reset()
    again = await desk.call("generate_nano_banana", prompt=prompt)
    assert again.is_error == (TABLE[fault].state == "unknown")
    assert len(service.requests) == len(service.ledger) == (not again.is_error)


async def test_known_task_id_is_reported_as_known_and_changes_no_record(
    desk: "Desk", service: Sandbox, rows: "Rows"
) -> None:
    first = await desk.call("generate_nano_banana", prompt=f"{PROMPT} first")
    before = rows(desk.folder, "tasks")
    service.play("same-task-id", path="createTask")
    second = await desk.call("generate_nano_banana", prompt=f"{PROMPT} second")
    assert second.data["task_id"] == first.data["task_id"]
    assert "on record since" in second.data["next_step"]
    assert rows(desk.folder, "tasks") == before
    states = [(row["state"], row["task_id"]) for row in rows(desk.folder, "submissions")[-2:]]
    assert states == [("accepted", first.data["task_id"])] * 2
    assert len(service.ledger) == 1


# fault: what is reported of a read that meets it, None where the read succeeds all the same
READS: dict[str, str | None] = {
    **{f"http:{code}": str(code) for code in MEANINGS},
    **{f"code:{code}": str(code) for code in MEANINGS},
    **{f"http-html:{code}": str(code) for code in (400, 401, 404, 500, 502)},
    "slow:0.05": None,
    "slow-body:0.05": None,
    "string-code": None,
    "429:1": "429",
    "timeout": "did not answer within",
    "slow:5": "did not answer within",
    "slow-body:5": "did not answer within",
    "drop-before": "could not be read",
    "drop-after": "could not be read",
    "cut": "could not be read",
    "html": "no readable answer",
    "empty": "no readable answer",
    "list": "no readable answer",
    "garbage": "no readable answer",
    "no-task-id": "no record of the task",
    "echo-key": "401",
}


@pytest.mark.parametrize("fault", READS)
async def test_failed_read_is_no_outcome(fault: str, desk: "Desk", service: Sandbox, rows: "Rows") -> None:
    reason = READS[fault]
    made = await desk.call("generate_nano_banana", prompt=f"{PROMPT} read {fault}")
    before = rows(desk.folder, "tasks")
    service.play(f"{fault}*always", path="recordInfo")
    reply = await desk.call("get_task_status", task_id=made.data["task_id"])
    assert not reply.is_error
    assert reply.data["charged"] == "yes"
    if reason is None:
        assert ("read_error" in reply.data, reply.data["status"]) == (False, "completed")
    else:
        assert reason in reply.data["read_error"]
        assert reply.data["status"] == "pending"
        assert rows(desk.folder, "tasks") == before
    assert len(service.ledger) == 1


@pytest.mark.parametrize("fault", [fault for fault, reason in READS.items() if reason])
async def test_wait_outlives_a_failed_poll(
    fault: str, desk: "Desk", service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(waiting.CADENCE_S, "image", 0.02)
    monkeypatch.setattr(patience, "USUAL_PATIENCE_S", 5.0)  # longer than the pause that a busy service asks for
    made = await desk.call("generate_nano_banana", prompt=f"{PROMPT} wait {fault}")
    service.play(fault, path="recordInfo")
    reply = await desk.call("wait_for_tasks", task_ids=[made.data["task_id"]], timeout_s=5)
    (task,) = reply.data["tasks"]
    assert (task["status"], task["charged"]) == ("completed", "yes")


# An id that is not on record here: only the service's own "no" means that it does not exist.
SAID_NO = ("code:422", "http:422", "code:404", "http:404", "code:400", "no-task-id")
SAID_NOTHING = (
    *("code:401", "http:401", "code:408", "code:433", "code:455", "code:500", "echo-key", "drop-after", "timeout"),
    *("html", "empty", "list", "garbage", "http-html:403", "http-html:404", "http-html:502"),
)


@pytest.mark.parametrize("fault", [*SAID_NO, *SAID_NOTHING])
async def test_unknown_id_is_called_unknown_only_where_the_service_said_so(
    fault: str, desk: "Desk", service: Sandbox, rows: "Rows"
) -> None:
    before = rows(desk.folder, "tasks")
    service.play(f"{fault}*always", path="recordInfo")
    reply = await desk.call("get_task_status", task_id="made-elsewhere")
    assert reply.is_error
    assert ("no status route of the enabled providers knows it" in reply.text) == (fault in SAID_NO)
    # Refused would mean that nothing was made or charged, which is unknown for this task.
    assert (reply.data["status"], "charged" in reply.data) == ("not found" if fault in SAID_NO else "unread", False)
    assert ("pending" in reply.text, rows(desk.folder, "tasks")) == (False, before)


@pytest.mark.parametrize("fault", ["code:422", "drop-after"])
async def test_adoption_of_an_id_that_the_service_does_not_show_settles_nothing(
    fault: str, desk: "Desk", service: Sandbox, rows: "Rows"
) -> None:
    service.play("drop-after", path="createTask")
    await desk.call("generate_nano_banana", prompt=f"{PROMPT} adopted {fault}")
    number = rows(desk.folder, "submissions")[-1]["id"]
    service.play(f"{fault}*always", path="recordInfo")
    reply = await desk.call("resolve_submission", submission_id=number, action="adopt", task_id="a-typo")
    assert (reply.is_error, "charged" in reply.data) == (True, False)
    assert rows(desk.folder, "submissions")[-1]["state"] == "unknown"


@pytest.mark.usefixtures("address")
@pytest.mark.parametrize("fault", ["drop-after", "cut", "html", "code:402", "http:500", "429:0", "echo-key"])
def test_answer_over_the_wire_is_the_same(
    fault: str, service: Sandbox, launch: "Launch", rows: "Rows", tmp_path: "Path"
) -> None:
    service.reset()
    case = TABLE.get(fault) or ACCEPTED
    server = launch(service)
    play(service, fault, "createTask")
    answer: dict[str, Any] = server.call("generate_nano_banana", prompt=PROMPT)
    (submission,) = rows(tmp_path, "submissions")
    assert (submission["state"], len(service.ledger)) == (case.state, case.paid)
    assert answer["structuredContent"]["charged"] == case.charged
    assert bool(answer.get("isError")) == (case.state != "accepted")
    assert [word for word in case.words if word not in answer["content"][0]["text"]] == []
    server.close_input()
    assert server.ended() == 0
    assert "key-of-the-tests" not in server.said + server.errors
