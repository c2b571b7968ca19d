"""The server's own tools. Like a provider's: the signature is the schema, the docstring is what the model reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from kie_ai_mcp._app.resources import Link, Resources
from kie_ai_mcp._flow.report import OUTPUT_SCHEMA, TASKS_SCHEMA, Report, report_of
from kie_ai_mcp._flow.submit import Flow, Say
from kie_ai_mcp._flow.waiting import wait_for
from kie_ai_mcp._media.thumbnails import Picture
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp._providers.tools import describe, title_of
from kie_ai_mcp._record.rows import SubmissionRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._settings.settings import nearest
from kie_ai_mcp.errors import InvalidArgument, shorten
from kie_ai_mcp.specs import Kind, Status, is_web_address

LINKS_LISTED = 10
"""How many results a list of tasks links to; every task's own answer links to all of its results."""

ROW_DIGITS = 15
"""No row's number has more; longer ones differ between JSON's readers, and at last no database holds them."""

TaskId = Annotated[str, Field(min_length=1, max_length=200)]

# Nothing is required: an error is told in the shape of `OUTPUT_SCHEMA`, and clients hold it against these.
CREDITS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"credits": {"type": "number"}, "next_step": {"type": "string"}},
}
UPLOAD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"url": {"type": "string"}, "expires_at": {"type": "string"}, "next_step": {"type": "string"}},
}


@dataclass(frozen=True)
class Answered:
    """A utility's answer: data and the same in words, with links to results and pictures of them."""

    structured: dict[str, Any]
    text: str
    links: tuple[Link, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Utility:
    """One of the server's own tools. One without `output_schema` answers a client with words and pictures alone."""

    name: str
    title: str
    description: str
    fn: Callable[..., Any]
    arguments: Arguments
    output_schema: dict[str, Any] | None
    reads_only: bool


@dataclass
class Utilities:
    """The tools that every provider's tasks share."""

    flow: Flow
    patience_s: float = field(default=45.0)

    @property
    def resources(self) -> Resources:
        """Results by address."""
        return Resources(self.flow)

    async def get_task_status(self, task_id: TaskId, say: Say) -> Answered:  # noqa: ARG002  one signature for all
        """Read one task's state, result links, files, credits and error now. Also finds tasks made elsewhere."""
        return await self._one(await self.flow.refresh(task_id, with_record=True))

    async def wait_for_tasks(
        self,
        task_ids: Annotated[list[TaskId], Field(min_length=1, max_length=100)],
        say: Say,
        timeout_s: Annotated[float, Field(ge=1, le=3600)] | None = None,
    ) -> Answered:
        """Wait until tasks are finished, or as long as the client allows; then call again for those still running."""
        reports = await wait_for(self.flow, task_ids, timeout_s or self.patience_s, say)
        stuck = [report.task_id for report in reports if report.stuck]
        running = [
            report.task_id
            for report in reports
            if report.status in {"pending", "processing", "unread"} and not report.stuck
        ]
        unknown = [report.task_id for report in reports if report.status == "not found"]
        steps = []
        if running:
            steps.append(f"Still running; call wait_for_tasks again with {running}.")
        if stuck:
            steps.append(f"Not readable until the user acts; see what is next for each: {stuck}.")
        if unknown and not running:
            steps.append(f"Nobody knows {unknown}; correct the ids.")
        step = " ".join(steps) or "Every task is finished."
        return await self._many(reports, {"next_step": step})

    async def list_tasks(
        self,
        say: Say,  # noqa: ARG002
        status: Status | None = None,
        provider: str | None = None,
        kind: Kind | None = None,
        since: Annotated[str, Field(description="ISO date or time, UTC")] | None = None,
        limit: Annotated[int, Field(ge=1, le=50)] = 20,
        cursor: str | None = None,
    ) -> Answered:
        """List recorded tasks, newest first, and requests whose outcome is unknown. Reads nothing from the service."""
        filters = Filters(status, provider, kind, _moment(since), _row(cursor), limit + 1)
        # First, because it takes in what an earlier call could not record.
        unsettled = await self.flow.store.unsettled()
        told = [_unresolved(entry, self.flow.logs_of(entry.gateway)) for entry in unsettled]
        unresolved = told if cursor is None else []
        records = await self.flow.store.tasks(filters)
        installed = self.flow.plugins.plugins
        if not records and provider is not None and provider not in installed:
            # An empty list would read as if nothing had been made.
            reason = f"no such provider is installed, and no task fits. {nearest(provider, installed)}"
            raise InvalidArgument("provider", provider, reason)
        more = {"next_cursor": str(records[limit - 1].row_id)} if len(records) > limit else {}
        step = "Call list_tasks with next_cursor for older ones." if more else "These are all."
        extra: dict[str, Any] = {"unresolved": unresolved} if unresolved else {}
        reports = [report_of(record) for record in records[:limit]]
        extra["credits_listed"] = sum(report.credits or _number(report.estimated_credits) for report in reports)
        extra["credits_24h"] = await self.flow.store.spent_today()
        return await self._many(reports, {**extra, **more, "next_step": step}, LINKS_LISTED)

    async def get_credits(self, say: Say) -> Answered:  # noqa: ARG002
        """Read how many credits the account has left. One credit is about 0.005 USD."""
        credits = await self.flow.credits()
        step = "Top up at https://kie.ai/billing." if credits <= 0 else "Generations can be started."
        return Answered({"credits": credits, "next_step": step}, f"Credits left: {credits:g}\nNext: {step}")

    async def upload_file(
        self,
        say: Say,  # noqa: ARG002
        path: str | None = None,
        url: str | None = None,
        base64_data: str | None = None,
    ) -> Answered:
        """Upload a local file, a URL's file or base64 data, for image, video or audio arguments. Free; kept a day."""
        uploads = self.flow.uploads
        if path is not None and is_web_address(path):
            raise InvalidArgument("path", path, "give a web address as url")
        match path, url, base64_data:
            case str(), None, None:
                upload = await uploads.send(await uploads.file(path))
            case None, str(), None:
                upload = await uploads.send_from(url)
            case None, None, str():
                upload = await uploads.send_data(base64_data)
            case _:
                raise InvalidArgument("path", path, "give one of path, url and base64_data")
        answer = {
            "url": upload.url,
            "mime_type": upload.format.mime_type,
            "size": upload.size,
            "expires_at": upload.expires_at.isoformat(timespec="seconds"),
            "next_step": "Give url to a tool that takes media.",
        }
        return Answered(answer, "\n".join(f"{name}: {value}" for name, value in answer.items()))

    async def save_result(self, task_id: TaskId, say: Say) -> Answered:  # noqa: ARG002
        """Save a finished task's results as files in the configured folder."""
        return await self._one(await self.flow.save(task_id))

    async def show_result(self, task_id: TaskId, say: Say) -> Answered:  # noqa: ARG002
        """Show small pictures of a finished task's results, of a video one frame, with the links."""
        shown = await self.resources.show(task_id)
        text = "\n".join([shown.report.text(), *shown.notes])
        links = await self.resources.links([shown.report])
        return Answered({**shown.report.structured(), "previews": list(shown.notes)}, text, links, shown.pictures)

    async def resolve_submission(
        self,
        submission_id: Annotated[int, Field(ge=1, lt=10**ROW_DIGITS)],
        action: Literal["adopt", "discard"],
        say: Say,  # noqa: ARG002
        task_id: TaskId | None = None,
    ) -> Answered:
        """Settle a request whose outcome is unknown, after looking at https://kie.ai/logs.

        adopt: the task is there, give its task_id. discard: it is not there, the request may be made again.
        """
        if action == "adopt" and task_id is None:
            raise InvalidArgument("task_id", None, "adopt needs the id that the service's log shows")
        if action == "discard" and task_id is not None:
            raise InvalidArgument("task_id", task_id, "discard takes none")
        return await self._one(await self.flow.resolve(submission_id, task_id))

    async def _one(self, report: Report) -> Answered:
        return Answered(report.structured(), report.text(), await self.resources.links([report]))

    async def _many(self, reports: Sequence[Report], extra: dict[str, Any], most: int | None = None) -> Answered:
        tasks = [report.structured() for report in reports]
        return Answered({"tasks": tasks, **extra}, _text(reports, extra), await self.resources.links(reports, most))


_SCHEMAS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "get_task_status": (OUTPUT_SCHEMA, True),
    "wait_for_tasks": (TASKS_SCHEMA, True),
    "list_tasks": (TASKS_SCHEMA, True),
    "get_credits": (CREDITS_SCHEMA, True),
    "upload_file": (UPLOAD_SCHEMA, False),
    "save_result": (OUTPUT_SCHEMA, False),
    # Hosts that are given data show their model nothing else, so here is none.
    "show_result": (None, True),
    "resolve_submission": (OUTPUT_SCHEMA, False),
}
NAMES = tuple(_SCHEMAS)


