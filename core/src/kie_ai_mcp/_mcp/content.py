"""Values of the application as the protocol writes them: tools, answers, resources."""

import base64

import mcp_types as types

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.resources import Content, Link
from kie_ai_mcp._app.tools import Answer, Tool


def listing(app: App) -> types.ListToolsResult:
    """Return every tool that a client is offered; the same for every client."""
    return types.ListToolsResult(tools=list(map(_tool, app.listed)))


def result_of(answer: Answer) -> types.CallToolResult:
    """Return a tool's answer as the protocol writes it."""
    pictures = (types.ImageContent(type="image", **vars(picture)) for picture in answer.pictures)
    links = (types.ResourceLink(type="resource_link", **vars(link)) for link in answer.links)
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=answer.text), *pictures, *links]
    return types.CallToolResult(content=content, structured_content=answer.data, is_error=answer.is_error)


def template_of(link: Link) -> types.ResourceTemplate:
    return types.ResourceTemplate(
        uri_template=link.uri, name=link.name, description=link.description, mime_type=link.mime_type
    )


def contents_of(app: App, uri: str, content: Content) -> types.TextResourceContents | types.BlobResourceContents:
    if content.blob is None:
        return types.TextResourceContents(uri=uri, mime_type=content.mime_type, text=app.clean(content.text or ""))
    blob = base64.b64encode(content.blob).decode()
    return types.BlobResourceContents(uri=uri, mime_type=content.mime_type, blob=blob)


def _tool(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=dict(tool.input_schema),
        output_schema=None if tool.output_schema is None else dict(tool.output_schema),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads_only,
            destructive_hint=False,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.open_world,
        ),
    )
