"""Arbitrary bytes from the service: no crash, no hang, and no statement that the answer does not support."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow import submit as story
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._flow.results import last_known, refresh
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._service.caller import MOVED
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import KieError, Refused, TaskNotFound, Unknown, meaning_of, sound
from kie_ai_mcp.readings import STATES
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.promise.conftest import Launch

pytestmark = pytest.mark.usefixtures("restarts_are_cheap")

BOUNDED = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TASK = "task-of-the-test"

# Answers -------------------------------------------------------------------------------------------------------------

SURROGATE = "\ud800"
HUGE = 10**30
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from([SURROGATE, "\x00", "x" * 5000, " ", "https://files.invalid/\ud800.png", "9" * 5000, "²", "--5"]),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    texts,
    st.sampled_from([HUGE, -HUGE, 2**63, 253_402_300_799_000, 10**18]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
codes = st.one_of(
    st.sampled_from(
        [200, 200, 200, "200", " 200 ", "２００", 200.0, True, "2e2", 422, 500, 501, "402", HUGE, "9" * 5000]
    ),
    st.integers(),
    values,
)
task_ids = st.one_of(st.just("service-task"), st.just("service-task"), values)
records = st.fixed_dictionaries(
    {},
    optional={
        "taskId": task_ids,
        "model": st.one_of(st.just("google/nano-banana"), values),
        "state": st.one_of(
            st.sampled_from(["waiting", "generating", "success", "fail", " SUCCESS ", "succes"]), values
        ),
        "resultJson": st.one_of(st.just('{"resultUrls":["https://files.invalid/1.png"]}'), values, texts),
        "response": values,
        "failMsg": values,
        "failCode": values,
        "progress": values,
        "creditsConsumed": values,
        "completeTime": st.one_of(st.sampled_from(["0001-01-01T00:00:00+23:59", "0999-01-01", "9999-12-31"]), values),
    },
)
accepted = st.one_of(st.fixed_dictionaries({"taskId": task_ids}), values)


def envelopes(data: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Bytes of every sort: JSON envelopes that are nearly right, with a piece cut out or put in, and plain noise."""
    whole = st.fixed_dictionaries({"code": codes, "data": data}, optional={"msg": values, "message": values})
    text = st.one_of(whole, whole, values).map(lambda value: json.dumps(value).encode())
    cut = st.builds(lambda body, at, piece: body[:at] + piece + body[at + 3 :], text, st.integers(0, 80), st.binary())
    return st.one_of(text, text, text, cut, st.binary(max_size=200), st.just(b"[" * 50_000))


