"""What ``doctor`` asks the service: its clock, the account's credits, and whether every status route answers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import anyio

from kie_ai_mcp._flow.status import Reading
from kie_ai_mcp._providers.asking import route_of
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import Store
from kie_ai_mcp._service.caller import NOT_SERVED, Caller, kie
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import KieError, ReadFailed
from kie_ai_mcp.specs import StatusRoute, Task

PROBE = "kie-ai-mcp-server-doctor"
"""A task id that no service knows."""

READS_AT_ONCE = 8
PATIENT_MS = 15_000
CLOCK_OFF_S = 60
"""A difference to the service's clock that makes expiry times and signed callbacks wrong."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; whatever is not ok has a cure."""

    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    cure: str = ""


async def examine_service(settings: Settings, plugins: Plugins, *, has_key: bool) -> AsyncIterator[Finding]:
    """Yield what the service says; with `has_key`, also of the account. Costs nothing."""
    settings = settings.model_copy(update={"timeout": min(settings.timeout, PATIENT_MS)})
    caller = Caller(settings, kie(settings))
    store = Store(settings.database, RateLimit(settings.rate_limit, settings.rate_window_s))
    try:
        try:
            told = await caller.clock()
        except ReadFailed as exc:
            yield Finding("service", "fail", exc.message, "Check the network, a proxy, and KIE_AI_BASE_URL.")
            return
        yield _clock(told)
        if has_key:
            yield await _credits(Reading(settings, plugins, {caller.gateway.name: caller}, store))
            yield await _routes(plugins, caller)
    finally:
        await caller.close()


def _clock(told: datetime | None) -> Finding:
    if told is None:
        return Finding("clock", "ok", "The service does not tell the time, so it could not be compared.")
    off = (datetime.now(UTC) - told).total_seconds()
    if abs(off) < CLOCK_OFF_S:
        return Finding("clock", "ok", f"Within {CLOCK_OFF_S} s of the service's.")
    way = "ahead of" if off > 0 else "behind"
    cure = "Set this machine's clock, best by its time service: expiry times and signed callbacks depend on it."
    return Finding("clock", "warn", f"{abs(off):.0f} s {way} the service's.", cure)


async def _credits(reading: Reading) -> Finding:
    try:
        credits = await reading.credits()
    except KieError as exc:
        return Finding("credits", "fail", exc.message, exc.next_step)
    if credits <= 0:
        return Finding(
            "credits", "warn", f"The key is accepted; {credits:g} left.", "Top up at https://kie.ai/billing."
        )
    return Finding("credits", "ok", f"The key is accepted; {credits:g} left.")


async def _routes(plugins: Plugins, caller: Caller) -> Finding:
    """Ask every distinct status route for a task that does not exist."""
    routes: dict[tuple[str, ...], StatusRoute] = {}
    users: dict[tuple[str, ...], set[str]] = {}
    for task in (Task(PROBE, "market", ""), *plugins.probes(PROBE)):
        try:
            route = route_of(plugins, task)
        except ReadFailed:
            continue
        routes[route.paths] = route
        users.setdefault(route.paths, set()).update({task.provider} - {""})
    turn, silent = anyio.CapacityLimiter(READS_AT_ONCE), {}

    async def ask(paths: tuple[str, ...]) -> None:
        async with turn:
            try:
                await caller.read(paths, routes[paths].params)
            except ReadFailed as exc:
                # A family that the service dropped says so itself; its route is allowed to be gone.
                current = any(plugins.provider_of(name).availability == "current" for name in users[paths])
                if current or exc.code not in NOT_SERVED:
                    silent[paths] = exc.message

    async with anyio.create_task_group() as group:
        for paths in routes:
            group.start_soon(ask, paths)
    if not silent:
        return Finding("status routes", "ok", f"All {len(routes)} answer.")
    paths, message = next(iter(silent.items()))
    names = ", ".join(sorted(users[paths])) or "the market"
    cure = f"Try again later; if it stays so, update the providers that use it: {names}."
    return Finding("status routes", "fail", f"{len(silent)} of {len(routes)} do not answer: {message}", cure)
