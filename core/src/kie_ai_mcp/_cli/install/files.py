"""Change of a client's file: read, shown without the secrets of others, confirmed, and written beside a copy."""

import os
import re
import shutil
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click

from kie_ai_mcp._cli.console import echo, file_errors
from kie_ai_mcp._media.files import replacing

# Strings and comments of JSON and TOML, the longest forms first; a string that is followed by : or = is a key.
WORDS = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""|\'{3}.*?\'{3}|"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\n]*'|//[^\n]*|\#[^\n]*|/\*.*?\*/''',
    re.DOTALL,
)
NAME, AFTER_A_NAME = re.compile(r"""["'][\w .@/-]*["']"""), re.compile(r"\s*[:=]")
COLOURS = {"+": "green", "-": "red"}
BOM = "\ufeff"


def read(path: Path) -> str:
    """Return the text of a client's file; an empty one where there is none."""
    try:
        with file_errors(path, "read", "Check its permissions."):
            return path.read_bytes().decode("utf-8") if path.exists() else ""
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text, so it was not changed. Save it as UTF-8.") from None


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


def ask(path: Path, otherwise: str = " --print shows the entry again.") -> None:
    """Ask the person whether the file may be written; raise what click raises where the answer is not yes."""
    try:
        if click.confirm(f"Write this to {path}?", default=True, err=True):
            return
        reason = f"nothing was written, as you wished.{otherwise}"
    except click.Abort:
        reason = "no answer was given, so nothing was written. --yes writes without asking."
    raise click.ClickException(reason)


def write(path: Path, before: str, after: str, *, private: bool) -> Path | None:
    """Replace the file in one step; return the path of a copy of the old one, or None where there was no file."""
    target = Path(os.path.realpath(path))  # a link stays one
    backup = None
    with file_errors(path, "written", "Check its folder's permissions."):
        if target.is_symlink():
            raise click.ClickException(f"{path} is a link that leads in a circle, so nothing was written.")
        if target.exists() and not target.stat().st_mode & stat.S_IWUSR:
            raise click.ClickException(
                f"{path} is read-only, so nothing was written. Make it writable, or use --print."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        if read(path) != before:
            raise click.ClickException(f"{path} was changed meanwhile, so nothing was written. Run this again.")
        if target.exists():
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # the user's own time
            backup = target.with_name(f"{target.name}.{stamp}.bak")
            shutil.copy2(target, backup)
        with replacing(target, mode=0o600 if private or backup else 0o666, fsync=True) as file:
            file.write(after.encode())
            if backup is not None and not private:
                shutil.copymode(target, file.name)
    return backup
