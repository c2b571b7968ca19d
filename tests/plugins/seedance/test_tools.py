"""Requests and refusals of the Seedance tool, and the model that it chooses."""

from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp_seedance import kie_describe_provider, kie_register_models
from kie_ai_mcp_seedance.tools import NAMES, generate_seedance_video
from tests.helpers import capable
from tests.service.facts import official, price_list, schema_of

MODELS = {name: model for model, name in NAMES.items()}
A, B = "https://example.com/a.png", "https://example.com/b.png"
CLIP = "https://example.com/a.mp4"
SOUND = "https://example.com/a.mp3"
PRICES = {(model, row): price.credits[0] for (model, row), price in price_list("bytedance/seedance").items()}
ARGUMENTS = BoundTool.bind(generate_seedance_video, provider="seedance", kind="video").arguments
EACH: dict[str, Any] = {
    "prompt": "a fox",
    "first_frame_url": A,
    "last_frame_url": B,
    "reference_image_urls": [A],
    "reference_video_urls": [CLIP],
    "reference_audio_urls": [SOUND],
    "duration": 10,
    "resolution": "480p",
    "aspect_ratio": "9:16",
    "sound": True,
}


def asked(**arguments: Any) -> Submission:
    return generate_seedance_video(**{"prompt": "a fox", **arguments})


def made(**arguments: Any) -> Submission:
    sent = asked(**arguments)
    assert sent.model is not None
    official(sent.model).validate(sent.body["input"])
    return sent


def rate_of(sent: Submission) -> float:
    """Return the credits of a second by the collected list."""
    fields, size = sent.body["input"], sent.body["input"].get("resolution", "720p")
    if sent.model == "bytedance/seedance-1.5-pro":
        return PRICES[sent.model, f"{size} {'with audio' if fields.get('generate_audio') else 'silent'}, per second"]
    clip = "with video input, per input plus" if "reference_video_urls" in fields else "no video input, per"
    return PRICES[str(sent.model), f"{size}, {clip} output second"]


def test_words_alone_are_made_by_the_cheapest_model() -> None:
    sent = made()
    assert sent.body == {
        "model": "bytedance/seedance-1.5-pro",
        "input": {"prompt": "a fox", "aspect_ratio": "16:9", "duration": 5},
    }
    assert sent.estimated_credits == 5 * rate_of(sent)
    assert sent.notes == (
        "Seedance 1.5-pro was chosen: the cheapest model that takes the whole call.",
        "Seedance 1.5-pro makes 16:9 where aspect_ratio is left out.",
        "Seedance 1.5-pro makes a silent clip where sound is left out.",
    )


def test_frame_without_a_shape_goes_to_the_cheapest_model_that_keeps_it() -> None:
    sent = made(first_frame_url=A)
    assert sent.model == "bytedance/seedance-2-mini"
    assert sent.body["input"] == {"prompt": "a fox", "first_frame_url": A, "aspect_ratio": "adaptive"}
    cheaper = "With aspect_ratio, such as 16:9, Seedance 1.5-pro makes it for {} credits instead of 41"
    kept = "A frame keeps its shape where aspect_ratio is left out."
    assert sent.notes[1:] == (kept, f"{cheaper.format(17.5)}, silent without sound.")
    assert made(first_frame_url=A, aspect_ratio="16:9").estimated_credits == 17.5
    assert made(first_frame_url=A, sound=True).notes[1:] == (kept, f"{cheaper.format(35)}.")
    # Nothing is said of a call that the old model does not take, or where another one is named.
    assert made(last_frame_url=A).notes[1:] == made(first_frame_url=A, duration=13).notes[1:] == (kept,)
    assert made(first_frame_url=A, model="2-mini").notes == (kept,)


def test_frames_with_a_shape_are_one_list_for_1_5() -> None:
    sent = made(first_frame_url=A, last_frame_url=B, aspect_ratio="1:1", sound=False, duration=12, resolution="1080p")
    assert sent.model == "bytedance/seedance-1.5-pro"
    assert sent.body["input"] == {
        "prompt": "a fox",
        "input_urls": [A, B],
        "aspect_ratio": "1:1",
        "duration": 12,
        "resolution": "1080p",
        "generate_audio": False,
    }


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"sound": True}, "1.5-pro"),
        ({"duration": 13}, "2-mini"),
        ({"duration": -1}, "2-mini"),
        ({"aspect_ratio": "adaptive"}, "2-mini"),
        ({"last_frame_url": A, "aspect_ratio": "1:1"}, "2-mini"),
        ({"first_frame_url": "asset://1", "aspect_ratio": "1:1"}, "2-mini"),
        ({"reference_image_urls": [A] * 9}, "2-mini"),
        ({"reference_image_urls": [A] * 7, "first_frame_url": A, "last_frame_url": B}, "2-mini"),
        ({"reference_video_urls": [CLIP], "reference_audio_urls": [SOUND]}, "2-mini"),
        ({"reference_image_urls": [A], "resolution": "1080p"}, "2"),
        ({"resolution": "4k"}, "2"),
        ({"reference_image_urls": [A] * 10}, "2.5"),
        ({"duration": 30}, "2.5"),
        ({"prompt": "ox"}, "2.5"),
    ],
)
def test_what_is_asked_for_decides_the_model(arguments: dict[str, Any], name: str) -> None:
    sent = made(**arguments)
    assert NAMES[str(sent.model)] == name
    assert sent.notes[0].startswith(f"Seedance {name} was chosen")


@pytest.mark.parametrize("name", ["2-mini", "2-fast", "2"])
def test_all_arguments_are_sent_as_they_are(name: str) -> None:
    sent = made(**EACH, model=name)
    expected = {"generate_audio" if field == "sound" else field: value for field, value in EACH.items()}
    assert sent.body == {"model": MODELS[name], "input": expected}
    assert sent.notes == ()


