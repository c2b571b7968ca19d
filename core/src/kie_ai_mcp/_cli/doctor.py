"""Command ``doctor``: checks of everything that can be wrong, each with its cure. It reads only and spends nothing."""

import os
import platform
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import anyio
import click

from kie_ai_mcp._app.own_tools import NAMES
from kie_ai_mcp._app.tools import PATIENCE_S, USUAL_PATIENCE_S
from kie_ai_mcp._cli.console import FAILED, end, json_option, print_json, wants_json
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.status import credits_left
from kie_ai_mcp._providers.asking import route_of
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._service.caller import NOT_SERVED, Caller, kie
from kie_ai_mcp._settings.load import config_file, find_origins, load_settings
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import KEYS_PAGE, LOGS_PAGE, ConfigError, KieError, ReadFailed, StorageError
from kie_ai_mcp.specs import StatusRoute, Task

LEAST_FREE_MB = 500
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}

UNKNOWN_TASK = "kie-ai-mcp-server-doctor"
"""A task id that no service knows."""

READS_AT_ONCE = 8
UNREACHABLE = "Check the network, a proxy, and KIE_AI_BASE_URL."
TIMEOUT_MS = 15_000
CLOCK_OFF_S = 60
"""A difference to the service's clock that makes expiry times and signed callbacks wrong."""


@dataclass(frozen=True)
class Finding:
    """The result of one check; every result that is not ok has a cure."""

    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    cure: str = ""


@click.command()
@click.option("--offline", is_flag=True, help="Ask the service nothing: no key, credits, routes or clock.")
@json_option
def doctor(offline: bool) -> None:
    """Check everything that can be wrong, and say how to put it right.

    Looks at settings, key, credits, status routes, clock, database, folders, providers, versions and the time limits
    of clients. It starts no generation. Exit codes: 0 nothing fails, 1 something does.
    """

    findings: list[Finding] = []
    as_json = wants_json()

    async def work() -> None:
        async for finding in examine(offline=offline):
            findings.append(finding)
            if not as_json:
                _print(finding)

    anyio.run(work)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.state == "fail" for finding in findings):
        end(FAILED)


async def examine(*, offline: bool) -> AsyncIterator[Finding]:
    """Yield the result of each check, foundations first; checks that depend on a failed one are left out."""
    core = version("kie-ai-mcp-core")
    yield Finding("versions", "ok", f"Python {platform.python_version()}, mcp {version('mcp')}, core {core}.")
    try:
        settings = load_settings()
        yield _settings()
        plugins = Plugins(settings, reserved=NAMES)
    except ConfigError as exc:
        yield Finding("settings", "fail", exc.message, exc.next_step)
        return
    for finding in _providers(plugins):
        yield finding
    has_key = settings.key is not None
    yield _key(has_key=has_key)
    if not offline:
        async for finding in examine_service(settings, plugins, has_key=has_key):
            yield finding
    async for finding in _database(settings):
        yield finding
    for finding in _folders(settings):
        yield finding
    yield _clients(settings)


def _print(finding: Finding) -> None:
    state = click.style(f"{finding.state:<5}", fg=COLOURS[finding.state], bold=True)
    click.echo(" ".join(f"{state} {finding.check:<14} {finding.found} {finding.cure}".split("\n")).rstrip())


# -- settings, providers, key -----------------------------------------------------------------------------------------


def _settings() -> Finding:
    path, origins = config_file(), find_origins()
    where = f"{path} is read" if path.is_file() else f"no file at {path}"
    if (
        os.name == "posix"
        and origins.get("api_key") == str(path)
        and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ):
        return Finding("settings", "warn", f"Others may read the key in {path}.", f"Run: chmod 600 {path}")
    return Finding("settings", "ok", f"{len(origins)} set; {where}.")


def _providers(plugins: Plugins) -> Iterator[Finding]:
    providers = plugins.plugins.values()
    enabled = [f"{plugin.name} {plugin.version}" for plugin in providers if plugin.state == "enabled"]
    disabled = [plugin.name for plugin in providers if plugin.state == "disabled"]
    off = f" Disabled: {', '.join(disabled)}." if disabled else ""
    if plugins.tools:
        yield Finding("providers", "ok", f"{len(plugins.tools)} tools of {', '.join(enabled)}.{off}")
    else:
        cure = "Install one, such as kie-ai-mcp-nano-banana, or enable one: kie-ai-mcp-server providers shows why."
        yield Finding("providers", "warn", f"No provider offers a tool.{off}", cure)
    for plugin in providers:
        if plugin.state == "set aside":
            reason = f"It is set aside: {plugin.reason.rstrip('.')}."
            yield Finding(f"provider {plugin.name}", "warn", reason, plugin.cure)


def _key(*, has_key: bool) -> Finding:
    if has_key:
        return Finding("key", "ok", f"Set by {find_origins().get('api_key', 'default')}.")
    cure = f"Get one at {KEYS_PAGE} and set KIE_AI_API_KEY, or api_key in {config_file()}."
    return Finding("key", "fail", "No Kie.ai key is set, so nothing can be made.", cure)


# -- the service ------------------------------------------------------------------------------------------------------


