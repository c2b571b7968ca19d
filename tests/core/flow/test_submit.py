"""Submissions on record when a third-party plugin fails, an answer is malformed, or the caller leaves."""

import json
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp import Accepted, Answer, AudioUrl, Outcome, Submission, Task
from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.pricing import quote
from kie_ai_mcp._flow.submit import submit
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument, KieError, PluginError, RateLimited, Refused, Unknown
from kie_ai_mcp.specs import KIE

pytestmark = pytest.mark.anyio

ACCEPTED = {"code": 200, "msg": "success", "data": {"taskId": "t-1"}}


async def silent(message: str, share: float | None) -> None:
    """Report to no client."""


@pytest.fixture
async def engine(service: HTTPServer, tmp_path: Path, key: str) -> AsyncIterator[Engine]:
    """A running engine of one provider."""
    values = {"api_key": key, "base_url": service.url_for("").rstrip("/"), "db_path": tmp_path / "tasks.db"}
    app = App.open(Settings.model_validate({**values, "enabled_providers": ("nano-banana",), "rate_limit": 1}))
    async with app.engine.running():
        yield app.engine


def tool_of(read: Callable[[Any], Any] | None = None) -> BoundTool:
    def generate_fox(prompt: str) -> Submission:
        """Make a fox."""
        return Submission("foxes", {"prompt": prompt}, "fox", read=read)

    return BoundTool.bind(generate_fox, provider="nano-banana", kind="image")


async def test_notes_of_a_request_are_shown_in_its_answer(engine: Engine, service: HTTPServer) -> None:
    def generate_fox(prompt: str) -> Submission:
        """Make a fox."""
        return Submission("foxes", {"prompt": prompt}, "fox", notes=("Fox 2 was chosen.", "It is silent."))

    service.expect_request("/foxes", json={"prompt": "a fox"}).respond_with_json(ACCEPTED)
    tool = BoundTool.bind(generate_fox, provider="nano-banana", kind="image")

    report = await submit(engine, tool, {"prompt": "a fox"}, silent)

    assert report.request_notes == ("Fox 2 was chosen.", "It is silent.")


@pytest.mark.parametrize(
    "read",
    [
        lambda answer: answer.data,
        lambda answer: 7,
        lambda answer: True,
        lambda answer: 1 / 0,
        lambda answer: b"t-1",
        lambda answer: sys.exit(3),
        lambda answer: Accepted(7, ""),  # type: ignore[arg-type]
        lambda answer: Outcome("weird"),  # type: ignore[arg-type]
    ],
    ids=["dict", "number", "bool", "raises", "bytes", "exits", "accepted", "outcome"],
)
async def test_answer_that_a_provider_misreads_is_unknown_and_the_server_goes_on(
    read: Callable[[Any], Any], engine: Engine, service: HTTPServer
) -> None:
    service.expect_request("/foxes").respond_with_json({"code": 200, "data": {"id": "t-1"}})

    with pytest.raises(Unknown, match="nano-banana"):
        await submit(engine, tool_of(read), {"prompt": "a fox"}, silent)

    assert [entry.state for entry in await engine.record.submissions.unsettled()] == ["unknown"]


# HTTP status, code in the body: each of them alone says that nothing was made, or that this is unknown.
DENIALS = [(400, 400), (404, 404), (405, 200), (422, 422), (429, 429), (401, 401), (500, 500), (200, 422), (200, 429)]


@pytest.mark.parametrize(("status", "code"), DENIALS)
@pytest.mark.parametrize("read", [None, lambda answer: answer.data["id"]], ids=["usual", "the provider's own"])
async def test_task_that_an_answer_names_is_recorded_and_sent_once_whatever_the_codes_say(
    read: Callable[[Any], Any] | None, status: int, code: int, engine: Engine, service: HTTPServer
) -> None:
    name = "taskId" if read is None else "id"
    service.expect_request("/foxes").respond_with_json(
        {"code": code, "msg": "no", "data": {name: "t-1"}}, status=status
    )

    report = await submit(engine, tool_of(read), {"prompt": "a fox"}, silent)

    assert (report.status, report.task_id, report.charged) == ("pending", "t-1", "yes")
    kept = await engine.record.submissions.find(1)
    assert kept is not None
    assert (kept.state, kept.task_id) == ("accepted", "t-1")
    assert len(service.log) == 1


