"""Requests and refusals of `generate_gpt4o_image`."""

from collections.abc import Mapping
from typing import Any

import pytest

from kie_ai_mcp import InvalidArgument, KieError, Submission, Task
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp_gpt4o_image import kie_describe_provider, kie_register_tools, kie_route_status
from kie_ai_mcp_ideogram.tools import edit_ideogram_image
from tests.helpers import PICTURE
from tests.service.facts import official

OTHER = "https://example.com/b.png"
OPERATION = "POST /api/v1/gpt4o-image/generate"
MASK = "https://example.com/mask.png"
OLDER_FIELDS = {"older_fields": True}


def generate(settings: Mapping[str, Any] | None = None, /, **arguments: Any) -> Submission:
    (tool,) = kie_register_tools(settings or {})
    return tool(**arguments)


def test_prompt_alone_asks_for_a_square_because_the_service_demands_a_size() -> None:
    submission = generate(prompt="a fox")

    assert submission.paths == ("gpt4o-image/generate",)
    assert submission.body == {"prompt": "a fox", "size": "1:1"}
    assert submission.api_type == "gpt4o-image"


def test_size_that_is_left_to_the_service_is_a_square_and_said() -> None:
    submission = generate(prompt="a fox", size="auto")

    assert submission.body == {"prompt": "a fox", "size": "1:1"}
    assert submission.notes == ("size auto was left out: 1:1 is sent.",)


def test_image_urls_become_files_url_and_every_other_word_its_own() -> None:
    submission = generate(prompt="a fox", image_urls=[PICTURE, OTHER], size="3:2", callBackUrl="https://me.example/x")

    assert submission.body == {
        "prompt": "a fox",
        "filesUrl": [PICTURE, OTHER],
        "size": "3:2",
        "callBackUrl": "https://me.example/x",
    }


def test_one_variant_is_what_the_service_makes_anyway() -> None:
    assert generate(prompt="a fox", nVariants=1).body == {"prompt": "a fox", "size": "1:1"}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"size": "1:1"},
        {"size": "3:2"},
        {"size": "2:3"},
        {"nVariants": 1},
        {"image_urls": [PICTURE]},
        {"image_urls": [PICTURE] * 5, "size": "2:3", "nVariants": 1, "callBackUrl": "https://me.example/x"},
    ],
)
def test_every_request_is_one_the_official_schema_accepts(arguments: dict[str, Any]) -> None:
    official(OPERATION).validate(generate(prompt="a fox", **arguments).body)


@pytest.mark.parametrize(
    ("field", "arguments", "advice"),
    [
        ("maskUrl", {"maskUrl": MASK, "image_urls": [PICTURE]}, "edit_ideogram_image"),
        ("maskUrl", {"maskUrl": MASK, "image_urls": [PICTURE]}, "older_fields = true below [providers.gpt4o-image]"),
        ("nVariants", {"nVariants": 2}, "once per picture"),
        ("nVariants", {"nVariants": 4}, "older_fields = true below [providers.gpt4o-image]"),
        ("nVariants", {"nVariants": 3}, "once per picture"),
    ],
)
def test_what_today_s_page_does_not_list_is_refused_with_advice(
    field: str, arguments: dict[str, Any], advice: str
) -> None:
    (fn,) = kie_register_tools({})
    tool = BoundTool.bind(fn, provider="gpt4o-image", kind="image")
    with pytest.raises(InvalidArgument) as refusal:
        tool.fn(**tool.check({"prompt": "a fox", **arguments}, saves=True)[1])

    assert refusal.value.field == field
    assert advice in refusal.value.message


def test_mask_of_one_picture_is_refused_with_a_whole_call_that_repaints_it() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        generate(prompt="a fox", image_urls=[PICTURE], maskUrl=MASK, nVariants=2)

    assert [fault.field for fault in refusal.value.faults] == ["maskUrl", "nVariants"]
    assert refusal.value.instead is not None
    made = edit_ideogram_image(**refusal.value.instead["arguments"])
    assert made.body["input"] == {"prompt": "a fox", "image_url": PICTURE, "mask_url": MASK}


@pytest.mark.parametrize(("variants", "credits"), [(None, 6), (1, 6), (2, 12), (4, 24)])
def test_every_variant_is_paid_for(variants: int | None, credits: float) -> None:
    assert generate(OLDER_FIELDS, prompt="a fox", nVariants=variants).estimated_credits == credits


def test_older_fields_are_sent_where_the_configuration_allows_them() -> None:
    submission = generate(OLDER_FIELDS, prompt="a fox", image_urls=[PICTURE], maskUrl=MASK, nVariants=4)

    assert submission.body == {"prompt": "a fox", "filesUrl": [PICTURE], "size": "1:1", "maskUrl": MASK, "nVariants": 4}


def test_number_of_variants_is_one_that_the_service_knew() -> None:
    with pytest.raises(InvalidArgument, match=r"nVariants: 3 is not accepted: use one of 1, 2 or 4\."):
        generate(OLDER_FIELDS, prompt="a fox", nVariants=3)


@pytest.mark.parametrize("image_urls", [None, [PICTURE, OTHER]])
def test_mask_without_exactly_one_picture_is_refused(image_urls: list[str] | None) -> None:
    with pytest.raises(InvalidArgument, match="exactly one picture") as refusal:
        generate(OLDER_FIELDS, prompt="a fox", image_urls=image_urls, maskUrl=MASK)

    assert refusal.value.field == "maskUrl"


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_older_fields_is_true_or_false_and_nothing_else(value: object) -> None:
    with pytest.raises(KieError, match="older_fields"):
        kie_register_tools({"older_fields": value})


def test_status_is_read_at_the_family_s_own_address() -> None:
    route = kie_route_status(Task("t-1", "gpt4o-image", "gpt4o-image"))

    assert route is not None
    assert route.paths == ("gpt4o-image/record-info",)
    assert route.params == {"taskId": "t-1"}


def test_provider_declares_its_setting_and_its_sort_of_task() -> None:
    provider = kie_describe_provider()

    assert provider.api_types == ("gpt4o-image",)
    assert set(provider.settings) == {"older_fields", "unified"}
    assert provider.availability == "current"
