"""The import contracts are kept, and the public door is what it says."""

import subprocess
import sys
from pathlib import Path

import kie_ai_mcp

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "CONTRACT",
    "Accepted",
    "Answer",
    "AspectRatio",
    "AudioUrl",
    "CallbackUrl",
    "FrameRate",
    "Gateway",
    "ImageUrl",
    "ImageUrls",
    "InvalidArgument",
    "KieError",
    "Media",
    "NegativePrompt",
    "Outcome",
    "OutputFormat",
    "Prompt",
    "Provider",
    "Query",
    "StatusRoute",
    "Submission",
    "Task",
    "Tool",
    "VideoResolution",
    "VideoUrl",
    "hookimpl",
]


def test_import_contracts_are_kept() -> None:
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_change_only_on_purpose() -> None:
    assert kie_ai_mcp.__all__ == PUBLIC


def test_serving_does_not_pay_for_other_libraries() -> None:
    heavy = ("rich", "httpx", "filelock", "kie_ai_mcp._cli", "kie_ai_mcp._cli.demo", "kie_ai_mcp_sandbox.server", "PIL")
    code = (
        "import sys, kie_ai_mcp._server as server; from kie_ai_mcp._config import Settings;"
        "plugins = server.Plugins(Settings(), reserved=server.NAMES);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
