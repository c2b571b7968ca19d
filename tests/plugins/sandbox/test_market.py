"""The sandbox's market endpoints, as a raw client sees them."""

import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from kie_ai_mcp import Provider
from kie_ai_mcp_sandbox import installed
from kie_ai_mcp_sandbox.catalogue import MODELS
from kie_ai_mcp_sandbox.server import Sandbox

Connect = Callable[[Sandbox], httpx.Client]

NANO = "google/nano-banana"
KLING = "kling/v2-1-master-text-to-video"


def create(client: httpx.Client, model: str = NANO, path: str = "jobs/createTask", **arguments: Any) -> dict[str, Any]:
    answer = client.post(path, json={"model": model, "input": {"prompt": "a fox", **arguments}})
    assert answer.status_code == 200
    read: dict[str, Any] = answer.json()
    return read


def task_id(answer: dict[str, Any]) -> str:
    assert answer["code"] == 200, answer
    return str(answer["data"]["taskId"])


def record(client: httpx.Client, task_id: str, path: str = "jobs/recordInfo") -> dict[str, Any]:
    answer = client.get(path, params={"taskId": task_id}).json()
    assert answer["code"] == 200, answer
    read: dict[str, Any] = answer["data"]
    return read


def test_create_answers_the_task_id_twice_and_the_ledger_has_it(sandbox: Sandbox, client: httpx.Client) -> None:
    answer = create(client)
    assert answer == {
        "code": 200,
        "msg": "success",
        "data": {"taskId": answer["data"]["taskId"], "recordId": answer["data"]["taskId"]},
    }
    (accepted,) = sandbox.ledger
    assert (accepted.task_id, accepted.path, accepted.model) == (task_id(answer), "jobs/createTask", NANO)
    assert accepted.body["input"] == {"prompt": "a fox"}


def test_task_goes_through_the_states_as_time_passes(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client))
    states = []
    for seconds in (0, 30, 70, 110):
        sandbox.advance(seconds)
        states.append(record(client, made)["state"])
    assert states == ["waiting", "queuing", "generating", "success"]


def test_running_record_has_the_live_shape(client: httpx.Client) -> None:
    data = record(client, task_id(create(client)))
    request = json.loads(data["param"])
    assert request["model"] == NANO
    assert json.loads(request["input"]) == {"prompt": "a fox"}
    assert data["resultJson"] == ""
    assert data["successFlag"] == 0
    assert [data[name] for name in ("failCode", "failMsg", "costTime", "completeTime", "response")] == [None] * 5
    assert isinstance(data["createTime"], int)
    assert data["createTime"] > 1_600_000_000_000
    assert data["creditsConsumed"] == 4.0
    assert "progress" not in data


def test_finished_record_has_results_as_json_text(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client))
    sandbox.advance(200)
    data = record(client, made)
    assert (
        json.loads(data["resultJson"])
        == data["response"]
        == {"resultUrls": [f"{sandbox.upload_url}/files/{made}-1.png"]}
    )
    assert data["completeTime"] - data["createTime"] == 200_000
    assert data["costTime"] == 200
    assert data["successFlag"] == 1


@pytest.mark.parametrize(
    ("shape", "size"),
    [("16:9", (512, 288)), ("9:16", (288, 512)), ("1:1", (512, 512)), ("auto", (512, 512)), ("21:9", (512, 219))],
)
def test_picture_has_the_shape_that_was_asked_for(
    sandbox: Sandbox, client: httpx.Client, shape: str, size: tuple[int, int]
) -> None:
    made = task_id(create(client, aspect_ratio=shape))
    sandbox.advance(200)
    with Image.open(io.BytesIO(client.get(record(client, made)["response"]["resultUrls"][0]).content)) as image:
        image.load()
        assert (image.format, image.size, image.info["Task"]) == ("PNG", size, made)


def test_jpeg_is_a_jpeg(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client, output_format="jpeg"))
    sandbox.advance(200)
    answer = client.get(record(client, made)["response"]["resultUrls"][0])
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as image:
        image.load()
        assert image.format == "JPEG"


def test_several_pictures_are_several_files(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client, "ideogram/character", reference_image_urls=["https://a/b.png"], num_images="3"))
    sandbox.advance(200)
    urls = record(client, made)["response"]["resultUrls"]
    assert len({client.get(url).content for url in urls}) == 3


def test_video_takes_longer_and_is_an_mp4_of_its_own(sandbox: Sandbox, client: httpx.Client) -> None:
    first, second = (task_id(create(client, KLING, duration="5")) for _ in range(2))
    sandbox.advance(500)
    assert record(client, first)["state"] == "generating"
    sandbox.advance(100)
    contents = [client.get(record(client, made)["response"]["resultUrls"][0]).content for made in (first, second)]
    assert contents[0] != contents[1]
    assert all(content[4:8] == b"ftyp" for content in contents)
    assert boxes(contents[0]) == ["ftyp", "moov", "free", "mdat", "free"]


