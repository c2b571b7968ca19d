"""Parts of a release besides its distributions: the registry's entry and the changelog."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kie_ai_mcp._settings.settings import SECRETS, Settings, variable
from tests.helpers import LIMIT_S
from tests.packaging.unreleased import RELEASE, unreleased

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY: dict[str, Any] = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((ROOT / "tests/packaging/server.schema.json").read_text(encoding="utf-8"))


def tool(name: str, *arguments: str, root: Path = ROOT, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run a tool of the repository, or of a copy of it."""
    command = [sys.executable, str(root / "tools" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository that a tool may change."""
    return unreleased(tmp_path / "copy")


# The registry's entry ------------------------------------------------------------------------------------------------


def test_registry_entry_is_about_this_version() -> None:
    (package,) = ENTRY["packages"]
    assert (package["identifier"], package["registryType"]) == (PROJECT["name"], "pypi")
    assert ENTRY["version"] == package["version"] == PROJECT["version"]
    assert package["transport"] == {"type": "stdio"}


def is_valid(entry: dict[str, Any]) -> None:
    """Check an entry against the registry's schema, and for names of fields that it does not know."""
    assert entry["$schema"] == SCHEMA["$id"]
    jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(entry)
    known = SCHEMA["definitions"]
    assert set(entry) <= set(known["ServerDetail"]["properties"])
    assert {field for package in entry["packages"] for field in package} <= set(known["Package"]["properties"])
    inputs = [each for package in entry["packages"] for each in package.get("environmentVariables", [])]
    assert {field for each in inputs for field in each} <= {*known["Input"]["properties"], "name", "variables"}


def test_registry_entry_is_what_the_registry_takes() -> None:
    is_valid(ENTRY)


def test_entry_that_breaks_a_rule_is_noticed() -> None:
    broken: list[dict[str, Any]] = [{"description": "x" * 101}, {"packages": [{}]}, {"icons": [{}]}]
    for part in broken:
        with pytest.raises(jsonschema.ValidationError):
            is_valid({**ENTRY, **part})


def test_variables_of_the_address_of_a_teams_server_are_described() -> None:
    (remote,) = ENTRY["remotes"]
    assert set(re.findall(r"{(\w+)}", remote["url"])) == set(remote["variables"])
    (header,) = remote["headers"]
    assert (header["name"], header["isSecret"]) == ("Authorization", True)
    assert header["value"] == "Bearer {token}"
    assert header["variables"]["token"]["isSecret"] is True


def test_addresses_are_those_of_the_project() -> None:
    urls = PROJECT["urls"]
    assert (ENTRY["repository"]["url"], ENTRY["websiteUrl"]) == (urls["Source"], urls["Documentation"])
    manifest = json.loads((ROOT / "bundle/manifest.json").read_text(encoding="utf-8"))
    plugin = json.loads((ROOT / ".claude-plugin/plugin.json").read_text(encoding="utf-8"))
    assert (manifest["documentation"], manifest["support"]) == (urls["Documentation"], urls["Issues"])
    assert (plugin["repository"], plugin["homepage"]) == (urls["Source"], urls["Documentation"])
    icon = ENTRY["icons"][0]["src"].partition("/main/")[2]
    assert (ROOT / icon).is_file()


def test_entry_of_a_release_names_the_bundle_and_its_hash(tmp_path: Path) -> None:
    bundle, output = tmp_path / f"kie-ai-mcp-server-{PROJECT['version']}.mcpb", tmp_path / "server.json"
    bundle.write_bytes(b"a bundle")
    for _ in range(2):
        tool("registry_entry.py", str(bundle), "--output", str(output))
    entry = json.loads(output.read_text(encoding="utf-8"))
    is_valid(entry)
    _, package = entry["packages"]
    assert package["fileSha256"] == hashlib.sha256(b"a bundle").hexdigest()
    assert package["identifier"].endswith(f"/releases/download/v{PROJECT['version']}/{bundle.name}")


def test_registry_can_see_that_the_package_is_ours() -> None:
    # It looks for this in the description on PyPI, which is made of README.md.
    assert f"<!-- mcp-name: {ENTRY['name']} -->" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_registry_entry_names_settings_that_exist() -> None:
    known = {variable(field) for field in Settings.model_fields}
    wanted = {entry["name"]: entry for entry in ENTRY["packages"][0]["environmentVariables"]}
    assert set(wanted) <= known
    hidden = {name for name, entry in wanted.items() if entry.get("isSecret")}
    assert hidden == {*map(variable, SECRETS)} & set(wanted)


# A release -----------------------------------------------------------------------------------------------------------


def test_release_sets_one_version_and_gathers_the_changelog(copy: Path) -> None:
    (copy / "changelog.d/together.highlights.md").write_text("What matters most,\nfirst of all.\n", encoding="utf-8")
    (copy / "changelog.d/wide.added.md").write_text("A line,\nand another.\n", encoding="utf-8")
    (copy / "changelog.d/mended.fixed.md").write_text("A fault is mended.\n", encoding="utf-8")
    tool("release.py", "7.3.0", "--date", "2031-02-03", root=copy)
    tool("release.py", "--check", "v7.3.0", root=copy)
    changelog = (copy / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "\n\n## 7.3.0 (2031-02-03)\n\nWhat matters most,\nfirst of all.\n" in changelog
    headings = re.findall(r"(?m)^### .*", changelog)
    assert headings == [f"### {name}" for name in ("Added", "Changed", "Fixed")]
    assert "\n- A line,\n  and another.\n" in changelog
    assert changelog.index("### Fixed") < changelog.index("\n- A fault is mended.\n")
    assert list((copy / "changelog.d").glob("*.md")) == []
    assert tool("release.py", "--notes", root=copy).stdout.startswith("What matters most,\nfirst of all.\n")
    texts = {path: path.read_text(encoding="utf-8") for path in copy.rglob("*.toml")}
    assert {version for text in texts.values() for version in re.findall(r'(?m)^version = "(.*)"', text)} == {"7.3.0"}
    other_range = r"kie-ai-mcp-[a-z0-9-]+(\[\w+\])?>=(?!7\.3,<8)"
    assert [path for path, text in texts.items() if re.search(other_range, text)] == []


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.mark.parametrize(("version", "words"), [("0.0.0", "not above"), ("7.3.0", "no fragments")])
def test_release_that_can_not_be_is_refused(copy: Path, version: str, words: str) -> None:
    if words == "no fragments":
        (copy / "changelog.d/other.changed.md").unlink()
    before = contents(copy)
    assert words in tool("release.py", version, root=copy, code=1).stderr
    assert contents(copy) == before


@pytest.mark.parametrize("fault", ["compose.yaml", "tools/changelog.jinja"])
def test_nothing_is_written_where_one_file_can_not_be(copy: Path, fault: str) -> None:
    (copy / fault).write_text("{% broken", encoding="utf-8")
    before = contents(copy)
    tool("release.py", "7.3.0", root=copy, code=1)
    assert contents(copy) == before


def test_sentence_that_a_release_makes_false_is_named(copy: Path) -> None:
    pages = {
        "docs/new.md": "\n\n(from 0.2.0 on the\npackage index)",
        "deploy/new.service": "#\n\n# until the first\n# release",
        "plugins/authors/new.template": "\n\nThe first\nrelease will have it.",
    }
    for page, words in pages.items():
        (copy / page).write_text(words, encoding="utf-8")
    answers = (
        tool("release.py", "7.3.0", root=copy).stdout,
        tool("release.py", "--check", "v7.3.0", root=copy, code=1).stderr,
    )
    for page in pages:
        assert [f"{page}:3: " in answer for answer in answers] == [True, True]


# Words of sentences that a release may make false, and those that it doesn't.
OF_A_RELEASE = re.compile(
    r"(?i)\b(package|the) index\b|\btoday\b|\bnot yet\b|\bthe release (will|makes|has)\b"
    r"|\b(until|before|after|once|when)\b[^.:]{0,40}\breleased?\b"
)
STAYS_TRUE = re.compile(
    r"from (X\.Y\.Z on|the Python) (the )?package index|install from the index|from the index before"
    r"|page of today|do it today|id: today"
    r"|\$today|not yet final|index\.md"
)


@pytest.mark.skipif(
    re.search(r"(?m)^## \S+ \(\d", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) is not None,
    reason="the first release is out",
)
def test_sentence_that_the_first_release_makes_false_is_worded_to_be_found() -> None:
    unmarked = list[str]()
    for page in {page for pattern in RELEASE["PROSE"] for page in ROOT.glob(pattern)} - {ROOT / "CHANGELOG.md"}:
        text = page.read_text(encoding="utf-8")
        for part in re.split(r"\n\s*\n|(?m:^#$)|(?<=[.])\s", text):
            words = STAYS_TRUE.sub("", part)
            if OF_A_RELEASE.search(words) and not re.search(RELEASE["BEFORE_RELEASE"], part):
                unmarked.append(f"{page.relative_to(ROOT)}: {' '.join(part.split())}")
    assert unmarked == [], "write them in the words of BEFORE_RELEASE in tools/release.py"


def test_second_release_stands_above_the_first(copy: Path) -> None:
    for version in ("7.3.0", "7.3.1"):
        (copy / "changelog.d/more.added.md").write_text(f"News of {version}.\n", encoding="utf-8")
        tool("release.py", version, root=copy)
    changelog = (copy / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^## (\S+)", changelog) == ["7.3.1", "7.3.0"]
    assert "News of 7.3.0" not in tool("release.py", "--notes", root=copy).stdout


def test_what_is_gathered_before_a_release_is_part_of_it(copy: Path) -> None:
    tool("release.py", "--gather", "7.3.0", root=copy)
    for kind in ("changed", "added"):
        (copy / f"changelog.d/more.{kind}.md").write_text(f"More was {kind}.\n", encoding="utf-8")
    tool("release.py", "--gather", "7.3.0", root=copy)
    changelog = copy / "CHANGELOG.md"
    lists = "### Added\n\n- More was added.\n\n### Changed\n\n- More was changed.\n- Something is different.\n"
    assert changelog.read_text("utf-8").endswith(f"\n\n## 7.3.0 (unreleased)\n\n{lists}")
    assert "no heading with a date" in tool("release.py", "--check", "v7.3.0", root=copy, code=1).stderr
    kept = changelog.read_text("utf-8")
    assert "has gathered 7.3.0" in tool("release.py", "7.4.0", root=copy, code=1).stderr
    assert changelog.read_text("utf-8") == kept
    tool("release.py", "7.3.0", "--date", "2031-02-03", root=copy)
    tool("release.py", "--check", "v7.3.0", root=copy)
    assert changelog.read_text("utf-8").endswith(f"\n\n## 7.3.0 (2031-02-03)\n\n{lists}")
    assert "unreleased" not in changelog.read_text("utf-8")


def test_tag_of_another_version_is_refused_with_the_places(copy: Path) -> None:
    said = tool("release.py", "--check", "v7.3.0", root=copy, code=1).stderr
    for place in (
        "pyproject.toml",
        "server.json",
        "plugin.json",
        "manifest.json",
        "Dockerfile",
        "compose.yaml",
        "bug.yml",
    ):
        assert place in said
    assert "CHANGELOG.md has no heading with a date for 7.3.0" in said
    assert "fragments are not gathered" in said


def test_every_release_has_the_addresses_of_the_root(copy: Path) -> None:
    root = copy / "pyproject.toml"
    root.write_text(root.read_text(encoding="utf-8").replace("/issues", "/faults"), encoding="utf-8")
    tool("project_urls.py", root=copy)
    tool("project_urls.py", root=copy)
    for file in [copy / "core/pyproject.toml", *copy.glob("plugins/*/pyproject.toml")]:
        urls = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["urls"]
        assert urls["Issues"].endswith("/faults")
