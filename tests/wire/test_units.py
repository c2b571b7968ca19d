"""Prices of a service that counts in USD: every answer, list, file and page names the unit, and no sum adds units."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.conftest import Serve
    from tests.wire.conftest import Plant, Run

pytestmark = pytest.mark.anyio

TIDE = """
from kie_ai_mcp import Gateway, Outcome, Provider, StatusRoute, Submission, hookimpl

def make_tide(prompt: str) -> Submission:
    "Make a picture."
    return Submission("paint", {"prompt": prompt}, "tide", gateway="tide", estimated_credits=0.05)

@hookimpl
def kie_describe_provider():
    return Provider("Tide", settings={"key": "The key.", "base_url": "The address."})

@hookimpl
def kie_register_tools():
    return [make_tide]

@hookimpl
def kie_register_gateways(settings):
    return [Gateway("tide", "Tide", settings.get("base_url", ""), key=settings.get("key"), UNIT)]

@hookimpl
def kie_route_status(task):
    return StatusRoute(f"tasks/{task.task_id}", {})

@hookimpl
def kie_normalize_result(payload):
    if not payload.get("url"):
        return Outcome("processing")
    return Outcome("completed", (payload["url"],), credits=payload["cost"])
"""
CALL = {"prompt": "A fox"}


@pytest.fixture
def settings(plant: "Plant", httpserver: HTTPServer) -> dict[str, str]:
    """The settings of a server with the service, which makes a picture for 0.02 USD at once."""
    png = b"\x89PNG\r\n\x1a\n" + bytes(200)
    httpserver.expect_request("/fox.png").respond_with_data(png, content_type="image/png")
    httpserver.expect_request("/paint").respond_with_json({"code": 200, "data": {"taskId": "t-1"}})
    done = {"url": httpserver.url_for("/fox.png"), "cost": 0.02}
    httpserver.expect_request("/tasks/t-1").respond_with_json({"code": 200, "data": done})
    return {
        "PYTHONPATH": plant("tide", TIDE.replace("UNIT", 'unit="USD"')),
        "KIE_AI_PROVIDER_TIDE_KEY": "tide-secret-0123456789",
        "KIE_AI_PROVIDER_TIDE_BASE_URL": httpserver.url_for(""),
        "KIE_AI_TRUSTED_HOSTS": f"{httpserver.host}:{httpserver.port}",
    }


async def test_every_answer_names_the_unit_of_the_service(
    serve: "Serve", sandbox: Sandbox, settings: dict[str, str], tmp_path: Path
) -> None:
    said: dict[str, tuple[str, dict[str, Any]]] = {}
    async with serve(sandbox, KIE_AI_LOG_LEVEL="info", **settings) as client:

        async def call(tool: str, **arguments: Any) -> None:
            answer = await client.call_tool(tool, arguments)
            said[tool] = "".join(getattr(part, "text", "") for part in answer.content), answer.structured_content or {}

        await call("estimate_cost", name="make_tide", arguments=CALL)
        await call("make_tide", **CALL)
        task_id = said["make_tide"][1]["task_id"]
        await call("wait_for_tasks", task_ids=[task_id])
        for tool in ("get_task_status", "show_result", "save_result"):
            await call(tool, task_id=task_id)
        await call("list_tasks")
        await call("generate_nano_banana", **CALL)

    for tool, (text, _) in said.items():
        lines = [line for line in text.splitlines() if line.startswith(("Cost:", "Charged:", "Estimated"))]
        assert lines, tool
        assert ("USD" in text) is (tool != "generate_nano_banana"), text
        assert ("$" in text) is (tool == "generate_nano_banana"), text
    assert "Cost: 0.05 USD" in said["estimate_cost"][0]
    assert "Estimated cost: 0.05 USD" in said["make_tide"][0]
    assert (said["make_tide"][1]["estimated_credits"], said["make_tide"][1]["unit"]) == (0.05, "USD")
    for tool in ("wait_for_tasks", "list_tasks"):
        (task,) = said[tool][1]["tasks"]
        assert (task["credits"], task["unit"]) == (0.02, "USD")
        assert "Charged: yes, 0.02 USD" in said[tool][0]
    assert "Kie.ai credits, estimates included: 0 in this list, 0 in the last 24 hours" in said["list_tasks"][0]
    assert "unit" not in said["generate_nano_banana"][1]
    assert "estimated_credits=0.05 unit=USD" in (tmp_path / "server.log").read_text("utf-8")
    (sidecar,) = (tmp_path / "out").glob("*.json")
    story = json.loads(sidecar.read_text("utf-8"))
    assert (story["credits"], story["unit"]) == (0.02, "USD")


def test_command_line_and_gallery_name_the_unit_and_add_it_to_no_credits(
    run: "Run", sandbox: Sandbox, settings: dict[str, str], tmp_path: Path
) -> None:
    def printed(*arguments: str, **more: str) -> str:
        done = run(*arguments, sandbox=sandbox, **settings | more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = printed("call", "make_tide", "prompt=A fox", "--wait")
    assert "Charged: yes, 0.02 USD" in made
    printed("call", "generate_nano_banana", "prompt=A fox")
    assert "0.02 USD" in next(line for line in printed("tasks", "list").splitlines() if "make_tide" in line)
    assert "Charged: yes, 0.02 USD" in printed("tasks", "show", "tide:t-1")
    assert "Kie.ai credits: 4, of which" in printed("tasks", "stats")
    rows = list(csv.DictReader(io.StringIO(printed("tasks", "export", "--csv"))))
    assert {row["gateway"]: row["unit"] for row in rows} == {"tide": "USD", "kie": "credits"}
    lines = [json.loads(line) for line in printed("tasks", "export").splitlines()]
    assert {(line["gateway"], line["unit"]) for line in lines} == {("tide", "USD"), ("kie", "credits")}
    page = Path(printed("gallery", "--no-open").strip()).read_text("utf-8")
    assert '"credits": 0.02, "unit": "USD"' in page
    assert "Charged: yes, 0.02 of tide" in printed("tasks", "show", "tide:t-1", KIE_AI_DISABLED_PROVIDERS="tide")


async def test_limits_and_consent_word_a_price_in_its_unit(
    serve: "Serve", sandbox: Sandbox, settings: dict[str, str]
) -> None:
    async with serve(sandbox, KIE_AI_CONFIRM_CREDITS="5", **settings) as client:
        dear = (await client.call_tool("make_tide", {**CALL, "max_credits": 0.01})).structured_content or {}
        asked = (await client.call_tool("make_tide", CALL)).structured_content or {}

    assert "costs about 0.05 USD; max_credits is 0.01." in dear["error"]
    assert "Price: 0.05 USD;" in asked["error"]


async def test_credits_of_another_service_are_not_taken_for_those_of_kie(
    serve: "Serve", sandbox: Sandbox, settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "plugins/kie_ai_mcp_tide.py").write_text(TIDE.replace(", UNIT", ""), "utf-8")
    async with serve(sandbox, **settings) as client:
        cost = (
            await client.call_tool("estimate_cost", {"name": "make_tide", "arguments": CALL})
        ).structured_content or {}
        made = (await client.call_tool("make_tide", CALL)).structured_content or {}

    assert (cost["unit"], "dollars" in cost, made["unit"]) == ("Tide credits", False, "Tide credits")