@pytest.mark.parametrize("read", [lambda answer: 1 / 0, lambda answer: Outcome("failed", error="no")])
async def test_busy_service_is_busy_whatever_a_provider_makes_of_its_answer(
    read: Callable[[Any], Any], engine: Engine, service: HTTPServer
) -> None:
    service.expect_request("/foxes").respond_with_json({"code": 429, "msg": "busy"}, status=429)

    with pytest.raises(RateLimited):
        await submit(engine, tool_of(read), {"prompt": "a fox"}, silent, patience_s=0)


@pytest.mark.parametrize(("code", "state"), [(422, "refused"), (200, "unknown")])
async def test_provider_may_say_in_its_own_words_what_a_refusal_means(
    code: int, state: str, engine: Engine, service: HTTPServer
) -> None:
    def read(answer: Answer) -> str:
        raise Refused("Not ready yet.", code=answer.code, next_step="Call again in 30 seconds.", can_retry=True)

    service.expect_request("/foxes").respond_with_json({"code": code, "msg": "in the making"})

    with pytest.raises(KieError) as error:
        await submit(engine, tool_of(read), {"prompt": "a fox"}, silent)

    settled = await engine.record.submissions.find(1)
    assert settled is not None
    assert settled.state == state
    assert (error.value.message == "Not ready yet.") == (state == "refused")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda prompt: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        (lambda prompt: sys.exit(3), "failed: SystemExit: 3"),
        (lambda prompt: {"prompt": prompt}, "a dict, not a Submission"),
        (lambda prompt: None, "a NoneType, not a Submission"),
        (lambda prompt: Submission("foxes", {"prompt": object()}, "fox"), "not JSON: "),
        (
            lambda prompt: Submission("foxes", {"prompt": prompt}, "fox", gateway="nowhere"),
            "'nowhere' is registered by",
        ),
    ],
)
async def test_function_that_fails_at_a_call_charges_nothing_and_names_its_provider(
    made: Callable[[str], Any], words: str, engine: Engine
) -> None:
    def generate_fox(prompt: str) -> Submission:
        """Make a fox."""
        answer: Submission = made(prompt)
        return answer

    tool = BoundTool.bind(generate_fox, provider="nano-banana", kind="image")
    with pytest.raises(PluginError, match="generate_fox of the provider nano-banana") as error:
        await submit(engine, tool, {"prompt": "a fox"}, silent)

    assert words in error.value.message
    assert error.value.charged == "no"
    assert error.value.next_step.startswith("Nothing was sent. Report it to the author of nano-banana")
    assert await engine.record.submissions.find(1) is None


async def test_what_a_function_does_to_its_arguments_changes_nothing_on_record(
    engine: Engine, service: HTTPServer
) -> None:
    def generate_fox(prompt: str, words: list[str]) -> Submission:
        """Make a fox."""
        body = {"prompt": prompt, "words": list(words)}
        words.clear()
        return Submission("foxes", body, "fox")

    service.expect_request("/foxes", json={"prompt": "a fox", "words": ["red", "old"]}).respond_with_json(ACCEPTED)
    tool = BoundTool.bind(generate_fox, provider="nano-banana", kind="image")

    await submit(engine, tool, {"prompt": "a fox", "words": ["red", "old"]}, silent)

    kept = await engine.record.submissions.find(1)
    assert kept is not None
    assert kept.arguments == {"prompt": "a fox", "words": ["red", "old"]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"code": 1' + b"0" * 30 + b"}",
        b'{"code": -1' + b"0" * 30 + b"}",
        b'{"code": 200, "data": {"taskId": "\\ud800"}}',
        b'{"code": 500, "msg": "\\ud800"}',
        b'{"code": 200, "data": {"taskId": {"a": 1}}}',
        b'{"code": 200, "data": {"taskId": ""}}',
        b'{"code": 200, "data": {"taskId": true}}',
        b'{"code": 200, "data": {"taskId": 1e400}}',
        b'{"code": 200, "data": [{"taskId": "t-1"}, {"taskId": "t-2"}]}',
    ],
)
async def test_absurd_answer_is_unknown_and_on_record_and_the_server_goes_on(
    body: bytes, engine: Engine, service: HTTPServer
) -> None:
    service.expect_request("/foxes").respond_with_data(body)

    with pytest.raises(Unknown) as error:
        await submit(engine, tool_of(), {"prompt": "a fox"}, silent)

    (kept,) = await engine.record.submissions.unsettled()
    assert kept.state == "unknown"
    assert f"resolve_submission with submission_id {kept.id}" in error.value.next_step
    json.dumps([str(error.value), kept.message]).encode()


