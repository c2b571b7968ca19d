"""``plugin install`` and ``plugin remove`` in real environments, with wheels of this repository alone."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.packaging.tomorrow import wheel

if TYPE_CHECKING:
    from tests.packaging.conftest import Uv, Venv, VenvWith

VERSION = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]["version"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dist: Path) -> None:
    """Installers find what this repository built, and nothing else; settings are the test's own."""
    (tmp_path / "config.toml").touch()
    places = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(dist),
        "UV_FIND_LINKS": str(dist),
        "KIE_AI_CONFIG": str(tmp_path / "config.toml"),
        "KIE_AI_DB_PATH": str(tmp_path / "tasks.db"),
    }
    for name, value in places.items():
        monkeypatch.setenv(name, value)


def plugin(venv: "Venv", *words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``plugin`` of an environment."""
    return venv.run("kie-ai-mcp-core", "plugin", *words, check=False)


def listed(venv: "Venv") -> dict[str, dict[str, str]]:
    """What ``plugin list`` says, by provider."""
    return {row["provider"]: row for row in json.loads(plugin(venv, "list", "--json").stdout)}


@pytest.mark.parametrize("way", ["uv pip", "pip"])
def test_plugin_comes_and_goes_by_the_installer_of_the_environment(venv_with: "VenvWith", way: str) -> None:
    venv = venv_with("kie-ai-mcp-core")
    if way == "pip":
        venv.run("python", "-m", "ensurepip")
    try:
        added = plugin(venv, "install", "flux", "--yes")
        assert added.returncode == 0, added.stderr
        assert f"{way} install" in added.stderr.splitlines()[0]
        assert f"flux {VERSION} (kie-ai-mcp-flux) is enabled: generate_flux_image, edit_flux_image" in added.stdout
        row = listed(venv)["flux"]
        assert (row["version"], row["by"], row["state"]) == (VERSION, "this project", "enabled")

        removed = plugin(venv, "remove", "flux", "--yes")
        assert (removed.returncode, "Removed: kie-ai-mcp-flux." in removed.stdout) == (0, True), removed.stderr
        assert "flux" not in listed(venv)
    finally:
        if way == "pip":
            venv.uninstall("pip")


def test_plugin_of_a_third_party_is_installed_from_its_path(
    venv_with: "VenvWith", run_uv: "Uv", tmp_path: Path
) -> None:
    venv = venv_with("kie-ai-mcp-core")
    added = plugin(venv, "install", wheel(run_uv, tmp_path / "tomorrow"), "--yes")
    assert (added.returncode, "tomorrow 2.0.0 (kie-ai-mcp-tomorrow) is enabled" in added.stdout) == (0, True)
    assert listed(venv)["tomorrow"]["by"] == "a third party"
    assert plugin(venv, "remove", "kie-ai-mcp-tomorrow", "--yes").returncode == 0
    assert listed(venv) == {}


def test_plugin_that_is_set_aside_or_none_at_all_is_said(venv_with: "VenvWith", run_uv: "Uv", tmp_path: Path) -> None:
    venv = venv_with("kie-ai-mcp-core")
    added = plugin(venv, "install", wheel(run_uv, tmp_path / "later", contract=2), "--yes")
    assert (added.returncode, "is set aside: it is built for contract 2" in added.stdout) == (1, True)
    venv.uninstall("kie-ai-mcp-tomorrow")
    added = plugin(venv, "install", wheel(run_uv, tmp_path / "other", entry_points=""), "--yes")
    assert (added.returncode, "no entry point in the group kie_ai_mcp" in added.stderr) == (1, True)


def test_nothing_is_run_without_a_yes_or_for_a_name_that_is_nearly_one_of_ours(venv_with: "VenvWith") -> None:
    venv = venv_with("kie-ai-mcp-core")
    unasked = plugin(venv, "install", "flux")
    assert (unasked.returncode, "give --yes" in unasked.stderr) == (2, True)
    assert "This runs: " in unasked.stderr
    for name in ("fluxx", "kie-ai-mcp-fluxx", "kie_ai_mcp_flx>=1"):
        refused = plugin(venv, "install", name, "--yes")
        assert (refused.returncode, "Did you mean" in refused.stderr, "This runs" in refused.stderr) == (2, True, False)
    assert plugin(venv, "install", "./none.whl", "--yes").returncode == 2
    failed = plugin(venv, "install", "kie-ai-mcp-acme==9", "--yes")
    assert (failed.returncode, "ended with exit code" in failed.stderr) == (1, True)
    assert listed(venv) == {}


def test_plugin_of_a_uv_tool_stays_beside_the_others(
    run_uv: "Uv", dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_TOOL_DIR", str(tmp_path / "tools"))
    monkeypatch.setenv("UV_TOOL_BIN_DIR", str(tmp_path / "bin"))
    own = next(dist.glob("kie_ai_mcp_server-*.whl"))
    other = wheel(run_uv, tmp_path / "tomorrow")
    run_uv("tool", "install", "--python", sys.executable, str(own))
    command = [str(tmp_path / "bin" / "kie-ai-mcp-server"), "plugin"]

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_"))}
        environ["PATH"] = os.pathsep.join([str(Path(shutil.which("uv") or os.environ["UV"]).parent), environ["PATH"]])
        done = subprocess.run([*command, *words], capture_output=True, text=True, env=environ, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    assert f"uv tool install --with {other}" in run("install", other, "--yes").stderr
    assert "tomorrow" in run("list").stdout
    assert "kie-ai-mcp-flux" in run("list").stdout
    run("remove", "tomorrow", "--yes")
    assert "tomorrow" not in run("list").stdout


def test_uvx_says_how_to_start_with_the_plugin(dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cursor").mkdir()
    entry = {"command": "uvx", "args": ["kie-ai-mcp-server"]}
    (tmp_path / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": {"kie-ai": entry}}), "utf-8")
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv
    cache = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    start = [uv, "tool", "run", "--quiet", "--find-links", str(dist), "--from", "kie-ai-mcp-core", "kie-ai-mcp-core"]
    done = subprocess.run(
        [*start, "plugin", "install", "flux", "--yes"],
        env={**os.environ, "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", cache)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    command = "uvx --with kie-ai-mcp-flux --from kie-ai-mcp-core kie-ai-mcp-core"
    assert f"  {command}\n" in done.stdout
    assert f"Renew each with:\n  {command} install cursor\n" in done.stdout
