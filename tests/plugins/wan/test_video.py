"""Requests and refusals of Wan's video tool, and the model that it chooses."""

from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp_wan import kie_describe_provider, kie_register_models
from kie_ai_mcp_wan.models import IMAGES, NAMES, video_forms
from kie_ai_mcp_wan.video import generate_wan_video
from tests.helpers import capable
from tests.service.facts import official, price_list

A, B = "https://example.com/a.png", "https://example.com/b.png"
CLIP = "https://example.com/a.mp4"
SOUND = "https://example.com/a.mp3"
PRICES = {(model, row): price.credits for (model, row), price in price_list("wan/").items()}
ARGUMENTS = BoundTool.bind(generate_wan_video, provider="wan", kind="video").arguments
FORMS = (*video_forms(of_references=False),)
MODELS = sorted({form.name for form in FORMS})
UNPRICED = "2.6-flash"


def asked(**arguments: Any) -> Submission:
    return generate_wan_video(**{"prompt": "a fox", **arguments})


def made(**arguments: Any) -> Submission:
    sent = asked(**arguments)
    assert sent.model is not None
    official(sent.model).validate(sent.body["input"])
    return sent


def rate_of(sent: Submission) -> float:
    """Return the credits of a second by the collected list, infinite where that names none."""
    model, size = str(sent.model), sent.body["input"]["resolution"]
    if NAMES[model] == UNPRICED:
        return float("inf")
    if model.startswith("wan/2-6"):
        return PRICES[model, f"{size} 5 / 10 / 15 s, per video"][0] / 5
    per = "input plus output second" if model.startswith("wan/3-0") else "second"
    return PRICES[model, f"{size}, per {per}"][0]


def test_words_alone_are_made_by_the_cheapest_model() -> None:
    sent = made()
    assert sent.body == {
        "model": "wan/2-5-text-to-video",
        "input": {"prompt": "a fox", "duration": "5", "resolution": "720p"},
    }
    assert sent.notes == ("Wan 2.5 was chosen: the cheapest model that takes the whole call.",)


@pytest.mark.parametrize(
    ("arguments", "model", "sent"),
    [
        ({"first_frame_url": A}, "wan/2-5-image-to-video", {"image_url": A, "duration": "5"}),
        ({"duration": 15}, "wan/2-6-text-to-video", {"duration": "15"}),
        ({"first_frame_url": A, "duration": 15}, "wan/2-6-image-to-video", {"image_urls": [A], "duration": "15"}),
        ({"reference_video_urls": [CLIP]}, "wan/2-6-video-to-video", {"video_urls": [CLIP]}),
        ({"aspect_ratio": "4:3"}, "wan/2-7-text-to-video", {"ratio": "4:3"}),
        ({"audio_url": SOUND, "duration": 7}, "wan/2-7-text-to-video", {"audio_url": SOUND, "duration": 7}),
        ({"last_frame_url": A}, "wan/2-7-image-to-video", {"last_frame_url": A}),
        (
            {"first_frame_url": A, "last_frame_url": B, "audio_url": SOUND},
            "wan/2-7-image-to-video",
            {"first_frame_url": A, "last_frame_url": B, "driving_audio_url": SOUND},
        ),
        (
            {"reference_image_urls": [A, B], "first_frame_url": A, "audio_url": SOUND, "aspect_ratio": "1:1"},
            "wan/2-7-r2v",
            {"reference_image": [A, B], "first_frame": A, "reference_voice": SOUND, "aspect_ratio": "1:1"},
        ),
        (
            {"reference_image_urls": [A] * 6, "audio_url": SOUND},
            "wan/3-0-video",
            {"reference_image_urls": [A] * 6, "reference_audio_urls": [SOUND], "resolution": "720P"},
        ),
        ({"sound": False, "duration": -1}, "wan/3-0-video", {"audio": False, "duration": -1, "resolution": "720P"}),
        ({"first_frame_url": A, "aspect_ratio": "9:16"}, "wan/3-0-video", {"first_frame_url": A}),
        ({"resolution": "480p"}, "wan/3-0-video", {"resolution": "480P"}),
        (
            {"resolution": "480p", "first_frame_url": A, "audio_url": SOUND, "duration": 7},
            "wan/2-2-a14b-speech-to-video-turbo",
            {"image_url": A, "audio_url": SOUND, "num_frames": 112, "resolution": "480p"},
        ),
        ({"model": "2.2", "first_frame_url": A}, "wan/2-2-a14b-image-to-video-turbo", {"image_url": A}),
        ({"model": "2.2", "aspect_ratio": "9:16"}, "wan/2-2-a14b-text-to-video-turbo", {"aspect_ratio": "9:16"}),
        ({"model": "3.0-prime", "reference_video_urls": [CLIP]}, "wan/3-0-video-prime", {"resolution": "720P"}),
        ({"model": "2.6-flash", "first_frame_url": A}, "wan/2-6-flash-image-to-video", {"audio": False}),
        (
            {"model": "2.6-flash", "reference_video_urls": [CLIP] * 3, "sound": True},
            "wan/2-6-flash-video-to-video",
            {"video_urls": [CLIP] * 3, "audio": True},
        ),
        ({"prompt": "p" * 801}, "wan/2-6-text-to-video", {"resolution": "720p"}),
        ({"prompt": "p" * 5_001}, "wan/3-0-video", {"resolution": "720P"}),
    ],
)
def test_what_is_asked_for_decides_the_models_form(arguments: dict[str, Any], model: str, sent: dict[str, Any]) -> None:
    request = made(**arguments)
    assert request.model == model
    assert request.body["input"].items() >= sent.items()
    assert ("chosen" in " ".join(request.notes)) == ("model" not in arguments)


