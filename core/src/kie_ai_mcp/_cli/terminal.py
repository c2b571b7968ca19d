"""Tables and progress bars on a terminal, drawn with rich, which takes 40 ms to import."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from kie_ai_mcp._flow.engine import Say
from kie_ai_mcp._settings.logging import visible

PIPE_WIDTH = 160  # columns of a table that is not shown on a terminal


def print_table(rows: Sequence[Sequence[str]], columns: Sequence[str], *, title: str | None = None) -> None:
    """Print rows as a table."""
    table = Table(show_edge=False, header_style="bold", title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


@contextmanager
def progress() -> Iterator[Say]:
    """Show on a terminal's stderr how the work gets on; elsewhere nothing is written."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("starting", total=None)

        async def say(message: str, share: float | None) -> None:
            bars.update(bar, description=visible(message), total=None if share is None else 1.0, completed=share or 0.0)

        yield say
