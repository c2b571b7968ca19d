"""``plugin`` where nothing is changed: the list, and what belongs to the server itself."""

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Run


def test_list_has_version_maker_and_state_of_each_plugin(run: "Run") -> None:
    rows = {row["provider"]: row for row in json.loads(run("plugin", "list", "--json").stdout)}
    assert (rows["flux"]["by"], rows["flux"]["state"], rows["flux"]["reason"]) == (
        "this project",
        "disabled",
        "by configuration",
    )
    assert (rows["nano-banana"]["distribution"], rows["nano-banana"]["state"]) == ("kie-ai-mcp-nano-banana", "enabled")
    text = run("plugin", "list").stdout
    assert "flux: by configuration" in text


@pytest.mark.parametrize("name", ["flux", "kie-ai-mcp-flux", "kie_ai_mcp_flux"])
def test_plugin_of_the_server_itself_is_disabled_instead_of_removed(run: "Run", name: str) -> None:
    ended = run("plugin", "remove", name, "--yes", KIE_AI_ENABLED_PROVIDERS="", KIE_AI_DISABLED_PROVIDERS="pika")
    assert (ended.code, ended.stdout) == (2, "")
    assert "config set disabled_providers pika,flux" in ended.stderr


def test_plugin_that_is_not_installed_is_named_with_what_is(run: "Run") -> None:
    ended = run("plugin", "remove", "fluxx", "--yes")
    assert (ended.code, "Did you mean flux" in ended.stderr) == (2, True)
