"""The gallery as an MCP App (SEP-1865): a page that hosts show beside the answers of tools that tell of tasks."""

from typing import Any

import anyio.to_thread
import mcp_types as types

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.gallery import SHOWN_BY
from kie_ai_mcp._gallery.page import html

EXTENSION = "io.modelcontextprotocol/ui"
MIME_TYPE = "text/html;profile=mcp-app"
GALLERY = "ui://kie/gallery"
TASKS = "kie-ai/tasks"  # where a result's metadata have what the page needs and no model reads


def tool_meta(name: str) -> dict[str, Any] | None:
    """Return the metadata of a tool: the page that shows its answers, if one does."""
    return {"ui": {"resourceUri": GALLERY}} if name in SHOWN_BY else None


def shows_apps(declared: types.ClientCapabilities | None) -> bool:
    """Return whether a client declares that it shows such pages; one that lists no types shows them all the same."""
    ui = ((declared and declared.extensions) or {}).get(EXTENSION)
    return ui is not None and MIME_TYPE in (ui.get("mimeTypes") or [MIME_TYPE])


async def gallery(app: App) -> types.TextResourceContents:
    """Return the page. It may load results, from the services' hosts; whatever else it needs, it asks its host for."""
    text = await anyio.to_thread.run_sync(html, {"mode": "app"})
    csp = {"resourceDomains": await app.gallery.hosts()}
    ui = {"csp": csp, "permissions": {"clipboardWrite": {}}, "prefersBorder": False}
    return types.TextResourceContents(uri=GALLERY, mime_type=MIME_TYPE, text=text, _meta={"ui": ui})
