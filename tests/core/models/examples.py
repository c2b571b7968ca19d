"""Models for tests of checks, prices and words; none belongs to a service."""

from typing import Any

from kie_ai_mcp import Media, Model, Price, PriceLine, Rule


def model(*rules: Rule, required: tuple[str, ...] = (), price: Price | None = None, **fields: Any) -> Model:
    """A model of the given fields, each with its schema."""
    schema = {
        "type": "object",
        "properties": {**FIELDS, **fields},
        "required": list(required),
        "additionalProperties": False,
    }
    return Model("fox/1", "Fox", "video", "text-to-video", schema, MEDIA, rules, price)


def priced(*lines: PriceLine, plus: tuple[PriceLine, ...] = (), **unset: Any) -> Model:
    return model(price=Price(lines, plus, unset))


SHOT = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 20},
        "image_url": {"type": "string", "format": "uri"},
        "start": {"type": "number", "minimum": 0, "default": 0},
        "end": {"type": "number", "default": 8},
    },
    "required": ["text"],
    "additionalProperties": False,
}
FIELDS: dict[str, Any] = {
    "prompt": {"type": "string", "minLength": 3, "maxLength": 30},
    "duration": {"type": "integer", "enum": [-1, 4, 5, 6, 10], "default": 5},
    "resolution": {"type": "string", "enum": ["720p", "1080p", "4k"], "default": "720p"},
    "size": {"type": "string", "enum": ["S", "L"]},
    "sound": {"type": "boolean", "default": False},
    "strength": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.1},
    "n": {"type": "integer", "minimum": 1, "maximum": 8},
    "image_urls": {"type": "array", "items": {"type": "string", "format": "uri"}, "maxItems": 4},
    "video_url": {"type": "string", "format": "uri", "pattern": "^(https?|oss)://"},
    "ids": {"type": "array", "items": {"type": "string"}},
    "shots": {"type": "array", "items": SHOT, "maxItems": 3},
}
MEDIA = {
    "image_urls[]": Media("image"),
    "shots[].image_url": Media("image"),
    "video_url": Media("video", most_s=30, schemes=("oss",)),
}
A, B, C = (f"https://media.example.com/{name}" for name in ("a.png", "b.png", "c.mp4"))
