"""fal's queue: readings of its answers, and the addresses of a request's status and result."""

from typing import Any

import pytest

from kie_ai_mcp import Accepted, Answer, Outcome, StatusRoute, Task
from kie_ai_mcp_fal import kie_normalize_result, kie_register_gateways, kie_route_status
from kie_ai_mcp_fal.queue import read_answer, result_outcome

APP = "https://queue.fal.run/fal-ai/pika/requests/r-1"
TASK = Task(
    "r-1",
    "pika-video",
    "pika",
    "video",
    model="fal-ai/pika/v2.2/text-to-video",
    gateway="fal",
    status_address=f"{APP}/status",
)
CLIP = "https://v3.fal.media/files/1.mp4"


def test_gateway_has_the_key_and_the_address_of_the_settings() -> None:
    (plain,) = kie_register_gateways({})
    assert (plain.key, plain.base_url, plain.authorization) == (None, "https://queue.fal.run", "Key {key}")
    assert "KIE_AI_PROVIDER_FAL_KEY" in plain.key_help
    (own,) = kie_register_gateways({"key": " k-1 ", "base_url": "https://relay.example/fal/"})
    assert (own.key, own.base_url) == ("k-1", "https://relay.example/fal")
    assert "k-1" not in repr(own)


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (200, {"request_id": "r"}, 200, ""),
        (202, {"status": "IN_QUEUE"}, 200, ""),
        (401, {"detail": "Authentication is required"}, 401, "Authentication is required"),
        (
            403,
            {"detail": "User is locked. Reason: Exhausted balance."},
            402,
            "User is locked. Reason: Exhausted balance.",
        ),
        (403, {"detail": "Forbidden"}, 403, "Forbidden"),
        (404, {"detail": "Application 'x' not found"}, 404, "Application 'x' not found"),
        (
            422,
            {
                "detail": [
                    {"loc": ["body", "prompt"], "msg": "field required"},
                    {"loc": ["body", "images", 0], "msg": "no"},
                ]
            },
            422,
            "prompt: field required; images.0: no",
        ),
        (500, {"error": "boom"}, 500, "boom"),
        (400, {"message": "bad"}, 400, "bad"),
        (500, "text", 500, "text"),
        (422, {"detail": [None, {"loc": 3}, []]}, 422, ""),
        (422, {}, 422, ""),
    ],
)
def test_answer_is_its_http_status_and_its_detail(status: int, body: Any, code: int, message: str) -> None:
    assert read_answer(status, body) == Answer(code, message, body)


@pytest.mark.parametrize(
    ("data", "accepted"),
    [
        ({"request_id": "r-1", "status_url": f"{APP}/status"}, Accepted("r-1", f"{APP}/status")),
        ({"request_id": "r-1"}, Accepted("r-1")),
        ({"request_id": "r-1", "status_url": "https://elsewhere.example/status"}, Accepted("r-1")),
        ({"request_id": "r-1", "status_url": "https://queue.fal.run.evil.example/x"}, Accepted("r-1")),
        ({"request_id": ""}, None),
        ({}, None),
        ([], None),
    ],
)
def test_accepted_request_has_an_id_and_an_address_below_the_service(data: Any, accepted: Accepted | None) -> None:
    (gateway,) = kie_register_gateways({})
    assert gateway.accept is not None
    assert gateway.accept(Answer(200, "", data)) == accepted
    assert gateway.accept(Answer(422, "no", data)) == accepted, "a task that is named counts whatever the code says"


def test_status_of_another_request_is_not_believed() -> None:
    finished = {"status": "COMPLETED", "request_id": "r-1", "response_url": APP}
    assert isinstance(kie_normalize_result(TASK, finished), StatusRoute)
    assert kie_normalize_result(TASK, {**finished, "request_id": "r-2"}) == Outcome("processing")


