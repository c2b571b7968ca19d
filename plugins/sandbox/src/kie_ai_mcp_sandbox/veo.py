"""veo/*: clips, their extensions, and the two ways to a larger version, which behave unlike anything else."""

from typing import Any

from starlette.requests import Request

from kie_ai_mcp_sandbox.faults import Reply, envelope
from kie_ai_mcp_sandbox.incoming import json_object, origin_of
from kie_ai_mcp_sandbox.prices import listed
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Body, Create, Family, Task
from kie_ai_mcp_sandbox.words import Refusal, ended, ms, one_of, text

GENERATE = "veo/generate"
EXTEND = "veo/extend"
GET_1080P = "veo/get-1080p-video"
GET_4K = "veo/get-4k-video"

READY_1080P_S = 3.0
PRICE_1080P = 5.0
PRICE_4K = 120.0
FLAGS = {"success": 1, "fail": 3}

_PRICE = listed(
    60,
    ({"model": "veo3_lite", "resolution": "4k"}, 150),
    ({"model": "veo3_lite", "resolution": "1080p"}, 35),
    ({"model": "veo3_lite"}, 30),
    ({"model": "veo3", "resolution": "4k"}, 370),
    ({"model": "veo3", "resolution": "1080p"}, 255),
    ({"model": "veo3"}, 250),
    ({"resolution": "4k"}, 180),
    ({"resolution": "1080p"}, 65),
)


def record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of veo/record-info, as it is answered live."""
    state = task.state(now)
    end = ended(task, now)
    return {
        "taskId": task.task_id,
        "paramJson": _param(task),
        "successFlag": FLAGS.get(state, 0),
        "response": _response(task) if state == "success" else None,
        "errorCode": 501 if state == "fail" else None,
        "errorMessage": task.failure if state == "fail" else "",
        "createTime": ms(task.created),
        "completeTime": None if end is None else ms(end),
    }


def _param(task: Task) -> str:
    return text({"aspectRatio" if name == "aspect_ratio" else name: value for name, value in task.body.items()})


def _response(task: Task) -> dict[str, Any]:
    if task.path == GET_4K:
        return {"taskId": task.task_id, "mediaIds": [f"media-{task.task_id}"], **_enlarged(task)}
    response = {"taskId": task.task_id, "resultUrls": task.results, "resolution": task.body.get("resolution") or "720p"}
    if task.argument("aspect_ratio", "aspectRatio", default="16:9") != "16:9":
        response["originUrls"] = [task.file("1-origin.mp4")]
    if task.path == EXTEND:
        response["fullResultUrls"] = [task.file("1-full.mp4")]
    return response


def _enlarged(task: Task) -> dict[str, Any]:
    return {"resultUrls": [task.file("1-4k.mp4")], "imageUrls": [task.file("1-4k.png")]}


def callback(task: Task, now: float) -> dict[str, Any]:
    """No ``info`` when it failed; that of a 4k task has other fields."""
    data: dict[str, Any] = {"taskId": task.task_id}
    if task.path != GET_4K:
        data |= {"promptJson": _param(task), "fallbackFlag": False}
    if task.state(now) == "fail":
        return {"code": 500 if task.path == GET_4K else 501, "msg": task.failure, "data": data}
    names = ("resultUrls", "imageUrls") if task.path == GET_4K else ("resultUrls", "originUrls", "resolution")
    data["info"] = {name: value for name, value in _response(task).items() if name in names}
    return {"code": 200, "msg": "success", "data": data}


def _check(body: Body) -> None:
    one_of(body, "generationType", ("TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"))
    one_of(body, "aspect_ratio", ("16:9", "9:16", "Auto"))
    one_of(body, "resolution", ("720p", "1080p", "4k"))
    one_of(body, "duration", (4, 6, 8))


FAMILY = Family(
    "veo",
    "veo/record-info",
    record,
    callback,
    creates=(
        Create(GENERATE, "video", ("prompt",), _PRICE, models=("veo3_fast", "veo3", "veo3_lite"), check=_check),
        Create(
            EXTEND,
            "video",
            ("taskId", "prompt"),
            listed(60, ({"model": "quality"}, 250), ({"model": "lite"}, 30)),
            models=("fast", "quality", "lite"),
            parent="taskId",
        ),
    ),
    unknown=(422, "record is null"),
)


async def get_1080p(request: Request, service: Service) -> Reply:
    """GET veo/get-1080p-video: the first ask starts the work, code 400 then and until it is done."""
    task = service.succeeded(FAMILY, request.query_params.get("taskId", ""))
    index = _index(request.query_params.get("index"), task)
    key = (task.task_id, "1080p", index)
    begins = key not in service.upgrades
    if begins:
        service.charge(PRICE_1080P)
        service.upgrades[key] = service.now() + READY_1080P_S / service.settings.speed
    if begins or service.now() < service.upgrades[key]:
        raise Refusal(400, "The 1080P version is still processing, it takes 1-2 minutes")
    return envelope(200, data={"resultUrl": task.file(f"{index + 1}-1080p.mp4")})


async def get_4k(request: Request, service: Service) -> Reply:
    """POST veo/get-4k-video: the first call makes a task; every later one is code 422, also when it is done."""
    body = await json_object(request)
    task = service.succeeded(FAMILY, str(body.get("taskId", "")))
    key = (task.task_id, "4k", _index(body.get("index"), task))
    if key not in service.upgrades:
        made = service.accept(
            FAMILY,
            GET_4K,
            body,
            origin=origin_of(request),
            model=GET_4K,
            kind="video",
            price=PRICE_4K,
            parent=task.task_id,
        )
        service.upgrades[key] = made.task_id
        return envelope(200, data={"taskId": made.task_id, "resultUrls": None, "imageUrls": None})
    made = service.tasks[service.upgrades[key]]
    data = {"taskId": made.task_id, "resultUrls": None, "imageUrls": None}
    match made.state(service.now()):
        case "success":
            raise Refusal(422, "The 4k video has been generated", {**data, **_enlarged(made)})
        case "fail":
            raise Refusal(500, "The 4k version is not available for this video", data)
    raise Refusal(422, "The 4k video is processing, it takes 5-10 minutes", data)


def _index(value: Any, task: Task) -> int:
    text = str(value or 0)
    if not text.isdigit() or int(text) >= task.count:
        raise Refusal(422, f"index must be from 0 to {task.count - 1}")
    return int(text)
