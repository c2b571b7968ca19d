"""Requests and refusals of the GPT Image tools, and the model that they choose."""

from collections.abc import Callable
from itertools import product
from typing import Any, get_args

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp_gpt_image import kie_describe_provider, kie_register_models
from kie_ai_mcp_gpt_image.tools import NAMES, NEW, Background, Resolution, Shape, edit_gpt_image, generate_gpt_image
from tests.helpers import capable
from tests.service.facts import official, price_list, schema_of

Tool = Callable[..., Submission]
BOTH = [generate_gpt_image, edit_gpt_image]
both = pytest.mark.parametrize("tool", BOTH)
IDS = {form.name: form.id for form in NEW}
MODELS = [*IDS]
PRICES = {(model, row.split(",")[0]): price.credits[0] for (model, row), price in price_list("gpt-image").items()}

# What 2 makes at a larger resolution than 1K, as the service says it in prose.
NOT_AT_2K = {"auto", "5:4", "4:5", "3:1", "1:3", "9:21"}
NOT_AT_4K = {"auto", "1:1", "3:1", "1:3", "9:21"}


def pictures(count: int) -> list[str]:
    return [f"https://example.com/{number}.png" for number in range(count)]


def made(tool: Tool, **arguments: Any) -> Submission:
    """Return the request for a prompt, a picture where the tool wants one, and the arguments."""
    needed = {"image_urls": pictures(1)} if tool is edit_gpt_image else {}
    sent = tool(**{"prompt": "a fox", **needed, **arguments})
    assert sent.model is not None
    official(sent.model).validate(sent.body["input"])
    return sent


def credits_of(sent: Submission) -> float:
    """Return the price of a request by the collected list."""
    fields = sent.body["input"]
    return PRICES[str(sent.model), fields.get("quality") or fields.get("resolution", "1K")]


def test_words_alone_are_drawn_by_the_cheapest_model() -> None:
    sent = generate_gpt_image("a fox")
    assert sent.body == {
        "model": "gpt-image/1.5-text-to-image",
        "input": {"prompt": "a fox", "aspect_ratio": "1:1", "quality": "medium"},
    }
    assert sent.notes == ("GPT Image 1.5 was chosen: the cheapest model that takes the whole call.",)


def test_pictures_without_a_shape_go_to_a_model_that_need_not_square_them() -> None:
    sent = edit_gpt_image("at night", pictures(2))
    assert sent.body == {
        "model": "gpt-image-2-image-to-image",
        "input": {"prompt": "at night", "input_urls": pictures(2)},
    }
    assert "GPT Image 2 was chosen: the cheapest fitting model" in sent.notes[0]
    assert "GPT Image 1.5 is cheaper, but makes a square picture" in sent.notes[1]
    assert edit_gpt_image("at night", pictures(2), aspect_ratio="3:2").model == "gpt-image/1.5-image-to-image"


def test_named_model_that_makes_a_changed_picture_square_says_so() -> None:
    sent = edit_gpt_image("at night", pictures(1), model="1.5")
    assert sent.body["input"]["aspect_ratio"] == "1:1"
    assert sent.notes == ("GPT Image 1.5 makes a square picture where aspect_ratio is left out.",)


@both
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"aspect_ratio": "2:3"}, "1.5"),
        ({"aspect_ratio": "16:9"}, "2"),
        ({"background": "transparent"}, "2"),
        ({"resolution": "1K"}, "2"),
        ({"resolution": "2K"}, "2.5-flare"),
        ({"resolution": "4K", "aspect_ratio": "1:1"}, "2.5-flare"),
        ({"resolution": "4K", "aspect_ratio": "16:9"}, "2"),
        ({"resolution": "4K", "aspect_ratio": "16:9", "background": "opaque"}, "2.5-flare"),
    ],
)
def test_what_is_asked_for_decides_the_model(tool: Tool, arguments: dict[str, Any], name: str) -> None:
    sent = made(tool, **arguments)
    assert NAMES[str(sent.model)] == name
    assert sent.notes[0].startswith(f"GPT Image {name} was chosen")
    expected = {"prompt": "a fox", **({"input_urls": pictures(1)} if tool is edit_gpt_image else {}), **arguments}
    assert sent.body["input"] == expected | ({"quality": "medium"} if name == "1.5" else {})


@both
@pytest.mark.parametrize("name", MODELS)
def test_named_model_is_the_one_that_is_bought(tool: Tool, name: str) -> None:
    sent = made(tool, model=name, aspect_ratio="3:2")
    assert sent.model == (IDS[name].replace("text-to", "image-to") if tool is edit_gpt_image else IDS[name])
    assert sent.body["input"].get("quality") == {"1.5": "medium", "1.5-high": "high"}.get(name)
    assert sent.notes == ()