async def test_refusal_that_comes_after_the_caller_left_is_recorded_and_frees_its_slot(
    engine: Engine, service: HTTPServer
) -> None:
    arrived, answer = threading.Event(), threading.Event()

    def busy(_: Request) -> Response:
        arrived.set()
        answer.wait(5)
        return Response('{"code": 429, "msg": "busy"}', 429)

    service.expect_oneshot_request("/foxes").respond_with_handler(busy)
    async with anyio.create_task_group() as caller:
        caller.start_soon(submit, engine, tool_of(), {"prompt": "a fox"}, silent)
        await anyio.to_thread.run_sync(arrived.wait, 5)
        caller.cancel_scope.cancel()
    answer.set()
    with anyio.move_on_after(3):
        while await engine.record.submissions.unsettled():  # noqa: ASYNC110  the record sends no notice of changes
            await anyio.sleep(0.01)

    settled = await engine.record.submissions.find(1)

    assert settled is not None
    assert settled.state in {"refused", "cancelled"}


async def test_request_that_a_busy_service_refuses_to_the_end_ends_once(engine: Engine, service: HTTPServer) -> None:
    service.expect_request("/foxes").respond_with_json({"code": 429, "msg": "busy"}, headers={"Retry-After": "20"})

    with pytest.raises(RateLimited):
        await submit(engine, tool_of(), {"prompt": "a fox"}, silent, patience_s=2)

    assert engine.record.made == {"refused": 1}
    settled = await engine.record.submissions.find(1)
    assert settled is not None
    assert (settled.state, settled.code) == ("refused", 429)


async def test_call_without_a_slot_names_the_limit_of_its_gateway_and_those_who_wait(
    engine: Engine, service: HTTPServer
) -> None:
    engine.record.submissions.limits = {KIE: RateLimit(1, 60.0)}
    service.expect_request("/foxes").respond_with_json(ACCEPTED)
    await submit(engine, tool_of(), {"prompt": "the one slot"}, silent)
    said: list[str] = []

    async def wait(prompt: str, patience_s: float) -> None:
        with pytest.raises(RateLimited) as error:
            await submit(engine, tool_of(), {"prompt": prompt}, silent, patience_s=patience_s)
        said.append(error.value.message)

    async with anyio.create_task_group() as calls:
        for number, patience_s in enumerate((1.0, 3.0, 2.0)):
            calls.start_soon(wait, f"fox {number}", patience_s)
            while len(await engine.record.submissions.unsettled()) <= number:  # noqa: ASYNC110  no notice of changes
                await anyio.sleep(0.01)

    ahead = ("", " (1 earlier request waits for one, too)", "")
    assert said == [
        f"No slot of the limit of 1 per 60 s came free in time{words}; this one was not sent." for words in ahead
    ]


async def test_progress_that_can_not_be_sent_leaves_no_request_behind(engine: Engine, service: HTTPServer) -> None:
    async def broken(message: str, share: float | None) -> None:
        raise OSError("the client is gone")

    service.expect_request("/foxes").respond_with_json(ACCEPTED)
    await submit(engine, tool_of(), {"prompt": "the one slot"}, silent)

    with pytest.raises((OSError, KieError)):
        await submit(engine, tool_of(), {"prompt": "a fox"}, broken, patience_s=5)

    assert await engine.record.submissions.unsettled() == []


