"""MCP in and out: lists the tools, calls them, and turns every error into words a model can act on."""

import base64
import gc
import logging
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from kie_ai_mcp._app.own_tools import NAMES, Answered, Utilities, Utility, utilities
from kie_ai_mcp._app.resources import TEMPLATES, Link, Resources
from kie_ai_mcp._app.search import FOUND_SCHEMA, call_tool, find_tools, found
from kie_ai_mcp._flow.report import OUTPUT_SCHEMA, Report, report_of_error
from kie_ai_mcp._flow.submit import Flow, Say
from kie_ai_mcp._flow.waiting import wait_for
from kie_ai_mcp._mcp.stdio import Line, answer_unreadable
from kie_ai_mcp._media.thumbnails import Picture
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool, describe, title_of
from kie_ai_mcp._service.envelope import map_strings
from kie_ai_mcp._settings.settings import Settings, nearest
from kie_ai_mcp.errors import InvalidArgument, KieError, Unknown, sound

log = logging.getLogger(__name__)

LIST_TTL_MS = 300_000
CLOSE_S = 0.5
CLEANUP_S = 8.0
"""How long the server may take to end after a signal; longer than the grace of a request on its way."""

INSTRUCTIONS = """\
Pictures and videos through Kie.ai. Every generate_, edit_ and extend_ tool starts ONE paid task and answers at once \
with its task_id; then call wait_for_tasks with that id (again, if it is still running). Results are links that \
expire (expires_at) and, where configured, saved files.
Status: pending and processing are running; completed and failed are final; refused means nothing was made or charged.
unknown means that the request was sent and its answer was lost: it MAY have been charged. Do not repeat it. Ask the \
user to look at https://kie.ai/logs, then call resolve_submission (adopt with the task id found, or discard).
read_error, and the status unread, mean that a status could not be read: the task itself goes on.
Never start the same task twice because an answer is slow: list_tasks shows what is running."""

SHOWN = 12
"""How many missing providers the instructions name; hosts take 1.5 kB of them."""

# Seconds a wait may last before hosts give up, by a word in the client's name, most particular first.
PATIENCE_S = (
    ("claude-code", 900.0),
    ("claude code", 900.0),
    ("visual studio code", 900.0),
    ("vscode", 900.0),
    ("gemini", 540.0),
    ("codex", 240.0),
    ("cursor", 240.0),
    ("claude", 200.0),
)
USUAL_PATIENCE_S = 45.0

Context = ServerRequestContext[Any]
T = TypeVar("T")

# call_tool answers with whatever the called tool does, a task or a list, so only the object is promised.
COMPACT: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "find_tools": (find_tools, FOUND_SCHEMA),
    "call_tool": (call_tool, {"type": "object"}),
}


TEMPLATES_LISTED = types.ListResourceTemplatesResult(
    resource_templates=[
        types.ResourceTemplate(
            uri_template=link.uri, name=link.name, description=link.description, mime_type=link.mime_type
        )
        for link in TEMPLATES
    ]
)


@dataclass
class Progress:
    """Tells one call's progress; the protocol wants numbers that rise strictly."""

    ctx: Context
    last: float = 0.0

    async def __call__(self, message: str, share: float | None) -> None:
        """Send one message, where the client asked for progress."""
        value = max(self.last + 0.01, 100 * (share or 0.0))
        if value < 100 or self.last < 100:
            self.last = min(value, 100.0)
            await self.ctx.session.report_progress(self.last, 100.0, message)


