"""Values of the application as the protocol writes them: tools, answers, resources."""

import base64
import logging
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from kie_ai_mcp._app.app import App, words_of
from kie_ai_mcp._app.resources import FILES, Content, Link
from kie_ai_mcp._app.tools import Answer, Tool
from kie_ai_mcp._mcp.apps import TASKS, tool_meta
from kie_ai_mcp._mcp.icons import icons
from kie_ai_mcp.errors import InvalidArgument, KieError, TaskNotFound

log = logging.getLogger(__name__)
T = TypeVar("T")
Context = ServerRequestContext[Any]
RESOURCE_NOT_FOUND = -32002  # in revisions with a handshake; later ones have "invalid params" for it

# Revisions that know answers in words and pictures alone, and the one that knows no annotations of tools.
WORDS_ALONE = {"2024-11-05", "2025-03-26"}
WITHOUT_ANNOTATIONS = {"2024-11-05"}

# Fields of the server, its abilities and what it lists, each with the revision that it came with.
SINCE = {"completions": "2025-03-26", "title": "2025-06-18", "icons": "2025-11-25", "websiteUrl": "2025-11-25"}


async def without_newer(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Answer a request; what it describes has no field that came after the client's revision."""
    result = await call_next(ctx)
    if isinstance(result, dict) and ctx.method.endswith(("initialize", "/list")):
        revision = result.get("protocolVersion", ctx.protocol_version)
        newer = [name for name, since in SINCE.items() if since > revision]
        for value in result.values():
            for item in value if isinstance(value, list) else [value]:
                for name in newer if isinstance(item, dict) else ():
                    item.pop(name, None)
    return result


def listing(app: App, revision: str = "") -> types.ListToolsResult:
    """Return every tool that a client is offered, as a revision of the protocol describes it."""
    return types.ListToolsResult(tools=[_tool(tool, revision) for tool in app.listed])


def result_of(answer: Answer, revision: str = "") -> types.CallToolResult:
    """Return a tool's answer as a revision of the protocol knows it; its words are whole in each."""
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=answer.text)]
    content += (types.ImageContent(type="image", **vars(picture)) for picture in answer.pictures)
    if revision in WORDS_ALONE:
        return types.CallToolResult(content=content, is_error=answer.is_error)
    content += (types.ResourceLink(type="resource_link", **vars(link)) for link in answer.links)
    meta = {TASKS: answer.entries} if answer.entries else None
    return types.CallToolResult(content=content, structured_content=answer.data, is_error=answer.is_error, _meta=meta)


def resource_of(app: App, link: Link) -> types.Resource:
    """Return an address as the list of resources describes it, without keys."""
    clean = replace(link, uri=app.clean(link.uri), name=app.clean(link.name))
    return types.Resource(**vars(clean), icons=_icons(link))


def template_of(link: Link) -> types.ResourceTemplate:
    """Return a form of addresses as the list of templates describes it."""
    return types.ResourceTemplate(
        uri_template=link.uri,
        name=link.name,
        description=link.description,
        mime_type=link.mime_type,
        icons=_icons(link),
    )


def contents_of(app: App, uri: str, content: Content) -> types.TextResourceContents | types.BlobResourceContents:
    """Return what stands at an address: text without keys, or bytes in base64."""
    if content.blob is None:
        return types.TextResourceContents(uri=uri, mime_type=content.mime_type, text=app.clean(content.text or ""))
    blob = base64.b64encode(content.blob).decode()
    return types.BlobResourceContents(uri=uri, mime_type=content.mime_type, blob=blob)


def _icons(link: Link) -> list[types.Icon]:
    return icons("picture" if link.uri.startswith(FILES) else "kie")


def _tool(tool: Tool, revision: str) -> types.Tool:
    described = types.Tool(name=tool.name, description=tool.description, input_schema=dict(tool.input_schema))
    if revision not in WORDS_ALONE and tool.output_schema is not None:
        described.output_schema = dict(tool.output_schema)
    if revision not in WORDS_ALONE:
        described.meta = tool_meta(tool.name)
    if revision not in WITHOUT_ANNOTATIONS:
        described.annotations = types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads_only,
            destructive_hint=False,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.open_world,
        )
    return described


def has_handshake(ctx: Context) -> bool:
    """Return whether a request is of a revision that begins with a handshake: all but the newest."""
    return ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS


async def answered(
    app: App, asked: Awaitable[T], unknown: int = types.INVALID_PARAMS, about: dict[str, str] | None = None
) -> T:
    """Return what was asked for, or raise an error of the protocol, with the code `unknown` where there is none."""
    try:
        return await asked
    except KieError as exc:
        code = unknown if isinstance(exc, InvalidArgument | TaskNotFound) else types.INTERNAL_ERROR
        raise MCPError(code, words_of(app, exc), about) from None
    except Exception:
        log.exception("a request could not be answered")
        message = "The server failed while reading; its log on stderr says more."
        raise MCPError(types.INTERNAL_ERROR, message, about) from None
