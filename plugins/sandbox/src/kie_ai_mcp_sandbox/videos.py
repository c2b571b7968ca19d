"""Clip families with a status endpoint of their own: Runway, Runway Aleph and Luma's modify. Veo is in `veo`."""

from typing import Any

from kie_ai_mcp_sandbox.prices import listed
from kie_ai_mcp_sandbox.tasks import Body, Create, Family, Task
from kie_ai_mcp_sandbox.words import Refusal, day_time, ended, ms, one_of, text

FLAGS = {"success": 1, "fail": 3}
COVER = "1-cover.png"

# Runway: its own words for the states, one clip with a cover; an unknown id is code 200 without data

STATES = {"waiting": "wait", "queuing": "queueing"}
EXTEND = "runway/extend"
_PRICE = listed(12, ({"duration": 10}, 30), ({"quality": "1080p"}, 30))


def runway_record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of runway/record-detail."""
    state = task.state(now)
    clip = {"videoId": f"video-{task.task_id}", "taskId": task.task_id}
    addresses = {"videoUrl": task.results[0], "imageUrl": task.file(COVER)}
    return {
        "taskId": task.task_id,
        "parentTaskId": task.parent,
        "generateParam": {
            "prompt": task.body["prompt"],
            "imageUrl": task.body.get("imageUrl") or "",
            "expandPrompt": True,
        },
        "state": STATES.get(state, state),
        "generateTime": day_time(task.created),
        "videoInfo": {**clip, **addresses} if state == "success" else None,
        "failCode": 400 if state == "fail" else 0,
        "failMsg": task.failure if state == "fail" else "",
        "expireFlag": 0,
    }


def runway_callback(task: Task, now: float) -> dict[str, Any]:
    """Snake case; a failed extension has only its id, a failed first clip empty texts."""
    data = {"task_id": task.task_id}
    if task.state(now) == "success":
        addresses = {"video_url": task.results[0], "image_url": task.file(COVER)}
        return {"code": 200, "msg": "success", "data": {**data, "video_id": f"video-{task.task_id}", **addresses}}
    empty = {} if task.path == EXTEND else dict.fromkeys(("video_id", "video_url", "image_url"), "")
    return {"code": 400, "msg": task.failure, "data": {**data, **empty}}


def _runway_check(body: Body) -> None:
    one_of(body, "duration", (5, 10))
    one_of(body, "quality", ("720p", "1080p"))
    if str(body.get("duration")) == "10" and body["quality"] == "1080p":
        raise Refusal(422, "10 seconds and 1080p exclude each other")
    if not body.get("imageUrl") and not body.get("aspectRatio") and "duration" in body:
        raise Refusal(422, "aspectRatio is required without imageUrl")


RUNWAY = Family(
    "runway",
    "runway/record-detail",
    runway_record,
    runway_callback,
    creates=(
        Create("runway/generate", "video", ("prompt", "duration", "quality"), _PRICE, check=_runway_check),
        # No list has a price for it; these numbers are those of a new clip.
        Create(EXTEND, "video", ("taskId", "prompt", "quality"), _PRICE, check=_runway_check, parent="taskId"),
    ),
    unknown=(200, "success"),
)

# Aleph: single addresses; the callback has its task id beside the data


def aleph_record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of aleph/record-info, as it is answered live."""
    state = task.state(now)
    end = ended(task, now)
    response = {"taskId": task.task_id, "resultVideoUrl": task.results[0], "resultImageUrl": task.file(COVER)}
    return {
        "taskId": task.task_id,
        "paramJson": text(task.body),
        "successFlag": FLAGS.get(state, 0),
        "response": response if state == "success" else None,
        "errorCode": 500 if state == "fail" else None,
        "errorMessage": task.failure if state == "fail" else None,
        "createTime": ms(task.created),
        "completeTime": None if end is None else ms(end),
    }


def aleph_callback(task: Task, now: float) -> dict[str, Any]:
    """No data when it failed."""
    if task.state(now) == "fail":
        return {"code": 400, "msg": task.failure, "data": None, "taskId": task.task_id}
    data = {"result_video_url": task.results[0], "result_image_url": task.file(COVER)}
    return {"code": 200, "msg": "success", "data": data, "taskId": task.task_id}


ALEPH = Family(
    "aleph",
    "aleph/record-info",
    aleph_record,
    aleph_callback,
    creates=(Create("aleph/generate", "video", ("prompt", "videoUrl"), listed(110)),),
    unknown=(200, "success"),
)

# Luma's modify: retired


def modify_record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of modify/record-info."""
    state = task.state(now)
    end = ended(task, now)
    urls = {"originUrls": [task.file("1-origin.mp4")], "resultUrls": task.results}
    return {
        "taskId": task.task_id,
        "paramJson": text(task.body),
        "successFlag": FLAGS.get(state, 0),
        "response": {"taskId": task.task_id, **urls} if state == "success" else None,
        "errorCode": 501 if state == "fail" else None,
        "errorMessage": task.failure if state == "fail" else None,
        "createTime": ms(task.created),
        "completeTime": None if end is None else ms(end),
    }


def modify_callback(task: Task, now: float) -> dict[str, Any]:
    """A list of plain addresses."""
    failed = task.state(now) == "fail"
    data = {"taskId": task.task_id, "promptJson": text(task.body), "resultUrls": [] if failed else task.results}
    return {"code": 500 if failed else 200, "msg": task.failure or "success", "data": data}


MODIFY = Family(
    "modify",
    "modify/record-info",
    modify_record,
    modify_callback,
    # It never was on a price list that is still to be found; the number is ours.
    creates=(Create("modify/generate", "video", ("prompt", "videoUrl"), listed(100)),),
)
