"""Raw clients of one revision over stdio or HTTP that keep all that the server says."""

import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from tests.wire.processes import CLIENT, PREFIX, STATELESS, Child, Message, Site
from tests.wire.schemas import NOTIFICATIONS, REQUESTS, RESULTS, check

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", STATELESS)
WITH_SCHEMA = REVISIONS[2:]
TASKS = f"{PREFIX}tasks"
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri", "tasks/get": "taskId"}
AT_ONCE = 8

Request = tuple[str, Message]


class Talk(Protocol):
    """A conversation with one server process: its requests by id, and every message that came."""

    revision: str
    methods: dict[int, str]
    received: list[Message]

    def together(self, requests: Sequence[Request]) -> list[Message]:
        """Send requests all at once; return their answers in order."""
        ...

    def kill(self) -> None:
        """End the server's process as ``kill -9`` does."""
        ...


@dataclass
class Lines:
    """A conversation over stdio."""

    child: Child
    revision: str
    methods: dict[int, str] = field(default_factory=dict)
    received: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.child.greet(self.revision)
        self.received += map(json.loads, self.child.received)
        self.methods[1] = "server/discover" if self.revision == STATELESS else "initialize"
        if self.revision == STATELESS:
            self.child.meta[f"{PREFIX}clientCapabilities"] = {"extensions": {TASKS: {}}}

    def together(self, requests: Sequence[Request]) -> list[Message]:
        numbers = [self.child.ask(method, **params) for method, params in requests]
        self.methods |= dict(zip(numbers, (method for method, _ in requests), strict=True))
        answers: dict[int, Message] = {}
        while len(answers) < len(numbers):
            line = self.child.line()
            assert line, self.child.errors
            self.received.append(message := json.loads(line))
            if "method" not in message:
                answers[message["id"]] = message
        return [answers[number] for number in numbers]

    def kill(self) -> None:
        self.child.process.kill()
        self.child.process.wait()


@dataclass
class Posts:
    """A conversation over HTTP."""

    site: Site
    revision: str
    methods: dict[int, str] = field(default_factory=dict)
    received: list[Message] = field(default_factory=list)
    session: str = ""

    def __post_init__(self) -> None:
        if self.revision == STATELESS:
            self.answer("server/discover", {})
        else:
            about = {"protocolVersion": self.revision, "capabilities": {}, "clientInfo": CLIENT}
            said = self.answer("initialize", about)
            assert said["result"]["protocolVersion"] == self.revision
            self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def answer(self, method: str, params: Message) -> Message:
        """Send one request; return the answer, result or error."""
        number = len(self.methods) + 1
        self.methods[number] = method
        if self.revision == STATELESS:
            about = {"protocolVersion": self.revision, "clientInfo": CLIENT}
            about |= {"clientCapabilities": {"extensions": {TASKS: {}}}}
            params = {**params, "_meta": {f"{PREFIX}{key}": value for key, value in about.items()}}
        response = self.post({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        messages = messages_of(response)
        self.received += messages
        self.session = response.headers.get("mcp-session-id", self.session)
        return next(message for message in messages if message.get("id") == number and "method" not in message)

    def post(self, message: Message) -> httpx.Response:
        """Send one message with the headers of the revision."""
        headers = {"Accept": "application/json, text/event-stream"}
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        if self.revision in WITH_SCHEMA and message["method"] != "initialize":
            headers["MCP-Protocol-Version"] = self.revision
        if self.revision == STATELESS:
            headers["Mcp-Method"] = message["method"]
            if key := NAMED.get(message["method"]):
                headers["Mcp-Name"] = message["params"][key]
        return self.site.client.post("/mcp", json=message, headers=headers)

    def together(self, requests: Sequence[Request]) -> list[Message]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda request: self.answer(*request), requests))

    def kill(self) -> None:
        self.site.child.process.kill()
        self.site.child.process.wait()


def messages_of(response: httpx.Response) -> list[Message]:
    """Return the messages of an answer, one or a stream of them."""
    if response.headers["content-type"].startswith("application/json"):
        return [response.json()]
    lines = (line.removeprefix("data:").strip() for line in response.text.splitlines() if line.startswith("data:"))
    return [json.loads(line) for line in lines if line]


# What a revision knows -----------------------------------------------------------------------------------------------

TASK_FIELDS = {"taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs"}


def check_known(talk: Talk) -> None:
    """Fail where a message is not what its revision knows."""
    for message in talk.received:
        if "method" in message:
            kind = NOTIFICATIONS[message["method"]]
            if talk.revision in WITH_SCHEMA:
                check(talk.revision, message, "JSONRPCNotification", kind)
        elif "error" in message:
            raise AssertionError(message)
        elif talk.revision in WITH_SCHEMA:
            _check_by_schema(talk.revision, talk.methods[message["id"]], message)
        else:
            _check_by_hand(talk.revision, talk.methods[message["id"]], message["result"])


def _check_by_schema(revision: str, method: str, message: Message) -> None:
    check(revision, message, "JSONRPCMessage")
    result = message["result"]
    if revision == "2025-06-18":
        assert not {'"icons"', '"websiteUrl"'} & set(re.findall(r'"\w+"(?=:)', json.dumps(result))), result
    if method == "tasks/get" or result.get("resultType") == "task":
        assert revision == STATELESS
        assert result.keys() - {"resultType", "result", "_meta"} == TASK_FIELDS, result
        if "result" in result:
            check(revision, result["result"], "CallToolResult")
    else:
        assert method in REQUESTS
        check(revision, result, RESULTS[method])


TEXT = {"type", "text", "annotations"}
IMAGE = {"type", "data", "mimeType", "annotations"}
NAMES = {"name", "description"}
CAPABILITIES = {"experimental", "logging", "prompts", "resources", "tools"}
OLD: dict[str, dict[str, set[str]]] = {
    "2024-11-05": {"tool": {*NAMES, "inputSchema"}, "capabilities": CAPABILITIES},
    "2025-03-26": {"tool": {*NAMES, "inputSchema", "annotations"}, "capabilities": {*CAPABILITIES, "completions"}},
}
"""The fields that differ between the two revisions whose schemas are not at hand. A schema lets any field through."""


def _check_by_hand(revision: str, method: str, result: Message) -> None:
    known = OLD[revision]
    if method == "initialize":
        _only(result, {"protocolVersion", "capabilities", "serverInfo", "instructions"})
        _only(result["serverInfo"], {"name", "version"})
        _only(result["capabilities"], known["capabilities"])
    elif method == "tools/call":
        _only(result, {"content", "isError"})
        for part in result["content"]:
            _only(part, TEXT if part["type"] == "text" else IMAGE)
            assert part["type"] in {"text", "image"}
    else:
        kinds = {
            "tools/list": ("tools", known["tool"]),
            "resources/list": ("resources", {*NAMES, "uri", "mimeType", "annotations"}),
            "resources/templates/list": ("resourceTemplates", {*NAMES, "uriTemplate", "mimeType", "annotations"}),
            "prompts/list": ("prompts", {*NAMES, "arguments"}),
        }
        key, fields = kinds[method]
        _only(result, {key, "nextCursor"})
        for item in result[key]:
            _only(item, fields)


def _only(value: Message, fields: Iterable[str]) -> None:
    assert value.keys() - {*fields, "_meta"} == set(), value
