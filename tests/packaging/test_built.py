"""Published files: every distribution as a wheel and an sdist, with all it needs and nothing else."""

import configparser
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.metadata import Metadata
from packaging.utils import parse_sdist_filename, parse_wheel_filename

ROOT = Path(__file__).parents[2]
FOLDERS = {
    tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"]: path.parent
    for path in [ROOT / "pyproject.toml", ROOT / "core/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
}
SITE = "https://kie-ai-mcp-server.github.io/kie-ai-mcp-server/"
REPOSITORY = "https://github.com/kie-ai-mcp-server/kie-ai-mcp-server"
RAW = "https://raw.githubusercontent.com/kie-ai-mcp-server/kie-ai-mcp-server/main/"
every_distribution = pytest.mark.parametrize("name", sorted(FOLDERS))


def project_of(name: str) -> dict[str, Any]:
    loaded = tomllib.loads((FOLDERS[name] / "pyproject.toml").read_text(encoding="utf-8"))
    project: dict[str, Any] = loaded["project"]
    return project


def wheel_of(dist: Path, name: str) -> Path:
    (wheel,) = (path for path in dist.glob("*.whl") if parse_wheel_filename(path.name)[0] == name)
    return wheel


def contents(wheel: Path) -> dict[str, str]:
    """Every file of a wheel, with its text where it has one; folders of the metadata without name and version."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}
    return {
        "/".join(part if "dist-info" not in part else "" for part in name.split("/")): files[name] for name in files
    }


def test_every_distribution_is_built_both_ways(dist: Path) -> None:
    assert sorted(str(parse_wheel_filename(path.name)[0]) for path in dist.glob("*.whl")) == sorted(FOLDERS)
    assert sorted(str(parse_sdist_filename(path.name)[0]) for path in dist.glob("*.tar.gz")) == sorted(FOLDERS)


@every_distribution
def test_metadata_is_valid_and_complete(dist: Path, name: str) -> None:
    files, project = contents(wheel_of(dist, name)), project_of(name)
    metadata = Metadata.from_email(files["/METADATA"], validate=True)
    assert (metadata.name, str(metadata.version)) == (name, project["version"])
    assert metadata.summary
    assert metadata.project_urls == project_of("kie-ai-mcp-server")["urls"]
    assert metadata.license_expression == "MIT"
    assert metadata.description_content_type == "text/markdown"
    readme = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    assert without_links(metadata.description or "") == without_links(readme)
    assert files["/licenses/LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")


def without_links(text: str) -> str:
    return re.sub(r"\]\([^)]*\)", "]", text)


@every_distribution
def test_links_of_the_description_work_on_the_package_index(dist: Path, name: str) -> None:
    description = Metadata.from_email(contents(wheel_of(dist, name))["/METADATA"], validate=True).description or ""
    links = re.findall(r"\]\(([^)]*)\)", description)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    for link in links:
        for address, folder, ending in ((SITE, "docs/", ".md"), (f"{REPOSITORY}/blob/main/", "", ""), (RAW, "", "")):
            if link.startswith(address) and link != address:
                path = link.removeprefix(address).partition("#")[0]
                target = ROOT / f"{folder}{path.rstrip('/')}{ending}"
                assert target.exists(), link
    if name == "kie-ai-mcp-server":
        assert {SITE, RAW, REPOSITORY} <= {
            start for start in (SITE, RAW, REPOSITORY) for link in links if link.startswith(start)
        }


@every_distribution
def test_entry_points_are_those_of_the_project(dist: Path, name: str) -> None:
    project = project_of(name)
    wanted = {**project.get("entry-points", {}), "console_scripts": project.get("scripts", {})}
    found = configparser.ConfigParser(delimiters="=")
    found.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    found.read_string(contents(wheel_of(dist, name)).get("/entry_points.txt", ""))
    assert {group: dict(found[group]) for group in found.sections()} == {
        group: entries for group, entries in wanted.items() if entries
    }


@every_distribution
def test_wheel_holds_one_typed_package_and_no_tests(dist: Path, name: str) -> None:
    files = [file for file in contents(wheel_of(dist, name)) if not file.startswith("/")]
    if name == "kie-ai-mcp-server":
        assert files == [], "it only pins the others"
        return
    package = "kie_ai_mcp" if name == "kie-ai-mcp-core" else name.replace("-", "_")
    assert {file.split("/")[0] for file in files} == {package}
    assert f"{package}/py.typed" in files
    assert [file for file in files if "/tests/" in file or Path(file).name.startswith(("test_", "conftest"))] == []
    source = FOLDERS[name] / "src" / package
    sources = (path for path in source.rglob("*") if path.suffix in {".py", ".template"})
    missing = [path for path in sources if str(path.relative_to(source.parent)) not in files]
    assert missing == []


@every_distribution
def test_wheel_holds_every_file_of_its_package(dist: Path, name: str) -> None:
    source = FOLDERS[name] / "src"
    files = {str(path.relative_to(source).as_posix()) for path in source.rglob("*") if path.is_file()}
    held = {file for file in contents(wheel_of(dist, name)) if not file.startswith("/")}
    assert held == {file for file in files if "__pycache__" not in file}


@every_distribution
def test_sdist_holds_what_it_is_built_from(dist: Path, name: str) -> None:
    (sdist,) = (path for path in dist.glob("*.tar.gz") if parse_sdist_filename(path.name)[0] == name)
    with tarfile.open(sdist) as archive:
        files = {member.partition("/")[2] for member in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= files
    assert [file for file in files if file.split("/")[0] in {"tests", ".venv", "kie-ai-demo"}] == []
