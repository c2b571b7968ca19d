"""fal's queue protocol below /fal, as a client sees it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kie_ai_mcp_sandbox.fal import MODELS
from kie_ai_mcp_sandbox.server import Sandbox

PIKA = "fal-ai/pika/v2.2/text-to-video"
SENT = {"Authorization": "Key k"}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(key="k", hold=True) as sandbox:
        yield sandbox


def submit(sandbox: Sandbox, model: str = PIKA, **body: Any) -> httpx.Response:
    return httpx.post(f"{sandbox.fal_url}/{model}", json={"prompt": "a heron", **body}, headers=SENT)


def read(address: str) -> httpx.Response:
    return httpx.get(address, headers=SENT)


def test_request_goes_through_the_states_to_its_result() -> None:
    with Sandbox(key="k", speed=0.01) as sandbox:
        queued = submit(sandbox).json()
        address = f"{sandbox.fal_url}/fal-ai/pika/requests/{queued['request_id']}"
        assert (queued["status_url"], queued["response_url"]) == (f"{address}/status", address)
        states = []
        for _ in range(3):
            status = read(queued["status_url"])
            states.append((status.status_code, status.json()["status"]))
            sandbox.advance(300)
        assert states == [(202, "IN_QUEUE"), (202, "IN_PROGRESS"), (200, "COMPLETED")]
        result = read(queued["response_url"])
        assert result.status_code == 200
        assert httpx.get(result.json()["video"]["url"]).content[4:8] == b"ftyp"


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_result_of_its_kind(model: str, sandbox: Sandbox) -> None:
    queued = submit(sandbox, model, image_url="https://a.example/a.png", video_url="https://a.example/a.mp4").json()
    sandbox.finish(queued["request_id"])
    result = read(queued["response_url"]).json()
    assert next(iter(result)) == ("video" if MODELS[model].kind == "video" else "images")


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer k"}, {"Authorization": "Key wrong"}])
def test_key_is_sent_in_fals_own_way(header: dict[str, str], sandbox: Sandbox) -> None:
    answer = httpx.post(f"{sandbox.fal_url}/{PIKA}", json={"prompt": "a heron"}, headers=header)
    assert (answer.status_code, list(answer.json())) == (401, ["detail"])
    assert sandbox.ledger == []


def test_what_is_not_there_is_404(sandbox: Sandbox) -> None:
    assert submit(sandbox, "fal-ai/nothing").status_code == 404
    queued = submit(sandbox).json()
    assert read(queued["status_url"].replace(queued["request_id"], "nobody")).status_code == 404
    assert read(queued["status_url"].replace("/pika/", "/sora-2/")).status_code == 404


def test_result_is_not_there_before_the_end(sandbox: Sandbox) -> None:
    answer = read(submit(sandbox).json()["response_url"])
    assert (answer.status_code, answer.json()["detail"]) == (400, "Request is still in progress")


def test_missing_argument_is_accepted_and_reported_with_the_result(sandbox: Sandbox) -> None:
    queued = submit(sandbox, "fal-ai/pika/v2.2/image-to-video").json()
    sandbox.finish(queued["request_id"])
    answer = read(queued["response_url"])
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "image_url"]


def test_failure_is_completed_and_reported_with_the_result(sandbox: Sandbox) -> None:
    queued = submit(sandbox).json()
    sandbox.finish(queued["request_id"], fail="no herons")
    assert read(queued["status_url"]).json()["status"] == "COMPLETED"
    answer = read(queued["response_url"])
    assert (answer.status_code, answer.json()["detail"]) == (500, "no herons")


def test_account_and_limit_are_the_sandboxes() -> None:
    with Sandbox(key="k", credits=50, rate_limit=2) as sandbox:
        assert submit(sandbox).status_code == 200
        assert "balance" in submit(sandbox).json()["detail"]
        sandbox.advance(20)
        assert submit(sandbox, "fal-ai/playground-v25").status_code == 200
        assert submit(sandbox, "fal-ai/playground-v25").status_code == 200
        assert submit(sandbox, "fal-ai/playground-v25").status_code == 429


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("http:503", 503, {"detail": "error"}),
        ("code:422", 422, {"detail": "The request is not valid."}),
        ("429:3", 429, {"detail": "Too many requests."}),
        ("no-task-id", 200, {"status": "IN_QUEUE"}),
    ],
)
def test_faults_speak_fals_language(fault: str, status: int, body: dict[str, Any], sandbox: Sandbox) -> None:
    sandbox.play(fault, path="/fal/")
    answer = submit(sandbox)
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)
    assert len(sandbox.ledger) == (fault == "no-task-id")


def test_key_is_echoed_as_it_was_sent(sandbox: Sandbox) -> None:
    sandbox.play("echo-key", path="/fal/")
    detail = submit(sandbox).json()["detail"]
    assert "Authorization: Key k " in detail
    assert "?key=k)" in detail


def test_same_request_id_can_come_twice(sandbox: Sandbox) -> None:
    first = submit(sandbox).json()["request_id"]
    sandbox.play("same-task-id", path="/fal/")
    assert submit(sandbox).json()["request_id"] == first
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("fault", ["drop-after", "drop-before", "cut"])
def test_faults_of_the_connection_are_played_as_well(fault: str, sandbox: Sandbox) -> None:
    sandbox.play(fault, path="/fal/")
    with pytest.raises(httpx.HTTPError):
        submit(sandbox)
    assert len(sandbox.ledger) == (fault != "drop-before")
