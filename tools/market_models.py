#!/usr/bin/env python3
"""Writer of the data files of models: from a folder of facts.

::

    python tools/market_models.py facts FOLDER [--write]

It rebuilds the data file of ``plugins/market`` of ``market-models.json``, ``market-rules.json``, ``market-media.json``
and ``market-prices.json``; titles, notes, tools and availability are kept by hand in the data file itself. The data
files of the families hold the same entries and are written along.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from kie_ai_mcp_market.catalogue import flat

PLUGINS = Path(__file__).parents[1] / "plugins"
MARKET = "market"
FAMILIES = ("gpt-image", "recraft", "seedance", "seedream", "speech", "suno", "talking", "topaz", "wan")
"""Families whose data file holds the entries of the models that begin as `Provider.models` says."""

BY_HAND = ("title", "notes", "tool", "availability")
"""Keys of an entry that are kept in the data file and written by hand."""

ORDER = (
    "title", "kind", "task", "checked", "availability", "tool", "notes", "fields", "required", "media", "rules", "price"
)  # fmt: skip

FIRST_CHECKED = "2026-08-19"
"""The day of the facts that name none."""

REQUIRED_ONLY_BY_RULES = {
    "kling-3.0/video": {"prompt", "multi_prompt", "aspect_ratio"},
    "pixverse-v6/image-to-video": {"duration"},
}
"""Fields that a published schema always asks for, although they are needed only where another field says so."""

SAYS_WHAT_TO_MAKE = {
    "kind": "at_least_one",
    "fields": ["prompt", "first_frame_url", "last_frame_url"]
    + [f"reference_{kind}_urls" for kind in ("image", "video", "audio")],
    "soft": True,
}
FURTHER_RULES: Mapping[str, list[dict[str, Any]]] = {
    "bytedance/seedance-2": [SAYS_WHAT_TO_MAKE],
    "bytedance/seedance-2-5": [SAYS_WHAT_TO_MAKE],
    "bytedance/seedance-2-fast": [SAYS_WHAT_TO_MAKE],
    "bytedance/seedance-2-mini": [SAYS_WHAT_TO_MAKE],
    "kling-3.0-omni/reference-to-video": [
        {"kind": "only_with", "fields": ["duration"], "when": {"image_urls": "*"}, "soft": True}
    ],
    "kling-3.0/video": [{"kind": "needs", "fields": ["aspect_ratio"], "when": {"image_urls": None}}],
    "pixverse-v6/image-to-video": [
        {"kind": "needs", "fields": ["duration"], "when": {"template_id": None}},
        {"kind": "only_with", "fields": ["duration"], "when": {"template_id": None}, "soft": True},
    ],
}
"""What prose says of fields that the published schema asks for too rarely, too often or in other branches."""

FURTHER_LIMITS: Mapping[str, dict[str, dict[str, Any]]] = {
    "kling-3.0-omni/image-to-video": {
        "prompt": {"pattern": r"\S"},
        "elements[].start_time": {"minimum": 0},
        "elements[].end_time": {"minimum": 3000},
    }
}
"""Limits that only one of several branches of a schema names, and that hold for all."""


def at(fields: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the schema at a path such as ``shots[].image_url``."""
    schema: dict[str, Any] = {"properties": fields}
    for part in path.split("."):
        name = part.rstrip("[]")
        schema = schema["properties"][name]
        for _ in range(part.count("[]")):
            schema = schema["items"]
    return schema


# Entries -------------------------------------------------------------------------------------------------------------


