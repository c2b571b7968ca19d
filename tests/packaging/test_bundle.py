"""The bundle: what it holds, what the official tool says of it, and its start as a host starts it."""

import json
import os
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import parse_wheel_filename
from PIL import Image

from kie_ai_mcp._settings.settings import Settings, variable
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import data, text
from tests.hosts.node import Missing, Node, install
from tests.packaging.hosting import Value, hosted, replaced

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MANIFEST: dict[str, Any] = json.loads((ROOT / "bundle/manifest.json").read_text(encoding="utf-8"))
CONFIG: dict[str, Any] = MANIFEST["server"]["mcp_config"]
DEFAULTS: dict[str, Value] = {
    f"user_config.{name}": str(option["default"])
    for name, option in MANIFEST["user_config"].items()
    if "default" in option
}
LIMIT_S = 120


def build(dist: Path, output: Path) -> Path:
    command = [sys.executable, "tools/bundle.py", "--wheels", str(dist), "--output", str(output)]
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=LIMIT_S, check=True)
    (bundle,) = output.glob("*.mcpb")
    return bundle


@pytest.fixture(scope="module")
def bundle(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(dist, tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def unpacked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A space, as in the folder of every desktop host.
    folder = tmp_path_factory.mktemp("Application Support") / "Claude Extensions"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def official() -> Node:
    try:
        return install()
    except Missing as missing:
        pytest.skip(f"needs Node and packages of the npm registry: {missing}")


# What it holds -------------------------------------------------------------------------------------------------------


def test_bundle_holds_every_distribution_and_asks_no_index_for_one(unpacked: Path) -> None:
    project = tomllib.loads((unpacked / "pyproject.toml").read_text(encoding="utf-8"))
    wheels = {str(parse_wheel_filename(path.name)[0]): path for path in (unpacked / "wheels").iterdir()}
    assert set(wheels) == {PROJECT["name"], *(pin.partition("==")[0] for pin in PROJECT["dependencies"])}
    assert set(wheels) <= set(project["project"]["dependencies"])
    sources = project["tool"]["uv"]["sources"]
    assert {name: unpacked / source["path"] for name, source in sources.items()} == wheels


def test_same_wheels_make_the_same_bundle(dist: Path, bundle: Path, tmp_path: Path) -> None:
    assert build(dist, tmp_path).read_bytes() == bundle.read_bytes()


def test_bundle_without_a_wheel_is_not_built(dist: Path, tmp_path: Path) -> None:
    for wheel in dist.glob("*.whl"):
        if "veo3" not in wheel.name:
            (tmp_path / wheel.name).symlink_to(wheel)
    command = [sys.executable, "tools/bundle.py", "--wheels", str(tmp_path), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1
    assert "kie-ai-mcp-veo3" in done.stderr


def test_icon_has_the_size_that_hosts_show(unpacked: Path) -> None:
    with Image.open(unpacked / MANIFEST["icon"]) as icon:
        assert (icon.format, icon.size) == ("PNG", (512, 512))


def test_every_choice_of_the_user_reaches_a_setting_that_exists() -> None:
    known = {variable(field) for field in Settings.model_fields}
    used = {value for value in [*CONFIG["env"].values(), *CONFIG["args"]] if value.startswith("${user_config.")}
    assert set(CONFIG["env"]) <= known
    assert used == {f"${{user_config.{name}}}" for name in MANIFEST["user_config"]}
    secret = [name for name, option in MANIFEST["user_config"].items() if option.get("sensitive")]
    assert secret == ["api_key"]


# The official tool ---------------------------------------------------------------------------------------------------


def test_official_tool_accepts_the_bundle(official: Node, bundle: Path, unpacked: Path, tmp_path: Path) -> None:
    checked = official.run("mcpb", "validate", str(unpacked / "manifest.json"))
    assert "Manifest schema validation passes!" in checked.stdout, checked.stdout + checked.stderr
    shown = official.run("mcpb", "info", str(bundle))
    assert bundle.name in shown.stdout, shown.stdout + shown.stderr
    packed = official.run("mcpb", "pack", str(unpacked), str(tmp_path / "again.mcpb"))
    assert packed.returncode == 0, packed.stdout + packed.stderr
    with zipfile.ZipFile(bundle) as ours, zipfile.ZipFile(tmp_path / "again.mcpb") as theirs:
        ignored = {name for name in theirs.namelist() if name.startswith((".venv/", "uv.lock", "__pycache__/"))}
        assert sorted(set(theirs.namelist()) - ignored) == sorted(ours.namelist())


@pytest.mark.parametrize("chosen", [{"api_key": "k"}, {"api_key": "k", "upload_folders": ["/a b", "/c"]}])
def test_official_library_makes_the_command_that_is_tried_here(official: Node, chosen: dict[str, Value]) -> None:
    given = {"manifest": MANIFEST, "extensionPath": "/bundle", "systemDirs": {"HOME": "/me"}, "userConfig": chosen}
    script = (
        'import { getMcpConfigForManifest } from "@anthropic-ai/mcpb";'
        f"console.log(JSON.stringify(await getMcpConfigForManifest({json.dumps({**given, 'pathSeparator': '/'})})));"
    )
    command = [official.program, "--input-type=module", "--eval", script]
    done = subprocess.run(command, cwd=official.modules, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    variables = {"__dirname": "/bundle", **DEFAULTS, **{f"user_config.{name}": value for name, value in chosen.items()}}
    assert json.loads(done.stdout.splitlines()[-1]) == replaced(CONFIG, variables)


# Its start -----------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_host_starts_the_bundle_with_the_users_choices(unpacked: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    folders = [tmp_path / f"first{os.pathsep} inputs", tmp_path / "more"]
    for folder in folders:
        folder.mkdir()
        Image.new("RGB", (400, 300)).save(folder / "fox.png")
    variables: dict[str, Value] = {
        "__dirname": str(unpacked),
        "user_config.api_key": "key-of-the-tests",
        "user_config.output_folder": "${HOME}/results",
        "user_config.upload_folders": [*map(str, folders)],
        "user_config.credits_per_day": "5",
    }
    service = {"KIE_AI_BASE_URL": sandbox.base_url, "KIE_AI_UPLOAD_URL": sandbox.upload_url}
    async with hosted(replaced(CONFIG, variables), tmp_path, **service) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"generate_nano_banana", "generate_veo3_video", "get_credits"} <= names
        assert not (await client.call_tool("get_credits", {})).is_error
        for folder in folders:
            assert data(await client.call_tool("upload_file", {"path": str(folder / "fox.png")}))["url"]
        made = await client.call_tool("generate_nano_banana", {"prompt": "a fox"})
        await client.call_tool("wait_for_tasks", {"task_ids": [data(made)["task_id"]]})
        refused = await client.call_tool("generate_veo3_video", {"prompt": "a fox runs"})
    assert [path.suffix for path in sorted((tmp_path / "results").rglob("*.*"))] != []
    assert refused.is_error
    assert "KIE_AI_MAX_CREDITS_PER_DAY" in text(refused)
    assert len(sandbox.ledger) == 1


@pytest.mark.anyio
async def test_bundle_starts_with_a_key_and_nothing_else(unpacked: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    variables: dict[str, Value] = {"__dirname": str(unpacked), "user_config.api_key": "key-of-the-tests"}
    async with hosted(replaced(CONFIG, variables), tmp_path, KIE_AI_BASE_URL=sandbox.base_url) as client:
        assert not (await client.call_tool("get_credits", {})).is_error
        made = await client.call_tool("generate_nano_banana", {"prompt": "a fox"})
    assert not made.is_error, text(made)


def test_unset_choices_are_no_settings() -> None:
    is_set = runpy.run_path(str(ROOT / "bundle/server.py"))["is_set"]
    assert [is_set(value) for value in ("", " ", "${user_config.output_folder}", "~/Pictures")] == [False] * 3 + [True]
