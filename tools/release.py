#!/usr/bin/env python3
"""Preparation of a release: one version in every file that has it, and the fragments gathered into CHANGELOG.md.

::

    uv run python tools/release.py X.Y.Z                    # change the files; look at the result, then commit it
    uv run python tools/release.py --check vX.Y.Z           # say whether that tag is what the files say
    uv run python tools/release.py --gather X.Y.Z           # only gather the fragments, for a release that is to come
    uv run python tools/release.py --notes                  # print the newest section of CHANGELOG.md
"""

import argparse
import datetime
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
PLUGIN = ROOT / ".claude-plugin/plugin.json"

PROJECT = r'(?m)^(version = ")[^"]+(")'
PINS = r'("kie-ai-mcp-[a-z0-9-]+(?:\[[a-z,]+\])?==)[^"]+(")'
JSON = r'(?m)^(\s*"version": ")[^"]+(")'
VERSIONS: dict[str, tuple[str, ...]] = {
    "pyproject.toml": (PROJECT, PINS),
    "core/pyproject.toml": (PROJECT,),
    "plugins/*/pyproject.toml": (PROJECT,),
    "server.json": (JSON,),
    "bundle/manifest.json": (JSON,),
    ".claude-plugin/plugin.json": (JSON,),
    "Dockerfile": (r'(image\.version=")[^"]+(")', PINS),
    ".github/ISSUE_TEMPLATE/bug.yml": (r"(?m)^(\s*placeholder: )\d+\.\d+\.\d+()$",),
    "compose.yaml": (r"(?m)^(  image: kie-ai-mcp-server:)\S+()",),
}
"""Files that have the version, and what stands around it."""

RANGE = r"(kie-ai-mcp-[a-z0-9-]+(?:\[[a-z]+\])?>=)\d+\.\d+,<\d+"
RANGES = (
    "core/pyproject.toml",
    "plugins/*/pyproject.toml",
    "plugins/authors/src/kie_ai_mcp_authors/templates/**/*.template",
    "docs/plugins/*.md",
)
"""Files that say which versions of ours a distribution works with: those from this release on, below the next major."""

UNRELEASED = "unreleased"  # in place of the date of a release that is to come
TOWNCRIER: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
START: str = TOWNCRIER["start_string"]
KINDS = [kind["name"] for kind in TOWNCRIER["type"] if kind["name"]]
SECTION = r"(?ms)^## {version} \({date}\)\n(.*?)(?=^## |\Z)"

PROSE = (
    "*.md",
    "core/*.md",
    "plugins/*/*.md",
    "docs/**/*.md",
    ".github/**/*.md",
    ".github/**/*.yml",
    ".claude-plugin/*",
    "bundle/*.json",
    "deploy/*",
    "*.yaml",
    "*.json",
    "Dockerfile",
    "plugins/**/*.template",
)
BEFORE_RELEASE = r"(?i)\bfrom\s+\d+\.\d+\.\d+\s+on\b|\bfirst\s+(?:[#*]\s+)?release\b"
"""Pages, and the words on them of sentences that are true only until there is a release: write them so."""


def places() -> Iterator[tuple[Path, str]]:
    """Yield every file that has the version, with what stands around it."""
    for pattern, expressions in VERSIONS.items():
        files = sorted(ROOT.glob(pattern))
        if not files:
            sys.exit(f"There is no file {pattern}.")
        yield from ((file, expression) for file in files for expression in expressions)


def planned(version: str) -> dict[Path, str]:
    """Return the text that each file is to have for a release; write nothing."""
    texts: dict[Path, str] = {}

    def change(file: Path, expression: str, replacement: str) -> int:
        old = texts.get(file) or file.read_text(encoding="utf-8")
        texts[file], count = re.subn(expression, replacement, old)
        return count

    for file, expression in places():
        if not change(file, expression, rf"\g<1>{version}\g<2>"):
            sys.exit(f"{file.relative_to(ROOT)} has no version where one is looked for: {expression}")
    major, minor, _ = version.split(".")
    for pattern in RANGES:
        for file in ROOT.glob(pattern):
            change(file, RANGE, rf"\g<1>{major}.{minor},<{int(major) + 1}")
    plugin = json.loads(texts[PLUGIN])
    for server in plugin["mcpServers"].values():
        server.update(released_command(version))
    return texts | {PLUGIN: json.dumps(plugin, indent=2, ensure_ascii=False) + "\n"}


def released_command(version: str) -> dict[str, Any]:
    """Return how the plugin starts the server of a release, which takes seconds where a clone has to be built first."""
    return {"command": "uvx", "args": ["--quiet", f"kie-ai-mcp-server=={version}"]}


def gather(version: str, date: str) -> None:
    """Move the fragments into CHANGELOG.md, to what was gathered for that version before; the section gets the date."""
    earlier = to_come(version)
    newer = drafted(version, date) if fragments() else ""
    section = f"## {version} ({date})\n\n{joined(newer, earlier[1] if earlier else '')}"
    text = CHANGELOG.read_text(encoding="utf-8").replace(earlier[0] if earlier else "\0", "")
    head, _, below = text.partition(START)
    text = re.sub(r"\n{3,}", "\n\n", f"{head}{START}\n{section}\n\n{below}")
    CHANGELOG.write_text(f"{text.rstrip()}\n", encoding="utf-8")
    for name in fragments():
        (ROOT / TOWNCRIER["directory"] / name).unlink()


