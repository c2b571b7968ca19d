"""The market endpoints: jobs/createTask and jobs/recordInfo, which serve every model id of the catalogue."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp_sandbox.catalogue import MODELS, Model, Price, number
from kie_ai_mcp_sandbox.installed import kind_of
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Family, Task
from kie_ai_mcp_sandbox.words import Refusal, ended, missing, ms, text

CREATE = "jobs/createTask"
STATUS = "jobs/recordInfo"
# The same two before October 2025.
OLD_CREATE = "playground/createTask"
OLD_STATUS = "playground/recordInfo"

SUCCESS_FLAGS = {"success": 1, "fail": 3}
MAX_RESULTS = 4
# Of models that are not in the catalogue.
GUESSED_PRICE = Price(10)
VIDEO_WORDS = ("video", "avatar", "motion", "lip", "t2v", "i2v")


def record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of recordInfo, as it is answered live."""
    state = task.state(now)
    end = ended(task, now)
    result = {"resultUrls": task.results} if state == "success" else None
    request = {**task.body, "input": text(task.body["input"])}
    data = {
        "taskId": task.task_id,
        "model": task.model,
        "state": state,
        "param": text(request),
        "paramJson": text(request),
        "resultJson": text(result) if result else "",
        "response": result,
        "successFlag": SUCCESS_FLAGS.get(state, 0),
        "failCode": "501" if state == "fail" else None,
        "failMsg": task.failure if state == "fail" else None,
        # Seconds: the documentation says milliseconds, recorded answers say otherwise.
        "costTime": None if end is None else round(end - task.created),
        "completeTime": None if end is None else ms(end),
        "createTime": ms(task.created),
        "creditsConsumed": 0.0 if state == "fail" else float(task.credits),
    }
    if task.model.startswith("sora-2"):
        data["progress"] = int(task.progress(now) * 100)
    return data


def callback(task: Task, now: float) -> dict[str, Any]:
    """The same shape as recordInfo; code 501 when the task failed."""
    data = record(task, now)
    failed = data["state"] == "fail"
    return {"code": 501 if failed else 200, "msg": task.failure if failed else "success", "data": data}


FAMILY = Family("market", STATUS, record, callback, unknown=(422, "recordInfo is null"))


def _model(model_id: str, any_model: bool) -> Model | None:
    """Return a model of the catalogue, else one of an installed provider of others, else any where that is wanted."""
    if model_id in MODELS:
        return MODELS[model_id]
    kind = kind_of(model_id)
    if kind is None and any_model:
        kind = "video" if any(word in model_id.lower() for word in VIDEO_WORDS) else "image"
    return Model(kind, (), GUESSED_PRICE) if kind else None


def create(service: Service, path: str, body: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Accept a task of a market model; the ``data`` of the answer."""
    model_id = body.get("model")
    model = _model(model_id, service.settings.any_model) if isinstance(model_id, str) and model_id else None
    if not isinstance(model_id, str) or model is None:
        raise Refusal(422, f"The model name {model_id!r} is not supported")
    arguments = body.get("input")
    if not isinstance(arguments, dict):
        raise Refusal(422, "input is required")
    missing(arguments, model.required)
    task = service.accept(
        FAMILY,
        path,
        body,
        origin=origin,
        model=model_id,
        kind=model.kind,
        price=model.price.of(arguments),
        count=int(min(number(arguments.get(model.count), 1), MAX_RESULTS)) if model.count else 1,
    )
    return {"taskId": task.task_id, "recordId": task.task_id}
