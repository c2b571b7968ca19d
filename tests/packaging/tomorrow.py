"""A provider by others, as the source of a package that tests build and install."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.packaging.conftest import Uv

PLUGIN = """
from kie_ai_mcp import Submission, hookimpl

KIE_AI_MCP_CONTRACT = {contract}


def generate_tomorrow_image(prompt: str) -> Submission:
    "Make a picture."
    return Submission.market("tomorrow", {{"prompt": prompt}}, api_type="tomorrow")


@hookimpl
def kie_register_tools():
    return [generate_tomorrow_image]
"""

PROJECT = """
[project]
name = "kie-ai-mcp-tomorrow"
version = "2.0.0"
dependencies = ["kie-ai-mcp-core"]
{entry_points}
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"
"""

ENTRY_POINTS = """
[project.entry-points.kie_ai_mcp]
tomorrow = "kie_ai_mcp_tomorrow"
"""


def wheel(run_uv: "Uv", folder: Path, *, contract: int = 1, entry_points: str = ENTRY_POINTS) -> str:
    """Build the wheel of a third party's plugin in a new folder; return its path."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT.format(entry_points=entry_points), encoding="utf-8")
    (folder / "kie_ai_mcp_tomorrow.py").write_text(PLUGIN.format(contract=contract), encoding="utf-8")
    run_uv("build", "--wheel", cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return str(built)
