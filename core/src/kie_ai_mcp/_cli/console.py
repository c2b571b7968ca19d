"""Shared parts of the commands: opening the record, options, JSON and tables, exit codes."""

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import anyio
import click

from kie_ai_mcp._app.app import RESERVED, App
from kie_ai_mcp._app.hints import QUOTED
from kie_ai_mcp._mcp.signals import ENDING, signalled
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._record.tasks import SHORTEST_START, begun_with
from kie_ai_mcp._settings.databases import has_scheme
from kie_ai_mcp._settings.installation import typed_command, with_commands
from kie_ai_mcp._settings.load import load_settings, nearest
from kie_ai_mcp._settings.logging import visible
from kie_ai_mcp._settings.settings import APP, Settings, at_home
from kie_ai_mcp.errors import ConfigError, InvalidArgument, KieError

PROGRAM = APP
SHORTEST_SHOWN = 8  # the fewest characters of a task's id that a list shows
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
# What answers tell an assistant to call, with the command that does it here; and the words of its arguments.
COMMANDS = {
    "wait_for_tasks": "tasks wait",
    "get_task_status": "tasks show --refresh",
    "save_result": "tasks save",
    "list_tasks": "tasks list",
    "resolve_submission": "tasks resolve",
    "estimate_cost": "estimate",
    "find_models": "models find",
    "describe_model": "models show",
    "run_model": "models run",
}
CALLS = (
    rf"(?<!server )(?<!`)\b([Cc]all )?({'|'.join(RESERVED)})\b"
    r"( with (?:task_ids \[[^]]*\]|submission_id \d+)|\([^)]*\))?"
)
WORDS = dict.fromkeys(("with", "task_ids", "submission_id", "task_id", "action"), "")
WORDS |= {"adopt": "--adopt", "discard": "--discard", "...": "TASK"}
BUY = "Call it to buy this."  # the next step of an estimate
# What answers tell an assistant to do for its user, as it reads for the user themselves.
TOLD = {
    "The results are saved; show them to the user.": "The results are saved.",
    "Show the result to the user.": "This is all of it.",
    "Show the results to the user. ": "",
    "Show the links to the user; save them before they expire.": "Save the results before the links expire: "
    f"`{PROGRAM} tasks save TASK --to DIR`.",
    BUY: f"Buy it with `{PROGRAM} call`, or `{PROGRAM} models run` for a model.",
    "Call the tool that is named, or": f"Use the tool that is named with `{PROGRAM} call`, or",
    "Call again": "Try again",
}
LISTED = r"((?:Known: |Did you mean ).*?[.?](?=\s|$))"  # names to choose from, which are given as they are
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
Value = TypeVar("Value")


class _Help(click.HelpFormatter):
    """The text of ``--help``, with commands as a person types them here."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(re.sub(rf"^{PROGRAM}\b", lambda _: typed_command(), prog), args, prefix)

    def write_text(self, text: str) -> None:
        super().write_text(as_typed(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, as_typed(text)) for name, text in rows], col_max, col_spacing)


class _Context(click.Context):
    formatter_class = _Help


class Commands(click.Group):
    """A group of commands; of a name that is none of them, the error says which one is meant."""

    context_class = _Context

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names, and the words after it."""
        try:
            name, command, rest = super().resolve_command(ctx, args)
            if command is not None:
                command.context_class = _Context  # its help is printed by click itself
            return name, command, rest
        except click.UsageError:
            if args[0].startswith("-"):
                raise
            near = nearest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"There is no command {args[0]!r}. {near}", ctx) from None


def exit_code_of(error: KieError) -> int:
    """Return 2 where the caller has to change a setting or an argument, 1 where the work itself failed."""
    return WRONG_USAGE if isinstance(error, ConfigError | InvalidArgument) else FAILED


def complain(message: str) -> None:
    """Print one line on stderr, which a terminal shows broken between words."""
    say(f"{PROGRAM}: {for_person(' '.join(message.split()))}", err=True)


def echo(text: str, *, as_data: bool = False, **style: Any) -> None:
    """Print text in a style of click, with its control characters made visible; all for people passes here.

    Commands of this program are written as a person types them here: in a checkout the bare name is not found. Data
    stay as they are.
    """
    shown = visible(text)
    click.secho(shown if as_data else as_typed(shown), **style)


