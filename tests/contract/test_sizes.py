"""Size of what a model reads: names, descriptions and input schemas, as the server lists them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_types import Tool

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp.content import listing
from kie_ai_mcp._settings.settings import Settings

SEED_TOOLS = (
    "generate_nano_banana",
    "edit_nano_banana",
    "generate_gpt4o_image",
    "generate_flux_image",
    "edit_flux_image",
    "generate_midjourney_image",
    "generate_dalle3_image",
    "generate_ideogram_image",
    "generate_stable_diffusion3_image",
    "generate_playground_image",
    "generate_veo3_video",
    "generate_runway_aleph_video",
    "generate_luma_video",
    "generate_sora2_video",
    "generate_runway_gen3_video",
    "generate_kling_video",
    "generate_pika_video",
    "generate_haiper_video",
    "get_veo3_1080p_video",
    "get_task_status",
    "list_tasks",
)
SEED_BYTES = 17_000
ALL_BYTES = 38_000
COMPACT_BYTES = 4_600
MODEL_TOOL_BYTES = {"find_models": 350, "describe_model": 250, "run_model": 420, "estimate_cost": 260}
PARAMETER_BYTES = 110
OUTPUT_SCHEMA_BYTES = 600


@pytest.fixture(scope="module", params=["as it comes", "with a folder for results"])
def tools(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tool]]:
    folder: Path = tmp_path_factory.mktemp("sizes")
    # A folder gives every paid tool one argument more.
    saving = {} if request.param == "as it comes" else {"output_dir": folder / "out"}
    app = App.open(Settings.model_validate({"db_path": folder / "tasks.db", **saving}))
    yield {tool.name: tool for tool in listing(app).tools}
    app.engine.record.close()


def size(value: Any) -> int:
    """Bytes of compact JSON."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def given(tool: Tool) -> int:
    """Bytes that a model reads of one tool before it calls it."""
    return size({"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema})


def largest(tools: dict[str, Tool]) -> str:
    """The costliest tools first, for a message."""
    return ", ".join(f"{name} {given(tool)}" for name, tool in sorted(tools.items(), key=lambda item: -given(item[1])))


def test_tools_of_the_seed_fit_their_budget(tools: dict[str, Tool]) -> None:
    assert sorted(set(SEED_TOOLS) - set(tools)) == []
    seed = {name: tools[name] for name in SEED_TOOLS}
    assert sum(map(given, seed.values())) <= SEED_BYTES, largest(seed)


def test_all_tools_fit_their_budget(tools: dict[str, Tool]) -> None:
    assert sum(map(given, tools.values())) <= ALL_BYTES, largest(tools)


def test_tools_over_all_models_are_short(tools: dict[str, Tool]) -> None:
    sizes = {name: given(tools[name]) for name in MODEL_TOOL_BYTES}
    assert {name: bytes_ for name, bytes_ in sizes.items() if bytes_ > MODEL_TOOL_BYTES[name]} == {}


def test_compact_listing_fits_its_budget(tmp_path: Path) -> None:
    app = App.open(Settings.model_validate({"db_path": tmp_path / "tasks.db", "compact": True}))
    app.engine.record.close()
    assert sum(map(given, listing(app).tools)) <= COMPACT_BYTES


def test_parameters_are_short_in_every_tool(tools: dict[str, Tool]) -> None:
    entries = {name: tool.input_schema.get("properties", {}) for name, tool in tools.items()}
    averages = {name: size(listed) / len(listed) for name, listed in entries.items() if listed}
    assert {name: round(average) for name, average in averages.items() if average > PARAMETER_BYTES} == {}


def test_tools_cost_little_for_what_they_take(tools: dict[str, Tool]) -> None:
    parameters = sum(len(tool.input_schema.get("properties", {})) for tool in tools.values())
    assert sum(map(given, tools.values())) / parameters <= PARAMETER_BYTES, largest(tools)


def test_output_schemas_are_short(tools: dict[str, Tool]) -> None:
    sizes = {name: size(tool.output_schema) for name, tool in tools.items() if tool.output_schema}
    assert sizes
    assert {name: bytes_ for name, bytes_ in sizes.items() if bytes_ > OUTPUT_SCHEMA_BYTES} == {}
