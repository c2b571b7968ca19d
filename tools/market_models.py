#!/usr/bin/env python3
"""Writer of the data files of models: from a folder of facts, or from the live catalogue of the service.

::

    uv run python tools/market_models.py facts tests/service [--write]
    uv run python tools/market_models.py live https://api.kie.ai/api/v1 [--write]

It prints in words how the data file of ``plugins/market`` differs and which families hold other entries, one line for
each difference, and ends with 1 where there is one. With ``--write`` it writes that file and those of the families
instead. These hold copies of its entries: while a family is installed, its copy is the one that counts.

``facts`` rebuilds the files from ``models.json``, ``model_rules.json``, ``model_media.json`` and ``model_prices.json``
of a folder, and from what is written by hand in the data file of ``plugins/market``: titles, notes, tools, availability
and formats. It reads nothing else, so it needs no network.

``live`` reads the list and every schema, one request a second, with the key in ``KIE_AI_API_KEY``. What the service
does not publish as data stays as it is: rules, files, prices, and limits that only prose names. A model that is no
longer listed stays, too, and is named: some that still work are not in the list.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from kie_ai_mcp import Answer, LiveModel, LiveRead, Provider
from kie_ai_mcp_market.catalogue import CATALOGUE, flat

PLUGINS = Path(__file__).parents[1] / "plugins"
MARKET = "market"

FACTS = ("models.json", "model_rules.json", "model_media.json", "model_prices.json")
"""Files of a folder of facts: inputs, rules between fields, limits of files, prices."""

BY_HAND = ("title", "notes", "tool", "availability", "formats")
"""Keys of an entry that are kept in the data file and written by hand."""

ORDER = (
    "title", "kind", "task", "checked", "availability", "tool", "formats", "notes", "fields", "required", "media",
    "rules", "price",
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
    "kling-3.0/video": [
        {"kind": "needs", "fields": ["aspect_ratio"], "when": {"image_urls": None}},
        {"kind": "only_with", "fields": ["kling_elements"], "when": {"image_urls": "*"}},
    ],
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

    Raises:
        ValueError: A file of facts is missing or wrong. The message says which and how.
    """
    facts, entries = facts_of(folder), {}
    for model_id in sorted(facts[FACTS[0]]):
        by_hand = {key: kept[model_id][key] for key in BY_HAND if key in kept.get(model_id, {})}
        try:
            entries[model_id] = {"title": model_id, **by_hand, **entry_of(model_id, facts)}
        except KeyError as exc:
            raise ValueError(f"{model_id}: {exc} is missing in its facts, or no field is called so.") from None
    return entries


def entry_of(model_id: str, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the facts say of a model."""
    model = facts[FACTS[0]][model_id]
    rules, media, price = (facts[name].get(model_id) for name in FACTS[1:])
    entry = {
        "kind": model["kind"],
        "task": model["task"],
        "checked": model.get("checked", FIRST_CHECKED),
        "media": media or {},
        "rules": list(rules_of(rules or ())) + FURTHER_RULES.get(model_id, []),
    }
    limits = [(path, rule["add"]) for rule in rules or () if rule["kind"] == "schema" for path in rule["fields"]]
    limits += FURTHER_LIMITS.get(model_id, {}).items()
    entry |= input_of(model_id, model["input"], entry["media"], limits)
    return {**entry, "price": price_of(model_id, price)} if price else entry


def facts_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the facts of a folder, by the file.

    Raises:
        ValueError: A file is missing, is no JSON, or names a model that the first one lacks.
    """
    facts: dict[str, dict[str, Any]] = {}
    for name in FACTS:
        try:
            facts[name] = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"{folder} has no {name}. The facts of this repository are in tests/service.") from None
        except json.JSONDecodeError as exc:
            raise ValueError(f"{folder / name} is no JSON: {exc}.") from None
        if unknown := sorted(facts[name].keys() - facts[FACTS[0]].keys()):
            raise ValueError(f"{folder / name} names {', '.join(unknown)}; {FACTS[0]} has no such model.")
    return facts


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
    for path, words in limits:
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
            # What stands first counts where both are sent, so the others come first among those that are ignored.
            yield {**kept, "kind": "not_both", "fields": rule["fields"][::-1], "soft": True}
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


def data_file(plugin: str, plugins: Path = PLUGINS) -> Path:
    """Return where the models of a plugin lie."""
    return plugins / plugin / "src" / f"kie_ai_mcp_{plugin.replace('-', '_')}" / "models.json"


def provider_of(plugin: str) -> Provider:
    """Return what a plugin says of itself."""
    described: Provider = import_module(f"kie_ai_mcp_{plugin.replace('-', '_')}").kie_describe_provider()
    return described


def families() -> list[str]:
    """Return the families whose data file holds the entries of the models that begin as `Provider.models` says."""
    having = sorted(file.parents[2].name for file in PLUGINS.glob("*/src/*/models.json"))
    return [family for family in having if family != MARKET and provider_of(family).availability == "current"]