def utilities(tools: Utilities) -> dict[str, Utility]:
    """Return the server's own tools by name."""
    bound = {}
    for name, (schema, reads_only) in _SCHEMAS.items():
        fn = getattr(tools, name)
        arguments = Arguments(fn, ignore=("say",))
        bound[name] = Utility(name, title_of(name), describe(fn), fn, arguments, schema, reads_only)
    return bound


def _text(reports: Sequence[Report], extra: dict[str, Any]) -> str:
    blocks = [report.text() for report in reports] or ["No tasks."]
    if "unresolved" in extra:
        blocks.insert(0, "\n".join(map(_unresolved_line, extra["unresolved"])))
    tail = [f"Next cursor: {extra['next_cursor']}"] if "next_cursor" in extra else []
    if "credits_24h" in extra:
        tail.append(credits_line(extra))
    return "\n\n".join([*blocks, *tail, f"Next: {extra['next_step']}"])


def credits_line(listed: Mapping[str, Any]) -> str:
    """Return in words what the tasks of a list cost, and all of the last day."""
    return (
        f"Credits, estimates included: {listed['credits_listed']:g} in this list, "
        f"{listed['credits_24h']:g} in the last 24 hours"
    )


def _number(estimate: float | str | None) -> float:
    return estimate if isinstance(estimate, float) else 0.0


def _unresolved(entry: SubmissionRecord, logs_page: str) -> dict[str, Any]:
    age = datetime.now(UTC) - entry.created_at
    return {
        "submission_id": entry.id,
        "state": entry.state,
        "tool": entry.tool,
        "prompt": shorten(str(entry.arguments.get("prompt", "")), 120),
        "age_s": round(age.total_seconds()),
        "next_step": "It is on its way."
        if entry.state == "sending"
        else f"Look at {logs_page}, then call resolve_submission with adopt or discard.",
    }


def _unresolved_line(entry: dict[str, Any]) -> str:
    what = f"{entry['tool']}({entry['prompt']}), {entry['age_s']} s ago"
    return f"Unresolved: submission {entry['submission_id']}, {entry['state']}: {what}. {entry['next_step']}"


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument("since", text, "an ISO date or time such as 2026-11-02 or 2026-11-02T08:30:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _row(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isdecimal() or len(cursor) > ROW_DIGITS:
        raise InvalidArgument("cursor", cursor, "the next_cursor of an earlier answer")
    return int(cursor)
