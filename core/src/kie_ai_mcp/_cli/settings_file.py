"""Changes of the settings file: values are set or removed, and comments and everything else stay as they are."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import tomlkit
from tomlkit.exceptions import TOMLKitError

from kie_ai_mcp._cli.console import PROGRAM
from kie_ai_mcp._cli.install.toml_text import with_line_ends_of
from kie_ai_mcp._cli.text_files import TextFile
from kie_ai_mcp._record.database import file_lock
from kie_ai_mcp._settings.folders import cure_of_access, why_unwritable
from kie_ai_mcp._settings.load import config_file, load_settings, settings_of
from kie_ai_mcp._settings.settings import PREFIX
from kie_ai_mcp.errors import ConfigError, shorten

FOLDERS = {"output_dir", "upload_roots"}
Values = Mapping[str, Any]
Change = Values | Callable[[Values], Values]  # what is to be set, or what makes it from what the file holds
HEAD = f"# Settings of {PROGRAM}. All of them, with their meanings: {PROGRAM} config show\n"


def change_settings(change: Change, path: Path | None = None) -> Path:
    """Write settings into the settings file, which only its owner may read, and return its path; None removes one.

    The name of one in a section has dots: ``tools.generate_veo3_video.model``. A value that the server would refuse, or
    a file that can't be changed without losing something, is an error, and nothing is written. A function gives the
    values from those in the file, which no other command changes before they are written.
    """
    path = path or config_file()
    file, after = _plan(path, change)
    if after != file.text:
        with _alone(file):
            file, after = _plan(path, change)
            file.replace(after, private=True)
    return path


@contextmanager
def _alone(file: TextFile) -> Iterator[None]:
    """Let no other command change a settings file meanwhile: what two write would be what the second one had read."""
    target = file.check_target()
    try:
        with file.errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            lock = file_lock(f"{target}.lock")
            lock.acquire()
    except TimeoutError:
        reason = f"{file.path} is being changed by another command, so nothing was written. Run this again."
        raise click.ClickException(reason) from None
    try:
        yield
    finally:
        lock.release()


def check_change(values: Mapping[str, Any]) -> None:
    """Raise what `change_settings` would raise, and write nothing."""
    file, after = _plan(config_file(), values)
    if after != file.text:
        file.check()


def _plan(path: Path, change: Change) -> tuple[TextFile, str]:
    """Return a settings file, and the text that it is to have."""
    file = TextFile.read(path, cure="KIE_AI_CONFIG names another file.")
    values = change(_parsed(path, file.text)) if callable(change) else change
    return file, _changed(path, file.text, values)


def check_settings(values: Mapping[str, Any]) -> None:
    """Raise ConfigError where the server would refuse one of these values in its settings file."""
    with judged(values) as (environ, faults):
        load_settings(environ, faults)
    if faults:
        raise faults[0]
    check_folders(values)


def check_folders(values: Mapping[str, Any]) -> None:
    """Raise ConfigError where a folder among these values, which the server takes, is of no use on this machine."""
    settings = settings_of({name: values[name] for name in FOLDERS & values.keys() if values[name]}, {})
    if settings.output_dir and (reason := why_unwritable(settings.output_dir)):
        cure = cure_of_access(settings.output_dir, "Name another folder; mount its drive first if it is on one.")
        raise ConfigError(f"output_dir: {reason}.", next_step=cure, where=("output_dir",))
    for root in settings.upload_roots:
        if not root.is_dir():
            reason = "is a file, not a folder" if root.exists() else "is no folder"
            cure = "Make the folder first, or name another."
            raise ConfigError(f"upload_roots: {root} {reason}.", next_step=cure, where=("upload_roots",))


@contextmanager
def judged(values: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], list[ConfigError]]]:
    """Give the environment of a server whose settings file holds these values alone, and a list for its faults.

    At the end, the faults name this user's own settings file.
    """
    faults: list[ConfigError] = []
    with TemporaryDirectory() as folder:
        file = Path(folder, "config.toml")
        file.touch(mode=0o600)
        change_settings(values, file)
        yield {f"{PREFIX}CONFIG": str(file)}, faults
    for fault in faults:
        # The value that is wrong stands in no file yet.
        fault.message = fault.message.replace(f" in {file}", "").replace(str(file), str(config_file()))


def plain_number(value: float) -> float | int:
    """Return a number as one writes it: without a point where it is whole."""
    return int(value) if value.is_integer() else value


def settings_in(path: Path) -> dict[str, Any]:
    """Return what a settings file holds; nothing where there is none."""
    return _parsed(path, TextFile.read(path).text)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _malformed(path, exc) from None


def settings_after(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a settings file after a change; a section that is empty then goes, too."""
    after = dict(values)
    for name, value in change.items():
        first, _, rest = name.partition(".")
        section = after.get(first, {})
        if rest and not isinstance(section, dict):
            raise ConfigError(
                f"{first} in the settings file is {shorten(section)}, and no section.", next_step="Correct it."
            )
        inner = settings_after(section, {rest: value}) if rest else value
        if inner is None or inner == {}:
            after.pop(first, None)
        else:
            after[first] = inner
    return after


