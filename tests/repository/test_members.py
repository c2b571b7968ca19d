"""Lists of the members of this repository: all name the same ones."""

import configparser
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted([ROOT / "core", *(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))])


def project_of(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


NAMES = {folder: str(project_of(folder)["project"]["name"]) for folder in FOLDERS}


def test_the_server_pins_every_member_to_its_own_version() -> None:
    root = project_of(ROOT)["project"]
    assert sorted(root["dependencies"]) == sorted(f"{name}=={root['version']}" for name in NAMES.values())


def test_every_member_has_the_servers_version() -> None:
    version = project_of(ROOT)["project"]["version"]
    assert {NAMES[folder]: project_of(folder)["project"]["version"] for folder in FOLDERS} == dict.fromkeys(
        NAMES.values(), version
    )


def test_every_member_comes_from_the_workspace() -> None:
    assert project_of(ROOT)["tool"]["uv"]["sources"] == {name: {"workspace": True} for name in NAMES.values()}


def test_import_contracts_name_the_same_packages_and_none_that_is_gone() -> None:
    """One they don't name is checked all the same, by `test_imports`."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    packages = {path.name for folder in FOLDERS for path in (folder / "src").iterdir() if path.is_dir()}
    named = set(contracts["importlinter"]["root_packages"].split())
    assert named <= packages
    providers = named - {"kie_ai_mcp"}
    assert set(contracts["importlinter:contract:independence"]["modules"].split()) == providers
    assert set(contracts["importlinter:contract:core"]["forbidden_modules"].split()) == providers
    assert set(contracts["importlinter:contract:interface"]["source_modules"].split()) == providers


def test_every_private_package_and_module_is_closed_to_plugins() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    core = ROOT / "core/src/kie_ai_mcp"
    private = {
        ".".join(path.relative_to(core.parent).with_suffix("").parts)
        for public in (core, *(path.parent for path in core.glob("[!_]*/__init__.py")))
        for path in public.glob("_*")
        if path.name not in {"__init__.py", "__pycache__"}
    }
    assert {"kie_ai_mcp._web", "kie_ai_mcp._pytest_fixtures", "kie_ai_mcp.testing._calls"} <= private
    closed = contracts["importlinter:contract:interface"]["forbidden_modules"].split()
    assert {name for name in closed if name.startswith("kie_ai_mcp.")} == private


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES.get)
def test_every_member_has_the_addresses_of_the_project(folder: Path) -> None:
    urls = project_of(ROOT)["project"]["urls"]
    assert {"Homepage", "Documentation", "Source", "Changelog", "Issues"} == set(urls)
    assert project_of(folder)["project"].get("urls") == urls, "renew them with: uv run python tools/project_urls.py"


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES.get)
def test_every_member_can_be_published(folder: Path) -> None:
    project = project_of(folder)["project"]
    (package,) = (path for path in (folder / "src").iterdir() if path.is_dir())
    assert (package / "py.typed").is_file()
    assert (folder / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert len((folder / "README.md").read_text(encoding="utf-8")) > 100
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "MIT"
    assert {"description", "authors", "keywords", "classifiers"} <= set(project)
    if folder.name != "core":
        assert project["name"] == f"kie-ai-mcp-{folder.name}"
        assert project["entry-points"]["kie_ai_mcp"] == {folder.name: package.name}
        assert any(wanted.startswith("kie-ai-mcp-core>=") for wanted in project["dependencies"])


def test_no_lock_file_is_kept() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
