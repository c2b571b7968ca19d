"""The engine: paid requests outlive their callers, background work does not outlive the server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from kie_ai_mcp._flow import engine as engine_module
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import ReadFailed, Refused
from tests.helpers import LIMIT_S

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    values = {"db_path": tmp_path / "tasks.db", "enabled_providers": ("nano-banana",)}
    opened = Engine.open(Settings.model_validate(values), reserved=())
    async with opened.running():
        yield opened


async def test_request_outlives_a_cancelled_caller(engine: Engine) -> None:
    may_end, ended = anyio.Event(), anyio.Event()

    async def request() -> str:
        await may_end.wait()
        ended.set()
        return "accepted"

    async def caller() -> None:
        await asyncio.shield(engine.start(request()))

    async with anyio.create_task_group() as group:
        group.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert not ended.is_set()
    may_end.set()
    with anyio.fail_after(LIMIT_S):
        await ended.wait()


async def test_drain_waits_for_a_request_that_ends_in_time(engine: Engine) -> None:
    async def request() -> str:
        await anyio.sleep(0.05)
        return "accepted"

    task = engine.start(request())
    with anyio.fail_after(LIMIT_S):
        await engine.drain()
    assert task.result() == "accepted"


async def test_drain_lets_a_stopped_request_record_its_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "GRACE_S", 0.01)

    async def request() -> str:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):  # as the record does
                await anyio.sleep(0.05)
        return "unknown"

    task = engine.start(request())
    with anyio.fail_after(LIMIT_S):
        await engine.drain()
    assert task.result() == "unknown"


async def test_shielded_part_of_a_request_is_not_cut_short(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "GRACE_S", 0.01)
    steps: list[str] = []

    async def request() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
            steps.append("answer read")
        await anyio.lowlevel.checkpoint()
        steps.append("never reached")

    engine.start(request())
    with anyio.fail_after(LIMIT_S):
        await engine.drain()
    assert steps == ["answer read"]


async def test_background_work_ends_with_the_server_and_starts_no_more(engine: Engine) -> None:
    steps: list[str] = []

    async def work(name: str) -> None:
        try:
            steps.append(f"{name} started")
            await anyio.sleep_forever()
        finally:
            steps.append(f"{name} ended")

    engine.start_in_background(work("first"))
    await anyio.wait_all_tasks_blocked()
    with anyio.fail_after(LIMIT_S):
        await engine.drain()
    engine.start_in_background(work("second"))
    await anyio.wait_all_tasks_blocked()
    assert steps == ["first started", "first ended"]


async def test_drain_gives_a_call_that_has_not_sent_time_to_notice(engine: Engine) -> None:
    noticed = False

    async def waiting_call() -> None:
        nonlocal noticed
        with engine.call():
            while not noticed:
                try:
                    engine.check_open()
                except Refused:
                    noticed = True
                await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(waiting_call)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(LIMIT_S):
            await engine.drain()
        assert noticed


async def test_task_of_a_service_without_a_provider_names_the_cure(engine: Engine) -> None:
    with pytest.raises(ReadFailed, match="no enabled provider registers") as caught:
        engine.caller("elsewhere")
    assert "kie-ai-mcp-elsewhere" in caught.value.next_step
    assert engine.logs_of("elsewhere") == "the request log of elsewhere"
