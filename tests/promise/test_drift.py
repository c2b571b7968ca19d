"""Drift of the service, from end to end: a server notices each sort of it by itself, and says each once."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until

if TYPE_CHECKING:
    from tests.promise.conftest import LaunchIn, Server

QUICK = {"look": 0.1, "lease": 1.0, "least": 0.05, "usual": {"image": 0.0, "video": 0.0}}
PROVIDERS = {"KIE_AI_ENABLED_PROVIDERS": "nano-banana,market"}
PICTURE, OTHER, FAILING, CODED, RESTING = (
    "z-image",
    "nano-banana-2",
    "google/imagen4-fast",
    "google/imagen4",
    "qwen/text-to-image",
)
DAY_S = 86_400


def notes(server: "Server", tool: str = "list_tasks") -> list[str]:
    return list(server.call(tool)["structuredContent"].get("notes", ()))


def buy(server: "Server", model: str, prompt: str) -> str:
    picture = {"prompt": prompt, **({} if model in {OTHER, RESTING} else {"aspect_ratio": "1:1"})}
    answer = server.call("run_model", model=model, input=picture)["structuredContent"]
    assert answer["status"] == "pending", answer
    return str(answer["task_id"])


def tomorrow(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "tasks.db", timeout=10)) as database, database:
        database.execute("UPDATE kept SET until = until - ? WHERE sort = 'look'", (DAY_S,))
        database.execute("UPDATE kept SET read_at = read_at - ? WHERE sort = 'list'", (DAY_S,))


@pytest.fixture(scope="module")
def told(launch_in: "LaunchIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """All that two days of a service that drifts make the servers of one folder say."""
    folder, said = tmp_path_factory.mktemp("drift"), list[str]()
    with Sandbox(speed=50) as sandbox, ExitStack() as stack:
        for drift in (
            f"charge:150@{PICTURE}",
            f"success-rate:60@{FAILING}",
            f"fail-code:477@{CODED}",
            f"state:resting@{RESTING}",
            "address-gone@jobs/createTask",
        ):
            sandbox.drift(drift)
        silent = stack.enter_context(launch_in(folder, sandbox, None, KIE_AI_WATCH="false", **PROVIDERS))
        tasks = [buy(silent, PICTURE, f"Fox {number}") for number in range(3)]
        tasks.append(buy(silent, CODED, "[fail] A fox"))
        silent.call("wait_for_tasks", task_ids=tasks)
        assert notes(silent) == []

        first, second = (
            stack.enter_context(launch_in(folder, sandbox, {"constants": QUICK}, **PROVIDERS)) for _ in range(2)
        )

        def heard(count: int) -> bool:
            said.extend([*notes(first), *notes(second)])
            return len(said) >= count

        assert notes(first) == notes(second) == []
        assert not any("/models" in seen.path for seen in sandbox.requests)
        buy(first, OTHER, "A fox")
        until(lambda: heard(3))
        buy(first, RESTING, "[slow] A fox")
        until(lambda: heard(4))
        for number in range(2):
            buy(second, FAILING, f"[fail] {number}")
        until(lambda: heard(5))
        sandbox.drift("new-model@acme/text-to-image-9")
        sandbox.drift("new-chat-model@acme/chat-9")
        sandbox.drift("model-gone@google/nano-banana-edit")
        sandbox.drift(f"price:99@{PICTURE}")
        tomorrow(folder)
        buy(second, OTHER, "Another fox")
        until(lambda: heard(8))
        tomorrow(folder)
        buy(first, OTHER, "A third fox")
        until(lambda: sum(seen.path.endswith("/models") for seen in sandbox.requests) == 3)
        yield said + notes(first) + notes(second)


@pytest.mark.parametrize(
    "begin",
    [
        "The price table of 2026-10-02 is old: z-image costs",
        "Kie.ai answers with an unknown code, 477 (times: 1,",
        "Kie.ai does not serve jobs/createTask; playground/createTask answers",
        "Kie.ai reports a state that is unknown here, 'resting' (tasks: 1,",
        "google/imagen4-fast failed 40 % of the last hour; it is probably not your prompt.",
        "Kie.ai has new models: acme/text-to-image-9. run_model takes them by name",
        "Kie.ai does not list google/nano-banana-edit (edit_nano_banana)",
        "Kie.ai changed what it says of the price of z-image:",
    ],
)
def test_each_drift_of_the_service_is_told_once(told: list[str], begin: str) -> None:
    assert len([note for note in told if note.startswith(begin)]) == 1, told


def test_nothing_else_is_told(told: list[str]) -> None:
    assert len(told) == 8, told
