"""Data files of models: complete, flat, one line for one fact, and the same in market and in the families."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import kie_ai_mcp_market
from kie_ai_mcp import LiveCatalogue, Model
from tests.service import facts

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "market_models.py"
FACTS = ROOT.parent / "shared" / "kie-api"
FAMILIES = ("gpt-image", "recraft", "seedance", "seedream", "speech", "suno", "talking", "topaz", "wan")
RULE_NAMES_ONLY = {
    "kling-3.0/video": {"prompt", "multi_prompt", "aspect_ratio"},
    "pixverse-v6/image-to-video": {"duration"},
}
"""Fields that the published schema requires always, and rules only where they count."""

MODELS = {model.id: model for model in kie_ai_mcp_market.kie_register_models() if isinstance(model, Model)}


def branches(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and its alternatives."""
    yield schema
    for word in ("anyOf", "oneOf"):
        yield from schema.get(word, ())


def schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and every one inside it."""
    yield schema
    for inner in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from schemas(inner)


def test_bundle_holds_every_model_of_the_service_with_its_kind_and_task() -> None:
    assert {name: (model.kind, model.task) for name, model in MODELS.items()} == {
        name: (model["kind"], model["task"]) for name, model in facts.models().items()
    }


def test_models_take_exactly_the_fields_that_the_service_lists() -> None:
    for name, model in MODELS.items():
        listed = {field for branch in branches(facts.schema_of(name)) for field in branch.get("properties", {})}
        assert set(model.input["properties"]) == listed, name


def test_models_require_what_the_service_always_requires() -> None:
    for name, model in MODELS.items():
        official = facts.schema_of(name)
        needed = [set(branch["required"]) for branch in official.get("anyOf", official.get("oneOf", ())) if branch]
        expected = set(official.get("required", ())) | (set.intersection(*needed) if needed else set())
        assert set(model.input["required"]) == expected - RULE_NAMES_ONLY.get(name, set()), name


def test_every_input_is_one_flat_closed_schema_without_branches() -> None:
    for name, model in MODELS.items():
        jsonschema.Draft202012Validator.check_schema(dict(model.input))
        for schema in schemas(model.input):
            assert not {"anyOf", "oneOf", "allOf", "not", "$ref", "const"} & set(schema), name
            assert schema.get("additionalProperties", False) is False, name
            assert ("additionalProperties" in schema) == ("properties" in schema), name


def test_defaults_and_days_of_the_bundle_are_valid() -> None:
    for name, model in MODELS.items():
        assert len(model.checked) == len("2026-10-07"), name
        for schema in schemas(model.input):
            if "default" in schema:
                jsonschema.validate(schema["default"], schema)


def test_one_line_of_the_data_file_holds_one_field_rule_path_or_price() -> None:
    text = (Path(kie_ai_mcp_market.__file__).parent / "models.json").read_text(encoding="utf-8")
    entries = json.loads(text)
    assert list(entries) == sorted(entries)
    lines = {line.strip().rstrip(",") for line in text.splitlines()}
    for entry in entries.values():
        for name, value in [*entry["fields"].items(), *entry.get("media", {}).items()]:
            assert f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" in lines
        for value in [*entry.get("rules", ()), *entry.get("price", {}).get("lines", ())]:
            assert json.dumps(value, ensure_ascii=False) in lines


def test_notes_are_short_and_no_sentences() -> None:
    notes = [note for model in MODELS.values() for note in model.notes]
    assert [note for note in notes if len(note) > 120 or note.endswith(".")] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_family_holds_the_same_models_as_market(family: str) -> None:
    plugin = import_module(f"kie_ai_mcp_{family.replace('-', '_')}")
    own = {model.id: model for model in plugin.kie_register_models()}
    starts = plugin.kie_describe_provider().models
    assert own == {name: model for name, model in MODELS.items() if name.startswith(starts)}


def test_committed_files_are_what_the_tool_makes_of_the_facts() -> None:
    if not FACTS.is_dir():
        pytest.skip(f"the facts are not at {FACTS}")
    subprocess.run([sys.executable, TOOL, "facts", FACTS], timeout=60, check=True)


def test_market_registers_one_live_catalogue_of_the_service() -> None:
    (catalogue,) = (one for one in kie_ai_mcp_market.kie_register_models() if isinstance(one, LiveCatalogue))
    assert (catalogue.gateway, catalogue.per_s) == ("kie", 1.0)
