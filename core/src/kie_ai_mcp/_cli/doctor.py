"""``doctor``: everything that can be wrong, each with its cure. Reads only, spends nothing."""

import os
import platform
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import anyio
import click

from kie_ai_mcp._app.own_tools import NAMES
from kie_ai_mcp._cli.console import FAILED, end, json_option, show_json
from kie_ai_mcp._cli.probe import Finding, examine_service
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._settings.settings import Settings, config_file
from kie_ai_mcp.errors import KEYS_PAGE, LOGS_PAGE, ConfigError, StorageError

ROOM_MB = 500
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--offline", is_flag=True, help="Ask the service nothing: no key, credits, routes or clock.")
@json_option
def doctor(offline: bool, as_json: bool) -> None:
    """Check everything that can be wrong, and say how to put it right.

    Looks at settings, key, credits, status routes, clock, database, folders, providers, versions and the time limits
    of clients. It starts no generation. Exit codes: 0 nothing fails, 1 something does.
    """

    findings: list[Finding] = []

    async def work() -> None:
        async for finding in examine(offline=offline):
            findings.append(finding)
            if not as_json:
                _show(finding)

    anyio.run(work)
    if as_json:
        show_json([asdict(finding) for finding in findings])
    if any(finding.state == "fail" for finding in findings):
        end(FAILED)


async def examine(*, offline: bool) -> AsyncIterator[Finding]:
    """Yield what is found, the foundations first; what stands on a failed one is left out."""
    yield Finding("versions", "ok", f"Python {platform.python_version()}, mcp {version('mcp')}, core {_core()}.")
    try:
        settings = Settings.load()
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


def _show(finding: Finding) -> None:
    state = click.style(f"{finding.state:<5}", fg=COLOURS[finding.state], bold=True)
    click.echo(" ".join(f"{state} {finding.check:<14} {finding.found} {finding.cure}".split("\n")).rstrip())


def _core() -> str:
    return version("kie-ai-mcp-core")


def _settings() -> Finding:
    path, origins = config_file(), Settings.origins()
    named = f"{path} is read" if path.is_file() else f"no file at {path}"
    if (
        os.name == "posix"
        and origins.get("api_key") == str(path)
        and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ):
        return Finding("settings", "warn", f"Others may read the key in {path}.", f"Run: chmod 600 {path}")
    return Finding("settings", "ok", f"{len(origins)} set; {named}.")


def _providers(plugins: Plugins) -> Iterator[Finding]:
    found = plugins.plugins.values()
    enabled = [f"{plugin.name} {plugin.version}" for plugin in found if plugin.state == "enabled"]
    disabled = [plugin.name for plugin in found if plugin.state == "disabled"]
    off = f" Disabled: {', '.join(disabled)}." if disabled else ""
    if plugins.tools:
        yield Finding("providers", "ok", f"{len(plugins.tools)} tools of {', '.join(enabled)}.{off}")
    else:
        cure = "Install one, such as kie-ai-mcp-nano-banana, or enable one: kie-ai-mcp-server providers shows why."
        yield Finding("providers", "warn", f"No provider offers a tool.{off}", cure)
    for plugin in found:
        if plugin.state == "set aside":
            reason = f"It is set aside: {plugin.reason.rstrip('.')}."
            yield Finding(f"provider {plugin.name}", "warn", reason, plugin.cure)


def _key(*, has_key: bool) -> Finding:
    if has_key:
        return Finding("key", "ok", f"Set by {Settings.origins().get('api_key', 'default')}.")
    cure = f"Get one at {KEYS_PAGE} and set KIE_AI_API_KEY, or api_key in {config_file()}."
    return Finding("key", "fail", "No Kie.ai key is set, so nothing can be made.", cure)


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    path = settings.database
    if not path.exists():
        problem = _unwritable(path.parent)
        if problem:
            yield Finding("database", "fail", problem, "Set KIE_AI_DB_PATH to a place of yours.")
        else:
            yield Finding("database", "ok", f"{path} will be made at the first start.")
        return
    record = Record(path, RateLimit(settings.rate_limit, settings.rate_window_s))
    try:
        record.open()
        damage = await record.damage()
        unsettled = [entry for entry in await record.submissions.unsettled() if entry.state == "unknown"]
        unsaved = [
            task for task in await record.tasks.unsaved() if (task.expires_at or task.updated_at) > datetime.now(UTC)
        ]
    except StorageError as exc:
        held = "Another program holds it; end it, or wait." if "locked" in exc.message else ""
        yield Finding("database", "fail", exc.message, held or exc.next_step)
        return
    finally:
        record.close()
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
        yield Finding("side file", "warn", f"{unreadable} holds lines that could not be recorded.", cure)


def _folders(settings: Settings) -> Iterator[Finding]:
    folder = settings.output_dir
    if folder is None:
        cure = "Set KIE_AI_OUTPUT_DIR, for example to ~/Pictures/kie."
        yield Finding("results", "warn", "Nothing is saved, and the service's links expire.", cure)
    else:
        problem = _unwritable(folder)
        cure = "Set KIE_AI_OUTPUT_DIR to a folder of yours with room." if problem else ""
        yield Finding("results", "fail" if problem else "ok", problem or f"Saved in {folder}.", cure)
    for root in settings.upload_roots:
        if not os.access(root, os.R_OK | os.X_OK):
            yield Finding("uploads", "warn", f"{root} can't be read.", "Correct or remove it in KIE_AI_UPLOAD_ROOTS.")


def _unwritable(folder: Path) -> str:
    """Return why nothing can be written in a folder that may have to be made; nothing where all is well."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        return f"{there} is a file, not a folder."
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{folder} can't be written."
    free_mb = shutil.disk_usage(there).free // 1_000_000
    return f"{folder} has {free_mb} MB left." if free_mb < ROOM_MB else ""


def _clients(settings: Settings) -> Finding:
    if settings.patience_s is not None:
        return Finding("client limits", "ok", f"A wait ends by itself after {settings.patience_s:g} s, as is set.")
    from kie_ai_mcp._mcp.server import PATIENCE_S, USUAL_PATIENCE_S  # noqa: PLC0415  brings the protocol's SDK

    limits = ", ".join(f"{name} {seconds:g} s" for name, seconds in PATIENCE_S if " " not in name)
    return Finding("client limits", "ok", f"A wait ends by itself after: {limits}, others {USUAL_PATIENCE_S:g} s.")
