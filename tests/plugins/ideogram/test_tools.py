"""Requests and refusals of the Ideogram tools."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp_ideogram import kie_describe_provider, kie_register_tools
from kie_ai_mcp_ideogram.tools import (
    API_TYPES,
    CHARACTER,
    SIZES,
    Shape,
    Speed,
    Style,
    edit_ideogram_image,
    generate_ideogram_image,
    remix_ideogram_image,
)
from kie_ai_mcp_nano_banana.tools import edit_nano_banana
from tests.helpers import PICTURE
from tests.service.facts import official, schema_of

Tool = Callable[..., Submission]
MASK = "https://example.com/mask.png"
HERO = "https://example.com/hero.png"
OTHER = "https://example.com/b.png"

CHARACTER_ARGUMENTS: dict[str, Any] = {"model": CHARACTER, "image_urls": [HERO]}
EDIT_ARGUMENTS: dict[str, Any] = {"image_url": PICTURE, "mask_url": MASK}
REMIX_ARGUMENTS: dict[str, Any] = {"image_url": PICTURE}

# The least that leads to each model: tool, arguments besides the prompt, what is sent besides the prompt.
ACTS: dict[str, tuple[Tool, dict[str, Any], dict[str, Any]]] = {
    "ideogram/v3-text-to-image": (generate_ideogram_image, {}, {}),
    "ideogram/character": (generate_ideogram_image, CHARACTER_ARGUMENTS, {"reference_image_urls": [HERO]}),
    "ideogram/v3-edit": (edit_ideogram_image, EDIT_ARGUMENTS, EDIT_ARGUMENTS),
    "ideogram/character-edit": (
        edit_ideogram_image,
        {**EDIT_ARGUMENTS, "character_url": HERO},
        {**EDIT_ARGUMENTS, "reference_image_urls": [HERO]},
    ),
    "ideogram/v3-remix": (remix_ideogram_image, REMIX_ARGUMENTS, REMIX_ARGUMENTS),
    "ideogram/character-remix": (
        remix_ideogram_image,
        {**REMIX_ARGUMENTS, "character_url": HERO},
        {**REMIX_ARGUMENTS, "reference_image_urls": [HERO]},
    ),
}
COMMON: dict[str, Any] = {
    "rendering_speed": "QUALITY",
    "seed": 7,
    "expand_prompt": False,
    "callBackUrl": "https://me.example/x",
}
FULL: dict[str, dict[str, Any]] = {
    "ideogram/v3-text-to-image": {"negative_prompt": "n" * 5_000, "aspectRatio": "16:9", "style": "DESIGN"},
    "ideogram/character": {"negative_prompt": "n" * 5_000, "aspectRatio": "3:4", "style": "FICTION", "num_images": 4},
    "ideogram/v3-edit": {},
    "ideogram/character-edit": {"style": "REALISTIC", "num_images": 2},
    "ideogram/v3-remix": {
        "negative_prompt": "n" * 5_000,
        "aspectRatio": "4:3",
        "style": "GENERAL",
        "strength": 0.01,
        "num_images": 3,
    },
    "ideogram/character-remix": {
        "negative_prompt": "n" * 500,
        "aspectRatio": "9:16",
        "style": "AUTO",
        "strength": 0.1,
        "num_images": 1,
    },
}


@pytest.mark.parametrize(("model", "act"), ACTS.items())
def test_each_act_is_sent_to_its_own_model(model: str, act: tuple[Tool, dict[str, Any], dict[str, Any]]) -> None:
    tool, arguments, sent = act
    submission = tool(prompt="a fox", **arguments)

    assert submission.paths == ("jobs/createTask", "playground/createTask")
    assert submission.body == {"model": model, "input": {"prompt": "a fox", **sent}}
    assert submission.model == model
    official(model).validate(submission.body["input"])


@pytest.mark.parametrize("model", ACTS)
def test_full_requests_are_ones_the_official_schema_accepts(model: str) -> None:
    tool, arguments, _ = ACTS[model]
    submission = tool(prompt="p" * 5_000, **arguments, **FULL[model], **COMMON)

    assert submission.body["callBackUrl"] == "https://me.example/x"
    assert submission.body["input"]["rendering_speed"] == "QUALITY"
    assert submission.body["input"]["seed"] == 7
    assert submission.body["input"]["expand_prompt"] is False
    assert {name: submission.body["input"].get(name) for name in FULL[model] if name != "aspectRatio"} == {
        name: str(value) if name == "num_images" else value
        for name, value in FULL[model].items()
        if name != "aspectRatio"
    }
    official(model).validate(submission.body["input"])


@pytest.mark.parametrize("model", ACTS)
@pytest.mark.parametrize("style", get_args(Style))
def test_style_is_sent_exactly_where_the_official_model_has_it(model: str, style: str) -> None:
    tool, arguments, _ = ACTS[model]
    if style in schema_of(model)["properties"].get("style", {}).get("enum", ()):
        assert tool(prompt="a fox", **arguments, style=style).body["input"]["style"] == style
    elif model != "ideogram/v3-edit":
        with pytest.raises(InvalidArgument) as refusal:
            tool(prompt="a fox", **arguments, style=style)
        assert refusal.value.field == "style"


def test_style_of_an_edit_without_character_is_said_in_the_prompt() -> None:
    edited = edit_ideogram_image("a fox", PICTURE, MASK, style="REALISTIC")

    assert edited.body["input"]["prompt"] == "a fox\nStyle: REALISTIC."
    assert edited.notes == ("ideogram/v3-edit has no style: 'Style: REALISTIC.' was appended to the prompt.",)
    assert edit_ideogram_image("a fox", PICTURE, MASK, style="AUTO").body["input"]["prompt"] == "a fox"


@pytest.mark.parametrize("named", [None, "ideogram/v3-text-to-image"])
def test_picture_beside_the_words_is_made_anew(named: Any) -> None:
    made = generate_ideogram_image("a fox", image_urls=[PICTURE], model=named, num_images=2, style="DESIGN")

    assert made.api_type == "ideogram-remix"
    assert made.body["model"] == "ideogram/v3-remix"
    assert made.body["input"] == {"prompt": "a fox", "image_url": PICTURE, "num_images": "2", "style": "DESIGN"}


@pytest.mark.parametrize("more", [{}, {"model": CHARACTER}, {"style": "FICTION"}])
def test_second_picture_is_refused_with_a_whole_call_of_a_tool_that_takes_it(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"takes one, 2 were given.*edit_nano_banana can do it") as refusal:
        generate_ideogram_image("a fox", image_urls=[PICTURE, OTHER], aspectRatio="16:9", **more)

    assert refusal.value.instead is not None
    assert refusal.value.instead["tool"] == "edit_nano_banana"
    made = edit_nano_banana(**refusal.value.instead["arguments"])
    assert made.body["input"] == {"prompt": "a fox", "image_urls": [PICTURE, OTHER], "aspect_ratio": "16:9"}


def test_picture_in_the_style_of_fiction_is_one_of_a_character() -> None:
    made = generate_ideogram_image("a fox", image_urls=[HERO], style="FICTION")

    assert made.body["model"] == CHARACTER
    assert made.notes[0] == "ideogram/character was chosen: the cheapest model that takes the whole call."


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("1:1", "square_hd"),
        ("3:4", "portrait_4_3"),
        ("9:16", "portrait_16_9"),
        ("4:3", "landscape_4_3"),
        ("16:9", "landscape_16_9"),
    ],
)
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (generate_ideogram_image, {}),
        (generate_ideogram_image, CHARACTER_ARGUMENTS),
        (remix_ideogram_image, REMIX_ARGUMENTS),
        (remix_ideogram_image, {**REMIX_ARGUMENTS, "character_url": HERO}),
    ],
)
def test_aspect_ratio_becomes_the_size_of_that_shape(
    shape: str, size: str, tool: Tool, arguments: dict[str, Any]
) -> None:
    assert tool(prompt="a fox", aspectRatio=shape, **arguments).body["input"]["image_size"] == size


def test_every_shape_offered_has_a_size() -> None:
    assert set(get_args(Shape)) == set(SIZES)


def test_speeds_and_sizes_are_the_official_ones() -> None:
    for schema in map(schema_of, ACTS):
        assert set(get_args(Speed)) == set(schema["properties"]["rendering_speed"]["enum"])
        if "image_size" in schema["properties"]:
            assert set(SIZES.values()) == set(schema["properties"]["image_size"]["enum"]) - {"square"}


@pytest.mark.parametrize(
    ("tool", "arguments", "field", "advice"),
    [
        (generate_ideogram_image, {"num_images": 2}, "num_images", "leave it out"),
        (generate_ideogram_image, {"model": CHARACTER}, "image_urls", "model='ideogram/v3-text-to-image'"),
        (generate_ideogram_image, {"style": "FICTION"}, "style", "'AUTO', 'GENERAL', 'REALISTIC', 'DESIGN'"),
        (
            generate_ideogram_image,
            {**CHARACTER_ARGUMENTS, "style": "DESIGN"},
            "style",
            "'AUTO', 'REALISTIC', 'FICTION'",
        ),
        (
            remix_ideogram_image,
            {**REMIX_ARGUMENTS, "character_url": HERO, "negative_prompt": "n" * 501},
            "negative_prompt",
            "at most 500 characters",
        ),
        (
            remix_ideogram_image,
            {**REMIX_ARGUMENTS, "negative_prompt": "n" * 5_001},
            "negative_prompt",
            "at most 5000 characters",
        ),
    ],
)
def test_what_the_model_lacks_is_refused_with_advice(
    tool: Tool, arguments: dict[str, Any], field: str, advice: str
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        tool(prompt="a fox", **arguments)

    assert refusal.value.field == field
    assert advice in refusal.value.message


@pytest.mark.parametrize(
    ("character_url", "strength"),
    [
        (None, 0.01),
        (None, 0.07),
        (None, 0.29),
        (None, 0.8),
        (None, 1),
        (HERO, 0.1),
        (HERO, 0.3),
        (HERO, 0.7),
        (HERO, 1),
    ],
)
def test_strength_on_a_step_is_sent_unchanged(character_url: str | None, strength: float) -> None:
    submission = remix_ideogram_image("a fox", PICTURE, character_url, strength)

    assert submission.body["input"]["strength"] == strength


@pytest.mark.parametrize(
    ("character_url", "strength", "sent"),
    [(None, 0.123, 0.12), (None, 0.0149, 0.01), (HERO, 0.01, 0.1), (HERO, 0.35, 0.4), (HERO, 0.74, 0.7)],
)
def test_strength_between_two_steps_is_rounded_with_a_note(
    character_url: str | None, strength: float, sent: float
) -> None:
    submission = remix_ideogram_image("a fox", PICTURE, character_url, strength)

    assert submission.body["input"]["strength"] == sent
    assert f"strength {strength} was rounded to {sent}" in submission.notes[0]


def test_provider_owns_each_model_and_each_sort_of_task() -> None:
    provider = kie_describe_provider()

    assert provider.api_types == (
        "ideogram-image",
        "ideogram-character",
        "ideogram-edit",
        "ideogram-character-edit",
        "ideogram-remix",
        "ideogram-character-remix",
    )
    for model, (tool, arguments, _) in ACTS.items():
        assert model.startswith(provider.models)
        assert tool(prompt="a fox", **arguments).api_type == API_TYPES[model]


def test_three_tools_are_offered() -> None:
    assert [tool.__name__ for tool in kie_register_tools()] == [
        "generate_ideogram_image",
        "edit_ideogram_image",
        "remix_ideogram_image",
    ]
