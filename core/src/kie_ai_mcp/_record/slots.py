"""Rate limit and budget: slots that all processes on a database share, and the credits that the user allows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.tables import MAY_COST, SubmissionRow, TaskRow
from kie_ai_mcp.errors import LimitReached

STALE_TICKET_S = 5.0  # A waiting request whose process has not asked for a slot for so long no longer holds its place


@dataclass(frozen=True)
class RateLimit:
    """At most `creates` paid requests in any `window_s` seconds."""

    creates: int
    window_s: float


@dataclass(frozen=True)
class Budget:
    """Limits that the user sets; None is no limit."""

    credits_per_day: float | None = None
    submissions_per_hour: int | None = None


def check_budget(database: Database, budget: Budget, estimate: float) -> None:
    """Raise `LimitReached` for a request, with 0 as the estimate of an unknown price, that would pass a limit."""
    per_hour, per_day = budget.submissions_per_hour, budget.credits_per_day
    if per_hour is not None:
        count = _sent_since(timedelta(hours=1)).count(database.connection)
        if count >= per_hour:
            raise LimitReached(
                f"{count} paid requests were made in the last hour; the limit is {per_hour}. Nothing was sent.",
                next_step="Wait, or raise KIE_AI_MAX_SUBMISSIONS_PER_HOUR.",
            )
    if per_day is not None:
        spent = spent_today(database)
        if spent + estimate > per_day or spent >= per_day:
            raise LimitReached(
                f"{spent:g} credits were spent in the last 24 hours and this request costs about {estimate:g}; "
                f"the limit is {per_day:g}. Nothing was sent.",
                next_step="Wait, or raise KIE_AI_MAX_CREDITS_PER_DAY.",
            )


def spent_today(database: Database) -> float:
    """Return the credits of the last 24 hours: what the service charged, else what was estimated."""
    # Never below 0: what a service reports must not raise the limit that its user set.
    cost = peewee.fn.MAX(0, peewee.fn.COALESCE(TaskRow.credits, SubmissionRow.estimated_credits, 0))
    query = _sent_since(timedelta(days=1)).select(peewee.fn.SUM(cost))
    joined = query.join(TaskRow, peewee.JOIN.LEFT_OUTER, on=TaskRow.task_id == SubmissionRow.task_id)
    return float(joined.scalar(database.connection) or 0.0)


def _sent_since(span: timedelta) -> Any:
    rows = SubmissionRow
    return rows.select().where(rows.created_at > datetime.now(UTC) - span, rows.state.in_(MAY_COST))


def wait_for_slot(
    database: Database, limit: RateLimit, before: Iterable[Mapping[str, Any]], gateway: str, now: float
) -> tuple[float, int]:
    """Return the seconds until asking is worth it, and how many of `before` wait; both are 0 where a slot is free."""
    rows = SubmissionRow
    # The service counts a request somewhere between our sending and its answer. A slot is therefore held
    # from the grant until one window after the answer; then no window of theirs can see more than the limit.
    # Two queries: with an "or" SQLite would read every request that was ever granted.
    granted = rows.select(rows.answered_at).where(rows.gateway == gateway, rows.granted_at.is_null(False))
    under_way = granted.where(rows.answered_at.is_null()).count(database.connection)
    # An answer of the future is one from before the clock was set back; it must not hold a slot until then.
    within = rows.answered_at.between(now - limit.window_s, now + limit.window_s)
    answered = [row["answered_at"] for row in database.rows(granted.where(within).order_by(rows.answered_at))]
    waiting = [row for row in before if row["state"] == "sending" and row["granted_at"] is None]
    ahead = sum(row["gateway"] == gateway and row["asked_at"] > now - STALE_TICKET_S for row in waiting)
    place = ahead - (limit.creates - under_way - len(answered))
    if place < 0:
        return 0.0, 0
    due = answered[place] + limit.window_s - now if place < len(answered) else 1.0
    return min(max(due, 0.02), 1.0), ahead
