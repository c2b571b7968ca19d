"""Command ``doctor``: checks of everything that can be wrong, each with its cure. It reads only and spends nothing."""

import os
import platform
import shutil
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread
import click

from kie_ai_mcp._app.app import RESERVED
from kie_ai_mcp._app.patience import PATIENCE_S, USUAL_PATIENCE_S
from kie_ai_mcp._cli.console import FAILED, PROGRAM, json_option, print_json, wants_json
from kie_ai_mcp._cli.fill_memory import start_once
from kie_ai_mcp._cli.findings import Finding, Report
from kie_ai_mcp._cli.install.looking import look_at_clients
from kie_ai_mcp._cli.install.remote import checked
from kie_ai_mcp._cli.remote_look import Look
from kie_ai_mcp._flow.catalogue import live
from kie_ai_mcp._flow.drift import differences, models_of, words_of_gone, words_of_new, words_of_schema
from kie_ai_mcp._flow.engine import NEEDED, Engine
from kie_ai_mcp._flow.people import key_faults
from kie_ai_mcp._flow.status import balances, credits_left
from kie_ai_mcp._models.catalogue import some
from kie_ai_mcp._providers.asking import route_of
from kie_ai_mcp._providers.installed import without_providers
from kie_ai_mcp._providers.loader import Plugins, is_of_others, load, register_commands
from kie_ai_mcp._providers.selection import cure_of
from kie_ai_mcp._record.migrations import SCHEMA_VERSION
from kie_ai_mcp._record.record import Record
from kie_ai_mcp._service.caller import NOT_SERVED, Caller, account_of, clock_of, kie
from kie_ai_mcp._service.envelope import address_cure
from kie_ai_mcp._settings.amounts import in_words, plain
from kie_ai_mcp._settings.folders import cure_of_access, why_unwritable
from kie_ai_mcp._settings.installation import server_command
from kie_ai_mcp._settings.load import (
    config_file,
    find_origins,
    find_warnings,
    full_environment,
    load_settings,
    why_no_key,
)
from kie_ai_mcp._settings.settings import Settings, variable, windows_data_folders
from kie_ai_mcp._settings.sources import unless_overridden
from kie_ai_mcp.errors import KEYS_PAGE, LOGS_PAGE, ConfigError, KieError, ReadFailed, StorageError
from kie_ai_mcp.hookspecs import PROJECT
from kie_ai_mcp.specs import DAY_S, KIE, StatusRoute, Task

LEAST_FREE_MB = 500
UNKNOWN_TASK = "kie-ai-mcp-server-doctor"
READS_AT_ONCE = 8
UNREACHABLE = "Check the network, a proxy, and KIE_AI_BASE_URL."
TIMEOUT_MS = 15_000
NOTICED_S = 14 * DAY_S  # how long a notice is shown after it was told
CLOCK_OFF_S = 60  # A difference to the service's clock that makes expiry times and signed callbacks wrong


@click.command()
@click.option("--offline", is_flag=True, help="Ask the service nothing: no key, credits, routes, models or clock.")
@click.option("--schemas", is_flag=True, help="Compare the fields of every model that a tool sells, one a second.")
@click.option("--url", help="Look at the server at this address instead, as a client of it does.")
@click.option("--token-env", metavar="NAME", help="With --url: the environment variable that holds its token.")
@json_option
def doctor(offline: bool, schemas: bool, url: str | None, token_env: str | None) -> None:
    """Check everything that can be wrong, and say how to put it right.

    Looks at settings, key, credits, status routes, clock, database, models, folders, providers, versions, the server's
    start, the entries of clients and their time limits. It starts no generation. Exit codes: 0 nothing fails, 1
    something does.
    """
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not wants_json():
            finding.show()

    if url is not None:
        report(_remote(checked(url), token_env))
    else:
        anyio.run(_examine, report, offline, schemas)
    if wants_json():
        print_json([asdict(finding) for finding in findings])
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(FAILED)


def _remote(url: str, token_env: str | None) -> Finding:
    token = full_environment().get(token_env or "", "").strip()
    if token_env is not None and not token:
        return Finding("token", "fail", f"{token_env} holds no token.", "Set it, or correct --token-env.")
    try:
        return Finding("server", "ok", Look(url, token).words())
    except ConfigError as exc:
        return Finding("server", "fail", exc.message, exc.next_step)


