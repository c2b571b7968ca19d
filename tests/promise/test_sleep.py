"""Sleep: a process that is stopped, as by a closed laptop, while a paid request is under way."""

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Rows
    from tests.promise.conftest import Launch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process can be stopped there")

TIMEOUT_S = 1.0


@pytest.mark.parametrize("fault", ["slow:0.3", "slow-body:0.3"])
def test_answer_that_came_during_a_sleep_is_read_although_time_is_over(
    fault: str, sandbox: Sandbox, launch: "Launch", rows: "Rows", tmp_path: "Path"
) -> None:
    server = launch(sandbox, KIE_AI_TIMEOUT=f"{TIMEOUT_S * 1000:.0f}")
    sandbox.play(fault, path="createTask")
    asked = server.ask("generate_nano_banana", prompt="A fox that sleeps")
    until(lambda: sandbox.ledger)
    server.signal(signal.SIGSTOP)
    time.sleep(TIMEOUT_S + 0.2)  # the sleep itself
    server.signal(signal.SIGCONT)
    answer = server.answer(asked)["structuredContent"]

    (paid,) = sandbox.ledger
    assert (answer["status"], answer["task_id"]) == ("pending", paid.task_id)
    (submission,) = rows(tmp_path, "submissions")
    assert (submission["state"], submission["task_id"]) == ("accepted", paid.task_id)


def test_request_that_nobody_answered_is_unknown_soon_after_a_sleep(sandbox: Sandbox, launch: "Launch") -> None:
    server = launch(sandbox, KIE_AI_TIMEOUT=f"{TIMEOUT_S * 1000:.0f}")
    sandbox.play("timeout", path="createTask")
    asked = server.ask("generate_nano_banana", prompt="A fox that sleeps")
    until(lambda: sandbox.ledger)
    server.signal(signal.SIGSTOP)
    time.sleep(TIMEOUT_S + 0.5)  # the sleep itself
    server.signal(signal.SIGCONT)

    assert server.answer(asked)["structuredContent"]["status"] == "unknown"
