"""The MCP server: lists the tools, calls them, reads resources; over stdin and stdout here."""

import gc
import sys
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import HandlerResult
from mcp.shared.exceptions import MCPError

from kie_ai_mcp._app.app import App, open_to_serve, words_of
from kie_ai_mcp._app.hints import for_user
from kie_ai_mcp._app.resources import TEMPLATES
from kie_ai_mcp._mcp import apps
from kie_ai_mcp._mcp.consent import with_consent
from kie_ai_mcp._mcp.content import (
    RESOURCE_NOT_FOUND,
    Context,
    answered,
    contents_of,
    has_handshake,
    listing,
    resource_of,
    result_of,
    template_of,
    without_newer,
)
from kie_ai_mcp._mcp.icons import icons
from kie_ai_mcp._mcp.prompts import prompt_handlers
from kie_ai_mcp._mcp.signals import end_on_signal
from kie_ai_mcp._mcp.stdio import message_streams
from kie_ai_mcp._mcp.subscriptions import ChangingServer, Subscriptions
from kie_ai_mcp._mcp.tasks import TaskRequests, task_made, wants_tasks
from kie_ai_mcp._mcp.traces import Traced, begin_traces
from kie_ai_mcp._providers.installed import sources
from kie_ai_mcp._settings.load import Faults, config_file, load_settings, take_secrets
from kie_ai_mcp._settings.logging import log_to_stderr, log_warnings
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._start.remembered import Start, begin
from kie_ai_mcp.errors import ConfigError, InvalidArgument

LIST_TTL_MS = 300_000
CLOSE_S = 0.5  # how long a busy database may delay the end after a signal
CLEANUP_S = 8.0  # how long the server may take to end after a signal; longer than the grace of a paid request under way

INSTRUCTIONS = """\
Pictures, videos and sound through Kie.ai. Every generate_, edit_ and extend_ tool, and run_model, starts ONE paid \
task and answers at once with its task_id; then call wait_for_tasks with that id (again, while it is running). \
Results are links that expire (expires_at) and, where configured, saved files.
find_models finds tools and other models, with prices; estimate_cost says what a call costs beforehand.
Status: pending and processing are running; completed and failed are final; refused means nothing was made or charged.
unknown means that the request was sent and its answer was lost: it MAY have been charged. Do not repeat it. Ask the \
user to look at https://kie.ai/logs, then call resolve_submission (adopt with the task id found, or discard).
read_error and the status unread: the status could not be read; the task goes on.
Never repeat a call because its answer is slow: list_tasks shows what is running.
Variations: give each its own idempotency_key, or they share one task."""

MOST_BYTES = 1_500  # of the instructions, since hosts cut longer ones
SHOWN = 12  # how many missing providers the instructions name; hosts take 1.5 kB of them
Page = types.PaginatedRequestParams | None


@dataclass
class Progress:
    """The progress of one call; the protocol wants numbers that rise strictly."""

    ctx: Context
    last: float = 0.0

    async def __call__(self, message: str, share: float | None) -> None:
        """Send one message, where the client asked for progress."""
        value = max(self.last + 0.01, 100 * (share or 0.0))
        if value < 100 or self.last < 100:
            self.last = min(value, 100.0)
            await self.ctx.session.report_progress(self.last, 100.0, message)


def server_of(app: App) -> ChangingServer:
    """Return the protocol server over an app whose engine is running."""
    listed, subscriptions = cache(partial(listing, app)), Subscriptions(app)

    async def list_tools(ctx: Context, _page: Page) -> types.ListToolsResult:
        return listed(ctx.protocol_version)

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> HandlerResult:
        client = ctx.session.client_params
        name = client.client_info.name if client else ""
        try:
            call = partial(app.call, params.name, params.arguments, Progress(ctx), name, **_circumstances(ctx))
            answer = await with_consent(app, ctx, params, call)
            if isinstance(answer, types.InputRequiredResult):
                return answer
            task = task_made(answer) if wants_tasks(ctx) and app.tool(params.name).charges else None
        except InvalidArgument as exc:
            raise MCPError(types.INVALID_PARAMS, words_of(app, exc)) from None
        return task or result_of(answer, ctx.protocol_version)

    async def list_resources(ctx: Context, _page: Page) -> types.ListResourcesResult:
        await subscriptions.listed(ctx)
        links = await answered(app, app.resources.listed())
        return types.ListResourcesResult(resources=[resource_of(app, link) for link in links])

    async def list_templates(_ctx: Context, _page: Page) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list(map(template_of, TEMPLATES)))

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        if params.uri == apps.GALLERY:
            return types.ReadResourceResult(contents=[await answered(app, apps.gallery(app))])
        unknown = RESOURCE_NOT_FOUND if has_handshake(ctx) else types.INVALID_PARAMS
        content = await answered(app, app.resources.read(params.uri), unknown, {"uri": app.clean(params.uri)})
        return types.ReadResourceResult(contents=[contents_of(app, params.uri, content)])

    server = ChangingServer(
        "kie-ai",
        version=version("kie-ai-mcp-core"),
        title="Kie.ai",
        instructions=instructions(app),
        website_url="https://kie.ai",
        get_tool_input_schema=lambda _name: None,  # no argument belongs in a header; or each call reads the whole list
        icons=icons("kie"),
        on_list_tools=list_tools,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        **prompt_handlers(app),
        cache_hints={"tools/list": CacheHint(ttl_ms=LIST_TTL_MS)},
    )
    server.tools_change = app.changes.tools_may_change
    server.middleware[:] = [*(Traced(app, spans) for spans in server.middleware), without_newer]
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    TaskRequests(app).serve(server)
    subscriptions.serve(server)
    server.extensions[apps.EXTENSION] = {}
    return server


