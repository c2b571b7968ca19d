"""Requests and refusals of the Kling tools; the service's own schemas accept what is sent."""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp.specs import MARKET_CREATE
from kie_ai_mcp_kling import kie_describe_provider, kie_register_tools
from kie_ai_mcp_kling.characters import generate_kling_avatar_video, generate_kling_motion_video
from kie_ai_mcp_kling.models import MODELS, MODES, Form
from kie_ai_mcp_kling.omni import generate_kling_omni_video
from kie_ai_mcp_kling.tools import generate_kling_video
from tests.service.facts import official, schema_of

A, B, C = (f"https://example.com/{name}.png" for name in "abc")
CLIP = "https://example.com/clip.mp4"
SOUND = "https://example.com/voice.mp3"
CALLBACK = "https://example.com/done"
TWO_SHOTS = [{"prompt": "a fox", "duration": 4}, {"prompt": "an owl", "duration": 3}]

Tool = Callable[..., Submission]


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
        ({"imageUrls": [A]}, "kling/v2-5-turbo-image-to-video-pro"),
        ({"mode": "standard", "imageUrls": [A]}, "kling/v2-1-standard"),
        ({"mode": "fast"}, "kling/v2-5-turbo-text-to-video-pro"),
        ({"mode": "turbo", "imageUrls": [A]}, "kling/v2-5-turbo-image-to-video-pro"),
        ({"mode": "turbo", "model": "2.5-turbo"}, "kling/v2-5-turbo-text-to-video-pro"),
        ({"model": "2.1-standard", "imageUrls": [A]}, "kling/v2-1-standard"),
        ({"model": "2.1-pro", "imageUrls": [A]}, "kling/v2-1-pro"),
        ({"model": "2.1-master"}, "kling/v2-1-master-text-to-video"),
        ({"model": "2.1-master", "imageUrls": [A]}, "kling/v2-1-master-image-to-video"),
        ({"model": "2.6"}, "kling-2.6/text-to-video"),
        ({"model": "2.6", "imageUrls": [A]}, "kling-2.6/image-to-video"),
        ({"model": "3.0"}, "kling-3.0/video"),
        ({"model": "3.0", "imageUrls": [A, B]}, "kling-3.0/video"),
        ({"model": "3.0-turbo"}, "kling/v3-turbo-text-to-video"),
        ({"model": "3.0-turbo", "imageUrls": [A]}, "kling/v3-turbo-image-to-video"),
        ({"model": "3.0-omni"}, "kling-3.0-omni/text-to-video"),
        ({"model": "3.0-omni", "imageUrls": [A]}, "kling-3.0-omni/image-to-video"),
    ],
)
def test_mode_model_and_pictures_choose_the_services_model(arguments: dict[str, Any], model: str) -> None:
    assert made(generate_kling_video, prompt="a fox", **arguments)[0] == model


