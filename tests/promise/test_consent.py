"""Consent of a person, asked by a scripted host that misbehaves: over stdio and HTTP, before and since 2026-07-28."""

import itertools
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import httpx
import mcp_types as types
import pytest
from mcp import Client

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import beside
from tests.helpers import LIMIT_S, until
from tests.wire.processes import CLIENT, PREFIX, STATELESS, Message

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Launch, Server

on_both = pytest.mark.usefixtures("address")
OLD, NEW = "2025-11-25", STATELESS
TASKS: Message = {"extensions": {f"{PREFIX}tasks": {}}}
FORMS: Message = {"elicitation": {}}
ACCEPT = {"Accept": "application/json, text/event-stream"}
TOOL = "generate_nano_banana"
QUICK = {"constants": {"quickest answer": 0.03}}
IMPATIENT = {"constants": {"quickest answer": 0.03, "patience": 0.3}}
PERSON_S = 0.05  # a person takes at least so long, where people are `QUICK`
YES: Message = {"action": "accept", "content": {"buy": True}}
NO: Message = {"action": "decline"}
WAY_OUT = r"kie-ai-mcp-server tasks approve (\d+)"
TOO_FAST = "answered faster than a person could"


class Pipe:
    """The server over stdin and stdout."""

    def __init__(self, server: "Server") -> None:
        self.server = server

    def exchange(self, message: Message, _headers: Message) -> Iterator[Message]:
        """Send a request, and yield all that comes until its answer."""
        self.server.write(message)
        while True:
            yield (said := self.server.message())
            if said.get("id") == message["id"] and "method" not in said:
                return

    def send(self, message: Message, _headers: Message) -> None:
        """Send a message that nothing answers."""
        self.server.write(message)

    def hang_up(self) -> None:
        """Leave the server."""
        self.server.close_input()
        assert self.server.ended() == 0


