"""The state of the sandbox: its clock, tasks, ledger, balance, limits and planned faults.

It belongs to the event loop of the server: whoever stands in another thread goes through `server.Sandbox`.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kie_ai_mcp import Model
from kie_ai_mcp.specs import Kind
from kie_ai_mcp_sandbox import installed
from kie_ai_mcp_sandbox.drift import Drift, change
from kie_ai_mcp_sandbox.faults import Plan
from kie_ai_mcp_sandbox.prices import Bill
from kie_ai_mcp_sandbox.tasks import Body, Create, Family, Task, planned
from kie_ai_mcp_sandbox.words import Refusal, missing


@dataclass(frozen=True)
class Settings:
    """How the sandbox behaves; `server.Sandbox` says what each means."""

    speed: float = 1.0
    key: str | None = None
    credits: float = 10_000.0
    webhook_key: str | None = None
    rate_limit: int = 20
    rate_window_s: float = 10.0
    hold: bool = False
    old_paths: bool = False
    any_model: bool = False
    catalogue_pause_s: float = 1.0

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError(f"speed must be above 0, {self.speed} was given")


@dataclass(frozen=True)
class Accepted:
    """One create request that was accepted, and so paid.

    Args:
        task_id: The task's id.
        path: The address, below the base URL.
        model: The model.
        body: The request.
        time: When it arrived.
        credits: What was taken for it.
    """

    task_id: str
    path: str
    model: str
    body: Mapping[str, Any]
    time: float
    credits: float


@dataclass(frozen=True)
class Seen:
    """One request that arrived.

    Args:
        method: Its method.
        path: Its path, with ``/api/v1``.
        body: Its JSON body; None when there was none or it wasn't read.
        time: When it arrived.
        code: The code that was answered; None as long as nothing was.
        query: What stands behind the question mark of its address.
    """

    method: str
    path: str
    body: Any
    time: float
    code: int | None = None
    query: str = ""


class Service:
    """Everything the sandbox remembers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.closing = False
        self.on_accept: Callable[[Task], None] | None = None
        self._changed = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Forget everything; the clock, the faults and the balance start anew."""
        self.offset_s = 0.0
        self.balance_left = self.settings.credits
        self.ledger: list[Accepted] = []
        self.tasks: dict[str, Task] = {}
        self.plans: list[Plan] = []
        self.drifts: list[Drift] = []
        self._models: dict[str, Model] | None = None
        self._listed: dict[str, float] = {}
        self.seen: dict[int, Seen] = {}
        self.uploads: dict[str, tuple[bytes, str]] = {}
        self.upgrades: dict[tuple[str, str, int], Any] = {}
        self._numbers = getattr(self, "_numbers", 0)
        self._running: set[str] = set()
        self._created: deque[float] = deque()
        self.wake()

    # The clock

    def now(self) -> float:
        """Seconds since 1970 on the sandbox's clock."""
        return time.time() + self.offset_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self.offset_s += seconds
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits for a task look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until_ended(self, task: Task) -> None:
        """Wait until a task has ended or been forgotten."""
        while self.tasks.get(task.task_id) is task and (left := task.ends - self.now()) > 0:
            changed = self._changed
            try:
                async with asyncio.timeout(None if left == float("inf") else left):
                    await changed.wait()
            except TimeoutError:
                continue

    # The catalogue

    @property
    def models(self) -> Mapping[str, Model]:
        """The models that are sold now."""
        return self._sold()

    def _sold(self) -> dict[str, Model]:
        if self._models is None:
            self._models = dict(installed.models())
        return self._models

    def drift(self, drift: Drift) -> None:
        """Change the catalogue from now on.

        Raises:
            ValueError: There is no such model, or it has no such field.
        """
        change(self._sold(), drift)
        self.drifts.append(drift)

    def drifted(self, name: str, what: str) -> Drift | None:
        """The last drift of this name that is about a model or an address."""
        return next((drift for drift in reversed(self.drifts) if drift.name == name and drift.concerns(what)), None)

    def serves(self, path: str) -> bool:
        """Whether there is such an address now, below the base URL."""
        old, is_old = path.replace("playground/", "jobs/"), path.startswith("playground/")
        if old.startswith("jobs/"):
            return is_old == (self.settings.old_paths or self.drifted("address-gone", old) is not None)
        return self.drifted("address-gone", path) is None

    def list_once(self, key: str) -> None:
        """Note a call of the live catalogue.

        Raises:
            Refusal: It comes too soon after the one before (429).
        """
        now = self.now()
        if now - self._listed.get(key, 0.0) < self.settings.catalogue_pause_s:
            raise Refusal(429, "Your call frequency is too high, try again later")
        self._listed[key] = now

    # Tasks and credits

    def create(self, family: Family, create: Create, body: Body, origin: str) -> Task:
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
            self.succeeded(family, parent)
            if any(key[:2] == (parent, "1080p") for key in self.upgrades):
                raise Refusal(422, "A clip that was enlarged to 1080P can't be extended")
        return self.accept(
            family,
            create.path,
            body,
            origin=origin,
            model=model or family.name,
            kind=create.kind_of(body) if create.kind_of else create.kind,
            price=Bill({**body, "model": model}).credits(create.price),
            count=create.count(body),
            parent=parent,
        )

    def succeeded(self, family: Family, task_id: str) -> Task:
        """An earlier task of the family, which must have succeeded; raises `Refusal` for any other."""
        task = self.tasks.get(task_id)
        if task is None or task.family is not family:
            raise Refusal(422, "The record does not exist")
        if task.state(self.now()) != "success":
            raise Refusal(422, "The task of this taskId has not succeeded")
        return task

    def accept(
        self,
        family: Family,
        path: str,
        body: Mapping[str, Any],
        *,
        origin: str,
        model: str,
        kind: Kind,
        price: float,
        count: int = 1,
        parent: str = "",
        offer: Model | None = None,
        files: tuple[str, ...] = (),
    ) -> Task:
        """Make a task and take its credits.

        Raises:
            Refusal: The rate limit is reached (429) or the balance is too small (402).
        """
        now = self.now()
        while self._created and self._created[0] <= now - self.settings.rate_window_s:
            self._created.popleft()
        if len(self._created) >= self.settings.rate_limit:
            raise Refusal(429, "Too many requests, try again later")
        if price > self.balance():
            raise Refusal(402, "Credits insufficient, please top up")
        duration_s, failure = planned(body, kind, self.settings.speed)
        task = Task(
            task_id=uuid.uuid4().hex,
            family=family,
            path=path,
            model=model,
            body=body,
            kind=kind,
            count=count,
            credits=price,
            created=now,
            duration_s=duration_s,
            origin=origin,
            held=self.settings.hold,
            offer=offer,
            files=files,
            parent=parent,
            failure=failure,
        )
        if code := self.drifted("fail-code", model):
            task.failure, task.fail_code = f"Generation failed with {code.value}", code.value
        self._created.append(now)
        self.balance_left -= price
        self.tasks[task.task_id] = task
        self._running.add(task.task_id)
        self.ledger.append(Accepted(task.task_id, path, model, body, time.time(), price))
        if self.on_accept:
            self.on_accept(task)
        return task

    def task(self, family: Family, task_id: str) -> Task:
        """The family's task with this id.

        Raises:
            Refusal: It has none, in the family's own words.
        """
        task = self.tasks.get(task_id)
        if task is None or task.family is not family:
            raise Refusal(*family.unknown)
        return task

    def finish(self, task_id: str, fail: str | None = None) -> None:
        """End a task now, with success or with this reason for its failure; one that has succeeded may stay as it is.

        Raises:
            ValueError: There is no such task, or it has ended otherwise.
        """
        task = self.tasks.get(task_id)
        if task is None:
            raise ValueError(f"there is no task {task_id!r}")
        state = task.state(self.now())
        if state == "success" and fail is None:
            return
        if state in {"success", "fail"}:
            raise ValueError(f"the task {task_id!r} has ended")
        task.end(self.now(), fail or "")
        self.wake()

    def charge(self, price: float) -> None:
        """Take credits for something that is no task.

        Raises:
            Refusal: The balance is too small.
        """
        if price > self.balance():
            raise Refusal(402, "Credits insufficient, please top up")
        self.balance_left -= price

    def balance(self) -> float:
        """The credits that are left; those of failed tasks have been given back."""
        now = self.now()
        for task in [self.tasks[task_id] for task_id in self._running]:
            state = task.state(now)
            if state in {"success", "fail"}:
                self._running.discard(task.task_id)
                if state == "fail":
                    self.balance_left += task.credits
        return round(self.balance_left, 2)

    def last_task_id(self) -> str:
        """The id of the task accepted last, or ""."""
        return self.ledger[-1].task_id if self.ledger else ""

    # Faults and the log of requests

    def next_fault(self, path: str) -> Plan | None:
        """Take the fault that is planned next for this address."""
        for n, plan in enumerate(self.plans):
            if plan.meets(path):
                if plan.times == 1:
                    del self.plans[n]
                elif plan.times:
                    self.plans[n] = replace(plan, times=plan.times - 1)
                return plan
        return None

    def note(self, method: str, path: str, query: str = "") -> int:
        """Write down that a request arrived."""
        self._numbers += 1
        self.seen[self._numbers] = Seen(method, path, None, time.time(), query=query)
        return self._numbers

    def note_body(self, number: int, body: Any) -> None:
        """Add its body."""
        if number in self.seen:
            self.seen[number] = replace(self.seen[number], body=body)

    def note_code(self, number: int, code: int | None) -> None:
        """Add what was answered."""
        if number in self.seen:
            self.seen[number] = replace(self.seen[number], code=code)
