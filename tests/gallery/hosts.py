"""A host of MCP Apps as a page of our own: it shows the app in a frame, and passes its calls on to a real server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.gallery.conftest import Browser

GALLERY = "ui://kie/gallery"
EVERYTHING: dict[str, Any] = {"serverTools": {}, "serverResources": {}, "openLinks": {}, "message": {}}
NULL = "null"  # among `Host.answers`

# Its frame is of the same origin, so that a test can look into it; the policy is what the specification asks of hosts.
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>A host</title>
<style>body { margin: 0 } iframe { display: block; width: 100%; border: 0 }</style>
<iframe id="app" title="app" sandbox="allow-scripts allow-same-origin"></iframe>
<script>
  const given = GIVEN;
  const app = document.getElementById("app");
  const inbox = [], sizes = [], notices = [];
  const post = (message) => app.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
  addEventListener("message", (event) => {
    if (event.source !== app.contentWindow) return;
    const { id, method, params } = event.data;
    if (method === "ui/initialize") {
      const hostInfo = { name: "host", version: "1" };
      for (const message of given.before) post(message);
      if (given.refusal) return void post({ id, error: { code: -32600, message: given.refusal } });
      const own = { hostCapabilities: given.capabilities, hostContext: given.context };
      post({ id, result: { protocolVersion: params.protocolVersion, hostInfo, ...own } });
    } else if (method === "ui/notifications/size-changed") {
      sizes.push(params);
      app.style.height = `${params.height}px`;
    } else if (id !== undefined && method) inbox.push(event.data);
    else notices.push(event.data);
  });
  app.srcdoc = given.html;
</script>
"""


@dataclass
class Host:
    """The host, and what the app has asked of it.

    Args:
        browser: Shows it.
        client: Speaks with the server.
        folder: Where the page is written.
        page: Its own page, with the word GIVEN where what it is given goes.
        answers: Answers of tools by name, instead of the server's; an error is one of the connection.
        before: What it sends the app before it answers the app's first request.
        refusal: Why it refuses that request, if it does.
    """

    browser: "Browser"
    client: Client
    folder: Path
    page: str = PAGE
    capabilities: Mapping[str, Any] = field(default_factory=lambda: dict(EVERYTHING))
    context: Mapping[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    before: list[dict[str, Any]] = field(default_factory=list)
    refusal: str = ""
    refuses_links: bool = False

    async def open(self) -> None:
        """Show the app, as the server gives it out, below the policy that its metadata ask for."""
        (content,) = (await self.client.read_resource(GALLERY)).contents
        assert isinstance(content, types.TextResourceContents)
        assert content.meta is not None
        html = content.text.replace("<head>", f"<head>{policy(content.meta['ui']['csp']['resourceDomains'])}", 1)
        given: dict[str, Any] = {"html": html, "capabilities": self.capabilities, "context": self.context}
        given |= {"before": self.before, "refusal": self.refusal}
        path = self.folder / "host.html"
        path.write_text(self.page.replace("GIVEN", json.dumps(given).replace("<", "\\u003c")), encoding="utf-8")
        self.browser.open(path.as_uri())
        if self.refusal:
            return
        self.browser.wait("notices.some(({ method }) => method === 'ui/notifications/initialized')")

    def notify(self, method: str, **params: Any) -> None:
        """Send the app a notification."""
        self.browser.ask(f"post({json.dumps({'method': f'ui/notifications/{method}', 'params': params})}), null")

    def give(self, result: types.CallToolResult | Mapping[str, Any]) -> None:
        """Hand the app the result of the call that it is shown beside."""
        if isinstance(result, types.CallToolResult):
            result = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.notify("tool-result", **result)

    async def show(self, name: str, **arguments: Any) -> types.CallToolResult:
        """Call a tool as the model would, and show the app beside the answer."""
        await self.open()
        self.notify("tool-input", arguments=arguments)
        result = await self.client.call_tool(name, arguments)
        self.give(result)
        return result

    def ask(self, script: str) -> Any:
        """Return what an expression is worth in the app, whose window and document it has by these names."""
        return self.browser.ask(f"((window, document) => ({script}))(app.contentWindow, app.contentDocument)")

    async def until(self, script: str) -> None:
        """Answer what the app asks, until an expression is true in it."""
        with anyio.fail_after(LIMIT_S):
            while not self.ask(script):
                await self.answer()
                await anyio.sleep(0.01)

    async def answer(self) -> None:
        """Answer everything that the app has asked."""
        for message in self.browser.ask("inbox.splice(0)"):
            try:
                reply = {"result": await self._result(message["method"], message["params"])}
            except (MCPError, ConnectionError) as exc:
                reply = {"error": {"code": -32000, "message": str(exc)}}
            self.browser.ask(f"post({json.dumps({'id': message['id'], **reply})}), null")

    async def _result(self, method: str, params: dict[str, Any]) -> Any:
        match method:
            case "tools/call":
                self.calls.append((params["name"], params["arguments"]))
                scripted = self.answers.get(params["name"])
                if isinstance(scripted, Exception):
                    raise scripted
                result: Any = (
                    None
                    if scripted == NULL
                    else scripted or await self.client.call_tool(params["name"], params["arguments"])
                )
            case "resources/read":
                self.reads.append(params["uri"])
                result = await self.client.read_resource(params["uri"])
            case "ui/open-link":
                self.links.append(params["url"])
                if self.refuses_links:
                    raise ConnectionError("links are not opened here")
                result = {}
            case _:
                raise AssertionError(method)
        return (
            result
            if isinstance(result, dict | None)
            else result.model_dump(mode="json", by_alias=True, exclude_none=True)
        )

    @property
    def faults(self) -> list[str]:
        """What the browser has to say of the app; that this host's own frame is open to it is no news."""
        return [line for line in self.browser.log if "sandbox attribute" not in line]

    def press(self, text: str) -> None:
        """Press the button whose words begin so."""
        begins = f"(button) => button.textContent.startsWith({text!r})"
        self.ask(f"[...document.querySelectorAll('button')].find({begins}).click()")

    @property
    def buttons(self) -> list[str]:
        """The words of the buttons that can be seen."""
        shown = "[...document.querySelectorAll('.card button')].filter((button) => button.checkVisibility())"
        found: list[str] = self.ask(f"{shown}.map((button) => button.textContent)")
        return found

    @property
    def said(self) -> str:
        """What the cards say came of what was pressed."""
        said: str = self.ask("[...document.querySelectorAll('.said')].map((said) => said.textContent).join('')")
        return said


def policy(domains: list[str]) -> str:
    """Return the policy below which a host shows an app that may load from these origins."""
    own, shown = "'self' 'unsafe-inline'", " ".join(["'self'", "data:", *domains])
    rules = f"default-src 'none'; script-src {own}; style-src {own}; img-src {shown}; media-src {shown}"
    return f"<meta http-equiv=\"Content-Security-Policy\" content=\"{rules}; connect-src 'none'; frame-src 'none'\">"
