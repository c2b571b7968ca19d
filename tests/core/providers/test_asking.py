"""Calls of providers' functions while serving: what each may return and raise, and what that means for a charge."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp import Accepted, Answer, Gateway, InvalidArgument, Outcome, Query, StatusRoute, Submission, Task
from kie_ai_mcp._providers import asking
from kie_ai_mcp._providers.asking import ACCOUNT_CODES, Asking, answer_of
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import PluginError, ReadFailed, Refused, Unknown

if TYPE_CHECKING:
    from tests.core.conftest import Publish

pytestmark = pytest.mark.anyio

CLIP = "https://files.example.com/1.mp4"
FINISHED = {"taskId": "t-1", "state": "success", "videoInfo": {"videoUrl": CLIP}}
LOGS = "https://service.example/logs"
OK = Answer(200, "success", {"id": "t-1"})


def asking_of(*names: str) -> Asking:
    return Asking(Plugins(Settings.model_validate({"enabled_providers": names})))


RUNWAY = asking_of("runway")


def raises(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def returns(value: Any) -> Callable[..., Any]:
    return lambda *_: value


# Requests ------------------------------------------------------------------------------------------------------------


def tool_of(make: Callable[[], Any]) -> BoundTool:
    def generate_fox(prompt: str, tags: list[str]) -> Submission:
        """Make a fox."""
        tags.clear()
        made: Submission = make()
        return made

    return BoundTool.bind(generate_fox, provider="acme", kind="image")


async def test_request_is_returned_and_the_arguments_stay_as_they_are() -> None:
    wanted, arguments = Submission("fox", {"a": 1}, "fox"), {"prompt": "a fox", "tags": ["red"]}
    assert await RUNWAY.request(tool_of(lambda: wanted), arguments, Submission) is wanted
    assert arguments["tags"] == ["red"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            raises(KeyError("x")),
            "generate_fox of the provider acme failed: KeyError: 'x' (providers/test_asking.py, line ",
        ),
        (
            raises(SystemExit(3)),
            "generate_fox of the provider acme failed: SystemExit: 3 (providers/test_asking.py, line ",
        ),
        (
            returns(None),
            "generate_fox of the provider acme returned what can't be sent: a NoneType, not a Submission (",
        ),
        (
            returns(Query("fox", {}, lambda _: Outcome("processing"))),
            "a Query, not a Submission (providers/test_asking.py, line ",
        ),
        (returns(Submission("/", {}, "fox")), "path is '/', not an address below the service's base URL ("),
        (returns(Submission("fox", {}, "fox", gateway="far")), "its gateway 'far' is registered by no provider ("),
        (returns(Submission("fox", {}, "fox", gateway="kee")), "is registered by no provider (did you mean 'kie'?) ("),
    ],
)
async def test_request_that_fails_sends_nothing(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(PluginError) as caught:
        await RUNWAY.request(tool_of(make), {"prompt": "a fox", "tags": []}, Submission)
    assert reason in caught.value.message
    assert caught.value.next_step.startswith("Nothing was sent. Report it to the author of acme")
    assert caught.value.charged == "no"


FOX = tool_of(lambda: Submission("fox", {}, "fox", convert_to="jpeg"))
A_FOX = {"prompt": "a fox", "tags": []}


async def test_format_is_promised_where_results_are_saved_and_converted() -> None:
    _, _, request = await RUNWAY.prepare(FOX, A_FOX, saves=True)
    (note,) = request.notes
    assert "converted to jpeg when saved" in note


@pytest.mark.parametrize(
    ("saves", "able", "cures"),
    [
        (False, True, ["KIE_AI_OUTPUT_DIR"]),
        (True, False, ["kie-ai-mcp-core[preview]"]),
        (False, False, ["KIE_AI_OUTPUT_DIR", "kie-ai-mcp-core[preview]"]),
    ],
)
async def test_format_that_nothing_would_convert_is_refused_with_what_is_missing(
    saves: bool, able: bool, cures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "find_spec", lambda _name: able)
    with pytest.raises(InvalidArgument) as refusal:
        await RUNWAY.prepare(FOX, A_FOX, saves=saves)
    assert (refusal.value.field, refusal.value.value) == ("output_format", "jpeg")
    every = ["KIE_AI_OUTPUT_DIR", "kie-ai-mcp-core[preview]"]
    assert [cure for cure in every if cure in refusal.value.allowed] == cures
    assert refusal.value.allowed.endswith("or leave it out")


async def test_refusal_of_an_argument_is_the_provider_s_own() -> None:
    refusal = InvalidArgument("prompt", "a fox", "no foxes")
    with pytest.raises(InvalidArgument) as caught:
        await RUNWAY.request(tool_of(raises(refusal)), {"prompt": "a fox", "tags": []}, Submission)
    assert caught.value is refusal


async def test_value_whose_attributes_run_code_does_no_harm() -> None:
    class Trap:
        def __repr__(self) -> str:
            raise SystemExit(3)

    with pytest.raises(PluginError, match="generate_fox of the provider acme failed: SystemExit: 3"):
        await RUNWAY.request(
            tool_of(returns(Submission("fox", {"a": Trap()}, "fox"))), {"prompt": "a fox", "tags": []}, Submission
        )


# Status --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "keeps_s"), [({}, 1_209_600), ({"expireFlag": 0}, 1_209_600), ({"expireFlag": 1}, 0)])
async def test_runway_clip_can_be_read_before_and_after_it_has_expired(flag: dict[str, int], keeps_s: int) -> None:
    outcome = await RUNWAY.outcome(Task("t-1", "runway-gen3", "runway"), FINISHED | flag)
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.urls, outcome.keeps_s) == ("completed", (CLIP,), keeps_s)


async def test_word_that_is_taken_for_running_is_in_the_debug_log(caplog: pytest.LogCaptureFixture) -> None:
    payload = {"state": "SHINY", "prompt": "a fox", "stage": 3}
    with caplog.at_level("DEBUG"):
        read = await RUNWAY.outcome(Task("t-1", "x", "kie"), payload)
    assert read == Outcome("processing")
    (said,) = [record.getMessage() for record in caplog.records if "t-1" in record.getMessage()]
    assert said == 'task t-1 is taken for processing, since its service says {"state": "SHINY", "stage": 3}'


async def test_payload_stays_as_it_is_whatever_the_provider_does_to_its_copy(publish: "Publish") -> None:
    publish("vandal", "from kie_ai_mcp import hookimpl\n@hookimpl\ndef kie_normalize_result(payload): payload.clear()")
    payload: dict[str, Any] = {"state": "success", "nested": {"a": 1}}
    await asking_of("vandal").outcome(Task("t-1", "x", "vandal"), payload)
    assert payload == {"state": "success", "nested": {"a": 1}}


async def test_route_of_a_provider_that_is_gone_is_a_failed_read() -> None:
    assert await RUNWAY.route(Task("t-1", "x", "kie")) == StatusRoute(
        ("jobs/recordInfo", "playground/recordInfo"), {"taskId": "t-1"}
    )
    with pytest.raises(ReadFailed, match="The provider gone, which the task belongs to, is not installed"):
        await RUNWAY.route(Task("t-1", "x", "gone"))


# Readings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (raises(KeyError("x")), "The provider acme failed: KeyError: 'x' (providers/test_asking.py, line "),
        (raises(Refused("no")), "no"),
        (returns("t-1"), "The provider acme made of the answer what can't be used: a str, not an Outcome (providers/"),
        (
            returns(Outcome("completed", progress=7)),
            "can't be used: progress is 7, not a share between 0 and 1 (providers/",
        ),
    ],
)
async def test_reading_of_a_free_answer_that_fails_is_a_failed_read(read: Callable[..., Any], reason: str) -> None:
    with pytest.raises(ReadFailed) as caught:
        await RUNWAY.meaning("acme", read, OK)
    assert reason in caught.value.message
    assert caught.value.charged == "no"


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (
            raises(KeyError("x")),
            "The service's answer could not be read. The accept of acme failed: KeyError: 'x' (providers/test_asking",
        ),
        (raises(Refused("no")), "The service's answer could not be read. no"),
        (returns(7), "The accept of acme misread the service's answer: it returned 7 (int), not the task's id as text"),
        (returns(""), "The accept of acme misread the service's answer: task_id is '', not text of at least one char"),
        (returns(Outcome("completed", progress=7)), "misread the service's answer: progress is 7, not a share"),
    ],
)
async def test_reading_of_a_paid_answer_that_fails_is_unknown(read: Callable[..., Any], reason: str) -> None:
    with pytest.raises(Unknown) as caught:
        await RUNWAY.made("The accept of acme", read, OK, logs_page=LOGS)
    assert reason in caught.value.message
    assert caught.value.next_step == f"It may have been accepted and charged: look for it at {LOGS}."
    assert caught.value.charged == "unknown"


async def test_provider_may_say_that_an_answer_other_than_200_made_nothing() -> None:
    refusal = Refused("Not ready yet.", code=422)
    with pytest.raises(Refused) as caught:
        await RUNWAY.made("acme", raises(refusal), Answer(422, "processing"), logs_page=LOGS)
    assert caught.value is refusal


async def test_what_a_provider_reads_is_returned() -> None:
    done = Outcome("completed", (CLIP,))
    assert await RUNWAY.meaning("acme", returns(done), OK) is done
    assert await RUNWAY.meaning("acme", returns(None), OK) is None
    made = [await RUNWAY.made("acme", returns(value), OK, logs_page=LOGS) for value in ("t-1", done, None)]
    assert made == [Accepted("t-1"), done, None]


@pytest.mark.parametrize("code", ACCOUNT_CODES)
async def test_answer_about_the_account_is_read_by_no_provider(code: int) -> None:
    answer, fail = Answer(code, "no"), raises(AssertionError("it was asked"))
    assert await RUNWAY.meaning("acme", fail, answer) is None
    assert await RUNWAY.made("acme", fail, answer, logs_page=LOGS) is None


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (returns(OK), ""),
        (returns(None), "returned what can't be used: a NoneType, not an Answer (providers/"),
        (returns(Answer("200", "")), "returned what can't be used: code is '200'"),  # type: ignore[arg-type]
        (returns(Answer(True, "")), "returned what can't be used: code is True"),
        (raises(KeyError("x")), "failed: KeyError: 'x' ("),
        (raises(Refused("no")), "failed: Refused: no."),
    ],
)
async def test_reading_of_a_gateway_that_fails_is_named(read: Any, reason: str) -> None:
    gateway = Gateway("far", "Far", "https://far.example", read=read)
    if not reason:
        assert await answer_of(gateway, 200, {"id": "t-1"}) == OK
        return
    with pytest.raises(PluginError) as error:
        await answer_of(gateway, 200, {"id": "t-1"})
    assert error.value.message.startswith(f"The function read of the gateway far {reason}")
