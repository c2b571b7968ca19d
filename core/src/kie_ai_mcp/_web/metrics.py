"""Figures of the HTTP server's process in the text format of Prometheus; none names a prompt, a task or a key."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from itertools import accumulate
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.results import KEPT_LONGER
from kie_ai_mcp._record.lane import BUCKETS_S
from kie_ai_mcp.errors import StorageError

LOOK_S = 2.0  # how long the record may take; its figures are then left out
Load = tuple[int, datetime | None, int]  # running tasks, when the oldest was made, requests of unknown outcome


@dataclass(eq=False)  # the library keeps it by its identity
class Metrics:
    """The figures of a server and all its users, in a registry of their own, which is made when the first asks."""

    engine: Engine
    _load: Load | None = None  # as the record has it, whoever made the tasks
    _look: "asyncio.Future[Load] | None" = None

    @cached_property
    def _library(self) -> Any:
        return import_module("prometheus_client")  # few servers are asked, and it takes its time at each start

    @cached_property
    def _registry(self) -> Any:
        registry = self._library.CollectorRegistry()
        for collector in (self._library.ProcessCollector, self._library.PlatformCollector, self._library.GCCollector):
            collector(registry=registry)
        registry.register(self)
        return registry

    async def answer(self, _: Request) -> Response:
        """Answer with every figure."""
        self._load = await self._found()
        text = self._library.generate_latest(self._registry)
        return Response(text, media_type=self._library.CONTENT_TYPE_LATEST)

    async def _found(self) -> Load | None:
        """Return what the record says; None where it does not in time. All that ask meanwhile share one look."""
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._read())
        await asyncio.wait([self._look], timeout=LOOK_S)
        if not self._look.done() or isinstance(self._look.exception(), StorageError):
            return None
        return self._look.result()

    async def _read(self) -> Load:
        record = self.engine.record
        unsettled = await record.submissions.unsettled()  # which settles those that a dead process left
        count, oldest = await record.tasks.load(datetime.now(UTC) - KEPT_LONGER)
        return count, oldest, sum(each.state == "unknown" for each in unsettled)

    def collect(self) -> Iterator[Any]:
        """Yield each figure; called by the library."""
        core, engine = self._library.metrics_core, self.engine

        def counted(name: str, words: str, labels: tuple[str, ...], counts: Mapping[Any, float]) -> Any:
            family = core.CounterMetricFamily(name, words, labels=labels)
            for key, number in sorted(counts.items()):
                family.add_metric(key if isinstance(key, tuple) else (key,), number)
            return family

        yield counted("kie_ai_tool_calls", "Calls of tools, by what became of them.", ("tool", "outcome"), engine.calls)
        words = "Paid requests, by how they ended."
        # Else the first one would be no increase.
        zeros = dict.fromkeys(("accepted", "cancelled", "refused", "unknown"), 0.0)
        yield counted("kie_ai_paid_requests", words, ("outcome",), zeros | engine.record.made)
        words = "Kie.ai credits that were booked for requests that were accepted or may have been."
        yield counted("kie_ai_credits", words, ("outcome",), {"accepted": 0.0, "unknown": 0.0} | engine.record.spent)
        slots = sum(map(len, engine.turns.values()))
        yield core.GaugeMetricFamily("kie_ai_requests_waiting", "Paid requests that wait for a slot.", slots)
        waits = sum(map(len, engine.waiters.values()))
        yield core.GaugeMetricFamily(
            "kie_ai_tasks_awaited", "Tasks that calls wait for, each as often as it is.", waits
        )
        yield from self._running(core)
        yield self._turns(core)

    def _running(self, core: Any) -> Iterator[Any]:
        if self._load is None:
            return
        count, oldest, unknown = self._load
        words = "Paid requests on record of which it is not known whether they were made, of all processes and users."
        yield core.GaugeMetricFamily("kie_ai_requests_unknown", words, unknown)
        words = "Tasks on record that are running, of all processes and users."
        yield core.GaugeMetricFamily("kie_ai_tasks_running", words, count)
        age_s = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
        words = "Age of the oldest of them; 0 where there is none."
        yield core.GaugeMetricFamily("kie_ai_oldest_running_task_age_seconds", words, max(0.0, age_s))

    def _turns(self, core: Any) -> Any:
        took = self.engine.record.database.lane.took
        buckets = [*zip([*map(str, BUCKETS_S), "+Inf"], accumulate(took.counts), strict=True)]
        family = core.HistogramMetricFamily(
            "kie_ai_database_seconds", "How long the database takes for one turn of work."
        )
        family.add_metric((), buckets, took.total_s)
        return family
