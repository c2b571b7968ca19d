"""Families with endpoints of their own, each with its own answers."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from kie_ai_mcp_sandbox.app import FAMILIES
from kie_ai_mcp_sandbox.server import Sandbox

Connect = Callable[[Sandbox], httpx.Client]

PROMPT = {"prompt": "a fox"}
CLIP = {**PROMPT, "videoUrl": "https://example.com/a.mp4"}
RUNWAY = {**PROMPT, "duration": 5, "quality": "720p", "aspectRatio": "16:9"}
MJ = {**PROMPT, "taskType": "mj_txt2img"}

# Fields of the requests below that may be left out.
OPTIONAL = {"nVariants", "model"}


@dataclass(frozen=True)
class Case:
    """One family.

    `running`, `success` and `failed` are parts of its record, `done` and `refused` of its callback; in all of them
    ``{files}`` stands for the address of the files and ``{id}`` for the task's id.
    """

    path: str
    status: str
    body: dict[str, Any]
    credits: float
    running: dict[str, Any]
    success: dict[str, Any]
    failed: dict[str, Any]
    done: dict[str, Any]
    refused: dict[str, Any]
    unknown: tuple[int, str]
    times: str = "ms"


CASES = {
    "veo": Case(
        "veo/generate",
        "veo/record-info",
        PROMPT,
        60,
        {"successFlag": 0, "response": None, "errorCode": None, "errorMessage": ""},
        {"successFlag": 1, "response": {"taskId": "{id}", "resultUrls": ["{files}{id}-1.mp4"], "resolution": "720p"}},
        {"successFlag": 3, "response": None, "errorCode": 501},
        {"code": 200, "data.taskId": "{id}", "data.info": {"resultUrls": ["{files}{id}-1.mp4"], "resolution": "720p"}},
        {"code": 501, "data.taskId": "{id}", "data.info": ...},
        (422, "record is null"),
    ),
    "gpt4o-image": Case(
        "gpt4o-image/generate",
        "gpt4o-image/record-info",
        {**PROMPT, "size": "3:2", "nVariants": 2},
        12,
        {"status": "GENERATING", "successFlag": 0, "progress": "0.50", "response": None, "errorCode": None},
        {
            "status": "SUCCESS",
            "successFlag": 1,
            "progress": "1.00",
            "response": {"resultUrls": ["{files}{id}-1.png", "{files}{id}-2.png"]},
        },
        {"status": "GENERATE_FAILED", "successFlag": 2, "response": None, "errorCode": 500},
        {"code": 200, "data.info": {"result_urls": ["{files}{id}-1.png", "{files}{id}-2.png"]}},
        {"code": 500, "data.info": None, "data.taskId": "{id}"},
        (422, "The record does not exist"),
    ),
    "flux-kontext": Case(
        "flux/kontext/generate",
        "flux/kontext/record-info",
        {**PROMPT, "model": "flux-kontext-max"},
        10,
        {"successFlag": 0, "response": None, "errorCode": None},
        {
            "successFlag": 1,
            "response": {"originImageUrl": "{files}{id}-1-origin.jpg", "resultImageUrl": "{files}{id}-1.jpg"},
        },
        {"successFlag": 3, "response": None, "errorCode": 501},
        {
            "code": 200,
            "data.info": {"originImageUrl": "{files}{id}-1-origin.jpg", "resultImageUrl": "{files}{id}-1.jpg"},
        },
        {"code": 501, "data.info": {"originImageUrl": "", "resultImageUrl": ""}},
        (422, "The record does not exist"),
        times="iso",
    ),
    "runway": Case(
        "runway/generate",
        "runway/record-detail",
        RUNWAY,
        12,
        {"state": "generating", "videoInfo": None, "failCode": 0, "failMsg": "", "expireFlag": 0, "parentTaskId": ""},
        {
            "state": "success",
            "videoInfo": {
                "videoId": "video-{id}",
                "taskId": "{id}",
                "videoUrl": "{files}{id}-1.mp4",
                "imageUrl": "{files}{id}-1-cover.png",
            },
        },
        {"state": "fail", "videoInfo": None, "failCode": 400},
        {
            "code": 200,
            "data": {
                "task_id": "{id}",
                "video_id": "video-{id}",
                "video_url": "{files}{id}-1.mp4",
                "image_url": "{files}{id}-1-cover.png",
            },
        },
        {"code": 400, "data": {"task_id": "{id}", "video_id": "", "video_url": "", "image_url": ""}},
        (200, "success"),
        times="day",
    ),
    "aleph": Case(
        "aleph/generate",
        "aleph/record-info",
        CLIP,
        110,
        {"successFlag": 0, "response": None, "errorCode": None, "errorMessage": None},
        {
            "successFlag": 1,
            "response": {
                "taskId": "{id}",
                "resultVideoUrl": "{files}{id}-1.mp4",
                "resultImageUrl": "{files}{id}-1-cover.png",
            },
        },
        {"successFlag": 3, "response": None, "errorCode": 500},
        {
            "code": 200,
            "taskId": "{id}",
            "data": {"result_video_url": "{files}{id}-1.mp4", "result_image_url": "{files}{id}-1-cover.png"},
        },
        {"code": 400, "taskId": "{id}", "data": None},
        (200, "success"),
    ),
    "midjourney": Case(
        "mj/generate",
        "mj/record-info",
        MJ,
        8,
        {"successFlag": 0, "taskType": "mj_txt2img", "resultInfoJson": None, "errorCode": None},
        {
            "successFlag": 1,
            "resultInfoJson": {"resultUrls": [{"resultUrl": f"{{files}}{{id}}-{n}.png"} for n in range(1, 5)]},
        },
        {"successFlag": 3, "resultInfoJson": None, "errorCode": 500},
        {"code": 200, "data.taskId": "{id}", "data.resultUrls": [f"{{files}}{{id}}-{n}.png" for n in range(1, 5)]},
        {"code": 500, "data.taskId": "{id}", "data.resultUrls": []},
        (422, "The record does not exist"),
        times="iso",
    ),
    "modify": Case(
        "modify/generate",
        "modify/record-info",
        CLIP,
        100,
        {"successFlag": 0, "response": None, "errorCode": None},
        {
            "successFlag": 1,
            "response": {
                "taskId": "{id}",
                "originUrls": ["{files}{id}-1-origin.mp4"],
                "resultUrls": ["{files}{id}-1.mp4"],
            },
        },
        {"successFlag": 3, "response": None, "errorCode": 501},
        {"code": 200, "data.resultUrls": ["{files}{id}-1.mp4"]},
        {"code": 500, "data.resultUrls": []},
        (422, "The record does not exist"),
    ),
}

TIMES = {"iso": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "ms": r"\d{13}"}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def create(client: httpx.Client, path: str, body: dict[str, Any]) -> str:
    answer = client.post(path, json=body).json()
    assert (answer["code"], set(answer["data"])) == (200, {"taskId"}), answer
    return str(answer["data"]["taskId"])


def record(client: httpx.Client, path: str, task_id: str) -> dict[str, Any]:
    answer = client.get(path, params={"taskId": task_id}).json()
    assert answer["code"] == 200, answer
    read: dict[str, Any] = answer["data"]
    return read


def holds(value: dict[str, Any], part: dict[str, Any], sandbox: Sandbox, task_id: str) -> None:
    """Each entry of `part` is in `value`; dots lead inwards, ``...`` stands for "not there"."""
    filled = json.dumps({name: None if wanted is ... else wanted for name, wanted in part.items()})
    filled = filled.replace("{files}", f"{sandbox.upload_url}/files/").replace("{id}", task_id)
    for name, wanted in json.loads(filled).items():
        place: Any = value
        *outer, last = name.split(".")
        for step in outer:
            place = place[step]
        if part[name] is ...:
            assert last not in place
        else:
            assert place[last] == wanted, name


def end(sandbox: Sandbox, task_id: str) -> dict[str, Any]:
    """End a task's time; the body of its callback."""
    sandbox.advance(1000)
    task = sandbox.tasks[task_id]
    return task.family.callback(task, task.ends)


