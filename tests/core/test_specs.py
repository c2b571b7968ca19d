"""Shared values of the contract: arguments, refusals, overrides."""

from typing import Annotated, Any

import pytest

from kie_ai_mcp import InvalidArgument, Media, OnePicture, Submission, TaskId, apply_overrides, reject_arguments
from kie_ai_mcp._providers.arguments import Arguments
from kie_ai_mcp.specs import MARKET_CREATE, field_of

A, B = "https://example.com/a.png", "https://example.com/b.png"


def draw(pictures: OnePicture, large: Annotated[OnePicture, Media("image", most_mb=10)] | None = None) -> None: ...


def extend(task_id: TaskId) -> None: ...


def market(**settings: Any) -> Submission:
    request = Submission.market("maker/one", {"prompt": "a fox"}, api_type="maker", estimated_credits=4)
    return apply_overrides(request, settings)


# Arguments -----------------------------------------------------------------------------------------------------------


def test_limit_of_one_picture_stands_in_the_schema_alone() -> None:
    arguments = Arguments(draw)
    assert arguments.listed["properties"]["pictures"]["maxItems"] == 1
    assert arguments.check({"pictures": [A, B]}) == {"pictures": [A, B]}


def test_one_picture_is_a_media_argument_that_can_be_limited_in_size() -> None:
    assert Arguments(draw).media == {"pictures": Media("image"), "large": Media("image", most_mb=10)}


@pytest.mark.parametrize("path", ["shots", "shots[]", "shots[].image_url", "shots[1].image_url", "shots.image_url"])
def test_path_or_place_begins_in_a_field(path: str) -> None:
    assert field_of(path) == "shots"


@pytest.mark.parametrize("pictures", [[], {"a": A}, ["ftp://example.com/a.png"]])
def test_one_picture_is_checked_like_any_list_of_pictures(pictures: object) -> None:
    with pytest.raises(InvalidArgument):
        Arguments(draw).check({"pictures": pictures})


def test_task_id_loses_the_space_around_it() -> None:
    assert Arguments(extend).check({"task_id": " task-1\n"}) == {"task_id": "task-1"}


@pytest.mark.parametrize("task_id", ["", "  ", "\u200b", None, 7])
def test_task_id_that_is_no_text_is_refused(task_id: object) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        Arguments(extend).check({"task_id": task_id})
    assert refusal.value.field == "task_id"


# Refusals ------------------------------------------------------------------------------------------------------------


def test_argument_that_is_not_taken_is_refused_with_reason_and_cure() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        reject_arguments("Maker has no such setting", seed=None, style="noir", look="old")
    assert (refusal.value.field, refusal.value.value) == ("style", "noir")
    style, look = refusal.value.faults
    assert str(style) == "style: 'noir' is not accepted: Maker has no such setting; leave it out."
    assert str(refusal.value) == f"{style} {look}"


def test_refusal_names_another_cure() -> None:
    with pytest.raises(InvalidArgument, match=r"Maker has no such setting; say it in the prompt\.$"):
        reject_arguments("Maker has no such setting", "say it in the prompt", style="noir")


@pytest.mark.parametrize("value", [0, False, "", []])
def test_value_that_is_empty_is_refused_too(value: object) -> None:
    with pytest.raises(InvalidArgument):
        reject_arguments("Maker has no such setting", seed=value)


def test_arguments_that_were_left_out_are_not_refused() -> None:
    reject_arguments("Maker has no such setting", seed=None, style=None)
    reject_arguments("Maker has no such setting")


def test_names_of_the_parameters_can_be_names_of_arguments() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        reject_arguments("Maker has no such setting", reason=None, cure="rest")
    assert refusal.value.field == "cure"


# Overrides -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"model": "", "path": ""}, {"edit_model": "maker/two"}])
def test_request_without_overrides_stays_as_it_is(settings: dict[str, Any]) -> None:
    request = market(**settings)
    assert (request.paths, request.model, request.estimated_credits) == (MARKET_CREATE, "maker/one", 4)
    assert request.body == {"model": "maker/one", "input": {"prompt": "a fox"}}


def test_configured_model_is_sent_and_recorded_without_the_estimate_of_another() -> None:
    request = market(model="maker/two")
    assert (request.paths, request.model, request.estimated_credits) == (MARKET_CREATE, "maker/two", None)
    assert request.body == {"model": "maker/two", "input": {"prompt": "a fox"}}


def test_configured_path_replaces_every_path_and_keeps_the_rest() -> None:
    request = market(path="maker/generate")
    assert (request.paths, request.model, request.estimated_credits) == (("maker/generate",), "maker/one", 4)


def test_provider_with_several_tools_names_the_key_of_each_model() -> None:
    request = Submission.market("maker/edit", {"prompt": "a fox"}, api_type="maker")
    settings = {"model": "maker/two", "edit_model": "maker/edit-two"}
    assert apply_overrides(request, settings, model="edit_model").model == "maker/edit-two"
    assert request.model == "maker/edit"
