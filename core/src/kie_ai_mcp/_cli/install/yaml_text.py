"""Editor for YAML files of clients: it changes one value, and refuses files that it can't write as they are."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.composer import ComposerError
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.util import load_yaml_guess_indent

from kie_ai_mcp._cli.install.jsonc import Malformed

WIDTH = 1_000_000  # no line is folded
NOTHING = ("null", "", "~")  # as files write a value that is none
# What is wrong, by the library's class of error: its own words quote the file, which holds keys and tokens.
REASONS: dict[type[Exception], str] = {
    DuplicateKeyError: "a key stands there twice",
    ComposerError: "an alias without its anchor, or a second document",
    ConstructorError: "a tag or a key of a form that is not supported",
    YAMLError: "no valid YAML",
    ValueError: "a value that can't be read",
    RecursionError: "it is nested too deeply",
}


def read(text: str) -> dict[str, Any]:
    """Return the mapping that a text holds; an empty text holds an empty one."""
    with _without_quotes():
        value = YAML(typ="safe", pure=True).load(text)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed("it is not a mapping")
    return value


@contextmanager
def _without_quotes() -> Iterator[None]:
    """Raise Malformed for errors of the library, without a word of the file; drop its warnings, which quote it, too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except tuple(REASONS) as exc:
        mark = exc.problem_mark if isinstance(exc, MarkedYAMLError) else None
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise Malformed(place + next(text for kind, text in REASONS.items() if isinstance(exc, kind))) from None


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with `value` at `path`; a new server comes first, since comments belong to what they follow."""
    return _edited(text, path, value)


def remove(text: str, path: Sequence[str]) -> str:
    """Return the text without what is at `path`."""
    return _edited(text, path, None)


def _edited(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text with a value, or without it where it is None; raise ValueError where more would change."""
    mapping, editor = _opened(text.replace("\r\n", "\n"))
    whole = mapping
    *parents, key = path
    for parent in parents:
        if mapping.get(parent) is None and value is not None:
            mapping[parent] = CommentedMap()
        mapping = mapping[parent]
        if not isinstance(mapping, dict):
            raise Malformed(f"{parent} is not a mapping")
    if value is None:
        del mapping[key]
    elif key in mapping or not isinstance(mapping, CommentedMap):
        mapping[key] = value
    else:
        mapping.insert(0, key, value)
    edited = _written(editor, whole)
    if lost := _comments(text) - _comments(edited):
        raise ValueError(f"the comment {next(iter(lost))!r} would be lost")
    return edited.replace("\n", "\r\n") if "\r\n" in text else edited


def _opened(text: str) -> tuple[Any, YAML]:
    """Return what a text holds, and the editor that writes it in the same way."""
    with _without_quotes():
        _, indent, offset = load_yaml_guess_indent(text)
    for nothing in NOTHING:
        editor = YAML()
        editor.Representer = _representer(nothing)
        editor.preserve_quotes = True
        editor.width = WIDTH
        editor.explicit_start = text.startswith("---")
        editor.indent(sequence=indent or 2, offset=offset or 0)
        with _without_quotes():
            whole = editor.load(text)
        if whole is None:
            if text.strip():
                raise ValueError("it holds comments alone")
            return CommentedMap(), editor
        if _written(editor, whole) == text:
            return whole, editor
    raise ValueError("it is written in a way that would change")


def _representer(nothing: str) -> type[RoundTripRepresenter]:
    class Representer(RoundTripRepresenter):
        """Writes a value that is none as the file does."""

    Representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", nothing)
    )
    return Representer


def _written(editor: YAML, whole: Any) -> str:
    stream = StringIO()
    editor.dump(whole, stream)
    return stream.getvalue()


def _comments(text: str) -> Counter[str]:
    return Counter(line.strip() for line in text.splitlines() if line.strip().startswith("#"))
