"""Second forms of a paid request: sent only where the first one's address is provably not served, and paid once."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Desk, Launch, OpenDesk

pytestmark = pytest.mark.anyio

PROVIDERS = ("veo3", "runway", "gpt4o-image", "flux")
OWN, COMMON, FORMER = "veo/generate", "jobs/createTask", "playground/createTask"
ASK = {"prompt": "A heron lands"}
TURNED = {"veo3": {"unified": True}}
TIMEOUT_MS = 150


@pytest.fixture
def service() -> Iterator[Sandbox]:
    with Sandbox(speed=10_000, any_model=True) as sandbox:
        yield sandbox


@pytest.fixture
def opened(open_desk: "OpenDesk", service: Sandbox, tmp_path: Path) -> Any:
    """Opens the server on the test's database; each time is a restart, with other settings where these are given."""

    def start(**settings: Any) -> AbstractAsyncContextManager["Desk"]:
        return open_desk(tmp_path, service.base_url, **{"enabled_providers": PROVIDERS, **settings})

    return start


def arrived(service: Sandbox) -> Counter[str]:
    """How often each address was asked."""
    return Counter(urlsplit(seen.path).path.removeprefix("/api/v1/") for seen in service.requests)


@pytest.mark.parametrize("fault", ["http:404", "http:405", "http-html:404", "http-html:405"])
async def test_address_that_is_not_served_leads_to_the_other_form_which_is_paid_once(
    fault: str, opened: Any, service: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    service.play(fault, path=OWN)
    async with opened() as desk:
        answer = await desk.call("generate_veo3_video", **ASK)
        spent = await desk.app.engine.record.spent_today()

    assert not answer.is_error, answer.text
    assert arrived(service)[OWN] == arrived(service)[COMMON] == 1
    (bought,) = service.ledger
    assert bought.body == {"model": "veo-3-1", "input": {"prompt": "A heron lands", "model": "veo3_fast"}}
    (request,) = rows(tmp_path, "submissions")
    (task,) = rows(tmp_path, "tasks")
    assert (request["state"], request["path"], request["model"]) == ("accepted", COMMON, "veo-3-1")
    assert (task["path"], task["model"], task["api_type"], task["provider"]) == (COMMON, "veo-3-1", "veo3", "veo3")
    assert (request["estimated_credits"], request["booked_credits"], spent) == (60, 60, 60)
    assert answer.data["estimated_credits"] == 60


NO_PROOF = [
    "http:400",
    "http:401",
    "http:402",
    "http:408",
    "http:422",
    "http:429*always",
    "http:500",
    "http:503",
    "http-html:403",
    "http-html:502",
    "code:404",
    "code:405",
    "code:422",
    "code:500",
    "timeout",
    "slow:5",
    "slow-body:5",
    "drop-before",
    "drop-after",
    "cut",
    "html",
    "empty",
    "garbage",
    "no-task-id",
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("fault", NO_PROOF)
async def test_nothing_but_a_proof_moves_on_to_the_other_form(
    fault: str, turned: bool, opened: Any, service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kie_ai_mcp._app.patience.USUAL_PATIENCE_S", 0.9)
    first, other = (COMMON, OWN) if turned else (OWN, COMMON)
    service.play(fault, path=first)
    async with opened(timeout=TIMEOUT_MS, providers=TURNED if turned else {}) as desk:
        answer = await desk.call("generate_veo3_video", **ASK)

    assert answer.data["status"] in {"refused", "unknown"}
    assert arrived(service)[first] >= 1
    assert arrived(service)[other] == arrived(service)[FORMER] == 0
    assert len(service.ledger) <= 1


async def test_answer_that_names_a_task_accepts_the_request_even_as_a_404(
    open_desk: "OpenDesk", httpserver: HTTPServer, tmp_path: Path
) -> None:
    named = {"code": 404, "msg": "not found", "data": {"taskId": "t-9"}}
    httpserver.expect_request(f"/{OWN}").respond_with_json(named, status=404)
    async with open_desk(tmp_path, httpserver.url_for("").rstrip("/"), enabled_providers=PROVIDERS) as desk:
        answer = await desk.call("generate_veo3_video", **ASK)

    assert (answer.data["task_id"], answer.data["charged"]) == ("t-9", "yes")
    assert [request.path for request, _ in httpserver.log] == [f"/{OWN}"]


async def test_both_forms_not_served_is_one_refusal_that_cost_nothing(
    opened: Any, service: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    for path in (OWN, COMMON, FORMER):
        service.play("http:404", path=path)
    async with opened() as desk:
        answer = await desk.call("generate_veo3_video", **ASK)

    assert (answer.data["status"], answer.data["charged"]) == ("refused", "no")
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["refused"]
    assert arrived(service)[OWN] == arrived(service)[COMMON] == arrived(service)[FORMER] == 1
    assert service.ledger == []


async def test_other_form_that_may_have_been_accepted_is_unknown_and_never_sent_again(
    opened: Any, service: Sandbox
) -> None:
    service.play("http:404", path=OWN)
    service.play("drop-after", path=COMMON)
    async with opened() as desk:
        lost = await desk.call("generate_veo3_video", **ASK)
        again = await desk.call("generate_veo3_video", **ASK)
        (bought,) = service.ledger
        found = await desk.call("resolve_submission", submission_id=1, action="adopt", task_id=bought.task_id)
        status = await desk.call("get_task_status", task_id=bought.task_id)

    assert (lost.data["status"], lost.data["charged"]) == ("unknown", "unknown")
    assert again.is_error
    assert arrived(service)[OWN] == arrived(service)[COMMON] == 1
    assert found.data["task_id"] == status.data["task_id"] == bought.task_id
    assert arrived(service)["veo/record-info"] == 0


async def test_busy_other_form_waits_its_turn_without_asking_the_first_address_again(
    opened: Any, service: Sandbox
) -> None:
    service.play("http:404", path=OWN)
    service.play("429:0*2", path=COMMON)
    async with opened() as desk:
        answer = await desk.call("generate_veo3_video", **ASK)

    assert answer.data["status"] == "pending"
    assert (arrived(service)[OWN], arrived(service)[COMMON], len(service.ledger)) == (1, 3, 1)


@pytest.mark.parametrize("turned", [False, True])
async def test_task_is_read_where_it_was_made_after_a_restart_too(turned: bool, opened: Any, service: Sandbox) -> None:
    service.play("http:404", path=OWN)
    async with opened(providers=TURNED if turned else {}) as desk:
        made = await desk.call("generate_veo3_video", **ASK)
    async with opened() as desk:
        done = await desk.call("wait_for_tasks", task_ids=[made.data["task_id"]])
        second = await desk.call("generate_veo3_video", prompt="Another heron")
        other = await desk.call("wait_for_tasks", task_ids=[second.data["task_id"]])

    assert done.data["tasks"][0]["status"] == "completed"
    assert done.data["tasks"][0]["result_urls"]
    assert other.data["tasks"][0]["status"] == "completed"
    # Turned round, the first request never met the planned fault, so the second one did.
    assert (arrived(service)["veo/record-info"] > 0) == (not turned)
    assert arrived(service)["jobs/recordInfo"] > 0


async def test_unified_begins_with_the_common_address(opened: Any, service: Sandbox) -> None:
    async with opened(providers=TURNED) as desk:
        answer = await desk.call("generate_veo3_video", **ASK)

    assert answer.data["status"] == "pending"
    assert (arrived(service)[COMMON], arrived(service)[OWN]) == (1, 0)


async def test_unified_comes_back_to_the_own_address_where_no_common_one_is_served(
    opened: Any, service: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    for path in (COMMON, FORMER):
        service.play("http:404", path=path)
    async with opened(providers=TURNED) as desk:
        made = await desk.call("generate_veo3_video", **ASK)
        done = await desk.call("wait_for_tasks", task_ids=[made.data["task_id"]])

    assert done.data["tasks"][0]["status"] == "completed"
    assert [row["path"] for row in rows(tmp_path, "tasks")] == [OWN]
    assert (arrived(service)[COMMON], arrived(service)[FORMER], arrived(service)[OWN]) == (1, 1, 1)


async def test_identical_calls_at_once_buy_one_clip_of_the_other_form(opened: Any, service: Sandbox) -> None:
    service.play("http:404", path=OWN)
    answers: list[Any] = []

    async def call(desk: "Desk") -> None:
        answers.append(await desk.call("generate_veo3_video", **ASK))

    async with opened() as desk, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call, desk)

    assert len(service.ledger) == 1
    assert {answer.data["task_id"] for answer in answers} == {service.ledger[0].task_id}


@pytest.mark.parametrize("order", [({}, TURNED), (TURNED, {})])
async def test_request_is_the_same_whichever_form_begins(
    order: tuple[dict[str, Any], dict[str, Any]], opened: Any, service: Sandbox
) -> None:
    first, then = order
    async with opened(providers=first) as desk:
        made = await desk.call("generate_veo3_video", **ASK, idempotency_key="heron")
    async with opened(providers=then) as desk:
        again = await desk.call("generate_veo3_video", **ASK, idempotency_key="heron")

    assert again.data["task_id"] == made.data["task_id"]
    assert len(service.ledger) == 1


LIMITS = [({"max_credits_per_day": 1000.0}, {}), ({"max_credits_per_request": 1000.0}, {}), ({}, {"max_credits": 1000})]


@pytest.mark.parametrize(("limit", "of_call"), LIMITS)
@pytest.mark.parametrize(
    ("tool", "arguments", "own"),
    [
        ("generate_flux_image", ASK, "flux/kontext/generate"),
        ("extend_veo3_video", {**ASK, "task_id": "t-1"}, "veo/extend"),
    ],
)
async def test_dearer_form_is_not_sent_while_credits_are_limited(
    tool: str,
    arguments: dict[str, Any],
    own: str,
    limit: dict[str, float],
    of_call: dict[str, float],
    opened: Any,
    service: Sandbox,
) -> None:
    service.play("http:404", path=own)
    async with opened(**limit) as desk:
        refused = await desk.call(tool, **arguments, **of_call)
        assert arrived(service)[COMMON] == 0
    service.play("http:404", path=own)
    async with opened() as desk:
        bought = await desk.call(tool, **arguments)

    assert (refused.data["status"], refused.data["charged"]) == ("refused", "no")
    assert bought.data["status"] == "pending"
    assert any("at most" in note for note in bought.data["notes"])
    assert bought.data["estimated_credits"] in {10, 250}


async def test_form_at_the_same_price_is_sent_while_credits_are_limited(opened: Any, service: Sandbox) -> None:
    service.play("http:404", path=OWN)
    async with opened(max_credits_per_day=60.0) as desk:
        answer = await desk.call("generate_veo3_video", **ASK)

    assert answer.data["status"] == "pending"
    assert len(service.ledger) == 1


async def test_price_on_record_is_that_of_the_form_that_was_sent(
    opened: Any, service: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    service.play("http:404", path="flux/kontext/generate")
    async with opened() as desk:
        answer = await desk.call("generate_flux_image", **ASK)

    (request,) = rows(tmp_path, "submissions")
    assert (request["estimated_credits"], request["booked_credits"]) == (10, 10)
    assert answer.data["estimated_credits"] == 10


async def test_model_that_the_other_form_does_not_take_is_refused_rather_than_dropped(
    opened: Any, service: Sandbox
) -> None:
    service.play("http:404", path="flux/kontext/generate")
    async with opened() as desk:
        answer = await desk.call("generate_flux_image", **ASK, model="flux-kontext-max")

    assert (answer.data["status"], answer.data["charged"]) == ("refused", "no")
    assert arrived(service)[COMMON] == 0


async def test_both_forms_ask_for_the_callback_of_this_server(opened: Any, service: Sandbox) -> None:
    service.play("http:404", path=OWN)
    async with opened(public_url="https://me.example") as desk:
        await desk.call("generate_veo3_video", **ASK)

    asked = [seen.body["callBackUrl"] for seen in service.requests if seen.body]
    assert asked == ["https://me.example/callbacks/kie"] * 2


async def test_1080p_version_is_bought_once_at_the_common_address(opened: Any, service: Sandbox) -> None:
    async with opened(providers=TURNED) as desk:
        clip = await desk.call("generate_veo3_video", **ASK)
        first = await desk.call("get_veo3_1080p_video", task_id=clip.data["task_id"])
        again = await desk.call("get_veo3_1080p_video", task_id=clip.data["task_id"])
        done = await desk.call("wait_for_tasks", task_ids=[first.data["task_id"]])

    assert first.data["estimated_credits"] == 5
    assert again.data["task_id"] == first.data["task_id"]
    assert done.data["tasks"][0]["status"] == "completed"
    assert [entry.body["model"] for entry in service.ledger] == ["veo-3-1", "veo/get-1080p-video"]


def test_crash_between_the_two_forms_leaves_one_open_request_that_nobody_repeats(
    launch: "Launch", service: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    service.play("http:404", path=OWN)
    settings = {"KIE_AI_ENABLED_PROVIDERS": "veo3"}
    server = launch(service, {"at": "create", "nth": 2}, **settings)
    server.ask("generate_veo3_video", **ASK)
    assert server.ended() == -9
    again = launch(service, None, **settings)
    answer = again.call("generate_veo3_video", **ASK)
    listed = data(again.call("list_tasks"))

    assert answer["isError"]
    assert [entry["submission_id"] for entry in listed["unresolved"]] == [1]
    (request,) = rows(tmp_path, "submissions")
    assert (request["state"], json.loads(request["arguments"])["prompt"]) == ("unknown", ASK["prompt"])
    assert arrived(service)[COMMON] == 0
    assert service.ledger == []
