"""Tables and progress on a terminal, drawn with rich, which takes 40 ms to import."""

import os
import re
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kie_ai_mcp._flow.engine import Say
from kie_ai_mcp._flow.waiting import CLOCK
from kie_ai_mcp._settings.installation import typed_command, with_commands
from kie_ai_mcp._settings.logging import visible

GAP = 2  # blanks between two columns
LEAST = 10  # the fewest columns of the screen that a text is cut to
NUMBER = re.compile(r"[~\d.,:%-]*")
GLUE = "\ue000"  # stands for a blank at which no line is broken
# What belongs to a command of this program in a text: the words after its name, then values and options.
WORDS = r"(?:(?<![;,.:)]) [a-z][\w.-]*){0,3}"
OPTIONS = r"(?:(?<![;,.:)]) (?:-\S+(?: [^\s(-]\S*)?|[^a-z(\s]\S*))*"
# What is copied from a text as it stands: quoted paths, paths with blanks in them, and commands of other programs.
QUOTED_PATH = r"(?<!\w)'[^'\n]*[/\\][^'\n]*'"
PATH = r"(?<![^\s(])(?:~?/|[A-Za-z]:\\)\S*(?:(?: [^\s/\\]+){1,4}[/\\]\S*)*"
PACKAGE = r"(?:-\S+|'[^'\n]*'|[^\s-]\S*[-/\\\[=@]\S*?)(?=[,.;:)]*(?:\s|$))"
INSTALLER = (
    r"(?<![\w.-])(?:\S*[/\\])?(?:uvx?|pipx?|conda|mamba|micromamba|python[\d.]*)(?:\.exe)?'?"
    rf"(?: (?:(?:run|tool|pip|install|inject|upgrade)\b|{PACKAGE}))+|sqlite3 \S+ \.recover \| sqlite3 \S+"
)
HEARTBEAT_S = 60.0  # between two equal lines of progress that no terminal shows
Cells = list[list[str]]


def print_table(
    rows: Sequence[Sequence[str]],
    columns: Sequence[str],
    *,
    cut: Sequence[str] = (),
    wrapped: Sequence[str] = (),
    stacked: Sequence[str] = (),
    title: str | None = None,
) -> None:
    """Print rows as a table that fits the terminal; elsewhere each row is one line, whole.

    Where there is too little room, columns that are `stacked` come below each other in one, texts in those that are
    `cut` end with an ellipsis, and `wrapped` ones take several lines. All others are ids and numbers, which stay whole:
    where even that leaves no room, each row is printed as lines of its own.
    """
    console = Console()
    is_whole = not console.is_terminal and "COLUMNS" not in os.environ
    cells = [[visible(" ".join(cell.split())) for cell in row] for row in rows]
    names, flexible = list(columns), {*cut, *wrapped}
    widths = _widths(names, cells)
    width = max(console.width, sum(widths) + GAP * len(widths)) if is_whole else console.width
    if len(stacked) > 1 and _total(widths) > width:
        names, cells = _stacked(names, cells, stacked)
        flexible |= {names[-1]}
        wrapped = (*wrapped, names[-1]) if {*stacked} <= {*wrapped} else wrapped
        widths = _widths(names, cells)
    if not _fit(names, widths, flexible, width):
        _print_blocks(console, cells, names)
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", title=title)
    table.title_justify = "left"
    for name, room, column in zip(names, widths, zip(*cells, strict=True) if cells else [()] * len(names), strict=True):
        is_number = name not in flexible and all(NUMBER.fullmatch(cell) for cell in column)
        wraps = name in wrapped
        table.add_column(
            name,
            width=room,
            justify="right" if is_number else "left",
            no_wrap=not wraps,
            overflow="fold" if wraps else "ellipsis",
        )
    for row in cells:
        table.add_row(*map(Text, row))
    if is_whole:
        console = Console(width=width)
    console.print(table)


def is_shown() -> bool:
    """Return whether what is printed is shown on a terminal."""
    return Console().is_terminal


