"""Extracts of facts in the repository: complete, without prose, and equal to their sources where those are at hand."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.helpers import LIMIT_S
from tests.service import facts

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "extract_service_facts.py"
SOURCES = {"service": ROOT.parent / "shared" / "kie-api", "protocol": ROOT.parent / "shared" / "mcp-schema"}
PROTOCOL = sorted((ROOT / "tests" / "protocol").glob("*.json"))

RAW: dict[str, Any] = {
    "b/two": {
        "title": "A title",
        "source": "https://example.com",
        "kind": "image",
        "task": "text-to-image",
        "notes": ["a sentence"],
        "input": {
            "type": "object",
            "description": "A sentence.",
            "properties": {
                "title": {"type": "string", "title": "A title", "maxLength": 9},
                "sizes": {"type": "array", "items": {"enum": ["1:1"], "description": "A sentence."}, "maxItems": 2},
                "shape": {"oneOf": [{"required": ["title"], "description": "A sentence."}]},
            },
            "required": ["title"],
            "x-order": ["title"],
        },
    },
    "a/one": {"title": "A title", "kind": "video", "task": "other", "checked": "2026-10-01", "input": {}, "notes": []},
}
OPERATIONS = {
    "POST /one": {"title": "A title", "server": "https://example.com", "source": "x", "params": [], "body": {}}
}
RULES = {"_about": {"what": "A sentence."}, "a/one": [{"kind": "not_both", "fields": ["x", "y"]}]}
PRICES = """Words.

| model | setting | credits | USD | source | date |
|---|---|---|---|---|---|
| a/one | 5 s / 10 s | 4 / 8 | 0.02 / 0.04 | M | 2026-10-02 |
"""


def extract(kind: str, source: Path, target: Path) -> dict[str, bytes]:
    """Return the files that the tool writes, by name."""
    target.mkdir()
    subprocess.run([sys.executable, TOOL, kind, source, target], timeout=LIMIT_S, check=True)
    return {path.name: path.read_bytes() for path in target.iterdir()}


def test_extract_keeps_facts_and_leaves_out_prose(tmp_path: Path) -> None:
    (tmp_path / "market-models.json").write_text(json.dumps(RAW), encoding="utf-8")
    for name in ("rules", "media", "prices"):
        (tmp_path / f"market-{name}.json").write_text(json.dumps(RULES), encoding="utf-8")
    (tmp_path / "operations.json").write_text(json.dumps(OPERATIONS), encoding="utf-8")
    (tmp_path / "pricing.md").write_text(PRICES, encoding="utf-8")
    files = {name: json.loads(text) for name, text in extract("service", tmp_path, tmp_path / "out").items()}
    assert files == {
        "models.json": {
            "a/one": {"kind": "video", "task": "other", "checked": "2026-10-01", "input": {}},
            "b/two": {
                "kind": "image",
                "task": "text-to-image",
                "input": {
                    "type": "object",
                    "properties": {
                        "title": {"type": "string", "maxLength": 9},
                        "sizes": {"type": "array", "items": {"enum": ["1:1"]}, "maxItems": 2},
                        "shape": {"oneOf": [{"required": ["title"]}]},
                    },
                    "required": ["title"],
                },
            },
        },
        **{f"model_{name}.json": {"a/one": RULES["a/one"]} for name in ("rules", "media", "prices")},
        "operations.json": {"POST /one": {"server": "https://example.com", "body": {}}},
        "prices.json": [["a/one", "5 s / 10 s", "4 / 8", "M", "2026-10-02"]],
    }


@pytest.mark.parametrize("kind", SOURCES)
def test_committed_files_are_what_the_tool_makes_of_the_sources(kind: str, tmp_path: Path) -> None:
    if not SOURCES[kind].is_dir():
        pytest.skip(f"the sources are not at {SOURCES[kind]}")
    committed = {path.name: path.read_bytes() for path in (ROOT / "tests" / kind).glob("*.json")}
    assert extract(kind, SOURCES[kind], tmp_path / "out") == committed, f"correct them in {SOURCES[kind]}, too"


def test_every_model_of_the_service_has_a_kind_and_a_valid_schema() -> None:
    assert facts.models()
    for name, model in facts.models().items():
        assert model["kind"] in {"image", "video", "audio", "text"}, name
        jsonschema.Draft202012Validator.check_schema(model["input"])


def test_no_sentence_stands_in_the_facts() -> None:
    held = [facts.models(), facts.operations(), *map(facts.of_models, ("rules", "media", "prices"))]
    sentences = [text for text in texts(held) if text.replace(" + ", "+").count(" ") > 4]
    assert sentences == []


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


@pytest.mark.parametrize("path", PROTOCOL, ids=lambda path: path.stem)
def test_protocol_schema_is_valid_and_holds_no_description(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema).check_schema(schema)
    described = [value for value in descriptions(schema) if isinstance(value, str)]
    assert described == []


def descriptions(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (inner for key, inner in value.items() if key == "description")
        for inner in value.values():
            yield from descriptions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from descriptions(inner)


def test_field_that_the_schema_does_not_list_is_refused_at_every_depth() -> None:
    rules = facts.validator(
        {
            "type": "object",
            "properties": {"shots": {"type": "array", "items": {"type": "object", "properties": {"prompt": {}}}}},
            "anyOf": [{"properties": {"style": {}}}, {"required": ["shots"]}],
        }
    )
    assert rules.is_valid({"shots": [{"prompt": "a fox"}], "style": "x"})
    assert not rules.is_valid({"shots": [{"promt": "a fox"}]})
    assert not rules.is_valid({"shots": [], "stile": "x"})
