"""What is read and not paid for: a task's status, its results, the account's credits. `refresh` is the story."""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from kie_ai_mcp._flow.report import Report, report_of
from kie_ai_mcp._media.saving import save_results
from kie_ai_mcp._media.uploading import Uploads
from kie_ai_mcp._providers.asking import ACCOUNT_CODES, Asking
from kie_ai_mcp._providers.installed import KIE
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.rows import TaskRecord
from kie_ai_mcp._record.slots import Budget, RateLimit
from kie_ai_mcp._record.submissions import Store
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp._service.caller import Caller, kie
from kie_ai_mcp._service.envelope import error_of, error_text
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import (
    LOGS_PAGE,
    ConfigError,
    KieError,
    MediaError,
    ReadFailed,
    StorageError,
    TaskNotFound,
)
from kie_ai_mcp.readings import text_in
from kie_ai_mcp.specs import Answer, Outcome, Query, StatusRoute, Task

log = logging.getLogger(__name__)

PROMPTS = ("prompt", "negative_prompt", "shots")
NOT_STORED = "[not stored]"

UNKNOWN_ID_CODES = (400, 404, 422)
"""How a status route says that it does not know an id; some say it by empty data."""


@dataclass
class Reading:
    """What reading needs: settings, providers, the services' callers by gateway name, one record."""

    settings: Settings
    plugins: Plugins
    callers: Mapping[str, Caller]
    store: Store

    @property
    def kie(self) -> Caller:
        """The caller of Kie.ai."""
        return self.callers[KIE]

    def caller(self, gateway: str) -> Caller:
        """Return the caller of a task's service.

        Raises:
            ReadFailed: No enabled provider registers that gateway.
        """
        if gateway not in self.callers:
            raise ReadFailed(
                f"The task was made through {gateway}, but no enabled provider registers that service.",
                next_step=f"Enable or install it, for example with pip install kie-ai-mcp-{gateway}.",
                can_retry=False,
            )
        return self.callers[gateway]

    def logs_of(self, gateway: str) -> str:
        """Where people see what a service was asked for."""
        caller = self.callers.get(gateway)
        return (caller.gateway.logs_page or LOGS_PAGE) if caller else f"the log of {gateway}"

    @property
    def asking(self) -> Asking:
        """The functions of the providers."""
        return Asking(self.plugins)

    @classmethod
    def open(cls, settings: Settings, reserved: Iterable[str]) -> Self:
        """Load the providers and open the record.

        Args:
            settings: What the user chose.
            reserved: Tool names that no provider may take.

        Raises:
            ConfigError: The configuration names something that does not exist, or a folder that can't be written.
            StorageError: The database can't be used.
        """
        plugins = Plugins(settings, reserved)
        limit = RateLimit(settings.rate_limit, settings.rate_window_s)
        budget = Budget(settings.max_credits_per_day, settings.max_submissions_per_hour)
        gateways = [kie(settings), *plugins.gateways.values()]
        limits = {gateway.name: RateLimit(*gateway.rate_limit) for gateway in gateways if gateway.rate_limit}
        store = Store(settings.database, limit, budget, limits)
        _check_writable(settings.output_dir)
        store.open()
        callers = {gateway.name: Caller(settings, gateway) for gateway in gateways}
        return cls(settings, plugins, callers, store)

    @property
    def uploads(self) -> Uploads:
        """How local files reach the service."""
        return Uploads(self.settings, self.kie, self.store)

    async def query(self, tool: BoundTool, arguments: Mapping[str, Any]) -> Report:
        """Run one reading tool, and save what it finds."""
        query = await self.asking.request(tool, tool.arguments.check(arguments), Query)
        caller = self.caller(query.gateway)
        try:
            answer = await caller.read(query.paths, query.params)
        except ReadFailed as exc:
            if tool.charges:  # it may have arrived
                exc.charged = "unknown"
            raise
        if answer.code in ACCOUNT_CODES:
            raise error_of(answer)
        outcome = await self.asking.meaning(tool.provider, query.read, answer)
        if outcome is None:
            raise ReadFailed(error_text(answer), code=answer.code)
        if outcome.status == "failed":
            raise ReadFailed(outcome.error or error_text(answer), code=answer.code, can_retry=False)
        task = Task(query.task_id or tool.name, tool.name, tool.provider, kind=tool.kind, tool=tool.name)
        now = datetime.now(UTC)
        record = await self.store.find(task.task_id) or TaskRecord(task, "completed", now, now, finished_at=now)
        found = replace(
            record,
            status=outcome.status,
            result_urls=outcome.urls,
            progress=outcome.progress,
            files=(),
            finished_at=outcome.finished_at or record.finished_at,
            keeps_s=outcome.keeps_s,
        )
        if outcome.urls and self.settings.output_dir is not None:
            files = await save_results(
                self.caller(record.task.gateway),
                found,
                self.settings.output_dir,
                self._redacted(arguments),
                query.label,
            )
            found = replace(found, files=files)
        report = report_of(found)
        if outcome.status != "completed":
            report = replace(report, next_step=f"Not ready yet. Call {tool.name} again in 30 seconds.")
        return report

    async def refresh(self, task_id: str, *, with_record: bool = False) -> Report:
        """Read a task's status once, write it down, save finished results, and tell.

        A read that fails changes nothing: the answer is then the last known state plus `read_error`.

        Raises:
            TaskNotFound: Neither this database nor any status route knows the id.
        """
        try:
            record = await self.store.find(task_id)
        except StorageError as exc:
            return Report("unread", "Call get_task_status again.", task_id=task_id, read_error=exc.message)
        if record is None:
            record, payload = await self._look_up(task_id)
        else:
            record = replace(record, task=self._with_provider(record.task))
            try:
                payload = await self._payload(record.task)
            except KieError as exc:
                return _unread(await self._with_files(record), exc)
        try:
            outcome, payload = await self._outcome(record.task, payload)
            told = outcome.error
            if told and not self.settings.store_prompts:  # the service may repeat the prompt in its reason
                outcome = replace(outcome, error=NOT_STORED)
            record = await self.store.record_outcome(task_id, outcome)
        except (ReadFailed, StorageError) as exc:
            return _unread(report_of(record), exc)
        report = await self._with_files(record)
        error = told if report.error and told and not self.settings.store_prompts else report.error
        return replace(report, error=error, service_record=dict(payload) if with_record else None)

    async def _with_files(self, record: TaskRecord) -> Report:
        """Return a task as an answer, after saving its results where that is wanted."""
        try:
            return report_of(await self._saved(record))
        except (MediaError, ReadFailed, StorageError) as exc:
            return replace(report_of(record), next_step=f"{exc} Call get_task_status again to save once more.")

    async def save(self, task_id: str) -> Report:
        """Save a finished task's results now.

        Raises:
            ConfigError: No folder is set.
            MediaError: A result can't be fetched or written.
            TaskNotFound: Nobody knows the id.
        """
        if self.settings.output_dir is None:
            raise ConfigError("No folder for results is set.", next_step="Set KIE_AI_OUTPUT_DIR and restart.")
        record = await self.store.find(task_id)
        if record is None or record.status != "completed":
            return await self.refresh(task_id)
        return report_of(await self._saved(record))

    async def catch_up(self, most: int = 50) -> int:
        """Save what finished while nobody looked, the first to expire first; return how many tasks that were."""
        if self.settings.output_dir is None or not any(caller.gateway.key for caller in self.callers.values()):
            return 0
        for status in ("processing", "pending"):
            for record in await self.store.tasks(Filters(status=status, limit=most)):
                with suppress(KieError):
                    await self.refresh(record.task.task_id)
        saved = 0
        for record in (await self.store.unsaved())[:most]:
            try:
                await self._saved(record)
                saved += 1
            except KieError as exc:
                log.warning("task %s could not be saved: %s", record.task.task_id, exc)
        return saved

    async def last_known(self, task_id: str) -> Report | None:
        """Return a task as it is on record, without asking the service; None for an id never seen."""
        record = await self.store.find(task_id)
        return None if record is None else report_of(record)

    async def _payload(self, task: Task) -> Mapping[str, Any]:
        """Return what the service says of a task.

        Raises:
            ReadFailed: The read failed, or the service says that it does not know the task.
        """
        return await self._read(task, await self.asking.route(task))

    async def _read(self, task: Task, route: StatusRoute) -> Mapping[str, Any]:
        answer = await self.caller(task.gateway).read(route.paths, route.params)
        if answer.code == 200 and isinstance(answer.data, Mapping) and answer.data:
            return answer.data
        absent = answer.code in UNKNOWN_ID_CODES or answer.code == 200
        message = f"{route.paths[0]} has no record of the task." if answer.code == 200 else error_text(answer)
        error = ReadFailed(message, code=answer.code)
        error.absent = absent
        raise error

    async def _outcome(self, task: Task, payload: Mapping[str, Any]) -> tuple[Outcome, Mapping[str, Any]]:
        """Return what a status answer means, reading on once where the results lie elsewhere.

        Raises:
            ReadFailed: The provider can't read it, or the second read failed.
        """
        outcome = await self.asking.outcome(task, payload)
        if isinstance(outcome, StatusRoute) and outcome.read is not None:
            return await self._ending(task, outcome, outcome.read)
        if isinstance(outcome, StatusRoute):
            payload = await self._read(task, outcome)
            outcome = await self.asking.outcome(task, payload)
        if isinstance(outcome, StatusRoute):
            raise ReadFailed(f"The provider {task.provider} asks to read on for ever.")
        return outcome, payload

    async def _ending(
        self, task: Task, route: StatusRoute, read: Callable[[Answer], Outcome | None]
    ) -> tuple[Outcome, Mapping[str, Any]]:
        """Return what stands at the address where a task's end is told, be it a result or an error.

        Raises:
            ReadFailed: The answer does not speak of the task, or the provider can't read it.
        """
        answer = await self.caller(task.gateway).read(route.paths, route.params)
        outcome = await self.asking.meaning(task.provider, read, answer)
        if outcome is None:
            raise ReadFailed(error_text(answer), code=answer.code)
        return outcome, answer.data if isinstance(answer.data, Mapping) else {}

    async def _saved(self, record: TaskRecord) -> TaskRecord:
        """Save the results of a completed task, where a folder is set and they are not saved yet."""
        folder = self.settings.output_dir
        if folder is None or record.status != "completed" or len(record.files) >= len(record.result_urls):
            return record
        made_by = await self.store.submission_of(record.task.task_id)
        if made_by is not None and made_by.subfolder:
            folder /= made_by.subfolder
        files = await save_results(
            self.caller(record.task.gateway), record, folder, made_by.arguments if made_by else {}
        )
        return await self.store.record_files(record.task.task_id, files)

    async def _look_up(self, task_id: str) -> tuple[TaskRecord, Mapping[str, Any]]:
        """Find a task that was made elsewhere: ask each distinct status route once, the market's first."""
        unread: list[str] = []
        for task in await self._probes(task_id):
            try:
                payload = await self._payload(task)
            except ReadFailed as exc:
                if not exc.absent:
                    unread.append(exc.message)
                continue
            return await self.store.adopt(self._owned(task, payload)), payload
        if unread:
            raise ReadFailed(
                f"The task {task_id} is not on record here, and the service could not be asked everywhere: {unread[0]}",
                next_step="Ask again later.",
            )
        raise TaskNotFound(
            f"No task {task_id!r} is on record here, and no status route of the enabled providers knows it.",
            next_step="Check the id; list_tasks shows the recorded ones. A disabled provider's tasks need it enabled.",
        )

    def _with_provider(self, task: Task) -> Task:
        """Name the owner of a task that the seed's server recorded, which kept no provider."""
        owner = None if task.provider else self.plugins.owner_of_api_type(task.api_type)
        return task if owner is None else replace(task, provider=owner.name)

    async def _probes(self, task_id: str) -> list[Task]:
        probes: dict[tuple[str, ...], Task] = {}
        for task in (Task(task_id, "market", ""), *self.plugins.probes(task_id)):
            with suppress(ReadFailed):
                probes.setdefault((await self.asking.route(task)).paths, task)
        return list(probes.values())

    def _owned(self, task: Task, payload: Mapping[str, Any]) -> Task:
        """Give a task found at the shared route to the provider its model belongs to."""
        model = text_in(payload.get("model"))
        owner = None if task.provider else self.plugins.owner_of_model(model)
        if owner is None:
            return replace(task, model=model, provider=task.provider or "kie")
        kind = (owner.provider.kinds or ("image",))[0]
        api_type = (owner.provider.api_types or (owner.name,))[0]
        return replace(task, model=model, provider=owner.name, kind=kind, api_type=api_type)

    async def resolve(self, submission_id: int, task_id: str | None) -> Report:
        """Settle an unknown submission: adopt the task that the account's log shows for it, or discard it.

        Raises:
            StorageError: It is not an unknown submission.
            TaskNotFound: The service does not know the task id.
        """
        if task_id is None:
            settled = await self.store.resolve(submission_id, None)
            return Report(
                status="discarded",
                next_step=f"{settled.tool} may be called again with the same arguments.",
                submission_id=submission_id,
                charged="unknown",
            )
        made_by = await self.store.submission(submission_id)
        if made_by is not None and made_by.gateway != KIE and await self.store.find(task_id) is None:
            # Another service's ids are looked up nowhere; the submission says what was asked for, and where.
            task = Task(
                task_id,
                made_by.api_type,
                made_by.provider,
                kind=made_by.kind,
                tool=made_by.tool,
                model=made_by.model,
                gateway=made_by.gateway,
            )
            await self._payload(task)
            await self.store.adopt(task)
        report = await self.refresh(task_id)
        record = await self.store.find(task_id)
        if record is None:
            raise StorageError(
                f"Task {task_id} can't be looked up ({report.read_error}); submission {submission_id} stays unknown.",
                next_step="Call resolve_submission again.",
            )
        await self.store.resolve(submission_id, record.task)
        return replace(report, submission_id=submission_id)

    async def credits(self) -> float:
        """Return what the account has left.

        Raises:
            ServiceError: The service gave no number.
        """
        answer = await self.kie.read(("chat/credit",), {})
        if answer.code == 401:
            raise error_of(answer)
        if answer.code != 200 or not isinstance(answer.data, (int, float)) or isinstance(answer.data, bool):
            raise ReadFailed(f"The credits could not be read. {error_text(answer)}", code=answer.code)
        return float(answer.data)

    def _redacted(self, arguments: Mapping[str, Any]) -> Any:
        """Return arguments as they may be stored and shown: without the key, and without prompts where so set."""
        if not self.settings.store_prompts:
            arguments = {name: NOT_STORED if name in PROMPTS else value for name, value in arguments.items()}
        return json.loads(self.settings.mask(json.dumps(arguments, ensure_ascii=False)))


def _unread(report: Report, exc: KieError) -> Report:
    """Return the last known state of a task that could not be read, and what to do where only the user can help."""
    stuck = isinstance(exc, ReadFailed | ConfigError) and not exc.can_retry and not report.is_final
    return replace(report, read_error=exc.message, stuck=stuck, next_step=exc.next_step if stuck else report.next_step)


def _check_writable(folder: Path | None) -> None:
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ConfigError(
            f"The folder {folder} can't be written.",
            next_step="Set KIE_AI_OUTPUT_DIR to a folder of yours, or leave it out.",
        )
