"""The official suite's fixtures, laid over the product's own site: its names are answered here, all others there.

``python -m tests.hosts.fixtures serve --http --port 0`` is the product's command; only the protocol server that its
site asks for is wrapped.
"""

import base64
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from kie_ai_mcp.__main__ import main
from kie_ai_mcp._mcp.tasks import REQUIRED, wants_tasks
from kie_ai_mcp._web import site

Answer = Mapping[str, Any]
Handler = Callable[[Any, Any], Awaitable[Any]]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SILENCE = base64.b64encode(
    b"RIFF%\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00@\x1f\x00\x00\x01\x00\x08\x00"
    b"data\x01\x00\x00\x00\x80"
).decode()
STEP_S = 0.05  # between the messages of one call, as the suite asks


def says(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def content(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"content": list(blocks), **fields}


def embedded(uri: str, text: str, mime: str = "text/plain") -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": text}}


IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}

# What always answers the same ----------------------------------------------------------------------------------------

PLAIN_TOOLS: dict[str, dict[str, Any]] = {
    "test_simple_text": content(says("This is a simple text response for testing.")),
    "test_image_content": content(IMAGE),
    "test_audio_content": content({"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}),
    "test_embedded_resource": content(embedded("test://embedded-resource", "This is an embedded resource content.")),
    "test_multiple_content_types": content(
        says("Multiple content types test:"), IMAGE, embedded("test://mixed-content-resource", "{}", "application/json")
    ),
    "test_error_handling": content(says("This tool intentionally returns an error for testing"), isError=True),
    "test_headers": content(says("The headers were right.")),
    "json_schema_2020_12_tool": content(says("It is only listed.")),
}
RESOURCES: dict[str, dict[str, Any]] = {
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://static-binary": {"mimeType": "image/png", "blob": PIXEL},
    "test://watched-resource": {"mimeType": "text/plain", "text": "It is watched."},
}
TEMPLATE = "test://template/{id}/data"
PROMPTS: dict[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "test_headers": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
}

# What is asked of people ---------------------------------------------------------------------------------------------


def form(message: str, **properties: Any) -> dict[str, Any]:
    """A form with one field for each argument, its schema or only its type."""
    fields = {name: {"type": kind} if isinstance(kind, str) else kind for name, kind in properties.items()}
    return {"message": message, "requestedSchema": {"type": "object", "properties": fields, "required": list(fields)}}


def asked_by(method: str, **params: Any) -> dict[str, Any]:
    return {"method": method, "params": params}


NAME = asked_by("elicitation/create", **form("What is your name?", name="string"))
CONFIRM = asked_by("elicitation/create", **form("Please confirm", ok="boolean"))
SAMPLE = asked_by("sampling/createMessage", messages=[{"role": "user", "content": says("Say hello")}], maxTokens=50)
ROOTS = asked_by("roots/list")


def titled(*values: str) -> list[dict[str, str]]:
    return [{"const": value, "title": value.title()} for value in values]


FORMS: dict[str, dict[str, Any]] = {
    "test_elicitation": form("Please", username="string", email="string"),
    "test_elicitation_sep1034_defaults": form(
        "Please",
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        verified={"type": "boolean", "default": True},
    ),
    "test_elicitation_sep1330_enums": form(
        "Please",
        untitledSingle={"type": "string", "enum": ["option1", "option2"]},
        titledSingle={"type": "string", "oneOf": titled("value1", "value2")},
        legacyEnum={"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["One", "Two"]},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": ["option1", "option2"]}},
        titledMulti={"type": "array", "items": {"anyOf": titled("value1", "value2")}},
    ),
}

ROUNDS: dict[str, list[dict[str, dict[str, Any]]]] = {
    "test_input_required_result_elicitation": [{"user_name": NAME}],
    "test_input_required_result_sampling": [{"capital_question": SAMPLE}],
    "test_input_required_result_list_roots": [{"client_roots": ROOTS}],
    "test_input_required_result_request_state": [{"confirm": CONFIRM}],
    "test_input_required_result_multiple_inputs": [{"user_name": NAME, "greeting": SAMPLE, "client_roots": ROOTS}],
    "test_input_required_result_multi_round": [{"step1": NAME}, {"step2": CONFIRM}],
    "test_input_required_result_tampered_state": [{"confirm": CONFIRM}],
    "test_input_required_result_capabilities": [{"user_name": NAME, "greeting": SAMPLE}],
    "test_input_required_result_prompt": [{"user_context": NAME}],
    "test_tool_with_task": [{"user_name": NAME}],
    "test_streaming_elicitation": [{"user_name": NAME}],
}
NEEDS = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
STATED = {"request_state", "multiple_inputs", "multi_round", "tampered_state"}
"""Ends of the names of those that give a state away with their question."""


@dataclass
class Questions:
    """The rounds of questions before an answer; a state that was not given out is refused."""

    given: dict[str, int] = field(default_factory=dict)

    def next(self, ctx: Any, name: str, declared: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is still to be asked, or None where everything has been answered."""
        rounds = ROUNDS[name]
        state = ctx.params.get("requestState")
        if state is not None and state not in self.given:
            raise MCPError(types.INVALID_PARAMS, "requestState was not given out by this server")
        number = self.given.get(state, 0) if state else 0
        answers = ctx.params.get("inputResponses") or {}
        if all(key in answers for key in rounds[number]):
            number += 1
        if number == len(rounds):
            return None
        requests = {key: asked for key, asked in rounds[number].items() if NEEDS[asked["method"]] in declared}
        asking: dict[str, Any] = {"resultType": "input_required", "inputRequests": requests}
        if name.removeprefix("test_input_required_result_") in STATED:
            asking["requestState"] = secrets.token_urlsafe()
            self.given[asking["requestState"]] = number
        return asking


# What takes its time -------------------------------------------------------------------------------------------------

TASK_TOOLS = (
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
)


@dataclass
class Job:
    """A task of the fixtures; what it is follows from the clock and from what it was told."""

    id: str
    end: float
    result: Answer | None = None
    error: Answer | None = None
    asks: dict[str, Any] = field(default_factory=dict)
    is_cancelled: bool = False
    begun: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    @property
    def is_over(self) -> bool:
        return not self.asks and time.monotonic() >= self.end

    def seen(self, *, whole: bool) -> dict[str, Any]:
        """Return it as the answer to its creation, or `whole` as the answer to ``tasks/get``."""
        ending = "completed" if self.error is None else "failed"
        status = "cancelled" if self.is_cancelled else ending if self.is_over else "working"
        status = "input_required" if self.asks and status == "working" and whole else status
        times = {"createdAt": self.begun, "lastUpdatedAt": self.begun, "ttlMs": 60_000, "pollIntervalMs": 100}
        about = {"taskId": self.id, "status": status, **times}
        if not whole:
            return {"resultType": "task", **about}
        inner = {"completed": ("result", self.result), "failed": ("error", self.error)}
        inner["input_required"] = ("inputRequests", self.asks)
        return about | dict([inner[status]] if status in inner else [])


# Laid over the product -----------------------------------------------------------------------------------------------


class Over:
    """The fixtures over one server of the product."""

    def __init__(self, server: Server[Any]) -> None:
        self.server = server
        self.questions = Questions()
        self.jobs: dict[str, Job] = {}
        self.numbers = itertools.count(1)
        self.slow: dict[str, Handler] = {
            "test_tool_with_logging": self.log,
            "test_logging_tool": self.log,
            "test_tool_with_progress": self.progress,
            "test_sampling": self.sample,
            "test_missing_capability": self.sample,
            "greet": self.greet,
            **dict.fromkeys(FORMS, self.elicit),
            **dict.fromkeys(TASK_TOOLS, self.start),
        }
        self.tools = dict.fromkeys([*PLAIN_TOOLS, *self.slow, *(name for name in ROUNDS if "prompt" not in name)])

    def lay(self) -> Server[Any]:
        """Put the fixtures before what the product has; return its server."""
        self.server.get_tool_input_schema = SCHEMAS.get
        lists = {
            "tools/list": self.list_tools,
            "prompts/list": self.list_prompts,
            "resources/list": self.list_resources,
            "resources/templates/list": self.list_templates,
        }
        for method, add in lists.items():
            self.put(method, types.PaginatedRequestParams, self.longer(method, add))
        self.put("tools/call", types.CallToolRequestParams, self.before("tools/call", self.call))
        self.put("prompts/get", types.GetPromptRequestParams, self.before("prompts/get", self.prompt))
        self.put("resources/read", types.ReadResourceRequestParams, self.before("resources/read", self.read))
        for method in ("resources/subscribe", "resources/unsubscribe"):
            self.put(method, types.SubscribeRequestParams, self.before(method, self.watch))
        self.put("completion/complete", types.CompleteRequestParams, self.before("completion/complete", self.complete))
        self.put("logging/setLevel", types.SetLevelRequestParams, self.nothing)
        for method, act in {"tasks/get": self.get, "tasks/update": self.update, "tasks/cancel": self.cancel}.items():
            entry = self.server.get_request_handler(method)
            assert entry is not None
            self.put(method, entry.params_type, self.checked(method, act))
        return self.server

    def put(self, method: str, kind: type[Any], handler: Handler) -> None:
        self.server.add_request_handler(method, kind, handler)

    def longer(self, method: str, add: Callable[[], list[dict[str, Any]]]) -> Handler:
        """Return a list of the product with the fixtures at its end."""
        entry = self.server.get_request_handler(method)
        key = method.split("/")[-2] if "templates" not in method else "resourceTemplates"

        async def handler(ctx: Any, params: Any) -> Any:
            found = {key: []} if entry is None else _plain(await entry.handler(ctx, params))
            return {**WHOLE, **HINTS, **found, key: [*found[key], *add()]}

        return handler

    def before(self, method: str, own: Handler) -> Handler:
        """Return what asks the fixtures, which answer None to what is none, and then the product."""
        entry = self.server.get_request_handler(method)

        async def handler(ctx: Any, params: Any) -> Any:
            answer = await own(ctx, params)
            if answer is None:
                if entry is None:
                    raise MCPError(types.METHOD_NOT_FOUND, "Method not found")
                return await entry.handler(ctx, entry.params_type.model_validate(ctx.params, by_name=False))
            return {**WHOLE, **answer}

        return handler

    # Lists

    def list_tools(self) -> list[dict[str, Any]]:
        empty = {"type": "object"}
        return [
            {"name": name, "description": "A fixture.", "inputSchema": SCHEMAS.get(name, empty)} for name in self.tools
        ]

    def list_prompts(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "description": "A fixture.", "arguments": [{"name": key} for key in keys]}
            for name, keys in PROMPTS.items()
        ]

    def list_resources(self) -> list[dict[str, Any]]:
        return [{"uri": uri, "name": uri} for uri in RESOURCES]

    def list_templates(self) -> list[dict[str, Any]]:
        return [{"uriTemplate": TEMPLATE, "name": "template"}]

    # Answers

    async def call(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        name = params.name
        if name in PLAIN_TOOLS:
            return PLAIN_TOOLS[name]
        if name in ROUNDS and (asking := self.questions.next(ctx, name, _declared(ctx))):
            return asking
        if name in self.slow:
            return await self.slow[name](ctx, params)
        return content(says(f"{name} was answered: state-ok")) if name in ROUNDS else None

    async def prompt(self, ctx: Any, params: types.GetPromptRequestParams) -> Any:
        given = params.arguments or {}
        if params.name in ROUNDS and (asking := self.questions.next(ctx, params.name, _declared(ctx))):
            return asking
        said = {
            "test_simple_prompt": [says("This is a simple prompt for testing.")],
            "test_prompt_with_arguments": [
                says(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")
            ],
            "test_prompt_with_embedded_resource": [
                embedded(given.get("resourceUri", ""), "Embedded resource content for testing."),
                says("Please process the embedded resource above."),
            ],
            "test_prompt_with_image": [IMAGE, says("Please analyze the image above.")],
            "test_input_required_result_prompt": [says("It was answered.")],
        }
        blocks = said.get(params.name)
        return blocks and {"messages": [{"role": "user", "content": block} for block in blocks]}

    async def read(self, ctx: Any, params: types.ReadResourceRequestParams) -> Any:
        if params.uri in RESOURCES:
            return {"contents": [{"uri": params.uri, **RESOURCES[params.uri]}], **HINTS}
        before, after = TEMPLATE.split("{id}")
        if not (params.uri.startswith(before) and params.uri.endswith(after)):
            return None
        text = json.dumps({"id": params.uri[len(before) : -len(after)], "templateTest": True, "data": "Data"})
        return {"contents": [{"uri": params.uri, "mimeType": "application/json", "text": text}], **HINTS}

    async def watch(self, ctx: Any, params: types.SubscribeRequestParams) -> Any:
        return {} if params.uri in RESOURCES else None

    async def complete(self, ctx: Any, params: types.CompleteRequestParams) -> Any:
        is_ours = getattr(params.ref, "name", "") in PROMPTS
        return {"completion": {"values": ["paris", "park"], "total": 2, "hasMore": False}} if is_ours else None

    async def nothing(self, ctx: Any, params: Any) -> Any:
        return {}

    async def log(self, ctx: Any, params: Any) -> Any:
        for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.session.send_log_message("info", text, related_request_id=ctx.request_id)
            await anyio.sleep(STEP_S)
        return content(says("It logged."))

    async def progress(self, ctx: Any, params: Any) -> Any:
        for share in (0, 50, 100):
            await ctx.session.report_progress(share, 100)
            await anyio.sleep(STEP_S)
        return content(says("It reported."))

    async def sample(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        if "sampling" not in _declared(ctx):
            missing: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "This client can not sample", missing)
        message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="Hello"))
        made = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
        return content(says(f"LLM response: {made.content.text}"))

    async def elicit(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        asked = FORMS[params.name]
        given = await ctx.session.elicit_form(asked["message"], asked["requestedSchema"], ctx.request_id)
        return content(says(f"User response: action={given.action}, content={json.dumps(given.content)}"))

    async def greet(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        return content(says(f"Hello, {(params.arguments or {}).get('name')}!"))

    # Tasks

    async def start(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        given = params.arguments or {}
        if not wants_tasks(ctx):
            if params.name == "failing_job":
                raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "This client has no tasks", REQUIRED)
            return content(says("It was computed."))
        job = Job(f"fixture-{next(self.numbers)}", time.monotonic() + given.get("seconds", STEP_S))
        job.result = content(says("It was computed."))
        if params.name == "failing_job":
            job.result = content(says("It went wrong."), isError=True)
        elif params.name == "protocol_error_job":
            job.error = {"code": types.INTERNAL_ERROR, "message": "It broke."}
        elif params.name == "test_tool_with_task":
            name = ctx.params["inputResponses"]["user_name"]["content"]["name"]
            job.result = content(says(f"Hello, {name}!"))
        elif params.name in ("confirm_delete", "multi_input"):
            job.asks = {f"question-{number}": CONFIRM for number in range(1 if params.name == "confirm_delete" else 2)}
        self.jobs[job.id] = job
        return job.seen(whole=False)

    def checked(self, method: str, act: Callable[[Job, Any], dict[str, Any]]) -> Handler:
        """Return what acts on a task of ours after the product's checks of client and headers, or on one of its own."""
        entry = self.server.get_request_handler(method)
        assert entry is not None
        assert isinstance(entry.handler, partial)
        check, (of_product,) = entry.handler.func, entry.handler.args

        async def handler(ctx: Any, params: Any) -> Any:
            async def answer(task_id: str) -> Any:
                job = self.jobs.get(task_id)
                return await of_product(task_id) if job is None else act(job, params)

            return await check(answer, ctx, params)

        return handler

    def get(self, job: Job, params: Any) -> dict[str, Any]:
        return job.seen(whole=True)

    def update(self, job: Job, params: Any) -> dict[str, Any]:
        for key in params.input_responses:
            job.asks.pop(key, None)
        return {}

    def cancel(self, job: Job, params: Any) -> dict[str, Any]:
        job.is_cancelled = job.is_cancelled or not job.is_over
        return {}


WHOLE = {"resultType": "complete"}
HINTS = {"ttlMs": 0, "cacheScope": "private"}


def _plain(result: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped


def _declared(ctx: Any) -> Mapping[str, Any]:
    """Return what this request's client can do, by its names on the wire."""
    declared = ctx.session.client_capabilities
    return {} if declared is None else _plain(declared)


def lay_over() -> None:
    """Give the product's site the fixtures."""
    of_product: Callable[[Any], Server[Any]] = vars(site)["server_of"]
    vars(site)["server_of"] = lambda app: Over(of_product(app)).lay()


if __name__ == "__main__":
    lay_over()
    main()