def test_every_family_has_a_case() -> None:
    assert [family.name for family in FAMILIES] == [
        "veo",
        "gpt4o-image",
        "flux-kontext",
        "runway",
        "aleph",
        "midjourney",
        "modify",
    ]
    assert set(CASES) == {family.name for family in FAMILIES}


def test_record_while_running_and_after(sandbox: Sandbox, client: httpx.Client, case: Case) -> None:
    made = create(client, case.path, case.body)
    sandbox.advance(sandbox.tasks[made].duration_s / 2)
    holds(record(client, case.status, made), {"taskId": "{id}", **case.running}, sandbox, made)
    callback = end(sandbox, made)
    data = record(client, case.status, made)
    holds(data, case.success, sandbox, made)
    holds(callback, case.done, sandbox, made)
    for url in re.findall(r'"(http://127[^"]+)"', json.dumps(data)):
        answer = client.get(url)
        assert answer.status_code == 200, url
        assert answer.content[:2] == b"\xff\xd8" or answer.content[1:4] == b"PNG" or answer.content[4:8] == b"ftyp"


def test_record_of_a_failed_task(sandbox: Sandbox, client: httpx.Client, case: Case) -> None:
    made = create(client, case.path, {**case.body, "prompt": "a fox [fail]"})
    assert sandbox.credits == 10_000 - case.credits
    callback = end(sandbox, made)
    data = record(client, case.status, made)
    holds(data, case.failed, sandbox, made)
    assert "[fail]" in str(data.get("errorMessage") or data.get("failMsg"))
    holds(callback, case.refused, sandbox, made)
    assert "[fail]" in callback["msg"]
    assert sandbox.credits == 10_000