def wrapped(text: str, indent: str = "", *, err: bool = False) -> str:
    """Return a paragraph with its lines broken between words, where it is shown on a terminal.

    Paths and commands, those of this program written as a person types them here, stay whole: one that is too long for
    a line has a line of its own.
    """
    console, glued = Console(stderr=err), with_commands(text, typed_command())
    if not console.is_terminal:
        return text
    program = re.escape(typed_command())
    for whole in (f"`[^`]*`|{program}{WORDS}{OPTIONS}", QUOTED_PATH, PATH, INSTALLER):
        glued = re.sub(whole, lambda found: found[0].replace(" ", GLUE), glued)
    lines = textwrap.wrap(
        glued, console.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    fitting = (
        line[min(len(indent), max(0, len(line) - console.width)) :] if number else line
        for number, line in enumerate(lines)
    )
    return "\n".join(fitting).replace(GLUE, " ")


def _widths(names: Sequence[str], cells: Cells) -> list[int]:
    """Return the columns of the screen that each column of the table would like."""
    columns = zip(names, *cells, strict=True)
    return [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _stacked(names: Sequence[str], cells: Cells, stacked: Sequence[str]) -> tuple[list[str], Cells]:
    """Return a table with some of its columns below each other in the last one."""
    places = [names.index(name) for name in stacked]
    others = [place for place in range(len(names)) if place not in places]
    rows = [[*(row[at] for at in others), "\n".join(row[at] for at in places if row[at])] for row in cells]
    return [*(names[at] for at in others), ", ".join(stacked)], rows


def _fit(names: Sequence[str], widths: list[int], flexible: set[str], width: int) -> bool:
    """Take room from the widest of the flexible columns until the table fits; return whether it can."""
    while _total(widths) > width:
        room, at = max((widths[at], at) for at in range(len(names)) if names[at] in flexible or not flexible)
        if names[at] not in flexible or room <= LEAST:
            return False
        widths[at] -= 1
    return True


def _print_blocks(console: Console, cells: Cells, names: Sequence[str]) -> None:
    """Print each row as a block with a line for each value that it has."""
    blocks = []
    for row in cells:
        lines = [f"{name}: {', '.join(cell.splitlines())}" for name, cell in zip(names, row, strict=True) if cell]
        blocks.append("\n".join(wrapped(line, "  ") for line in lines))
    console.print(Text("\n\n".join(blocks)), soft_wrap=True)


class _Line:
    """One line of progress: what is running, with one clock, which goes on between two messages."""

    def __init__(self) -> None:
        self.began = self.told_at = time.monotonic()
        self.message = "starting"
        self.spinner = Spinner("dots")

    def tell(self, message: str) -> None:
        self.message, self.told_at = visible(message), time.monotonic()

    def text(self) -> str:
        """Return the message, with the seconds in it as they are now, else those since the beginning."""
        now = time.monotonic()
        clock = CLOCK.search(self.message)
        if clock is None:
            return f"{self.message}, {now - self.began:.0f} s"
        seconds = int(clock[1]) + int(now - self.told_at)
        return f"{self.message[: clock.start(1)]}{seconds}{self.message[clock.end(1) :]}"

    def __rich__(self) -> Table:
        line = Table.grid(padding=(0, 1))
        line.add_row(self.spinner, Text(self.text(), no_wrap=True, overflow="ellipsis"))
        return line


@contextmanager
def progress() -> Iterator[Say]:
    """Show on stderr how the work gets on: one line that is updated at a terminal, a line a change elsewhere."""
    line, console = _Line(), Console(stderr=True)
    if console.is_terminal:

        async def update(message: str, _share: float | None) -> None:
            line.tell(message)

        with Live(line, console=console, transient=True, refresh_per_second=8):
            yield update
        return
    said, said_at = "", 0.0

    async def write(message: str, _share: float | None) -> None:
        nonlocal said, said_at
        line.tell(message)
        what, now = re.sub(r"\d+", "", line.message), time.monotonic()
        if what != said or now - said_at >= HEARTBEAT_S:
            said, said_at = what, now
            console.file.write(f"{line.text()}\n")
            console.file.flush()

    yield write
