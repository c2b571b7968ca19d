"""Refusals: every fault of a call at once, and a call that works in its place."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from kie_ai_mcp import ImageUrls, InvalidArgument, Prompt, Submission
from kie_ai_mcp._flow.refusal import Search, given_up
from kie_ai_mcp._providers.tools import BoundTool
from tests.helpers import PICTURE

pytestmark = pytest.mark.anyio


def make(
    prompt: Prompt,
    imageUrls: ImageUrls | None = None,
    model: Literal["small", "large"] | None = None,
    resolution: Literal["720p", "1080p", "4k"] | None = None,
    duration: int | None = None,
    strength: float | None = None,
    shots: list[dict[str, Any]] | None = None,
    seed: int | None = None,
) -> Submission:
    """Make a clip."""
    if seed is not None:
        raise InvalidArgument("seed", seed, "it can't be chosen")
    if resolution == "4k" and model == "small":
        raise InvalidArgument("resolution", resolution, "small makes 720p or 1080p")
    if duration not in {None, 5, 10}:
        raise InvalidArgument("duration", duration, "5 or 10")
    if strength is not None and not 0.1 <= strength <= 1:
        raise InvalidArgument("strength", strength, "from 0.1 to 1")
    if imageUrls and len(imageUrls) > 2:
        raise InvalidArgument("imageUrls", imageUrls, "at most 2")
    if imageUrls and resolution == "4k":
        raise InvalidArgument("imageUrls", imageUrls, "not in 4k")
    for number, shot in enumerate(shots or ()):
        if shot["length"] > 9:
            raise InvalidArgument(f"shots[{number}].length", shot["length"], "at most 9")
    if len(prompt) > 20:
        raise InvalidArgument("prompt", prompt, "at most 20 characters")
    return Submission("make", {}, "make")


TOOL = BoundTool.bind(make, provider="acme", kind="video")


async def attempt(tool: BoundTool, arguments: Mapping[str, Any]) -> InvalidArgument | None:
    try:
        tool.fn(**tool.check(arguments, saves=True)[1])
    except InvalidArgument as exc:
        return exc
    return None


async def searched(given: dict[str, Any]) -> tuple[list[str], Any]:
    """The fields of all faults, and the arguments of the call that works."""
    error = await attempt(TOOL, given)
    assert error is not None
    search = Search(attempt, TOOL, given)
    working = await search.run(error)
    return [fault.field for fault in (*error.faults, *search.further)], working and working["arguments"]


@pytest.mark.parametrize(
    ("wrong", "mended"),
    [
        ({"resolution": "8k"}, {"resolution": "4k"}),
        ({"resolution": "4k", "model": "small"}, {"resolution": "4k"}),
        ({"duration": 8}, {"duration": 10}),
        ({"duration": 99}, {"duration": 10}),
        ({"strength": 1.7}, {"strength": 1}),
        ({"seed": 1}, {}),
        ({"colour": "red"}, {}),
        ({"imageUrls": [PICTURE] * 3}, {"imageUrls": [PICTURE] * 2}),
        ({"shots": [{"length": 3}, {"length": 12}]}, {"shots": [{"length": 3}, {"length": 9}]}),
        ({"prompt": "a fox in the very deep snow"}, {"prompt": "a fox in the very"}),
    ],
)
async def test_smallest_change_that_works_is_found(wrong: dict[str, Any], mended: dict[str, Any]) -> None:
    _, working = await searched({"prompt": "a fox", **wrong})

    assert working == {"prompt": "a fox", **mended}


async def test_faults_that_a_provider_finds_after_its_first_are_told_too() -> None:
    fields, working = await searched(
        {"prompt": "a fox", "seed": 1, "duration": 7, "imageUrls": [PICTURE] * 3, "resolution": "9k"}
    )

    assert fields == ["resolution", "seed", "duration", "imageUrls"]
    assert working == {"prompt": "a fox", "duration": 5, "imageUrls": [PICTURE] * 2, "resolution": "720p"}


async def test_pictures_are_kept_where_a_setting_can_be_given_up() -> None:
    _, working = await searched({"prompt": "a fox", "imageUrls": [PICTURE], "resolution": "4k"})

    assert working == {"prompt": "a fox", "imageUrls": [PICTURE], "resolution": "720p"}


async def test_nothing_is_made_up_for_what_only_the_caller_knows() -> None:
    fields, working = await searched({"duration": 5})

    assert (fields, working) == (["prompt"], None)


@pytest.mark.parametrize(
    ("given", "used", "left"),
    [
        ({"seed": 1, "prompt": "a fox"}, {"prompt": "a fox"}, {"seed": 1}),
        ({"imageUrls": ["a", "b", "c"]}, {"imageUrls": ["a", "b"]}, {"imageUrls": ["c"]}),
        ({"imageUrls": ["a", "a"]}, {"imageUrls": ["a"]}, {"imageUrls": ["a"]}),
        ({"prompt": "a fox in the snow"}, {"prompt": "a fox in"}, {"prompt": "the snow"}),
        ({"quality": "4K"}, {"resolution": "4k"}, {}),
        ({"resolution": "720px", "duration": 7}, {"resolution": "720p", "duration": 5}, {"duration": 7}),
        (
            {"resolution": "1080p", "sound": True},
            {"resolution": "720p", "sound": False},
            {"resolution": "1080p", "sound": True},
        ),
        ({"duration": 8.0, "look": "lanscape"}, {"duration": "8", "look": "landscape"}, {}),
        ({"shots": [{"length": 12}]}, {"shots": [{"length": 9}]}, {}),
    ],
)
def test_what_is_given_up_is_named_also_of_lists_and_texts(
    given: dict[str, Any], used: dict[str, Any], left: dict[str, Any]
) -> None:
    assert given_up(given, used, TOOL.arguments.schema["properties"]) == left


async def test_length_in_words_is_kept_as_seconds_where_the_input_is_sent_as_it_is() -> None:
    fault = InvalidArgument("duration", "10 sec", "give a number")
    changes = [*Search(attempt, TOOL, {})._of_what_is_wrong({"duration": "10 sec"}, fault)]
    assert changes[0] == {"duration": 10}
