"""Drift: what may change at the service while a client's own list of models stays as it is, as a table.

A drift is written ``NAME[:VALUE]@WHERE``: ``model-gone@google/imagen4``, ``price:16@nano-banana-2``,
``enum:resolution=8K@nano-banana-*``. It holds until the
sandbox is reset; of two that say otherwise the later one counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from kie_ai_mcp import Model
from kie_ai_mcp_sandbox.catalogue import kind_by_words, plain, title_of
from kie_ai_mcp_sandbox.prices import listed

Models = dict[str, Model]

CHAT = "chat/completions"
"""Below the base URL; which address the service's chat models have is not known."""


@dataclass(frozen=True)
class Kind:
    """One sort of drift.

    Args:
        takes: What its value is; "" when it has none.
        says: What it does.
        where: What it is about.
        optional: Whether the value may be left out.
    """

    takes: Literal["", "MODEL", "FIELD", "FIELD=VALUE", "CREDITS", "PERCENT", "WORD"]
    says: str
    where: Literal["MODEL", "ADDRESS"] = "MODEL"
    optional: bool = False


KINDS: Mapping[str, Kind] = {
    "new-model": Kind("MODEL", "a model nobody knows yet, which takes what the other one takes", optional=True),
    "new-chat-model": Kind("", "a chat model on the list; jobs/createTask does not serve it"),
    "model-gone": Kind("", "gone from the list, without a schema, and no longer to be bought"),
    "no-schema": Kind("", "its schema is no longer published; it is sold all the same"),
    "field": Kind("FIELD", "one more field"),
    "required": Kind("FIELD", "a field that must be sent from now on"),
    "enum": Kind("FIELD=VALUE", "one more value of a field"),
    "price": Kind("CREDITS", "another price, listed and charged"),
    "charge": Kind("PERCENT", "charges so much of the listed price"),
    "success-rate": Kind("PERCENT", "so many of the last hour's requests succeeded"),
    "state": Kind("WORD", "its running tasks have a state nobody has seen"),
    "fail-code": Kind("WORD", "its tasks fail with this code"),
    "address-gone": Kind("", "HTTP status 404; for jobs/... playground/... is served instead", "ADDRESS"),
}


@dataclass(frozen=True)
class Drift:
    """One change.

    Args:
        name: Its name in `KINDS`.
        where: The model, or several with ``*``; or the address below the base URL.
        value: Its value.
        schema: The schema of a field that it adds; text unless given.
    """

    name: str
    where: str
    value: str = ""
    schema: Mapping[str, Any] | None = None

    def concerns(self, what: str) -> bool:
        """Whether it is about this model or address."""
        return fnmatchcase(what, self.where)

    @property
    def number(self) -> float:
        """Its value as a number."""
        return float(self.value)


def parse_drift(text: str, where: str | None = None, schema: Mapping[str, Any] | None = None) -> Drift:
    """Read ``NAME[:VALUE][@WHERE]``.

    Raises:
        ValueError: It can't be read; the message says why.
    """
    rest, _, after = text.strip().partition("@")
    name, _, value = rest.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"there is no drift {name!r}; there are: {', '.join(usages())}")
    drift = Drift(name, (where or after).strip(), value, schema)
    usage = f"write {usage_of(name)}"
    if not drift.where:
        raise ValueError(f"the drift {name!r} needs what it is about; {usage}")
    if value and not kind.takes:
        raise ValueError(f"the drift {name!r} takes no value, {value!r} was given; {usage}")
    if kind.takes and not (value or kind.optional):
        raise ValueError(f"the drift {name!r} needs a value; {usage}")
    if kind.takes == "FIELD=VALUE" and not all(value.partition("=")):
        raise ValueError(f"the drift {name!r} needs a field and its new value, {value!r} was given; {usage}")
    if kind.takes in {"CREDITS", "PERCENT"} and not _is_amount(value):
        raise ValueError(f"the drift {name!r} needs a number from 0, {value!r} was given; {usage}")
    return drift


def _is_amount(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False


def usage_of(name: str) -> str:
    """How a drift is written."""
    kind = KINDS[name]
    value = f"[:{kind.takes}]" if kind.optional else f":{kind.takes}" if kind.takes else ""
    return f"{name}{value}@{kind.where}"


def usages() -> list[str]:
    """How each drift is written."""
    return [usage_of(name) for name in KINDS]


def change(models: Models, drift: Drift) -> None:
    """Change the models of the service as a drift says.

    Raises:
        ValueError: There is no such model.
    """
    if KINDS[drift.name].where == "ADDRESS":
        return
    if drift.name in {"new-model", "new-chat-model"}:
        models[drift.where] = _new(models, drift)
        return
    concerned = [model for model in models.values() if drift.concerns(model.id)]
    if not concerned:
        raise ValueError(f"there is no model {drift.where!r} on the list")
    for model in concerned:
        if drift.name == "model-gone":
            del models[model.id]
        else:
            models[model.id] = _changed(model, drift)


def _new(models: Models, drift: Drift) -> Model:
    if drift.name == "new-chat-model":
        return replace(plain(drift.where, "text", ("messages",), None), task="chat", path=CHAT)
    if not drift.value:
        return plain(drift.where, kind_by_words(drift.where), ("prompt",), listed(10))
    if drift.value not in models:
        raise ValueError(f"there is no model {drift.value!r} on the list")
    return replace(models[drift.value], id=drift.where, title=title_of(drift.where), tool="")


def _changed(model: Model, drift: Drift) -> Model:
    if drift.name == "price":
        return replace(model, price=listed(drift.number))
    if drift.name not in {"field", "required", "enum"}:
        return model
    name, _, value = drift.value.partition("=")
    fields = {**model.input.get("properties", {})}
    required = list(model.input.get("required", ()))
    if drift.name == "enum":
        if not (values := fields.get(name, {}).get("enum")):
            raise ValueError(f"{model.id} has no field {name!r} with an enum")
        fields[name] = {**fields[name], "enum": [*values, type(values[0])(value)]}
    else:
        fields.setdefault(name, dict(drift.schema or {"type": "string"}))
        required += [name] if drift.name == "required" and name not in required else []
    return replace(model, input={**model.input, "properties": fields, "required": required})
