"""Estimated prices of the Kling tools."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from kie_ai_mcp import Submission
from kie_ai_mcp_kling.characters import generate_kling_avatar_video, generate_kling_motion_video
from kie_ai_mcp_kling.omni import generate_kling_omni_video
from kie_ai_mcp_kling.prices import CHECKED, PER_CLIP, PER_SECOND, credits_of
from kie_ai_mcp_kling.tools import generate_kling_video
from tests.helpers import PICTURE
from tests.service.facts import price_list

Tool = Callable[..., Submission]
WITH_PICTURE = {"imageUrls": [PICTURE]}
CLIP = {"videoUrl": "https://example.com/clip.mp4"}
TRANSFORM = {**CLIP, "transform": True}
MOTION = {"imageUrl": "https://example.com/a.png", **CLIP}
AVATAR = {"imageUrl": "https://example.com/a.png", "audioUrl": "https://example.com/a.mp3", "prompt": "a fox"}
SHOTS = {"shots": [{"prompt": "a fox", "duration": 4}, {"prompt": "an owl", "duration": 3}]}

OMNI = "kling-3.0-omni"
REFERENCE = f"{OMNI}/reference-to-video"
TRANSFORMATION = f"{OMNI}/transformation"

# The price list's words for model and setting, what is asked of generate_kling_video, the credits of the clip.
PER_CLIP_CASES: list[tuple[str, str, dict[str, Any], float]] = [
    ("kling/v2-1-standard", "5 s", {"model": "2.1-standard", **WITH_PICTURE}, 25),
    ("kling/v2-1-standard", "10 s", {"mode": "standard", "duration": 10, **WITH_PICTURE}, 50),
    ("kling/v2-1-pro", "5 s", {"model": "2.1-pro", "duration": 5, **WITH_PICTURE}, 50),
    ("kling/v2-1-pro", "10 s", {"model": "2.1-pro", "duration": 10, **WITH_PICTURE}, 100),
    ("kling/v2-1-master-text-to-video", "5 s", {"model": "2.1-master"}, 160),
    ("kling/v2-1-master-text-to-video", "10 s", {"model": "2.1-master", "duration": 10}, 320),
    ("kling/v2-1-master-image-to-video", "5 s", {"model": "2.1-master", **WITH_PICTURE}, 160),
    ("kling/v2-1-master-image-to-video", "10 s", {"model": "2.1-master", "duration": 10, **WITH_PICTURE}, 320),
    ("kling/v2-5-turbo-text-to-video-pro", "5 s", {"sound": False}, 42),
    ("kling/v2-5-turbo-text-to-video-pro", "10 s", {"mode": "fast", "duration": 10}, 84),
    ("kling/v2-5-turbo-image-to-video-pro", "5 s", WITH_PICTURE, 42),
    ("kling/v2-5-turbo-image-to-video-pro", "10 s", {"duration": 10, **WITH_PICTURE}, 84),
    *(
        (f"kling-2.6/{form}", setting, {"model": "2.6", **sent, **pictures}, credits)
        for form, pictures in (("text-to-video", {}), ("image-to-video", WITH_PICTURE))
        for setting, sent, credits in (
            ("5 s silent", {}, 55),
            ("10 s silent", {"duration": 10, "sound": False}, 110),
            ("5 s with sound", {"sound": True}, 110),
            ("10 s with sound", {"duration": 10, "sound": True}, 220),
        )
    ),
]

# The price list's words, the tool and what is asked of it, the seconds, the credits of one second.
PER_SECOND_CASES: list[tuple[str, str, Tool, dict[str, Any], int, float]] = [
    *(
        ("kling-3.0/video", setting, generate_kling_video, {"model": "3.0", **sent}, seconds, credits)
        for setting, sent, seconds, credits in (
            ("std silent", {"resolution": "720p"}, 5, 14),
            ("std with sound", {"resolution": "720p", "sound": True, "duration": 3}, 3, 20),
            ("pro silent", {"duration": 15}, 15, 18),
            ("pro silent", {"resolution": "1080p", **WITH_PICTURE}, 5, 18),
            ("pro with sound", {"sound": True}, 5, 27),
            ("pro with sound", SHOTS, 7, 27),
            ("4K", {"resolution": "4k", "duration": 10}, 10, 67),
            ("4K", {"resolution": "4k", "sound": True}, 5, 67),
        )
    ),
    *(
        (
            f"kling/v3-turbo-{form}",
            setting,
            generate_kling_video,
            {"model": "3.0-turbo", **sent, **pictures},
            s,
            credits,
        )
        for form, pictures in (("text-to-video", {}), ("image-to-video", WITH_PICTURE))
        for setting, sent, s, credits in (
            ("720p", {}, 5, 18),
            ("1080p", {"resolution": "1080p", "duration": 6}, 6, 22.5),
        )
    ),
    *(
        (f"{OMNI}/{form}", setting, generate_kling_video, {"model": "3.0-omni", **sent, **pictures}, seconds, credits)
        for form, pictures in (("text-to-video", {}), ("image-to-video", WITH_PICTURE))
        for setting, sent, seconds, credits in (
            ("720p silent", {"sound": False}, 5, 14),
            ("720p with audio", {"resolution": "720p", "sound": True, "duration": 8}, 8, 18),
            ("1080p silent", {"resolution": "1080p", "sound": False}, 5, 18),
            ("1080p with audio", {"resolution": "1080p", "sound": True, **SHOTS}, 7, 23),
            ("4k", {"resolution": "4k", "duration": 3}, 3, 67),
        )
    ),
    (f"{OMNI}/text-to-video", "720p silent", generate_kling_video, {"model": "3.0-omni"}, 5, 14),
    *(
        (REFERENCE, setting, generate_kling_omni_video, {**WITH_PICTURE, **sent}, seconds, credits)
        for setting, sent, seconds, credits in (
            ("720p silent / audio / video input", {"sound": False}, 5, 14),
            ("720p silent / audio / video input", {"sound": True, "duration": 10}, 10, 18),
            ("720p silent / audio / video input", CLIP, 5, 20),
            ("1080p silent / audio / video input", {"resolution": "1080p", "sound": False}, 5, 18),
            ("1080p silent / audio / video input", {"resolution": "1080p", "sound": True}, 5, 23),
            ("1080p silent / audio / video input", {"resolution": "1080p", "duration": 7, **CLIP}, 7, 27),
            ("4k", {"resolution": "4k"}, 5, 67),
            ("4k", {"resolution": "4k", "duration": 4, **CLIP}, 4, 67),
        )
    ),
    *(
        (TRANSFORMATION, setting, generate_kling_omni_video, {**WITH_PICTURE, **TRANSFORM, **sent}, seconds, credits)
        for setting, sent, seconds, credits in (
            ("720p", {"duration": 5}, 5, 20),
            ("1080p", {"duration": 3, "resolution": "1080p", "sound": True}, 3, 27),
            ("4k", {"duration": 6, "resolution": "4k"}, 6, 67),
        )
    ),
]

# Listed prices that no request tells enough about: the length is that of a clip or a sound.
NO_LENGTH: list[tuple[str, str, Tool, dict[str, Any]]] = [
    ("kling-2.6/motion-control", "720p", generate_kling_motion_video, MOTION),
    ("kling-2.6/motion-control", "1080p", generate_kling_motion_video, {**MOTION, "resolution": "1080p"}),
    ("kling-3.0/motion-control", "720p (std)", generate_kling_motion_video, {**MOTION, "model": "3.0"}),
    (
        "kling-3.0/motion-control",
        "1080p (pro)",
        generate_kling_motion_video,
        {**MOTION, "model": "3.0", "resolution": "1080p"},
    ),
    ("kling/ai-avatar-standard", "720p", generate_kling_avatar_video, AVATAR),
    ("kling/ai-avatar-pro", "1080p", generate_kling_avatar_video, {**AVATAR, "model": "pro"}),
]


@pytest.mark.parametrize(("model", "setting", "arguments", "credits"), PER_CLIP_CASES)
def test_earlier_models_cost_by_the_clip(model: str, setting: str, arguments: dict[str, Any], credits: float) -> None:
    submission = generate_kling_video(prompt="a fox", **arguments)

    assert (submission.model, submission.estimated_credits) == (model, credits)


@pytest.mark.parametrize(("model", "setting", "tool", "arguments", "seconds", "credits"), PER_SECOND_CASES)
def test_later_models_cost_by_the_second(
    model: str, setting: str, tool: Tool, arguments: dict[str, Any], seconds: int, credits: float
) -> None:
    submission = tool(prompt="a fox", **arguments)

    assert (submission.model, submission.estimated_credits) == (model, seconds * credits)


@pytest.mark.parametrize(("model", "setting", "tool", "arguments"), NO_LENGTH)
def test_what_a_clip_or_a_sound_makes_as_long_as_itself_has_no_known_price(
    model: str, setting: str, tool: Tool, arguments: dict[str, Any]
) -> None:
    submission = tool(**arguments)

    assert (submission.model, submission.estimated_credits) == (model, None)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (generate_kling_omni_video, CLIP),
        (generate_kling_omni_video, {**CLIP, "resolution": "4k"}),
        (generate_kling_omni_video, TRANSFORM),
        (generate_kling_omni_video, {**TRANSFORM, **WITH_PICTURE}),
        (generate_kling_omni_video, WITH_PICTURE),
        (generate_kling_omni_video, {**WITH_PICTURE, "resolution": "1080p"}),
        (generate_kling_video, {**WITH_PICTURE, "model": "3.0-omni"}),
    ],
)
def test_omitted_length_or_sound_without_a_documented_default_has_no_known_price(
    tool: Tool, arguments: dict[str, Any]
) -> None:
    assert tool(prompt="a fox", **arguments).estimated_credits is None


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("kling-9/video", {"duration": 5}),
        ("kling/v2-1-pro", {"duration": "7"}),
        ("kling-3.0/video", {"mode": "8K", "duration": "5", "sound": False}),
    ],
)
def test_what_the_table_does_not_say_stays_unknown(model: str, sent: dict[str, Any]) -> None:
    assert credits_of(model, sent) is None


def test_cases_and_tables_hold_exactly_what_is_listed() -> None:
    listed = {
        (model, setting.removesuffix(", per video").removesuffix(", per second")): price
        for (model, setting), price in price_list("kling").items()
    }
    unknown = {(model, setting) for model, setting, *_ in NO_LENGTH}
    by_setting: dict[tuple[str, str], set[float]] = defaultdict(set)
    by_model: dict[str, set[float]] = defaultdict(set)
    by_clip = [(model, setting, credits) for model, setting, _, credits in PER_CLIP_CASES]
    by_second = [(model, setting, credits) for model, setting, _, _, _, credits in PER_SECOND_CASES]
    for model, setting, credits in [*by_clip, *by_second]:
        by_setting[model, setting].add(credits)
        by_model[model].add(credits)
    tables = {
        **{model: set(prices.values()) for model, prices in PER_CLIP.items()},
        **{model: set(prices.values()) for model, prices in PER_SECOND.items()},
    }

    assert unknown <= set(listed)
    assert by_setting == {key: set(price.credits) for key, price in listed.items() if key not in unknown}
    assert tables == by_model
    assert max(date for _, date in listed.values()) == CHECKED
