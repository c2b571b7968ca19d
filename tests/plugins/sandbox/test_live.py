"""The live catalogue of the sandbox, as a raw client reads it."""

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from kie_ai_mcp_sandbox.server import Sandbox

NANO = "google/nano-banana"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(key="key-of-the-tests", catalogue_pause_s=0) as sandbox:
        yield sandbox


def data(client: httpx.Client, path: str, **query: str) -> Any:
    answer = client.get(path, params=query)
    assert (answer.status_code, answer.json()["code"], answer.json()["msg"]) == (200, 200, "success")
    return answer.json()["data"]


def ids(client: httpx.Client, **query: str) -> set[str]:
    listed = data(client, "models", **query)
    assert listed["total"] == len(listed["models"])
    return {item["model"] for item in listed["models"]}


def test_list_has_every_model_in_the_form_of_the_service(client: httpx.Client) -> None:
    (item,) = (item for item in data(client, "models")["models"] if item["model"] == "nano-banana-2")
    assert item == {
        "model": "nano-banana-2",
        "slug": "nano-banana-2",
        "title": item["title"],
        "provider": "Google",
        "taskType": ["Text to Image"],
        "description": None,
        "pricingDesc": item["pricingDesc"],
    }
    assert item["title"]
    assert item["pricingDesc"].endswith("18 credits ($0.09) for 4K.")


def test_what_is_no_longer_listed_is_sold_all_the_same(client: httpx.Client) -> None:
    assert "sora-2-text-to-video" not in ids(client)
    body = {"model": "sora-2-text-to-video", "input": {"prompt": "a fox"}}
    assert client.post("jobs/createTask", json=body).json()["code"] == 200


def test_filters_may_be_combined_and_may_leave_nothing(client: httpx.Client) -> None:
    everything = ids(client)
    pictures = ids(client, taskType="text to image, Image to Video", provider="google")
    assert NANO in pictures < everything
    assert all("banana" in name for name in ids(client, q="BANANA"))
    assert data(client, "models", q="nothing of the kind") == {"total": 0, "models": []}


def test_schema_is_one_openapi_document_with_one_path(client: httpx.Client) -> None:
    answer = data(client, f"models/{NANO}/schema")
    document = answer["openapi"]
    assert (answer["model"], document["openapi"], list(document["paths"])) == (
        NANO,
        "3.1.0",
        ["/api/v1/jobs/createTask"],
    )
    content = document["paths"]["/api/v1/jobs/createTask"]["post"]["requestBody"]["content"]
    body = content["application/json"]["schema"]
    assert body["properties"]["model"]["enum"] == [NANO]
    assert body["properties"]["input"]["required"] == ["prompt"]
    assert "prompt" in body["properties"]["input"]["properties"]
    assert "additionalProperties" not in str(document)


def test_model_without_a_published_schema_has_none(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.drift("no-schema", "nano-banana-2")
    assert data(client, "models/nano-banana-2/schema") == {"model": "nano-banana-2", "openapi": None}


def test_price_is_the_text_of_the_list(client: httpx.Client) -> None:
    assert data(client, f"models/{NANO}/price") == {"model": NANO, "pricingDesc": "4 credits ($0.02)."}


def test_success_rate_is_a_day_in_pieces_of_ten_minutes(client: httpx.Client) -> None:
    points = data(client, f"models/{NANO}/success-rate")["points"]
    times = [datetime.fromisoformat(point["start"]) for point in points]
    assert len(points) == 144
    assert {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)} == {600}
    assert points[0] | {"start": "", "end": ""} == {
        "start": "",
        "end": "",
        "successRate": None,
        "errorRate": None,
        "isNormal": None,
    }
    assert (points[-1]["successRate"], points[-1]["errorRate"], points[-1]["isNormal"]) == (97.0, 3.0, True)


@pytest.mark.parametrize("part", ["schema", "price", "success-rate"])
@pytest.mark.parametrize("name", ["acme/paint", "google%2Fnano-banana", "google"])
def test_unknown_model_is_code_404_under_http_200(client: httpx.Client, name: str, part: str) -> None:
    answer = client.get(f"models/{name}/{part}")
    assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (200, 404, None)


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "", "apikey": "key-of-the-tests"}])
def test_wrong_key_is_code_401_without_data(client: httpx.Client, headers: dict[str, str]) -> None:
    for path in ("models", f"models/{NANO}/schema", f"models/{NANO}/price", f"models/{NANO}/success-rate"):
        answer = client.get(path, headers=headers).json()
        assert answer["code"] == 401
        assert "data" not in answer


def test_calls_are_counted_together_for_each_key(connect: Callable[[Sandbox], httpx.Client]) -> None:
    with Sandbox() as sandbox:
        client = connect(sandbox)
        paths = ["models", f"models/{NANO}/schema", f"models/{NANO}/price", f"models/{NANO}/success-rate"]
        codes = []
        for path in paths:
            codes.append(client.get(path).json()["code"])
            refused = client.get(paths[0])
            assert (refused.status_code, refused.json()["code"], refused.json()["data"]) == (200, 429, None)
            sandbox.advance(1)
        assert codes == [200] * 4
        assert client.get("models").json()["code"] == 200
        other = {"Authorization": "Bearer of another account"}
        assert client.get("models", headers=other).json()["code"] == 200
        assert client.get("chat/credit").json()["code"] == 200