async def test_request_may_make_another_kind_than_its_tool(engine: Engine, service: HTTPServer) -> None:
    def generate_song(prompt: str) -> Submission:
        """Write lyrics."""
        return Submission.market("maker/lyrics", {"prompt": prompt}, api_type="song", kind="text")

    service.expect_request("/jobs/createTask").respond_with_json(ACCEPTED)
    tool = BoundTool.bind(generate_song, provider="nano-banana", kind="audio")

    report = await submit(engine, tool, {"prompt": "rain"}, silent)

    task = await engine.record.tasks.find("t-1")
    assert task is not None
    request = await engine.record.submissions.of_task(task.row_id)
    assert request is not None
    assert (report.task_id, task.kind, request.kind) == ("t-1", "text", "text")


@pytest.fixture
async def sounds(engine: Engine, service: HTTPServer) -> str:
    """The address of an earlier result, which does not tell that it is a WAV file."""
    await engine.record.tasks.adopt(Task("t-0", "x", "x", kind="audio"))
    await engine.record.tasks.record_outcome("t-0", Outcome("completed", (service.url_for("/a.wav"),)))
    service.expect_request("/jobs/createTask").respond_with_json(ACCEPTED)
    return "kie://files/t-0/1"


def choosing(choose: Callable[[str], str]) -> BoundTool:
    def generate_clip(audio_url: AudioUrl) -> Submission:
        """Make a clip."""
        model = choose(audio_url)
        body = {"audio_url": audio_url}
        return Submission.market(model, body, api_type="clip", notes=(f"{model} was chosen.",))

    return BoundTool.bind(generate_clip, provider="nano-banana", kind="video")


async def test_model_that_the_type_of_a_file_decides_is_priced_named_and_bought(
    engine: Engine, service: HTTPServer, sounds: str
) -> None:
    tool = choosing(lambda address: "maker/dear" if address.endswith(".wav") else "maker/cheap")

    quoted = await quote(engine, tool, {"audio_url": sounds})
    report = await submit(engine, tool, {"audio_url": sounds}, silent)

    assert (quoted.model, quoted.notes) == ("maker/dear", ("maker/dear was chosen.",))
    assert [request.get_json()["model"] for request, _ in service.log] == ["maker/dear"]
    assert (report.status, report.request_notes, report.notes) == (
        "pending",
        ("maker/dear was chosen.",),
        ("Price unknown.",),
    )


async def test_refusal_of_a_file_names_it_as_its_user_did(engine: Engine, service: HTTPServer, sounds: str) -> None:
    def refuse(address: str) -> str:
        if address.endswith(".wav"):
            raise InvalidArgument("audio_url", address, "give it as MP3")
        return "maker/cheap"

    with pytest.raises(InvalidArgument, match="audio_url: 'kie://files/t-0/1' is not accepted: give it as MP3"):
        await submit(engine, choosing(refuse), {"audio_url": sounds}, silent)

    assert service.log == []


async def test_model_that_nobody_priced_is_never_bought(engine: Engine, service: HTTPServer, sounds: str) -> None:
    tool = choosing(lambda address: "maker/dear" if "127.0.0.1" in address or "localhost" in address else "maker/cheap")

    with pytest.raises(PluginError, match="asks for maker/dear of addresses and for maker/cheap of their files"):
        await submit(engine, tool, {"audio_url": sounds}, silent)

    assert service.log == []


async def test_arguments_nested_too_deeply_are_refused_before_anything_is_sent(
    engine: Engine, service: HTTPServer
) -> None:
    def generate_fox(prompt: str, hints: list[Any]) -> Submission:
        """Make a fox."""
        return Submission("foxes", {"prompt": prompt, "hints": hints}, "fox")

    tool = BoundTool.bind(generate_fox, provider="nano-banana", kind="image")
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]

    with pytest.raises(InvalidArgument, match=r"hints: .* nested more than 200 times"):
        await submit(engine, tool, {"prompt": "a fox", "hints": nested}, silent)

    assert service.log == []


async def test_reason_with_half_a_surrogate_pair_is_recorded(engine: Engine, service: HTTPServer) -> None:
    def read(answer: Answer) -> Accepted:
        raise Refused("No foxes \ud83d today.", next_step="Ask for a hen.")

    service.expect_request("/foxes").respond_with_json({"code": 200, "data": {"id": "t-1"}})
    with pytest.raises(Unknown) as unknown:
        await submit(engine, tool_of(read), {"prompt": "a fox"}, silent)
    assert "could not be recorded" not in unknown.value.message
