"""Change of a client's file as it is shown, without the secrets of others, and confirmed."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import click

from kie_ai_mcp._cli.console import echo

# Strings and comments of JSON and TOML, the longest forms first; a string that is followed by : or = is a key.
WORDS = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""|\'{3}.*?\'{3}|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\n]*'|//[^\n]*|\#[^\n]*|/\*.*?\*/''',
    re.DOTALL,
)
NAME, AFTER_A_NAME = re.compile(r"""["'][\w .@/-]*["']"""), re.compile(r"\s*[:=]")
COLOURS = {"+": "green", "-": "red"}


def without_secrets(text: str, public: str, *, plain: bool) -> str:
    """Return a client's file with its keys and what is in `public` as well, and with nothing else.

    It holds the secrets of other servers, in forms that nobody can list. In a `plain` form, YAML, words need no quotes,
    so a line is shown if it is one of `public`, and else its key alone.
    """
    known = {line.strip() for line in public.splitlines()} if plain else set(WORDS.findall(public))

    def shown_line(line: str) -> str:
        key = re.match(r"\s*(?:- )?[\w.@/-]+:(?=\s|$)", line)
        return line if line.strip() in known or (key and key[0] == line) else f"{key[0] if key else ''} [not shown]"

    def shown(match: re.Match[str]) -> str:
        word, text = match[0], match.string
        is_key = NAME.fullmatch(word) and AFTER_A_NAME.match(text, match.end())
        return word if is_key or word in known else "[not shown]" + "\n" * word.count("\n")

    return "\n".join(map(shown_line, text.split("\n"))) if plain else WORDS.sub(shown, text)


def show_change(before: str, after: str, path: Path, masked: Callable[[str], str]) -> None:
    """Show the lines that change on stderr, each as `masked` gives it."""
    texts = {sign: text.split("\n") for sign, text in (("-", before), ("+", after))}
    start = len(os.path.commonprefix([*texts.values()]))  # noqa: RUF071  it takes any sequences
    kept = len(os.path.commonprefix([lines[start:][::-1] for lines in texts.values()]))  # noqa: RUF071
    echo(f"--- {path}\n+++ {path} (new)\n@@ from line {start + 1} @@", err=True)
    for sign, lines in texts.items():
        for line in masked("\n".join(lines)).split("\n")[start : len(lines) - kept]:
            echo(f"{sign}{line}", err=True, fg=COLOURS[sign])


def ask(path: Path, otherwise: str = " --print shows the entry again.", question: str = "Write this to") -> None:
    """Ask the person whether the file may be written; raise what click raises where the answer is not yes."""
    try:
        if click.confirm(f"{question} {path}?", default=True, err=True):
            return
        reason = f"nothing was written, as you wished.{otherwise}"
    except click.Abort:
        reason = "no answer was given, so nothing was written. --yes writes without asking."
    raise click.ClickException(reason)
