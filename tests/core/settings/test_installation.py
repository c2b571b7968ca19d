"""Installation: how it was made, what was added to it, and the command that adds more."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kie_ai_mcp._settings import installation
from kie_ai_mcp._settings.installation import (
    PREVIEW,
    change_words,
    for_any_shell,
    install_command,
    server_command,
    shell_words,
    typed_command,
)
from tests.helpers import LIMIT_S

SERVER, CORE = "kie-ai-mcp-server", "kie-ai-mcp-core"
Environment = Callable[..., None]

USUAL = {
    SERVER: [CORE, "kie-ai-mcp-flux==0.1.0"],
    CORE: [
        "click>=8",
        "uvicorn[standard]; sys_platform != 'x'",
        'av>=15; extra == "preview"',
        'pillow; extra == "preview"',
    ],
    "kie_ai_mcp_flux": [CORE],
    "click": [],
    "uvicorn": ["h11", 'uvloop; (platform_system != "W") and extra == "standard"'],
    "h11": [],
    "uvloop": [],
    "pip": [],
}
ACME = {"kie-ai-mcp-acme": [CORE, "acme.sdk"], "acme-sdk": ["h11"]}


@pytest.fixture(autouse=True)
def remembered_command() -> Iterator[None]:
    """Lets no other test see the command of a made-up environment."""
    yield
    typed_command.cache_clear()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Makes an environment with these distributions look like this process's own."""

    def make(folder: str, files: tuple[str, ...] = (), origins: dict[str, object] = {}, **dists: list[str]) -> None:  # noqa: B006
        prefix = tmp_path / folder
        site = Path(sysconfig.get_path("purelib", vars={"base": str(prefix)}))
        for name, requires in dists.items():
            about = site / f"{name.replace('-', '_')}-1.0.dist-info"
            about.mkdir(parents=True)
            extra = "Provides-Extra: preview\n" if name == CORE else ""
            lines = "".join(f"Requires-Dist: {text}\n" for text in requires)
            (about / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{extra}{lines}", "utf-8"
            )
            if name in origins:
                (about / "direct_url.json").write_text(json.dumps(origins[name]), "utf-8")
        for file in files:
            (prefix / file).parent.mkdir(parents=True, exist_ok=True)
            (prefix / file).touch()
        monkeypatch.setattr(sys, "prefix", str(prefix))
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    return make


def test_entry_of_uvx_names_all_that_it_was_given(environment: Environment) -> None:
    environment("cache/archive-v0/Xy12", **USUAL, **ACME, av=[], pillow=[], requests=[])
    added = ["--with", "kie-ai-mcp-core[preview]", "--with", "kie-ai-mcp-acme", "--with", "requests"]
    assert server_command() == ("/usr/bin/uvx", [*added, SERVER])


def test_entry_of_uvx_without_additions_names_the_server_alone(environment: Environment) -> None:
    environment("cache/environments-v2/Xy12", **USUAL)
    assert server_command() == ("/usr/bin/uvx", [SERVER])


def test_entry_of_uvx_names_where_each_distribution_came_from(environment: Environment, tmp_path: Path) -> None:
    origins: dict[str, object] = {
        SERVER: {"url": "https://github.com/x/y", "vcs_info": {"vcs": "git", "commit_id": "1"}},
        "kie-ai-mcp-acme": {"url": (tmp_path / "acme").as_uri(), "dir_info": {"editable": True}},
        "acme-sdk": {"url": "https://example.com/acme.whl", "archive_info": {}},
    }
    environment("archive-v0/Xy12", origins=origins, **USUAL, **{**ACME, "kie-ai-mcp-acme": [CORE]})
    assert server_command()[1] == [
        *("--from", f"{SERVER} @ git+https://github.com/x/y"),
        *("--with", "acme-sdk @ https://example.com/acme.whl"),
        *("--with-editable", str(tmp_path / "acme")),
        SERVER,
    ]