@pytest.mark.parametrize("name", MODELS)
def test_named_model_is_the_one_that_is_bought(name: str) -> None:
    assert made(model=name).model == MODELS[name]
    assert ARGUMENTS.check({"prompt": "a fox", "model": MODELS[name]})["model"] == name
    assert not any("chosen" in note for note in made(model=name).notes)


MEDIA: tuple[dict[str, Any], ...] = (
    {},
    {"first_frame_url": A},
    {"last_frame_url": A},
    {"first_frame_url": A, "last_frame_url": B, "reference_image_urls": [A] * 7},
    {"first_frame_url": A, "reference_image_urls": [A] * 9},
    {"reference_image_urls": [A] * 10},
    {"reference_video_urls": [CLIP] * 3, "sound": True},
    {"reference_audio_urls": [SOUND] * 4, "sound": False},
)
CALLS: list[dict[str, Any]] = [
    {"prompt": prompt, "resolution": resolution, "duration": duration, "aspect_ratio": shape, **media}
    for prompt, resolution, duration, shape, media in product(
        ("ox", "a fox"), (None, "480p", "1080p", "4k"), (None, -1, 3, 4, 12, 15, 30), (None, "9:16", "adaptive"), MEDIA
    )
]


def takes(name: str, call: dict[str, Any]) -> bool:
    """Return whether a model takes a call, by the service's schema and what it says in prose."""
    fields = schema_of(MODELS[name])["properties"]
    frames = [call[field] for field in ("first_frame_url", "last_frame_url") if field in call]
    references = {field: value for field, value in call.items() if field.startswith("reference")}
    longest = fields["duration"]["maximum"]
    if name == "1.5-pro" and (call["aspect_ratio"] == "adaptive" or call["duration"] == -1):
        return False
    if name in {"1.5-pro", "2.5"} and frames and ("first_frame_url" not in call or references):
        return False
    return (
        len(call["prompt"]) >= fields["prompt"].get("minLength", 1)
        and call["resolution"] in (None, *fields["resolution"]["enum"])
        and call["duration"] in (None, -1, *range(4, longest + 1))
        and all(field in fields and len(value) <= fields[field]["maxItems"] for field, value in references.items())
        and len(frames) + len(call.get("reference_image_urls", ())) <= (30 if name == "2.5" else 9)
    )


def test_models_take_exactly_what_the_service_takes() -> None:
    for call, name in product(CALLS[::37], MODELS):
        if takes(name, call):
            sent = asked(**call, model=name)
            official(str(sent.model)).validate(sent.body["input"])
        else:
            with pytest.raises(InvalidArgument):
                asked(**call, model=name)


def test_cheapest_model_that_takes_the_whole_call_is_bought() -> None:
    for call in CALLS[::17]:
        able = {name: asked(**call, model=name) for name in MODELS if takes(name, call)}
        if "first_frame_url" in call and not call["aspect_ratio"] and len(able) > 1:
            able.pop("1.5-pro", None)
        if able:
            chosen = asked(**call)
            assert rate_of(chosen) == min(map(rate_of, able.values())), call
            assert chosen.body == able[NAMES[str(chosen.model)]].body
        else:
            with pytest.raises(InvalidArgument):
                asked(**call)


def test_refusal_of_a_named_model_names_those_that_take_the_call() -> None:
    offered = 0
    for call, name in product(CALLS[::41], MODELS):
        with suppress(InvalidArgument):
            asked(**call, model=name)
            continue
        with pytest.raises(InvalidArgument) as refusal:
            asked(**call, model=name)
        if others := capable(refusal.value):
            assert all(takes(other, call) for other in others), (call, name)
            offered += 1
        else:
            assert not any(takes(other, call) for other in MODELS), (call, name)
    assert offered > 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": "2-mini", "resolution": "4k"}, ["use one of '480p', '720p'"]),
        ({"duration": 3}, ["duration: 3 is not accepted: with Seedance 1.5-pro, at least 4"]),
        ({"model": "2", "duration": 16}, ["use one of -1, 4..15; the nearest is 15"]),
        (
            {"model": "1.5-pro", "reference_image_urls": [A], "aspect_ratio": "adaptive", "prompt": "ox"},
            ["at least 3 characters", "no such setting; leave it out", "use one of '1:1'"],
        ),
        ({"model": "1.5-pro", "last_frame_url": A}, ["takes one only beside first_frame_url; leave it out."]),
        ({"model": "1.5-pro", "first_frame_url": "asset://1"}, ["address of the image"]),
        ({"model": "2-fast", "reference_audio_urls": [SOUND] * 4}, ["at most 3 items, 4 were given"]),
        (
            {"model": "2", "reference_image_urls": [A] * 9, "last_frame_url": A},
            ["1 for last_frame_url + length of reference_image_urls is 10, must be at most 9"],
        ),
        ({"duration": 30, "reference_image_urls": [A], "first_frame_url": A}, ["use one of -1, 4..15"]),
        (
            {"model": "2.5", "reference_image_urls": [A], "first_frame_url": A},
            ["not together with reference_image_urls"],
        ),
    ],
)
def test_refusal_names_every_cure(arguments: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        asked(**arguments)
    assert [words for words in said if words not in str(refusal.value)] == []
    assert len(refusal.value.faults) == len(said)


def test_provider_owns_each_model_and_tells_which_of_them_its_tool_sells() -> None:
    provider = kie_describe_provider()
    assert provider.api_types == ("seedance",)
    assert all(model_id.startswith(provider.models) for model_id in NAMES)
    assert {model.id for model in kie_register_models() if model.tool} == {*NAMES}