async def _examine(report: Report, offline: bool, schemas: bool) -> None:
    """Report the result of each check, foundations first; checks that depend on a failed one are left out."""
    core = version("kie-ai-mcp-core")
    report(Finding("versions", "ok", f"Python {platform.python_version()}, mcp {version('mcp')}, core {core}."))
    faults: list[ConfigError] = []
    settings, origins = load_settings(faults=faults), find_origins()
    plugins, settings = load(Plugins, settings, RESERVED, faults)
    for fault in faults:
        report(Finding("settings", "fail", fault.message, fault.next_step))
    if not faults:
        report(_settings(origins))
    for name, text in find_warnings().items():
        if name != "api_key":
            report(Finding("settings", "warn", text, "Correct or unset it, unless it is for another program."))
    _report_callbacks(report, settings)
    _report_providers(report, plugins)
    offline = offline or any(NEEDED & set(fault.where) for fault in faults)
    if settings.key is not None:
        report(Finding("key", "ok", f"Set by {origins.get('api_key', 'default')}."))
    elif not any("api_key" in fault.where for fault in faults):
        cure = f"Get one at {KEYS_PAGE}, and set KIE_AI_API_KEY or run: {PROGRAM} config set api_key"
        usable = (each for each in plugins.gateways.values() if each.key or not Caller(settings, each).needs_key)
        others = [gateway.title for gateway in usable]
        only = f"only {', '.join(others)} can be used" if others else "nothing can be made"
        reason = why_no_key(KIE) or f"No Kie.ai key is set, so {only}."
        report(Finding("key", "warn" if others else "fail", reason, cure))
    _report_keys_of_others(report, settings, plugins, offline=offline)
    if offline:
        reason = "the settings are wrong, see above." if faults else "--offline was given."
        _report_unmade(report, ("clock", "credits", "status routes"), reason)
    else:
        await _report_service(report, settings, plugins)
        await _report_balances(report, settings, plugins)
    await _report_database(report, settings, plugins)
    await _report_models(report, settings, plugins, offline=offline, schemas=schemas)
    _report_folders(report, settings)
    await _report_start(report, settings)
    for finding in look_at_clients(full_environment()):
        report(finding)
    usual = ", ".join(f"{name} {seconds:g} s" for name, seconds in PATIENCE_S if " " not in name)
    limits = f": {usual}, others {USUAL_PATIENCE_S:g} s."
    if settings.patience_s is not None:
        limits = f" {settings.patience_s:g} s, as is set."
    report(Finding("client limits", "ok", f"A wait ends by itself after{limits}"))


def _report_keys_of_others(report: Report, settings: Settings, plugins: Plugins, *, offline: bool) -> None:
    """Report the key of each service besides Kie.ai, where it is set or needed."""
    for name, gateway in plugins.gateways.items():
        sections = (plugin for plugin in plugins.plugins if settings.section(plugin).get("gateway") == name)
        if gateway.key:
            where = f"Requests go to {gateway.title} at {gateway.base_url}"
            if gateway.balance is None or offline:
                reason = f"a key is set, but nothing was asked that shows whether it is accepted. {where}."
                report(Finding(f"key of {name}", "not checked", reason))
            else:
                report(Finding(f"key of {name}", "ok", f"Set. {where}."))
        elif used := ", ".join(sections):
            reason = why_no_key(name) or f"No {gateway.title} key is set, and {used} is to be made there."
            report(Finding(f"key of {name}", "fail", reason, gateway.key_help))
        elif is_of_others(plugins, name) and Caller(settings, gateway).needs_key:
            reason = f"No {gateway.title} key is set, so nothing can be made there."
            report(Finding(f"key of {name}", "warn", reason, gateway.key_help))


async def _report_start(report: Report, settings: Settings) -> None:
    """Let the server start once without a client; afterwards its next start in this environment is a quick one."""
    program, arguments = server_command()
    reason = await anyio.to_thread.run_sync(start_once, [program, *arguments], full_environment())
    if reason:
        cure = f"Run {PROGRAM} serve, which says more, or install it anew."
        report(Finding("start", "fail", f"The server does not start: {settings.mask.text(reason)}.", cure))
    else:
        report(Finding("start", "ok", "The server starts and answers what hosts ask first."))


