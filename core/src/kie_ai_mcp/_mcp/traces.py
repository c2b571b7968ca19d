"""Traces: the SDK's span of each message, without anybody's words, sent where the environment of OpenTelemetry says."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.prompts import PROMPTS
from kie_ai_mcp._settings.installation import extra, install_command

log = logging.getLogger(__name__)
ADDRESSES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
FLUSH_S = 0.5  # how long a collector that does not answer may delay the end


class Traced:
    """The SDK's spans: methods, names that this server has itself, and whether it failed.

    The SDK puts the message of an error into the span, which may repeat an argument, and any name that a client sends.
    """

    def __init__(self, app: App, spans: ServerMiddleware[Any]) -> None:
        self._app, self._spans = app, spans

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset((*self._app.names, *PROMPTS, ""))

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Answer a message inside its span; the error that the client gets stays outside."""
        errors: list[Exception] = []
        shown = ctx
        name = ctx.params.get("name", "") if ctx.params else ""
        if not isinstance(name, str) or name not in self._names:
            shown = replace(ctx, params={**(ctx.params or {}), "name": "unknown"})

        async def answered(_: ServerRequestContext[Any, Any]) -> HandlerResult:
            try:
                return await call_next(ctx)
            except ValidationError:  # of which the SDK says no more
                raise
            except MCPError as exc:
                errors.append(exc)
                raise MCPError(exc.error.code, "The request was refused.") from None
            except Exception as exc:  # noqa: BLE001  it is raised again below
                errors.append(exc)
                raise type(type(exc).__name__, (Exception,), {}) from None

        try:
            return await self._spans(shown, answered)
        except Exception:
            if errors:
                raise errors[0] from None
            raise


def begin_traces() -> Callable[[], None]:
    """Send spans to the collector that the environment names, if any; return what sends the last ones at the end."""
    provider = _provider() if any(map(os.environ.get, ADDRESSES)) else None

    def flush() -> None:
        if provider is not None:  # in a thread, since the library waits for a collector as long as that pleases
            last = threading.Thread(target=provider.force_flush, daemon=True)
            last.start()
            last.join(FLUSH_S)

    return flush


def _provider() -> Any:
    """Return a provider of spans that sends them; None where one was set up already, or the extra is missing."""
    try:
        trace, sdk, export, resources, otlp = map(
            import_module,
            (
                "opentelemetry.trace", "opentelemetry.sdk.trace", "opentelemetry.sdk.trace.export",
                "opentelemetry.sdk.resources", "opentelemetry.exporter.otlp.proto.http.trace_exporter",
            ),
        )  # fmt: skip
    except ImportError:
        cure = install_command(extra("otel"))
        log.warning("traces are not sent, since OpenTelemetry's SDK is not installed; install it with: %s", cure)
        return None
    if isinstance(trace.get_tracer_provider(), sdk.TracerProvider):  # as opentelemetry-instrument does
        return None
    own = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "kie-ai-mcp-server"}
    provider = sdk.TracerProvider(resource=resources.Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider
