"""Signals: the process ends after its work, within a limit, whatever signals come meanwhile."""

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signal receivers there")

WORK = """
import sys, time
from functools import partial
import anyio
from kie_ai_mcp._mcp.signals import end_on_signal

async def finish(received):
    print("finishing", flush=True)
    FINISH
    print("finished", received, flush=True)

async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(partial(end_on_signal, finish, limit_s=LIMIT))
        await anyio.sleep(0)
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)

anyio.run(main)
"""


def started(finish: str, limit_s: float, begin: str = "") -> "subprocess.Popen[str]":
    source = begin + WORK.replace("FINISH", finish).replace("LIMIT", str(limit_s))
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_work_is_finished_first_and_a_second_signal_does_not_cut_it_short(number: signal.Signals) -> None:
    with started("await anyio.sleep(0.5)", limit_s=20) as process:
        assert process.stdout is not None
        process.send_signal(number)
        assert process.stdout.readline() == "finishing\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == (0 if number == signal.SIGTERM else 128 + number)
        assert process.stdout.read() == f"finished {int(number)}\n"


def test_work_in_a_thread_that_never_ends_is_given_up_after_the_limit() -> None:
    with started("await anyio.to_thread.run_sync(time.sleep, 60)", limit_s=0.2) as process:
        assert process.stdout is not None
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert time.monotonic() - begun < 20
        assert process.stdout.read() == "finishing\n"


def test_loop_without_signal_handlers_of_its_own_ends_in_the_same_way() -> None:
    # As on Windows, where the loop looks for signals by itself.
    begin = """
import asyncio, signal
def missing(*_): raise NotImplementedError
asyncio.SelectorEventLoop.add_signal_handler = asyncio.SelectorEventLoop.remove_signal_handler = missing
"""
    with started("await anyio.sleep(0.1)", limit_s=20, begin=begin) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout.read() == f"finishing\nfinished {int(signal.SIGTERM)}\n"


def test_hang_up_that_was_to_be_ignored_is_ignored() -> None:
    begin = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with started("await anyio.sleep(0)", limit_s=20, begin=begin) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
