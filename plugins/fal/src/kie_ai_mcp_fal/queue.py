"""fal's queue protocol: how its answers are read, where a request's status and its result stand.

A request is accepted with an id and its addresses. Its status is read until it is COMPLETED, which is said of
failures too; the result, or why there is none, is read at an address of its own.
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
"""fal's words for a request that has not ended, and ours; a word that is in neither table is `processing`."""

COMPLETED = "COMPLETED"
FAILED = ("FAILED", "ERROR", "CANCELED", "CANCELLED")
"""Words that fal's own pages don't have, and descriptions of it by others do."""

RESULTS = ("video", "videos", "images", "image")
"""Fields of a result that hold what was asked for; previews and thumbnails stand beside them."""

NOT_OF_THE_TASK = (401, 402, 403, 404, 408, 429, 502, 503, 504)
"""Codes at the result's address that speak of the key, the account or the moment, not of the request itself."""

NOT_YET = "still in progress"
NO_REASON = "fal gave no reason"
EMPTY_ACCOUNT = "balance"
MESSAGE_CHARS = 500


def read_answer(status: int, body: Any) -> Answer:
    """Read an answer: its HTTP status is its code, `detail` its reason; an empty account is 402 here, 403 there."""
    if 200 <= status < 300:
        return Answer(200, "", body)
    detail = body.get("detail", body.get("error", body.get("message"))) if isinstance(body, Mapping) else body
    message = _reason(detail)
    code = 402 if status == 403 and EMPTY_ACCOUNT in message.lower() else status
    return Answer(code, message, body)


def accepted(answer: Answer, base_url: str) -> Accepted | None:
    """Return the request's id and where its status is read, as far as that is below the service's address."""
    data = answer.data if isinstance(answer.data, Mapping) else {}
    request_id = text_in(data.get("request_id"))
    if answer.code != 200 or request_id is None:
        return None
    address = text_in(data.get("status_url")) or ""
    # A relay may pass on fal's own addresses, where its key is no good; then the path is made from the model's.
    return Accepted(request_id, address if address.startswith(f"{base_url}/") else "")


def status_route(task: Task) -> StatusRoute | None:
    """Return where a request's status is read; None for a task that fal did not make."""
    if task.gateway != GATEWAY:
        return None
    return StatusRoute(_status_address(task), {})


def task_outcome(task: Task, payload: Mapping[str, Any]) -> Outcome | StatusRoute | None:
    """Return what a status means; of a completed request, where its result is read."""
    if task.gateway != GATEWAY:
        return None
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
    """Return what the answer at the result's address means; None where it says nothing of the request itself."""
    if answer.code == 200:
        data = answer.data if isinstance(answer.data, Mapping) else {}
        found = urls_in(*(data.get(name) for name in RESULTS)) or urls_in(*data.values())
        return Outcome("completed", found, progress=1.0)
    told = answer.data if isinstance(answer.data, Mapping) else {}
    error_type = text_in(told.get("error_type"))
    if (answer.code in NOT_OF_THE_TASK and error_type is None) or NOT_YET in answer.message.lower():
        return None
    return Outcome(
        "failed", error=answer.message or NO_REASON, error_code=code_in(error_type) or answer.code, progress=1.0
    )


def _status_address(task: Task) -> str:
    if task.status_address:
        return task.status_address
    # Only the first two parts of a model's id are its address in the queue.
    app = "/".join((task.model or task.path).strip("/").split("/")[:2])
    return f"{app}/requests/{quote(task.task_id, safe='')}/status"


def _result_address(task: Task, told: object) -> str:
    status = _status_address(task)
    origin = "/".join(status.split("/")[:3])
    if isinstance(told, str) and told.startswith(f"{origin}/") and task.task_id in told:
        return told
    return status.rpartition("/status")[0] or status


def _reason(detail: Any) -> str:
    """Return a reason as text: it comes as text, or as a list of what is wrong in which field."""
    if isinstance(detail, list):
        return "; ".join(filter(None, (_reason(entry) for entry in detail)))[:MESSAGE_CHARS]
    if isinstance(detail, Mapping):
        place = detail.get("loc")
        field = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
        message = text_in(detail.get("msg")) or text_in(detail.get("message")) or ""
        return f"{field}: {message}" if field else message
    return (text_in(detail) or "")[:MESSAGE_CHARS]