def _settings(origins: Mapping[str, str]) -> Finding:
    path = config_file()
    where = f"{path} is read" if path.is_file() else f"no file at {path}"
    holds_key = os.name == "posix" and origins.get("api_key") == str(path)
    if holds_key and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("settings", "warn", f"Others may read the key in {path}.", f"Run: chmod 600 {path}")
    return Finding("settings", "ok", f"{len(origins)} set; {where}.")


def _report_callbacks(report: Report, settings: Settings) -> None:
    if settings.public_url and settings.signing_key is None:
        reason = "KIE_AI_PUBLIC_URL is set without KIE_AI_WEBHOOK_KEY, so callbacks are taken from anybody."
        cure = "Set it to the key of the account's webhook settings; a callback makes the server read the status alone."
        report(Finding("webhooks", "warn", reason, cure))


def _report_providers(report: Report, plugins: Plugins) -> None:
    providers = plugins.plugins.values()
    enabled = [f"{plugin.name} {plugin.version}" for plugin in providers if plugin.state == "enabled"]
    disabled = [plugin.name for plugin in providers if plugin.state == "disabled"]
    off = f" Disabled: {', '.join(disabled)}." if disabled else ""
    if plugins.tools:
        report(
            Finding(
                "providers", "ok", f"{len(plugins.tools)} tools, beside the server's own, of {', '.join(enabled)}.{off}"
            )
        )
    else:
        cure = f"Install one, such as kie-ai-mcp-nano-banana, or enable one: {PROGRAM} providers shows why."
        report(Finding("providers", "warn", f"No provider offers a tool.{off}", cure))
    if names := ", ".join(plugins.foreign_variables):
        cure = "Install the provider, or unset the variable."
        report(Finding("settings", "warn", f"Variables for providers that are not installed: {names}.", cure))
    for name in without_providers():
        cure = f"Its author must name the module below [project.entry-points.{PROJECT}] in pyproject.toml."
        report(Finding("providers", "warn", f"{name} is installed, and offers no provider.", cure))
    for name, fault in register_commands(plugins, lambda _: click.Group()).items():
        report(Finding(f"provider {name}", "warn", f"{fault[:1].upper()}{fault[1:]}.", cure_of(plugins.plugins[name])))
    for plugin in providers:
        if plugin.state == "set aside":
            reason = f"It is set aside: {plugin.reason.rstrip('.')}."
            report(Finding(f"provider {plugin.name}", "warn", reason, plugin.cure))


async def _report_service(report: Report, settings: Settings, plugins: Plugins) -> None:
    """Check the service's clock; where there is a key, also the credits and every status route. Costs nothing."""
    settings = settings.model_copy(update={"timeout": min(settings.timeout, TIMEOUT_MS)})
    caller = Caller(settings, kie(settings))
    left = ["clock", "credits", "status routes"]  # what is not checked yet
    try:
        report(_clock(await clock_of(caller)))
        left.remove("clock")
        if settings.key is None:
            _report_unmade(report, left, "no Kie.ai key is set.")
        else:
            report(await _credits(Engine(settings, plugins, {caller.gateway.name: caller}, Record.of(settings))))
            left.remove("credits")
            report(await _routes(plugins, caller))
    except ReadFailed as exc:
        report(Finding("service", "fail", exc.message, exc.next_step or UNREACHABLE))
        _report_unmade(report, left, "the service does not answer.")
    finally:
        await caller.close()


async def _report_balances(report: Report, settings: Settings, plugins: Plugins) -> None:
    """Report what is left at every other service that says it and has its key."""
    settings = settings.model_copy(update={"timeout": min(settings.timeout, TIMEOUT_MS)})
    callers = {name: Caller(settings, gateway) for name, gateway in plugins.gateways.items() if gateway.balance}
    try:
        for entry in await balances(Engine(settings, plugins, callers, Record.of(settings))):
            name = f"balance of {entry['service']}"
            if "left" in entry:
                report(Finding(name, "ok", f"The key is accepted; {in_words(entry['left'], entry['unit'])} left."))
            else:
                report(Finding(name, "fail", str(entry["error"]), entry["next_step"] or f"Look at {entry['service']}."))
    finally:
        for caller in callers.values():
            await caller.close()


