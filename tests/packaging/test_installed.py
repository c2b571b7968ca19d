"""Installation from wheels alone in a fresh virtual environment: providers come and go with their distributions."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mcp import Client

from kie_ai_mcp._app.app import RESERVED
from kie_ai_mcp._cli.main import FIRST_PARTY
from tests.packaging.tomorrow import wheel

if TYPE_CHECKING:
    from tests.packaging.conftest import Serve, Uv, VenvWith

pytestmark = pytest.mark.anyio

VEO3 = {"generate_veo3_video", "extend_veo3_video", "get_veo3_1080p_video", "get_veo3_4k_video"}
FLUX = {"generate_flux_image", "edit_flux_image"}


async def of_providers(client: Client) -> set[str]:
    """The listed tools without the server's own, of which some depend on the configuration."""
    return {tool.name for tool in (await client.list_tools()).tools} - set(RESERVED)


async def test_providers_come_and_go_with_their_distributions(venv_with: "VenvWith", serve_from: "Serve") -> None:
    venv = venv_with("kie-ai-mcp-core")
    imported = venv.run("python", "-c", "import kie_ai_mcp; print(kie_ai_mcp.__file__)").stdout
    assert Path(imported).is_relative_to(venv.folder), "what is tested is what was built"
    async with serve_from(venv) as client:
        assert {"get_task_status", "wait_for_tasks", "list_tasks"} <= {
            tool.name for tool in (await client.list_tools()).tools
        }
        assert await of_providers(client) == set()

    venv.install("--no-deps", "kie-ai-mcp-veo3")
    async with serve_from(venv) as client:
        assert await of_providers(client) == VEO3
        venv.install("--no-deps", "kie-ai-mcp-flux")

    async with serve_from(venv) as client:
        assert await of_providers(client) == VEO3 | FLUX

    venv.uninstall("kie-ai-mcp-veo3")
    async with serve_from(venv) as client:
        assert await of_providers(client) == FLUX


async def test_provider_of_another_contract_is_set_aside_with_a_clear_message(
    venv_with: "VenvWith", serve_from: "Serve", run_uv: "Uv", tmp_path: Path
) -> None:
    venv = venv_with("kie-ai-mcp-core", "kie-ai-mcp-flux", wheel(run_uv, tmp_path / "tomorrow", contract=2))

    async with serve_from(venv) as client:
        assert await of_providers(client) == FLUX
        assert "tomorrow" in (client.instructions or "")
    said = venv.run("kie-ai-mcp-core", "providers", "--json", check=False).stdout
    assert "it is built for contract 2, this server speaks contract 1." in said


def test_commands_of_providers_that_are_not_installed_say_how_to_install_them(venv_with: "VenvWith") -> None:
    venv = venv_with("kie-ai-mcp-core")
    for command, provider in FIRST_PARTY.items():
        ended = venv.run("kie-ai-mcp-core", command, check=False)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert f"The command {command} comes from the provider {provider}, which is not installed." in ended.stderr
        assert ended.stderr.endswith(f"pip install kie-ai-mcp-{provider}\n")


def test_the_server_brings_every_provider_of_the_repository(venv_with: "VenvWith", dist: Path) -> None:
    venv = venv_with("kie-ai-mcp-server")
    families = {path.name.split("-")[0].removeprefix("kie_ai_mcp_") for path in dist.glob("kie_ai_mcp_*.whl")}
    printed = venv.run("kie-ai-mcp-server", "providers", "--markdown").stdout
    assert families - {"core", "server"} == {
        line.split("|")[1].strip().replace("-", "_") for line in printed.splitlines()[2:]
    }


def test_install_from_uvx_writes_an_entry_with_what_uvx_was_given(run_uv: "Uv", dist: Path, tmp_path: Path) -> None:
    given = ("--with", "kie-ai-mcp-flux", "--from", "kie-ai-mcp-core", "kie-ai-mcp-core")
    file = tmp_path / "mcp.json"
    run_uv("tool", "run", "--find-links", str(dist), *given, "install", "cursor", "--yes", "--file", str(file))
    entry = json.loads(file.read_text("utf-8"))["mcpServers"]["kie-ai"]
    assert Path(entry["command"]).name.startswith("uvx")
    assert entry["args"] == ["--from", "kie-ai-mcp-core", "--with", "kie-ai-mcp-flux", "kie-ai-mcp-core"]