@pytest.mark.parametrize(
    ("task", "path"),
    [
        (TASK, f"{APP}/status"),
        (
            Task("r-1", "pika-video", "pika", model="fal-ai/pika/v2.2/x", gateway="fal"),
            "fal-ai/pika/requests/r-1/status",
        ),
        (Task("r/1", "x", "luma", model="luma/agent/ray", gateway="fal"), "luma/agent/requests/r%2F1/status"),
    ],
)
def test_status_is_read_where_the_answer_said_or_beside_the_model(task: Task, path: str) -> None:
    assert kie_route_status(task) == StatusRoute(path, {})


def test_tasks_of_other_services_are_left_alone() -> None:
    elsewhere = Task("t-1", "pika-video", "pika")
    assert kie_route_status(elsewhere) is None
    assert kie_normalize_result(elsewhere, {"status": "COMPLETED"}) is None


@pytest.mark.parametrize(
    ("payload", "outcome"),
    [
        ({"status": "IN_QUEUE", "queue_position": 3}, Outcome("pending")),
        ({"status": "IN_PROGRESS", "logs": []}, Outcome("processing")),
        ({"status": "PAUSED"}, Outcome("processing")),
        ({"status": None}, Outcome("processing")),
        ({}, Outcome("processing")),
        (
            {"status": "COMPLETED", "error": "too slow", "error_type": "request_timeout"},
            Outcome("failed", error="too slow", error_code="request_timeout", progress=1.0),
        ),
        ({"status": "CANCELLED"}, Outcome("failed", error="fal gave no reason", progress=1.0)),
    ],
)
def test_status_words_are_ours(payload: dict[str, Any], outcome: Outcome) -> None:
    assert kie_normalize_result(TASK, payload) == outcome


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (APP, APP),
        (f"{APP}/response", f"{APP}/response"),
        (None, APP),
        ("https://elsewhere.example/r-1", APP),
        ("https://queue.fal.run/fal-ai/pika/requests/r-2", APP),
    ],
)
def test_completed_request_is_read_on_at_its_own_result(address: object, path: str) -> None:
    route = kie_normalize_result(TASK, {"status": "COMPLETED", "response_url": address})
    assert route == StatusRoute(path, {}, read=result_outcome)


@pytest.mark.parametrize(
    ("data", "urls"),
    [
        ({"video": {"url": CLIP, "content_type": "video/mp4"}}, (CLIP,)),
        ({"video": {"url": CLIP}, "thumbnail": {"url": "https://v3.fal.media/t.png"}}, (CLIP,)),
        ({"images": [{"url": "https://a.example/1.png"}, {"url": "https://a.example/2.png"}]}, None),
        ({"model_glb": {"url": "https://a.example/1.glb"}}, ("https://a.example/1.glb",)),
        ({}, ()),
        (None, ()),
    ],
)
def test_result_is_every_address_of_what_was_asked_for(data: Any, urls: tuple[str, ...] | None) -> None:
    expected = ("https://a.example/1.png", "https://a.example/2.png") if urls is None else urls
    assert result_outcome(Answer(200, "", data)) == Outcome("completed", expected, progress=1.0)


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (Answer(422, "prompt: field required", {}), "prompt: field required", 422),
        (Answer(500, "Internal Server Error", {}), "Internal Server Error", 500),
        (Answer(504, "too slow", {"error_type": "request_timeout"}), "too slow", "request_timeout"),
        (Answer(400, "", None), "fal gave no reason", 400),
    ],
)
def test_error_where_the_result_should_be_is_a_failure(answer: Answer, error: str, code: int | str) -> None:
    assert result_outcome(answer) == Outcome("failed", error=error, error_code=code, progress=1.0)


@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(code, "no", {"detail": "no"}) for code in (401, 402, 403, 404, 408, 429, 502, 503, 504)),
        Answer(400, "Request is still in progress", {"detail": "Request is still in progress"}),
    ],
    ids=lambda answer: str(answer.code),
)
def test_answer_that_says_nothing_of_the_request_is_no_failure(answer: Answer) -> None:
    assert result_outcome(answer) is None
