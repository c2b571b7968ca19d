"""Choice of the model that a call names: as its provider registers it, or as the service describes it today."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from kie_ai_mcp._flow.catalogue import live
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._models.catalogue import Entry
from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.terms import parts_of, terms_of
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.models import LiveModel, Model, Rule
from kie_ai_mcp.specs import KIE, Media

KINDS: dict[str, Literal["image", "video", "audio"]] = {
    "video": "video",
    "image": "image",
    "audio": "audio",
    "music": "audio",
    "speech": "audio",
    "picture": "image",
    "mask": "image",
    "frame": "image",
    "voice": "audio",
}
FILES = re.compile(r"(?:^|_)(image|video|audio|picture|mask|frame|voice)s?(?:_\w+)?_urls?$|^(image|video|audio)s?$")


async def find(engine: Engine, name: str, field: str = "model", *more: str) -> Entry:
    """Return a model by name: a registered one, else one that the service's own list has.

    Raise InvalidArgument, which suggests names that are near, also of some `more`.
    """
    catalogue = await engine.catalogue.load()
    entry = catalogue.find(name)
    gateway, model_id = name.split(":", 1) if name.partition(":")[0] in engine.callers else (KIE, name)
    if entry is not None or gateway not in catalogue.live or model_id in catalogue.aside:
        if entry is None:
            raise catalogue.unknown(field, name, *more)
        return entry
    listed = await live(engine, gateway, "list", "")
    found = next((model for model in listed.value or () if model.id == model_id), None)
    if found is None:
        error = catalogue.unknown(field, name, *more)
        if listed.value is None:
            error.message += f" The service's own list could not be read: {listed.error}"
        raise error
    schema = await live(engine, gateway, "schema", model_id)
    if schema.value is None:
        reason = schema.error or "it publishes none"
        raise InvalidArgument(
            field, name, f"the service lists it, but its schema can't be read ({reason}); use another"
        )
    model = _described(found, gateway, schema.value, f"{schema.read_at:%Y-%m-%d}")
    entry = catalogue.entry(model, catalogue.owner_of_live(gateway))
    if not catalogue.allows(entry.model, entry.provider):
        raise catalogue.unknown(field, name, *more)
    return replace(entry, note=f"{name} is newer than the data of this server: the service's own schema was used.")


async def fitting(engine: Engine, entry: Entry, sent: Mapping[str, Any]) -> Entry:
    """Return a model as it takes this input: as registered, else as the service describes it today.

    Raise InvalidArgument with everything that is wrong where neither takes it.
    """
    model = entry.model
    faults = check(model, sent).faults
    if not faults or entry.note or model.gateway not in engine.catalogue.live:
        if faults:
            raise InvalidArgument.joined(faults)
        return entry
    schema = await live(engine, model.gateway, "schema", model.id)
    if schema.value is None:
        raise InvalidArgument.joined(faults)
    day = f"{schema.read_at:%Y-%m-%d}"
    newer = today(model, schema.value)
    if later := check(newer, sent).faults:
        error = InvalidArgument.joined(later)
        error.message += f" (By the data of {model.checked}, and the service's own schema of {day}.)"
        raise error
    note = f"The service's own schema of {day} allows this; the data of this server is of {model.checked}."
    return replace(entry, model=newer, note=note)


def today(model: Model, schema: Mapping[str, Any]) -> Model:
    """Return a model with the service's own schema, less the rules and files of fields that this no longer has."""
    fields = schema["properties"].keys()
    rules = tuple(rule for rule in model.rules if _fields_of(rule) <= fields)
    media = {path: limits for path, limits in model.media.items() if re.split(r"[\[.]", path)[0] in fields}
    return replace(model, input=schema, rules=rules, media={**_files_in(schema), **media})


def _fields_of(rule: Rule) -> set[str]:
    paths = [rule.each] if rule.each else [part.path for term in terms_of(rule) for part in parts_of(term)]
    return {re.split(r"[\[.]", path)[0] for path in paths}


def _described(listed: LiveModel, gateway: str, schema: Mapping[str, Any], day: str) -> Model:
    words = " ".join(listed.tasks).lower()
    kinds = [KINDS[word] for word in re.findall(r"[a-z]+", words) if word in KINDS]
    task = listed.tasks[0].lower().replace(" ", "-") if listed.tasks else "other"
    notes = (f"The service says of its price: {listed.price}",) if listed.price else ()
    files, kind = _files_in(schema), kinds[-1] if kinds else "image"
    title = listed.title or listed.id
    return Model(listed.id, title, kind, task, schema, files, checked=day, notes=notes, gateway=gateway)


def _files_in(schema: Mapping[str, Any]) -> dict[str, Media]:
    """Return the fields of a schema that name files by their names, by path."""
    return dict(_named_files(schema))


def _named_files(schema: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Media]]:
    for name, field in schema.get("properties", {}).items():
        inner, path = field.get("items", field), f"{before}{name}{'[]' if 'items' in field else ''}"
        if match := FILES.search(name):
            sort = match[1] or match[2]
            yield path, Media(KINDS[sort])
        elif isinstance(inner, Mapping) and "properties" in inner:
            yield from _named_files(inner, f"{path}.")
