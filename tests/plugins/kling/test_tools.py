"""Requests and refusals of the Kling tools; the service's own schemas accept what is sent."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp.specs import MARKET_CREATE
from kie_ai_mcp_kling import kie_describe_provider, kie_register_tools
from kie_ai_mcp_kling.forms import FAMILY, MODES, NAMES
from kie_ai_mcp_kling.tools import (
    generate_kling_avatar_video,
    generate_kling_motion_video,
    generate_kling_omni_video,
    generate_kling_video,
)
from tests.helpers import price_of
from tests.service.facts import official

A, B = (f"https://example.com/{name}.png" for name in "ab")
CLIP = "https://example.com/clip.mp4"
SOUND = "https://example.com/voice.mp3"
CALLBACK = "https://example.com/done"
CUP = [{"name": "cup", "description": "a cup", "element_input_urls": [A, B]}]
TWO_SHOTS = [{"prompt": "a fox", "duration": 4}, {"prompt": "an owl", "duration": 3}]

Tool = Callable[..., Submission]
TOOL = BoundTool.bind(generate_kling_video, provider="kling", kind="video")


def assert_official(sent: Submission) -> None:
    assert sent.paths == MARKET_CREATE
    assert set(sent.body) <= {"model", "input", "callBackUrl"}
    assert sent.model is not None
    official(sent.model).validate(sent.body["input"])


def made(tool: Tool, **arguments: Any) -> tuple[str, dict[str, Any]]:
    sent = tool(**arguments)
    assert sent.body["model"] == sent.model
    return str(sent.model), dict(sent.body["input"])


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        ({}, "kling/v2-5-turbo-text-to-video-pro"),
        ({"imageUrls": [A]}, "kling/v2-1-standard"),
        ({"imageUrls": [A, B]}, "kling/v2-5-turbo-image-to-video-pro"),
        ({"imageUrls": [A], "aspectRatio": "9:16"}, "kling-3.0/video"),
        ({"duration": 7}, "kling-3.0-omni/text-to-video"),
        ({"sound": True}, "kling-3.0-omni/text-to-video"),
        ({"imageUrls": [A], "sound": True}, "kling-3.0-omni/image-to-video"),
        ({"resolution": "1080p"}, "kling-3.0/video"),
        ({"shots": TWO_SHOTS}, "kling-3.0-omni/text-to-video"),
        ({"shots": TWO_SHOTS, "sound": False}, "kling-3.0-omni/text-to-video"),
        ({"shots": TWO_SHOTS, "imageUrls": [A]}, "kling-3.0-omni/image-to-video"),
        ({"elements": CUP}, "kling-3.0-omni/text-to-video"),
        ({"elements": CUP, "imageUrls": [A], "aspectRatio": "1:1"}, "kling-3.0/video"),
        ({"prompt": "f" * 4_000, "imageUrls": [A, B]}, "kling/v2-1-pro"),
        ({"prompt": "f" * 6_000}, "kling-3.0/video"),
        ({"cfg_scale": 0.5, "negative_prompt": "f" * 600}, "kling/v2-5-turbo-text-to-video-pro"),
        ({"mode": "standard"}, "kling/v2-5-turbo-text-to-video-pro"),
        ({"mode": "standard", "imageUrls": [A]}, "kling/v2-1-standard"),
        ({"mode": "standard", "resolution": "720p"}, "kling-3.0/video"),
        ({"mode": "standard", "duration": 7}, "kling-3.0/video"),
        ({"mode": "standard", "sound": True}, "kling-3.0/video"),
        ({"mode": "fast"}, "kling/v2-5-turbo-text-to-video-pro"),
        ({"mode": "turbo", "imageUrls": [A]}, "kling/v2-5-turbo-image-to-video-pro"),
        ({"mode": "fast", "resolution": "1080p"}, "kling/v3-turbo-text-to-video"),
        ({"mode": "turbo", "imageUrls": [A], "duration": 7}, "kling/v3-turbo-image-to-video"),
    ],
)
def test_cheapest_model_that_takes_the_whole_call_makes_it(arguments: dict[str, Any], model: str) -> None:
    task = generate_kling_video(**{"prompt": "a fox", **arguments})

    assert task.model == model
    assert f"Kling {NAMES[model]} was chosen" in task.notes[0]
    assert_official(task)


@pytest.mark.parametrize("model", [model for model, name in NAMES.items() if FAMILY.models[model].tool == TOOL.name])
def test_model_can_be_named_by_its_name_or_by_the_services_id(model: str) -> None:
    words_alone = "image_url" not in "".join(FAMILY.models[model].input["required"])
    arguments: dict[str, Any] = {"prompt": "a fox"} if words_alone else {"prompt": "a fox", "imageUrls": [A]}
    task = generate_kling_video(**arguments, model=NAMES[model])  # type: ignore[arg-type]

    assert task.model == model
    assert task.notes == ()
    assert TOOL.arguments.check({"model": model, **arguments})["model"] == NAMES[model]
    assert_official(task)


def test_mode_standard_is_the_small_size_of_3_0_unless_a_resolution_is_given() -> None:
    assert made(generate_kling_video, prompt="a fox", mode="standard", duration=7)[1]["mode"] == "std"
    assert made(generate_kling_video, prompt="a fox", mode="standard", resolution="4k")[1]["mode"] == "4K"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"mode": "turbo", "sound": True}, "and they do not take the whole call."),
        ({"mode": "fast", "model": "3.0"}, "and another was named."),
    ],
)
def test_mode_that_is_not_kept_is_left_out_with_a_note(arguments: dict[str, Any], why: str) -> None:
    note = generate_kling_video(prompt="a fox", **arguments).notes[-1]

    assert note.startswith(f"mode {arguments['mode']} was left out: it means model 2.5-turbo or 3.0-turbo, ")
    assert note.endswith(why)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({"duration": 10, "aspectRatio": "1:1"}, {"duration": "10", "aspect_ratio": "1:1"}),
        ({"model": "2.1-pro", "imageUrls": [A, B]}, {"image_url": A, "tail_image_url": B}),
        ({"imageUrls": [A, B], "negative_prompt": "fog"}, {"tail_image_url": B, "negative_prompt": "fog"}),
        ({"cfg_scale": 0.72}, {"cfg_scale": 0.7, "duration": "5"}),
        ({"elements": CUP, "imageUrls": [A], "model": "3.0"}, {"kling_elements": CUP}),
        ({"elements": CUP, "imageUrls": [A], "model": "3.0-omni"}, {"elements": CUP, "audio": False}),
        ({"model": "2.6"}, {"sound": False, "aspect_ratio": "1:1", "duration": "5"}),
        ({"model": "2.6", "imageUrls": [A], "sound": True}, {"sound": True, "image_urls": [A]}),
        ({"model": "3.0", "resolution": "720p"}, {"mode": "std"}),
        ({"model": "3.0", "resolution": "1080p"}, {"mode": "pro"}),
        ({"model": "3.0", "resolution": "4k", "duration": 15}, {"mode": "4K", "duration": "15"}),
        ({"model": "3.0", "imageUrls": [A, B]}, {"image_urls": [A, B], "multi_shots": False, "multi_prompt": []}),
        (
            {"model": "3.0", "shots": TWO_SHOTS},
            {"multi_shots": True, "multi_prompt": TWO_SHOTS, "duration": "7", "sound": True},
        ),
        ({"model": "3.0-turbo", "resolution": "1080p", "duration": 3}, {"resolution": "1080p", "duration": "3"}),
        (
            {"model": "3.0-omni", "sound": True, "resolution": "4k", "duration": 9},
            {"audio": True, "resolution": "4k", "duration": 9, "customize_multi_shots": False},
        ),
        (
            {"model": "3.0-omni", "imageUrls": [A, B], "shots": TWO_SHOTS, "duration": 7, "sound": False},
            {"customize_multi_shots": True, "multi_prompt": TWO_SHOTS, "duration": 7, "audio": False},
        ),
    ],
)
def test_arguments_become_the_services_fields(arguments: dict[str, Any], fields: dict[str, Any]) -> None:
    _, sent = made(generate_kling_video, prompt="a fox", **arguments)
    assert {name: sent.get(name) for name in fields} == fields


@pytest.mark.parametrize("model", ["2.1-master", "2.5-turbo"])
def test_no_sound_is_granted_by_models_that_never_make_any(model: str) -> None:
    assert "sound" not in made(generate_kling_video, prompt="a fox", model=model, sound=False)[1]


def test_line_breaks_become_spaces_where_the_service_takes_one_line() -> None:
    _, sent = made(generate_kling_video, prompt="a fox\nin the snow", model="3.0-omni", imageUrls=[A])
    assert sent["prompt"] == "a fox in the snow"


@pytest.mark.parametrize("tool", [generate_kling_video, generate_kling_omni_video])
def test_callback_stands_beside_the_input(tool: Tool) -> None:
    body = tool(prompt="a fox", imageUrls=[A], callBackUrl=CALLBACK).body
    assert body["callBackUrl"] == CALLBACK
    assert "callBackUrl" not in body["input"]


def test_api_types_and_model_ids_are_the_providers_own() -> None:
    provider = kie_describe_provider()
    sent = [
        generate_kling_video(prompt="a fox"),
        generate_kling_omni_video(prompt="a fox", imageUrls=[A]),
        generate_kling_motion_video(imageUrl=A, videoUrl=CLIP),
        generate_kling_avatar_video(prompt="a fox", imageUrl=A, audioUrl=SOUND),
    ]
    assert [task.api_type for task in sent] == ["kling-video", "kling-omni", "kling-motion", "kling-avatar"]
    assert provider.api_types == ("kling-video", "kling-omni", "kling-motion", "kling-avatar")
    assert all(str(task.model).startswith(provider.models) for task in sent)
    assert [tool.__name__ for tool in kie_register_tools()] == [
        "generate_kling_video",
        "generate_kling_omni_video",
        "generate_kling_motion_video",
        "generate_kling_avatar_video",
    ]


@pytest.mark.parametrize(
    ("arguments", "field", "advice"),
    [
        ({"frameRate": 24}, "frameRate", "leave it out"),
        ({"model": "2.1-pro"}, "imageUrls", "needs it; give image. The whole call is taken by model='2.5-turbo'"),
        ({"model": "2.1-standard", "imageUrls": [A, B]}, "imageUrls", "at most 1, 2 were given. The whole call is"),
        ({"model": "3.0-turbo", "imageUrls": [A, B]}, "imageUrls", "takes at most 1"),
        ({"model": "2.6", "duration": 7}, "duration", "is taken by model='3.0-omni' or model='3.0'"),
        ({"model": "2.5-turbo", "imageUrls": [A], "aspectRatio": "1:1"}, "aspectRatio", "taken by model='3.0'."),
        ({"model": "3.0-omni", "imageUrls": [A], "aspectRatio": "1:1"}, "aspectRatio", "taken by model='3.0'."),
        ({"model": "3.0-turbo", "resolution": "4k"}, "resolution", "model='3.0' or"),
        ({"model": "2.5-turbo", "sound": True}, "sound", "or model='2.6'"),
        ({"model": "3.0", "negative_prompt": "fog"}, "negative_prompt", "taken by model='2.5-turbo'"),
        ({"negative_prompt": "fog", "resolution": "4k"}, "resolution", "leave it out"),
        ({"model": "2.6", "prompt": "f" * 1001}, "prompt", "at most 1000"),
        ({"model": "2.6", "shots": TWO_SHOTS}, "shots", "no such setting; leave it out. The whole call is taken by"),
        ({"model": "3.0", "elements": CUP}, "elements", "only with imageUrls; leave out elements. The whole call is"),
        ({"model": "3.0", "shots": TWO_SHOTS * 3}, "shots", "they last 21 seconds together; make it 3 to 15"),
        ({"shots": [{"prompt": "a fox", "duration": 2}] * 7}, "shots", "at most 6"),
        ({"model": "3.0", "shots": [{"prompt": "a fox"}]}, "shots[0].duration", "needs it; give int 1..12"),
        ({"model": "3.0", "shots": [{"prompt": "a fox", "duration": 13}]}, "shots[0].duration", "model='3.0-omni'"),
        ({"shots": [*TWO_SHOTS, {"prompt": "f" * 513, "duration": 1}]}, "shots[2].prompt", "at most 512"),
        ({"shots": [{"prompt": "a fox", "duration": 5, "sound": 1}]}, "shots[0].sound", "leave it out"),
        ({"shots": [{"prompt": "a fox", "duration": 1}]}, "shots", "they last 1 seconds together; make it 3 to 15"),
        ({"shots": TWO_SHOTS, "duration": 10}, "duration", "the shots last 7 seconds together; leave it out"),
        ({"model": "3.0", "shots": TWO_SHOTS, "sound": False}, "sound", "taken by model='3.0-omni'"),
        ({"model": "3.0", "shots": TWO_SHOTS, "imageUrls": [A, B]}, "imageUrls", "taken by model='3.0-omni'"),
    ],
)
def test_what_a_model_does_not_take_is_refused_with_advice(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_kling_video(**{"prompt": "a fox", **arguments})
    assert refusal.value.field == field
    assert advice in str(refusal.value)
    if refusal.value.instead:
        generate_kling_video(**{"prompt": "a fox", **arguments, **refusal.value.instead["arguments"]})


def test_every_fault_of_a_call_is_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_kling_video(prompt="a fox", shots=TWO_SHOTS, duration=9, frameRate=24, negative_prompt="fog")
    assert {fault.field for fault in refusal.value.faults} == {"duration", "frameRate", "negative_prompt"}


def test_prompt_beside_shots_is_sent_and_said_to_be_ignored() -> None:
    task = generate_kling_video(prompt="a fox", shots=TWO_SHOTS)
    assert task.body["input"]["prompt"] == "a fox"
    assert "ignores prompt" in task.notes[-1]


@pytest.mark.parametrize(
    ("arguments", "model", "fields"),
    [
        ({"sound": True, "elements": CUP}, "text-to-video", {"audio": True, "customize_multi_shots": False}),
        ({"imageUrls": [A, B], "duration": 8}, "reference-to-video", {"image_urls": [A, B], "duration": 8}),
        ({"imageUrls": [A], "sound": True, "aspectRatio": "1:1"}, "reference-to-video", {"audio": True}),
        ({"videoUrl": CLIP}, "reference-to-video", {"video_urls": [CLIP], "aspect_ratio": "auto", "audio": False}),
        ({"videoUrl": CLIP, "imageUrls": [A], "duration": 8}, "reference-to-video", {"audio": False, "duration": 8}),
        ({"videoUrl": CLIP, "transform": True, "sound": True}, "transformation", {"audio": True, "aspect_ratio": None}),
        (
            {"videoUrl": CLIP, "transform": True, "imageUrls": [A], "duration": 8, "resolution": "4k"},
            "transformation",
            {"duration": "8", "resolution": "4k", "image_urls": [A]},
        ),
    ],
)
def test_omni_follows_or_transforms_the_media(arguments: dict[str, Any], model: str, fields: dict[str, Any]) -> None:
    used, sent = made(generate_kling_omni_video, prompt="a fox", **arguments)
    assert used == f"kling-3.0-omni/{model}"
    assert {name: sent.get(name) for name in fields} == fields


@pytest.mark.parametrize(
    ("arguments", "field", "advice"),
    [
        ({"transform": True, "imageUrls": [A]}, "videoUrl", "needs it; give video."),
        ({"imageUrls": [A] * 8}, "imageUrls", "at most 7"),
        ({"imageUrls": [A] * 5, "videoUrl": CLIP}, "imageUrls", "at most 4"),
        ({"imageUrls": [A] * 5, "videoUrl": CLIP, "transform": True}, "imageUrls", "at most 4"),
        ({"videoUrl": CLIP, "duration": 5}, "duration", "keeps its length"),
        ({"videoUrl": CLIP, "elements": CUP}, "elements", "takes none; leave it out"),
        ({"videoUrl": CLIP, "transform": True, "duration": 5}, "duration", "keeps its length"),
        ({"videoUrl": CLIP, "aspectRatio": "1:1"}, "aspectRatio", "keeps its shape"),
        ({"videoUrl": CLIP, "transform": True, "aspectRatio": "1:1"}, "aspectRatio", "keeps its shape"),
        ({"videoUrl": CLIP, "sound": True}, "sound", "only without videoUrl; use false"),
        ({"videoUrl": CLIP, "imageUrls": [A], "sound": True}, "sound", "only without videoUrl; use false"),
    ],
)
def test_omni_refuses_what_the_media_exclude(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_kling_omni_video(prompt="a fox", **arguments)
    assert refusal.value.field == field
    assert advice in str(refusal.value)


def test_omni_says_that_it_makes_a_video_from_words_alone() -> None:
    assert generate_kling_omni_video("a fox").notes == (
        "Without pictures and clip the video is made from words alone.",
    )


@pytest.mark.parametrize(
    ("arguments", "model", "fields"),
    [
        ({"background": "video"}, "kling-3.0/motion-control", {"mode": "720p", "background_source": "input_video"}),
        ({}, "kling-2.6/motion-control", {"mode": "720p", "character_orientation": "video"}),
        ({"resolution": "1080p", "orientation": "image"}, "kling-2.6/motion-control", {"mode": "1080p"}),
        (
            {"model": "3.0", "background": "image", "prompt": "in the snow"},
            "kling-3.0/motion-control",
            {"background_source": "input_image", "prompt": "in the snow", "input_urls": [A], "video_urls": [CLIP]},
        ),
    ],
)
def test_motion_arguments_become_the_services_fields(
    arguments: dict[str, Any], model: str, fields: dict[str, Any]
) -> None:
    used, sent = made(generate_kling_motion_video, imageUrl=A, videoUrl=CLIP, **arguments)
    assert used == model
    assert {name: sent.get(name) for name in fields} == fields


def test_background_is_refused_by_the_motion_model_without_one() -> None:
    with pytest.raises(InvalidArgument, match=r"background: 'video'.*model='3\.0'"):
        generate_kling_motion_video(imageUrl=A, videoUrl=CLIP, background="video", model="2.6")


def test_avatar_tiers_are_two_models() -> None:
    media = {"imageUrl": A, "audioUrl": SOUND}
    assert made(generate_kling_avatar_video, prompt="sing", **media)[0] == "kling/ai-avatar-standard"
    model, sent = made(generate_kling_avatar_video, prompt="sing", model="pro", **media)
    assert (model, sent) == ("kling/ai-avatar-pro", {"prompt": "sing", "image_url": A, "audio_url": SOUND})


def test_whatever_is_sent_is_official_and_holds_every_argument() -> None:
    dice = random.Random(3)
    sent = 0
    for _ in range(300):
        arguments = {name: dice.choice(values) for name, values in CHOICES.items() if dice.random() < 0.4}
        try:
            task = generate_kling_video(prompt="a fox\nin the snow", **deepcopy(arguments))
        except InvalidArgument:
            continue
        sent += 1
        assert_official(task)
        if "mode" not in arguments:
            assert task.estimated_credits == price_of(FAMILY, task)
        assert_kept(arguments, dict(task.body["input"]))
    assert sent > 40


CHOICES: dict[str, list[Any]] = {
    "imageUrls": [[A], [A, B]],
    "duration": [3, 5, 7, 10, 15],
    "aspectRatio": ["16:9", "9:16", "1:1"],
    "mode": [*MODES],
    "resolution": ["720p", "1080p", "4k"],
    "model": [*dict.fromkeys(NAMES.values())][:8],
    "elements": [CUP],
    "cfg_scale": [0.3],
    "sound": [True, False],
    "negative_prompt": ["fog", "f" * 600],
    "shots": [TWO_SHOTS, [{"prompt": "a fox", "duration": 3}]],
}


def assert_kept(arguments: dict[str, Any], sent: dict[str, Any]) -> None:
    """Fail if an argument was dropped on the way."""
    values = [sent.get(name) for name in ("image_url", "tail_image_url")]
    kept = {
        "imageUrls": sent.get("image_urls") or [value for value in values if value],
        "duration": int(sent.get("duration", 0)),
        "aspectRatio": sent.get("aspect_ratio"),
        "resolution": sent.get("resolution") or {"std": "720p", "pro": "1080p", "4K": "4k"}.get(str(sent.get("mode"))),
        "sound": sent.get("sound", sent.get("audio", False)),
        "negative_prompt": sent.get("negative_prompt"),
        "cfg_scale": sent.get("cfg_scale"),
        "elements": sent.get("elements") or sent.get("kling_elements"),
        "shots": sent.get("multi_prompt"),
    }
    assert {name: kept[name] for name in arguments if name in kept} == {
        name: value for name, value in arguments.items() if name in kept
    }


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (generate_kling_omni_video, {"prompt": "a fox", "imageUrls": [A]}),
        (generate_kling_omni_video, {"prompt": "a fox", "videoUrl": CLIP}),
        (generate_kling_omni_video, {"prompt": "a fox", "videoUrl": CLIP, "transform": True}),
        (
            generate_kling_omni_video,
            {
                "prompt": "a fox",
                "imageUrls": [A] * 7,
                "duration": 15,
                "aspectRatio": "9:16",
                "resolution": "4k",
                "sound": True,
                "callBackUrl": CALLBACK,
            },
        ),
        (
            generate_kling_omni_video,
            {
                "prompt": "a fox",
                "imageUrls": [A] * 4,
                "videoUrl": CLIP,
                "duration": 3,
                "aspectRatio": "1:1",
                "sound": False,
            },
        ),
        (
            generate_kling_omni_video,
            {
                "prompt": "a fox",
                "imageUrls": [A] * 4,
                "videoUrl": CLIP,
                "transform": True,
                "duration": 3,
                "aspectRatio": "1:1",
                "resolution": "1080p",
                "sound": True,
            },
        ),
        (generate_kling_motion_video, {"imageUrl": A, "videoUrl": CLIP}),
        (generate_kling_motion_video, {"imageUrl": A, "videoUrl": CLIP, "model": "3.0"}),
        (
            generate_kling_motion_video,
            {
                "imageUrl": A,
                "videoUrl": CLIP,
                "prompt": "a fox",
                "model": "3.0",
                "resolution": "1080p",
                "orientation": "image",
                "background": "video",
                "callBackUrl": CALLBACK,
            },
        ),
        (generate_kling_avatar_video, {"prompt": "a fox", "imageUrl": A, "audioUrl": SOUND}),
        (
            generate_kling_avatar_video,
            {"prompt": "a fox", "imageUrl": A, "audioUrl": SOUND, "model": "pro", "callBackUrl": CALLBACK},
        ),
    ],
)
def test_requests_of_the_further_tools_are_official(tool: Tool, arguments: dict[str, Any]) -> None:
    assert_official(tool(**arguments))
