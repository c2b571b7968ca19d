"""Requests and refusals of the Nano Banana tools."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp_nano_banana import kie_describe_provider, kie_register_tools
from kie_ai_mcp_nano_banana.tools import FAMILY, Resolution, Shape, edit_nano_banana, generate_nano_banana
from tests.helpers import price_of
from tests.service.facts import official, schema_of

LONG_SHAPES = ("1:4", "4:1", "1:8", "8:1")

CALLBACK = "https://me.example/x"

Tool = Callable[..., Submission]
BOTH = [generate_nano_banana, edit_nano_banana]
REFERENCE_MODELS = ["nano-banana-2-1", "nano-banana-2", "nano-banana-2-lite", "nano-banana-pro"]

# Every way to reach a model: the tool, whether pictures go along, the model.
WAYS: list[tuple[Tool, bool, str]] = [
    (generate_nano_banana, False, "google/nano-banana"),
    (edit_nano_banana, True, "google/nano-banana-edit"),
    *((generate_nano_banana, False, model) for model in REFERENCE_MODELS),
    *((generate_nano_banana, True, model) for model in REFERENCE_MODELS),
    *((edit_nano_banana, True, model) for model in REFERENCE_MODELS),
]
# Every setting that a model has.
FULL: dict[str, dict[str, Any]] = {
    "google/nano-banana": {"image_size": "21:9", "output_format": "jpeg"},
    "google/nano-banana-edit": {"image_size": "auto", "output_format": "png"},
    "nano-banana-2-1": {"image_size": "1:8", "resolution": "2K", "output_format": "png"},
    "nano-banana-2": {"image_size": "8:1", "resolution": "4K", "output_format": "jpeg"},
    "nano-banana-2-lite": {"image_size": "1:4"},
    "nano-banana-pro": {"image_size": "4:5", "resolution": "2K", "output_format": "png"},
}
MOST_CHARACTERS = {
    "google/nano-banana": 5_000,
    "google/nano-banana-edit": 5_000,
    "nano-banana-2-1": 20_000,
    "nano-banana-2": 20_000,
    "nano-banana-2-lite": 20_000,
    "nano-banana-pro": 10_000,
}
MOST_PICTURES = {
    "google/nano-banana-edit": 10,
    "nano-banana-2-1": 14,
    "nano-banana-2": 14,
    "nano-banana-2-lite": 10,
    "nano-banana-pro": 8,
}


def pictures(count: int) -> list[str]:
    return [f"https://example.com/{number}.png" for number in range(count)]


def made(tool: Tool, with_pictures: bool, model: str | None, **arguments: Any) -> dict[str, Any]:
    """Return the input that is sent to the model, from a prompt, a picture if it shall be, and the arguments."""
    references = {"image_urls": pictures(1)} if with_pictures else {}
    submission = tool(**{"prompt": "a fox", "model": model, **references, **arguments})
    assert submission.body["model"] == submission.model == model or model is None
    return dict(submission.body["input"])


def test_generating_from_words_sends_the_prompt_alone() -> None:
    submission = generate_nano_banana("a fox")

    assert submission.paths == ("jobs/createTask", "playground/createTask")
    assert submission.body == {"model": "google/nano-banana", "input": {"prompt": "a fox"}}
    assert submission.api_type == "nano-banana"
    assert submission.model == "google/nano-banana"


def test_editing_sends_the_pictures_to_the_model_that_edits() -> None:
    submission = edit_nano_banana("at night", pictures(2))

    assert submission.paths == ("jobs/createTask", "playground/createTask")
    assert submission.body == {
        "model": "google/nano-banana-edit",
        "input": {"prompt": "at night", "image_urls": pictures(2)},
    }
    assert submission.api_type == "nano-banana-edit"
    assert submission.model == "google/nano-banana-edit"


@pytest.mark.parametrize(
    ("tool", "api_type"), [(generate_nano_banana, "nano-banana"), (edit_nano_banana, "nano-banana-edit")]
)
@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("nano-banana-2-1", "image_input"),
        ("nano-banana-2", "image_input"),
        ("nano-banana-2-lite", "image_urls"),
        ("nano-banana-pro", "image_input"),
    ],
)
def test_pictures_stand_under_the_name_that_the_model_has_for_them(
    tool: Tool, api_type: str, model: str, field: str
) -> None:
    submission = tool(prompt="a fox", image_urls=pictures(2), model=model, callBackUrl=CALLBACK)

    assert submission.body["input"][field] == pictures(2)
    assert {"image_input", "image_urls"} & set(submission.body["input"]) == {field}
    assert submission.body["callBackUrl"] == CALLBACK
    assert (submission.model, submission.api_type) == (model, api_type)


@pytest.mark.parametrize(("tool", "with_pictures", "model"), WAYS)
def test_image_size_becomes_the_aspect_ratio(tool: Tool, with_pictures: bool, model: str) -> None:
    sent = made(tool, with_pictures, model, image_size="3:2")

    assert sent["aspect_ratio"] == "3:2"
    assert "image_size" not in sent


@pytest.mark.parametrize(("tool", "with_pictures", "model"), WAYS)
def test_without_image_size_only_the_model_that_needs_a_shape_is_sent_one(
    tool: Tool, with_pictures: bool, model: str
) -> None:
    shape = {"nano-banana-2-lite": "auto"}.get(model)

    assert made(tool, with_pictures, model).get("aspect_ratio") == shape


@pytest.mark.parametrize(
    ("tool", "model", "jpeg"),
    [
        (generate_nano_banana, "google/nano-banana", "jpeg"),
        (edit_nano_banana, "google/nano-banana-edit", "jpeg"),
        *((tool, model, "jpg") for tool in BOTH for model in ("nano-banana-2-1", "nano-banana-2", "nano-banana-pro")),
    ],
)
def test_output_format_is_written_as_the_model_writes_it(tool: Tool, model: str, jpeg: str) -> None:
    with_pictures = tool is edit_nano_banana

    assert made(tool, with_pictures, model, output_format="jpeg")["output_format"] == jpeg
    assert made(tool, with_pictures, model, output_format="png")["output_format"] == "png"


@pytest.mark.parametrize("tool", BOTH)
@pytest.mark.parametrize("model", ["nano-banana-2-1", "nano-banana-2", "nano-banana-pro"])
@pytest.mark.parametrize("resolution", get_args(Resolution))
def test_resolution_is_sent_where_the_model_has_several(tool: Tool, model: str, resolution: str) -> None:
    assert made(tool, tool is edit_nano_banana, model, resolution=resolution)["resolution"] == resolution


@pytest.mark.parametrize(("tool", "with_pictures", "model"), WAYS)
def test_minimal_and_full_requests_are_ones_the_official_schema_accepts(
    tool: Tool, with_pictures: bool, model: str
) -> None:
    full = {**FULL[model], "prompt": "p" * MOST_CHARACTERS[model]}
    if with_pictures:
        full["image_urls"] = pictures(MOST_PICTURES[model])
    submission = tool(**full, model=model, callBackUrl=CALLBACK)

    assert set(submission.body) == {"model", "input", "callBackUrl"}
    assert len(submission.body["input"]) == len(full)
    official(model).validate(submission.body["input"])
    official(model).validate(made(tool, with_pictures, model))


@pytest.mark.parametrize(("tool", "with_pictures", "model"), WAYS)
@pytest.mark.parametrize("shape", get_args(Shape))
def test_a_shape_is_sent_exactly_where_the_official_model_has_it(
    tool: Tool, with_pictures: bool, model: str, shape: str
) -> None:
    if shape in schema_of(model)["properties"]["aspect_ratio"]["enum"]:
        assert made(tool, with_pictures, model, image_size=shape)["aspect_ratio"] == shape
    else:
        with pytest.raises(InvalidArgument) as refusal:
            made(tool, with_pictures, model, image_size=shape)
        assert refusal.value.field == "image_size"


@pytest.mark.parametrize(("tool", "with_pictures", "model"), WAYS)
def test_a_prompt_longer_than_the_model_takes_is_refused(tool: Tool, with_pictures: bool, model: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        made(tool, with_pictures, model, prompt="p" * (MOST_CHARACTERS[model] + 1))

    assert refusal.value.field == "prompt"
    assert f"at most {MOST_CHARACTERS[model]} characters" in refusal.value.allowed


@pytest.mark.parametrize(("tool", "model"), [(tool, model) for tool, with_pictures, model in WAYS if with_pictures])
def test_more_pictures_than_the_model_takes_are_refused(tool: Tool, model: str) -> None:
    most = MOST_PICTURES[model]
    with pytest.raises(InvalidArgument) as refusal:
        tool(prompt="a fox", model=model, image_urls=pictures(most + 1))

    assert refusal.value.field == "image_urls"
    assert f"at most {most} items, {most + 1} were given" in refusal.value.allowed


def test_pictures_beside_the_words_of_a_new_picture_go_to_the_model_that_edits() -> None:
    pinned = generate_nano_banana("a fox", image_urls=pictures(1), model="google/nano-banana")

    assert pinned.model == generate_nano_banana("a fox", image_urls=pictures(1)).model == "google/nano-banana-edit"
    assert pinned.body["input"] == {"prompt": "a fox", "image_urls": pictures(1)}


@pytest.mark.parametrize("shape", LONG_SHAPES)
@pytest.mark.parametrize(
    ("tool", "model"),
    [
        (generate_nano_banana, "google/nano-banana"),
        (edit_nano_banana, "google/nano-banana-edit"),
        (generate_nano_banana, "nano-banana-pro"),
        (edit_nano_banana, "nano-banana-pro"),
    ],
)
def test_a_long_shape_is_refused_with_the_models_that_have_it(tool: Tool, model: str, shape: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        made(tool, tool is edit_nano_banana, model, image_size=shape)

    assert refusal.value.field == "image_size"
    assert "The whole call is taken by model=" in refusal.value.message
    assert made(tool, tool is edit_nano_banana, None, image_size=shape)["aspect_ratio"] == shape


@pytest.mark.parametrize(
    ("tool", "model"),
    [
        (generate_nano_banana, "google/nano-banana"),
        (edit_nano_banana, "google/nano-banana-edit"),
        (generate_nano_banana, "nano-banana-2-lite"),
        (edit_nano_banana, "nano-banana-2-lite"),
    ],
)
def test_a_resolution_for_a_model_of_one_size_is_refused_with_those_of_several(tool: Tool, model: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        made(tool, tool is edit_nano_banana, model, resolution="1K")

    assert refusal.value.field == "resolution"
    assert "The whole call is taken by model=" in refusal.value.message
    assert made(tool, tool is edit_nano_banana, None, resolution="1K")["resolution"] == "1K"


@pytest.mark.parametrize("tool", BOTH)
@pytest.mark.parametrize("output_format", ["png", "jpeg"])
def test_an_output_format_that_the_model_chooses_itself_is_made_when_saved(tool: Tool, output_format: str) -> None:
    pictures_given = {"image_urls": pictures(1)} if tool is edit_nano_banana else {}
    lite = tool(prompt="a fox", model="nano-banana-2-lite", output_format=output_format, **pictures_given)
    assert lite.convert_to == output_format
    assert "output_format" not in lite.body["input"]

    free = tool(prompt="a fox", output_format=output_format, **pictures_given)
    assert (free.convert_to, free.body["input"]["output_format"]) == (None, output_format)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (tool, {"image_size": shape, "resolution": resolution, "output_format": output_format, "image_urls": given})
        for tool in BOTH
        for shape in (None, "3:2", "8:1")
        for resolution in (None, *get_args(Resolution))
        for output_format in (None, "jpeg")
        for given in ([None] if tool is generate_nano_banana else []) + [pictures(1), pictures(6), pictures(14)]
    ],
)
def test_without_model_the_cheapest_that_takes_the_whole_call_is_chosen(tool: Tool, arguments: dict[str, Any]) -> None:
    prices: list[float] = []
    for model in (model for way, _, model in WAYS if way is tool):
        with suppress(InvalidArgument):
            prices.append(price_of(FAMILY, tool(prompt="a fox", model=model, **arguments)))
    chosen = tool(prompt="a fox", **arguments)

    assert price_of(FAMILY, chosen) == min(prices)
    assert chosen.notes == (f"{chosen.model} was chosen: the cheapest model that takes the whole call.",)


def test_a_prompt_too_long_for_the_first_model_is_given_to_another() -> None:
    assert generate_nano_banana("p" * 5_000).model == "google/nano-banana"
    assert generate_nano_banana("p" * 5_001).model == "nano-banana-2-1"


def test_what_no_model_takes_is_refused_without_advice_to_leave_the_model_out() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        edit_nano_banana("a fox", pictures(15))

    assert refusal.value.field == "image_urls"
    assert "is taken by" not in refusal.value.message


def test_provider_owns_each_model_and_each_sort_of_task() -> None:
    provider = kie_describe_provider()

    assert provider.api_types == ("nano-banana", "nano-banana-edit")
    assert all(model.startswith(provider.models) for model in FAMILY.models)
    assert {model for _, _, model in WAYS} == set(FAMILY.models)


def test_both_tools_are_offered() -> None:
    assert [tool.__name__ for tool in kie_register_tools()] == ["generate_nano_banana", "edit_nano_banana"]