statuses = st.sampled_from([200] * 12 + [201, 204, 301, 304, 400, 401, 403, 404, 408, 422, 429, 451, 500, 502, 503])
waits = st.sampled_from([None, None, "0", "-1", "1e9", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT", "²"])


BODILESS = (204, 304)
"""HTTP statuses with which no body is sent, whatever stands in it."""

UNSOUND = ("nan", "inf", "-inf")
"""What numbers that are none look like as text."""

SAID_NO = (200, 400, 404, 422)
"""Codes by which a status route says that it does not know an id."""


def object_of(body: bytes) -> dict[str, Any] | None:
    """The JSON object that the bytes are, if they are one."""
    try:
        value = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def envelope_of(body: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are; an empty one if they are none."""
    return object_of(body) or {}


def code_of(envelope: dict[str, Any]) -> int | None:
    code = envelope.get("code")
    if isinstance(code, str) and code.strip().isdecimal() and len(code) < 10:
        return int(code)
    if isinstance(code, float) and code.is_integer():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 10**10 else None


def may_accept(status: int, body: bytes) -> bool:
    """Whether the answer names a task that was made; then it was, whatever the codes say."""
    envelope = envelope_of(body)
    data = envelope.get("data")
    places = (object_of(data.encode("utf-8", "replace")) if isinstance(data, str) else data, envelope)
    named = [place.get(name) for place in places if isinstance(place, dict) for name in ("taskId", "task_id")]
    ids = [str(name) for name in named if name and isinstance(name, (str, int, float)) and not isinstance(name, bool)]
    return status not in BODILESS and any(name.strip() and sound(name) == name and name not in UNSOUND for name in ids)


def may_refuse(status: int, body: bytes) -> bool:
    """Whether the answer says that no task was made."""
    code = code_of(envelope_of(body))
    if status in MOVED and code is None:
        return True
    said = [number for number in (status if status >= 400 else None, code) if number not in (None, 200)]
    return any(issubclass(meaning_of(number).error, Refused) for number in said)


# The service and the server ------------------------------------------------------------------------------------------


class Service:
    """Answers every request with what is planned; while nothing is, it makes a task."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.plan: tuple[int, bytes, str | None] | None = None

    def answer(self, request: Request) -> Response:
        made = json.dumps({"code": 200, "msg": "success", "data": {"taskId": TASK}}).encode()
        status, body, wait = self.plan or (200, made, None)
        return Response(body, status, {"retry-after": wait} if wait else {}, content_type="application/json")


@pytest.fixture
def service() -> Iterator[Service]:
    with HTTPServer(threaded=True) as server:
        service = Service(server.url_for("/api/v1"))
        server.expect_request(re.compile(".*")).respond_with_handler(service.answer)
        yield service


def run(service: Service, story: Callable[[App], Awaitable[None]]) -> None:
    """Run a story against a fresh server in bounded time; afterwards the record must still be readable."""

    async def run_story(database: Path) -> None:
        values = {"api_key": "key-of-the-tests", "base_url": service.address, "db_path": database}
        app = App.open(Settings.model_validate({**values, "enabled_providers": ("nano-banana",)}))
        with anyio.fail_after(LIMIT_S):
            async with app.engine.running():
                service.plan = None
                await story(app)
                await app.engine.record.tasks.newest(Filters())
                await app.engine.record.submissions.unsettled()

    with TemporaryDirectory() as folder:
        anyio.run(run_story, Path(folder, "tasks.db"))


async def submit(app: App, prompt: str = "a fox") -> Report:
    async def say(_message: str, _share: float | None) -> None:
        return None

    tool = app.engine.plugins.tools["generate_nano_banana"]
    return await story.submit(app.engine, tool, {"prompt": prompt}, say, patience_s=0.0)


async def fate(app: App) -> tuple[str, str | None, str | None]:
    """Make a request; the state it ends in, what is said of money, and the task's id."""
    try:
        report = await submit(app)
    except KieError as error:
        return "unknown" if isinstance(error, Unknown) else "refused", error.charged, None
    return "accepted", report.charged, report.task_id


async def found(app: App, task_id: str) -> str:
    """Read a task that is not on record: whether it is found, not known, or could not be read."""
    try:
        await refresh(app.engine, task_id)
    except KieError as error:
        return "not known" if isinstance(error, TaskNotFound) else "unread"
    return "found"


def envelope(code: Any = 200, msg: Any = "success", **data: Any) -> bytes:
    return json.dumps({"code": code, "msg": msg, "data": data}).encode()


# What must hold ------------------------------------------------------------------------------------------------------


@BOUNDED
@given(status=statuses, body=envelopes(accepted), wait=waits)
@example(status=200, body=envelope(taskId=SURROGATE), wait=None)
@example(status=200, body=envelope(taskId=True), wait=None)
@example(status=200, body=envelope(taskId=float("nan")), wait=None)
@example(status=200, body=envelope(HUGE, taskId="t"), wait=None)
@example(status=200, body=envelope("9" * 5000, taskId="t"), wait=None)
@example(status=429, body=envelope(429), wait="²")
@example(status=429, body=envelope(429), wait="9" * 400)
def test_answer_to_a_paid_request_is_never_more_than_it_says(
    service: Service, status: int, body: bytes, wait: str | None
) -> None:
    async def story(app: App) -> None:
        service.plan = status, body, wait
        state, charged, task_id = await fate(app)
        (submission,) = await app.engine.record.submissions.history(0, 10)
        assert (submission.state, submission.task_id) == (state, task_id)
        recorded = [record.task.task_id for record in await app.engine.record.tasks.newest(Filters())]
        assert recorded == ([task_id] if state == "accepted" else [])
        assert charged == {"accepted": "yes", "refused": "no", "unknown": "unknown"}[state]
        assert may_accept(status, body) or state != "accepted"
        assert state == "accepted" or not may_accept(status, body)
        assert may_refuse(status, body) or state != "refused"

    run(service, story)


@BOUNDED
@given(status=statuses, body=envelopes(records))
@example(status=200, body=envelope(state="success", failMsg=SURROGATE, model=SURROGATE))
@example(status=200, body=envelope(state="fail", failMsg=SURROGATE))
@example(status=200, body=envelope(state="success", resultJson='{"resultUrls":["https://a.invalid/\\ud800"]}'))
@example(status=200, body=envelope(state="success", resultJson='["https://a.invalid"]', completeTime="0999-01-01"))
@example(status=200, body=envelope(state="success", completeTime="0001-01-01T00:00:00+23:59"))
@example(
    status=200,
    body=envelope(state="success", response={"resultUrls": ["https://a.invalid/1"]}, completeTime=253_402_300_799_000),
)
@example(status=200, body=envelope(state="fail", failCode="--5"))
@example(status=200, body=envelope(state="fail", failCode="²"))
@example(status=200, body=envelope(state="fail", failMsg=True, failCode=HUGE))
def test_answer_to_a_read_is_never_more_than_it_says(service: Service, status: int, body: bytes) -> None:
    record = envelope_of(body).get("data")
    readable = status < 400 and code_of(envelope_of(body)) == 200 and isinstance(record, dict) and bool(record)
    word = record.get("state") if readable and isinstance(record, dict) else None
    said = STATES.get(word.strip().lower(), "processing") if isinstance(word, str) else "processing"

    async def story(app: App) -> None:
        await submit(app)
        service.plan = status, body, None
        report = await refresh(app.engine, TASK, with_record=True)
        if report.read_error is not None:
            assert report.status == "pending"
        else:
            assert (readable, report.status) == (True, said)
        assert report.task_id == TASK
        again = await last_known(app.engine, TASK)
        assert again is not None
        assert again.status == report.status
        report.text()

    run(service, story)


@BOUNDED
@given(status=statuses, body=envelopes(records))
def test_id_that_is_not_on_record_is_adopted_only_from_a_record_of_the_service(
    service: Service, status: int, body: bytes
) -> None:
    body = b"" if status in BODILESS else body
    code = code_of(envelope_of(body))
    code = status if status >= 400 and object_of(body) is not None and code in (None, 200) else code
    record = envelope_of(body).get("data")
    known = code == 200 and isinstance(record, dict) and bool(record)

    async def story(app: App) -> None:
        service.plan = status, body, None
        reply = await found(app, "made-elsewhere")
        adopted = await app.engine.record.tasks.find("made-elsewhere")
        assert (reply == "found", adopted is not None) == (known, known)
        assert reply != "not known" or code in SAID_NO

    run(service, story)


NASTY: dict[str, dict[str, Any]] = {
    "half a character": {"state": "success", "resultJson": "", "note": SURROGATE},
    "half a character in an address": {"state": "success", "response": {"resultUrls": ["https://a.invalid/\ud800"]}},
    "half a character as reason": {"state": "fail", "failMsg": SURROGATE},
    "no number": {"state": "generating", "progress": float("nan"), "creditsConsumed": float("inf")},
    "huge number": {"state": "generating", "costTime": HUGE},
    "deep": {"state": "generating", "param": json.loads("[" * 400 + "]" * 400)},
    "end of time": {
        "state": "success",
        "response": {"resultUrls": ["https://a.invalid/1"]},
        "completeTime": "9999-12-31",
    },
}


@pytest.mark.parametrize("case", NASTY)
def test_server_answers_and_lives_on_over_the_wire(case: str, service: Service, launch: "Launch") -> None:
    server = launch(KIE_AI_BASE_URL=service.address, KIE_AI_OUTPUT_DIR="")
    server.call("generate_nano_banana", prompt="a fox")
    service.plan = 200, envelope(taskId=TASK, **NASTY[case]), None
    reply = server.call("get_task_status", task_id=TASK)["structuredContent"]
    assert (reply["task_id"], reply["charged"]) == (TASK, "unknown" if reply["status"] == "failed" else "yes")
    (listed,) = server.call("list_tasks")["structuredContent"]["tasks"]
    assert listed["status"] == reply["status"]
    server.close_input()
    assert server.ended() == 0


@pytest.mark.parametrize("task_id", [SURROGATE, "x" * 5000, "a\x00b", "../../x", "t t"])
def test_odd_task_id_is_reported_and_the_server_goes_on(task_id: str, service: Service, launch: "Launch") -> None:
    server = launch(KIE_AI_BASE_URL=service.address, KIE_AI_OUTPUT_DIR="")
    service.plan = 200, envelope(taskId=task_id), None
    reply = server.call("generate_nano_banana", prompt="a fox")["structuredContent"]
    assert reply["status"] in {"pending", "unknown"}
    assert "structuredContent" in server.call("list_tasks")
