"""A copy of the repository before a release: one fragment, an empty changelog, the lowest version."""

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RELEASE: dict[str, Any] = runpy.run_path(str(ROOT / "tools/release.py"))
OUTSIDE = shutil.ignore_patterns(
    ".*_cache", ".venv", ".uv", ".git", "__pycache__", "dist", "shared", "tests", "benchmarks"
)
BEGINNING = "<!-- The newest release comes after this line. -->\n"


def unreleased(folder: Path) -> Path:
    """Copy the repository to a new folder, as it is before its next release; no sentence there speaks of that."""
    shutil.copytree(ROOT, folder, ignore=OUTSIDE)
    project = folder / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^(version = )"[^"]+"', r'\1"0.0.0"', project.read_text("utf-8")), "utf-8")
    changelog = folder / "CHANGELOG.md"
    head, beginning, _ = changelog.read_text("utf-8").partition(BEGINNING)
    changelog.write_text(head + beginning, "utf-8")
    for fragment in (folder / "changelog.d").glob("*.md"):
        fragment.unlink()
    (folder / "changelog.d").mkdir(exist_ok=True)
    (folder / "changelog.d/other.changed.md").write_text("Something is different.\n", "utf-8")
    for pattern in RELEASE["PROSE"]:
        for page in folder.glob(pattern):
            page.write_text(re.sub(RELEASE["BEFORE_RELEASE"], "now", page.read_text("utf-8")), "utf-8")
    return folder