class Web:
    """The server over HTTP."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url, self.stack, self.session = url, stack, dict[str, str]()
        self.client = stack.enter_context(httpx.Client(base_url=url, timeout=LIMIT_S, trust_env=False))

    def exchange(self, message: Message, headers: Message) -> Iterator[Message]:
        """Post a request, and yield all that comes on its own stream until its answer."""
        headers = ACCEPT | headers | self.session
        self.open = self.client.stream("POST", "/mcp", json={"jsonrpc": "2.0", **message}, headers=headers)
        with self.open as answer:
            if "mcp-session-id" in answer.headers:
                self.session = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
            if answer.headers["content-type"].startswith("application/json"):
                yield json.loads(answer.read())
                return
            for line in answer.iter_lines():
                if line.startswith("data:") and line[5:].strip():
                    yield (said := json.loads(line[5:]))
                    if said.get("id") == message["id"] and "method" not in said:
                        return

    def send(self, message: Message, headers: Message) -> None:
        """Post a message that nothing answers."""
        headers = ACCEPT | headers | self.session
        answer = self.client.post("/mcp", json={"jsonrpc": "2.0", **message}, headers=headers)
        assert answer.status_code == 202, answer.text

    def hang_up(self) -> None:
        """Break the connection."""
        self.client.close()


class Host:
    """A host that does what a test says.

    Args:
        line: How it talks to the server.
        revision: What it speaks.
        capabilities: What it declares.
    """

    def __init__(self, line: Pipe | Web, revision: str, capabilities: Message) -> None:
        self.line, self.revision, self.capabilities = line, revision, capabilities
        self.numbers = itertools.count(1)
        if revision != NEW:
            hello = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": CLIENT}
            list(line.exchange({"id": next(self.numbers), "method": "initialize", "params": hello}, {}))
            line.send({"method": "notifications/initialized"}, self.headers())

    def headers(self, tool: str = "") -> Message:
        """Return the headers of a message over HTTP."""
        named = {"Mcp-Method": "tools/call", "Mcp-Name": tool} if self.revision == NEW else {}
        return {"MCP-Protocol-Version": self.revision, **named}

    def call(self, tool: str, arguments: Message, **more: Any) -> Iterator[Message]:
        """Call a tool, and yield all that comes until its answer."""
        params = {"name": tool, "arguments": arguments, **more}
        if self.revision == NEW:
            meta = {"protocolVersion": NEW, "clientInfo": CLIENT, "clientCapabilities": self.capabilities}
            params["_meta"] = {PREFIX + name: value for name, value in meta.items()}
        request = {"id": next(self.numbers), "method": "tools/call", "params": params}
        return self.line.exchange(request, self.headers(tool))

    def buy(self, prompt: str = "A fox", **arguments: Any) -> "Purchase":
        """Make a call that needs a yes, up to the question."""
        return Purchase(self, {"prompt": prompt, **arguments})


class Purchase:
    """One call and its question; `question` is what the host is to show, None where the call was answered at once."""

    def __init__(self, host: Host, arguments: Message) -> None:
        self.host, self.arguments = host, arguments
        self.coming = host.call(TOOL, arguments)
        self.question: Message | None = None
        self.state, self.result = "", dict[str, Any]()
        self._take(next(self.coming))

    def _take(self, message: Message) -> None:
        self.question, self.state = None, ""
        if message.get("method") == "elicitation/create":
            self.id, self.question = message["id"], message["params"]
            return
        assert "result" in message, message
        self.result = message["result"]
        if self.result.get("resultType") == "input_required":
            self.state, self.question = (self.result["requestState"], self.result["inputRequests"]["consent"]["params"])

    def answer(self, answer: Message, *, after_s: float = PERSON_S, **more: Any) -> Message:
        """Answer the question, and return what the call answers."""
        time.sleep(after_s)
        if self.host.revision != NEW:
            self.host.line.send({"id": self.id, "result": answer}, self.host.headers())
            self._take(next(self.coming))
            list(self.coming)
        else:
            retry = {"arguments": self.arguments, "inputResponses": {"consent": answer}, "requestState": self.state}
            (message,) = self.host.call(TOOL, **{**retry, **more})
            self._take(message)
        return self.result


class Meet(Protocol):
    """Starts a server, and a host that talks to it."""

    def __call__(self, capabilities: Message = ..., orders: Message | None = None, **settings: str) -> Host:
        """Return the host."""
        ...


@pytest.fixture
def meet_over(launch: "Launch", sandbox: Sandbox) -> Iterator[Callable[..., Host]]:
    with ExitStack() as stack:

        def start(
            way: str, revision: str, capabilities: Message = FORMS, orders: Message | None = None, **settings: str
        ) -> Host:
            settings, orders = {"KIE_AI_CONFIRM_CREDITS": "1", **settings}, {**QUICK, **(orders or {})}
            if way == "stdio":
                return Host(Pipe(launch(sandbox, orders, **settings)), revision, capabilities)
            server = launch(sandbox, orders, "serve", "--http", "--port", "0", **settings)
            until(lambda: "/mcp" in server.errors)
            (url,) = re.findall(r"(http://\S+)/mcp\n", server.errors)
            return Host(Web(url, stack), revision, capabilities)

        yield start


@pytest.fixture(params=[(way, revision) for way in ("stdio", "http") for revision in (OLD, NEW)], ids="-".join)
def meet(request: pytest.FixtureRequest, meet_over: Callable[..., Host]) -> Meet:
    """Hosts of both eras, over both ways."""

    def start(capabilities: Message = FORMS, orders: Message | None = None, **settings: str) -> Host:
        return meet_over(*request.param, capabilities, orders, **settings)

    return start


@pytest.fixture
def consents(rows: "Rows", tmp_path: Path) -> Callable[[], list[Message]]:
    return lambda: rows(tmp_path, "consents")


def age(folder: Path, seconds: float) -> None:
    """Let every question have been asked so much earlier."""
    with beside(folder) as database:
        database.execute("UPDATE consents SET asked_at = asked_at - ?", (seconds,))


def approve(folder: Path, number: int = 1) -> None:
    """Agree as `tasks approve` does."""
    values = "answer = 'yes', answered_at = ?, answered_by = 'command line'"
    with beside(folder) as database:
        database.execute(f"UPDATE consents SET {values} WHERE id = ?", (time.time() - 0.01, number))


def refused(result: Message) -> str:
    """Return what a refusal says, which claims no charge."""
    said = result["structuredContent"]
    assert (result["isError"], said["status"], said["charged"]) == (True, "refused", "no")
    assert "Nothing was sent" in said["error"]
    return f"{said['error']} {said['next_step']}"


# A person answers ----------------------------------------------------------------------------------------------------


def test_yes_of_a_person_buys_what_the_question_named(
    meet: Meet, sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    purchase = meet().buy("A fox in the snow")
    assert purchase.question is not None
    for fact in (
        f"Tool: {TOOL}",
        "Model: google/nano-banana",
        "Prompt: 'A fox in the snow'",
        "Price: 4 credits ($0.02)",
    ):
        assert fact in purchase.question["message"]
    assert "Balance: " in purchase.question["message"]
    assert purchase.question["requestedSchema"]["properties"].keys() == {"buy"}
    assert not sandbox.ledger

    result = purchase.answer(YES)

    assert result["structuredContent"]["status"] == "pending"
    (paid,) = sandbox.ledger
    (row,) = consents()
    assert (row["answer"], row["answered_by"], row["submission_id"]) == ("yes", "host", 1)
    assert paid.task_id == result["structuredContent"]["task_id"]


A_NO: dict[str, Message] = {"declines": NO, "says no": {"action": "accept", "content": {"buy": False}}}
NO_ANSWER: dict[str, Message] = {
    "dismisses": {"action": "cancel"},
    "dismisses a yes": {"action": "cancel", "content": {"buy": True}},
    "leaves it empty": {"action": "accept", "content": {}},
    "answers in words": {"action": "accept", "content": {"buy": "true"}},
    "answers a number": {"action": "accept", "content": {"buy": 1}},
    "answers another field": {"action": "accept", "content": {"yes": True}},
    "sends no form": {"action": "accept"},
}


@pytest.mark.parametrize("answer", A_NO.values(), ids=A_NO)
@pytest.mark.parametrize("revision", [OLD, NEW])
def test_no_buys_nothing(
    answer: Message, revision: str, meet_over: Callable[..., Host], sandbox: Sandbox, consents: Any
) -> None:
    purchase = meet_over("stdio", revision).buy()
    assert "The user said no" in refused(purchase.answer(answer))
    assert not sandbox.ledger
    assert [row["answer"] for row in consents()] == ["no"]


@pytest.mark.parametrize("answer", NO_ANSWER.values(), ids=NO_ANSWER)
@pytest.mark.parametrize("revision", [OLD, NEW])
def test_what_is_neither_yes_nor_no_leaves_the_question_open(
    answer: Message, revision: str, meet_over: Callable[..., Host], sandbox: Sandbox, consents: Any, tmp_path: Path
) -> None:
    host = meet_over("stdio", revision)
    purchase = host.buy()
    state = purchase.state
    said = refused(purchase.answer(answer))
    assert re.findall(WAY_OUT, said) == ["1"]
    assert "said no" not in said
    if state:
        assert "is open" in refused(purchase.answer(YES, requestState=state))
    assert [row["answer"] for row in consents()] == [None]
    assert not sandbox.ledger

    approve(tmp_path)
    assert host.buy().result["structuredContent"]["status"] == "pending"


@on_both
@pytest.mark.parametrize(
    ("revision", "reply"),
    [(OLD, {"action": "cancel"}), (NEW, {"action": "cancel"}), (OLD, None)],
    ids=["dismissed", "dismissed by the newest", "nothing in time"],
)
def test_yes_at_the_command_line_counts_while_a_form_is_shown(
    reply: Message | None, revision: str, meet_over: Callable[..., Host], sandbox: Sandbox, tmp_path: Path
) -> None:
    host = meet_over("stdio", revision, orders=None if reply else IMPATIENT)
    purchase = host.buy()
    approve(tmp_path)
    result = purchase.answer(reply) if reply else list(purchase.coming)[-1]["result"]
    assert result["structuredContent"]["status"] == "pending"
    assert len(sandbox.ledger) == 1


@on_both
@pytest.mark.parametrize("revision", [OLD, NEW])
def test_yes_to_what_was_bought_meanwhile_buys_nothing_later(
    revision: str,
    meet_over: Callable[..., Host],
    sandbox: Sandbox,
    consents: Callable[[], list[Message]],
    tmp_path: Path,
) -> None:
    purchase = meet_over("stdio", revision).buy(idempotency_key="k")
    approve(tmp_path)
    other = meet_over("stdio", revision, {})
    bought = other.buy(idempotency_key="k").result["structuredContent"]

    joined = purchase.answer(YES)["structuredContent"]

    assert (joined["task_id"], joined["charged"]) == (bought["task_id"], "no")
    assert [row["submission_id"] for row in consents()] == [1]
    assert refused(other.buy(idempotency_key="l").result)
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("fault", ["code:422", "429:1"])
def test_yes_of_a_request_that_bought_nothing_counts_once_more(
    fault: str, meet_over: Callable[..., Host], sandbox: Sandbox
) -> None:
    purchase = meet_over("stdio", NEW, orders=IMPATIENT).buy()
    state = purchase.state
    sandbox.play(fault, path="createTask")
    said = purchase.answer(YES)["structuredContent"]
    assert (said["status"], said["charged"]) == ("refused", "no")
    bought = purchase.answer(YES, requestState=state)["structuredContent"]
    assert bought["status"] == "pending", bought["error"]
    assert len(sandbox.ledger) == 1


@on_both
@pytest.mark.parametrize("revision", [OLD, NEW])
def test_each_yes_to_an_equal_request_buys_one(
    revision: str, meet_over: Callable[..., Host], sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    host = meet_over("stdio", revision)
    purchases = [host.buy("A fox", idempotency_key=key) for key in "abc"]
    for purchase, answer in zip(purchases, (YES, NO, YES), strict=True):
        purchase.answer(answer)
    assert [row["answer"] for row in consents()] == ["yes", "no", "yes"]
    assert len(sandbox.ledger) == 2


def test_earlier_revision_that_has_forms_is_asked(meet_over: Callable[..., Host], sandbox: Sandbox) -> None:
    purchase = meet_over("stdio", "2025-06-18").buy()
    assert purchase.question is not None
    assert not sandbox.ledger
    assert purchase.answer(YES)["structuredContent"]["status"] == "pending"


# A host that misbehaves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [YES, NO], ids=["yes", "no"])
def test_host_that_answers_at_once_is_not_believed(
    answer: Message, meet: Meet, sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    purchase = meet(orders={"constants": {}}).buy()
    state = purchase.state
    said = refused(purchase.answer(answer, after_s=0))
    assert TOO_FAST in said
    assert re.search(WAY_OUT, said)
    if state:
        assert "is open" in refused(purchase.answer(YES, requestState=state))
    assert not sandbox.ledger
    assert [row["answer"] for row in consents()] == [None], "a person can still answer"


def test_question_that_nobody_answers_buys_nothing(meet: Meet, sandbox: Sandbox, tmp_path: Path) -> None:
    host = meet(orders={"constants": {"patience": 0.3}})
    purchase = host.buy()
    if host.revision == OLD:
        for _ in range(2):
            (message,) = [said for said in purchase.coming if "result" in said]
            found = re.search(WAY_OUT, refused(message["result"]))
            assert found
            assert found[1] == "1", "it is the same question"
            purchase = host.buy()
    else:
        age(tmp_path, 601)
        assert "too old" in refused(purchase.answer(YES))
    assert not sandbox.ledger


def test_second_answer_to_a_question_buys_nothing_more(meet: Meet, sandbox: Sandbox) -> None:
    host = meet()
    purchase = host.buy()
    state, first = purchase.state, None
    if host.revision == OLD:
        first = purchase.answer(YES)
        for answer in (YES, NO):
            host.line.send({"id": purchase.id, "result": answer}, host.headers())
        assert list(host.call("list_tasks", {}))[-1]["result"]["structuredContent"]["tasks"]
    else:
        first = purchase.answer(YES)
        for answer in (YES, NO):
            again = purchase.answer(answer, requestState=state)["structuredContent"]
            assert (again["task_id"], again["charged"]) == (first["structuredContent"]["task_id"], "no")
            assert "nothing more was bought" in " ".join(again["notes"])
    assert len(sandbox.ledger) == 1


def test_yes_after_a_no_buys_nothing(meet_over: Callable[..., Host], sandbox: Sandbox) -> None:
    purchase = meet_over("stdio", NEW).buy()
    state = purchase.state
    refused(purchase.answer(NO))
    assert "The user said no" in refused(purchase.answer(YES, requestState=state))
    assert not sandbox.ledger


@pytest.mark.parametrize("answer", [YES, NO], ids=["yes", "no"])
def test_answer_to_another_question_leaves_that_one_as_it_is(
    answer: Message, meet_over: Callable[..., Host], sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    host = meet_over("stdio", NEW)
    fox, wolf = host.buy("A fox"), host.buy("A wolf")
    token = fox.state.partition(".")[2]
    for state in (fox.state, f"2.{token}", "2.", f"9.{token}", "made up", "", "1" * 99):
        assert "No question" in refused(wolf.answer(answer, requestState=state))
    assert [row["answer"] for row in consents()] == [None, None]
    assert not sandbox.ledger
    assert fox.answer(YES)["structuredContent"]["status"] == "pending"
    assert json.loads(consents()[0]["arguments"])["prompt"] == "A fox"
    assert len(sandbox.ledger) == 1


def test_answers_of_two_open_questions_are_not_mixed_up(
    meet_over: Callable[..., Host], sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    host = meet_over("stdio", OLD)
    fox, wolf = host.buy("A fox"), host.buy("A wolf")
    time.sleep(PERSON_S)
    for number in (7_777, "made up", wolf.id):
        host.line.send({"id": number, "result": YES}, {})
    bought = next(wolf.coming)["result"]["structuredContent"]

    assert [paid.task_id for paid in sandbox.ledger] == [bought["task_id"]]
    assert [row["answer"] for row in consents()] == [None, "yes"]
    assert refused(fox.answer(NO))


def test_answer_does_not_count_for_other_arguments(meet_over: Callable[..., Host], sandbox: Sandbox) -> None:
    purchase = meet_over("stdio", NEW).buy("A fox")
    state = purchase.state
    for other in ({"prompt": "A fox!"}, {"prompt": "A fox", "image_size": "16:9"}, {}):
        assert "No question" in refused(purchase.answer(YES, arguments=other, requestState=state))
    assert not sandbox.ledger


@pytest.mark.parametrize(
    "more", [{"inputResponses": {"consent": YES}}, {"requestState": "1.x"}], ids=["answer", "state"]
)
def test_answer_without_a_question_is_none(more: Message, meet_over: Callable[..., Host], sandbox: Sandbox) -> None:
    host = meet_over("stdio", NEW)
    host.buy()
    (message,) = host.call(TOOL, {"prompt": "A fox"}, **more)
    assert message["result"]["resultType"] == "input_required"
    assert not sandbox.ledger


@pytest.mark.parametrize(
    "reply", [{"error": {"code": -1, "message": "no"}}, {"result": {"action": "buy"}}, {"result": {}}]
)
def test_host_that_fails_to_ask_is_told_another_way(
    reply: Message, meet_over: Callable[..., Host], sandbox: Sandbox
) -> None:
    purchase = meet_over("stdio", OLD).buy()
    time.sleep(PERSON_S)
    purchase.host.line.send({"id": purchase.id, **reply}, {})
    assert re.search(WAY_OUT, refused(next(purchase.coming)["result"]))
    assert not sandbox.ledger


def test_call_that_is_cancelled_before_the_answer_buys_nothing(
    meet_over: Callable[..., Host], sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    host = meet_over("stdio", OLD)
    purchase = host.buy()
    host.line.send({"method": "notifications/cancelled", "params": {"requestId": 2, "reason": "stopped"}}, {})
    time.sleep(PERSON_S)
    host.line.send({"id": purchase.id, "result": YES}, {})
    assert list(host.call("list_tasks", {}))[-1]["result"]["structuredContent"]["tasks"] == []
    assert not sandbox.ledger
    assert [(row["answer"], row["secret"]) for row in consents()] == [(None, None)], "no form shows it any more"


def test_host_that_leaves_before_the_answer_buys_nothing(meet: Meet, sandbox: Sandbox) -> None:
    purchase = meet().buy()
    time.sleep(PERSON_S)
    purchase.host.line.hang_up()
    time.sleep(0.1)
    assert not sandbox.ledger


def test_calls_without_an_answer_leave_one_question(meet: Meet, consents: Callable[[], list[Message]]) -> None:
    host = meet()
    for _ in range(4):
        assert host.buy().question is not None
    assert len(consents()) == 1


# A host that can't ask -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {"url": {}}}], ids=["nothing", "pages only"])
def test_host_that_can_not_show_forms_is_told_another_way(
    capabilities: Message, meet: Meet, sandbox: Sandbox, tmp_path: Path
) -> None:
    host = meet(capabilities)
    said = [refused(host.buy().result) for _ in range(2)]
    (number,) = {re.findall(WAY_OUT, each)[0] for each in said}
    for fact in (TOOL, "google/nano-banana", "4 credits ($0.02)", "KIE_AI_CONFIRM_CREDITS"):
        assert fact in said[0]
    approve(tmp_path, int(number))
    assert host.buy("Another fox").result["isError"]
    assert not sandbox.ledger

    assert host.buy().result["structuredContent"]["status"] == "pending"
    assert len(sandbox.ledger) == 1


def test_plain_call_over_http_is_refused_with_another_way(meet_over: Callable[..., Host], sandbox: Sandbox) -> None:
    line = meet_over("http", NEW).line
    assert isinstance(line, Web)
    answer = line.client.post("/tools/call", json={"name": TOOL, "arguments": {"prompt": "A fox"}}).json()
    assert re.search(WAY_OUT, refused(answer))
    assert not sandbox.ledger


def test_model_by_run_model_needs_the_same_yes(meet: Meet, sandbox: Sandbox) -> None:
    (message,) = meet({}).call("run_model", {"model": "google/nano-banana", "input": {"prompt": "A fox"}})
    assert "Tool: run_model" in refused(message["result"])
    assert re.search(WAY_OUT, refused(message["result"]))
    assert not sandbox.ledger


# Processes and time --------------------------------------------------------------------------------------------------


def test_question_outlives_its_server(meet: Meet, launch: "Launch", sandbox: Sandbox) -> None:
    first = meet()
    purchase = first.buy()
    if isinstance(first.line, Pipe):
        first.line.server.signal(signal.SIGKILL)
    else:
        first.line.hang_up()
    second = meet()
    assert not sandbox.ledger
    if first.revision == OLD:
        assert second.buy().question is not None, "it is asked anew"
        return
    purchase.host = second
    state = purchase.state
    bought = purchase.answer(YES)["structuredContent"]
    again = purchase.answer(YES, requestState=state, after_s=0)["structuredContent"]
    assert bought["task_id"] == again["task_id"]
    assert len(sandbox.ledger) == 1


@on_both
def test_yes_of_a_server_that_died_before_it_sent_is_used_once(
    meet_over: Callable[..., Host], sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    purchase = meet_over("stdio", NEW, orders={"at": "take an answer", "when": "after"}).buy()
    state = purchase.state
    with pytest.raises(AssertionError, match="stdout ended"):
        purchase.answer(YES)
    assert not sandbox.ledger
    assert [(row["answer"], row["submission_id"]) for row in consents()] == [("yes", None)]

    purchase.host = meet_over("stdio", NEW)
    assert purchase.answer(YES, requestState=state)["structuredContent"]["status"] == "pending"
    assert purchase.host.buy(idempotency_key="one more").question is not None
    assert len(sandbox.ledger) == 1


@on_both
def test_yes_is_used_up_by_a_request_that_may_have_been_sent(
    meet_over: Callable[..., Host], sandbox: Sandbox, consents: Callable[[], list[Message]]
) -> None:
    purchase = meet_over("stdio", NEW, orders={"at": "write ahead", "when": "after", "nth": 2}).buy()
    state = purchase.state
    with pytest.raises(AssertionError, match="stdout ended"):
        purchase.answer(YES)
    assert consents()[0]["submission_id"] == 1

    purchase.host = meet_over("stdio", NEW)
    said = purchase.answer(YES, requestState=state)["structuredContent"]
    assert "submission 1 and its answer was lost: it may have been charged" in said["error"]
    assert "resolve_submission(submission_id=1" in said["next_step"]
    assert not sandbox.ledger


@on_both
def test_one_answer_at_two_servers_at_once_buys_once(meet_over: Callable[..., Host], sandbox: Sandbox) -> None:
    hosts = [meet_over("stdio", NEW) for _ in range(2)]
    purchase = hosts[0].buy()
    time.sleep(PERSON_S)
    retry = {"inputResponses": {"consent": YES}, "requestState": purchase.state}
    for host in hosts:
        line = host.line
        assert isinstance(line, Pipe)
        meta = {"protocolVersion": NEW, "clientInfo": CLIENT, "clientCapabilities": FORMS}
        params = {"name": TOOL, "arguments": purchase.arguments, **retry}
        params["_meta"] = {PREFIX + name: value for name, value in meta.items()}
        line.send({"id": 99, "method": "tools/call", "params": params}, {})
    said = [host.line.server.message()["result"] for host in hosts if isinstance(host.line, Pipe)]

    ids = [each["structuredContent"].get("task_id") for each in said]
    assert {*ids} - {None} == {paid.task_id for paid in sandbox.ledger}
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_price_that_rose_since_the_question_is_asked_about_again(
    revision: str, meet_over: Callable[..., Host], sandbox: Sandbox, tmp_path: Path
) -> None:
    purchase = meet_over("stdio", revision).buy()
    with beside(tmp_path) as database:
        database.execute("UPDATE consents SET price = price - 1")
    result = purchase.answer(YES)
    assert not sandbox.ledger
    if revision == OLD:
        assert re.search(WAY_OUT, refused(result))
    else:
        assert purchase.question is not None
        assert "Price: 4 credits" in purchase.question["message"]
        purchase.answer(YES)
        assert len(sandbox.ledger) == 1


def test_consent_comes_before_the_task_of_the_extension(meet_over: Callable[..., Host], sandbox: Sandbox) -> None:
    purchase = meet_over("http", NEW, FORMS | TASKS).buy()
    state = purchase.state
    made = purchase.answer(YES)
    again = purchase.answer(YES, requestState=state)
    assert [each["resultType"] for each in (made, again)] == ["task", "task"]
    assert [made["taskId"], again["taskId"]] == 2 * [sandbox.ledger[0].task_id]
    assert len(sandbox.ledger) == 1


def test_what_is_free_or_below_the_limit_asks_nobody(meet: Meet, sandbox: Sandbox) -> None:
    host = meet(KIE_AI_CONFIRM_CREDITS="4")
    answered = {"inputResponses": {"consent": YES}, "requestState": "7.x"} if host.revision == NEW else {}
    assert list(host.call("get_credits", {}, **answered))[-1]["result"]["structuredContent"]["credits"] > 0
    assert host.buy().result["structuredContent"]["status"] == "pending"
    assert list(host.call("get_credits", {}))[-1]["result"]["structuredContent"]["credits"] > 0


# The official client -------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize(("takes_s", "status"), [(0.55, "pending"), (0.0, "refused")])
async def test_official_client_shows_the_question_and_brings_the_answer(
    mode: Any, takes_s: float, status: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    asked: list[str] = []

    async def person(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        await anyio.sleep(takes_s)
        return types.ElicitResult(action="accept", content={"buy": True})

    values = {"api_key": "key-of-the-tests", "base_url": sandbox.base_url, "db_path": tmp_path / "tasks.db"}
    values |= {"enabled_providers": ("nano-banana",), "confirm_credits": 1.0}
    app = App.open(Settings.model_validate(values))
    async with app.engine.running(), Client(server_of(app), mode=mode, elicitation_callback=person) as client:
        answer = await client.call_tool(TOOL, {"prompt": "A fox"})

    assert (answer.structured_content or {})["status"] == status
    assert len(asked) == 1
    assert len(sandbox.ledger) == (status == "pending")
