"""Rate limit and budget: slots that all processes on a database share, and the credits that the user allows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.scope import Scope, Units
from kie_ai_mcp._record.tables import FINAL, LOCAL, MAY_COST, SubmissionRow, TaskRow
from kie_ai_mcp._settings.amounts import exact, plain
from kie_ai_mcp._settings.settings import APP
from kie_ai_mcp._settings.sources import way_to_set
from kie_ai_mcp.errors import LimitReached
from kie_ai_mcp.specs import KIE

ASK = "ask an administrator of this server to raise it"
USUAL_ASSUMED = 50.0  # credits that are proposed for a request of unknown price
STALE_TICKET_S = 5.0  # A waiting request whose process has not asked for a slot for so long no longer holds its place


@dataclass(frozen=True)
class RateLimit:
    """At most `creates` paid requests in any `window_s` seconds."""

    creates: int
    window_s: float


@dataclass(frozen=True)
class Budget:
    """Limits that the user sets; None is no limit. Limits of credits count Kie.ai's alone.

    Of a request whose price its provider does not know, `assumed_credits` are booked. Above `confirm_credits` a person
    is asked, and at every price in another unit, which nobody can compare with it. Where it is a `user`'s, it counts
    that one's requests, and `beside` it the server's holds, which counts everybody's.
    """

    credits_per_day: float | None = None
    submissions_per_hour: int | None = None
    credits_per_request: float | None = None
    assumed_credits: float | None = None
    confirm_credits: float | None = None
    user: str | None = None
    sees_all: bool = False  # whether that user may know what others spend
    beside: "Budget | None" = None
    units: Units = field(default_factory=Units)  # of prices, by gateway
    is_local: bool = False  # whether Kie.ai's address is one of this machine, as the sandbox's is

    def of_user(
        self,
        user: str,
        credits_per_day: float | None,
        submissions_per_hour: int | None,
        credits_per_request: float | None,
        *,
        sees_all: bool,
    ) -> "Budget":
        """Return the budget of a user with these limits, beside this one."""
        limits = credits_per_day, submissions_per_hour, credits_per_request
        ours = self.assumed_credits, self.confirm_credits
        return Budget(*limits, *ours, user, sees_all, self, self.units, self.is_local)

    @property
    def limits_credits(self) -> bool:
        """Whether the credits of a request, of a day, or without a person's yes are limited."""
        limits = self.credits_per_day, self.credits_per_request, self.confirm_credits
        return any(limit is not None for limit in limits) or (self.beside is not None and self.beside.limits_credits)

    def asks(self, price: float | None, gateway: str) -> bool:
        """Return whether a request of this price, None if it is unknown, is sent only with a person's yes."""
        most = self.confirm_credits
        return most is not None and (price is None or price > (most if gateway == KIE else 0))

    def credits_to_book(
        self, tool: str, gateway: str, estimate: float | None, most: float | None = None, *, at_most: bool = False
    ) -> float | None:
        """Return the credits to book for one request; None where its price is in another unit, or unknown.

        Raise `LimitReached` where the price is unknown although credits are limited, or above the limit of one request
        or the `most` that its caller allows. Prices of other services are in units of their own: `most` alone counts.
        `at_most` is an estimate that may be more than the charge.
        """
        if self.beside is not None:
            try:
                self.beside.credits_to_book(tool, gateway, estimate, at_most=at_most)
            except LimitReached as exc:
                step = f"Make a cheaper request, or {ASK}."
                unpriced = exc.is_unpriced
                raise LimitReached(exc.message, next_step=step, figures=exc.figures, is_unpriced=unpriced) from exc
        ours = gateway == KIE
        price = self.assumed_credits if estimate is None and ours else estimate
        limits = {"max_credits": most}
        if ours:
            limits[self._name_of("MAX_CREDITS_PER_DAY")] = self.credits_per_day
            limits[self._name_of("MAX_CREDITS_PER_REQUEST")] = self.credits_per_request
        limited = [name for name, limit in limits.items() if limit is not None]
        if price is None and limited:
            usual = min(USUAL_ASSUMED, *(limit for limit in limits.values() if limit is not None))
            many = plain(usual)
            assume = f"Let the user set KIE_AI_ASSUMED_CREDITS, for example to {many}: so many credits are booked "
            assume += "for a request of unknown price until the service names the charge. "
            assume += f"`{APP} config set assumed_credits {many}` does so. Or make a request whose price is known."
            others = "Leave out max_credits, or make a request whose price is known."
            raise LimitReached(
                f"The price of this {tool} is unknown, and {limited[0]} limits the credits. Nothing was sent.",
                next_step=assume if ours and self.user is None and usual else others,
                is_unpriced=True,
            )
        for name, what in (
            ("max_credits", "max_credits"),
            (self._name_of("MAX_CREDITS_PER_REQUEST"), "the limit of one request"),
        ):
            limit = limits.get(name)
            if price is not None and limit is not None and price > limit:
                costs = f"costs {_about(at_most)}" if estimate is not None else "is assumed to cost"
                cost = f"This {tool} {costs} {plain(price)} {self.units[gateway]}"
                raise LimitReached(
                    f"{cost}; {what} is {plain(limit)}. Nothing was sent.",
                    next_step=f"Make a cheaper request, or {self._cure(name)}.",
                    figures={"limit": _short(name), "asked": price, "allowed": limit},
                )
        return price if ours else None

    def book(self, database: Database, tool: str, gateway: str, *prices: float | None, at_most: bool) -> float | None:
        """Return the credits to book as `credits_to_book` does; raise `LimitReached` as `check` does, too."""
        booked = self.credits_to_book(tool, gateway, *prices, at_most=at_most)
        self.check(database, booked, at_most=at_most)
        return booked

    def check(self, database: Database, price: float | None, *, at_most: bool = False) -> None:
        """Raise `LimitReached` for a request for which `price` is to be booked, where it would pass a limit."""
        if self.beside is not None:
            try:
                self.beside.check(database, price, at_most=at_most)
            except LimitReached as exc:
                if self.sees_all:
                    raise
                # Its figures are what others spend, too.
                message = "This request does not fit into what this server may still spend. Nothing was sent."
                raise LimitReached(message, next_step=f"Wait, or {ASK}.", figures=exc.figures) from None
        per_hour, per_day = self.submissions_per_hour, self.credits_per_day
        if per_hour is not None:
            count, name = self.sent_in_hour(database), self._name_of("MAX_SUBMISSIONS_PER_HOUR")
            if count >= per_hour:
                raise LimitReached(
                    f"{count} paid requests were made in the last hour; the limit is {per_hour}. Nothing was sent.",
                    next_step=self._way_out("Wait" if per_hour else "", "MAX_SUBMISSIONS_PER_HOUR"),
                    figures={"limit": _short(name), "used": count, "allowed": per_hour},
                )
        if per_day is not None and price is not None:
            spent, name = self.spent_today(database), self._name_of("MAX_CREDITS_PER_DAY")
            if exact(spent + price) > per_day or spent >= per_day:
                reason = f" and this request costs {_about(at_most)} {plain(price)}" if price else ""
                first = "Make a cheaper request" if price > per_day > 0 else "Wait" if per_day else ""
                raise LimitReached(
                    f"{plain(spent)} credits were spent in the last 24 hours{reason}; the limit is {plain(per_day)}. "
                    "Nothing was sent.",
                    next_step=self._way_out(first, "MAX_CREDITS_PER_DAY"),
                    figures={"limit": _short(name), "used": spent, "asked": price, "allowed": per_day},
                )

    def room(self, database: Database) -> float | None:
        """Return the credits that a request may still cost today, by every limit; None where there is none."""
        left = None if self.credits_per_day is None else max(0.0, self.credits_per_day - self.spent_today(database))
        lefts = left, self.credits_per_request, None if self.beside is None else self.beside.room(database)
        return min((exact(each) for each in lefts if each is not None), default=None)

    def spent_today(self, database: Database) -> float:
        """Return the credits of the last 24 hours, as `spent_by_user`, of all whose requests count."""
        (row,) = database.rows(self._spent())
        return exact(float(row["credits"] or 0.0))

    def sent_in_hour(self, database: Database) -> int:
        """Return the number of paid requests of the last hour."""
        return int(self._sent_since(timedelta(hours=1)).count(database.connection))

    def spent_by_user(self, database: Database) -> dict[str, float]:
        """Return the credits of the last 24 hours by user, as `cost_and_charge` counts them."""
        user = SubmissionRow.user
        rows = database.rows(self._spent(user).group_by(user).order_by(user))
        return {row["user"]: exact(float(row["credits"] or 0.0)) for row in rows}

    def _spent(self, *keys: Any) -> Any:
        """Return the query of the credits of the last 24 hours, beside columns by which they may be grouped."""
        # A task that another request made says nothing of the charge for this one.
        own = (TaskRow.task_id == SubmissionRow.task_id) & (TaskRow.submission_id == SubmissionRow.id)
        own &= TaskRow.created_at > datetime.now(UTC) - timedelta(days=2)  # so that few rows are looked through
        rows = self._sent_since(timedelta(days=1)).where(SubmissionRow.gateway == KIE)
        spent = rows.select(*keys, peewee.fn.SUM(self.cost_and_charge()[0]).alias("credits"))
        return spent.join(TaskRow, peewee.JOIN.LEFT_OUTER, on=own)

    def cost_and_charge(self) -> tuple[Any, Any]:
        """Return the expressions of a request's Kie.ai credits, and of those that the service has named.

        What the service charged for the task counts, else what was booked for the request. The charge of a running task
        may still grow, so of the two the larger counts until the task has ended.
        """
        charge, ours = TaskRow.credits, SubmissionRow.gateway == KIE
        booked = peewee.fn.COALESCE(SubmissionRow.booked_credits, self.assumed_credits, 0)
        # An answer named the task, which has an address then; an adopted one may have been made by another request.
        named = SubmissionRow.path.is_null(False)
        ended = named & TaskRow.status.in_(FINAL) & charge.is_null(False)
        is_charged = ours & (ended | (charge > booked))
        cost = peewee.Case(None, [(is_charged, charge), (ours, booked)], None)
        return cost, peewee.Case(None, [(is_charged, charge)], None)

    def _sent_since(self, span: timedelta) -> Any:
        """Return the query of the requests that may have been charged; to discard one gives no money back.

        The sandbox's count there alone. Other addresses are not told apart: several may lead to one account.
        """
        rows = SubmissionRow
        local = rows.account.endswith(LOCAL)
        ours = local | (rows.account == "") if self.is_local else ~local
        sent = rows.select().where(rows.created_at > datetime.now(UTC) - span, rows.state.in_((*MAY_COST, "discarded")))
        sent = sent.where((rows.gateway != KIE) | ours)
        return sent if self.user is None else sent.where(rows.user == self.user)

    def _name_of(self, limit: str) -> str:
        return f"KIE_AI_{limit}" if self.user is None else f"{self.user}'s {limit.lower().replace('_', ' ')}"

    def _way_out(self, first: str, limit: str) -> str:
        """Return what to do at a limit: what helps without raising it, if anything does, and how it is raised."""
        raised = self._cure(self._name_of(limit))
        return f"{first}, or {raised}." if first else f"{raised[0].upper()}{raised[1:]}."

    def _cure(self, limit: str) -> str:
        if limit == "max_credits":
            return f"raise {limit}"
        setting = limit.removeprefix("KIE_AI_").lower()
        return f"raise {limit}: {way_to_set(setting, 'N', shown='it')}, then restart" if self.user is None else ASK


