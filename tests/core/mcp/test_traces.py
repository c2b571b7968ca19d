"""Traces: a span of each message, which holds nobody's words, whatever is asked and however it fails."""

import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared import _otel
from mcp.shared.exceptions import MCPError

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.prompts import Prompts
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._mcp.traces import begin_traces
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox

sdk = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

KEY = "key-of-the-tests"
WORDS = "A fox that stays among us"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Keeps the spans of this test; the process is set up for no others."""
    kept, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(kept))
    monkeypatch.setattr(_otel, "_tracer", provider.get_tracer("test"))
    yield kept
    provider.shutdown()


def spans(exporter: Any) -> list[Any]:
    """The spans of the server; those of the client are not ours."""
    return [span for span in exporter.get_finished_spans() if span.kind.name == "SERVER"]


@pytest.fixture
async def client(exporter: Any, tmp_path: Path) -> AsyncIterator[Client]:
    with Sandbox(speed=10_000) as sandbox:
        values = {"api_key": KEY, "base_url": sandbox.base_url, "db_path": tmp_path / "tasks.db"}
        app = App.open(Settings.model_validate({**values, "enabled_providers": ("nano-banana",)}))
        async with app.engine.running(), Client(server_of(app)) as client:
            yield client


@pytest.mark.anyio
async def test_span_names_tool_and_method_as_documented(client: Client, exporter: Any) -> None:
    await client.call_tool("generate_nano_banana", {"prompt": WORDS})
    await client.call_tool("generate_nano_banana", {"prompt": WORDS, "no_such": 1})
    await client.list_tools()
    first, failed = [span for span in spans(exporter) if span.name == "tools/call generate_nano_banana"]
    assert spans(exporter)[-1].name == "tools/list"
    number = first.attributes["jsonrpc.request.id"]
    assert dict(first.attributes) == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": first.attributes["mcp.protocol.version"],
        "jsonrpc.request.id": number,
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "generate_nano_banana",
    }
    assert (failed.attributes["error.type"], failed.status.status_code.name) == ("tool_error", "ERROR")
    documented = (Path(__file__).parents[3] / "docs/traces.md").read_text("utf-8")
    assert [name for name in {**first.attributes, **failed.attributes} if f"`{name}`" not in documented] == []


@pytest.mark.anyio
@pytest.mark.parametrize("name", [[], {}, 7, ["generate_nano_banana"]])
async def test_name_that_is_no_text_is_refused_as_any_wrong_one(client: Client, exporter: Any, name: Any) -> None:
    request = types.CallToolRequest(params=types.CallToolRequestParams.model_construct(name=name, arguments={}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydantic, which is asked to write what is no text
        with pytest.raises(MCPError) as caught:
            await client.session.send_request(request, types.CallToolResult)
    assert caught.value.error.code == types.INVALID_PARAMS
    assert "hashable" not in str(caught.value)
    assert spans(exporter)[-1].name == "tools/call unknown"


@pytest.mark.anyio
async def test_no_span_holds_what_was_asked(client: Client, exporter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = f"{WORDS} {KEY}"
    await client.call_tool("generate_nano_banana", {"prompt": secret, "aspect_ratio": secret})
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.call_tool(secret, {}),
        lambda: client.get_prompt(secret),
        lambda: client.get_prompt("short_clip", {"idea": secret, "seconds": secret}),
        lambda: client.read_resource(f"kie://tasks/{secret.replace(' ', '-')}"),
        lambda: client.complete(types.PromptReference(name=secret), {"name": "idea", "value": secret}),
    ]
    said = []
    for call in calls:
        try:
            await call()
        except MCPError as exc:
            said.append(str(exc))
    assert len(said) >= 3
    assert any(WORDS in text for text in said)  # the client is told of its own words

    async def broken(*_: object) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(Prompts, "listed", broken)
    with suppress(MCPError):
        await client.list_prompts()
    texts = [span.to_json() for span in spans(exporter)]
    assert len(texts) >= 7
    assert "RuntimeError" in texts[-1] or "MCPError" in texts[-1] or "-32603" in texts[-1]
    assert not [text for text in texts if WORDS in text or WORDS.replace(" ", "-") in text or KEY in text]
    assert {"tools/call unknown", "prompts/get unknown"} <= {span.name for span in spans(exporter)}


def test_missing_extra_is_said_and_nothing_else_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    begin_traces()()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("traces are not sent, since OpenTelemetry's SDK is not installed")
    assert "kie-ai-mcp-core[otel]" in line
