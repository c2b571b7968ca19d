"""Live catalogue of Kie.ai: addresses, and values read from answers as the service gives them."""

from typing import Any

import jsonschema
import pytest

from kie_ai_mcp import Answer, LiveModel
from kie_ai_mcp_market.catalogue import CATALOGUE


def schema_answer(taken: Any, path: str = "/api/v1/jobs/createTask", components: Any = None) -> Answer:
    """Return a schema's answer whose body asks for more than the service does, as the older pages do."""
    body = {"type": "object", "required": ["model", "callBackUrl"], "properties": {"model": {}, "input": taken}}
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}}}
    openapi = {"openapi": "3.1.0", "paths": {path: {"post": operation}}, "components": components or {}}
    return Answer(200, "success", {"model": "maker/picture-1", "openapi": openapi})


def points(*rates: Any) -> Answer:
    """Return the answer for a success rate: ten minutes each, from 03:00 on."""
    spans = [
        {
            "start": f"2026-01-02T{3 + at // 6:02}:{at % 6}0:00Z",
            "end": f"2026-01-02T{3 + (at + 1) // 6:02}:{(at + 1) % 6}0:00Z",
            "successRate": rate,
        }
        for at, rate in enumerate(rates)
    ]
    return Answer(200, "success", {"points": spans})


def read_schema(taken: Any, **of_page: Any) -> Any:
    return CATALOGUE.schema.read(schema_answer(taken, **of_page))


def test_slash_of_an_id_stays_and_the_rest_is_encoded() -> None:
    assert CATALOGUE.list.path("") == "models"
    assert CATALOGUE.schema.path("maker/picture 1?x") == "models/maker/picture%201%3Fx/schema"
    assert CATALOGUE.price.path("veo-3-1") == "models/veo-3-1/price"
    assert CATALOGUE.health.path("gpt-image/1.5-edit") == "models/gpt-image/1.5-edit/success-rate"


def test_list_gives_ids_with_titles_labels_and_words_for_the_price() -> None:
    models = [
        {
            "model": "maker/picture-1",
            "title": "Picture 1",
            "taskType": ["Text to Image"],
            "pricingDesc": " 2 credits\n",
        },
        {"model": "clip-3/extend", "title": None, "taskType": None, "description": "", "pricingDesc": None},
        {"slug": "without an id"},
    ]
    assert CATALOGUE.list.read(Answer(200, "success", {"total": 3, "models": models})) == (
        LiveModel("maker/picture-1", "Picture 1", ("Text to Image",), "2 credits"),
        LiveModel("clip-3/extend"),
    )


@pytest.mark.parametrize("data", [None, [], "x", {}, {"models": None}, {"openapi": None, "points": None}])
def test_answers_without_a_value_give_none(data: Any) -> None:
    answer = Answer(200, "success", data)
    reads = (CATALOGUE.list, CATALOGUE.schema, CATALOGUE.price, CATALOGUE.health)
    assert [read.read(answer) for read in reads] == [None] * 4


def test_empty_list_is_an_empty_list() -> None:
    assert CATALOGUE.list.read(Answer(200, "success", {"total": 0, "models": []})) == ()


def test_schema_is_that_of_the_input_and_not_what_is_required_around_it() -> None:
    taken = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string", "maxLength": 9}}}
    assert read_schema(taken) == taken


def test_prose_of_the_service_is_not_kept() -> None:
    prose = {"description": "What to make.", "title": "Prompt", "examples": ["a fox"], "example": "a fox", "x-order": 1}
    taken = {"type": "object", **prose, "properties": {"title": {"type": "string", **prose}}}
    assert read_schema(taken) == {"type": "object", "properties": {"title": {"type": "string"}}}


def test_models_that_are_asked_elsewhere_have_no_schema() -> None:
    assert read_schema({"type": "object"}, path="/codex/v1/responses") is None


def test_references_with_encoded_and_plain_blanks_are_resolved() -> None:
    components = {"schemas": {"a size": {"enum": ["1K", "2K"]}, "Shot ": {"$ref": "#/components/schemas/a size"}}}
    taken = {
        "properties": {
            "size": {"$ref": "#/components/schemas/a%20size"},
            "shot": {"$ref": "#/components/schemas/Shot "},
            "lost": {"$ref": "#/components/schemas/nowhere"},
        }
    }
    assert read_schema(taken, components=components)["properties"] == {
        "size": {"enum": ["1K", "2K"]},
        "shot": {"enum": ["1K", "2K"]},
        "lost": {},
    }


def test_schema_that_refers_to_itself_ends() -> None:
    components = {"schemas": {"tree": {"items": {"$ref": "#/components/schemas/tree"}}}}
    assert read_schema({"properties": {"t": {"$ref": "#/components/schemas/tree"}}}, components=components)


def test_nullable_of_older_documents_allows_null() -> None:
    schema = read_schema({"type": "object", "properties": {"seed": {"type": "integer", "nullable": True}}})
    jsonschema.validate({"seed": None}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"seed": "x"}, schema)


def test_branches_become_one_flat_schema_that_takes_what_one_of_them_takes() -> None:
    one = {
        "properties": {"prompt": {"maxLength": 9}, "n": {"enum": [1], "default": 1}, "a": {}},
        "required": ["prompt"],
    }
    other = {"properties": {"prompt": {"maxLength": 5}, "n": {"const": 2}, "b": {}}, "required": ["prompt", "b"]}
    assert read_schema({"oneOf": [one, other]}) == {
        "properties": {"prompt": {"maxLength": 9}, "n": {"enum": [1, 2], "default": 1}, "a": {}, "b": {}},
        "required": ["prompt"],
    }


def test_branches_that_only_require_stay_without_what_they_forbid_themselves() -> None:
    forms = [
        {"required": ["task_id", "audio_id"], "not": {"required": ["audio_url"]}},
        {"required": ["audio_url", "audio_id"], "not": {"anyOf": [{"required": ["audio_id"]}]}},
    ]
    fields: dict[str, Any] = {"task_id": {}, "audio_id": {}, "audio_url": {}}
    schema = read_schema({"type": "object", "properties": fields, "oneOf": forms})
    assert schema["anyOf"] == [{"required": ["task_id", "audio_id"]}, {"required": ["audio_url"]}]


def test_blanks_around_the_name_of_a_field_are_not_part_of_it() -> None:
    schema = read_schema({"properties": {"image_urls ": {"type": "array"}}, "required": ["image_urls "]})
    assert schema == {"properties": {"image_urls": {"type": "array"}}, "required": ["image_urls"]}


def test_price_is_told_in_the_words_of_the_service() -> None:
    assert CATALOGUE.price.read(Answer(200, "success", {"pricingDesc": "2 credits for 1 K"})) == "2 credits for 1 K"
    assert CATALOGUE.price.read(Answer(200, "success", {"pricingDesc": None})) is None


def test_health_is_the_share_of_the_last_hour_with_traffic() -> None:
    assert CATALOGUE.health.read(points(0, 0, 100.0, None, 50, 90, 80, None)) == pytest.approx(0.8)


@pytest.mark.parametrize("answer", [points(), points(None, None), Answer(200, "", {"points": [{"end": "soon"}]})])
def test_health_without_traffic_is_none(answer: Answer) -> None:
    assert CATALOGUE.health.read(answer) is None