@pytest.mark.parametrize(
    "arguments",
    [
        {"resolution": "1080p"},
        {"duration": 7},
        {"sound": True},
        {"shots": TWO_SHOTS},
        {"imageUrls": [A], "aspectRatio": "9:16"},
    ],
)
def test_without_mode_and_model_3_0_serves_what_2_5_turbo_does_not_take(arguments: dict[str, Any]) -> None:
    assert made(generate_kling_video, prompt="a fox", **arguments)[0] == "kling-3.0/video"


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({"duration": 10, "aspectRatio": "1:1"}, {"duration": "10", "aspect_ratio": "1:1"}),
        ({"model": "2.1-pro", "imageUrls": [A, B]}, {"image_url": A, "tail_image_url": B}),
        ({"imageUrls": [A, B], "negative_prompt": "fog"}, {"tail_image_url": B, "negative_prompt": "fog"}),
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
        ({"mode": "standard"}, "imageUrls", "from words alone: model 2.1-master, 2.5-turbo"),
        ({"mode": "standard"}, "imageUrls", "Kling 2.1-standard (mode standard) starts from a picture"),
        ({"mode": "turbo", "sound": True}, "sound", "2.5-turbo (mode turbo) has no such setting; leave it out, or use"),
        ({"model": "2.1-pro"}, "imageUrls", "starts from a picture"),
        ({"mode": "fast", "model": "3.0"}, "mode", "it means model='2.5-turbo'"),
        ({"model": "2.1-standard", "imageUrls": [A, B]}, "imageUrls", "first and last: model 2.1-pro, 2.5-turbo, 3.0"),
        ({"model": "3.0-turbo", "imageUrls": [A, B]}, "imageUrls", "takes at most 1"),
        ({"model": "3.0", "imageUrls": [A, B, C]}, "imageUrls", "takes at most 2"),
        ({"model": "2.6", "duration": 7}, "duration", "makes 5 or 10 seconds; 7 seconds: model 3.0, 3.0-turbo"),
        ({"model": "2.5-turbo", "imageUrls": [A], "aspectRatio": "1:1"}, "aspectRatio", "or use model 3.0"),
        ({"model": "3.0-omni", "imageUrls": [A], "aspectRatio": "1:1"}, "aspectRatio", "with a picture has no such"),
        ({"model": "2.6", "resolution": "1080p"}, "resolution", "or use model 3.0, 3.0-turbo, 3.0-omni"),
        ({"model": "3.0-turbo", "resolution": "4k"}, "resolution", "makes 720p or 1080p"),
        ({"resolution": "8k"}, "resolution", "makes 720p or 1080p or 4k"),
        ({"model": "2.5-turbo", "sound": True}, "sound", "or use model 2.6, 3.0, 3.0-omni"),
        ({"model": "3.0-turbo", "sound": False}, "sound", "leave it out"),
        ({"model": "3.0", "negative_prompt": "fog"}, "negative_prompt", "or use model 2.1-master, 2.5-turbo"),
        ({"model": "2.1-master", "negative_prompt": "f" * 501}, "negative_prompt", "at most 500"),
        ({"model": "2.6", "prompt": "f" * 1001}, "prompt", "at most 1000"),
        ({"model": "2.6", "shots": TWO_SHOTS}, "shots", "or use model 3.0, 3.0-omni"),
        ({"model": "3.0", "shots": []}, "shots", "1 to 5"),
        ({"model": "3.0", "shots": TWO_SHOTS * 3}, "shots", "1 to 5"),
        ({"model": "3.0-omni", "shots": TWO_SHOTS * 4}, "shots", "1 to 6"),
        ({"model": "3.0", "shots": [{"prompt": "a fox"}]}, "shots[0]", "duration of 1 to 12"),
        ({"model": "3.0", "shots": [{"prompt": "a fox", "duration": 13}]}, "shots[0]", "duration of 1 to 12"),
        ({"model": "3.0", "shots": [*TWO_SHOTS, {"prompt": "f" * 501, "duration": 1}]}, "shots[2]", "at most 500"),
        ({"model": "3.0", "shots": [{"prompt": "a fox", "duration": 5, "sound": 1}]}, "shots[0]", "give a prompt"),
        ({"model": "3.0", "shots": [{"prompt": "a fox", "duration": 8}] * 2}, "shots", "makes 3 to 15 seconds"),
        ({"model": "3.0", "shots": [{"prompt": "a fox", "duration": 1}]}, "shots", "makes 3 to 15 seconds"),
        ({"model": "3.0", "shots": TWO_SHOTS, "duration": 10}, "duration", "the shots last 7 seconds"),
        ({"model": "3.0", "shots": TWO_SHOTS, "sound": False}, "sound", "model='3.0-omni'"),
        ({"model": "3.0", "shots": TWO_SHOTS, "imageUrls": [A, B]}, "imageUrls", "only a first picture"),
    ],
)
def test_what_a_model_does_not_take_is_refused_with_advice(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_kling_video(**{"prompt": "a fox", **arguments})
    assert refusal.value.field == field
    assert advice in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "model", "fields"),
    [
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
        ({}, "imageUrls", "generate_kling_video, model='3.0-omni'"),
        ({"transform": True, "imageUrls": [A]}, "videoUrl", "the clip that is to be changed"),
        ({"imageUrls": [A] * 8}, "imageUrls", "at most 7"),
        ({"imageUrls": [A] * 5, "videoUrl": CLIP}, "imageUrls", "at most 4"),
        ({"imageUrls": [A] * 5, "videoUrl": CLIP, "transform": True}, "imageUrls", "at most 4"),
        ({"videoUrl": CLIP, "duration": 5}, "duration", "keeps its length"),
        ({"videoUrl": CLIP, "transform": True, "duration": 5}, "duration", "keeps its length"),
        ({"videoUrl": CLIP, "aspectRatio": "1:1"}, "aspectRatio", "keeps its shape"),
        ({"videoUrl": CLIP, "transform": True, "aspectRatio": "1:1"}, "aspectRatio", "keeps its shape"),
        ({"videoUrl": CLIP, "sound": True}, "sound", "silent"),
        ({"videoUrl": CLIP, "imageUrls": [A], "sound": True}, "sound", "silent"),
    ],
)
def test_omni_refuses_what_the_media_exclude(arguments: dict[str, Any], field: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate_kling_omni_video(prompt="a fox", **arguments)
    assert refusal.value.field == field
    assert advice in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "model", "fields"),
    [
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
        generate_kling_motion_video(imageUrl=A, videoUrl=CLIP, background="video")


def test_avatar_tiers_are_two_models() -> None:
    media = {"imageUrl": A, "audioUrl": SOUND}
    assert made(generate_kling_avatar_video, prompt="sing", **media)[0] == "kling/ai-avatar-standard"
    model, sent = made(generate_kling_avatar_video, prompt="sing", model="pro", **media)
    assert (model, sent) == ("kling/ai-avatar-pro", {"prompt": "sing", "image_url": A, "audio_url": SOUND})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("pictures", [[], [A]])
def test_minimal_requests_are_official(model: str, pictures: list[str]) -> None:
    if pictures or MODELS[model].text:
        assert_official(generate_kling_video(prompt="a fox", model=model, imageUrls=pictures))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "form", {form.id: form for model in MODELS.values() for form in (model.text, model.pictures) if form}.values()
)
def test_limits_of_the_table_are_the_official_ones(form: Form) -> None:
    schema = schema_of(form.id)
    fields = schema.get("oneOf", [schema])[-1]["properties"]
    assert fields["prompt"].get("maxLength", 20_000) == form.prompt_chars
    assert [int(seconds) for seconds in fields["duration"]["enum"]] == list(form.durations_s)
    assert fields.get("negative_prompt", {}).get("maxLength", 0) == form.negative_chars
    assert fields.get(form.fields.get("resolution", ""), {}).get("enum", []) == list(form.resolutions.values())
    assert set(form.always) <= set(fields)


def test_whatever_is_sent_is_official_and_holds_every_argument() -> None:
    dice = random.Random(3)
    sent = 0
    for _ in range(4_000):
        arguments = {name: dice.choice(values) for name, values in CHOICES.items() if dice.random() < 0.4}
        try:
            task = generate_kling_video(prompt="a fox\nin the snow", **deepcopy(arguments))
        except InvalidArgument:
            continue
        sent += 1
        assert_official(task)
        assert_kept(arguments, dict(task.body["input"]))
    assert sent > 500


CHOICES: dict[str, list[Any]] = {
    "imageUrls": [[A], [A, B]],
    "duration": [3, 5, 7, 10, 15],
    "aspectRatio": ["16:9", "9:16", "1:1"],
    "mode": [*MODES],
    "resolution": ["720p", "1080p", "4k"],
    "model": [*MODELS],
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