def test_entry_of_uvx_with_the_core_alone_starts_the_core(environment: Environment) -> None:
    dists = {name: requires for name, requires in USUAL.items() if name != SERVER}
    environment("archive-v0/Xy12", **dists)
    assert server_command()[1] == ["--from", CORE, "--with", "kie-ai-mcp-flux", CORE]


@pytest.mark.parametrize(
    ("folder", "file", "added", "updated"),
    [
        (
            "archive-v0/Xy12",
            "",
            f"uvx --with 'kie-ai-mcp-core[preview]' --with kie-ai-mcp-acme {SERVER}",
            f"uvx --refresh --with kie-ai-mcp-acme {SERVER}",
        ),
        (
            "tools/kie-ai-mcp-server",
            "uv-receipt.toml",
            f"uv tool install --with 'kie-ai-mcp-core[preview]' --with kie-ai-mcp-acme {SERVER}",
            f"uv tool upgrade {SERVER}",
        ),
        (
            "pipx/venvs/kie-ai-mcp-server",
            "pipx_metadata.json",
            f"pipx inject {SERVER} 'kie-ai-mcp-core[preview]'",
            f"pipx upgrade --include-injected {SERVER}",
        ),
        ("venv", "", f"pip install '{PREVIEW}'", f"pip install --upgrade '{PREVIEW}'"),
    ],
)
def test_advice_is_the_command_of_the_tool_that_made_the_installation(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, folder: str, file: str, added: str, updated: str
) -> None:
    environment(folder, files=(file,) if file else (), **USUAL, **ACME)
    for pip, words in ((object(), ""), (None, "uv ")):
        monkeypatch.setattr(installation, "find_spec", lambda _name, pip=pip: pip)
        before = words if folder == "venv" else ""
        assert install_command(PREVIEW) == before + added
        assert install_command(PREVIEW, update=True) == before + updated


