"""Watching of running tasks while a server serves: read now and then, their results saved, those who wait woken."""

import logging
import random
import time
from datetime import UTC, datetime, timedelta

import anyio

from kie_ai_mcp._flow.drift import look
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.pace import early_s, usual_of
from kie_ai_mcp._flow.results import KEPT_LONGER, poll, with_files
from kie_ai_mcp._record.lane import IN_BACKGROUND
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp._record.tasks import Filters
from kie_ai_mcp.errors import KieError

log = logging.getLogger(__name__)

LOOK_S = 10.0  # seconds between two looks into the record, which cost next to nothing
LEASE_S = 30.0  # how long other processes leave the reading to one that has stopped without a word
USUAL_S = {"image": 10.0, "video": 45.0, "audio": 20.0}  # seconds in which no task is done, until its tool is known
LEAST_S, MOST_S = 5.0, 6 * 3600.0  # the shortest and the longest pause between two reads of a task
SHARE = 0.2  # the pause between two reads, as a share of the task's age
AT_ONCE = 4  # reads at a time: calls of people wait behind no more
SAVES_S = 60.0  # seconds between two looks for results that are not saved
SAVES_LOOKED_AT, SAVES_AT_ONCE = 100, 50


async def watch(engine: Engine) -> None:
    """Look after the running tasks of all processes on the database until cancelled; log whatever goes wrong."""
    IN_BACKGROUND.set(True)
    turn, saves_at = anyio.CapacityLimiter(AT_ONCE), time.monotonic() + SAVES_S
    more = True  # whether there may be more unsaved results than the start has taken on
    async with anyio.create_task_group() as group:
        while True:
            await anyio.sleep(_about(LOOK_S))
            if saves := time.monotonic() >= saves_at:
                saves_at = time.monotonic() + _about(SAVES_S)
            if news := engine.take_news():
                group.start_soon(look, engine, news)
            due = await _due(engine, saves=saves, more=more)
            if saves:
                more = sum(record.final for record in due) >= SAVES_AT_ONCE
            for record in due:
                group.start_soon(_tend, engine, record, turn)


async def catch_up(engine: Engine) -> None:
    """Look at once after every running task and every unsaved result: what earlier sessions left."""
    IN_BACKGROUND.set(True)
    turn = anyio.CapacityLimiter(AT_ONCE)
    async with anyio.create_task_group() as group:
        for record in await _due(engine, saves=True, more=True, eager=True) if engine.settings.watch else ():
            group.start_soon(_tend, engine, record, turn)
    await look(engine, ())  # what an earlier session noticed and did not tell


async def _due(engine: Engine, *, saves: bool, more: bool, eager: bool = False) -> list[TaskRecord]:
    """Return the tasks that this process is to tend now, and mark them; none where another process does.

    Where results are to be saved, those of the newest tasks, or, if there may be `more`, of all.
    """
    due: list[TaskRecord] = []
    whose = " of all" if engine.tends_all else f" of {engine.record.user}" if engine.record.user else ""
    try:
        for gateway, records in (await _readable(engine, eager=eager)).items():
            if records and await engine.record.hold(
                f"read {gateway} {engine.record.accounts.get(gateway)}{whose}", LEASE_S
            ):
                due += records
        if saves and engine.settings.output_dir is not None:
            unsaved = await _unsaved(engine, more=more)
            if unsaved and await engine.record.hold(f"save{whose}", LEASE_S + SAVES_S):
                due += unsaved
    except KieError as exc:
        engine.outage.begin(exc)
    except Exception:  # the calls beside it must not end with it
        log.exception("looking after running tasks failed inside")
    else:
        engine.outage.end()
    engine.resting.update((record.row_id, float("inf")) for record in due)
    return due


async def _readable(engine: Engine, *, eager: bool) -> dict[str, list[TaskRecord]]:
    """Return by gateway the running tasks that may be done and have not changed for a pause, or all if `eager`."""
    tasks, now = engine.record.tasks, datetime.now(UTC)
    for row in [row for row, until in engine.resting.items() if until <= time.time()]:
        del engine.resting[row]
    before = now - timedelta(seconds=0 if eager else LEAST_S)
    by_gateway: dict[str, list[TaskRecord]] = {}
    user = None if engine.tends_all else engine.record.user
    for record in await tasks.running(now - KEPT_LONGER, before, engine.resting, user=user):
        caller = (await engine.of_owner(record)).callers.get(record.gateway)
        if caller is None or caller.quiet_s or (caller.needs_key and not caller.gateway.key):
            continue
        usual, otherwise_s = await usual_of(engine, record), USUAL_S.get(record.kind, LEAST_S)
        is_early = early_s(record.created_at.timestamp(), usual, otherwise_s) > 0
        if eager or not (is_early or now < record.updated_at + _pause(record.updated_at - record.created_at)):
            by_gateway.setdefault(record.gateway, []).append(record)
    return by_gateway


async def _unsaved(engine: Engine, *, more: bool) -> list[TaskRecord]:
    """Return completed tasks of which a result is not saved, those first that expire first."""
    tasks, late = engine.record.tasks, datetime.now(UTC) - KEPT_LONGER
    if more:
        user = None if engine.tends_all else engine.record.user
        return list(await tasks.unsaved(SAVES_AT_ONCE, late, engine.resting, user))
    records = await tasks.newest(Filters(status="completed", limit=SAVES_LOOKED_AT))
    ours = (record for record in records if engine.tends_all or record.user == engine.record.user)
    kept = (record for record in ours if record.unsaved and (record.expires_at or late) >= late)
    unsaved = [record for record in kept if record.row_id not in engine.resting]
    return sorted(unsaved, key=lambda record: (record.expired, record.expires_at or record.updated_at))[:SAVES_AT_ONCE]


async def _tend(engine: Engine, record: TaskRecord, turn: anyio.CapacityLimiter) -> None:
    """Read a running task, or save the results of a completed one, unless a caller of this process does so itself.

    One that another process has read within its pause is left to that.
    """
    task_id, age = record.written_id, datetime.now(UTC) - (record.finished_at or record.created_at)
    since = time.time() - _pause(age).total_seconds() / 2  # its own last read was earlier, however the pauses vary
    async with turn:
        try:
            if task_id not in engine.waiters:
                if record.final:
                    report = await with_files(engine, record)
                else:
                    report, _ = await poll(engine, task_id, since, record.row_id)
                if report.is_final and report.notes and engine.settings.output_dir is not None and not report.is_saved:
                    log.warning("task %s is not saved whole: %s", task_id, " ".join(report.notes))
        except Exception:
            log.exception("looking after task %s failed inside", task_id)
        finally:
            engine.resting[record.row_id] = time.time() + _pause(age).total_seconds()


def _pause(age: timedelta) -> timedelta:
    """Return the pause until a task of this age is worth another look: the older it is, the longer."""
    return timedelta(seconds=_about(min(max(age.total_seconds() * SHARE, LEAST_S), MOST_S)))


def _about(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311  so that processes started together do not look at once
