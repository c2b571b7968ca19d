"""Isolated calls: a third-party function fails, exits or never returns; its caller gets an error, others go on."""

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from kie_ai_mcp import InvalidArgument
from kie_ai_mcp._providers import guard
from kie_ai_mcp._providers.guard import run_in_time, run_isolated
from kie_ai_mcp.errors import PluginError

pytestmark = pytest.mark.anyio


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


async def test_what_a_function_returns_is_handed_on() -> None:
    assert await run_isolated("generate_fox of the provider acme", lambda: 7) == 7


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("not\nso"), "ValueError: not so"),
        (AssertionError(), "AssertionError"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError"),
        (StopIteration(), "StopIteration"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_function_raises_is_an_error_that_names_it(error: BaseException, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        await run_isolated("generate_fox of the provider acme", raising(error))

    start, place = f"generate_fox of the provider acme failed: {words} (", "providers/test_guard.py, line "
    assert caught.value.message.startswith(start + place)
    assert caught.value.charged == "no"


@pytest.mark.parametrize("folder", ["/site/acme", f"{Path(guard.__file__).parents[1]}_acme"])
async def test_line_of_the_plugin_is_named_and_none_of_a_library_that_it_calls(folder: str) -> None:
    source = "from pathlib import Path\ndef read():\n    return Path('/no/models.json').read_text()"
    namespace: dict[str, Any] = {"__name__": "kie_ai_mcp_acme"}
    exec(compile(source, f"{folder}/__init__.py", "exec"), namespace)

    with pytest.raises(PluginError) as caught:
        await run_isolated("acme", namespace["read"])

    place = f"({Path(folder).name}/__init__.py, line 3)."
    assert caught.value.message.endswith(f"No such file or directory: '/no/models.json' {place}")


async def test_what_a_function_refuses_on_purpose_stays_what_it_is() -> None:
    refusal = InvalidArgument("prompt", "a fox", "no foxes")
    with pytest.raises(InvalidArgument) as caught:
        await run_isolated("generate_fox of the provider acme", raising(refusal))
    assert caught.value is refusal


async def test_function_that_never_answers_is_given_up_while_everybody_else_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "ANSWER_S", 0.2)
    stuck, over = threading.Event(), threading.Event()

    def hang() -> None:
        stuck.set()
        over.wait(30)

    async def goes_on() -> None:
        while not stuck.is_set():  # noqa: ASYNC110  only a loop that is not held up gets to its end
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(goes_on)
        with pytest.raises(PluginError, match=r"acme gave no answer within 0\.2 s\."):
            await run_isolated("acme", hang)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "acme")
    assert thread.daemon, "it must not keep the process from ending"
    over.set()
    thread.join(5)


async def test_system_without_alarms_loads_without_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("setitimer", "SIGALRM", "ITIMER_REAL"):  # as on Windows
        monkeypatch.delattr(signal, name)
    assert run_in_time(lambda: 7, 1.0) == 7
    with pytest.raises(ValueError, match="its own"):
        run_in_time(raising(ValueError("its own")), 1.0)


async def test_functions_one_after_another_share_a_thread_and_one_that_hangs_gets_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "_idle", [])
    first = await run_isolated("acme", threading.get_ident)
    assert {await run_isolated("acme", threading.get_ident) for _ in range(5)} == {first}

    monkeypatch.setattr(guard, "ANSWER_S", 0.05)
    going_on = threading.Event()
    with pytest.raises(PluginError, match="gave no answer"):
        await run_isolated("acme", going_on.wait)
    monkeypatch.setattr(guard, "ANSWER_S", 10.0)
    assert await run_isolated("acme", threading.get_ident) != first
    going_on.set()
