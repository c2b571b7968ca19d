"""Requests and refusals of the Topaz tools."""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from tests.service.facts import official, schema_of

TOOLS = Plugins(Settings.model_validate({"enabled_providers": ["topaz"]})).tools
WAYS = {
    "upscale_image": ("topaz/image-upscale", "image_url", "https://example.com/a.png"),
    "upscale_video": ("topaz/video-upscale", "video_url", "https://example.com/a.mp4"),
}
every_way = pytest.mark.parametrize("name", WAYS)


def sent(name: str, **arguments: Any) -> dict[str, Any]:
    """Return the body that a tool sends for its file and more arguments, which the service's schema accepts."""
    model, field, address = WAYS[name]
    tool = TOOLS[name]
    submission: Any = tool.fn(**tool.arguments.check({field: address, **arguments}))
    official(model).validate(submission.body["input"])
    assert submission.body["model"] == submission.model == model
    return dict(submission.body)


@every_way
def test_file_alone_is_enlarged_twice(name: str) -> None:
    _, field, address = WAYS[name]
    assert sent(name)["input"] == {field: address, "upscale_factor": "2"}


@every_way
@pytest.mark.parametrize("factor", ["1", "2", "4", 1, 2, 4])
def test_factor_is_taken_as_text_and_as_a_number(name: str, factor: str | int) -> None:
    assert sent(name, factor=factor)["input"]["upscale_factor"] == str(factor)


@every_way
def test_factors_are_those_of_the_service(name: str) -> None:
    official_factors = schema_of(WAYS[name][0])["properties"]["upscale_factor"]["enum"]
    assert TOOLS[name].arguments.schema["properties"]["factor"]["enum"] == official_factors


@every_way
@pytest.mark.parametrize("factor", ["3", 8])
def test_other_factor_is_refused_with_those_there_are(name: str, factor: str | int) -> None:
    with pytest.raises(InvalidArgument, match="'1', '2' or '4'"):
        sent(name, factor=factor)


def test_each_tool_makes_the_kind_that_it_is_given() -> None:
    assert {name: tool.kind for name, tool in TOOLS.items()} == {"upscale_image": "image", "upscale_video": "video"}
