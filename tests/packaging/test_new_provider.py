"""`new-provider` writes a package that works at once: its tests, its types, its lint, its wheel, its tool."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from pytest_httpserver import HTTPServer

from kie_ai_mcp import InvalidArgument
from kie_ai_mcp_authors.new_provider import check_name
from kie_ai_mcp_authors.new_provider import new_provider as new_provider_command
from kie_ai_mcp_authors.package import Package

if TYPE_CHECKING:
    from tests.packaging.conftest import RunScript, Serve, Uv, VenvWith

LIMIT_S = 120.0
TOOLS = "python -m pip install build twine"


def new_provider(
    *arguments: str, cwd: Path, name: str = "Ada Lovelace", email: str = "ada@example.com"
) -> "subprocess.CompletedProcess[str]":
    """Run the command as an author whom git knows by this name and address."""
    git = cwd / "author.gitconfig"
    git.write_text(f"[user]\nname = {name}\nemail = {email}\n" if name else "", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "CONDA_PREFIX"}}
    environment |= {"GIT_CONFIG_GLOBAL": str(git), "GIT_CONFIG_NOSYSTEM": "1"}
    command = [sys.executable, "-m", "kie_ai_mcp", "new-provider", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def project_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded["project"]  # type: ignore[no-any-return]  # a table


def lines_of(text: str) -> list[str]:
    """The lines of every block of shell commands."""
    return [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


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
    assert "4 passed" in tested, tested

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
    venv.run("kie-ai-mcp-core", "new-provider", "coral-reef", "--models", "--gateway", cwd=tmp_path)
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


@pytest.mark.parametrize(
    "options",
    [(), ("--models",), ("--gateway", "--workflows"), ("--models", "--gateway")],
    ids=["tool", "models", "gateway", "models of a gateway"],
)
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


def test_new_providers_are_typed_as_their_own_configuration_wants_it(tmp_path: Path) -> None:
    made = {
        "tidal-wave": (),
        "coral-reef": ("--models",),
        "lantern": ("--gateway",),
        "atoll": ("--models", "--gateway"),
    }
    for name, flags in made.items():
        assert new_provider(name, *flags, cwd=tmp_path).returncode == 0
    config = ["--config-file", "kie-ai-mcp-tidal-wave/pyproject.toml", "--cache-dir", "cache"]
    folders = [f"kie-ai-mcp-{name}/{part}" for name in made for part in ("src", "tests")]
    command = [sys.executable, "-m", "mypy", *config, *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "options", "installer"),
    [("coral-reef", ("--models",), "uv"), ("lantern", ("--gateway", "--workflows"), "pip")],
)
def test_every_line_of_readme_and_workflows_works(
    name: str, options: tuple[str, ...], installer: str, run_script: "RunScript", tmp_path: Path
) -> None:
    assert new_provider(name, *options, cwd=tmp_path).returncode == 0
    folder = tmp_path / f"kie-ai-mcp-{name}"
    install, *lines = lines_of((folder / "README.md").read_text(encoding="utf-8"))
    assert install == f"python -m pip install kie-ai-mcp-server kie-ai-mcp-{name}"
    (with_uv,) = (line for line in lines if line.startswith("uv "))
    lines.remove(with_uv)
    if installer == "uv":  # which makes the environment that its other lines need, too
        lines = [with_uv, *(f"uv run {line}" for line in lines if "build" in line)]
    for path in folder.glob(".github/workflows/*.yml"):
        steps = [
            step for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values() for step in job["steps"]
        ]
        assert {step["run"] for step in steps if "run" in step} <= {*lines, "python -m pip install build twine"}
        lines += [step["run"] for step in steps if step.get("run", "").endswith("install build twine")]
    done = run_script("\n".join(lines), folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed in " in done.stdout
    assert len([*(folder / "dist").glob("*.whl"), *(folder / "dist").glob("*.tar.gz")]) == 2


def test_package_names_its_author_licence_and_pages(tmp_path: Path) -> None:
    page = "https://github.com/ada/tidal"
    assert new_provider("tidal", "--repository", f"{page}/", cwd=tmp_path, name='Ada "A" Löv').returncode == 0
    project = project_of(tmp_path / "kie-ai-mcp-tidal")
    assert project["authors"] == [{"name": "Ada A Löv", "email": "ada@example.com"}]
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    assert project["urls"] == {"Repository": page, "Issues": f"{page}/issues"}
    text = (tmp_path / "kie-ai-mcp-tidal/LICENSE").read_text(encoding="utf-8")
    assert re.search(r"^MIT License\n\nCopyright \(c\) 20\d\d Ada A Löv$", text, re.MULTILINE)


def test_nothing_is_invented_that_nobody_told(tmp_path: Path) -> None:
    assert new_provider("tidal", cwd=tmp_path, name="").returncode == 0
    project = project_of(tmp_path / "kie-ai-mcp-tidal")
    assert not {"authors", "urls"} & project.keys()
    assert " the authors of kie-ai-mcp-tidal\n" in (tmp_path / "kie-ai-mcp-tidal/LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("licence", ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"])
def test_licence_is_written_without_blanks_to_fill(licence: str, tmp_path: Path) -> None:
    assert new_provider("tidal", "--license", licence.lower(), cwd=tmp_path).returncode == 0
    assert project_of(tmp_path / "kie-ai-mcp-tidal")["license"] == licence
    text = (tmp_path / "kie-ai-mcp-tidal/LICENSE").read_text(encoding="utf-8")
    assert ("Ada Lovelace" in text) == (licence != "Apache-2.0")
    assert "$" not in text


def test_licence_without_a_text_here_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = new_provider("tidal", "--license", "gpl-3.0-or-later", cwd=tmp_path)
    project = project_of(tmp_path / "kie-ai-mcp-tidal")
    assert (project["license"], "license-files" in project) == ("GPL-3.0-or-later", False)
    assert not (tmp_path / "kie-ai-mcp-tidal/LICENSE").exists()
    assert "Put the text of the licence GPL-3.0-or-later into LICENSE" in done.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--license", "Free"), "'Free' is no SPDX licence id; give one such as MIT"),
        (("--repository", "github.com/me"), "'github.com/me' is no address that begins with https://"),
    ],
)
def test_wrong_option_is_refused_and_nothing_written(options: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    done = new_provider("tidal", *options, cwd=tmp_path)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "kie-ai-mcp-tidal").exists()


def test_workflows_are_what_github_reads(tmp_path: Path) -> None:
    assert new_provider("tidal", "--workflows", cwd=tmp_path).returncode == 0
    folder = tmp_path / "kie-ai-mcp-tidal/.github/workflows"
    tests, publish = (yaml.safe_load((folder / f"{name}.yml").read_text("utf-8")) for name in ("tests", "publish"))
    matrix = tests["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix == {"python-version": ["3.11", "3.12", "3.13", "3.14"]}
    assert tests["jobs"]["tests"]["steps"][1]["with"]["python-version"] == "${{ matrix.python-version }}"
    assert publish["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert publish["permissions"] == {"contents": "read"}


def test_new_provider_says_what_it_wrote_and_what_is_next(tmp_path: Path) -> None:
    done = new_provider("tidal-wave", "--output", "elsewhere/mine", cwd=tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in (tmp_path / "elsewhere/mine").rglob("*") if path.is_file()}
    assert files == {line for line in done.stdout.splitlines() if line.startswith("elsewhere")}
    assert {"elsewhere/mine/pyproject.toml", "elsewhere/mine/tests/test_tidal_wave.py"} < files
    *_, cd, venv, activate, install, test, with_uv, _ = done.stdout.splitlines()
    assert (cd, venv, activate) == ("  cd elsewhere/mine", "  python -m venv .venv", "  . .venv/bin/activate")
    assert (install, test) == ('  python -m pip install --editable ".[dev]"', "  python -m pytest")
    assert with_uv == "or, with uv: uv run pytest"


@pytest.mark.parametrize(("has_pip", "installer"), [(True, "python -m pip"), (False, "uv pip")])
def test_next_steps_fit_the_environment_and_the_folder(
    has_pip: bool, installer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / ("Scripts" if os.name == "nt" else "bin")
    scripts.mkdir()
    if has_pip:
        (scripts / "pip3").touch()
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    lines = Package("tidal").next_steps(Path("has space")).splitlines()
    assert shlex.split(lines[1]) == ["cd", "has space"]
    assert lines[2] == f'  {installer} install --editable ".[dev]"'


@pytest.mark.parametrize(
    "option", [["--gateway", "https://x.example"], ["--gateway=https://x.example"], ["--models=a"]]
)
def test_value_of_an_option_that_takes_none_is_refused_with_its_place(option: list[str]) -> None:
    done = CliRunner().invoke(new_provider_command, ["tidal", *option])
    assert done.exit_code == 2
    assert "--gateway and --models take no value; the service's address and its models go into the" in done.output


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Tidal Wave", "for example tidal-wave."),
        ("TidalWave", "for example tidal-wave."),
        ("tidal_wave", "for example tidal-wave."),
        ("kie-ai-mcp-tidal", "for example tidal."),
        ("3d", "a letter first, in words joined by dashes, without kie-ai-mcp- before them; for example my-3d."),
        ("tidal-", "for example tidal."),
        ("../tidal", "for example tidal."),
        ("日本", "for example my-provider."),
        ("", "for example my-provider."),
        ("a-name-that-is-much-too-long-for-a-tool", "for example a-name-that-is-much-too."),
        ("veo3", "installed already; for example my-veo3."),
        ("Veo3", "for example my-veo3."),
        ("server", "kie-ai-mcp-server is a package of the server itself; for example my-server."),
        ("core", "kie-ai-mcp-core is a package of the server itself; for example my-core."),
        ("Server", "for example my-server."),
        ("suno", "one of this project's own providers has it; for example my-suno."),
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
    assert [path.name for path in tmp_path.iterdir()] == ["author.gitconfig"]


def test_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kie-ai-mcp-tidal").mkdir()
    done = new_provider("tidal", cwd=tmp_path)
    assert done.returncode == 2
    assert "'kie-ai-mcp-tidal' is not accepted: it exists already" in done.stderr
    assert list((tmp_path / "kie-ai-mcp-tidal").iterdir()) == []
