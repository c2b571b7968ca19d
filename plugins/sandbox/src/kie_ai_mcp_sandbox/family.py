"""What a family of endpoints is made of, and the words they share."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from kie_ai_mcp_sandbox.catalogue import Price
from kie_ai_mcp_sandbox.tasks import Kind, Task

if TYPE_CHECKING:
    from kie_ai_mcp_sandbox.service import Service

Body = Mapping[str, Any]


class Refusal(Exception):
    """An answer that gives no task; the service sends it with HTTP status 200.

    Args:
        code: The code inside the answer.
        message: Its text.
        data: Its data.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def _one(body: Body) -> int:
    del body
    return 1


def _nothing(body: Body) -> None:
    del body


@dataclass(frozen=True)
class Create:
    """One create address of a family.

    Args:
        path: The address below the base URL.
        kind: What it makes, unless `kind_of` says otherwise.
        required: Fields that must be there.
        price: What it costs.
        models: Values of the field ``model`` that are known; the first is the default.
        count: How many results a request asks for.
        kind_of: Tells what a request makes where that depends on it.
        check: Raises `Refusal` for what `required` and `models` don't cover.
        parent: The field that names an earlier task of the family, which must have succeeded.
    """

    path: str
    kind: Kind
    required: tuple[str, ...]
    price: Price
    models: tuple[str, ...] = ()
    count: Callable[[Body], int] = _one
    kind_of: Callable[[Body], Kind] | None = None
    check: Callable[[Body], None] = _nothing
    parent: str = ""


@dataclass(frozen=True)
class Family:
    """A family: its addresses and its words.

    Args:
        name: Its name.
        status: The address where its tasks are asked for, below the base URL.
        record: The ``data`` of a status answer.
        callback: The whole body that is posted when a task has ended.
        creates: Its create addresses.
        unknown: Code and message for an id that it doesn't know.
        picture: The format of its pictures unless the request names one.
    """

    name: str
    status: str
    record: Callable[[Task, float], dict[str, Any]]
    callback: Callable[[Task, float], dict[str, Any]]
    creates: tuple[Create, ...] = ()
    unknown: tuple[int, str] = (422, "The record does not exist")
    picture: Literal["png", "jpg"] = "png"


def text(value: Any) -> str:
    """JSON text, as the service puts it inside JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def ms(time_s: float) -> int:
    """Milliseconds since 1970."""
    return int(time_s * 1000)


def iso(time_s: float) -> str:
    """ISO 8601 in UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def day_time(time_s: float) -> str:
    """``YYYY-MM-DD HH:MM:SS``."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def ended(task: Task, now: float) -> float | None:
    """When the task ended; None while it runs."""
    return task.ends if now >= task.ends else None


def missing(body: Body, required: tuple[str, ...]) -> None:
    """Raise `Refusal` for the first required field that is absent or empty."""
    for name in required:
        if body.get(name) in (None, "", [], {}):
            raise Refusal(422, f"{name} is required")


def create_task(service: "Service", family: Family, create: Create, body: Body, origin: str) -> Task:
    """Accept a task of a family's own create address.

    Raises:
        Refusal: The request, the rate limit or the balance does not allow it.
    """
    missing(body, create.required)
    model = ""
    if create.models:
        model = body.get("model") or create.models[0]
        if model not in create.models:
            raise Refusal(422, f"model must be one of {', '.join(create.models)}")
    create.check(body)
    parent = str(body[create.parent]) if create.parent else ""
    if parent:
        succeeded(service, family, parent)
        if any(key[:2] == (parent, "1080p") for key in service.upgrades):
            raise Refusal(422, "A clip that was enlarged to 1080P can't be extended")
    return service.accept(
        family,
        create.path,
        body,
        origin=origin,
        model=model or family.name,
        kind=create.kind_of(body) if create.kind_of else create.kind,
        price=create.price.of({**body, "model": model}),
        count=create.count(body),
        parent=parent,
    )


def succeeded(service: "Service", family: Family, task_id: str) -> Task:
    """An earlier task of the family, which must have succeeded; raises `Refusal` for any other."""
    task = service.tasks.get(task_id)
    if task is None or task.family is not family:
        raise Refusal(422, "The record does not exist")
    if task.state(service.now()) != "success":
        raise Refusal(422, "The task of this taskId has not succeeded")
    return task


def one_of(body: Body, name: str, allowed: tuple[Any, ...]) -> None:
    """Raise `Refusal` when a field is there and has none of these values, as number or as text."""
    if body.get(name) is not None and str(body[name]) not in {str(value) for value in allowed}:
        raise Refusal(422, f"{name} must be one of {', '.join(str(value) for value in allowed)}")
