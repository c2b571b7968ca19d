"""The market endpoints: jobs/createTask and jobs/recordInfo, which serve every model that is sold."""

from collections.abc import Iterator, Mapping
from typing import Any

from kie_ai_mcp import Model
from kie_ai_mcp_sandbox import files, sounds
from kie_ai_mcp_sandbox.catalogue import kind_by_words, plain
from kie_ai_mcp_sandbox.installed import is_market, kind_of
from kie_ai_mcp_sandbox.prices import USUAL_S, Bill, listed
from kie_ai_mcp_sandbox.results import defaults_of, files_of, shaped
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Family, Task
from kie_ai_mcp_sandbox.words import Refusal, ended, missing, ms, text

CREATE = "jobs/createTask"
STATUS = "jobs/recordInfo"
# The same two before October 2025.
OLD_CREATE = "playground/createTask"
OLD_STATUS = "playground/recordInfo"

SUCCESS_FLAGS = {"success": 1, "fail": 3}
AUDIO_TOKENS_A_SECOND, CHARACTERS_A_SECOND = 25, 15  # of speech
CHARACTERS_OF_A_TOKEN = 4
# Of models whose price nobody knows.
GUESSED_PRICE = listed(10)


def record(task: Task, now: float) -> dict[str, Any]:
    """The ``data`` of recordInfo, as it is answered live."""
    state = task.state(now)
    end = ended(task, now)
    result = shaped(task) if state == "success" else None
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
        "failCode": task.fail_code if state == "fail" else None,
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


def _offer(service: Service, model_id: Any) -> Model:
    """Return a model that is sold, else one of an installed provider of others, else any where that is wanted.

    Raises:
        Refusal: It is none of these.
    """
    if isinstance(model_id, str) and model_id:
        if (model := service.models.get(model_id)) and is_market(model):
            return model
        is_gone = model is not None or service.drifted("model-gone", model_id)
        kind = None if is_gone else kind_of(model_id)
        if kind or (service.settings.any_model and not is_gone):
            return plain(model_id, kind or kind_by_words(model_id), (), GUESSED_PRICE)
    raise Refusal(422, f"The model name {model_id!r} is not supported")


def create(service: Service, path: str, body: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Accept a task of a market model; the ``data`` of the answer. Fields that it does not take are ignored."""
    model = _offer(service, body.get("model"))
    sent = body.get("input")
    if not isinstance(sent, dict):
        raise Refusal(422, "input is required")
    missing(sent, tuple(model.input.get("required", ())))
    names = files_of(model, sent)
    task = service.accept(
        FAMILY,
        path,
        body,
        origin=origin,
        model=model.id,
        kind=model.kind,
        price=_price(service, model, sent, len(names), origin),
        count=len(names),
        offer=model,
        files=names,
    )
    return {"taskId": task.task_id, "recordId": task.task_id}


def _words(value: Any, name: str = "") -> Iterator[str]:
    """Yield what an input says: its prompt, and the texts that are to be spoken."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _words(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from _words(part, name)
    elif isinstance(value, str) and name in {"prompt", "text"}:
        yield value


def _price(service: Service, model: Model, sent: Mapping[str, Any], count: int, origin: str) -> float:
    """Return what a request costs, with what only the service can know of it."""
    characters = sum(map(len, _words(sent)))
    spoken = AUDIO_TOKENS_A_SECOND * characters / CHARACTERS_A_SECOND
    facts = {"(layers)": float(count), "(input tokens)": characters / CHARACTERS_OF_A_TOKEN, "(audio tokens)": spoken}
    facts |= {"(seconds of the result)": USUAL_S}

    def seconds(address: str) -> float:
        name = files.own_name(address, origin)
        found = files.read(service, name) if name else None
        return sounds.seconds_of(found[0]) or USUAL_S if found else USUAL_S

    price = Bill(sent, defaults_of(model), facts, seconds).credits(model.price or GUESSED_PRICE)
    share = service.drifted("charge", model.id)
    return price * share.number / 100 if share else price
