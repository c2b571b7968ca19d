"""Queue protocol of fal: answers, the address of a request's status, the address of its result.

fal accepts a request with an id and addresses. The status is read until it is COMPLETED, which a failed request
becomes too; the result, or the reason of the failure, is read at a second address.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from kie_ai_mcp import Accepted, Answer, Outcome, StatusRoute, Task
from kie_ai_mcp.readings import code_in, text_in, urls_in

GATEWAY = "fal"
QUEUE = "https://queue.fal.run"
KEYS_PAGE = "https://fal.ai/dashboard/keys"
LOGS_PAGE = "https://fal.ai/dashboard/requests"

RUNNING = {"IN_QUEUE": "pending", "IN_PROGRESS": "processing"}
"""Words of fal for a running request, and ours; a word in neither table means `processing`."""

COMPLETED = "COMPLETED"
FAILED = ("FAILED", "ERROR", "CANCELED", "CANCELLED")
"""Words that only third-party descriptions of fal mention."""

RESULTS = ("video", "videos", "images", "image")
"""Fields of a result that hold the requested files; other fields hold previews and thumbnails."""

NOT_OF_THE_TASK = (401, 402, 403, 404, 408, 429, 502, 503, 504)
"""Codes at the result's address about the key, the account or a temporary fault, not about the request."""

NOT_YET = "still in progress"
NO_REASON = "fal gave no reason"
EMPTY_ACCOUNT = "balance"
MESSAGE_CHARS = 500


def read_answer(status: int, body: Any) -> Answer:
    """Read an answer: the HTTP status is the code, `detail` the reason; 402 replaces fal's 403 for an empty account."""
    if 200 <= status < 300:
        return Answer(200, "", body)
    detail = body.get("detail", body.get("error", body.get("message"))) if isinstance(body, Mapping) else body
    message = _reason(detail)
    code = 402 if status == 403 and EMPTY_ACCOUNT in message.lower() else status
    return Answer(code, message, body)


def accepted(answer: Answer, base_url: str) -> Accepted | None:
    """Return the request's id, whatever the code says; its status address if that is below `base_url`."""
    data = answer.data if isinstance(answer.data, Mapping) else {}
    request_id = text_in(data.get("request_id"))
    if request_id is None:
        return None
    address = text_in(data.get("status_url")) or ""
    # A relay may pass on fal's own addresses, which refuse the relay's key; then the path is built from the model's id.
    return Accepted(request_id, address if address.startswith(f"{base_url}/") else "")


def status_route(task: Task) -> StatusRoute | None:
    """Return the status route of a request; None for a task that fal did not make."""
    if task.gateway != GATEWAY:
        return None
    return StatusRoute(_status_address(task), {})


def task_outcome(task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute | None:
    """Return the outcome of a status; for a completed request, the route to its result."""
    if task.gateway != GATEWAY:
        return None
    if text_in(payload.get("request_id")) not in {None, task.task_id}:
        return Outcome("processing")  # the answer is about another request
    word = str(payload.get("status")).strip().upper()
    error = payload.get("error")
    if word in FAILED or (word == COMPLETED and error):
        return Outcome(
            "failed", error=_reason(error) or NO_REASON, error_code=code_in(payload.get("error_type")), progress=1.0
        )
    if word == COMPLETED:
        return StatusRoute(_result_address(task, payload.get("response_url")), {}, read=result_outcome)
    return Outcome("pending" if RUNNING.get(word) == "pending" else "processing")


def result_outcome(answer: Answer) -> Outcome | None:
    """Return the outcome of the answer at the result's address; None where it is not about the request."""
    if answer.code == 200:
        data = answer.data if isinstance(answer.data, Mapping) else {}
        urls = urls_in(*(data.get(name) for name in RESULTS)) or urls_in(*data.values())
        return Outcome("completed", urls, progress=1.0)
    failure = answer.data if isinstance(answer.data, Mapping) else {}
    error_type = text_in(failure.get("error_type"))
    if (answer.code in NOT_OF_THE_TASK and error_type is None) or NOT_YET in answer.message.lower():
        return None
    return Outcome(
        "failed", error=answer.message or NO_REASON, error_code=code_in(error_type) or answer.code, progress=1.0
    )


def _status_address(task: Task) -> str:
    if task.status_address:
        return task.status_address
    # The address in the queue consists of the first two parts of the model's id.
    app = "/".join((task.model or task.path).strip("/").split("/")[:2])
    return f"{app}/requests/{quote(task.task_id, safe='')}/status"


def _result_address(task: Task, response_url: object) -> str:
    status = _status_address(task)
    origin = "/".join(status.split("/")[:3])
    if isinstance(response_url, str) and response_url.startswith(f"{origin}/") and task.task_id in response_url:
        return response_url
    return status.rpartition("/status")[0] or status


def _reason(detail: Any) -> str:
    """Return a reason as text; fal sends text, or a list with one entry for each wrong field."""
    if isinstance(detail, list):
        return "; ".join(filter(None, (_reason(entry) for entry in detail)))[:MESSAGE_CHARS]
    if isinstance(detail, Mapping):
        place = detail.get("loc")
        field = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
        message = text_in(detail.get("msg")) or text_in(detail.get("message")) or ""
        return f"{field}: {message}" if field else message
    return (text_in(detail) or "")[:MESSAGE_CHARS]
