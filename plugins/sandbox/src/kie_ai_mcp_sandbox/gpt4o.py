"""gpt4o-image/*: pictures, one to four of them in one task."""

from typing import Any

from starlette.requests import Request

from kie_ai_mcp_sandbox import files
from kie_ai_mcp_sandbox.faults import Reply, envelope
from kie_ai_mcp_sandbox.incoming import json_object, origin_of
from kie_ai_mcp_sandbox.prices import listed
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Body, Create, Family, Task
from kie_ai_mcp_sandbox.words import Refusal, ended, ms, one_of, text

DOWNLOAD = "gpt4o-image/download-url"

STATUSES = {"success": ("SUCCESS", 1), "fail": ("GENERATE_FAILED", 2)}


def _check(body: Body) -> None:
    if not any(body.get(name) for name in ("prompt", "filesUrl", "fileUrl")):
        raise Refusal(422, "prompt or filesUrl is required")
    one_of(body, "size", ("1:1", "3:2", "2:3"))
    one_of(body, "nVariants", (1, 2, 4))


def record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of record-info."""
    state = task.state(now)
    status, flag = STATUSES.get(state, ("GENERATING", 0))
    end = ended(task, now)
    return {
        "taskId": task.task_id,
        "paramJson": text(task.body),
        "status": status,
        "successFlag": flag,
        "progress": f"{task.progress(now):.2f}",
        "response": {"resultUrls": task.results} if state == "success" else None,
        "errorCode": 500 if state == "fail" else None,
        "errorMessage": task.failure if state == "fail" else "",
        "createTime": ms(task.created),
        "completeTime": None if end is None else ms(end),
    }


def callback(task: Task, now: float) -> dict[str, Any]:
    """Snake case inside ``info``, and no info when it failed."""
    if task.state(now) == "fail":
        return {"code": 500, "msg": task.failure, "data": {"taskId": task.task_id, "info": None}}
    return {"code": 200, "msg": "success", "data": {"taskId": task.task_id, "info": {"result_urls": task.results}}}


FAMILY = Family(
    "gpt4o-image",
    "gpt4o-image/record-info",
    record,
    callback,
    creates=(
        Create(
            "gpt4o-image/generate",
            "image",
            ("size",),
            listed(6, times=("nVariants", 1)),
            count=lambda body: int(body.get("nVariants") or 1),
            check=_check,
        ),
    ),
)


async def download_url(request: Request, service: Service) -> Reply:
    """POST gpt4o-image/download-url: a link to one of the task's own pictures."""
    body = await json_object(request)
    task = service.tasks.get(str(body.get("taskId")))
    url = str(body.get("url", ""))
    if task is None or task.family is not FAMILY:
        raise Refusal(422, "record is null")
    link = files.link(service, url, origin_of(request)) if url in task.results else None
    if link is None:
        raise Refusal(422, "url is wrong")
    return envelope(200, data=link)