def _changed(path: Path, text: str, values: Mapping[str, Any]) -> str:
    """Return the file's text with these values in it; what is there already stays as it is written."""
    try:
        before = tomllib.loads(text)
        expected = settings_after(before, values)
        after = _uncommented(text, values)
        if tomllib.loads(after) != expected:
            after = text
            for name in (name for name in values if values[name] is None):
                after = _without(after, name.split("."))
            document = tomlkit.parse(after)
            for name, value in values.items():
                _enter(document, name.split("."), value)
            after = tomlkit.dumps(document)
        after = with_line_ends_of(text, after)
        is_sound = tomllib.loads(after) == expected
    except (tomllib.TOMLDecodeError, TOMLKitError) as exc:
        raise _malformed(path, exc) from None
    if not is_sound:
        cure = f"Enter it by hand: {', '.join(values)}."
        raise ConfigError(f"{path} would have changed in more than this, so nothing was written.", next_step=cure)
    return after if text else HEAD + after


def _malformed(path: Path, exc: Exception) -> ConfigError:
    return ConfigError(f"The settings file {path} is not valid TOML: {exc}.", next_step="Correct it.")


def _uncommented(text: str, values: Mapping[str, Any]) -> str:
    """Return the text with values in the place of their examples, as a fresh file has them: ``# NAME = EXAMPLE``."""
    for name, value in values.items():
        if value is not None:
            line = tomlkit.dumps({name: value}).strip()
            text = re.sub(rf"(?m)^# {re.escape(name)} = [^\r\n]*", line.replace("\\", "\\\\"), text, count=1)
    return text


def _without(text: str, names: Sequence[str]) -> str:
    """Return the text without a setting, and without its section's line where that is empty then; comments stay.

    What the editor of TOML does not keep is cut out line by line. Where no lines are the setting and nothing else, as
    in a section that stands in one line, the text is returned as it is.
    """
    expected = settings_after(tomllib.loads(text), {".".join(names): None})
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    named = re.compile(rf"""[^=#\[]*?(?<![\w-])["']?{re.escape(names[-1])}["']?\s*=""")
    for start in (number for number, line in enumerate(lines) if named.match(line)):
        for end in range(start + 1, len(lines) + 1):
            left = lines[:start] + lines[end:]
            if _holds(left, expected, emptied=names[:-1]):
                return "".join(_without_headers(left, names[:-1], expected))
    return text


def _without_headers(lines: Sequence[str], section: Sequence[str], expected: Mapping[str, Any]) -> Sequence[str]:
    """Return lines without those that begin a section, from the innermost, if only this gives what is expected."""
    for number in reversed(range(len(lines))):
        if _holds(lines, expected):
            break
        if header := re.match(r"\s*\[[^\[#]*\]\s*(#.*)?$", lines[number]):
            comment = [f"{header[1]}\n"] if header[1] else []
            left = [*lines[:number], *comment, *lines[number + 1 :]]
            lines = left if _holds(left, expected, emptied=section) else lines
    return lines


def _holds(lines: Sequence[str], expected: Mapping[str, Any], emptied: Sequence[str] = ()) -> bool:
    """Return whether lines hold what is expected, but for an empty section of a name, or one within another."""
    try:
        values = tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    spare = [".".join(emptied[:length]) for length in range(len(emptied), 0, -1)]
    for name in spare:
        if values == expected:
            break
        values = _less_if_empty(values, name.split("."))
    return values == expected


def _less_if_empty(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    first, *rest = names
    inner = values.get(first)
    if rest and isinstance(inner, dict):
        return {**values, first: _less_if_empty(inner, rest)}
    return {name: value for name, value in values.items() if name != first or value != {}}


def _enter(table: Any, names: Sequence[str], value: Any) -> None:
    """Set a value in a table of tables, or remove it where it is None, and with it what is empty then."""
    first, *rest = names
    if not rest:
        if value is not None and table.get(first) != value:
            table[first] = value
        elif value is None and first in table:
            table.remove(first)
        return
    if first not in table:
        if value is None:
            return
        table[first] = tomlkit.table(is_super_table=len(rest) > 1)
    _enter(table[first], rest, value)
    if not table[first]:
        table.remove(first)