def _report_unmade(report: Report, checks: Iterable[str], reason: str) -> None:
    """Report checks that were not made, and why."""
    for check in checks:
        report(Finding(check, "not checked", reason))


def _clock(service_time: datetime | None) -> Finding:
    if service_time is None:
        return Finding("clock", "not checked", "the service does not tell the time.")
    off = (datetime.now(UTC) - service_time).total_seconds()
    if abs(off) < CLOCK_OFF_S:
        return Finding("clock", "ok", f"Within {CLOCK_OFF_S} s of the service's.")
    cure = "Set this machine's clock, best by its time service: expiry times and signed callbacks depend on it."
    return Finding("clock", "warn", f"{abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the service's.", cure)


async def _credits(engine: Engine) -> Finding:
    try:
        credits = await credits_left(engine)
    except KieError as exc:
        return Finding("credits", "fail", exc.message, exc.next_step)
    result = Finding("credits", "ok", f"The key is accepted; {plain(credits)} left.")
    return result if credits > 0 else replace(result, state="warn", cure="Top up at https://kie.ai/billing.")


async def _routes(plugins: Plugins, caller: Caller) -> Finding:
    """Ask every distinct status route for a task that does not exist."""
    routes: dict[tuple[str, ...], StatusRoute] = {}
    users: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for task in (Task(UNKNOWN_TASK, "market", ""), *plugins.probes(UNKNOWN_TASK)):
        with suppress(ReadFailed):
            route = route_of(plugins, task)
            routes[route.paths] = route
            users[route.paths] |= {task.provider} - {""}
    turn, silent = anyio.CapacityLimiter(READS_AT_ONCE), {}
    unproved: set[tuple[str, ...]] = set()  # no such task, or no such address: the answer is the same

    async def ask(paths: tuple[str, ...]) -> None:
        async with turn:
            try:
                code: int | None = (await caller.read(paths, routes[paths].params)).code
            except KieError as exc:
                code = getattr(exc, "code", None)
                # A family that the service dropped says so itself; its route is allowed to be gone.
                current = any(plugins.provider_of(name).availability == "current" for name in users[paths])
                if current or code not in NOT_SERVED:
                    silent[paths] = exc.message
            if code in NOT_SERVED:
                unproved.add(paths)

    async with anyio.create_task_group() as group:
        for paths in routes:
            group.start_soon(ask, paths)
    if len(unproved) == len(routes):
        reason = "Not checked: every address answers 404, as one does that is not served."
        return Finding("status routes", "warn", reason, address_cure(caller.gateway))
    if not silent:
        more = f" Not checked: {len(unproved)}, which answer 404 to an unknown task." if unproved else ""
        return Finding("status routes", "ok", f"{len(routes) - len(unproved)} of {len(routes)} answer.{more}")
    paths, message = next(iter(silent.items()))
    names = ", ".join(sorted(users[paths])) or "the market"
    cure = f"Try again later; if it stays so, update the providers that use it: {names}."
    return Finding("status routes", "fail", f"{len(silent)} of {len(routes)} do not answer: {message}", cure)


async def _report_database(report: Report, settings: Settings, plugins: Plugins) -> None:
    if settings.database_address or _report_file(report, settings):
        await _report_record(report, settings, plugins)


def _report_file(report: Report, settings: Settings) -> bool:
    """Report what is wrong with the place of the database's file; return whether it is there."""
    path = settings.database
    if sys.platform == "win32" and settings.db_path is None:
        new, *apart = windows_data_folders()
        if places := [str(place) for folder in apart if (place := folder / "tasks.db").is_file()]:
            reason = (
                f"Packaged programs see a copy of AppData of their own, so tasks may be split: {', '.join(places)}."
            )
            cure = f"Stop every server, and move the one with your tasks, and the files named after it, to {new}."
            report(Finding("database", "warn", reason, cure))
    if not path.exists() and not path.with_name(f"{path.name}-wal").exists():
        if reason := _unwritable(path.parent):
            report(Finding("database", "fail", reason, "Set KIE_AI_DB_PATH to a place of yours."))
        else:
            report(Finding("database", "ok", f"{path} will be made at the first start."))
        return False
    return True


