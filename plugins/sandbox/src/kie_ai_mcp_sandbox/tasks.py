"""Families of endpoints, and a task of one: nothing is scheduled, its state follows from the clock.

All floats are seconds; times are seconds since 1970 on the sandbox's clock.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kie_ai_mcp import Model, Price
from kie_ai_mcp.specs import Kind

Body = Mapping[str, Any]
State = Literal["waiting", "queuing", "generating", "success", "fail"]

DURATION_S: Mapping[Kind, float] = {"image": 2.0, "video": 6.0, "audio": 4.0, "text": 1.0}
SLOW_FACTOR = 10
# How much of a task's time has passed when it leaves a state.
WAITING_ENDS = 0.1
QUEUING_ENDS = 0.25

FAIL_MARK = "[fail]"
SLOW_MARK = "[slow]"


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
    record: Callable[["Task", float], dict[str, Any]]
    callback: Callable[["Task", float], dict[str, Any]]
    creates: tuple[Create, ...] = ()
    unknown: tuple[int, str] = (422, "The record does not exist")
    picture: Literal["png", "jpg"] = "png"


@dataclass
class Task:
    """What a create request has made.

    Args:
        task_id: Its id.
        family: The family whose words it is reported in.
        path: The address it was created at, below the base URL.
        model: The model id, or the nearest thing the family has.
        body: The request.
        kind: What it makes.
        count: How many results it will have.
        credits: What it costs.
        created: When it was accepted.
        duration_s: How long it takes.
        origin: ``http://host:port`` as the client wrote it; its result links begin with it.
        held: It runs until somebody finishes it.
        offer: The model as it was sold, at the market endpoint.
        files: The names of its results; numbered ones, if left out.
        parent: The task it extends or enlarges, or "".
        failure: Why it fails in the end; "" when it succeeds.
        fail_code: The code of that failure.
        ended: When somebody ended it before its time.
    """

    task_id: str
    family: Family
    path: str
    model: str
    body: Body
    kind: Kind
    count: int
    credits: float
    created: float
    duration_s: float
    origin: str
    held: bool = False
    offer: Model | None = None
    files: tuple[str, ...] = ()
    parent: str = ""
    failure: str = ""
    fail_code: str = "501"
    ended: float | None = None
    refunded: bool = field(default=False, repr=False)

    @property
    def ends(self) -> float:
        """When it ends; infinite while it is held."""
        if self.ended is not None:
            return self.ended
        return float("inf") if self.held else self.created + self.duration_s

    def state(self, now: float) -> State:
        """Where it stands, in the words of the market endpoint."""
        if now >= self.ends:
            return "fail" if self.failure else "success"
        part = self.progress(now)
        if part < WAITING_ENDS:
            return "waiting"
        return "queuing" if part < QUEUING_ENDS else "generating"

    def progress(self, now: float) -> float:
        """How much of it is done, from 0 to 1; a held task stops short of 1."""
        if now >= self.ends:
            return 1.0
        return min(max(now - self.created, 0.0) / self.duration_s, 0.99)

    def end(self, now: float, failure: str = "") -> None:
        """End it now: with success, or with this failure."""
        self.ended = now
        self.failure = failure

    @property
    def extension(self) -> str:
        """The ending of its result files."""
        if self.kind == "video":
            return "mp4"
        chosen = self.argument("output_format", "outputFormat", default=self.family.picture)
        return "jpg" if chosen in {"jpeg", "jpg"} else "png"

    def argument(self, *names: str, default: str = "") -> str:
        """The first of these arguments that the request has, as text."""
        nested = self.body.get("input")
        for place in (self.body, nested if isinstance(nested, dict) else {}):
            for name in names:
                if place.get(name):
                    return str(place[name])
        return default

    def file(self, name: str) -> str:
        """The address of one of its files: ``1.png`` is its first picture."""
        return f"{self.origin}/files/{self.task_id}-{name}"

    @property
    def results(self) -> list[str]:
        """The addresses of its results."""
        return [self.file(name) for name in self.files or (f"{n}.{self.extension}" for n in range(1, self.count + 1))]


def planned(body: Body, kind: Kind, speed: float) -> tuple[float, str]:
    """How long a task with this request takes and why it fails ("" when it doesn't)."""
    text = json.dumps(body, ensure_ascii=False)
    duration_s = DURATION_S[kind] / speed * (SLOW_FACTOR if SLOW_MARK in text else 1)
    failure = f"Generation failed: the prompt contains {FAIL_MARK}" if FAIL_MARK in text else ""
    return duration_s, failure
