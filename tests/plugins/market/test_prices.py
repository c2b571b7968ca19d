"""Prices of the bundle: for every row of the service's price list, the estimate of a request with its setting."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import kie_ai_mcp_market
from kie_ai_mcp import Model
from kie_ai_mcp._models.pricing import estimate
from kie_ai_mcp._models.samples import usual
from tests.service import facts

MODELS = {model.id: model for model in kie_ai_mcp_market.kie_register_models() if isinstance(model, Model)}

OF_TODAY = {"M", "D", "N", "F"}
"""Sources whose prices the bundle holds."""

OTHER_SOURCE = {
    ("qwen/image-edit", "megapixel"): "the service itself says about 6",
    ("qwen2/text-to-image", "image"): "the service itself says about 6",
    ("qwen2/image-edit", "image"): "the service itself says about 6",
    ("wan/2-2-a14b-text-to-video-turbo", "580p"): "the schema takes no 580p",
    ("wan/2-2-a14b-image-to-video-turbo", "580p"): "the schema takes no 580p",
    ("wan/2-6-video-to-video", "15 s"): "the schema takes at most 10 s",
}
"""Rows by unit or end of the setting that no request of today has, or that another row contradicts, and why."""

SECONDS = 7.0
"""How long each clip and sound of a request is."""

TEXT = {"1K": "basic", "2K": "high"}  # quality of Seedream 5 Pro
TIERS = {"Lite": "veo3_lite", "Fast": "veo3_fast", "Quality": "veo3"}
SOUND = ("sound", "audio", "generate_audio", "generate_audio_switch")
CLIPS = ("reference_video_urls", "video_list", "video_urls")
SIZES = ("resolution", "quality", "mode", "size", "rendering_speed", "type")


def models_of(name: str) -> list[str]:
    """Return the ids that a row is about."""
    if name.endswith("/*"):
        return ["minimax-h3/reference-to-video"] if name.startswith("minimax") else []
    ids = re.split(r", | \(|\)", name)
    return [one for one in ids if one in MODELS]


def rows() -> Iterator[tuple[str, str, str, float]]:
    """Yield id, setting, unit and credits of each row; one that names several settings is several."""
    for name, setting, credits, source, _date in facts.price_rows():
        settings, _, unit = setting.rpartition("per ")
        prices = [float(part) for part in credits.split(" / ") if part]
        for model in models_of(name) if source in OF_TODAY else ():
            alternatives = (
                settings.rstrip(", ").split(" or ") if " or " in settings else variants(settings.rstrip(", "))
            )
            if len(prices) == 1 and len(alternatives) > 1:
                prices *= len(alternatives)
            assert len(prices) == len(alternatives), (name, setting)
            for words, price in zip(alternatives, prices, strict=True):
                yield model, words, unit or setting, price


def variants(settings: str) -> list[str]:
    """Return the settings that a list such as ``720p 5 / 10 s`` or ``720p silent / audio`` stands for."""
    first, *others = settings.split(" / ")
    if not others:
        return [settings]
    start, _, one = first.rpartition(" ")
    ends = " s" if settings.endswith(" s") else ""
    return [f"{start} {part.removesuffix(' s')}{ends}" for part in (one, *others)]


def request(model: Model, words: str, unit: str) -> dict[str, Any]:
    """Return an input with the setting that the words of a row name, for one unit of what is counted in pieces."""
    made: dict[str, Any] = {name: usual(model, name) for name in model.input["required"]}
    fields: Mapping[str, Any] = model.input["properties"]
    if {"enum", "minimum"} & set(fields.get("duration", ())):
        made["duration"] = usual(model, "duration")
    if found := re.search(r"\b(\d+) s\b", words):
        name = "extend_times" if "extend_times" in fields else "duration"
        made[name] = found[1] if "string" in fields[name]["type"] else int(found[1])
    for word in re.split(r"[\s,/()]+", words):
        for name in SIZES:
            near = {str(value).lower(): value for value in fields.get(name, {}).get("enum", ())}
            if word.lower() in near:
                made[name] = near[word.lower()]
        if "seedream/5-pro" in model.id and word in TEXT and "quality" in fields:
            made["quality"] = TEXT[word]
        if word in TIERS and "model" in fields:
            made["model"] = TIERS[word]
        if word in {"1x", "2x", "4x"}:
            made["upscale_factor"] = word[0]
        if word in {"silent", "sound", "audio"}:
            made |= {name: word != "silent" for name in SOUND if name in fields}
    if "enable_pro" in fields:
        made["enable_pro"] = "quality" in words
    if "video input" in words and "no video" not in words:
        (name,) = [name for name in CLIPS if name in fields]
        made[name] = [{"url": "https://x.example/a.mp4"}] if name == "video_list" else ["https://x.example/a.mp4"]
        made.pop("audio", None)
    if "n" in fields:
        made["n"] = 1
    if unit == "1000 characters":
        spoken = "x" * 1000
        made |= {"dialogue": [{"text": spoken, "voice": "a"}]} if "dialogue" in fields else {"text": spoken}
    return made


def media_seconds(made: Mapping[str, Any]) -> dict[str, float]:
    """Return the length of every file that a request names."""
    texts = [text for value in made.values() for text in (value if isinstance(value, list) else [value])]
    return {text: SECONDS for text in texts if isinstance(text, str) and text.startswith("https://")}


def factor(model: Model, made: Mapping[str, Any], unit: str) -> float | None:
    """Return how often a price counts in a request; None where a fact decides that no request holds."""
    length = float(made["duration"]) if "duration" in made else 0.0
    clips = [name for name in CLIPS if made.get(name)]
    match unit:
        case "second (6 s)":
            return 6
        case "second" if clips and not made.get("image_urls"):
            return SECONDS
        case "output second" | "second" if length > 0:
            return length
        case "second" if (lines := model.price) and any("~" in line.per for line in lines.lines):
            return SECONDS
        case "input plus output second" | "generated plus input second" if length > 0:
            return length + SECONDS * len(clips)
        case "1000 characters":
            return 1
        case (
            "image"
            | "video"
            | "call"
            | "request"
            | "extension"
            | "image returned"
            | "image (about)"
            | "call (2 images)"
        ):
            return 1
    return None


def is_right(name: str, words: str, unit: str, credits: float) -> str:
    """Return how the estimate agrees with a row: exactly, at most, by its rate alone; "" where it does not."""
    model = MODELS[name]
    made = request(model, words, unit)
    assert model.price is not None
    base = replace(model, price=replace(model.price, plus=()))
    seconds = media_seconds(made)
    cost, times = estimate(base, made, seconds), factor(base, made, unit)
    if unit.startswith("each"):  # input image, some of them free
        field = next(line.per.strip("#") for line in model.price.plus)
        more, many = ({**made, field: ["https://x.example/a.png"] * count} for count in (8, 7))
        added = (estimate(model, one).credits or 0 for one in (more, many))
        return "exact" if math.isclose(next(added) - next(added), credits) else ""
    if cost.credits is None or " tokens" in cost.rate:  # of tokens only a bound is known
        return "rate" if str(credits).removesuffix(".0") in estimate(model, made).rate else ""
    if times is not None and math.isclose(cost.credits, credits * times):
        return "exact"
    is_one_of = cost.at_most and cost.missing and credits in {line.credits for line in model.price.lines}
    return "at most" if is_one_of and credits < cost.credits else ""


def test_every_row_of_the_price_list_is_the_estimate_of_its_request() -> None:
    judged = Counter(
        is_right(*row) or f"{row} is not the estimate"
        for row in rows()
        if not {(row[0], row[2]), (row[0], row[1][-4:])} & set(OTHER_SOURCE)
    )
    assert judged.pop("exact") > 0
    assert judged == {"at most": 8, "rate": 24}


def test_models_without_a_row_have_no_price_and_the_others_have_one() -> None:
    listed = {row[0] for row in rows()}
    assert {name for name, model in MODELS.items() if model.price} == listed
