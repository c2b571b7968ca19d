"""The server's own tools. Like a provider's: the signature is the schema, the docstring is what the model reads."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

import anyio.to_thread
from pydantic import Field

from kie_ai_mcp._app.resources import DATA_LISTED, Resources
from kie_ai_mcp._app.tools import Answer, Call, Tool, answer_on_record, offers, tool_of_method
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.ownership import whole_id
from kie_ai_mcp._flow.report import (
    LIST,
    NUMBER,
    OUTPUT_SCHEMA,
    TASKS_SCHEMA,
    TEXT,
    Report,
    brief,
    object_schema,
    report_of,
    wait_call,
)
from kie_ai_mcp._flow.results import as_found, refresh, save
from kie_ai_mcp._flow.settle import resolve
from kie_ai_mcp._flow.status import balances, credits_left, keyless
from kie_ai_mcp._flow.waiting import wait_for
from kie_ai_mcp._record.tables import SubmissionRecord, prompt_of
from kie_ai_mcp._record.tasks import Filters, beginning_fault, begun_with
from kie_ai_mcp._settings.amounts import exact, in_words, plain
from kie_ai_mcp._settings.load import nearest
from kie_ai_mcp._settings.settings import PREFIX
from kie_ai_mcp.errors import InvalidArgument, KieError, LimitReached, StorageError
from kie_ai_mcp.specs import KIE, Kind, Status, is_web_address

LINKS_LISTED = 10  # how many results a list of tasks links to; every task's own answer links to all of its results
LIST_BYTES = 20_000  # the most that a list tells of its tasks in words; the same follows as data, and the links
UNFINISHED = {"pending", "processing", "unread"}
USUAL = ("text-to-image", "text-to-video", "music", "speech")  # tasks whose prices say what a balance buys
ROW_DIGITS = 15  # the most digits of a row's number: on longer ones readers of JSON differ

Id = Annotated[str, Field(min_length=1)]  # as it is, for a service may give one with spaces around it

# Nothing is required: an error is reported in the shape of `OUTPUT_SCHEMA`, and clients hold it against these.
CREDITS_SCHEMA = object_schema(credits=NUMBER, buys=LIST, balances=LIST, next_step=TEXT)
UPLOAD_SCHEMA = object_schema(url=TEXT, expires_at=TEXT, next_step=TEXT)


@dataclass(frozen=True)
class OwnTools:
    """The tools that every provider's tasks share, in one call."""

    engine: Engine
    resources: Resources
    call: Call = field(default_factory=Call)

    async def get_task_status(self, task_id: Id) -> Answer:
        """Read one task's state, result links, files, credits and error now. Also finds tasks made elsewhere."""
        return await self._one(await refresh(self.engine, await self._whole(task_id), with_record=True))

    async def wait_for_tasks(
        self,
        task_ids: Annotated[list[Id], Field(min_length=1, max_length=100)],
        timeout_s: Annotated[float, Field(ge=1, le=3600)] | None = None,
    ) -> Answer:
        """Wait until tasks are finished, or as long as the client allows; then call again for those still running."""
        limit_s = min(timeout_s or self.call.patience_s, self.call.most_s)
        ids = [await whole_id(self.engine.record, task_id, "task_ids") for task_id in task_ids]
        reports = await wait_for(self.engine, ids, limit_s, self.call.say)
        return await self._many(reports, {"next_step": _next_of_all(reports)})

    async def list_tasks(
        self,
        words: Annotated[str, Field(max_length=200, description="of tool, model or prompt")] | None = None,
        status: Status | None = None,
        provider: str | None = None,
        kind: Kind | None = None,
        since: Annotated[str, Field(description="ISO date or time, UTC")] | None = None,
        limit: Annotated[int, Field(ge=1, le=50)] = 20,
        cursor: str | None = None,
    ) -> Answer:
        """List recorded tasks, newest first, and requests whose outcome is unknown. Reads nothing from the service."""
        filters = Filters(status, provider, kind, _moment(since), _row(cursor), limit + 1, words or "")
        listing = await self.engine.record.listing(filters)
        records = listing.records
        installed = self.engine.plugins.plugins
        if not records and provider is not None and provider not in installed:
            # An empty list would read as if nothing had been made.
            reason = f"no such provider is installed, and no task fits. {nearest(provider, installed)}"
            raise InvalidArgument("provider", provider, reason)
        shows_user = self.engine.record.sees_all
        listed = partial(report_of, data_bytes=DATA_LISTED, in_list=True, shows_user=shows_user)
        reports = await as_found(self.engine, records[:limit], listed)
        extra: dict[str, Any] = {}
        if listing.unsettled and cursor is None:
            extra["unresolved"] = [_unresolved(entry, self.engine) for entry in listing.unsettled]
        ours = zip(records, reports, strict=False)  # other services have prices in units of their own
        costs = (report.credits or report.estimated_credits for record, report in ours if record.gateway == KIE)
        extra["credits_listed"] = exact(sum(cost or 0.0 for cost in costs))
        extra["credits_24h"] = listing.spent_today
        if listing.spent_by_user is not None:
            extra["credits_24h_by_user"] = listing.spent_by_user
        running = [str(report.task_id) for report in reports if not report.is_final]
        steps = [f"Call {wait_call(running)}."] if running else []
        if len(records) > limit:
            extra["next_cursor"] = str(records[limit - 1].row_id)
            steps.append("Call list_tasks with next_cursor for older ones.")
        elif listing.from_id is not None and listing.from_id > 1:
            extra["next_cursor"] = str(listing.from_id)
            steps.append("Call list_tasks with the same words and next_cursor to look at older ones.")
        extra["next_step"] = " ".join(steps) or "These are all."
        return await self._many(reports, extra, LINKS_LISTED)

    async def get_credits(self) -> Answer:
        """Read how many credits the account has left, and what they buy. One credit is about 0.005 USD."""
        if not self.engine.adopts:
            return await self._own_limit()
        others = await balances(self.engine)
        if others and not self.engine.caller(KIE).gateway.key:
            lines = [*map(_balance_line, others), *keyless(self.engine), "Kie.ai: no key is set."]
            return Answer("\n".join(lines), {"balances": others, "next_step": "Use the tools of these services."})
        try:
            credits = await credits_left(self.engine)
        except KieError as exc:
            if not others:
                exc.next_step = " ".join(filter(None, [exc.next_step, *keyless(self.engine)]))
                raise
            others.append({"service": "Kie.ai", "unit": "credits", "error": exc.message})
            step = exc.next_step or "Use the tools of the other services, or ask again later."
            return Answer("\n".join(map(_balance_line, others)), {"balances": others, "next_step": step})
        answer: dict[str, Any] = {"credits": credits, "next_step": "Generations can be started."}
        lines = [f"Left: {in_words(credits)}"]
        if buys := await _bought_with(self.engine, credits):
            answer["buys"] = buys
            each = (f"{entry['count']} by {entry['tool']} (from {in_words(entry['credits'])})" for entry in buys)
            lines.append(f"That buys about: {' or '.join(each)}")
        if others:
            answer["balances"] = others
            lines += map(_balance_line, others)
        with suppress(StorageError):  # the service has answered all the same
            said, line = await self._spent()
            answer |= said
            lines.append(line)
            answer["next_step"] = await self._next_purchase()
        if credits <= 0:
            answer["next_step"] = "Top up at https://kie.ai/billing."
        return Answer("\n".join([*lines, f"Next: {answer['next_step']}"]), answer)

    async def _own_limit(self) -> Answer:
        """Return what a user may spend of the server's account, which others spend from as well."""
        said, line = await self._spent()
        limit = self.engine.record.budget.credits_per_day
        step = await self._next_purchase()
        answer: dict[str, Any] = {**said, "next_step": step}
        if limit is not None:
            answer["credits"] = exact(max(0.0, limit - said["credits_24h"]))
        return Answer("\n".join([line, f"Next: {step}"]), answer)

    async def _next_purchase(self) -> str:
        """Return whether a generation can be started, as far as limits go, and what to do where not."""
        record = self.engine.record
        if reached := await record.find_limit():
            return _step_at(reached, record.user)
        if (room := await record.room()) is None:
            return "Generations can be started."
        if record.user and not record.sees_all and record.budget.beside and record.budget.beside.limits_credits:
            # How much is left would show what others spend.
            so_far = "as far as the server's limit, which all share, allows"
            return f"Generations can be started {so_far}: see estimate_cost."
        return f"Generations can be started that cost at most {plain(room)} credits each: the limits leave no more."

    async def _spent(self) -> tuple[dict[str, Any], str]:
        """Return what the caller has spent in the last day, for who sees all what each user has, and both in words."""
        record = self.engine.record
        limit, by_user = record.budget.credits_per_day, dict[str, float]()
        if record.user and record.sees_all:
            by_user = await record.spent_by_user()
        said: dict[str, Any] = {"credits_24h": by_user.get(record.user, 0.0) if by_user else await record.spent_today()}
        said |= {"credits_24h_by_user": by_user} if by_user else {}
        of_limit = "" if limit is None else f" of {plain(limit)}"
        line = f"Spent in the last 24 hours, estimates included: {plain(said['credits_24h'])}{of_limit} credits"
        return said, f"{line}{_of_all(by_user)}"

    async def upload_file(
        self, path: str | None = None, url: str | None = None, base64_data: str | None = None
    ) -> Answer:
        """Upload a local file, a URL's file or base64 data, for image, video or audio arguments. Free; kept a day."""
        uploads = self.engine.uploads
        if path is not None and is_web_address(path):
            raise InvalidArgument("path", path, "give a web address as url")
        match path, url, base64_data:
            case str(), None, None:
                upload = await uploads.send(await uploads.file("path", path))
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
        return Answer("\n".join(f"{name}: {value}" for name, value in answer.items()), answer)

    async def save_result(
        self,
        task_id: Id,
        folder: Annotated[str, Field(min_length=1, description="below the configured or an allowed one")] | None = None,
    ) -> Answer:
        """Save a finished task's results as files in the configured folder, or another."""
        return await self._one(await save(self.engine, await self._whole(task_id), folder))

    async def show_result(
        self, task_id: Id, number: Annotated[int, Field(ge=1, description="of one result")] | None = None
    ) -> Answer:
        """Show small pictures of a finished task's results, of a video one frame, with the links."""
        report, pictures, notes = await self.resources.show(await self._whole(task_id), number)
        answer = await answer_on_record(self.resources, report)
        # Hosts that are given data show their model nothing else, so a client gets none; the command line does.
        data = {**(answer.data or {}), "previews": notes}
        return Answer("\n".join([answer.text, *notes]), data, answer.links, tuple(pictures))

    async def resolve_submission(
        self,
        submission_id: Annotated[int, Field(ge=1, lt=10**ROW_DIGITS)],
        action: Literal["adopt", "discard"],
        task_id: Id | None = None,
    ) -> Answer:
        """Settle a request whose outcome is unknown, after looking at https://kie.ai/logs.

        adopt: the task is there, give its task_id. discard: it is not there, the request may be made again.
        """
        if action == "adopt" and task_id is None:
            raise InvalidArgument("task_id", None, "adopt needs the id that the service's log shows")
        if action == "discard" and task_id is not None:
            raise InvalidArgument("task_id", task_id, "discard takes none")
        if task_id and (whole := await begun_with(self.engine.record.tasks, task_id)):
            raise beginning_fault("task_id", task_id, whole)
        return await self._one(await resolve(self.engine, submission_id, task_id))

    async def _whole(self, task_id: str) -> str:
        """Return a task's whole id: people, and lists for them, shorten it."""
        return await whole_id(self.engine.record, task_id)

    async def _one(self, report: Report) -> Answer:
        return await answer_on_record(self.resources, report)

    async def _many(self, reports: Sequence[Report], extra: dict[str, Any], most: int | None = None) -> Answer:
        linked, shown, texts, left = list[Report](), list[Report](), list[str](), LIST_BYTES
        for whole in reports:
            report = self.resources.shown(whole)
            report = replace(report, next_step="") if report.next_step else report  # one for all stands at the end
            text = report.text()
            left -= len(text.encode(errors="replace"))
            if left <= 0:
                part = {name: getattr(report, name) for name in ("task_id", "status", "tool", "prompt")}
                report = Report(**part, next_step="", notes=("get_task_status shows all of it.",))
                text = report.text()
            else:
                linked.append(whole)
            shown.append(report)
            texts.append(text)
        tasks = [report.structured() for report in shown]
        is_error = bool(reports) and all(report.is_error for report in reports)
        links = await self.resources.links(linked, most)
        return Answer(_text(texts, extra), {"tasks": tasks, **extra}, links, is_error=is_error)