def boxes(content: bytes) -> list[str]:
    names, start = [], 0
    while start < len(content):
        names.append(content[start + 4 : start + 8].decode())
        start += int.from_bytes(content[start : start + 4])
    assert start == len(content)
    return names


def test_result_is_not_there_before_the_task_is_done(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client))
    assert client.get(f"{sandbox.upload_url}/files/{made}-1.png").status_code == 404


def test_prompt_with_a_fail_mark_fails_and_gives_credits_back(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client, prompt="a fox [fail]"))
    assert sandbox.credits == 9996
    sandbox.advance(200)
    data = record(client, made)
    assert (data["state"], data["successFlag"], data["failCode"], data["resultJson"]) == ("fail", 3, "501", "")
    assert "[fail]" in data["failMsg"]
    assert sandbox.credits == 10_000
    assert sandbox.credits == 10_000


def test_prompt_with_a_slow_mark_takes_ten_times_as_long(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client, prompt="a fox [slow]"))
    sandbox.advance(1900)
    assert record(client, made)["state"] == "generating"
    sandbox.advance(100)
    assert record(client, made)["state"] == "success"


def test_sora_reports_progress(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client, "sora-2-text-to-video"))
    sandbox.advance(300)
    assert record(client, made)["progress"] == 50


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"model": "pika/v2", "input": {"prompt": "x"}}, "not supported"),
        ({"model": ["x"], "input": {"prompt": "x"}}, "not supported"),
        ({"input": {"prompt": "x"}}, "not supported"),
        ({"model": NANO}, "input"),
        ({"model": NANO, "input": "x"}, "input"),
        ({"model": NANO, "input": {}}, "prompt"),
        ({"model": NANO, "input": {"prompt": ""}}, "prompt"),
        ({"model": "google/nano-banana-edit", "input": {"prompt": "x", "image_urls": []}}, "image_urls"),
    ],
)
def test_invalid_create_is_code_422_and_makes_nothing(
    sandbox: Sandbox, client: httpx.Client, body: dict[str, Any], names: str
) -> None:
    answer = client.post("jobs/createTask", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (200, 422, None)
    assert names in answer.json()["msg"]
    assert sandbox.ledger == []
    assert sandbox.credits == 10_000


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_body_that_is_no_json_object_is_code_400(client: httpx.Client, content: bytes) -> None:
    assert client.post("jobs/createTask", content=content).json()["code"] == 400


def test_unknown_and_missing_task_ids(client: httpx.Client) -> None:
    unknown = client.get("jobs/recordInfo", params={"taskId": "nobody"})
    assert (unknown.status_code, unknown.json()) == (200, {"code": 422, "msg": "recordInfo is null", "data": None})
    assert client.get("jobs/recordInfo").json()["code"] == 400


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer", "Basic x", "key-of-the-tests"])
def test_wrong_or_missing_key_is_code_401_without_data(client: httpx.Client, authorization: str) -> None:
    client.headers["Authorization"] = authorization
    for method, path in (("POST", "jobs/createTask"), ("GET", "jobs/recordInfo"), ("GET", "chat/credit")):
        answer = client.request(method, path)
        assert answer.status_code == 200
        assert answer.json()["code"] == 401
        assert "data" not in answer.json()


def test_any_key_will_do_unless_one_is_set(connect: Connect) -> None:
    with Sandbox() as sandbox:
        client = connect(sandbox)
        client.headers["Authorization"] = "Bearer whatever"
        assert client.get("chat/credit").json() == {"code": 200, "msg": "success", "data": 10_000.0}


def test_balance_that_is_too_small_is_code_402(connect: Connect) -> None:
    with Sandbox(credits=7) as sandbox:
        client = connect(sandbox)
        assert create(client)["code"] == 200
        assert create(client)["code"] == 402
        assert len(sandbox.ledger) == 1
        assert client.get("chat/credit").json()["data"] == 3.0


@pytest.mark.parametrize(
    ("model", "arguments", "price"),
    [
        (NANO, {}, 4),
        ("nano-banana-2", {"resolution": "4K"}, 18),
        ("ideogram/v3-text-to-image", {"rendering_speed": "BALANCED"}, 7),
        ("ideogram/v3-remix", {"rendering_speed": "TURBO", "num_images": "2", "image_url": "https://a/b.png"}, 7),
        (KLING, {"duration": "10"}, 320),
        ("kling-2.6/text-to-video", {"duration": "5", "sound": True, "aspect_ratio": "1:1"}, 110),
        (
            "kling-3.0/video",
            {"duration": "3", "sound": False, "mode": "std", "aspect_ratio": "1:1", "multi_shots": False},
            42,
        ),
    ],
)
def test_price_follows_the_arguments(
    sandbox: Sandbox, client: httpx.Client, model: str, arguments: dict[str, Any], price: float
) -> None:
    made = task_id(create(client, model, **arguments))
    assert record(client, made)["creditsConsumed"] == price
    assert sandbox.credits == 10_000 - price


def test_rate_limit_is_a_sliding_window(sandbox: Sandbox, client: httpx.Client) -> None:
    assert [create(client)["code"] for _ in range(10)] == [200] * 10
    sandbox.advance(6)
    assert [create(client)["code"] for _ in range(11)] == [200] * 10 + [429]
    assert len(sandbox.ledger) == 20
    sandbox.advance(4)
    assert [create(client)["code"] for _ in range(11)] == [200] * 10 + [429]


def test_held_tasks_run_until_they_are_finished(connect: Connect) -> None:
    with Sandbox(hold=True, speed=100) as sandbox:
        client = connect(sandbox)
        good, bad = task_id(create(client)), task_id(create(client))
        sandbox.advance(3600)
        assert record(client, good)["state"] == "generating"
        sandbox.finish(good)
        sandbox.finish(bad, fail="the model is asleep")
        assert record(client, good)["state"] == "success"
        assert record(client, bad)["failMsg"] == "the model is asleep"
        assert sandbox.credits == 9996


def test_old_addresses_are_gone_and_can_be_had_back(client: httpx.Client, connect: Connect) -> None:
    for method, path in (("POST", "playground/createTask"), ("GET", "playground/recordInfo")):
        assert client.request(method, path, json={}).status_code == 404
    with Sandbox(old_paths=True, speed=0.01) as sandbox:
        old = connect(sandbox)
        assert old.post("jobs/createTask", json={}).status_code == 404
        assert old.get("jobs/recordInfo").status_code == 404
        made = task_id(create(old, path="playground/createTask"))
        assert record(old, made, "playground/recordInfo")["state"] == "waiting"
        assert sandbox.ledger[0].path == "playground/createTask"


def test_wrong_method_is_http_405(client: httpx.Client) -> None:
    assert client.get("jobs/createTask").status_code == 405


def test_catalogue_has_every_model_that_is_promised() -> None:
    families = ("nano-banana", "ideogram", "kling", "sora")
    counts = {family: sum(family in model for model in MODELS) for family in families}
    assert counts == {"nano-banana": 5, "ideogram": 7, "kling": 19, "sora": 8}


def test_download_url_takes_only_own_files(sandbox: Sandbox, client: httpx.Client) -> None:
    made = task_id(create(client))
    sandbox.advance(200)
    url = record(client, made)["response"]["resultUrls"][0]
    link = client.post("common/download-url", json={"url": url}).json()
    assert link["code"] == 200
    assert client.get(link["data"]).content == client.get(url).content
    for other in ("https://example.com/files/x.png", f"{sandbox.upload_url}/files/nobody-1.png", ""):
        assert client.post("common/download-url", json={"url": other}).json()["code"] == 422


def test_any_model_is_taken_where_that_is_wanted() -> None:
    with Sandbox(any_model=True, speed=1000) as sandbox, httpx.Client(base_url=sandbox.base_url) as client:
        client.headers["Authorization"] = "Bearer any"
        ids = [task_id(create(client, model)) for model in ("acme/paint-9", "acme/text-to-video", NANO)]
        sandbox.advance(10)
        results = [json.loads(record(client, made)["resultJson"])["resultUrls"] for made in ids]

    assert [url.rpartition(".")[2] for (url,) in results] == ["png", "mp4", "png"]
    assert [accepted.model for accepted in sandbox.ledger] == ["acme/paint-9", "acme/text-to-video", NANO]


@pytest.mark.parametrize(("model", "code"), [("tide/one", 200), ("kling/tide", 422), ("", 422), ("other/one", 422)])
def test_models_of_an_installed_provider_are_known(
    model: str, code: int, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plugin:
        @staticmethod
        def kie_describe_provider() -> Provider:
            return Provider("Tide", kinds=("video",), models=("tide/", "kling/"))

    class Entry:
        name = "tide"
        load = staticmethod(lambda: Plugin)

    class Broken:
        name = "broken"

        @staticmethod
        def load() -> None:
            raise ImportError

    monkeypatch.setattr(installed, "entry_points", lambda group: [Broken, Entry])
    for kept in (installed._claims, installed.models):
        kept.cache_clear()

    assert create(client, model)["code"] == code

    for kept in (installed._claims, installed.models):
        kept.cache_clear()
