"""Data files of models: complete, flat, one line for one fact, and the same in market and in the families."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import kie_ai_mcp_market
from kie_ai_mcp import LiveCatalogue, Media, Model, PriceLine, Rule
from tests.helpers import LIMIT_S
from tests.service import facts

ROOT = Path(__file__).parents[3]
TOOL = "tools/market_models.py"
RULE_NAMES_ONLY = {
    "kling-3.0/video": {"prompt", "multi_prompt", "aspect_ratio"},
    "pixverse-v6/image-to-video": {"duration"},
}
"""Fields that the published schema requires always, and rules only where they count."""

LIMITS = {
    "type",
    "enum",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "required",
}

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


def places(schema: Any, start: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each path in a schema, and what lies there."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{start}{name}", inner
        yield from places(inner, f"{start}{name}.")
        if "items" in inner:
            yield f"{start}{name}[]", inner["items"]
            yield from places(inner["items"], f"{start}{name}[].")


def values(value: Any) -> Any:
    """Return a value of the facts as the contract holds it, with tuples in place of lists."""
    return tuple(map(values, value)) if isinstance(value, list) else value


def at(schema: Any, path: str) -> Any:
    """Return the schema at a path such as ``shots[].image_url``."""
    for part in path.split("."):
        schema = schema["properties"][part.rstrip("[]")]
        for _ in range(part.count("[]")):
            schema = schema["items"]
    return schema


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


def test_limits_of_fields_are_those_of_the_service() -> None:
    for name, model in MODELS.items():
        official = facts.schema_of(name)
        for path, words in places(official) if "properties" in official else ():
            own = at(model.input, path)
            replaced = {"minimum", "maximum"} if "enum" in own else set()
            for word in (LIMITS & set(words)) - replaced:
                is_boolean = word == "enum" and set(words["enum"]) == {False, True}
                assert own.get(word) == words[word] or is_boolean, (name, path, word)


def test_every_rule_of_the_service_is_in_the_bundle_and_those_of_examples_are_soft() -> None:
    for name, model in MODELS.items():
        for fact in facts.of_models("rules").get(name, ()):
            words = {key: values(value) for key, value in fact.items() if key not in {"conflict", "add"}}
            if fact["kind"] == "schema":
                for path in fact["fields"]:
                    assert fact["add"].items() <= at(model.input, path).items(), (name, path)
            elif fact.get("conflict") and fact["kind"] == "exactly_one":
                assert Rule(**{**words, "kind": "at_least_one"}) in model.rules
                others = {"kind": "not_both", "fields": words["fields"][::-1], "soft": True}
                assert Rule(**{**words, **others}) in model.rules
            else:
                soft = fact.get("soft", False) or fact.get("conflict", False)
                assert Rule(**{**words, "soft": soft}) in model.rules, (name, fact)


def test_rules_of_the_bundle_name_only_fields_of_their_model() -> None:
    for name, model in MODELS.items():
        for rule in model.rules:
            within = f"{rule.each}[]." if rule.each else ""
            groups = [group if isinstance(group, tuple) else (group,) for group in rule.fields]
            for term in [term for group in groups for term in group] + ([rule.to] if rule.to else []):
                for path in re.findall(r"[A-Za-z]\w*(?:\[\])*(?:\.\w+)*", term):
                    assert at(model.input, within + path) is not None, (name, term)


def test_limits_of_files_are_those_of_the_service() -> None:
    for name, model in MODELS.items():
        listed = facts.of_models("media").get(name, {})
        limits = {path: {key: values(value) for key, value in words.items()} for path, words in listed.items()}
        assert dict(model.media) == {path: Media(**words) for path, words in limits.items()}, name
        for path in model.media:
            assert at(model.input, path).get("type", "string") == "string", (name, path)


def test_price_lines_are_those_of_the_service() -> None:
    for name, model in MODELS.items():
        fact = facts.of_models("prices").get(name, {})
        assert (model.price is None) == (not fact), name
        for part in ("lines", "plus") if model.price else ():
            listed = [
                PriceLine(**{key: values(v) for key, v in line.items() if key != "source"})
                for line in fact.get(part, ())
            ]
            own = [line for line in getattr(model.price, part) if not str(line.when).count("'template_id'")]
            assert own == listed, name


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


@pytest.mark.parametrize("family", runpy.run_path(str(ROOT / TOOL))["families"]())
def test_family_holds_the_same_models_as_market(family: str) -> None:
    plugin = import_module(f"kie_ai_mcp_{family.replace('-', '_')}")
    own = {model.id: model for model in plugin.kie_register_models()}
    starts = plugin.kie_describe_provider().models
    assert own == {name: model for name, model in MODELS.items() if name.startswith(starts)}


def test_copies_of_market_and_the_families_are_what_the_tool_makes_of_the_facts() -> None:
    command = [sys.executable, TOOL, "facts", "tests/service"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), f"uv run python {TOOL} facts tests/service"


def test_market_registers_one_live_catalogue_of_the_service() -> None:
    (catalogue,) = (one for one in kie_ai_mcp_market.kie_register_models() if isinstance(one, LiveCatalogue))
    assert (catalogue.gateway, catalogue.per_s) == ("kie", 1.0)