_SCHEMAS: dict[str, tuple[dict[str, Any] | None, bool]] = {
    "get_task_status": (OUTPUT_SCHEMA, True),
    "wait_for_tasks": (TASKS_SCHEMA, True),
    "list_tasks": (TASKS_SCHEMA, True),
    "get_credits": (CREDITS_SCHEMA, True),
    "upload_file": (UPLOAD_SCHEMA, False),
    "save_result": (OUTPUT_SCHEMA, False),
    "show_result": (None, True),
    "resolve_submission": (OUTPUT_SCHEMA, False),
}
NAMES = tuple(_SCHEMAS)


def own_tools(engine: Engine, resources: Resources) -> Iterable[Tool]:
    """Yield the server's own tools that the settings want."""
    owner = partial(OwnTools, engine, resources)
    for name, (output_schema, reads_only) in _SCHEMAS.items():
        if engine.plugins.lists(name):
            method, usual = getattr(OwnTools, name), engine.settings.tools.get(name, {})
            yield tool_of_method(method, owner, output_schema, reads_only=reads_only, usual=usual, failed="not done")


def _step_at(reached: LimitReached, user: str) -> str:
    """Return the next step where a limit of a day or an hour is reached."""
    name = str(reached.figures["limit"])
    span = "hour" if "hour" in name.lower() else "day"
    whose = " of this server" if user and name.startswith(PREFIX) else ""
    return f"The {span}'s limit{whose} is reached: {reached.next_step[0].lower()}{reached.next_step[1:]}"


