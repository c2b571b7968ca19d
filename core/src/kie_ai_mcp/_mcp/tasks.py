"""The tasks extension of the protocol: a paid call answers with its task, which a client then asks for by its id.

The task is the service's, known by the id that every other answer names it by, and its state stands in the record. So a
task outlives the server, and any server with the same record answers for it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from pydantic import Field

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.states import TaskState
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow.waiting import cadence_s
from kie_ai_mcp._mcp.content import Context, answered, has_handshake, result_of

EXTENSION = "io.modelcontextprotocol/tasks"
ECHOED = 80  # the most characters of an id that an error repeats
REQUIRED: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


class TaskParams(types.RequestParams):
    """The parameters of a request about one task."""

    task_id: str = Field(min_length=1)


class UpdateParams(TaskParams):
    """The parameters of a client's answers to what a task asked."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


def wants_tasks(ctx: Context) -> bool:
    """Return whether the client of a request understands tasks; declared with each request of the newest revision."""
    declared = ctx.session.client_capabilities
    is_new = not has_handshake(ctx)
    return is_new and declared is not None and EXTENSION in (declared.extensions or {})


def task_made(answer: Answer) -> dict[str, Any] | None:
    """Return the answer of a paid call as a task; None where it made none that runs.

    What could not be recorded is no task: that it was paid for stands nowhere but in the tool's own answer.
    """
    data = answer.data or {}
    if data.get("status") not in {"pending", "processing"} or "error" in data or "task_id" not in data:
        return None
    created_at = data.get("created_at") or _written(datetime.now(UTC))
    words = [f"{data.get('tool', 'The task')} has begun.", *data.get("notes", ())]
    return {"resultType": "task", **_task(data["task_id"], "working", " ".join(words), created_at, created_at)}


@dataclass(frozen=True)
class TaskRequests:
    """The three requests of the extension."""

    app: App

    def serve(self, server: Server[Any]) -> None:
        """Let a server answer the requests, and say so."""
        server.extensions[EXTENSION] = {}
        for method, params, answer in (
            ("tasks/get", TaskParams, self.get),
            ("tasks/update", UpdateParams, self.update),
            ("tasks/cancel", TaskParams, self.cancel),
        ):
            server.add_request_handler(method, params, partial(self._checked, answer))

    async def get(self, task_id: str) -> dict[str, Any]:
        """Return a task as it is now; one that has ended with the answer of its tool, also where it has failed."""
        state = await self.app.states.find(task_id)
        record, is_final = state.record, state.report.is_final
        times = map(_written, (record.created_at, record.finished_at or record.updated_at))
        task = _task(record.written_id, "completed" if is_final else "working", state.words, *times, kind=record.kind)
        return {**task, "result": _result(state)} if is_final else task

    async def update(self, task_id: str) -> dict[str, Any]:
        """Take the answers to a task's questions; no task of ours asks any."""
        await self.app.states.find(task_id)
        return {}

    async def cancel(self, task_id: str) -> dict[str, Any]:
        """Write down that a task is to be cancelled, which no service can; its state says so from then on."""
        await self.app.states.cancel(task_id)
        return {}

    async def _checked(
        self, answer: Callable[[str], Awaitable[dict[str, Any]]], ctx: Context, params: TaskParams
    ) -> dict[str, Any]:
        if has_handshake(ctx):
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", ctx.method)
        if not wants_tasks(ctx):
            message = f"{ctx.method} is for clients that declare {EXTENSION}."
            raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, REQUIRED)
        if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != params.task_id:
            raise MCPError(types.HEADER_MISMATCH, f"The header {MCP_NAME_HEADER} does not name the task.")
        about = {"taskId": self.app.clean(params.task_id)[:ECHOED]}
        return await answered(self.app, answer(params.task_id), about=about)


def _task(task_id: str, status: str, words: str, created_at: str, updated_at: str, *, kind: str = "") -> dict[str, Any]:
    """Return a task as the extension writes it. It never leaves the record by itself: `ttlMs` is null."""
    times = {"createdAt": created_at, "lastUpdatedAt": updated_at, "ttlMs": None}
    pace = {"pollIntervalMs": round(1000 * cadence_s(kind))}
    return {"taskId": task_id, "status": status, "statusMessage": words, **times, **pace}


def _result(state: TaskState) -> Mapping[str, Any]:
    result = result_of(state.answer).model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"resultType": "complete", **result}


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
