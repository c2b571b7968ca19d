"""Fragments of the changelog: named by what they are, and written as sentences for users."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAGMENTS = sorted((ROOT / "changelog.d").glob("*.md"))


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_changelog_fragment_is_named_by_what_it_is(fragment: Path) -> None:
    kinds = "highlights|added|changed|fixed|deprecated|removed"
    assert re.fullmatch(rf"[a-z0-9]+(-[a-z0-9]+)*\.({kinds})\.md", fragment.name), f"name it <slug>.<{kinds}>.md"
    text = fragment.read_text(encoding="utf-8")
    assert text.strip().endswith("."), "end it with a full stop: it is sentences for users"
    assert text.endswith("\n"), "end it with a line break"
    assert not text.startswith(("-", "#")), "leave list marks and headings out: the release makes them"