def drafted(version: str, date: str) -> str:
    """Return what the fragments say as a section, without its heading; nothing is written."""
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", version, "--date", date]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)  # noqa: S603  nothing from outside
    if done.returncode:
        sys.exit(f"The fragments can't be gathered: {done.stdout}{done.stderr}")
    return re.sub(r"(?m)\A\s*^## .*\n", "", done.stdout)


def check_order(version: str) -> None:
    """End the program where a version can't be the next one."""
    if [*map(int, version.split("."))] <= [*map(int, current().split("."))]:
        sys.exit(f"{version} is not above {current()}, the version that the files have. Nothing was written.")
    for other in re.findall(rf"(?m)^## (\S+) \({UNRELEASED}\)$", CHANGELOG.read_text(encoding="utf-8")):
        if other != version:
            sys.exit(f"CHANGELOG.md has gathered {other}: change that heading first. Nothing was written.")


def to_come(version: str) -> "re.Match[str] | None":
    """Return the section of the changelog of a release that is to come."""
    pattern = SECTION.format(version=re.escape(version), date=UNRELEASED)
    return re.search(pattern, CHANGELOG.read_text(encoding="utf-8"))


def joined(newer: str, older: str) -> str:
    """Return two sections of the changelog as one, list by list."""
    lists: dict[str, list[str]] = {name: [] for name in ("", *KINDS)}
    for section in (newer, older):
        first, *rest = re.split(r"(?m)^### (.+)\n", section)
        for name, lines in zip(("", *rest[::2]), (first, *rest[1::2]), strict=True):
            lists.setdefault(name, []).extend(filter(None, [lines.strip()]))
    highlights = ["\n\n".join(lists.pop(""))]
    return "\n\n".join([*highlights, *(f"### {name}\n\n" + "\n".join(lines) for name, lines in lists.items() if lines)])


def fragments() -> list[str]:
    """Return the names of the fragments that are not gathered yet."""
    return sorted(path.name for path in (ROOT / TOWNCRIER["directory"]).glob("*.md"))


def current() -> str:
    """Return the version that the files have now."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def outdated() -> Iterator[str]:
    """Yield the places that say what is true only before a release."""
    for pattern in PROSE:
        for file in sorted(ROOT.glob(pattern)):
            text = file.read_text(encoding="utf-8")
            for match in re.finditer(BEFORE_RELEASE, text):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{file.relative_to(ROOT)}:{line}: {' '.join(match[0].split())}"


def prepare(version: str, date: str) -> None:
    """Write the release into the files once everything is checked, and name what a person has to change."""
    check_order(version)
    if not fragments() and to_come(version) is None:
        sys.exit("changelog.d has no fragments, so there is nothing to release. Nothing was written.")
    texts = planned(version)
    if fragments():
        drafted(version, date)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    gather(version, date)
    if sentences := [*outdated()]:
        sys.stdout.write("\n".join(["Change these sentences, which this release makes false:", *sentences, ""]))


def newest() -> str:
    """Return the newest section of the changelog, without its heading."""
    found = re.search(r"(?ms)^## \d.*?\n(.*?)(?=^## |\Z)", CHANGELOG.read_text(encoding="utf-8"))
    return found[1].strip() if found else ""


def faults(version: str) -> Iterator[str]:
    """Yield what keeps the files from being the release of that version."""
    for file, expression in places():
        for found in re.finditer(expression, file.read_text(encoding="utf-8")):
            if found[0] != f"{found[1]}{version}{found[2]}":
                yield f"{file.relative_to(ROOT)}: {found[0].strip()}"
    (server,) = json.loads(PLUGIN.read_text(encoding="utf-8"))["mcpServers"].values()
    if not released_command(version).items() <= server.items():
        yield f"{PLUGIN.relative_to(ROOT)} does not start kie-ai-mcp-server=={version}"
    if not re.search(rf"(?m)^## {re.escape(version)} \(\d", CHANGELOG.read_text(encoding="utf-8")):
        yield f"CHANGELOG.md has no heading with a date for {version}"
    for place in outdated():
        yield f"{place}: no longer true with a release"
    if left := fragments():
        yield f"{len(left)} fragments are not gathered, such as {left[0]}"


def main() -> None:
    """Prepare a release, or check one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", nargs="?", help="version of the release, as X.Y.Z")
    parser.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat())
    parser.add_argument("--check", metavar="TAG", help="check that the files are the release of this tag")
    parser.add_argument("--gather", action="store_true", help="only gather the fragments, under a heading without date")
    parser.add_argument("--notes", action="store_true", help="print the newest section of CHANGELOG.md")
    chosen = parser.parse_args()
    if chosen.notes:
        sys.stdout.write(f"{newest()}\n")
    elif chosen.check is not None:
        if found := list(faults(chosen.check.removeprefix("v"))):
            sys.exit("\n".join([f"This is not the release of {chosen.check}:", *found]))
    elif chosen.version is None or not re.fullmatch(r"\d+\.\d+\.\d+", chosen.version):
        parser.error("give the version of the release, as X.Y.Z")
    elif chosen.gather:
        check_order(chosen.version)
        gather(chosen.version, UNRELEASED)
    else:
        prepare(chosen.version, chosen.date)


if __name__ == "__main__":
    main()