def _report_limits(report: Report, settings: Settings, spent: float, sent: int) -> None:
    """Say what is used of the limits of a day and an hour."""
    limits = (
        ("max_credits_per_day", spent, "credits were spent in the last 24 hours, estimates included."),
        ("max_submissions_per_hour", sent, "paid requests were made in the last hour."),
    )
    known = [(name, used, getattr(settings, name), what) for name, used, what in limits]
    known = [entry for entry in known if entry[2] is not None]
    reached = " and ".join(variable(name) for name, used, limit, _ in known if used >= limit)
    reason = " ".join(f"{plain(used)} of {plain(limit)} {what}" for _, used, limit, what in known)
    if known:
        report(Finding("limits", "warn" if reached else "ok", reason, reached and f"Wait, or raise {reached}."))


async def _report_record(report: Report, settings: Settings, plugins: Plugins) -> None:
    record = Record.of(settings)
    try:
        with closing(record):
            record.open()
            place, fine = record.database.name, record.database.no_damage
            unreadable = record.recovery.path.with_suffix(".unreadable")
            damage = await record.damage()
            record.database.has_failed = not damage  # so that it is tried
            await record.check()
            unsettled = [entry for entry in await record.submissions.unsettled() if entry.state == "unknown"]
            unsaved, spent, sent = await record.tasks.unsaved(), await record.spent_today(), await record.sent_in_hour()
            keyless = key_faults(await record.users.all(), settings.keys_of_users)
    except StorageError as exc:
        cure = "Another program holds it; end it, or wait." if "locked" in exc.message else exc.next_step
        report(Finding("database", "fail", exc.message, cure))
        _report_recovery(report, record, has_failed=True)
        _report_unmade(report, ["record"], "the database can't be read.")
        return
    if damage:
        report(Finding("database", "fail", damage.message, damage.next_step))
    else:
        report(Finding("database", "ok", f"{place} {fine}, schema version {SCHEMA_VERSION}."))
    _report_limits(report, settings, spent, sent)
    for text in keyless:
        report(Finding("users", "warn", text, f"Compare the names: {PROGRAM} users list"))
    if unsettled:
        whose = ", ".join(sorted({entry.user for entry in unsettled} - {""}))
        of = f" of {whose}" if whose else ""
        reason = f"Requests{of} of which it is not known whether they were made: {len(unsettled)}."
        gateway = plugins.gateways.get(unsettled[0].gateway)
        page = gateway.logs_page if gateway else LOGS_PAGE
        cure = f"Look at {page}, then: {PROGRAM} tasks resolve {unsettled[0].id} --adopt TASK | --discard"
        report(Finding("submissions", "warn", reason, cure))
    if valid := [task for task in unsaved if (task.expires_at or task.updated_at) > datetime.now(UTC)]:
        reason = f"Tasks whose results are not saved and will expire: {len(valid)}."
        report(Finding("unsaved", "warn", reason, f"Run: {PROGRAM} tasks save --to DIR"))
    _report_recovery(report, record)
    if unreadable.exists():
        cure = f"It names paid tasks: adopt them with {PROGRAM} tasks show TASK --refresh, then delete it."
        report(Finding("recovery file", "warn", f"{unreadable} holds lines that could not be recorded.", cure))


def _report_recovery(report: Report, record: Record, *, has_failed: bool = False) -> None:
    """Report the files in which outcomes wait for a database: for this one where it `has_failed`, and for others."""
    path = record.recovery.path
    if has_failed and path.exists():
        reason = f"{path} keeps the ends of paid requests."
        report(Finding("recovery file", "warn", reason, "Keep it: they are recorded once the database can be used."))
    for reason, cure in record.recovery.of_others().items():
        report(Finding("recovery file", "warn", reason, cure))