def test_times_have_the_familys_form(sandbox: Sandbox, client: httpx.Client, case: Case) -> None:
    made = create(client, case.path, case.body)
    running = record(client, case.status, made)
    if case.times == "day":
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", running["generateTime"])
        return
    assert running["completeTime"] is None
    end(sandbox, made)
    done = record(client, case.status, made)
    for name in ("createTime", "completeTime"):
        assert isinstance(done[name], int if case.times == "ms" else str)
        assert re.fullmatch(TIMES[case.times], str(done[name]))


def test_request_can_be_read_back_as_json_text(client: httpx.Client, case: Case) -> None:
    data = record(client, case.status, create(client, case.path, case.body))
    if "paramJson" in data:
        assert json.loads(data["paramJson"]) == case.body
    else:
        assert data["generateParam"] == {"prompt": "a fox", "imageUrl": "", "expandPrompt": True}


def test_unknown_id_is_answered_in_the_familys_way(client: httpx.Client, case: Case) -> None:
    code, message = case.unknown
    answer = client.get(case.status, params={"taskId": "nobody"})
    assert (answer.status_code, answer.json()) == (200, {"code": code, "msg": message, "data": None})


def test_family_does_not_know_tasks_of_others(client: httpx.Client, case: Case) -> None:
    made = create(client, case.path, case.body)
    assert client.get("jobs/recordInfo", params={"taskId": made}).json()["msg"] == "recordInfo is null"
    for other in CASES.values():
        if other is not case:
            assert client.get(other.status, params={"taskId": made}).json()["data"] is None


def test_missing_field_is_code_422(sandbox: Sandbox, client: httpx.Client, case: Case) -> None:
    for name in case.body.keys() - OPTIONAL:
        answer = client.post(case.path, json={**case.body, name: ""}).json()
        assert (answer["code"], answer["data"]) == (422, None)
        assert name in answer["msg"]
    assert sandbox.ledger == []


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("veo/generate", {**PROMPT, "model": "veo9"}, "model"),
        ("veo/generate", {**PROMPT, "duration": 7}, "duration"),
        ("veo/extend", {**PROMPT, "taskId": "nobody"}, "record"),
        ("gpt4o-image/generate", {"size": "1:1"}, "prompt or filesUrl"),
        ("gpt4o-image/generate", {**PROMPT, "size": "16:9"}, "size"),
        ("gpt4o-image/generate", {**PROMPT, "size": "1:1", "nVariants": 3}, "nVariants"),
        ("flux/kontext/generate", {**PROMPT, "model": "flux"}, "model"),
        ("flux/kontext/generate", {**PROMPT, "inputImage": "https://a/b.png", "safetyTolerance": 3}, "safetyTolerance"),
        ("runway/generate", {**RUNWAY, "duration": 10, "quality": "1080p"}, "exclude"),
        ("runway/generate", {**PROMPT, "duration": "5", "quality": "720p"}, "aspectRatio"),
        ("runway/extend", {**PROMPT, "taskId": "nobody", "quality": "720p"}, "record"),
        ("mj/generate", {**MJ, "taskType": "mj_img2img"}, "fileUrls"),
        ("mj/generate", {**MJ, "taskType": "mj_video", "fileUrl": "https://a/b.png"}, "motion"),
        ("mj/generate", {**MJ, "taskType": "mj_dream"}, "taskType"),
    ],
)
def test_impossible_request_is_refused(
    sandbox: Sandbox, client: httpx.Client, path: str, body: dict[str, Any], says: str
) -> None:
    answer = client.post(path, json=body).json()
    assert answer["code"] == 422
    assert says in answer["msg"]
    assert sandbox.ledger == []


