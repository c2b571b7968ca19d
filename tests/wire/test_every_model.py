"""Every model of the market: its smallest input is sent as it is and finished, and what its schema forbids is not."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client

from kie_ai_mcp import Model
from kie_ai_mcp._models.checking import check
from kie_ai_mcp._models.samples import usual
from kie_ai_mcp.testing import smallest_input
from kie_ai_mcp_market import kie_register_models
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data

if TYPE_CHECKING:
    from tests.conftest import ServeIn

CREATE = "/api/v1/jobs/createTask"
MODELS = {model.id: model for model in kie_register_models() if isinstance(model, Model)}

SPY = """
import sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("models.json"):
        print("READ", arguments[0], file=sys.stderr)

sys.addaudithook(hook)
"""
"""A module that Python imports at its start: it tells of every data file of models that is opened."""


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """The shared service, which takes more requests in a window than there are models."""
    with Sandbox(speed=10_000, rate_limit=1_000, credits=1e6) as sandbox:
        yield sandbox


@pytest.mark.anyio
async def test_smallest_input_of_every_model_is_sent_as_it_is_and_finished(
    client: Client, fresh_service: Sandbox
) -> None:
    started = {}
    for model in MODELS.values():
        answer = data(await client.call_tool("run_model", {"model": model.id, "input": smallest_input(model).input}))
        assert answer["status"] == "pending", (model.id, answer.get("error"))
        started[answer["task_id"]] = model
    bodies = [seen.body for seen in fresh_service.requests if seen.path == CREATE]
    assert {body["model"]: body["input"] for body in bodies} == {
        name: smallest_input(MODELS[name]).input for name in MODELS
    }
    assert len(bodies) == len(MODELS)
    for some in batched(started, 10):
        done = data(await client.call_tool("wait_for_tasks", {"task_ids": some, "timeout_s": 15}))
        for task in done["tasks"]:
            model = started[task["task_id"]]
            assert (task["status"], task["model"]) == ("completed", model.id), task.get("error")
            assert bool(task["result_urls"]) == (model.kind != "text"), model.id


@pytest.mark.anyio
async def test_data_of_models_is_read_when_they_are_first_asked_for(serve_in: "ServeIn", tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SPY, encoding="utf-8")
    log = tmp_path / "server.log"
    async with serve_in(tmp_path, PYTHONPATH=str(tmp_path)) as client:
        await client.list_tools()
        assert "READ" not in log.read_text("utf-8")
        await client.call_tool("find_models", {"words": "upscale"})
        assert log.read_text("utf-8").count("READ") >= 1


def batched(values: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some


def test_every_input_that_a_schema_forbids_is_a_fault_of_its_model() -> None:
    taken = []
    for model in MODELS.values():
        good = smallest_input(model).input
        assert check(model, good).faults == (), model.id
        taken += [(model.id, words) for words, sent in bad_inputs(model, good) if not check(model, sent).faults]
    assert taken == []


def bad_inputs(model: Model, good: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield inputs that break one word of the schema each, and what they break."""
    yield "an unknown field", {**good, "promt": "a fox"}
    for name in model.input["required"]:
        yield f"without {name}", {other: value for other, value in good.items() if other != name}
    for name, schema in model.input["properties"].items():
        if "enum" in schema:
            yield f"another {name}", {**good, name: "none of them"}
        for word, beyond in (("maximum", 1), ("minimum", -1), ("exclusiveMinimum", 0)):
            if word in schema:
                yield f"{word} of {name}", {**good, name: schema[word] + beyond}
        if "maxLength" in schema:
            yield f"length of {name}", {**good, name: "x" * (schema["maxLength"] + 1)}
        if "maxItems" in schema:
            yield f"items of {name}", {**good, name: [usual(model, f"{name}[]")] * (schema["maxItems"] + 1)}