async def _report_models(report: Report, settings: Settings, plugins: Plugins, *, offline: bool, schemas: bool) -> None:
    """Compare the models that this version knows with those of the service, and show what was noticed lately."""
    caller = Caller(settings, kie(settings))
    with TemporaryDirectory() as folder:  # a database that is not there yet is not made here
        record = Record.of(settings, accounts={KIE: account_of(caller.gateway)})
        record = record if record.address or record.path.exists() else replace(record, path=Path(folder, "tasks.db"))
        engine = Engine(settings, plugins, {KIE: caller}, record)
        try:
            await _report_list(report, engine, offline=offline)
            if schemas and not offline:
                await _report_schemas(report, engine)
            with suppress(StorageError):  # which has its own row
                for notice in await record.kept.notices(record.database.now() - NOTICED_S):
                    report(Finding("noticed", "warn", notice))
        finally:
            await caller.close()
            await record.aclose()


async def _report_list(report: Report, engine: Engine, *, offline: bool) -> None:
    models = [model for model in models_of(engine).values() if model.availability == "current"]
    for provider, faults in engine.catalogue.faults.items():
        cure = cure_of(engine.plugins.plugins[provider])
        report(Finding("models", "warn", f"{provider}: {some(faults)}.", cure))
    known = f"{len(models)} are known here, as of {max((model.checked for model in models), default='today')}"
    if offline or engine.settings.key is None or not models:
        why = "nothing was asked" if offline else "no key is set" if models else "no provider brings models"
        report(Finding("models", "not checked", f"{why}, so the service's own list was not read. {known}."))
        return
    kept, new, gone = await differences(engine)
    if kept.error:
        report(Finding("models", "warn", f"{known}. {kept.error}", "Nothing depends on it. Run doctor again later."))
    elif not new and not gone:
        report(Finding("models", "ok", f"{known}, and the service's list of {kept.read_at:%Y-%m-%d} has all of them."))
    if new:
        report(Finding("models", "ok", words_of_new(new)))
    if gone:
        report(Finding("models", "warn", words_of_gone(engine, gone)))


async def _report_schemas(report: Report, engine: Engine) -> None:
    """Compare the fields of every model that an enabled tool sells; each is a read, one a second."""
    sold = [model for model in models_of(engine).values() if model.tool in engine.plugins.tools]
    same = 0
    for model in sold:
        kept = await live(engine, KIE, "schema", model.id)
        if kept.value is None:
            report(Finding("schemas", "warn", kept.error))
        elif words := words_of_schema(model, kept.value):
            cure = f"{model.tool} may fail or ignore it. Update kie-ai-mcp-server."
            report(Finding("schemas", "warn", f"{model.id}: the service {words}.", cure))
        else:
            same += 1
    report(Finding("schemas", "ok", f"{same} of {len(sold)} are as this version knows them."))


def _report_folders(report: Report, settings: Settings) -> None:
    folder = settings.output_dir
    if folder is None:
        cure = f"Set KIE_AI_OUTPUT_DIR, or run: {PROGRAM} config set output_dir ~/Pictures/kie"
        report(Finding("results", "warn", "Nothing is saved, and the service's links expire.", cure))
    elif reason := _unwritable(folder):
        usual = f"Name a folder of yours with enough free space: {PROGRAM} config set output_dir ~/Pictures/kie"
        usual += unless_overridden("output_dir")
        cure = cure_of_access(folder, usual)
        report(Finding("results", "fail", reason, cure))
    else:
        report(Finding("results", "ok", f"Saved in {folder}."))
    for root in settings.upload_roots:
        if not os.access(root, os.R_OK | os.X_OK):
            usual = f"Name the right folders: {PROGRAM} config set upload_roots FOLDER,FOLDER"
            cure = cure_of_access(root, usual + unless_overridden("upload_roots"))
            problem = "can't be read" if root.is_dir() else "is no folder"
            report(Finding("uploads", "warn", f"{root} {problem}.", cure))


def _unwritable(folder: Path) -> str:
    """Return why a folder, which may not exist yet, can't be written; an empty text where it can."""
    if reason := why_unwritable(folder):
        return f"{reason}."
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free_mb = shutil.disk_usage(existing).free // 1_000_000
    return f"{folder} has {free_mb} MB left." if free_mb < LEAST_FREE_MB else ""
