"""Findings of ``doctor``: the result of each check, its cure, and how a line shows them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kie_ai_mcp._cli.console import echo, terminal

State = Literal["ok", "warn", "fail", "not checked"]
COLOURS: dict[State, str] = {"ok": "green", "warn": "yellow", "fail": "red", "not checked": "cyan"}
INDENT = " " * 21  # before what was found


@dataclass(frozen=True)
class Finding:
    """The result of one check; every result that warns or fails has a cure, one that was not made has a reason."""

    check: str
    state: State
    found: str
    cure: str = ""

    def show(self) -> None:
        """Print the result as a line, which a terminal shows with what was found in a column of its own."""
        is_made = self.state != "not checked"
        state, found = self.state if is_made else "-", f"{'' if is_made else 'Not checked: '}{self.found}"
        line = f"{state:<5} {self.check:<14} {found} {self.cure}".replace("\n", " ").rstrip()
        shown = terminal().wrapped(line, INDENT)
        echo(shown[:6], fg=COLOURS[self.state], bold=True, nl=False)
        echo(shown[6:])


Report = Callable[[Finding], None]  # takes each result as soon as it is there
