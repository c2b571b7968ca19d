"""The official conformance suite: the server as it is, and whole with the suite's fixtures laid over it."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.hosts.node import Node
    from tests.wire.conftest import SiteIn
    from tests.wire.processes import Site

ROOT = Path(__file__).parents[2]
CHOICES = tomllib.loads(Path(__file__).with_name("choices.toml").read_text("utf-8"))["choice"]
REVISIONS = ("2025-11-25", "2026-07-28")
LIMIT_S = 120
RESUMED = {"server-sse-polling: server-sse-priming-event", "server-sse-polling: server-sse-retry-field"}
"""Recommended for streams that are resumed, which ours are not, with or without fixtures."""
SKIPPED = {
    "server-stateless: sep-2575-server-sends-prompts-list-changed-on-subscription",  # these lists do not change
    "server-stateless: sep-2575-server-sends-tools-list-changed-on-subscription",
    "tasks-status-notifications: tasks-status-notifications",  # the suite does not look at them yet
}
PASSED = {"2025-11-25": 81, "2026-07-28": 194}

pytestmark = pytest.mark.parametrize("revision", REVISIONS)


@dataclass(frozen=True)
class Check:
    """What the suite found in one place."""

    scenario: str
    name: str
    status: str
    message: str

    @property
    def key(self) -> str:
        return f"{self.scenario}: {self.name}"


@pytest.fixture
def service() -> Iterator[Sandbox]:
    with Sandbox(speed=50) as sandbox:
        yield sandbox


def checked(node: "Node", site: "Site", revision: str, folder: Path) -> list[Check]:
    """Run what the suite requires of a revision; return all that it checked, each failure with what it says."""
    options = ("--url", f"{site.url}/mcp", "--requirements", revision, "--output-dir", str(folder / "found"))
    run = node.run("conformance", "server", *options, limit_s=LIMIT_S)
    found = []
    for path in sorted((folder / "found").glob("server-*/checks.json")):
        scenario = re.sub(r"^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$", r"\1", path.parent.name)
        for check in json.loads(path.read_text("utf-8")):
            found.append(Check(scenario, check["id"], check["status"], check.get("errorMessage") or ""))
    assert found, run.stdout + run.stderr
    return found


def failed(checks: list[Check]) -> list[Check]:
    return [check for check in checks if check.status in {"FAILURE", "WARNING"}]


def test_bare_server_fails_only_what_it_chose_to(
    node: "Node", site_in: "SiteIn", service: Sandbox, revision: str, tmp_path: Path
) -> None:
    chosen = {key: choice["says"] for choice in CHOICES for key in choice.get(revision, ())}
    with site_in(tmp_path, sandbox=service, KIE_AI_ENABLED_PROVIDERS="") as site:
        found = failed(checked(node, site, revision, tmp_path))
    assert [check for check in found if not re.search(chosen.get(check.key, "(?!)"), check.message)] == []
    assert chosen.keys() - {check.key for check in found} == set(), "these pass: take them out of choices.toml"


def test_server_passes_everything_once_it_has_the_fixtures(
    node: "Node", site_in: "SiteIn", service: Sandbox, revision: str, tmp_path: Path
) -> None:
    program = {"module": "tests.hosts.fixtures", "PYTHONPATH": str(ROOT)}
    with site_in(tmp_path, sandbox=service, **program) as site:
        found = checked(node, site, revision, tmp_path)
    assert [check for check in failed(found) if check.key not in RESUMED] == []
    assert {check.key for check in found if check.status == "SKIPPED"} <= SKIPPED
    assert sum(check.status == "SUCCESS" for check in found) == PASSED[revision]
