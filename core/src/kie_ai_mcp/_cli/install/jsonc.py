"""Editor for JSON with comments: it changes one value and leaves every other character as it was."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_FIRST_INDENT = re.compile(r"\s*\{\s*?\n([ \t]+)\S")
_DECODER = json.JSONDecoder()

Members = dict[str, tuple[int, int, int]]  # where its key and its value begin, and where its value ends


class Malformed(ValueError):
    """A client's file does not have the form that it should have."""


def read(text: str) -> dict[str, Any]:
    """Return the object that a text holds; an empty text holds an empty one."""
    if not text.strip():
        return {}
    try:
        value = json.loads(_strict(text))
    except json.JSONDecodeError as exc:
        raise Malformed(f"line {exc.lineno}, column {exc.colno}: {exc.msg}") from None
    except ValueError:
        raise Malformed("a number of too many digits") from None
    except RecursionError:
        raise Malformed("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise Malformed("it is not an object")
    return value


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with `value` at `path`, where a number leads into a list; missing objects are created.

    Comments, order and layout of everything else stay. Where the value is the same already, nothing changes.
    """
    read(text)
    text = text if text.strip() else "{}\n"
    strict = _strict(text)
    at = strict.index("{")
    for depth, name in enumerate(path, 1):
        members, close = _members(strict, at)
        if name not in members:
            for key in reversed(path[depth:]):
                value = {key: value}
            key = f"{json.dumps(name)}: " if strict[at] == "{" else ""
            return _inserted(text, at, members, close, key, value)
        key_at, at, end = members[name]
        if depth < len(path):
            if strict[at] != ("[" if path[depth].isdigit() else "{"):
                raise Malformed(f"{name} is not an object")
        elif json.loads(strict[at:end]) != value:
            return text[:at] + _rendered(text, value, _indent_at(text, key_at)) + text[end:]
    return text


def remove(text: str, path: Sequence[str]) -> str:
    """Return the text without the member at `path`, and everything else as it was; where there is none, the text."""
    read(text)
    strict, plain = _strict(text), _COMMENT.sub(_blanked, text)
    at, members = (strict.index("{") if text.strip() else 0), Members()
    for name in path:
        members = _members(strict, at)[0] if text.strip() and strict[at] in "{[" else {}
        if name not in members:
            return text
        key_at, at, end = members[name]
    after = _next(plain, end)
    if plain[after] == ",":
        cuts = [(key_at, after + 1)]
    else:  # the last one takes the comma before it along
        before = max((stop for _, _, stop in members.values() if stop <= key_at), default=None)
        comma = None if before is None else plain.index(",", before)
        cuts = [(key_at, end), *([] if comma is None else [(comma, comma + 1)])]
    for start, stop in cuts:
        text = text[:start] + text[stop:]
        line = text.rfind("\n", 0, start) + 1
        line_end = text.find("\n", start)
        if line_end >= 0 and not text[line:line_end].strip():
            text = text[:line] + text[line_end + 1 :]
    return text


def _blanked(match: re.Match[str]) -> str:
    """Return blanks of the same length, with the line ends; return a string unchanged."""
    return match[0] if match[0].startswith('"') else re.sub(r"[^\r\n]", " ", match[0])


@lru_cache(maxsize=2)
def _strict(text: str) -> str:
    """Return strict JSON of the same length: comments and trailing commas are blanks."""
    return _LAST_COMMA.sub(_blanked, _COMMENT.sub(_blanked, text))


def _members(strict: str, at: int) -> tuple[Members, int]:
    """Return the members of the object or list that begins at `at`, and where it closes."""
    members: Members = {}
    is_object, at = strict[at] == "{", _next(strict, at + 1)
    while strict[at] not in "}]":
        start = key_at = _next(strict, at + 1) if strict[at] == "," else at
        key = str(len(members))
        if is_object:
            key, end = _DECODER.raw_decode(strict, key_at)
            start = _next(strict, _next(strict, end) + 1)
        _, end = _DECODER.raw_decode(strict, start)
        members[key] = key_at, start, end
        at = _next(strict, end)
    return members, at


def _next(strict: str, at: int) -> int:
    while strict[at].isspace():
        at += 1
    return at


def _inserted(text: str, opened: int, members: Members, close: int, key: str, value: Any) -> str:
    """Return the text with one more member at the end of an object."""
    newline, outer = _newline(text), _indent_at(text, opened)
    inner, trailing, comma, last = outer + _unit(text), "", "", opened + 1
    if members:
        begins_at, last = min(members.values())[0], max(end for _, _, end in members.values())
        begins = text[text.rfind("\n", 0, begins_at) + 1 : begins_at]
        inner = begins if begins.isspace() else inner
        trailing, comma = (",", "") if "," in _COMMENT.sub(_blanked, text[last:close]) else ("", ",")
    member = f"{newline}{inner}{key}{_rendered(text, value, inner)}{trailing}{newline}{outer}"
    return text[:last] + comma + text[last:close].rstrip() + member + text[close:]


def _rendered(text: str, value: Any, indent: str) -> str:
    return json.dumps(value, ensure_ascii=False, indent=_unit(text)).replace("\n", _newline(text) + indent)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _unit(text: str) -> str:
    match = _FIRST_INDENT.match(_strict(text))
    return match[1] if match else "  "


def _indent_at(text: str, at: int) -> str:
    """Return the blanks at the beginning of the line that holds a position."""
    line = text[text.rfind("\n", 0, at) + 1 :]
    return line[: len(line) - len(line.lstrip(" \t"))]
