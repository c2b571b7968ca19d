"""Requests and refusals of the Seedream tools, and the model that they choose."""

from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import Any, get_args

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp_seedream import kie_describe_provider, kie_register_models
from kie_ai_mcp_seedream.tools import NAMES, NEW, Resolution, Shape, edit_seedream_image, generate_seedream_image
from tests.helpers import capable
from tests.service.facts import official, price_list

Tool = Callable[..., Submission]
BOTH = [generate_seedream_image, edit_seedream_image]
both = pytest.mark.parametrize("tool", BOTH)
MODELS = [form.name for form in NEW]
PRICES = price_list("seedream/", "bytedance/seedream-v4")


def pictures(count: int) -> list[str]:
    return [f"https://example.com/{number}.png" for number in range(count)]


def made(tool: Tool, **arguments: Any) -> Submission:
    """Return the request for a prompt, a picture where the tool wants one, and the arguments."""
    needed = {"image_urls": pictures(1)} if tool is edit_seedream_image else {}
    sent = tool(**{"prompt": "a fox", **needed, **arguments})
    assert sent.model is not None
    official(sent.model).validate(sent.body["input"])
    return sent


def credits_of(sent: Submission) -> float:
    """Return the price of a request by the collected list."""
    rows = {setting: price.credits[0] for (model, setting), price in PRICES.items() if model == sent.model}
    more = rows.pop("each input image after the first", 0) * (len(sent.body["input"].get("image_urls", [1])) - 1)
    quality = "2K" if sent.body["input"].get("quality") == "high" else "1K"
    return more + (min(rows.values()) if len(rows) == 1 else rows[f"{quality}, per image"])


def test_words_alone_are_drawn_square_by_the_cheapest_model() -> None:
    sent = generate_seedream_image("a fox")
    assert sent.body == {"model": "seedream/5-flash-text-to-image", "input": {"prompt": "a fox", "aspect_ratio": "1:1"}}
    assert sent.notes == ("Seedream 5-flash was chosen: the cheapest model that takes the whole call.",)


def test_pictures_are_changed_by_the_cheapest_model() -> None:
    sent = edit_seedream_image("at night", pictures(2))
    assert sent.body == {
        "model": "seedream/5-flash-image-to-image",
        "input": {"prompt": "at night", "aspect_ratio": "1:1", "image_urls": pictures(2)},
    }


@both
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"resolution": "1.5K"}, "5-flash"),
        ({"resolution": "4K"}, "4"),
        ({"resolution": "3K"}, "5-lite"),
        ({"resolution": "4K", "output_format": "jpeg"}, "5-lite"),
        ({"resolution": "4K", "prompt": "p" * 3_001}, "4"),
        ({"prompt": "ox"}, "4"),
    ],
)
def test_what_is_asked_for_decides_the_model(tool: Tool, arguments: dict[str, Any], name: str) -> None:
    sent = made(tool, **arguments)
    assert NAMES[str(sent.model)] == name
    assert sent.notes[0].startswith(f"Seedream {name} was chosen")


def test_more_than_ten_pictures_go_to_a_model_that_takes_them() -> None:
    assert made(edit_seedream_image, image_urls=pictures(11)).model == "seedream/5-lite-image-to-image"
    assert made(edit_seedream_image, image_urls=pictures(14), prompt="ox").model == "seedream/4.5-edit"


@both
@pytest.mark.parametrize("name", MODELS)
def test_named_model_is_the_one_that_is_bought(tool: Tool, name: str) -> None:
    sent = made(tool, model=name)
    assert NAMES[str(sent.model)] == name
    assert ("edit" in str(sent.model) or "image-to" in str(sent.model)) == (tool is edit_seedream_image)
    assert sent.notes == ()


@both
@pytest.mark.parametrize("model_id", NAMES)
def test_id_of_the_service_is_understood_as_the_models_name(tool: Tool, model_id: str) -> None:
    arguments = BoundTool.bind(tool, provider="seedream", kind="image").arguments
    needed = {"image_urls": pictures(1)} if tool is edit_seedream_image else {}
    assert arguments.check({"prompt": "a fox", "model": model_id, **needed})["model"] == NAMES[model_id]


@both
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", get_args(Shape))
def test_every_model_makes_every_shape(tool: Tool, name: str, shape: str) -> None:
    sent = made(tool, model=name, aspect_ratio=shape).body["input"]
    words = {"9:16": "portrait_16_9", "3:4": "portrait_4_3", "2:3": "portrait_3_2", "1:1": "square_hd"}
    words |= {"16:9": "landscape_16_9", "4:3": "landscape_4_3", "3:2": "landscape_3_2", "21:9": "landscape_21_9"}
    assert sent.get("image_size", sent.get("aspect_ratio")) == (words[shape] if name == "4" else shape)


