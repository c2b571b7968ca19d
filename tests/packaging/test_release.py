"""Parts of a release besides its distributions: the registry's entry and the changelog."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._settings.settings import Settings, variable

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY: dict[str, Any] = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
FRAGMENTS = sorted((ROOT / "changelog.d").iterdir())


def test_registry_entry_is_about_this_version() -> None:
    (package,) = ENTRY["packages"]
    assert (package["identifier"], package["registryType"]) == (PROJECT["name"], "pypi")
    assert ENTRY["version"] == package["version"] == PROJECT["version"]
    assert package["transport"] == {"type": "stdio"}


def test_registry_entry_is_what_the_registry_takes() -> None:
    # Its schema's own limits: https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", ENTRY["name"])
    assert 1 <= len(ENTRY["description"]) <= 100
    assert 1 <= len(ENTRY["title"]) <= 100
    assert set(ENTRY) <= {"$schema", "name", "title", "description", "version", "packages", "repository", "websiteUrl"}


def test_registry_can_see_that_the_package_is_ours() -> None:
    # It looks for this in the description on PyPI, which is made of README.md.
    assert f"<!-- mcp-name: {ENTRY['name']} -->" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_registry_entry_names_settings_that_exist() -> None:
    known = {variable(field) for field in Settings.model_fields}
    wanted = {entry["name"]: entry for entry in ENTRY["packages"][0]["environmentVariables"]}
    assert set(wanted) <= known
    assert wanted["KIE_AI_API_KEY"]["isSecret"] is True


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_changelog_fragment_is_named_by_what_it_is(fragment: Path) -> None:
    kinds = "added|changed|fixed|deprecated|removed"
    assert re.fullmatch(rf"[a-z0-9]+(-[a-z0-9]+)*\.({kinds})\.md", fragment.name), f"<slug>.<{kinds}>.md"
    text = fragment.read_text(encoding="utf-8")
    assert text.strip().endswith("."), "sentences for the people who use this"
    assert text.endswith("\n")
    assert not text.startswith(("-", "#")), "the list and the headings are made when it is released"