def entries_of(folder: Path, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of the data file, by id.

    Args:
        folder: Where the facts lie.
        kept: The entries of today, with what is written by hand.
    """
    models, rules, media, prices = (
        json.loads((folder / f"market-{name}.json").read_text(encoding="utf-8"))
        for name in ("models", "rules", "media", "prices")
    )
    entries = {}
    for model_id, model in sorted(models.items()):
        entry = {
            "title": model["title"],
            **{key: kept[model_id][key] for key in BY_HAND if key in kept.get(model_id, {})},
            "kind": model["kind"],
            "task": model["task"],
            "checked": model.get("checked", FIRST_CHECKED),
            "media": media.get(model_id, {}),
            "rules": list(rules_of(rules.get(model_id, ()))) + FURTHER_RULES.get(model_id, []),
        }
        limits = [
            (path, rule["add"])
            for rule in rules.get(model_id, ())
            if rule["kind"] == "schema"
            for path in rule["fields"]
        ]
        entry |= input_of(model_id, model["input"], entry["media"], limits)
        if price := prices.get(model_id):
            entry["price"] = price_of(model_id, price)
        entries[model_id] = entry
    return entries


def input_of(
    model_id: str, schema: Mapping[str, Any], media: Mapping[str, Any], limits: list[tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    """Return ``fields`` and ``required`` of an entry.

    Args:
        model_id: The model's id.
        schema: The published schema of the input.
        media: Paths of files. That an address stands there says `media`, and so it does for other forms of address.
        limits: What prose adds to the schema, by path.
    """
    whole = flat(schema)
    fields = whole.get("properties", {})
    for path, words in [*limits, *FURTHER_LIMITS.get(model_id, {}).items()]:
        place = at(fields, path)
        place |= words
        for word in {"minimum", "maximum"} & set(place) if "enum" in place else ():
            del place[word]
    for path in media:
        place = at(fields, path)
        place.pop("format", None)
        place.pop("pattern", None)
    by_rule = REQUIRED_ONLY_BY_RULES.get(model_id, set())
    return {"fields": fields, "required": [name for name in whole.get("required", ()) if name not in by_rule]}


def rules_of(rules: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rules between fields. What official examples break is soft: the service takes it."""
    for rule in rules:
        kept = {key: value for key, value in rule.items() if key != "conflict"}
        if rule["kind"] == "schema":
            continue
        if not rule.get("conflict"):
            yield kept
        elif rule["kind"] == "exactly_one":
            yield {**kept, "kind": "at_least_one"}
            yield {**kept, "kind": "not_both", "soft": True}
        else:
            yield {**kept, "soft": True}


def price_of(model_id: str, price: Mapping[str, Any]) -> dict[str, Any]:
    """Return a price without its source."""
    lines = [{key: value for key, value in line.items() if key != "source"} for line in price["lines"]]
    if model_id == "pixverse-v6/image-to-video":  # the clip is then as long as the template
        timed = [
            {**line, "when": {**line["when"], "template_id": "*"}, "per": "(seconds of the template)"} for line in lines
        ]
        lines = timed + lines
    return {**{key: value for key, value in price.items() if key != "source"}, "lines": lines}


# The data files ------------------------------------------------------------------------------------------------------


def layout(entries: Mapping[str, Any]) -> str:
    """Return a data file: one model after another, one line for each field, path, rule and line of a price."""
    return (
        "{\n"
        + ",\n".join(f"{_text(name)}: {_entry_layout(entry)}" for name, entry in sorted(entries.items()))
        + "\n}\n"
    )


def _entry_layout(entry: Mapping[str, Any]) -> str:
    parts = []
    for key in ORDER:
        value = entry.get(key)
        if not value:
            continue
        if key in {"fields", "media"}:
            shown = _lines_of([f"{_text(name)}: {_text(part)}" for name, part in value.items()], "{}", "  ")
        elif key in {"rules", "notes"}:
            shown = _lines_of([_text(part) for part in value], "[]", "  ")
        elif key == "price":
            shown = _price_layout(value)
        else:
            shown = _text(value)
        parts.append(f"{_text(key)}: {shown}")
    return _lines_of(parts, "{}", " ")


def _price_layout(price: Mapping[str, Any]) -> str:
    parts = [
        f"{_text(key)}: " + _lines_of([_text(line) for line in price[key]], "[]", "   ")
        for key in ("lines", "plus")
        if price.get(key)
    ]
    parts += [f"{_text(key)}: {_text(price[key])}" for key in ("unset", "checked", "until") if price.get(key)]
    return _lines_of(parts, "{}", "  ")


def _lines_of(parts: list[str], ends: str, indent: str) -> str:
    inner = ",\n".join(indent + part for part in parts)
    return f"{ends[0]}\n{inner}\n{indent[1:]}{ends[1]}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def data_file(plugin: str) -> Path:
    """Return where the models of a plugin lie."""
    return PLUGINS / plugin / "src" / f"kie_ai_mcp_{plugin.replace('-', '_')}" / "models.json"


def read(path: Path) -> dict[str, Any]:
    """Return the entries of a data file; none where it is not there yet."""
    entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return entries


def files_of(entries: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of all data files by the plugin's name."""
    files = {MARKET: layout(entries)}
    for family in FAMILIES:
        starts = import_module(f"kie_ai_mcp_{family.replace('-', '_')}").kie_describe_provider().models
        files[family] = layout({name: entry for name, entry in entries.items() if name.startswith(starts)})
    return files


def main() -> int:
    """Compare the data files with a source, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description="Rebuild the data files of models.")
    parser.add_argument("source", choices=("facts",))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="write the files")
    given = parser.parse_args()
    today = read(data_file(MARKET))
    files = files_of(entries_of(given.folder, today))
    stale = [plugin for plugin, text in files.items() if data_file(plugin).read_text(encoding="utf-8") != text]
    for plugin in stale if given.write else ():
        data_file(plugin).write_text(files[plugin], encoding="utf-8")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