def files_of(entries: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of all data files by the plugin's name."""
    files = {MARKET: layout(entries)}
    for family in families():
        starts = provider_of(family).models
        files[family] = layout({name: entry for name, entry in entries.items() if name.startswith(starts)})
    return files


# Differences ---------------------------------------------------------------------------------------------------------


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words what differs between two data files."""
    for name in sorted({*before, *after}):
        if name not in before:
            yield f"{name}: new, {after[name]['title']}, makes {after[name]['kind']}"
        elif name not in after:
            yield f"{name}: gone"
        else:
            yield from (f"{name}: {words}" for words in entry_differences(before[name], after[name]))


def entry_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words what differs between two entries. That they were read on different days is no difference."""
    old, new = dict(places(before["fields"])), dict(places(after["fields"]))
    yield from (f"{path} is new: {_text(words)}" for path, words in new.items() if path not in old)
    yield from (f"{path} is gone" for path in old if path not in new)
    for path, words in old.items():
        for word in {**words, **new.get(path, {})} if path in new else ():
            yield from word_differences(f"{path} {word}", words.get(word), new[path].get(word))
    yield from word_differences("required", before.get("required", []), after.get("required", []))
    for path in {**before.get("media", {}), **after.get("media", {})}:
        limits = (entry.get("media", {}).get(path) for entry in (before, after))
        yield from word_differences(f"file {path}", *limits)
    yield from word_differences("rule", before.get("rules", []), after.get("rules", []))
    for part in ("lines", "plus", "unset", "until"):
        prices = (entry.get("price", {}).get(part) for entry in (before, after))
        yield from word_differences(f"price {part}", *prices)
    for key in (*BY_HAND, "kind", "task"):
        yield from word_differences(key, before.get(key), after.get(key))


def word_differences(name: str, before: Any, after: Any) -> Iterator[str]:
    """Yield in words how a value differs; of a list its single values."""
    if isinstance(before, list) and isinstance(after, list):
        yield from (f"{name}: {_text(value)} is new" for value in after if value not in before)
        yield from (f"{name}: {_text(value)} is gone" for value in before if value not in after)
    elif before is None and after is not None:
        yield f"{name} is new: {_text(after)}"
    elif after is None and before is not None:
        yield f"{name} is gone, was {_text(before)}"
    elif before != after:
        yield f"{name} is {_text(after)}, was {_text(before)}"


def places(fields: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each path in a schema and its own words, without those of what lies in it."""
    for name, schema in fields.items():
        yield f"{start}{name}", {word: value for word, value in schema.items() if word not in {"properties", "items"}}
        yield from places(schema.get("properties", {}), f"{start}{name}.")
        if "items" in schema:
            yield from places({"[]": schema["items"]}, f"{start}{name}")


# The live catalogue --------------------------------------------------------------------------------------------------


class Live:
    """The live catalogue at an address, read slowly enough for the service.

    Args:
        address: The service's base URL.
        pause_s: The time between two reads, in seconds.
    """

    def __init__(self, address: str, pause_s: float) -> None:
        key = os.environ.get("KIE_AI_API_KEY", "")
        self._http = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self._address = address.rstrip("/")
        self._pause_s = pause_s

    def read(self, one: LiveRead, model_id: str = "") -> Any:
        """Return a value of the catalogue. Reads again, later and later, where the service is asked too fast.

        Raises:
            ValueError: The answer holds no value, or the service refuses. The message says why.
        """
        for wait in (1, 2, 4, 8):
            time.sleep(self._pause_s * wait)
            try:
                response = self._http.get(f"{self._address}/{one.path(model_id)}")
                body = response.json()
            except (httpx.HTTPError, json.JSONDecodeError) as exc:
                raise ValueError(str(exc)) from exc
            answer = Answer(body.get("code", response.status_code), str(body.get("msg", "")), body.get("data"))
            if answer.code != 429:
                break
        if answer.code != 200:
            raise ValueError(f"code {answer.code}: {answer.message}")
        if (value := one.read(answer)) is None:
            raise ValueError("nothing is published")
        return value


def live_entries(live: Live, kept: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], dict[str, str]]:
    """Return the entries by id, what is worth a look, and a mark of each price text by id."""
    entries, remarks = deepcopy(dict(kept)), []
    today = datetime.now(UTC).date().isoformat()
    listed = {model.id: model for model in live.read(CATALOGUE.list)}
    remarks += [f"{name}: not listed; it stays until you remove it" for name in kept if name not in listed]
    for name, model in listed.items():
        try:
            schema = live.read(CATALOGUE.schema, name)
        except ValueError as exc:
            remarks.append(f"{name}: {'schema' if name in kept else 'new, but its schema'} was not read: {exc}")
            continue
        entry = entries.get(name) or new_entry(model)
        taken = input_of(name, schema, {}, [])
        fields, required = taken["fields"], taken["required"]
        if name in kept:
            fields = fields_kept(entry["fields"], fields, "", entry.get("media", {}))
            remarks += [f"{name}: {rest}" for rest in lost(entry, fields)]
        else:
            remarks.append(f"{name}: its files, rules, price, kind and task are to be written by hand")
        entries[name] = {**entry, "checked": today, "fields": fields, "required": required}
    marks = {name: hashlib.sha256(model.price.encode()).hexdigest()[:12] for name, model in listed.items()}
    return entries, remarks, marks


def new_entry(model: LiveModel) -> dict[str, Any]:
    """Return the beginning of an entry, with what the list says."""
    task = model.tasks[0].lower().replace(" ", "-") if model.tasks else "other"
    made = task.rpartition("-")[2]
    return {
        "title": model.title or model.id,
        "kind": made if made in {"image", "video", "audio"} else "text",
        "task": task,
    }


def prose_kept(own: Mapping[str, Any], published: Mapping[str, Any], path: str, media: Iterable[str]) -> dict[str, Any]:
    """Return a field as it is published, with the limits that only prose names.

    Args:
        own: The field as the entry has it.
        published: The field as the service publishes it.
        path: Where it lies in the input.
        media: The paths of files, whose form the service often publishes wrongly.
    """
    is_file = path in media or f"{path}[]" in media
    words = {word: value for word, value in published.items() if not is_file or word in {"minItems", "maxItems"}}
    merged = {**own, **words}
    if "enum" in own and "enum" not in words:
        merged.pop("minimum", None)
        merged.pop("maximum", None)
    if "items" in words:
        merged["items"] = prose_kept(own.get("items", {}), words["items"], f"{path}[]", media)
    if "properties" in words:
        merged["properties"] = fields_kept(own.get("properties", {}), words["properties"], f"{path}.", media)
    return merged


def fields_kept(
    own: Mapping[str, Any], published: Mapping[str, Any], start: str, media: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return fields as they are published, each with the limits that only prose names."""
    return {name: prose_kept(own.get(name, {}), words, f"{start}{name}", media) for name, words in published.items()}


def lost(entry: Mapping[str, Any], fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an entry says of fields that are gone."""
    for field in sorted(set(entry["fields"]) - set(fields)):
        for key in ("rules", "media", "price"):
            if re.search(rf"\b{re.escape(field)}\b", _text(entry.get(key, {}))):
                yield f"{key} still names {field}, which is gone"


def price_remarks(file: Path, marks: Mapping[str, str]) -> list[str]:
    """Return which price texts are others than at the last time."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return [
        f"{name}: the price text is another; read it" for name in marks if known.get(name, marks[name]) != marks[name]
    ]


# The command ---------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the data files with a source, and write them where that is asked for."""
    parser = argparse.ArgumentParser(description="Rebuild the data files of models.")
    parser.add_argument("source", choices=("facts", "live"))
    parser.add_argument("where", help="the folder of facts, or the base URL of the service")
    parser.add_argument("--write", action="store_true", help="write the files")
    parser.add_argument("--plugins", type=Path, default=PLUGINS, help="the folder of the plugins")
    parser.add_argument("--pause", type=float, default=1.1, help="seconds between two reads")
    given = parser.parse_args(arguments)
    own = {plugin: data_file(plugin, given.plugins) for plugin in (MARKET, *families())}
    texts = {plugin: path.read_text(encoding="utf-8") if path.exists() else "{}" for plugin, path in own.items()}
    kept = json.loads(texts[MARKET])
    remarks: list[str] = []
    prices = given.plugins / MARKET / "price_texts.json"
    marks: Mapping[str, str] = {}
    if given.source == "facts":
        try:
            entries = entries_of(Path(given.where), kept)
        except ValueError as exc:
            sys.exit(str(exc))
        remarks = [f"{name}: write its title into {own[MARKET]}" for name in entries if name not in kept]
    else:
        try:
            entries, remarks, marks = live_entries(Live(given.where, given.pause), kept)
        except ValueError as exc:
            sys.exit(f"The list of models was not read: {exc}. Check the address and KIE_AI_API_KEY.")
        remarks += price_remarks(prices, marks)
    files = files_of(entries)
    stale = [plugin for plugin in files if files[plugin] != texts[plugin]]
    changes = list(differences(kept, entries))
    copies = [f"plugins/{plugin}: its models are to be written anew" for plugin in stale if plugin != MARKET]
    for line in [*changes, *remarks, *(copies if given.source == "facts" and not given.write else ())]:
        print(line)  # noqa: T201
    for plugin in stale if given.write else ():
        own[plugin].parent.mkdir(parents=True, exist_ok=True)
        own[plugin].write_text(files[plugin], encoding="utf-8")
    if given.write and marks:
        prices.write_text(json.dumps(marks, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    return 1 if not given.write and (changes or (given.source == "facts" and stale)) else 0


if __name__ == "__main__":
    sys.exit(main())