async def _bought_with(engine: Engine, credits: float) -> list[dict[str, Any]]:
    """Return how many usual results the credits buy: of each sort, by the cheapest tool whose price is known."""
    await engine.catalogue.load()
    cheapest: dict[str, dict[str, Any]] = {}
    for offer in sorted(await anyio.to_thread.run_sync(offers, engine), key=lambda offer: offer.credits or 0.0):
        is_usual = offer.name == offer.tool and offer.availability == "current" and engine.plugins.lists(offer.tool)
        if offer.credits and is_usual:
            count = max(0, int(credits // offer.credits))
            cheapest.setdefault(offer.task, {"tool": offer.tool, "credits": offer.credits, "count": count})
    return [cheapest[task] for task in USUAL if task in cheapest]


def _next_of_all(reports: Sequence[Report]) -> str:
    """Say what is next for many tasks: once for those that share it."""
    running = [str(report.task_id) for report in reports if report.status in UNFINISHED and not report.stuck]
    steps = [f"Still running; call {wait_call(running)} again."] if running else []
    if all(report.is_final for report in reports):
        steps.append("Every task is finished.")
    shared: dict[tuple[bool, str], list[str | None]] = {}
    for report in reports:
        if report.task_id not in running:
            shared.setdefault((report.stuck, report.next_step), []).append(report.task_id)
    for (stuck, step), ids in shared.items():
        whose = f"{'Not readable until the user acts' if stuck else 'Of'} {json.dumps(ids)}: "
        steps.append(f"{whose if stuck or len(ids) < len(reports) else ''}{step}")
    return " ".join(steps)


def _text(texts: Sequence[str], extra: dict[str, Any]) -> str:
    blocks = ["\n".join(map(_unresolved_line, extra["unresolved"]))] if "unresolved" in extra else []
    blocks += texts or ["No tasks."]
    if "next_cursor" in extra:
        blocks.append(f"Next cursor: {extra['next_cursor']}")
    if "credits_24h" in extra:
        blocks.append(credits_line(extra))
    return "\n\n".join([*blocks, f"Next: {extra['next_step']}"])


def credits_line(listed: Mapping[str, Any]) -> str:
    """Return in words what the tasks of a list cost, and all of the last day."""
    costs = f"{plain(listed['credits_listed'])} in this list, {plain(listed['credits_24h'])} in the last 24 hours"
    return f"Kie.ai credits, estimates included: {costs}{_of_all(listed.get('credits_24h_by_user', {}))}"


def _of_all(by_user: Mapping[str, float]) -> str:
    """Return in words what each user has spent, behind the credits of the one who asks; "" where there are none."""
    whose = ", ".join(f"{user or 'nobody'} {plain(spent)}" for user, spent in by_user.items())
    return f" (yours; of all: {whose})" if whose else ""


def _unresolved(entry: SubmissionRecord, engine: Engine) -> dict[str, Any]:
    logs_page, tool = engine.logs_of(entry.gateway), engine.plugins.tools.get(entry.tool)
    step = engine.how_to_settle(entry.gateway, entry.id)
    if tool is not None and not tool.paid:
        step = f"Call {entry.tool} again with the same arguments; it is not paid twice."
    return {
        "submission_id": entry.id,
        **({"user": entry.user} if entry.user and engine.record.sees_all else {}),
        "state": entry.state,
        "tool": entry.tool,
        "model": entry.model,
        "prompt": brief(prompt_of(entry.arguments)),
        "age_s": round((datetime.now(UTC) - entry.created_at).total_seconds()),
        "logs_page": logs_page,
        "next_step": "It is on its way." if entry.state == "sending" else step,
    }


def _balance_line(entry: Mapping[str, Any]) -> str:
    left = f"{in_words(entry['left'], entry['unit'])} left" if "left" in entry else entry["error"]
    return f"{entry['service']}: {left}"


def _unresolved_line(entry: dict[str, Any]) -> str:
    words = f" of the prompt {entry['prompt']!r}" if entry["prompt"] else ""
    whose = f" of the user {entry['user']}" if "user" in entry else ""
    what = f"{entry['tool']}{words}{whose}, {entry['age_s']} s ago"
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
