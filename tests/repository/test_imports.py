"""Import contracts and the names of the public interface."""

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import kie_ai_mcp
from tests.helpers import LIMIT_S

ROOT = Path(__file__).parents[2]

PUBLIC = [
    "CONTRACT",
    "Accepted",
    "Answer",
    "AspectRatio",
    "AudioUrl",
    "Balance",
    "CallbackUrl",
    "Choice",
    "Family",
    "Form",
    "FrameRate",
    "Gateway",
    "ImageUrl",
    "ImageUrls",
    "InvalidArgument",
    "KieError",
    "LiveCatalogue",
    "LiveModel",
    "LiveRead",
    "Media",
    "Model",
    "NegativePrompt",
    "OnePicture",
    "Outcome",
    "OutputFormat",
    "Price",
    "PriceLine",
    "Prompt",
    "Provider",
    "Query",
    "Rule",
    "StatusRoute",
    "Submission",
    "Task",
    "TaskId",
    "Tool",
    "VideoResolution",
    "VideoUrl",
    "apply_overrides",
    "hookimpl",
    "is_on",
    "otherwise_first",
    "read_models",
    "reject_arguments",
]


LINT = "from importlinter.cli import lint_imports_command as run; run()"
OF_PROVIDERS = (
    ("importlinter", "root_packages"),
    ("importlinter:contract:independence", "modules"),
    ("importlinter:contract:core", "forbidden_modules"),
    ("importlinter:contract:interface", "source_modules"),
)
"""The lists of .importlinter that name providers."""


def lint_imports(folder: Path, sources: Iterable[Path]) -> "subprocess.CompletedProcess[str]":
    """Check the contracts of .importlinter with the packages of `sources` besides the listed ones."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    packages = {path.name for source in sources for path in source.iterdir() if (path / "__init__.py").is_file()}
    for contract, option in OF_PROVIDERS:
        named = {*contracts[contract][option].split(), *packages}
        contracts[contract][option] = "\n".join(["", *sorted(named)])
    with (folder / "contracts.ini").open("w", encoding="utf-8") as file:
        contracts.write(file)
    command = [sys.executable, "-c", LINT, "--config", str(folder / "contracts.ini"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_import_contracts_are_kept_by_every_package(tmp_path: Path) -> None:
    done = lint_imports(tmp_path, sorted(ROOT.glob("plugins/*/src")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("", None),
        ("from kie_ai_mcp._service.caller import Caller", "Providers import the public interface alone"),
        ("import kie_ai_mcp_flux", "Providers do not know each other"),
        ("import httpx", "The HTTP client is known to the service package alone"),
    ],
)
def test_import_contracts_hold_for_a_family_that_no_list_names(tmp_path: Path, line: str, broken: str | None) -> None:
    new = [sys.executable, "-m", "kie_ai_mcp", "new-provider", "tidal-wave", "--output", str(tmp_path / "tidal-wave")]
    subprocess.run(new, capture_output=True, timeout=LIMIT_S, check=True)
    module = tmp_path / "tidal-wave/src/kie_ai_mcp_tidal_wave/__init__.py"
    module.write_text(f"{module.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = lint_imports(tmp_path, [tmp_path / "tidal-wave/src"])
    assert (done.returncode == 0) == (broken is None), done.stdout + done.stderr
    assert broken is None or broken in done.stdout.partition("Broken contracts")[2]


def test_public_names_change_only_on_purpose() -> None:
    assert kie_ai_mcp.__all__ == PUBLIC


def test_public_names_and_modules_come_with_the_package_alone() -> None:
    code = "; ".join(
        (
            "import kie_ai_mcp",
            *(f"kie_ai_mcp.{name}" for name in ("errors", "hookspecs", "models", "readings", "specs")),
        )
    )
    code += "\nfor name in kie_ai_mcp.__all__: assert getattr(kie_ai_mcp, name) is not None and name in dir(kie_ai_mcp)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not hasattr(kie_ai_mcp, "no_such_name")


def test_no_private_module_of_the_sdk_is_imported() -> None:
    pattern = re.compile(r"^\s*(?:from|import) mcp(?:_types)?(?:\.\w+)*(?:\._| import _)", re.MULTILINE)
    folders = (ROOT / "core/src", *(ROOT / "plugins").glob("*/src"))
    found = [path for folder in folders for path in folder.rglob("*.py") if pattern.search(path.read_text("utf-8"))]
    assert found == []


def test_serving_does_not_pay_for_other_libraries() -> None:
    commands = (
        "kie_ai_mcp._cli",
        "kie_ai_mcp_sandbox.command",
        "kie_ai_mcp_sandbox.demo",
        "kie_ai_mcp_authors.new_provider",
    )
    heavy = ("rich", "httpx", "filelock", *commands, "kie_ai_mcp_sandbox.server", "PIL")
    code = (
        "import sys, kie_ai_mcp._mcp.server; from kie_ai_mcp._providers import loader;"
        "from kie_ai_mcp._app.own_tools import NAMES; from kie_ai_mcp._settings.settings import Settings;"
        "plugins = loader.Plugins(Settings(), reserved=NAMES);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"


def test_start_imports_nothing_that_takes_long() -> None:
    heavy = {
        *("asyncio", "dataclasses", "email", "hashlib", "importlib.metadata", "inspect", "logging", "pathlib"),
        *("subprocess", "tempfile", "tomllib", "anyio", "click", "mcp", "mcp_types", "pydantic"),
    }
    code = (
        "import sys; before = {*sys.modules}; import kie_ai_mcp.__main__; "
        f"print(sorted({heavy!r} & (sys.modules.keys() - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("plugin", ["kie_ai_mcp_authors", "kie_ai_mcp_sandbox"])
def test_plugin_of_commands_is_imported_without_its_commands(plugin: str) -> None:
    code = (
        f"import sys, kie_ai_mcp.hookspecs; before = set(sys.modules); import {plugin};"
        "print(sorted(set(sys.modules) - before), 'click' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == f"['{plugin}'] False"