@pytest.mark.parametrize("model_id", [form.id for form in FORMS])
def test_id_of_the_service_is_understood_as_the_models_name(model_id: str) -> None:
    assert ARGUMENTS.check({"prompt": "a fox", "model": model_id})["model"] == NAMES[model_id]


MEDIA: tuple[dict[str, Any], ...] = (
    {},
    {"first_frame_url": A},
    {"first_frame_url": A, "audio_url": SOUND},
    {"audio_url": SOUND},
    {"reference_video_urls": [CLIP] * 3},
    {"reference_image_urls": [A] * 3, "reference_video_urls": [CLIP] * 3},
    {"reference_image_urls": [A], "last_frame_url": A},
)
CALLS: list[dict[str, Any]] = [
    {"prompt": prompt, "resolution": resolution, "duration": duration, "aspect_ratio": shape, "sound": sound, **media}
    for prompt, resolution, (duration, shape), sound, media in product(
        ("x", "p" * 801),
        (None, "480p", "1080p"),
        ((None, None), (5, "16:9"), (12, None), (30, "4:3")),
        (None, True),
        MEDIA,
    )
][::9]


def able(call: dict[str, Any]) -> dict[str, Submission]:
    """Return the request of each model that takes a call."""
    requests: dict[str, Submission] = {}
    for name in MODELS:
        with suppress(InvalidArgument):
            requests[name] = asked(**call, model=name)
    return requests


def test_cheapest_model_that_takes_the_whole_call_is_bought() -> None:
    bought = set()
    for call in CALLS:
        if requests := able(call):
            chosen = asked(**call)
            assert rate_of(chosen) == min(map(rate_of, requests.values())), call
            assert chosen.body == requests[NAMES[str(chosen.model)]].body
            bought.add(chosen.model)
        else:
            with pytest.raises(InvalidArgument):
                asked(**call)
    assert len(bought) > 4


def test_refusal_of_a_named_model_names_those_that_take_the_call() -> None:
    offered = 0
    for call in CALLS[::3]:
        requests = able(call)
        for name in MODELS:
            if name in requests:
                continue
            with pytest.raises(InvalidArgument) as refusal:
                asked(**call, model=name)
            others = capable(refusal.value)
            assert bool(others) == bool(requests), (call, name)
            assert {*others} <= {*requests}, (call, name)
            offered += bool(others)
    assert offered > 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": "2.5", "duration": 7}, ["with Wan 2.5, use one of 5, 10"]),
        ({"model": "2.7", "duration": 30}, ["with Wan 2.7, at most 15"]),
        ({"duration": 1}, ["use one of 5, 10; the nearest is 5"]),
        ({"model": "3.0", "duration": 0}, ["with Wan 3.0, use one of -1, 2..30"]),
        ({"model": "2.2", "duration": 5, "sound": True}, ["duration: 5", "sound: True", "leave it out"]),
        ({"model": "2.6", "aspect_ratio": "1:1"}, ["Wan 2.6 has no such setting; leave it out."]),
        ({"model": "2.5", "aspect_ratio": "4:3"}, ["with Wan 2.5, use one of '16:9', '9:16', '1:1'"]),
        ({"model": "2.5", "resolution": "480p"}, ["with Wan 2.5, use one of '720p', '1080p'"]),
        ({"model": "2.5", "prompt": "p" * 801}, ["with Wan 2.5, at most 800 characters"]),
        ({"model": "2.6-flash"}, ["first_frame_url: Wan 2.6-flash needs it; give image."]),
        ({"model": "2.6", "reference_video_urls": [CLIP] * 4}, ["with Wan 2.6, at most 3 items, 4 were given"]),
        (
            {"model": "3.0", "first_frame_url": A, "audio_url": SOUND},
            ["Wan 3.0 takes a sound only with references; leave it out."],
        ),
        ({"audio_url": SOUND, "duration": 30}, ["with Wan 2.7, at most 15"]),
        ({"reference_image_urls": [A], "last_frame_url": A}, ["leave out last_frame_url"]),
        (
            {"model": "2.7", "reference_image_urls": [A] * 4, "reference_video_urls": [CLIP] * 2, "last_frame_url": A},
            ["Wan 2.7 has no such setting; leave it out.", "must be at most 5"],
        ),
    ],
)
def test_refusal_names_every_cure(arguments: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        asked(**arguments)
    assert [words for words in said if words not in str(refusal.value)] == []


def test_tool_sells_the_models_that_point_to_it_and_owns_them() -> None:
    provider = kie_describe_provider()
    assert provider.api_types == ("wan-video", "wan-image")
    assert all(model_id.startswith(provider.models) for model_id in NAMES)
    sold = {model.id for model in kie_register_models() if model.tool == "generate_wan_video"}
    assert sold == {form.id for form in FORMS} == {*NAMES} - {form.id for form in IMAGES}