@pytest.mark.parametrize(
    ("body", "price"),
    [({"model": "veo3"}, 250), ({"model": "veo3_lite", "resolution": "4k"}, 150), ({"resolution": "1080p"}, 65)],
)
def test_veo_price_follows_model_and_resolution(
    sandbox: Sandbox, client: httpx.Client, body: dict[str, Any], price: float
) -> None:
    create(client, "veo/generate", {**PROMPT, **body})
    assert sandbox.credits == 10_000 - price


def test_veo_clip_that_is_not_16_to_9_has_an_original(sandbox: Sandbox, client: httpx.Client) -> None:
    made = create(client, "veo/generate", {**PROMPT, "aspect_ratio": "9:16"})
    callback = end(sandbox, made)
    data = record(client, "veo/record-info", made)
    assert json.loads(data["paramJson"])["aspectRatio"] == "9:16"
    assert data["response"]["originUrls"] == [f"{sandbox.upload_url}/files/{made}-1-origin.mp4"]
    assert callback["data"]["info"]["originUrls"] == data["response"]["originUrls"]


def test_veo_extension_needs_a_finished_clip_and_has_the_whole(sandbox: Sandbox, client: httpx.Client) -> None:
    first = create(client, "veo/generate", PROMPT)
    assert client.post("veo/extend", json={**PROMPT, "taskId": first}).json()["code"] == 422
    end(sandbox, first)
    second = create(client, "veo/extend", {**PROMPT, "taskId": first, "model": "lite"})
    end(sandbox, second)
    assert record(client, "veo/record-info", second)["response"]["fullResultUrls"]
    assert sandbox.tasks[second].parent == first
    assert sandbox.credits == 10_000 - 60 - 30


def test_1080p_is_code_400_until_it_is_ready_and_paid_once(sandbox: Sandbox, client: httpx.Client) -> None:
    made = create(client, "veo/generate", PROMPT)

    def ask(**more: Any) -> dict[str, Any]:
        answer: dict[str, Any] = client.get("veo/get-1080p-video", params={"taskId": made, **more}).json()
        return answer

    assert ask()["code"] == 422
    end(sandbox, made)
    assert [ask()["code"] for _ in range(2)] == [400, 400]
    assert "processing" in ask()["msg"]
    sandbox.advance(300)
    answer = ask()
    assert answer["code"] == 200
    assert client.get(answer["data"]["resultUrl"]).content[4:8] == b"ftyp"
    assert ask(index=0) == answer
    assert ask(index=1)["code"] == ask(index="x")["code"] == 422
    assert sandbox.credits == 10_000 - 60 - 5
    assert client.post("veo/extend", json={**PROMPT, "taskId": made}).json()["code"] == 422
    assert len(sandbox.ledger) == 1


