"""Random calls of several servers on one database, held against what the service took from the account.

Whatever is called in whatever order: no more is spent than the limit, and the record never counts less than was spent.
"""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow import engine, submit
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox

LIMIT = 180.0
LARGEST = 120.0  # the 4k version of a clip
BEGINNING = 10_000.0
SERVERS = 4
SETTINGS: dict[str, Any] = {
    "api_key": "key-of-the-tests",
    "enabled_providers": ("nano-banana", "veo3", "midjourney", "market"),
    "max_credits_per_day": LIMIT,
    "assumed_credits": 8.0,
    "rate_limit": 1_000,
}

MAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "picture": ("generate_nano_banana", {}),
    "better picture": ("generate_nano_banana", {"model": "nano-banana-pro"}),
    "clip": ("generate_veo3_video", {"model": "veo3_lite"}),
    "better clip": ("generate_veo3_video", {}),
    "unpriced": ("generate_midjourney_image", {}),
    "model": ("run_model", {"model": "z-image", "input": {"aspect_ratio": "1:1"}}),
    "dear model": ("run_model", {"model": "nano-banana-2", "input": {"resolution": "4K"}}),
}
OF_A_CLIP = ("get_veo3_1080p_video", "get_veo3_4k_video")
LOSES = ("drop-after", "drop-before", "garbage", "no-task-id", "empty", "cut")
FAULTS = (*LOSES, *LOSES, "code:402", "http:500", "429:0", *[""] * 9)

MAKING = st.tuples(st.just("make"), st.sampled_from(sorted(MAKES)), st.sampled_from(["A fox", "An owl", "", ""]))
LATER = st.tuples(st.sampled_from(["read", "adopt", "discard", "finish", "fail"]), st.just(""), st.integers(0, 9))
ENLARGING = st.tuples(st.just("enlarge"), st.sampled_from(OF_A_CLIP), st.integers(0, 9))
CALLS = st.one_of(MAKING, MAKING, LATER, LATER, ENLARGING)
ROUNDS = st.lists(st.tuples(st.sampled_from(FAULTS), st.lists(CALLS, min_size=2, max_size=4)), min_size=9, max_size=12)
"""In each round a fault may come up, and calls are made side by side."""


class History:
    """Servers on one database, and what they are asked to do."""

    def __init__(self, sandbox: Sandbox, apps: list[App]) -> None:
        self.sandbox, self.apps = sandbox, itertools.cycle(apps)
        self.record = apps[0].engine.record
        self.numbers = itertools.count()

    @property
    def spent(self) -> float:
        """What the service took."""
        return round(BEGINNING - self.sandbox.credits, 6)

    async def call(self, tool: str, **arguments: Any) -> Answer:
        """Call a tool of the server whose turn it is."""
        return await next(self.apps).call(tool, arguments, client="test")

    async def do(self, what: str, tool: str, word: Any) -> None:
        """Make one call, or let the service end a task."""
        if what == "make":
            name, arguments = MAKES[tool]
            prompt = {"prompt": word or f"A hare of {next(self.numbers)}"}
            of_model = {"input": {**arguments["input"], **prompt}} if "input" in arguments else prompt
            await self.call(name, **{**arguments, **of_model})
            return
        made = list(self.sandbox.tasks.values())
        clips = [task for task in made if task.path == "veo/generate"]
        chosen = (clips if what == "enlarge" else made)[word % 7 :][:1]
        unknown = [entry.id for entry in await self.record.submissions.unsettled() if entry.state == "unknown"]
        if what == "discard" and unknown:
            await self.call("resolve_submission", submission_id=unknown[-1], action="discard")
        if what == "adopt" and unknown:
            lost = [task for task in made if await self.record.submissions.of_task(task.task_id) is None]
            for task in lost[word % 3 :][:1]:
                adoption = {"submission_id": unknown[0], "action": "adopt", "task_id": task.task_id}
                await self.call("resolve_submission", **adoption)
        for task in chosen:
            match what:
                case "enlarge":
                    await self.call(tool, task_id=task.task_id)
                case "read":
                    await self.call("get_task_status", task_id=task.task_id)
                case "finish" | "fail":
                    with suppress(ValueError):  # it has ended
                        self.sandbox.finish(task.task_id, "no luck" if what == "fail" else None)

    async def run(self, rounds: list[tuple[str, list[tuple[str, str, Any]]]]) -> None:
        """Do all rounds; after each of them the books must agree."""
        for fault, calls in rounds:
            if fault:
                self.sandbox.play(fault)
            async with anyio.create_task_group() as group:
                for call in calls:
                    group.start_soon(self.do, *call)
            counted = await self.record.spent_today()
            assert self.spent <= LIMIT + LARGEST
            assert self.spent <= round(counted, 6), "less is counted than was spent"


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox(hold=True, rate_limit=10_000, credits=BEGINNING) as sandbox:
        yield sandbox


@pytest.mark.usefixtures("restarts_are_cheap")
def test_no_sequence_of_calls_spends_more_than_the_limit(service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "JOIN_S", 0.002)
    monkeypatch.setattr(engine, "GRACE_S", 0.02)

    async def live(rounds: list[tuple[str, list[tuple[str, str, Any]]]], folder: Path) -> None:
        values = {**SETTINGS, "base_url": service.base_url, "db_path": folder / "tasks.db"}
        apps = [App.open(Settings.model_validate(values)) for _ in range(SERVERS)]
        async with AsyncExitStack() as stack:
            for app in apps:
                await stack.enter_async_context(app.engine.running())
            await History(service, apps).run(rounds)

    @settings(
        max_examples=10,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(ROUNDS)
    def lives(rounds: list[tuple[str, list[tuple[str, str, Any]]]]) -> None:
        service.reset()
        with tempfile.TemporaryDirectory() as folder:
            anyio.run(live, rounds, Path(folder))

    lives()
