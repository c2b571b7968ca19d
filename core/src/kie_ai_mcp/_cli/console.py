"""What every command shares: an opened record, progress and tables for people, JSON for programs, moments in words."""

import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
PIPE_WIDTH = 160
"""Columns of a table that is not shown on a terminal."""

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}

Value = TypeVar("Value")


def exit_code_of(error: KieError) -> int:
    """Return 2 where the caller has to change a setting or an argument, 1 where the work itself failed."""
    return WRONG_USAGE if isinstance(error, ConfigError | InvalidArgument) else FAILED


def complain(message: str) -> None:
    """Say one line on stderr."""
    click.echo(f"{PROGRAM}: {' '.join(message.split())}", err=True)


def end(code: int) -> NoReturn:
    """End the command with an exit code."""
    click.get_current_context().exit(code)


# -- the work ---------------------------------------------------------------------------------------------------------


def run_with_app(settings: Settings, work: Callable[[App], Awaitable[Value]]) -> Value:
    """Open providers and record as the server does, do the work, close.

    Raises:
        KieError: What opening or the work raised, as it was.
    """
    app = App.open(settings)

    async def story() -> Value:
        async with app.engine.running():
            return await work(app)

    return anyio.run(story)


def saving_in(settings: Settings, folder: Path | None) -> Settings:
    """Return settings that save results in `folder`, where one is given."""
    return settings if folder is None else settings.model_copy(update={"output_dir": folder.absolute()})


@contextmanager
def progress() -> Iterator[Say]:
    """Show on a terminal's stderr how the work gets on; elsewhere nothing is written."""
    from rich.console import Console  # noqa: PLC0415  only commands that wait need it
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("starting", total=None)

        async def say(message: str, share: float | None) -> None:
            bars.update(bar, description=message, total=None if share is None else 1.0, completed=share or 0.0)

        yield say


# -- options ----------------------------------------------------------------------------------------------------------


def moment(text: str) -> datetime:
    """Return a day, a time, or the moment that an age such as ``30d`` ago was, in UTC.

    Raises:
        click.BadParameter: It is none of them.
    """
    age = re.fullmatch(r"(\d{1,6})\s*([smhdw])", text.strip())
    try:
        if age:
            return datetime.now(UTC) - timedelta(seconds=int(age[1]) * UNITS_S[age[2]])
        named = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no age such as 30d or 12h (s, m, h, d, w) and no date such as 2026-11-02."
        ) from None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


class UserPath(click.Path):
    """A path in which ~ is filled in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return it; fail where nobody's home is known by that name."""
        try:
            return at_home(Path(os.fsdecode(super().convert(value, param, ctx))))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def show_table(rows: Sequence[Sequence[str]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Print rows as a table."""
    from rich.console import Console  # noqa: PLC0415  costs what --json need not pay
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(show_edge=False, header_style="bold", title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


def show_rows(
    rows: Sequence[Mapping[str, Any]], form: str | None, brief: Sequence[str], hidden: Sequence[str] = ()
) -> None:
    """Print rows: all of them as JSON, the `brief` columns as Markdown, those that say anything as a table."""
    if form == "json":
        show_json(list(rows))
        return
    columns = brief if form else [name for name in (rows[0] if rows else {}) if any(row[name] for row in rows)]
    columns = [name for name in columns if name not in hidden]
    cells = [[_cell(row[name], code=form is not None and name != "description") for name in columns] for row in rows]
    if form == "markdown":
        lines = [columns, ["---"] * len(columns), *cells]
        click.echo("\n".join(f"| {' | '.join(line)} |" for line in lines))
    else:
        show_table(cells, columns)


def _cell(value: object, *, code: bool) -> str:
    """Return one value as text; names of tools as code where Markdown is printed."""
    if isinstance(value, list):
        return ", ".join(f"`{entry}`" if code else str(entry) for entry in value)
    return " ".join(str(value).split())