@dataclass
class App:
    """The tools of one server process."""

    settings: Settings
    plugins: Plugins
    flow: Flow

    @cached_property
    def utilities(self) -> dict[str, Utility]:
        """The server's own tools that are wanted."""
        own = utilities(Utilities(self.flow))
        return {name: tool for name, tool in own.items() if self.plugins.lists(name)}

    @cached_property
    def listing(self) -> types.ListToolsResult:
        """Every tool, utilities last; the same for every client."""
        if self.settings.compact:
            tools = [_listed_compact(fn, schema) for fn, schema in COMPACT.values()]
        else:
            saves = self.settings.output_dir is not None
            tools = [_listed(tool, saves=saves) for tool in self.plugins.tools.values()]
        return types.ListToolsResult(tools=[*tools, *map(_listed_utility, self.utilities.values())])

    def check_known(self, name: str) -> None:
        """Raise InvalidArgument for a name that no tool has."""
        known = [*self.plugins.tools, *self.utilities]
        if name not in known:
            raise InvalidArgument("name", name, f"there is no such tool. {nearest(name, known)}")

    def check_offered(self, name: str) -> None:
        """Raise InvalidArgument for a name that can't be called."""
        if not (self.settings.compact and name in COMPACT):
            self.check_known(name)

    def instructions(self) -> str:
        """What a client tells its model about this server."""
        missing = [plugin.name for plugin in self.plugins.plugins.values() if plugin.state == "set aside"]
        compact = (
            "\nFind a generation tool with find_tools, then call it by call_tool." if self.settings.compact else ""
        )
        return (
            INSTRUCTIONS
            + compact
            + (
                f"\nMissing because they failed to load: {_some(missing)}. kie-ai-mcp-server doctor says why."
                if missing
                else ""
            )
        )

    async def call(
        self, name: str, arguments: dict[str, Any] | None, say: Say, patience_s: float, most_s: float = math.inf
    ) -> types.CallToolResult:
        """Call one tool. Whatever goes wrong is an answer a model can read; nothing else leaves this method.

        Args:
            name: The tool; `check_offered` knows it.
            arguments: What it is given.
            say: Tells the client how it gets on.
            patience_s: How long the client waits for an answer, where the call does not say so itself.
            most_s: How long it waits at most: a wait that lasts longer would be answered to nobody.
        """
        self.flow.catch_up_once()
        try:
            if self.settings.compact and name == "find_tools":
                words = find_tools(**Arguments(find_tools).check(arguments))
                data, text = found(self.plugins.tools, words, saves=self.settings.output_dir is not None)
                return self._content(text, data)
            if self.settings.compact and name == "call_tool":
                name, arguments = call_tool(**Arguments(call_tool).check(arguments))
                self.check_known(name)
            if name in self.utilities:
                return await self._utility(self.utilities[name], arguments, say, patience_s, most_s)
            tool = self.plugins.tools[name]
            report = await self._provider_tool(tool, arguments or {}, say, patience_s)
            # What a query finds is not on record, so no address leads to it.
            return self._result(report, await self.resources.links([report]) if tool.paid else ())
        except KieError as exc:
            return self._result(report_of_error(exc))
        except Exception:
            log.exception("tool %s failed", name)
            error = Unknown(
                f"The server failed inside {name}; its log on stderr says more.",
                next_step="list_tasks shows whether a task was made. Report this as a bug.",
            )
            return self._result(report_of_error(error))

    async def _utility(
        self, tool: Utility, arguments: dict[str, Any] | None, say: Say, patience_s: float, most_s: float
    ) -> types.CallToolResult:
        checked = tool.arguments.check(arguments)
        if tool.name == "wait_for_tasks":
            checked["timeout_s"] = min(checked.get("timeout_s", patience_s), most_s)
        answered: Answered = await tool.fn(**checked, say=say)
        data = answered.structured if tool.output_schema is not None else None
        return self._content(answered.text, data, answered.links, answered.pictures)

    def _result(self, report: Report, links: Iterable[Link] = ()) -> types.CallToolResult:
        return self._content(report.text(), report.structured(), links, is_error=report.is_error)

    def _content(
        self,
        text: str,
        data: dict[str, Any] | None,
        links: Iterable[Link] = (),
        pictures: Iterable[Picture] = (),
        *,
        is_error: bool = False,
    ) -> types.CallToolResult:
        """Return an answer without the key in it, also where an argument held it, and with nothing no encoder takes."""
        return types.CallToolResult(
            content=[
                types.TextContent(type="text", text=self._clean(text)),
                *(
                    types.ImageContent(type="image", data=picture.data, mime_type=picture.mime_type)
                    for picture in pictures
                ),
                *(
                    types.ResourceLink(
                        type="resource_link",
                        uri=self._clean(link.uri),
                        name=self._clean(link.name),
                        mime_type=link.mime_type,
                        size=link.size,
                    )
                    for link in links
                ),
            ],
            structured_content=None if data is None else map_strings(data, self._clean, depth=-8),
            is_error=is_error,
        )

    def _clean(self, found: str) -> str:
        return self.settings.mask(sound(found))

    # -- what is read by address ---------------------------------------------------------------------------------

    @cached_property
    def resources(self) -> Resources:
        """Tasks, providers and results by address."""
        return Resources(self.flow)

    async def list_resources(self) -> types.ListResourcesResult:
        """List what can be read and is worth naming: the lists, and the newest saved results."""
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=self._clean(link.uri),
                    name=self._clean(link.name),
                    description=link.description,
                    mime_type=link.mime_type,
                    size=link.size,
                )
                for link in await self._resource(self.resources.listed())
            ]
        )

    async def read_resource(self, uri: str) -> types.ReadResourceResult:
        """Read one address."""
        content = await self._resource(self.resources.read(uri))
        contents: types.TextResourceContents | types.BlobResourceContents
        if content.blob is None:
            text = self._clean(content.text or "")
            contents = types.TextResourceContents(uri=uri, mime_type=content.mime_type, text=text)
        else:
            blob = base64.b64encode(content.blob).decode()
            contents = types.BlobResourceContents(uri=uri, mime_type=content.mime_type, blob=blob)
        return types.ReadResourceResult(contents=[contents])

    async def _resource(self, asked: Awaitable[T]) -> T:
        """Return what was asked for, or raise an error of the protocol."""
        try:
            return await asked
        except InvalidArgument as exc:
            raise MCPError(types.INVALID_PARAMS, self._clean(str(exc))) from None
        except KieError as exc:
            raise MCPError(types.INTERNAL_ERROR, self._clean(str(exc))) from None
        except Exception:
            log.exception("a resource could not be read")
            raise MCPError(
                types.INTERNAL_ERROR, "The server failed while reading; its log on stderr says more."
            ) from None

    async def _provider_tool(self, tool: BoundTool, arguments: dict[str, Any], say: Say, patience_s: float) -> Report:
        if not tool.paid:
            return await self.flow.query(tool, arguments)
        report = await self.flow.submit(tool, arguments, say, patience_s=patience_s)
        # What could not be recorded is answered at once: that it was paid for stands nowhere but in this report.
        if self.settings.wait_s and report.error is None and report.status in {"pending", "processing"}:
            (report,) = await wait_for(self.flow, [str(report.task_id)], self.settings.wait_s, say)
        return report


