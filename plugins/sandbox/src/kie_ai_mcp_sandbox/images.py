"""Picture families with a status endpoint of their own: Flux Kontext and Midjourney."""

from typing import Any

from kie_ai_mcp.specs import Kind
from kie_ai_mcp_sandbox.prices import listed
from kie_ai_mcp_sandbox.tasks import Body, Create, Family, Task
from kie_ai_mcp_sandbox.words import Refusal, ended, iso, one_of, text

FLAGS = {"success": 1, "fail": 3}

# Flux Kontext: single addresses instead of a list, times as ISO text


def flux_record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of flux/kontext/record-info."""
    state = task.state(now)
    end = ended(task, now)
    return {
        "taskId": task.task_id,
        "paramJson": text(task.body),
        "successFlag": FLAGS.get(state, 0),
        "response": _flux_urls(task) if state == "success" else None,
        "errorCode": 501 if state == "fail" else None,
        "errorMessage": task.failure if state == "fail" else "",
        "createTime": iso(task.created),
        "completeTime": None if end is None else iso(end),
    }


def flux_callback(task: Task, now: float) -> dict[str, Any]:
    """Empty addresses when it failed."""
    failed = task.state(now) == "fail"
    info = {"originImageUrl": "", "resultImageUrl": ""} if failed else _flux_urls(task)
    return {
        "code": 501 if failed else 200,
        "msg": task.failure or "success",
        "data": {"taskId": task.task_id, "info": info},
    }


def _flux_urls(task: Task) -> dict[str, str]:
    return {"originImageUrl": task.file(f"1-origin.{task.extension}"), "resultImageUrl": task.results[0]}


def _flux_check(body: Body) -> None:
    one_of(body, "aspectRatio", ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16"))
    one_of(body, "outputFormat", ("jpeg", "png"))
    one_of(body, "safetyTolerance", tuple(range(3 if body.get("inputImage") else 7)))


FLUX = Family(
    "flux-kontext",
    "flux/kontext/record-info",
    flux_record,
    flux_callback,
    creates=(
        Create(
            "flux/kontext/generate",
            "image",
            ("prompt",),
            listed(5, ({"model": "flux-kontext-max"}, 10)),
            models=("flux-kontext-pro", "flux-kontext-max"),
            check=_flux_check,
        ),
    ),
    picture="jpg",
)

# Midjourney: retired, but answering when it was last tried; four pictures, each address in an object of its own

VIDEO_TYPES = ("mj_video", "mj_video_hd")
TASK_TYPES = ("mj_txt2img", "mj_img2img", "mj_style_reference", "mj_omni_reference", *VIDEO_TYPES)
PICTURES = 4


def mj_record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of mj/record-info."""
    state = task.state(now)
    end = ended(task, now)
    urls = [{"resultUrl": url} for url in task.results]
    return {
        "taskId": task.task_id,
        "taskType": task.body["taskType"],
        "paramJson": text(task.body),
        "successFlag": FLAGS.get(state, 0),
        "resultInfoJson": {"resultUrls": urls} if state == "success" else None,
        "errorCode": 500 if state == "fail" else None,
        "errorMessage": task.failure if state == "fail" else None,
        "createTime": iso(task.created),
        "completeTime": None if end is None else iso(end),
    }


def mj_callback(task: Task, now: float) -> dict[str, Any]:
    """Here the addresses are plain."""
    failed = task.state(now) == "fail"
    return {
        "code": 500 if failed else 200,
        "msg": task.failure or "success",
        "data": {"taskId": task.task_id, "promptJson": text(task.body), "resultUrls": [] if failed else task.results},
    }


def _mj_check(body: Body) -> None:
    one_of(body, "taskType", TASK_TYPES)
    one_of(body, "videoBatchSize", (1, 2, 4))
    if body["taskType"] != "mj_txt2img" and not (body.get("fileUrls") or body.get("fileUrl")):
        raise Refusal(422, "fileUrls is required")
    if body["taskType"] in VIDEO_TYPES and not body.get("motion"):
        raise Refusal(422, "motion is required")


def _mj_kind(body: Body) -> Kind:
    return "video" if body["taskType"] in VIDEO_TYPES else "image"


def _mj_count(body: Body) -> int:
    return int(body.get("videoBatchSize") or 1) if _mj_kind(body) == "video" else PICTURES


MIDJOURNEY = Family(
    "midjourney",
    "mj/record-info",
    mj_record,
    mj_callback,
    creates=(
        Create(
            "mj/generate",
            "image",
            ("taskType", "prompt"),
            # It has left the price lists; these numbers are ours.
            listed(8, ({"taskType": "mj_video"}, 60), ({"taskType": "mj_video_hd"}, 120)),
            kind_of=_mj_kind,
            count=_mj_count,
            check=_mj_check,
        ),
    ),
)