def instructions(app: App) -> str:
    """Return the text that a client gives its model about this server."""
    parts = [INSTRUCTIONS]
    if app.settings.compact:
        parts.append("run_model calls what find_models finds.")
    if app.settings.output_dir is not None:
        parts.append("Every paid tool takes subfolder: where its results are saved.")
    missing = [plugin.name for plugin in app.engine.plugins.plugins.values() if plugin.state == "set aside"]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        names = ", ".join(missing[:SHOWN]) + more
        parts.append(f"Missing because they failed to load: {names}. kie-ai-mcp-server doctor says why.")
    instructions = "\n".join(parts)
    typed = for_user(app.engine, instructions)
    return typed if len(typed.encode()) <= MOST_BYTES else instructions


def run_stdio(start: Start) -> None:
    """Load the settings and serve over stdin and stdout, whatever is wrong."""
    take_secrets()
    faults: list[ConfigError] = []
    settings = load_settings(faults=faults)
    log_to_stderr(settings)
    log_warnings()
    anyio.run(serve, settings, faults, start)


async def serve(settings: Settings, faults: Faults, start: Start | None = None) -> None:
    """Serve MCP over stdin and stdout until the input ends. A signal ends the process from within."""
    start = start or begin(remembers=False)
    app, flush = open_to_serve(settings, faults), begin_traces()
    # What was loaded until now stays to the end; the collector, switched off at the start, need never look at it.
    gc.freeze()
    gc.enable()
    async with anyio.create_task_group() as group:
        async with app.engine.running():

            async def finish(_signal: int) -> None:
                await app.engine.drain()
                with anyio.move_on_after(CLOSE_S):
                    await app.engine.record.aclose()
                flush()

            group.start_soon(partial(end_on_signal, finish, limit_s=CLEANUP_S))
            app.watch()
            await serve_client(app, start)
        group.cancel_scope.cancel()
    flush()


async def serve_client(app: App, start: Start) -> None:
    """Answer a client until its input ends, and remember what is said."""
    app.changes.tools_may_change = True  # what was remembered of them may be corrected
    server = server_of(app)
    async with message_streams(start, app, partial(_look_at_sources, start), partial(_remember, start, app)) as (
        read,
        write,
    ):
        await server.run(read, write, server.create_initialization_options())


def _remember(start: Start, app: App) -> None:
    """Write down what was said, with what it depends on; forget it where something is wrong that may come right.

    The schemas of single models, which tools may stand for, come with the providers; what the record keeps of the
    service's own is only for calls.
    """
    plugins = app.engine.plugins.plugins.values()
    if app.engine.faults or any(plugin.state == "set aside" for plugin in plugins):
        start.memory.forget()
    else:
        start.memory.save()


def _look_at_sources(start: Start) -> None:
    if start.memory.files is None:
        start.memory.look_at([str(config_file()), *sys.path, *sources()], start.began_at)


def _circumstances(ctx: Context) -> dict[str, Any]:
    """Return what else is known of a call's client: its session, and over HTTP whether it is still connected."""
    known: dict[str, Any] = {"at_once": wants_tasks(ctx), "shows": apps.shows_apps(ctx.session.client_capabilities)}
    stays, request = "progress_token" in (ctx.meta or ()), ctx.request
    known["session"] = None if stays else ("" if request is None else request.headers.get("mcp-session-id", ""))
    if request is None:
        return known

    async def is_heard() -> bool:
        return not await request.is_disconnected()

    return known | {"is_heard": is_heard}