def test_advice_in_a_bundle_names_its_python_and_the_uv_of_its_host(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment("a bundle/.venv", ("../manifest.json", "../wheels/x.whl"), **USUAL)
    monkeypatch.setenv("UV", "/opt/host/uv")
    start, python = ["/opt/host/uv", "pip"], ["--python", sys.executable]
    assert install_command(PREVIEW) == shell_words([*start, "install", *python, PREVIEW])
    assert install_command(PREVIEW, update=True) == shell_words([*start, "install", "--upgrade", *python, PREVIEW])
    assert change_words(install=["/x.whl"]) == [*start, "install", *python, "/x.whl"]
    assert change_words(remove=["kie-ai-mcp-acme"]) == [*start, "uninstall", *python, "kie-ai-mcp-acme"]


@pytest.mark.parametrize(
    ("is_active", "variables", "on_path", "start"),
    [
        (True, {}, True, []),
        (False, {"CONDA_EXE": "/opt/conda/bin/conda"}, False, ["/opt/conda/bin/conda", "run", "--prefix", "HERE"]),
        (False, {"MAMBA_EXE": "/opt/micromamba"}, False, ["/opt/micromamba", "run", "--prefix", "HERE"]),
        (False, {}, True, ["/usr/bin/conda", "run", "--prefix", "HERE"]),
        (False, {}, False, [sys.executable, "-m"]),
    ],
)
def test_advice_in_a_conda_environment_holds_where_it_is_not_active(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    is_active: bool,
    variables: dict[str, str],
    on_path: bool,
    start: list[str],
) -> None:
    environment("envs/kie", ("conda-meta/history",), **USUAL)
    for name in ("CONDA_PREFIX", "CONDA_EXE", "MAMBA_EXE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, **({"CONDA_PREFIX": sys.prefix} if is_active else {})}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(installation, "find_spec", lambda _name: object())
    if not on_path:
        monkeypatch.setattr(shutil, "which", lambda _name: None)
    words = [sys.prefix if word == "HERE" else word for word in start]
    assert install_command("kie-ai-mcp-acme") == shell_words([*words, "pip", "install", "kie-ai-mcp-acme"])
    pip = [sys.executable, "-m", "pip"]
    assert change_words(install=["/x.whl"]) == [*pip, "install", "/x.whl"]
    assert change_words(remove=["kie-ai-mcp-acme"]) == [*pip, "uninstall", "--yes", "kie-ai-mcp-acme"]


def test_uvx_that_no_shell_finds_is_the_one_beside_uv(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment("archive-v0/Xy12", **USUAL)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    uvx = tmp_path / ("uvx.exe" if sys.platform == "win32" else "uvx")
    monkeypatch.setenv("UV", str(uvx.with_stem("uv")))
    assert server_command()[0] == "uvx"
    uvx.touch()
    assert server_command()[0] == str(uvx)


def test_extra_counts_as_added_only_with_the_extras_that_it_asks_for(environment: Environment) -> None:
    authors = {"kie-ai-mcp-authors": [CORE, 'watchfiles>=1; extra == "reload"']}
    core = [*USUAL[CORE], 'kie-ai-mcp-authors[reload]>=0.1; extra == "preview"']
    environment("archive-v0/Xy12", **{**USUAL, CORE: core}, **authors, av=[], pillow=[])
    assert "kie-ai-mcp-core[preview]" not in server_command()[1]
    environment("archive-v0/Xy13", **{**USUAL, CORE: core}, **authors, av=[], pillow=[], watchfiles=[])
    assert "kie-ai-mcp-core[preview]" in server_command()[1]


def test_program_below_pythonpath_or_a_target_folder_is_found_again(tmp_path: Path) -> None:
    target = tmp_path / "target"
    package = Path(installation.__file__).parents[1]
    shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
from kie_ai_mcp._settings.installation import *
print(server_environment())
print([made_by(), *installed_names(), change_words(["/x.whl"]), install_command("x", update=True)])
"""

    def said(**more: str) -> list[str]:
        environ = {"PATH": os.defpath, "HOME": str(tmp_path), **more}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environ,
            cwd=target,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        )
        return done.stdout.splitlines()

    expected = str({"PYTHONPATH": str(target)})
    assert said(PYTHONPATH=str(target))[0] == expected
    assert said()[0] == "{}"
    about = target / "kie_ai_mcp_core-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {CORE}\nVersion: 1.0\n", "utf-8")
    pip, there = [sys.executable, "-m", "pip", "install"], ["--target", str(target)]
    words = shell_words([*pip, "--upgrade", *there, "x"])
    whole = [expected, str(["pip --target", CORE, [*pip, *there, "/x.whl"], words])]
    assert said() == said(PYTHONPATH=str(target)) == whole


def test_usual_installation_needs_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert installation.server_environment() == {}


# Commands that are run, and that are typed ----------------------------------------------------------------------------

UV = ["/usr/bin/uv"]


@pytest.mark.parametrize(
    ("folder", "file", "added", "removed"),
    [
        (
            "tools",
            "uv-receipt.toml",
            [*UV, "tool", "install", "--with", "/x.whl", "--with", "kie-ai-mcp-acme", SERVER],
            [*UV, "tool", "install", SERVER],
        ),
        (
            "pipx",
            "pipx_metadata.json",
            ["/usr/bin/pipx", "inject", SERVER, "/x.whl"],
            ["/usr/bin/pipx", "uninject", SERVER, "kie-ai-mcp-acme"],
        ),
        ("archive-v0", None, ["uvx", "--with", "/x.whl", "--with", "kie-ai-mcp-acme", SERVER], ["uvx", SERVER]),
    ],
)
def test_plugins_come_and_go_by_the_tool_that_made_the_installation(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    file: str | None,
    added: list[str],
    removed: list[str],
) -> None:
    monkeypatch.delenv("UV", raising=False)
    environment(folder, (file,) if file else (), **USUAL, **ACME)
    assert change_words(install=["/x.whl"]) == added
    assert change_words(remove=["kie_ai_mcp.acme"]) == removed


def test_what_is_typed_is_what_started_the_program(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed_command.cache_clear()
    environment("archive-v0", **USUAL)
    assert typed_command() == f"uvx {SERVER}"

    typed_command.cache_clear()
    environment(".venv", **USUAL)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("UV", str(tmp_path / ".uv" / "bin" / "uv"))
    assert Path(typed_command().removesuffix(f" run {SERVER}")) == Path(".uv", "bin", "uv")
    typed_command.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda _: str(tmp_path / ".uv" / "bin" / "uv"))
    assert typed_command() == f"uv run {SERVER}"

    typed_command.cache_clear()
    monkeypatch.delenv("UV")
    program, arguments = server_command()
    monkeypatch.setattr(shutil, "which", lambda _: program)
    assert typed_command().split() == [Path(program).stem, *arguments]


def test_command_for_any_shell_is_a_path_though_the_server_itself_finds_the_name(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment(".venv", **USUAL)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("UV", str(tmp_path / ".uv" / "bin" / "uv"))  # as `uv run` does, with the program on PATH
    program, arguments = server_command()
    monkeypatch.setattr(shutil, "which", lambda _: program)
    typed_command.cache_clear()
    assert typed_command(anywhere=True) == shell_words([program, *arguments])


@pytest.mark.parametrize("has_pip", [False, True])
def test_package_is_installed_for_this_program_from_any_shell(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, has_pip: bool
) -> None:
    environment(".venv", **USUAL)
    monkeypatch.setattr(installation, "find_spec", lambda _: object() if has_pip else None)
    monkeypatch.setenv("UV", "/opt/uv")
    pip = [sys.executable, "-m", "pip"] if has_pip else ["/opt/uv", "pip"]
    python = [] if has_pip else ["--python", sys.executable]
    told = f"Convert it, or run: {install_command(PREVIEW)}"
    whole = shell_words([*pip, "install", *python, PREVIEW])
    assert for_any_shell(told) == f"Convert it, or run: {whole}"
    assert for_any_shell(whole) == whole


def test_uvx_that_no_shell_finds_is_typed_by_its_path(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment("archive-v0", **USUAL)
    uvx = tmp_path / ".uv" / "bin" / ("uvx.exe" if os.name == "nt" else "uvx")
    uvx.parent.mkdir(parents=True)
    uvx.touch()
    monkeypatch.setenv("UV", str(uvx.with_name("uv")))
    monkeypatch.chdir(tmp_path)
    typed_command.cache_clear()
    assert typed_command(anywhere=True) == f"uvx {SERVER}"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    typed_command.cache_clear()
    assert typed_command(anywhere=True) == shell_words([str(uvx), SERVER])
    assert typed_command() == shell_words([str(uvx.relative_to(tmp_path)), SERVER])


def test_entry_of_a_run_in_a_checkout_names_the_project_and_what_was_added(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment("builds-v0/.tmpXy", **ACME, h11=[])
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "pyproject.toml").touch()
    config = f"home = /usr/bin\nextends-environment = {tmp_path / 'clone' / '.venv'}\n"
    (tmp_path / "builds-v0" / ".tmpXy" / "pyvenv.cfg").write_text(config, "utf-8")
    monkeypatch.setenv("UV", "/opt/uv")
    monkeypatch.syspath_prepend(sysconfig.get_path("purelib", vars={"base": sys.prefix}))
    added = ["--with", "kie-ai-mcp-acme"]
    assert server_command() == ("/opt/uv", ["run", "--project", str(tmp_path / "clone"), *added, SERVER])


def test_uv_is_found_where_no_shell_finds_it(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment("uv pip", (), **USUAL)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("kie_ai_mcp._settings.installation.find_spec", lambda _: None)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert change_words(install=["/x"])[0] == "uv"
    uv = tmp_path / ".local/bin" / ("uv.exe" if os.name == "nt" else "uv")
    uv.parent.mkdir(parents=True)
    uv.touch()
    assert change_words(install=["/x"])[0] == str(uv)
