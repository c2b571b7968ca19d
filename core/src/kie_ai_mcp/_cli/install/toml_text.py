"""Editor for TOML files of clients: it changes one value and leaves everything else as it was."""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import tomlkit
from tomlkit.items import InlineTable

from kie_ai_mcp._cli.install.jsonc import Malformed

QUOTED = re.compile(r"""\(?["'].*["'],?\)?""", re.DOTALL)  # keys and characters of the file in an error's text


def read(text: str) -> dict[str, Any]:
    """Return what a text holds."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise Malformed(QUOTED.sub("...", str(exc))) from None
    except ValueError:
        raise Malformed("a number of too many digits") from None
    except RecursionError:
        raise Malformed("it is nested too deeply") from None


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with `value` at `path`; an empty line separates a new server from what follows."""
    document = tomlkit.parse(text)
    servers, *parents, key = path
    table: Any = document.setdefault(servers, tomlkit.table(is_super_table=True))
    if not isinstance(table, dict):
        raise Malformed(f"{servers} is not a table")
    for parent in parents:
        table = table[parent]
    table[key] = value
    if not parents and text.strip() and not isinstance(table, InlineTable):
        table[key].add(tomlkit.nl())
    edited = tomlkit.dumps(document)
    if not parents:
        edited = edited.rstrip("\r\n") + "\n"
    return with_line_ends_of(text, edited)


def remove(text: str, path: Sequence[str]) -> str:
    """Return the text without what is at `path`; tables of its own are cut out, which the editor can't always do."""
    name = r"\s*\.\s*".join(rf"""(?:{re.escape(key)}|(["']){re.escape(key)}\{at})""" for at, key in enumerate(path, 1))
    lines, kept, is_ours = text.splitlines(keepends=True), [], False
    for number, line in enumerate(lines):
        if re.match(r"\s*\[", line):
            is_ours = re.match(rf"\s*\[\s*{name}\s*[.\]]", line) is not None
        # What comments the next table stays with it.
        rest = next((other for other in lines[number:] if other.strip() and not other.lstrip().startswith("#")), "[")
        if not is_ours or (rest.lstrip().startswith("[") and rest is not line):
            kept.append(line)
    if len(kept) < len(lines):
        return "".join(kept)
    document = tomlkit.parse(text)
    table: Any = document
    for parent in path[:-1]:
        table = table[parent]
    table.remove(path[-1])
    return with_line_ends_of(text, tomlkit.dumps(document))


def with_line_ends_of(text: str, edited: str) -> str:
    """Return an edited text with the line ends of the text that it was, where these are all CRLF."""
    is_crlf = 0 < text.count("\n") == text.count("\r\n")
    return re.sub(r"(?<!\r)\n", "\r\n", edited) if is_crlf else edited