@both
@pytest.mark.parametrize(
    ("name", "resolution", "field", "word"),
    [
        ("5-flash", "1.5K", "size", "1.5K"),
        ("4", "4K", "image_resolution", "4K"),
        ("5-lite", "2K", "quality", "basic"),
        ("5-lite", "3K", "quality", "high"),
        ("5-lite", "4K", "quality", "ultra"),
        ("4.5", "2K", "quality", "basic"),
        ("4.5", "4K", "quality", "high"),
        ("5-pro", "1K", "quality", "basic"),
        ("5-pro", "2K", "quality", "high"),
    ],
)
def test_resolution_is_written_as_the_model_writes_it(
    tool: Tool, name: str, resolution: str, field: str, word: str
) -> None:
    assert made(tool, model=name, resolution=resolution).body["input"][field] == word


@both
def test_output_format_is_sent(tool: Tool) -> None:
    sent = made(tool, output_format="jpeg")
    assert (sent.body["input"]["output_format"], sent.convert_to) == ("jpeg", None)


@both
@pytest.mark.parametrize("name", ["4", "4.5"])
def test_output_format_that_a_named_model_lacks_is_made_when_saved(tool: Tool, name: str) -> None:
    sent = made(tool, model=name, output_format="jpeg")
    assert ("output_format" in sent.body["input"], sent.convert_to) == (False, "jpeg")


CALLS = [
    {"prompt": prompt, "resolution": resolution, "output_format": output_format, "count": count}
    for prompt, resolution, output_format, count in product(
        ("ox", "a fox", "p" * 3_001), (None, *get_args(Resolution)), (None, "png"), (0, 1, 10, 11)
    )
]


def ask(call: dict[str, Any], model: str | None) -> Submission:
    count = call["count"]
    arguments = {name: value for name, value in call.items() if name != "count"} | {"model": model}
    if count:
        return edit_seedream_image(image_urls=pictures(count), **arguments)
    return generate_seedream_image(**arguments)


def test_cheapest_model_that_takes_the_whole_call_is_bought() -> None:
    for call in CALLS[::3]:
        able: dict[str, Submission] = {}
        for name in MODELS:
            with suppress(InvalidArgument):
                able[name] = ask(call, name)
        if able:
            chosen = ask(call, None)
            # A model that can be told the format comes before one whose pictures are converted.
            told = [made for made in able.values() if made.convert_to is None] or [*able.values()]
            assert credits_of(chosen) == min(map(credits_of, told)), call
            assert chosen.body == able[NAMES[str(chosen.model)]].body
        else:
            with pytest.raises(InvalidArgument) as refusal:
                ask(call, None)
            assert refusal.value.instead is None, call


def test_refusal_of_a_named_model_names_those_that_take_the_call() -> None:
    offered = 0
    for call, name in product(CALLS[::7], MODELS):
        with suppress(InvalidArgument):
            ask(call, name)
            continue
        with pytest.raises(InvalidArgument) as refusal:
            ask(call, name)
        if others := capable(refusal.value):
            assert ask(call, others[0]).body == ask(call, None).body, (call, name)
            offered += 1
    assert offered > 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": "5-pro", "resolution": "4K"}, ["Seedream 5-pro takes '1K' or '2K'."]),
        ({"model": "5-lite", "prompt": "ox"}, ["with Seedream 5-lite, at least 3 characters"]),
        ({"resolution": "3K", "prompt": "p" * 3_001}, ["with Seedream 5-flash, use one of '1K', '1.5K', '2K'"]),
        (
            {"model": "4", "resolution": "3K", "prompt": "p" * 5_001},
            ["with Seedream 4, use one of '1K', '2K', '4K'", "at most 5000 characters"],
        ),
    ],
)
def test_refusal_names_every_cure(arguments: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_seedream_image(**{"prompt": "a fox", **arguments})
    assert [words for words in said if words not in str(refusal.value)] == []
    assert len(refusal.value.faults) == len(said)


def test_too_many_pictures_for_a_resolution_are_refused_with_the_number_that_goes() -> None:
    with pytest.raises(InvalidArgument, match="with Seedream 5-flash, at most 10 items, 11 were given"):
        edit_seedream_image("a fox", pictures(11), resolution="1K")


def test_provider_owns_each_model_and_each_sort_of_task() -> None:
    provider = kie_describe_provider()
    assert provider.api_types == ("seedream", "seedream-edit")
    assert all(model_id.startswith(provider.models) for model_id in NAMES)
    selling = {model.id for model in kie_register_models() if model.tool}
    assert selling == {*NAMES}
