"""Values for a tool's arguments, made from its own input schema. Part of `kie_ai_mcp.testing`."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from kie_ai_mcp._models.samples import FILES, TEXT
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.specs import Query, Submission, Tool

AnyTool = Callable[..., Submission | Query] | Tool | BoundTool
Values = Mapping[str, Sequence[Any]]

FORMATS = {
    "uri": "https://media.example.com/page",
    "date": "2026-11-02",
    "date-time": "2026-11-02T08:30:00Z",
    "time": "08:30:00Z",
    "uuid": "7f1d0f5e-5d0c-4c53-9d7f-1f4b9a1c2d3e",
    "email": "someone@example.com",
}


class Draw:
    """Values for one tool's arguments, each inside the limits of the argument's schema.

    The same tool gives the same values in the same order, so that a failure comes back. `optional` holds the names of
    the arguments that may be left out.

    Args:
        tool: The tool function, or a `Tool`.
        values: By argument name, values to choose from where the schema alone does not say enough (a pattern).
    """

    def __init__(self, tool: AnyTool, values: Values | None = None) -> None:
        if not isinstance(tool, BoundTool):
            tool = BoundTool.bind(tool, provider="", kind="image")
        self.tool = tool
        self.random = Random(tool.name)  # noqa: S311  repeatable on purpose
        self._values = values or {}
        self._schemas: dict[str, dict[str, Any]] = tool.arguments.schema["properties"]
        self.optional = list(tool.arguments.defaults)

    def argument(self, name: str, *, plain: bool = False) -> Any:
        """Return one value for an argument; with `plain` an ordinary one."""
        if name in self._values:
            return self._values[name][0] if plain else self.random.choice(self._values[name])
        marker = self.tool.arguments.media.get(name)
        web = FILES[marker.kinds[0]] if marker else self._web_file(name)
        return self._value(self._schemas[name], name, web, plain)

    def required(self, *, plain: bool = True) -> dict[str, Any]:
        """Return one value for each argument that can't be left out."""
        return {name: self.argument(name, plain=plain) for name in self._schemas if name not in self.optional}

    def choices(self, name: str) -> list[Any]:
        """Return every value of an argument that has few, else some."""
        schema = self._schemas[name]
        few: list[Any] = schema.get("enum") or ([False, True] if schema.get("type") == "boolean" else [])
        return few or [self.argument(name, plain=True), *(self.argument(name) for _ in range(2))]

    def some(self, names: Iterable[str]) -> list[str]:
        """Return none, one or two of the names."""
        names = list(names)
        return self.random.sample(names, min(len(names), self.random.choice((0, 1, 1, 2))))

    def _web_file(self, name: str) -> str | None:
        """Return the end of an address; None for an argument that is no address by its type or its name."""
        return "hook" if name in self.tool.arguments.callbacks or "url" in name.lower() else None

    def _value(self, schema: Mapping[str, Any], name: str, web: str | None, plain: bool) -> Any:
        if parts := schema.get("anyOf") or schema.get("oneOf"):
            return self._value(parts[0] if plain else self.random.choice(parts), name, web, plain)
        if "const" in schema:
            return schema["const"]
        if values := schema.get("enum") or schema.get("examples"):
            return values[0] if plain else self.random.choice(values)
        draw = getattr(self, f"_{schema.get('type', 'string')}", None)
        if draw is None or "pattern" in schema or "prefixItems" in schema:
            raise AssertionError(
                f"{self.tool.name}: no value can be made for {name} from its schema {json.dumps(schema)}. "
                f"Give some: values={{{name!r}: [...]}}."
            )
        return draw(schema, name, web, plain)

    def _string(self, schema: Mapping[str, Any], _name: str, web: str | None, plain: bool) -> str:
        if web:
            return f"https://media.example.com/{self.random.randrange(10**6)}/{web}"
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        least = schema.get("minLength", 1)
        most = max(least, schema.get("maxLength", 60))
        length = min(most, 12) if plain else self._between(least, most)
        start = 0 if plain else self.random.randrange(len(TEXT))
        return (TEXT * (2 + length // len(TEXT)))[start : start + max(least, length, 1)].strip().ljust(least, "s")

    def _integer(self, schema: Mapping[str, Any], _name: str, _web: str | None, plain: bool) -> int:
        step = schema.get("multipleOf", 1)
        least, most = _limits(schema, step)
        first, last = -(-least // step), most // step
        return int(step * (first + (last - first) // 3 if plain else self._between(first, last)))

    def _number(self, schema: Mapping[str, Any], _name: str, _web: str | None, plain: bool) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        most = schema.get("maximum", schema.get("exclusiveMaximum", least + 20))
        step = schema.get("multipleOf", (most - least) / 16)
        steps = int((most - least) / step + 1e-9) if step else 0
        inner = (1 if "exclusiveMinimum" in schema else 0, steps - 1 if "exclusiveMaximum" in schema else steps)
        return float(round(least + step * (max(inner[0], steps // 3) if plain else self._between(*inner)), 6))

    def _boolean(self, _schema: Mapping[str, Any], _name: str, _web: str | None, plain: bool) -> bool:
        return True if plain else self.random.random() < 0.5

    def _array(self, schema: Mapping[str, Any], name: str, web: str | None, plain: bool) -> list[Any]:
        least = schema.get("minItems", 0)
        count = max(least, 1) if plain else self._between(least, max(least, schema.get("maxItems", 8)))
        items = [self._value(schema.get("items", {}), name, web, plain) for _ in range(count)]
        if schema.get("uniqueItems"):
            return list({json.dumps(item, sort_keys=True): item for item in items}.values())
        return items

    def _object(self, schema: Mapping[str, Any], name: str, web: str | None, plain: bool) -> dict[str, Any]:
        listed, required = schema.get("properties"), schema.get("required", ())
        if not listed:
            free = schema.get("additionalProperties")
            return {"a": self._value(free if isinstance(free, dict) else {}, name, web, plain)} if free else {}
        names = [part for part in listed if part in required or (not plain and self.random.random() < 0.5)]
        return {part: self._value(listed[part], name, self._web_file(part), plain) for part in names}

    def _between(self, least: int, most: int) -> int:
        """Mostly small, sometimes anything, and both ends often: limits are where mistakes are."""
        pick = self.random.random()
        if pick < 0.15:
            return most
        if pick < 0.45:
            return least
        return self.random.randint(least, most if pick < 0.65 else min(most, least + 15))


def _limits(schema: Mapping[str, Any], step: int) -> tuple[int, int]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        most = schema["exclusiveMaximum"] - step
    if least is None:
        least = 0 if most is None else min(0, most)
    return least, least + 16 if most is None else most
