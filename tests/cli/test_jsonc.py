"""JSON with comments: edits in place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kie_ai_mcp._cli.install.jsonc import Malformed, put, read

PATH = ("servers", "kie", "command")
WORDS = st.sampled_from(["servers", "kie", "command", "a", "ä/*b*/", "// c", 'q"uote', "comma,", "{brace}"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
GAPS = st.sampled_from(["", " ", "\n", "\r\n  ", " // it, {says}\n", '/* "a": 1 } */', "\n\t/* two\n lines */\n"])


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A JSON object with comments and trailing commas anywhere they may be, and what it means."""

    def written(value: Any) -> str:
        gap = draw(GAPS)
        if isinstance(value, dict):
            return _enclosed(
                "{}", [f"{gap}{text(key)}{draw(GAPS)}:{draw(GAPS)}{written(entry)}" for key, entry in value.items()]
            )
        if isinstance(value, list):
            return _enclosed("[]", [f"{gap}{written(entry)}" for entry in value])
        return text(value)

    def _enclosed(brackets: str, parts: list[str]) -> str:
        last = draw(st.sampled_from(["", ","])) if parts else ""
        return f"{brackets[0]}{draw(GAPS)}{','.join(parts)}{draw(GAPS)}{last}{draw(GAPS)}{brackets[1]}"

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=draw(st.booleans()))

    meaning = draw(st.dictionaries(WORDS, VALUES, max_size=3))
    return draw(GAPS) + written(meaning) + draw(GAPS), meaning


def expected(meaning: Any, path: tuple[str, ...], value: Any) -> Any:
    """What is meant once a value is put at a path."""
    if not path:
        return value
    return {**meaning, path[0]: expected(meaning.get(path[0], {}), path[1:], value)}


def can_hold(meaning: Any, path: tuple[str, ...]) -> bool:
    """Whether everything on the way is an object."""
    return not path or (isinstance(meaning, dict) and can_hold(meaning.get(path[0], {}), path[1:]))


@given(texts(), VALUES)
def test_what_is_put_in_is_there_and_the_rest_means_what_it_meant(
    written: tuple[str, dict[str, Any]], value: Any
) -> None:
    text, meaning = written
    assert read(text) == meaning
    if not can_hold(meaning, PATH):
        with pytest.raises(Malformed, match="is not an object"):
            put(text, PATH, value)
        return
    after = put(text, PATH, value)
    assert read(after) == expected(meaning, PATH, value)
    assert put(after, PATH, value) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "a": {\n    "b": 1\n  }\n}\n'),
        ('{\n\t"x": 0\n}\n', '{\n\t"x": 0,\n\t"a": {\n\t\t"b": 1\n\t}\n}\n'),
        ('{\r\n  "a": {}\r\n}\r\n', '{\r\n  "a": {\r\n    "b": 1\r\n  }\r\n}\r\n'),
        ('{\n    // mine\n    "a": { "b": 2 }, // two\n}', '{\n    // mine\n    "a": { "b": 1 }, // two\n}'),
        ('{\n  "a": {\n    "c": 2 // last\n  }\n}', '{\n  "a": {\n    "c": 2, // last\n    "b": 1\n  }\n}'),
        ('{\n  "a": {\n    "c": 2, // last\n  }\n}', '{\n  "a": {\n    "c": 2, // last\n    "b": 1,\n  }\n}'),
    ],
)
def test_layout_and_comments_stay(before: str, after: str) -> None:
    assert put(before, ("a", "b"), 1) == after


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1, column 2"),
        ('{"a": 1}}', "line 1, column 9"),
        ('{\n"a": 1\n"b": 2}', "line 3, column 1"),
        ("[1]", "not an object"),
        ("null", "not an object"),
        ('{"a": /* open', "column"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_object_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        read(text)