@both
@pytest.mark.parametrize("model_id", NAMES)
def test_id_of_the_service_is_understood_as_the_models_name(tool: Tool, model_id: str) -> None:
    arguments = BoundTool.bind(tool, provider="gpt-image", kind="image").arguments
    needed = {"image_urls": pictures(1)} if tool is edit_gpt_image else {}
    assert arguments.check({"prompt": "a fox", "model": model_id, **needed})["model"] == NAMES[model_id]
    assert NAMES["gpt-image/1.5-text-to-image"] == "1.5"


CALLS = [
    {"aspect_ratio": shape, "resolution": resolution, "background": background, "count": count}
    for shape, resolution, background, count in product(
        (None, *get_args(Shape)), (None, *get_args(Resolution)), (None, *get_args(Background)), (0, 16)
    )
][::11]


def ask(call: dict[str, Any], model: str | None) -> Submission:
    arguments = {name: value for name, value in call.items() if name != "count"} | {"model": model}
    if count := call["count"]:
        return edit_gpt_image("a fox", pictures(count), **arguments)
    return generate_gpt_image("a fox", **arguments)


def takes(name: str, call: dict[str, Any]) -> bool:
    """Return whether a model takes a call, by the service's schema and what it says in prose."""
    shape, resolution = call["aspect_ratio"], call["resolution"]
    fields = schema_of(IDS[name])["properties"]
    if shape not in (None, "auto", *fields["aspect_ratio"]["enum"]):
        return False
    if name != "2":
        return "resolution" in fields or not (resolution or call["background"])
    if call["background"] and resolution in {"2K", "4K"}:
        return False
    return (shape or "auto") not in {"2K": NOT_AT_2K, "4K": NOT_AT_4K}.get(resolution, set())


def test_models_take_exactly_what_the_service_takes() -> None:
    for call, name in product(CALLS, MODELS):
        if takes(name, call):
            sent = ask(call, name)
            official(str(sent.model)).validate(sent.body["input"])
        else:
            with pytest.raises(InvalidArgument):
                ask(call, name)


def test_cheapest_model_that_takes_the_whole_call_is_bought() -> None:
    for call in CALLS:
        able = {name: ask(call, name) for name in MODELS if takes(name, call)}
        keep = {name: sent for name, sent in able.items() if not (sent.notes and "square" in sent.notes[-1])}
        if able:
            chosen = ask(call, None)
            assert credits_of(chosen) == min(map(credits_of, (keep or able).values())), call
            assert chosen.body == able[NAMES[str(chosen.model)]].body
        else:
            with pytest.raises(InvalidArgument) as refusal:
                ask(call, None)
            assert refusal.value.instead is None, call


def test_refusal_of_a_named_model_names_those_that_take_the_call() -> None:
    offered = 0
    for call, name in product(CALLS, MODELS):
        if takes(name, call):
            continue
        with pytest.raises(InvalidArgument) as refusal:
            ask(call, name)
        for other in capable(refusal.value):
            assert takes(other, call), (call, name)
            offered += 1
    assert offered > 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": "1.5", "resolution": "2K"}, ["GPT Image 1.5 has no such setting; leave it out."]),
        ({"model": "1.5", "aspect_ratio": "16:9"}, ["with GPT Image 1.5, use one of '1:1', '2:3', '3:2'"]),
        ({"model": "2", "resolution": "2K"}, ["only with aspect_ratio given and not auto; use '1K'"]),
        ({"resolution": "2K", "aspect_ratio": "5:4"}, ["use '1K' or '4K', or leave out resolution"]),
        (
            {"resolution": "2K", "aspect_ratio": "2:1", "background": "opaque"},
            ["with GPT Image 2, only with resolution 1K or left out; leave out background"],
        ),
        (
            {"model": "1.5", "resolution": "2K", "aspect_ratio": "5:4", "background": "auto"},
            ["resolution: '2K'", "background: 'auto'", "use one of '1:1', '2:3', '3:2'"],
        ),
    ],
)
def test_refusal_names_every_cure(arguments: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_gpt_image("a fox", **arguments)
    assert [words for words in said if words not in str(refusal.value)] == []
    assert len(refusal.value.faults) == len(said)


def test_shapes_are_those_of_the_service_but_for_four_odd_ones_of_2_5() -> None:
    there = {shape for model_id in NAMES for shape in schema_of(model_id)["properties"]["aspect_ratio"]["enum"]}
    assert there - {*get_args(Shape)} == {"27:16", "16:27", "9:8", "8:9"}
    assert {*get_args(Shape)} <= there


def test_provider_owns_each_model_and_each_sort_of_task() -> None:
    provider = kie_describe_provider()
    assert provider.api_types == ("gpt-image", "gpt-image-edit")
    assert all(model_id.startswith(provider.models) for model_id in NAMES)
    assert {model.id for model in kie_register_models() if model.tool} == {*NAMES}