def as_typed(text: str) -> str:
    """Return a text with the commands of this program in it as a person types them here."""
    return with_commands(text, typed_command())


def say(text: str, indent: str = "", **style: Any) -> None:
    """Print lines of words, which a terminal shows broken between words, those after a break with an indent."""
    module, err = terminal(), bool(style.get("err"))
    for line in text.split("\n"):
        echo(module.wrapped(line, indent, err=err), **style)


def prepare_streams() -> None:
    """Let no character that a console's encoding lacks end a command; write UTF-8 into pipes and files of Windows."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # There it would be the encoding of a console, which only the user's own word makes right for a pipe.
            utf_8 = sys.platform == "win32" and not stream.isatty() and "PYTHONIOENCODING" not in os.environ
            stream.reconfigure(encoding="utf-8" if utf_8 else None, errors="backslashreplace")


@contextmanager
def file_errors(path: Path | str, use: str, cure: str) -> Iterator[None]:
    """Turn an operating system's error into one that names the file, its `use` ("read" or "written") and the cure."""
    try:
        yield
    except TimeoutError:  # of a lock
        raise
    except OSError as exc:
        raise click.ClickException(f"{path} can't be {use}: {exc.strerror}. {cure}") from None


def load_plugins(settings: Settings | None = None) -> Plugins:
    """Return the installed providers and their tools, without opening the record."""
    return Plugins(settings or load_settings(), reserved=RESERVED)


def run_with_app(settings: Settings, work: Callable[[App], Awaitable[Value]]) -> Value:
    """Open providers and record as the server does, do the work, and close them."""
    app = App.open(settings)

    async def run() -> Value:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  it is what runs here
        # Ctrl-C is asyncio's own: it cancels this task as well.
        with signalled([number for number in ENDING if number.name != "SIGINT"]) as first:
            first.add_done_callback(lambda _: task.cancel())
            try:
                async with app.engine.running():
                    return await work(app)
            except asyncio.CancelledError:
                if not first.done():
                    raise
                complain(f"ended by {first.result().name}; what was sent is on record: {PROGRAM} tasks list")
                raise click.exceptions.Exit(128 + first.result()) from None

    return anyio.run(run)


async def is_beginning(app: App, text: str, least: int = 1) -> bool:
    """Return whether a text is no task's id, but the beginning of one on record."""
    return bool(await begun_with(app.engine.record.tasks, text, least))


async def full_id(app: App, start: str, least: int = SHORTEST_START) -> str:
    """Return the id of the one task on record whose id begins so, or what was given where there is none."""
    ids = await begun_with(app.engine.record.tasks, start, least)
    if len(ids) > 1:
        shown = ", ".join(await short_ids(app, ids))
        raise click.UsageError(f"Several tasks have ids that begin with {start!r}: {shown}. Give more of one.")
    return ids[0] if ids else start


async def short_ids(app: App, ids: Iterable[str]) -> list[str]:
    """Return the beginning of each task's id that no other task on record has."""
    return [await _short_id(app, task_id) for task_id in ids]


async def _short_id(app: App, task_id: str) -> str:
    for length in range(SHORTEST_SHOWN, len(task_id)):
        if len(await app.engine.record.tasks.beginning_with(task_id[:length], most=2)) == 1:
            return task_id[:length]
    return task_id


def settings_saving_in(folder: Path | None) -> Settings:
    """Return the settings; with a folder, they save results there."""
    settings = load_settings()
    return settings if folder is None else settings.model_copy(update={"output_dir": folder.absolute()})


def when(text: str) -> datetime:
    """Return a day, a time, or the moment that an age such as ``30d`` ago was, in UTC."""
    age = re.fullmatch(r"(\d{1,6})\s*([smhdw])", text.strip())
    try:
        if age:
            return datetime.now(UTC) - timedelta(seconds=int(age[1]) * UNITS_S[age[2]])
        parsed = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        reason = f"{text!r} is no age such as 30d or 12h (s, m, h, d, w) and no date such as 2026-11-02."
        raise click.BadParameter(reason) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class Count(click.IntRange):
    """A whole number."""

    name = "whole number"

    def get_metavar(self, *_: Any, **_more: Any) -> str:
        """Return the word that stands for one in help."""
        return "NUMBER"


