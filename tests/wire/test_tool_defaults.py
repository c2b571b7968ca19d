"""The user's own defaults of tools' arguments: sections [tools.NAME] of the configuration file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp.errors import ConfigError
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, text

if TYPE_CHECKING:
    from tests.conftest import Rows, ServeIn
    from tests.wire.conftest import RunIn

pytestmark = pytest.mark.anyio

FILE = """
pinned_models = ["z-image"]

[tools.generate_veo3_video]
model = "veo3_lite"
aspectRatio = "9:16"
max_credits = 40

[tools.generate_seedream_image]
max_credits = 0.5

[tools.z_image]
aspect_ratio = "3:4"

[tools.list_tasks]
limit = 3

[tools.generate_luma_video]  # of a provider that is not loaded
duration = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(FILE, "utf-8")
    return path


def bodies(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [seen.body for seen in sandbox.requests if seen.body and "prompt" in str(seen.body)]


async def test_own_defaults_are_listed_sent_priced_and_part_of_what_a_request_is(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox, file: Path, rows: "Rows"
) -> None:
    off = "luma"
    async with serve_in(tmp_path, sandbox, KIE_AI_CONFIG=str(file), KIE_AI_DISABLED_PROVIDERS=off) as client:
        schemas = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        veo = schemas["generate_veo3_video"]["properties"]
        assert (veo["model"]["default"], veo["max_credits"]["default"]) == ("veo3_lite", 40)
        assert schemas["z_image"]["properties"]["aspect_ratio"]["default"] == "3:4"
        assert "aspect_ratio" not in schemas["z_image"]["required"]
        assert schemas["list_tasks"]["properties"]["limit"]["default"] == 3
        assert "max_credits" not in schemas["generate_kling_video"]["properties"]

        first = data(await client.call_tool("generate_veo3_video", {"prompt": "A fox", "model": None}))
        again = {"prompt": "A fox", "model": "veo3_lite", "aspectRatio": "9:16", "max_credits": 40}
        same = data(await client.call_tool("generate_veo3_video", {**again, "idempotency_key": "the fox"}))
        other = data(await client.call_tool("generate_veo3_video", {"prompt": "A fox", "aspectRatio": "16:9"}))
        assert [answer["status"] for answer in (first, same, other)] == ["pending"] * 3
        hashes = [row["body_hash"] for row in rows(tmp_path, "submissions")]
        assert (hashes[0] == hashes[1], hashes[0] == hashes[2]) == (True, False)
        sent = [(body["model"], body["aspect_ratio"]) for body in bodies(sandbox)]
        assert sent == [("veo3_lite", "9:16")] * 2 + [("veo3_lite", "16:9")]

        cost = data(await client.call_tool("estimate_cost", {"name": "z_image", "arguments": {"prompt": "A fox"}}))
        assert cost["valid"]
        await client.call_tool("z_image", {"prompt": "A pinned fox"})
        assert bodies(sandbox)[-1]["input"] == {"prompt": "A pinned fox", "aspect_ratio": "3:4"}


async def test_refused_default_is_said_to_come_from_its_section(
    serve_in: "ServeIn", tmp_path: Path, sandbox: Sandbox, file: Path
) -> None:
    off = "luma"
    async with serve_in(tmp_path, sandbox, KIE_AI_CONFIG=str(file), KIE_AI_DISABLED_PROVIDERS=off) as client:
        place = f"of [tools.generate_seedream_image] in {file}"
        dear = await client.call_tool("generate_seedream_image", {"prompt": "A fox"})
        assert (dear.is_error, f"max_credits=0.5 {place}" in text(dear)) == (True, True)
        given = await client.call_tool("generate_seedream_image", {"prompt": "A fox", "max_credits": 0.4})
        assert (given.is_error, place in text(given)) == (True, False)
        pictures = {"prompt": "A fox", "imageUrls": ["https://a.example/1.png"] * 3, "aspectRatio": "1:1"}
        wrong = data(await client.call_tool("generate_veo3_video", {**pictures, "resolution": "999p"}))
        assert wrong["status"] == "refused"
        assert "aspectRatio=" not in wrong["error"]
        assert bodies(sandbox) == []


WRONG = {
    "unknown argument": ('[tools.generate_veo3_video]\nmodle = "veo3"', "modle", "did you mean 'model'"),
    "other name": ('[tools.generate_veo3_video]\naspect_ratio = "9:16"', "aspect_ratio", "did you mean 'aspectRatio'"),
    "value that is not taken": ('[tools.generate_veo3_video]\nmodel = "veo4"', "'veo4'", "veo3_fast"),
    "ceiling below nothing": ("[tools.generate_veo3_video]\nmax_credits = -1", "max_credits", "-1"),
    "ceiling of what is free": ("[tools.get_veo3_1080p_video]\nceiling = 3", "ceiling", "task_id"),
    "name of one request": (
        '[tools.generate_veo3_video]\nidempotency_key = "a"',
        "idempotency_key",
        "names one request",
    ),
    "folder without an output folder": ('[tools.generate_veo3_video]\nsubfolder = "a"', "subfolder", "OUTPUT_DIR"),
    "unknown tool": ("[tools.generate_veo_vidoe]\nduration = 5", "'generate_veo_vidoe'", "generate_veo3_video"),
    "tool of the server": ("[tools.list_tasks]\nlimt = 5", "limt", "limit"),
    "pinned model": ('pinned_models = ["z-image"]\n[tools.z_image]\naspect_ratio = "9:9"', "9:9", "9:16"),
    "no section": ("[tools]\ngenerate_veo3_video = 3", "tools", "dictionary"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_default_is_a_fault_of_the_settings_that_names_file_and_key(case: str, tmp_path: Path) -> None:
    written, *words = WRONG[case]
    path = tmp_path / "mine.toml"
    path.write_text(f'db_path = "{tmp_path.as_posix()}/tasks.db"\n{written}', "utf-8")
    environ = {"KIE_AI_CONFIG": str(path)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIE_AI_CONFIG", str(path))
        with pytest.raises(ConfigError) as error:
            App.open(load_settings(environ))
        faults: list[ConfigError] = []
        app = App.open(load_settings(environ, faults), faults)
        app.engine.record.close()
    assert [word for word in (*words, str(path)) if word not in str(error.value)] == []
    assert [str(fault) for fault in faults] == [str(error.value)]
    assert app.settings.tools == {}
    assert "generate_veo3_video" in app.names


def test_commands_show_own_defaults_and_where_they_stand(run_in: "RunIn", tmp_path: Path, file: Path) -> None:
    shown = run_in(tmp_path, "config", "show", KIE_AI_CONFIG=str(file)).stdout
    assert "tools.generate_veo3_video.model" in shown
    for tool, name, value in ("generate_veo3_video", "model", "veo3_lite"), ("list_tasks", "limit", 3):
        described = json.loads(run_in(tmp_path, "tools", tool, "--json", KIE_AI_CONFIG=str(file)).stdout)
        assert described["input_schema"]["properties"][name]["default"] == value