def patience_of(ctx: Context, settings: Settings) -> float:
    """Return how long this client waits for one call, in seconds."""
    if settings.patience_s is not None:
        return settings.patience_s
    params = ctx.session.client_params
    name = params.client_info.name.lower() if params else ""
    return next((seconds for word, seconds in PATIENCE_S if word in name), USUAL_PATIENCE_S)


def _some(names: list[str]) -> str:
    """Return names as a list that stays short."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def build(settings: Settings) -> App:
    """Load the providers and open the record.

    Raises:
        ConfigError: The configuration names something that does not exist, or a folder that can't be written.
        StorageError: The database can't be used.
    """
    flow = Flow.open(settings, reserved=NAMES)
    return App(settings, flow.plugins, flow)


def server_of(app: App) -> Server[Any]:
    """Return the protocol server over an app whose flow is entered."""

    async def list_tools(_ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return app.listing

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            app.check_offered(params.name)
        except InvalidArgument as exc:
            raise MCPError(types.INVALID_PARAMS, app.settings.mask(sound(str(exc)))) from None
        patience_s = patience_of(ctx, app.settings)
        return await app.call(params.name, params.arguments, Progress(ctx), patience_s, most_s=patience_s)

    async def list_resources(_ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        return await app.list_resources()

    async def list_templates(
        _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return TEMPLATES_LISTED

    async def read_resource(_ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return await app.read_resource(params.uri)

    return Server(
        "kie-ai",
        version=version("kie-ai-mcp-core"),
        title="Kie.ai",
        instructions=app.instructions(),
        website_url="https://kie.ai",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        cache_hints={"tools/list": CacheHint(ttl_ms=LIST_TTL_MS)},
    )


async def serve(settings: Settings) -> None:
    """Serve MCP over stdin and stdout until the input ends. A signal ends the process from within.

    Raises:
        ConfigError, StorageError: As `build`.
    """
    app = build(settings)
    # What was loaded until now stays to the end; the collector, switched off at the start, need never look at it.
    gc.freeze()
    gc.enable()
    async with anyio.create_task_group() as group:
        async with app.flow.running():
            group.start_soon(_end_on_signal, app.flow)
            server = server_of(app)
            async with stdio_server() as (lines, write):
                # Whatever is still printed must not reach the wire when buffers are flushed at exit.
                sys.stdout = sys.stderr
                forward, read = anyio.create_memory_object_stream[Line](0)
                group.start_soon(answer_unreadable, lines, forward, write.send)
                await server.run(read, write, server.create_initialization_options())
        group.cancel_scope.cancel()


async def _end_on_signal(flow: Flow) -> None:
    if sys.platform == "win32":  # no signal receivers there; a host closes our input instead
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for received in signals:
            with anyio.move_on_after(CLEANUP_S):
                await flow.drain()
            with anyio.move_on_after(CLOSE_S):
                await flow.store.aclose()
            sys.stderr.flush()
            # The thread that reads stdin can't be interrupted, so the interpreter would wait for it for ever.
            os._exit(128 + received)


def _listed(tool: BoundTool, *, saves: bool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema(saves=saves),
        output_schema=OUTPUT_SCHEMA,
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=not tool.charges,
            destructive_hint=False,
            idempotent_hint=not tool.paid,
            open_world_hint=True,
        ),
    )


def _listed_compact(fn: Callable[..., Any], output_schema: dict[str, Any]) -> types.Tool:
    finds = fn is find_tools
    return types.Tool(
        name=fn.__name__,
        description=describe(fn),
        input_schema=Arguments(fn).listed,
        output_schema=output_schema,
        annotations=types.ToolAnnotations(
            title=title_of(fn.__name__),
            read_only_hint=finds,
            destructive_hint=False,
            idempotent_hint=finds,
            open_world_hint=not finds,
        ),
    )


def _listed_utility(tool: Utility) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.arguments.listed,
        output_schema=tool.output_schema,
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads_only,
            destructive_hint=False,
            idempotent_hint=tool.reads_only,
            open_world_hint=False,
        ),
    )