class Amount(click.FloatRange):
    """A finite number: a limit without an end would be none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fail where it has no end, or is none."""
        number: float = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


def in_plain_words(command: click.Command) -> click.Command:
    """Let a command of a provider, and those in it, call and take numbers as our own do; return it."""
    for param in command.params:
        if type(param.type) in {click.types.FloatParamType, click.FloatRange}:
            bounds = ("min", "max", "min_open", "max_open", "clamp")
            param.type = Amount(**{name: value for name, value in vars(param.type).items() if name in bounds})
        words = {click.types.IntParamType: Count.name, click.types.FloatParamType: Amount.name}
        for kind, name in words.items():
            if isinstance(param.type, kind):
                param.type, param.metavar = copy(param.type), param.metavar or "NUMBER"
                param.type.name = name
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        in_plain_words(inner)
    return command


class UserPath(click.Path):
    """A path in which ~ is expanded."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; fail for an address, and where no user of that name has a home folder."""
        if isinstance(value, str) and has_scheme(value):  # not shown: it may hold a password
            self.fail("it is an address; a path belongs there.", param, ctx)
        try:
            return at_home(Path(os.fsdecode(super().convert(value, param, ctx))))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


JSON = "kie_ai_mcp.json"  # the key under which a command's context keeps the value of --json
json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _, on: ctx.meta.update({JSON: on}),
    help="Print JSON.",
)
SAVE_HELP = "Save the results in this folder; KIE_AI_OUTPUT_DIR does so always."
save_option = click.option("--save", "folder", type=UserPath(file_okay=False), metavar="DIR", help=SAVE_HELP)
timeout_option = click.option(
    "--timeout", "timeout_s", type=Amount(1), default=1800, show_default=True, help="Seconds to wait at most."
)


def for_person(text: str) -> str:
    """Return an answer's text with commands of this program in place of the calls that it tells an assistant."""

    def command(call: re.Match[str]) -> str:
        words = [WORDS.get(word, word) for word in re.findall(r"[^\s\"',()=\[\]]+", call[3] or "")]
        run = "run " if call[1] == "call " else "Run " if call[1] else ""
        return f"{run}`{' '.join(filter(None, [PROGRAM, COMMANDS.get(call[2], f'call {call[2]}'), *words]))}`"

    def for_user(line: str) -> str:
        for told, instead in TOLD.items():
            line = line.replace(told, instead)
        parts = re.split(LISTED, line)
        return "".join(part if number % 2 else re.sub(CALLS, command, part) for number, part in enumerate(parts))

    return "\n".join(line if line.startswith(QUOTED) else for_user(line) for line in text.split("\n"))


def wants_json() -> bool:
    """Return whether the command that runs was given --json."""
    return bool(click.get_current_context().meta.get(JSON))


def has_person() -> bool:
    """Return whether a person can be asked: both what is read and where questions are written is a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def asked(question: str, read: Callable[[str], Value], **how: Any) -> Value:
    """Put a question to the person until its answer can be used; return what `read` makes of the answer."""
    how = {"show_default": not how.get("hide_input"), **how}
    while True:
        try:
            return read(str(click.prompt(question, err=True, **how)))
        except ConfigError as exc:
            say(str(exc), err=True, fg="yellow")
        except click.Abort:
            raise click.ClickException("no answer was given, so nothing was written.") from None


def confirmed(question: str) -> bool:
    """Put a question to the person at the terminal; return whether the answer is yes."""
    echo(question, err=True)
    return click.confirm("Buy it?", err=True)


def show(value: Any, text: str | Callable[[], object]) -> None:
    """Print a value as JSON where --json is given, else its text; a function prints the text itself."""
    if wants_json():
        print_json(value)
    elif callable(text):
        text()
    else:
        echo(for_person(text))


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    utf_8 = (sys.stdout.encoding or "").lower().startswith("utf")  # elsewhere JSON has an escape of its own
    echo(json.dumps(value, ensure_ascii=not utf_8, indent=2, default=str), as_data=True)


def terminal() -> ModuleType:
    """Return the module of tables and progress bars."""
    from kie_ai_mcp._cli import terminal as module  # noqa: PLC0415  --help and --json need not pay for rich

    return module
