"""`new-provider` writes a package that works at once: its tests, its types, its lint, its wheel, its tool."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp import InvalidArgument
from kie_ai_mcp_authors.new_provider import check_name

if TYPE_CHECKING:
    from tests.packaging.conftest import Serve, Uv, VenvWith

LIMIT_S = 120.0


def new_provider(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kie_ai_mcp", "new-provider", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.fixture(scope="module", autouse=True)
def type_check(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str]"]:
    """mypy over new providers, as their own configuration wants it: it runs beside the first test."""
    folder = tmp_path_factory.mktemp("typed")
    assert new_provider("tidal-wave", cwd=folder).returncode == 0
    assert new_provider("coral-reef", "--models", cwd=folder).returncode == 0
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache")]
    command += ["--config-file", "kie-ai-mcp-tidal-wave/pyproject.toml"]
    command += [f"kie-ai-mcp-{name}/{part}" for name in ("tidal-wave", "coral-reef") for part in ("src", "tests")]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.kill()


@pytest.mark.anyio
async def test_new_provider_is_built_installed_and_called(
    venv_with: "VenvWith", serve_from: "Serve", run_uv: "Uv", httpserver: HTTPServer, tmp_path: Path
) -> None:
    venv = venv_with("kie-ai-mcp-core[testing]")
    venv.run("kie-ai-mcp-core", "new-provider", "tidal-wave", cwd=tmp_path)
    folder = tmp_path / "kie-ai-mcp-tidal-wave"
    run_uv("build", cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.install("--no-deps", str(wheel))

    tested = venv.run("python", "-m", "pytest", "-q", cwd=folder).stdout
    assert "3 passed" in tested, tested

    answer = {"code": 200, "msg": "success", "data": {"taskId": "task-1"}}
    httpserver.expect_request("/api/v1/jobs/createTask", "POST").respond_with_json(answer)
    async with serve_from(venv, KIE_AI_BASE_URL=httpserver.url_for("/api/v1")) as client:
        made = await client.call_tool("generate_tidal_wave_image", {"prompt": "a wave"})
    assert made.structured_content is not None
    assert made.structured_content["task_id"] == "task-1"
    assert made.structured_content["provider"] == "tidal-wave"
    httpserver.check()


@pytest.mark.anyio
async def test_package_of_models_is_built_installed_and_called(
    venv_with: "VenvWith", serve_from: "Serve", run_uv: "Uv", httpserver: HTTPServer, tmp_path: Path
) -> None:
    venv = venv_with("kie-ai-mcp-core[testing]")
    venv.run("kie-ai-mcp-core", "new-provider", "coral-reef", "--models", cwd=tmp_path)
    folder = tmp_path / "kie-ai-mcp-coral-reef"
    run_uv("build", cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.install("--no-deps", str(wheel))

    assert "coral-reef" in venv.run("kie-ai-mcp-core", "providers").stdout
    tested = venv.run("python", "-m", "pytest", "-q", cwd=folder).stdout
    assert "4 passed" in tested, tested

    httpserver.expect_request(
        "/v2/jobs/createTask",
        "POST",
        headers={"Authorization": "Bearer reef-key"},
        json={"model": "coral-reef/picture-1", "input": {"prompt": "a reef", "size": "2K"}},
    ).respond_with_json({"code": 200, "msg": "success", "data": {"taskId": "task-1"}})
    own = {
        "KIE_AI_PROVIDER_CORAL_REEF_KEY": "reef-key",
        "KIE_AI_PROVIDER_CORAL_REEF_BASE_URL": httpserver.url_for("/v2"),
    }
    async with serve_from(venv, **own) as client:
        found = await client.call_tool("find_models", {"words": "picture"})
        wanted = {"model": "coral-reef:coral-reef/picture-1", "input": {"prompt": "a reef", "size": "2K"}}
        made = await client.call_tool("run_model", wanted)
    assert found.structured_content is not None
    assert [model["name"] for model in found.structured_content["models"]][:1] == ["coral-reef:coral-reef/picture-1"]
    assert made.structured_content is not None
    assert made.structured_content["task_id"] == "coral-reef:task-1"
    httpserver.check()


@pytest.mark.parametrize("options", [(), ("--models",)], ids=["tool", "models"])
@pytest.mark.parametrize("name", ["x", "tidal-wave", "a-name-of-24-characters-"[:23] + "x"])
def test_new_provider_is_clean(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    done = new_provider(name, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / f"kie-ai-mcp-{name}"
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        checked = subprocess.run(
            [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert checked.returncode == 0, checked.stdout


def test_new_provider_is_typed(type_check: "subprocess.Popen[str]") -> None:
    said, _ = type_check.communicate(timeout=LIMIT_S)
    assert type_check.returncode == 0, said


def test_new_provider_says_what_it_wrote_and_what_is_next(tmp_path: Path) -> None:
    done = new_provider("tidal-wave", "--output", "elsewhere/mine", cwd=tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in (tmp_path / "elsewhere/mine").rglob("*") if path.is_file()}
    assert files == {line for line in done.stdout.splitlines() if line.startswith("elsewhere")}
    assert {"elsewhere/mine/pyproject.toml", "elsewhere/mine/tests/test_tidal_wave.py"} < files
    assert "cd elsewhere/mine" in done.stdout


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Tidal Wave", "for example tidal-wave."),
        ("TidalWave", "for example tidal-wave."),
        ("tidal_wave", "for example tidal-wave."),
        ("kie-ai-mcp-tidal", "for example tidal."),
        ("3d", "for example my-3d."),
        ("tidal-", "for example tidal."),
        ("../tidal", "for example tidal."),
        ("日本", "for example my-provider."),
        ("", "for example my-provider."),
        ("a-name-that-is-much-too-long-for-a-tool", "for example a-name-that-is-much-too."),
        ("veo3", "installed already; for example my-veo3."),
        ("Veo3", "for example my-veo3."),
        ("kie", "it stands for the service itself; for example my-kie."),
    ],
)
def test_bad_name_is_refused_with_the_nearest_good_one(name: str, advice: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_name(name, taken={"veo3", "flux"})
    assert advice in str(caught.value)


@pytest.mark.parametrize("name", ["Tidal Wave", "veo3"])
def test_nothing_is_written_under_a_bad_name(tmp_path: Path, name: str) -> None:
    done = new_provider(name, cwd=tmp_path)
    assert done.returncode == 2
    assert f"NAME: {name!r} is not accepted" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kie-ai-mcp-tidal").mkdir()
    done = new_provider("tidal", cwd=tmp_path)
    assert done.returncode == 2
    assert "'kie-ai-mcp-tidal' is not accepted: it exists already" in done.stderr
    assert list((tmp_path / "kie-ai-mcp-tidal").iterdir()) == []
