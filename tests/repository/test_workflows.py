"""Workflows, forms and hooks of the repository: valid, with few rights, and every command and path in them exists."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts.node import PACKAGES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
every_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
SCRIPTS = Path(sys.executable).parent

READ = {"contents: read"}
RIGHTS = {
    "publish/checked": {"actions: read", *READ},
    "publish/build": READ,
    "publish/pypi": {"id-token: write"},
    "publish/release": {"contents: write", "id-token: write", "attestations: write"},
    "publish/registry": {"id-token: write"},
    "publish/image": {*READ, "packages: write"},
    "docs/deploy": {"pages: write", "id-token: write"},
}
"""Rights of each job beyond those of its workflow; a new one is a decision."""


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
    )


def is_valid(schema: str, *files: Path) -> None:
    done = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files))
    assert done.returncode == 0, done.stdout + done.stderr


def jobs(workflow: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    found: dict[str, Any] = loaded["jobs"]
    return found


def commands(workflow: Path) -> Iterator[str]:
    for job in jobs(workflow).values():
        for step in job["steps"]:
            yield from step.get("run", "").replace("\\\n", "").splitlines()


# Form ----------------------------------------------------------------------------------------------------------------


def test_files_are_what_their_reader_takes() -> None:
    is_valid("vendor.github-workflows", *WORKFLOWS)
    is_valid("custom.github-workflows-require-timeout", *WORKFLOWS)
    is_valid("vendor.dependabot", ROOT / ".github/dependabot.yml")
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    is_valid("vendor.github-issue-config", *(form for form in forms if form.name == "config.yml"))
    is_valid("vendor.github-issue-forms", *(form for form in forms if form.name != "config.yml"))


def test_hooks_before_a_commit_are_valid_and_their_tools_are_there() -> None:
    done = run(sys.executable, "-m", "pre_commit", "validate-config")
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    for hook in config["repos"][0]["hooks"]:
        *start, tool = shlex.split(hook["entry"])[:4]
        assert start == ["uv", "run", "--quiet"]
        assert [*SCRIPTS.glob(f"{tool}*")], f"{tool} is not in the development group"


def test_workflows_have_no_known_weakness() -> None:
    done = run(str(next(SCRIPTS.glob("zizmor*"))), "--offline", "--quiet", ".github")
    assert done.returncode == 0, done.stdout + done.stderr


# Rights --------------------------------------------------------------------------------------------------------------


@every_workflow
def test_job_has_no_right_that_it_does_not_need(workflow: Path) -> None:
    loaded = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    assert loaded["permissions"] in ({}, {"contents": "read"})
    assert "concurrency" in loaded
    for name, job in loaded["jobs"].items():
        rights = {f"{right}: {value}" for right, value in job.get("permissions", {}).items()}
        assert rights == RIGHTS.get(f"{workflow.stem}/{name}", set()), name


@every_workflow
def test_action_is_pinned_to_a_version(workflow: Path) -> None:
    used = [step["uses"] for job in jobs(workflow).values() for step in job["steps"] if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+(\.\d+)*", action)] == []


# Commands and paths --------------------------------------------------------------------------------------------------


@every_workflow
def test_every_path_and_option_in_a_command_exists(workflow: Path) -> None:
    for line in commands(workflow):
        words = shlex.split(line)
        for word in words:
            if re.fullmatch(r"(tools|bundle|\.ci|docs)/[\w./-]+", word):
                assert (ROOT / word).is_file(), line
        for tool in (word for word in words if word.startswith("tools/")):
            helped = run(sys.executable, tool, "--help").stdout
            assert [word for word in words if word.startswith("--") and word not in helped] == [], line
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_site_is_built_as_ci_builds_it() -> None:
    (line,) = (line for line in commands(ROOT / ".github/workflows/docs.yml") if "mkdocs" in line)
    assert line == "uv run --no-dev --group docs mkdocs build --strict --site-dir site"
    assert "--group docs mkdocs build --strict --site-dir" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert (ROOT / "mkdocs.yml").is_file()
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert any(wanted.startswith("mkdocs") for wanted in groups["docs"])


def test_tests_run_by_the_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = (line for line in commands(ROOT / ".github/workflows/ci.yml") if line.endswith("pytest"))
    assert re.sub(r"^python ", "python3 ", line) in readme.splitlines()


def test_matrix_has_every_python_that_is_promised() -> None:
    matrix = jobs(ROOT / ".github/workflows/ci.yml")["tests"]["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(lowest.removeprefix(">=3.")), 15)]
    (left_out,) = matrix["exclude"]
    everything = jobs(ROOT / ".github/workflows/ci.yml")["everything"]
    assert left_out["os"] == everything["runs-on"]
    assert left_out["python"] in [step.get("with", {}).get("python-version") for step in everything["steps"]]


def test_bundle_is_checked_by_the_version_that_the_tests_use() -> None:
    text = (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"@anthropic-ai/mcpb@(\S+)", text)) == {PACKAGES["@anthropic-ai/mcpb"]}


def test_nothing_is_published_whose_commit_did_not_pass() -> None:
    publish = jobs(ROOT / ".github/workflows/publish.yml")
    for name, job in publish.items():
        needed: set[str] = set()
        left = [job]
        while left:
            needs = left.pop().get("needs", [])
            names = [needs] if isinstance(needs, str) else needs
            needed |= {*names}
            left += [publish[other] for other in names]
        assert name == "checked" or "checked" in needed, name


def test_tools_that_publish_are_pinned_or_compared_with_a_checksum() -> None:
    text = (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    assert re.findall(r"(?:pip install|uvx) (?!uv==\d|twine@\d)\S+", text) == []
    assert text.index("sha256sum --check") < text.index("tar --extract")


def test_dependabot_looks_where_there_is_something() -> None:
    for update in yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]:
        for folder in update.get("directories", [update.get("directory")]):
            assert [*ROOT.glob(folder.strip("/") or "README.md")], folder


# Words for people ----------------------------------------------------------------------------------------------------


def test_forms_name_commands_that_exist() -> None:
    files = [*(ROOT / ".github").rglob("*.yml"), *(ROOT / ".github").rglob("*.md"), ROOT / "SECURITY.md"]
    named = {found for file in files for found in re.findall(r"`kie-ai-mcp-server ([\w-]+)", file.read_text("utf-8"))}
    assert {"doctor", "--version", "providers"} <= named
    helped = run(sys.executable, "-m", "kie_ai_mcp", "--help").stdout
    assert [name for name in named if name not in helped] == []


def test_security_page_leads_to_pages_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    issues = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Issues"]
    assert issues.replace("/issues", "/security/advisories/new") in text
    for path in re.findall(r"/blob/main/([\w./-]+)", text):
        assert (ROOT / path).is_file(), path
