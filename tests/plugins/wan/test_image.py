"""Requests and refusals of Wan's picture tool."""

from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, Submission
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp_wan import kie_register_models
from kie_ai_mcp_wan.image import generate_wan_image
from kie_ai_mcp_wan.models import IMAGES
from tests.helpers import capable
from tests.service.facts import official, schema_of

MODELS = {form.name: form.id for form in IMAGES}
A = "https://example.com/a.png"
ARGUMENTS = BoundTool.bind(generate_wan_image, provider="wan", kind="image").arguments


def made(**arguments: Any) -> Submission:
    sent = generate_wan_image(**ARGUMENTS.check({"prompt": "a fox", **arguments}))
    official(str(sent.model)).validate(sent.body["input"])
    return sent


def test_one_picture_is_made_where_no_number_is_given() -> None:
    sent = made()
    assert sent.body == {"model": "wan/2-7-image", "input": {"prompt": "a fox", "n": 1}}
    assert sent.notes == ()


@pytest.mark.parametrize("model", MODELS)
def test_all_arguments_are_sent(model: str) -> None:
    chosen = {"image_urls": [A] * 9, "n": 4, "aspect_ratio": "8:1", "resolution": "2K"}
    sent = made(**chosen, model=model)
    chosen["input_urls"] = chosen.pop("image_urls")
    assert sent.body == {"model": MODELS[model], "input": {"prompt": "a fox", **chosen}}
    assert ARGUMENTS.check({"prompt": "a fox", "model": MODELS[model]})["model"] == model


@pytest.mark.parametrize(("n", "series"), [(4, None), (5, True), (12, True)])
def test_more_than_four_pictures_are_a_series_and_the_answer_says_so(n: int, series: bool | None) -> None:
    sent = made(n=n)
    assert sent.body["input"].get("enable_sequential") is series
    assert ("series" in " ".join(sent.notes)) == bool(series)


@pytest.mark.parametrize("besides", [{"image_urls": [A]}, {"n": 5}])
def test_4k_of_pro_is_refused_where_it_can_t_be_with_the_model_that_can(besides: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="use '1K' or '2K'") as refusal:
        made(resolution="4K", model="2.7-pro", **besides)
    assert capable(refusal.value) == ["2.7"]
    assert "enable_sequential" not in str(refusal.value)
    assert made(resolution="4K", model="2.7", **besides).body == made(resolution="4K", **besides).body
    assert made(resolution="4K", model="2.7-pro").model == "wan/2-7-image-pro"


@pytest.mark.parametrize("model_id", MODELS.values())
def test_choices_are_those_of_the_service(model_id: str) -> None:
    fields, offered = schema_of(model_id)["properties"], ARGUMENTS.schema["properties"]
    for name in ("aspect_ratio", "resolution"):
        assert sorted(offered[name]["enum"]) == sorted(fields[name]["enum"])
    assert (offered["n"]["minimum"], offered["n"]["maximum"]) == (fields["n"]["minimum"], fields["n"]["maximum"])
    assert offered["image_urls"]["maxItems"] == fields["input_urls"]["maxItems"]


def test_tool_sells_the_models_that_point_to_it() -> None:
    selling = {model.id for model in kie_register_models() if model.tool == "generate_wan_image"}
    assert selling == {*MODELS.values()}
