"""README under test: short, its commands stand where people and machines look, its links add what `install` writes."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.helpers import LIMIT_S

UV = "python3 -m pip install --target .uv uv && .uv/bin/uv run"
WINDOWS = "On Windows write `.uv\\bin\\uv` instead of `.uv/bin/uv`."
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_WORDS = 900
IS_RELEASED = re.search(r"(?m)^## \d\S* \(\d", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) is not None
# What stands beside each line that works only once there is a release.
FROM_RELEASE_ON = re.compile(r"\(from \d+\.\d+\.\d+ on the package index\)")
NEEDS_RELEASE = re.compile(
    r"^uvx |cursor\.com/en/install-mcp|vscode\.dev/redirect|`uvx |pip install kie|uv tool install", re.MULTILINE
)


def parts() -> dict[str, str]:
    """The README's sections by their headings; that above the first heading is named ""."""
    return {part.partition("\n")[0]: part for part in re.split(r"^## ", README, flags=re.MULTILINE)}


def test_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_both_commands_stand_as_whole_lines_with_the_spelling_of_windows() -> None:
    head, contributing = README.split("\n## ")[0], parts()["Contributing"]
    assert f"\n{UV} kie-ai-mcp-server demo\n" in head
    assert f"\n{UV} pytest\n" in contributing
    assert WINDOWS in head
    assert WINDOWS in contributing


def test_line_that_needs_a_release_says_so_just_before_it_until_there_is_one() -> None:
    named = 0
    for section in parts().values():
        for found in NEEDS_RELEASE.finditer(section):
            before = section[max(0, found.start() - 400) : found.start()]
            assert bool(FROM_RELEASE_ON.search(before)) is not IS_RELEASED, found[0]
            named += 1
    assert named >= 3


def printed(client: str) -> dict[str, Any]:
    """What `install` prints for a client where nothing is set."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KIE_AI_")}
    command = [sys.executable, "-m", "kie_ai_mcp", "install", client, "--print"]
    environ["KIE_AI_CONFIG"] = os.devnull
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    whole: dict[str, Any] = json.loads(done.stdout)
    return whole


def query(host: str) -> dict[str, str]:
    """The parameters of the README's link to a host."""
    (link,) = re.findall(rf"\]\((https://{re.escape(host)}/[^)]*)\)", README)
    return {name: value for name, (value,) in parse_qs(urlsplit(link).query).items()}


@pytest.mark.parametrize(("client", "host"), [("cursor", "cursor.com"), ("vscode", "insiders.vscode.dev")])
def test_link_adds_the_entry_that_install_writes(client: str, host: str) -> None:
    given, whole = query(host), printed(client)
    ((name, entry),) = (whole.get("mcpServers") or whole["servers"]).items()
    config = json.loads(base64.b64decode(given["config"]) if client == "cursor" else given["config"])
    assert given["name"] == name
    assert (config.pop("command"), config.pop("args")) == ("uvx", ["kie-ai-mcp-server"])
    if client == "vscode":
        assert json.loads(given["inputs"]) == whole["inputs"]
    assert config == {key: value for key, value in entry.items() if key not in {"command", "args"}}
