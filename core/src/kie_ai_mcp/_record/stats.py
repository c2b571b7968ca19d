"""Figures of the record: tasks by status, credits and durations, in groups, added up by the database itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import peewee

from kie_ai_mcp._record.scope import Scope
from kie_ai_mcp._record.slots import Budget
from kie_ai_mcp._record.tables import MAY_COST, SubmissionRow, TaskRow
from kie_ai_mcp._record.tasks import holding

GROUPS = "day", "model", "tool", "provider", "kind", "user", "subfolder"


@dataclass
class Figures:
    """Figures of one group: `names` are its values, in the order of what it is grouped by.

    `credits` are Kie.ai's: for each request what the service charged, else what was booked, as the day's limit counts
    them; `charged` is the part that the service has named.
    """

    names: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)  # by status; a request that made no task has its own state
    credits: float = 0.0
    charged: float = 0.0
    median_s: float | None = None  # of the tasks that are completed


@dataclass
class Stats:
    """Figures of all tasks that are seen, and of the requests that may have cost something and name none."""

    scope: Scope
    budget: Budget

    def by(self, groups: Sequence[str], since: datetime | None = None, words: str = "") -> list[Figures]:
        """Return the figures of each group, in the order of their names; of all together without `groups`.

        It reads every row, so nobody else may wait for this use of the database.
        """
        names = [f"k{number}" for number in range(len(groups))]
        listed = ", ".join(names) or "1"
        parts = [self._selected(rows, groups, since, words) for rows in (SubmissionRow, TaskRow)]
        source, values = " UNION ALL ".join(sql for sql, _ in parts), [value for _, more in parts for value in more]
        sums = (
            f"SELECT {listed}, status, COUNT(*), SUM(cost), SUM(charge) FROM ({source}) AS u "  # noqa: S608  our own names
            f"GROUP BY {listed}, status ORDER BY {listed}, status"
        )
        middle = (  # the one of an odd number, the two of an even one
            f"SELECT {listed}, AVG(seconds) FROM (SELECT {', '.join([*names, 'seconds'])}, "  # noqa: S608
            f"ROW_NUMBER() OVER (PARTITION BY {listed} ORDER BY seconds) AS place, "
            f"COUNT(*) OVER (PARTITION BY {listed}) AS number FROM ({source}) AS u WHERE seconds IS NOT NULL) AS w "
            f"WHERE place * 2 BETWEEN number AND number + 2 GROUP BY {listed}"
        )
        found: dict[tuple[str, ...], Figures] = {}
        count = len(groups) or 1
        for row in self.scope.database.connection.execute_sql(sums, values).fetchall():
            key, (status, number, cost, charge) = row[: len(groups)], row[count:]
            figures = found.setdefault(key, Figures(key))
            figures.counts[status] = number
            figures.credits += cost or 0.0
            figures.charged += charge or 0.0
        for row in self.scope.database.connection.execute_sql(middle, values).fetchall():
            found[row[: len(groups)]].median_s = float(row[count])
        return list(found.values())

    def _selected(
        self, rows: Any, groups: Sequence[str], since: datetime | None, words: str
    ) -> tuple[str, Sequence[Any]]:
        """Return the query of the requests, each with its own task, or of the tasks that are no request's own."""
        tasks, requests, none = TaskRow, SubmissionRow, peewee.SQL("NULL")
        own = (tasks.task_id == requests.task_id) & (tasks.submission_id == requests.id)
        is_request, made = rows is SubmissionRow, rows.created_at
        columns = {name: getattr(rows, name) for name in ("model", "tool", "provider", "kind", "user")}
        columns |= {"day": peewee.fn.SUBSTR(made, 1, 10), "subfolder": requests.subfolder}
        keys = [peewee.fn.COALESCE(columns[name], "").alias(f"k{place}") for place, name in enumerate(groups)]
        ends = peewee.Case(None, [(tasks.finished_at > tasks.updated_at, tasks.updated_at)], tasks.finished_at)
        took = self.scope.database.seconds_of(ends) - self.scope.database.seconds_of(tasks.created_at)
        cost, charge = none, none
        if is_request:
            cost, charge = self.budget.cost_and_charge()
        query = rows.select(
            *keys,
            (peewee.fn.COALESCE(tasks.status, requests.state) if is_request else tasks.status).alias("status"),
            cost.alias("cost"),
            charge.alias("charge"),
            peewee.Case(None, [((tasks.status == "completed") & (took >= 0), took)], None).alias("seconds"),
        )
        if is_request:
            query = query.join(tasks, peewee.JOIN.LEFT_OUTER, on=own)
            query = query.where(requests.state.in_((*MAY_COST, "discarded")))
        else:
            query = query.join(requests, peewee.JOIN.LEFT_OUTER, on=requests.id == tasks.submission_id)
            query = query.where(requests.id.is_null() | (requests.task_id != tasks.task_id))
        query = query.where(self.scope.seen(rows))
        if since is not None:
            query = query.where(made >= since)
        for condition in holding(self.scope.database, words, rows):
            query = query.where(condition)
        sql, values = self.scope.database.connection.get_sql_context().sql(query).query()
        return str(sql), values