def _about(at_most: bool) -> str:
    return "at most" if at_most else "about"


def _short(limit: str) -> str:
    """Return the name of a limit without the user whose it is, for the log."""
    return limit.rpartition("'s ")[2].replace(" ", "_")


def wait_for_slot(
    scope: Scope, limit: RateLimit, before: Iterable[Mapping[str, Any]], gateway: str, now: float
) -> tuple[float, int]:
    """Return the seconds until asking is worth it, and how many of `before` wait; both are 0 where a slot is free.

    The slots are those of this process's account at the gateway; a request of an unknown account counts for each.
    """
    database, rows, accounts = scope.database, SubmissionRow, scope.accounts_at(gateway)
    # The service counts a request somewhere between our sending and its answer. A slot is therefore held
    # from the grant until one window after the answer; then no window of theirs can see more than the limit.
    # Two queries: with an "or" SQLite would read every request that was ever granted.
    ours = (rows.gateway == gateway) & rows.account.in_(accounts)
    granted = rows.select(rows.answered_at).where(ours, rows.granted_at.is_null(False))
    under_way = granted.where(rows.answered_at.is_null(), rows.state == "sending").count(database.connection)
    # An answer of the future is one from before the clock was set back; it must not hold a slot until then.
    within = rows.answered_at.between(now - limit.window_s, now + limit.window_s)
    answered = granted.where(within)
    waiting = [row for row in before if row["state"] == "sending" and row["granted_at"] is None]
    waiting = [row for row in waiting if row["gateway"] == gateway and row["account"] in accounts]
    ahead = sum(row["asked_at"] > now - STALE_TICKET_S for row in waiting)
    place = ahead - (limit.creates - under_way - answered.count(database.connection))
    if place < 0:
        return 0.0, 0
    leaves = database.first(answered.order_by(rows.answered_at).offset(place))
    due = leaves["answered_at"] + limit.window_s - now if leaves else 1.0
    return min(max(due, 0.02), 1.0), ahead