async def examine_service(settings: Settings, plugins: Plugins, *, has_key: bool) -> AsyncIterator[Finding]:
    """Check the service's clock; with `has_key`, also the account's credits and every status route. Costs nothing."""
    settings = settings.model_copy(update={"timeout": min(settings.timeout, TIMEOUT_MS)})
    caller = Caller(settings, kie(settings))
    store = Record(settings.database, RateLimit(settings.rate_limit, settings.rate_window_s))
    try:
        try:
            service_time = await caller.clock()
        except ReadFailed as exc:
            yield Finding("service", "fail", exc.message, exc.next_step or UNREACHABLE)
            return
        yield _clock(service_time)
        if has_key:
            yield await _credits(Engine(settings, plugins, {caller.gateway.name: caller}, store))
            yield await _routes(plugins, caller)
    finally:
        await caller.close()


def _clock(service_time: datetime | None) -> Finding:
    if service_time is None:
        return Finding("clock", "ok", "The service does not tell the time, so it could not be compared.")
    off = (datetime.now(UTC) - service_time).total_seconds()
    if abs(off) < CLOCK_OFF_S:
        return Finding("clock", "ok", f"Within {CLOCK_OFF_S} s of the service's.")
    way = "ahead of" if off > 0 else "behind"
    cure = "Set this machine's clock, best by its time service: expiry times and signed callbacks depend on it."
    return Finding("clock", "warn", f"{abs(off):.0f} s {way} the service's.", cure)


async def _credits(engine: Engine) -> Finding:
    try:
        credits = await credits_left(engine)
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
    for task in (Task(UNKNOWN_TASK, "market", ""), *plugins.probes(UNKNOWN_TASK)):
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


# -- database, folders, clients ---------------------------------------------------------------------------------------


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    path = settings.database
    if not path.exists():
        problem = _unwritable(path.parent)
        if problem:
            yield Finding("database", "fail", problem, "Set KIE_AI_DB_PATH to a place of yours.")
        else:
            yield Finding("database", "ok", f"{path} will be made at the first start.")
        return
    store = Record(path, RateLimit(settings.rate_limit, settings.rate_window_s))
    try:
        store.open()
        damage = await store.damage()
        unsettled = [entry for entry in await store.submissions.unsettled() if entry.state == "unknown"]
        unsaved = [
            record
            for record in await store.tasks.unsaved()
            if (record.expires_at or record.updated_at) > datetime.now(UTC)
        ]
    except StorageError as exc:
        held = "Another program holds it; end it, or wait." if "locked" in exc.message else ""
        yield Finding("database", "fail", exc.message, held or exc.next_step)
        return
    finally:
        store.close()
    if damage:
        cure = f"Stop every server, and rescue what can be: sqlite3 {path} .recover | sqlite3 {path}.new"
        yield Finding("database", "fail", f"{path} is damaged: {damage[0]}.", cure)
    else:
        yield Finding("database", "ok", f"{path} is sound and not locked, schema version {SCHEMA_VERSION}.")
    if unsettled:
        cure = f"Look at {LOGS_PAGE}, then: kie-ai-mcp-server tasks resolve {unsettled[0].id} --adopt TASK | --discard"
        yield Finding(
            "submissions", "warn", f"Requests of which it is not known whether they were made: {len(unsettled)}.", cure
        )
    if unsaved:
        cure = "Run: kie-ai-mcp-server tasks save --to DIR"
        yield Finding("unsaved", "warn", f"Tasks whose results are not saved and will expire: {len(unsaved)}.", cure)
    unreadable = path.with_name(f"{path.name}.unrecorded.unreadable")
    if unreadable.exists():
        cure = "It names paid tasks: adopt them with kie-ai-mcp-server tasks show TASK --refresh, then delete it."
        yield Finding("recovery file", "warn", f"{unreadable} holds lines that could not be recorded.", cure)


def _folders(settings: Settings) -> Iterator[Finding]:
    folder = settings.output_dir
    if folder is None:
        cure = "Set KIE_AI_OUTPUT_DIR, for example to ~/Pictures/kie."
        yield Finding("results", "warn", "Nothing is saved, and the service's links expire.", cure)
    else:
        problem = _unwritable(folder)
        cure = "Set KIE_AI_OUTPUT_DIR to a folder of yours with enough free space." if problem else ""
        yield Finding("results", "fail" if problem else "ok", problem or f"Saved in {folder}.", cure)
    for root in settings.upload_roots:
        if not os.access(root, os.R_OK | os.X_OK):
            yield Finding("uploads", "warn", f"{root} can't be read.", "Correct or remove it in KIE_AI_UPLOAD_ROOTS.")


def _unwritable(folder: Path) -> str:
    """Return why a folder, which may not exist yet, can't be written; an empty text where it can."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        return f"{existing} is a file, not a folder."
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{folder} can't be written."
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    return f"{folder} has {free_mb} MB left." if free_mb < LEAST_FREE_MB else ""


def _clients(settings: Settings) -> Finding:
    if settings.patience_s is not None:
        return Finding("client limits", "ok", f"A wait ends by itself after {settings.patience_s:g} s, as is set.")

    limits = ", ".join(f"{name} {seconds:g} s" for name, seconds in PATIENCE_S if " " not in name)
    return Finding("client limits", "ok", f"A wait ends by itself after: {limits}, others {USUAL_PATIENCE_S:g} s.")
