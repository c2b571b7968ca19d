"""How much may be sent: slots of the rate limit, oldest request first, and what the user lets be spent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee

from kie_ai_mcp._record.database import in_worker
from kie_ai_mcp._record.rows import SubmissionRow, TaskRow
from kie_ai_mcp._record.tasks import Tasks
from kie_ai_mcp.errors import LimitReached

STALE_TICKET_S = 5.0
"""A waiting request whose process has not asked for a slot for so long no longer holds its place."""


@dataclass(frozen=True)
class RateLimit:
    """At most `creates` paid requests in any `window_s` seconds."""

    creates: int
    window_s: float


@dataclass(frozen=True)
class Budget:
    """What the user lets be spent; None is no limit."""

    credits_per_day: float | None = None
    submissions_per_hour: int | None = None


@dataclass
class Limits(Tasks):
    """The file, as far as it says how much was sent; every process on it shares the limits.

    Args:
        path: As for `Database`.
        limit: The account's rate limit.
        budget: The user's own limits.
        limits: Rate limits of single gateways, by name, where they have their own.
    """

    limit: RateLimit
    budget: Budget = Budget()
    limits: Mapping[str, RateLimit] = field(default_factory=dict)

    @in_worker
    def spent_today(self) -> float:
        """Return the credits of the last 24 hours: what the service said, else what was estimated."""
        return self._spent_since(timedelta(days=1))

    def _check_budget(self, estimate: float) -> None:
        """Refuse what would pass the user's limits; an unknown price counts as nothing until the service names it."""
        per_hour, per_day = self.budget.submissions_per_hour, self.budget.credits_per_day
        if per_hour is not None:
            made = self._made_since(timedelta(hours=1)).count(self._db)
            if made >= per_hour:
                raise LimitReached(
                    f"{made} paid requests were made in the last hour; the limit is {per_hour}. Nothing was sent.",
                    next_step="Wait, or raise KIE_AI_MAX_SUBMISSIONS_PER_HOUR.",
                )
        if per_day is not None:
            spent = self._spent_since(timedelta(days=1))
            if spent + estimate > per_day or spent >= per_day:
                raise LimitReached(
                    f"{spent:g} credits were spent in the last 24 hours and this request costs about {estimate:g}; "
                    f"the limit is {per_day:g}. Nothing was sent.",
                    next_step="Wait, or raise KIE_AI_MAX_CREDITS_PER_DAY.",
                )

    def _made_since(self, span: timedelta) -> Any:
        rows = SubmissionRow
        made = rows.state.in_(("sending", "unknown", "accepted"))
        return rows.select().where(rows.created_at > datetime.now(UTC) - span, made)

    def _spent_since(self, span: timedelta) -> float:
        # Never below nothing: a service's word must not raise the limit that its user set.
        cost = peewee.fn.MAX(0, peewee.fn.COALESCE(TaskRow.credits, SubmissionRow.estimated_credits, 0))
        query = self._made_since(span).select(peewee.fn.SUM(cost))
        joined = query.join(TaskRow, peewee.JOIN.LEFT_OUTER, on=TaskRow.task_id == SubmissionRow.task_id)
        return float(joined.scalar(self._db) or 0.0)

    def _wait_for_slot(self, before: Iterable[Mapping[str, Any]], gateway: str, now: float) -> tuple[float, int] | None:
        """Return None where a slot is free, else seconds until asking is worth it and how many wait before."""
        rows = SubmissionRow
        limit = self.limits.get(gateway, self.limit)
        # The service counts a request somewhere between our sending and its answer. A slot is therefore held
        # from the grant until one window after the answer; then no window of theirs can see more than the limit.
        # Two queries: with an "or" SQLite would read every request that was ever granted.
        granted = rows.select(rows.answered_at).where(rows.gateway == gateway, rows.granted_at.is_null(False))
        # An answer of the future is one from before the clock was set back; it must not hold a slot until then.
        within = rows.answered_at.between(now - limit.window_s, now + limit.window_s)
        recent = granted.where(within).order_by(rows.answered_at)
        held = [
            row[0]
            for query in (granted.where(rows.answered_at.is_null()), recent)
            for row in query.tuples().execute(self._db)
        ]
        ahead = sum(
            row["gateway"] == gateway
            and row["state"] == "sending"
            and row["granted_at"] is None
            and row["asked_at"] > now - STALE_TICKET_S
            for row in before
        )
        free = limit.creates - len(held)
        if ahead < free:
            return None
        ends = [answered + limit.window_s - now for answered in held if answered is not None]
        due = ends[ahead - free] if 0 <= ahead - free < len(ends) else 1.0
        return min(max(due, 0.02), 1.0), ahead