def test_4k_is_code_422_on_every_later_call_also_when_it_is_done(sandbox: Sandbox, client: httpx.Client) -> None:
    made = create(client, "veo/generate", PROMPT)

    def ask() -> dict[str, Any]:
        answer: dict[str, Any] = client.post("veo/get-4k-video", json={"taskId": made}).json()
        return answer

    assert ask()["code"] == 422
    end(sandbox, made)
    first = ask()
    larger = first["data"]["taskId"]
    nothing = {"taskId": larger, "resultUrls": None, "imageUrls": None}
    assert (first["code"], first["data"]) == (200, nothing)
    assert larger != made
    running = ask()
    assert (running["code"], running["data"]) == (422, nothing)
    assert "processing" in running["msg"]
    callback = end(sandbox, larger)
    done = ask()
    files = f"{sandbox.upload_url}/files/{larger}"
    lists = {"resultUrls": [f"{files}-1-4k.mp4"], "imageUrls": [f"{files}-1-4k.png"]}
    assert (done["code"], done["data"]) == (422, {"taskId": larger, **lists})
    assert "generated" in done["msg"]
    assert callback["data"] == {"taskId": larger, "info": lists}
    response = record(client, "veo/record-info", larger)["response"]
    assert response == {"taskId": larger, "mediaIds": [f"media-{larger}"], **lists}
    assert all(client.get(url).status_code == 200 for url in lists["resultUrls"] + lists["imageUrls"])
    assert sandbox.credits == 10_000 - 60 - 120
    assert [accepted.path for accepted in sandbox.ledger] == ["veo/generate", "veo/get-4k-video"]


def test_4k_that_fails_is_code_500(sandbox: Sandbox, client: httpx.Client) -> None:
    made = create(client, "veo/generate", PROMPT)
    end(sandbox, made)
    larger = client.post("veo/get-4k-video", json={"taskId": made}).json()["data"]["taskId"]
    sandbox.finish(larger, fail="too dark")
    assert client.post("veo/get-4k-video", json={"taskId": made}).json()["code"] == 500
    assert sandbox.credits == 10_000 - 60


def test_gpt4o_download_url_is_for_its_own_pictures(sandbox: Sandbox, client: httpx.Client) -> None:
    made = create(client, "gpt4o-image/generate", {**PROMPT, "size": "1:1"})
    end(sandbox, made)
    url = f"{sandbox.upload_url}/files/{made}-1.png"
    answer = client.post("gpt4o-image/download-url", json={"taskId": made, "url": url}).json()
    assert client.get(answer["data"]).content == client.get(url).content
    other = client.post("gpt4o-image/download-url", json={"taskId": made, "url": "https://a/b.png"}).json()
    assert (other["code"], other["msg"]) == (422, "url is wrong")
    unknown = client.post("gpt4o-image/download-url", json={"taskId": "nobody", "url": url}).json()
    assert (unknown["code"], unknown["msg"]) == (422, "record is null")


def test_runway_has_its_own_words_for_the_states(sandbox: Sandbox, client: httpx.Client) -> None:
    made = create(client, "runway/generate", RUNWAY)
    states = []
    for seconds in (0, 100, 100, 400):
        sandbox.advance(seconds)
        states.append(record(client, "runway/record-detail", made)["state"])
    assert states == ["wait", "queueing", "generating", "success"]


def test_runway_extension_names_its_parent_and_fails_with_its_id_alone(sandbox: Sandbox, client: httpx.Client) -> None:
    first = create(client, "runway/generate", RUNWAY)
    end(sandbox, first)
    body = {"taskId": first, "prompt": "on and on [fail]", "quality": "1080p"}
    second = create(client, "runway/extend", body)
    assert record(client, "runway/record-detail", second)["parentTaskId"] == first
    assert end(sandbox, second)["data"] == {"task_id": second}


@pytest.mark.parametrize(("size", "count"), [(None, 1), (4, 4)])
def test_midjourney_makes_clips_too(sandbox: Sandbox, client: httpx.Client, size: int | None, count: int) -> None:
    body = {**MJ, "taskType": "mj_video", "fileUrl": "https://a/b.png", "motion": "low", "videoBatchSize": size}
    made = create(client, "mj/generate", body)
    end(sandbox, made)
    urls = [entry["resultUrl"] for entry in record(client, "mj/record-info", made)["resultInfoJson"]["resultUrls"]]
    assert urls == [f"{sandbox.upload_url}/files/{made}-{n}.mp4" for n in range(1, count + 1)]


def test_rate_limit_counts_every_family(connect: Connect) -> None:
    with Sandbox(rate_limit=3) as sandbox:
        client = connect(sandbox)
        for path, body in (("veo/generate", PROMPT), ("mj/generate", MJ), ("modify/generate", CLIP)):
            create(client, path, body)
        assert client.post("aleph/generate", json=CLIP).json()["code"] == 429
