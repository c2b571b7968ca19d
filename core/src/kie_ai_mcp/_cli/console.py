"""Shared parts of the commands: opening the record, options, JSON and tables, exit codes."""

import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import anyio
import click

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.engine import Say
from kie_ai_mcp._settings.settings import Settings, at_home
from kie_ai_mcp.errors import ConfigError, InvalidArgument, KieError

PROGRAM = "kie-ai-mcp-server"
DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}

Value = TypeVar("Value")


def exit_code_of(error: KieError) -> int:
    """Return 2 where the caller has to change a setting or an argument, 1 where the work itself failed."""
    return WRONG_USAGE if isinstance(error, ConfigError | InvalidArgument) else FAILED


def complain(message: str) -> None:
    """Print one line on stderr."""
    click.echo(f"{PROGRAM}: {' '.join(message.split())}", err=True)


def end(code: int) -> NoReturn:
    """End the command with an exit code."""
    click.get_current_context().exit(code)


# -- the work ---------------------------------------------------------------------------------------------------------


def run_with_app(settings: Settings, work: Callable[[App], Awaitable[Value]]) -> Value:
    """Open providers and record as the server does, do the work, close.

    Raises:
        KieError: Opening or the work raised it; it is passed on unchanged.
    """
    app = App.open(settings)

    async def story() -> Value:
        async with app.engine.running():
            return await work(app)

    return anyio.run(story)


def saving_in(settings: Settings, folder: Path | None) -> Settings:
    """Return settings that save results in `folder`, unless it is None."""
    return settings if folder is None else settings.model_copy(update={"output_dir": folder.absolute()})


# -- options ----------------------------------------------------------------------------------------------------------


def moment(text: str) -> datetime:
    """Return a day, a time, or the moment that an age such as ``30d`` ago was, in UTC.

    Raises:
        click.BadParameter: The text has another form.
    """
    age = re.fullmatch(r"(\d{1,6})\s*([smhdw])", text.strip())
    try:
        if age:
            return datetime.now(UTC) - timedelta(seconds=int(age[1]) * UNITS_S[age[2]])
        parsed = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no age such as 30d or 12h (s, m, h, d, w) and no date such as 2026-11-02."
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class UserPath(click.Path):
    """A path in which ~ is filled in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; fail where no user of that name has a home folder."""
        try:
            return at_home(Path(os.fsdecode(super().convert(value, param, ctx))))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


JSON = "kie_ai_mcp.json"
"""The key under which a command's context keeps the value of --json."""


def _keep_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta[JSON] = value


json_option = click.option("--json", is_flag=True, expose_value=False, callback=_keep_json, help="Print JSON.")
save_option = click.option(
    "--save",
    "folder",
    type=UserPath(file_okay=False),
    metavar="DIR",
    help="Save the results in this folder; KIE_AI_OUTPUT_DIR does so always.",
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=1800,
    show_default=True,
    help="Seconds to wait at most.",
)


# -- output -----------------------------------------------------------------------------------------------------------


def wants_json() -> bool:
    """Return whether the command that runs was given --json."""
    return bool(click.get_current_context().meta.get(JSON))


def show(value: Any, text: str | Callable[[], object]) -> None:
    """Print a value as JSON where --json is given, else its text; a function prints the text itself."""
    if wants_json():
        print_json(value)
    elif callable(text):
        text()
    else:
        click.echo(text)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(rows: Sequence[Sequence[str]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Print rows as a table."""
    from kie_ai_mcp._cli import terminal  # noqa: PLC0415  --help and --json need not pay for rich

    terminal.print_table(rows, columns, title=title)


def progress() -> AbstractContextManager[Say]:
    """Return a context that shows on a terminal how the work gets on."""
    from kie_ai_mcp._cli import terminal  # noqa: PLC0415  --help and `tasks list --json` need not pay for rich

    return terminal.progress()


def print_rows(
    rows: Sequence[Mapping[str, Any]], form: str | None, brief: Sequence[str], hidden: Sequence[str] = ()
) -> None:
    """Print rows: all of them as JSON, the `brief` columns as Markdown, the columns that are not empty as a table."""
    if form == "json":
        print_json(list(rows))
        return
    columns = brief if form else [name for name in (rows[0] if rows else {}) if any(row[name] for row in rows)]
    columns = [name for name in columns if name not in hidden]
    cells = [[_cell(row[name], code=form is not None and name != "description") for name in columns] for row in rows]
    if form == "markdown":
        lines = [columns, ["---"] * len(columns), *cells]
        click.echo("\n".join(f"| {' | '.join(line)} |" for line in lines))
    else:
        print_table(cells, columns)


def _cell(value: object, *, code: bool) -> str:
    """Return one value as text; names of tools as code where Markdown is printed."""
    if isinstance(value, list):
        return ", ".join(f"`{entry}`" if code else str(entry) for entry in value)
    return " ".join(str(value).split())
