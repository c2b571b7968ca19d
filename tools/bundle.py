#!/usr/bin/env python3
"""Builder of the bundle: one file that a desktop host installs, with the wheels of this repository in it.

::

    uv run python tools/bundle.py --output dist

It writes ``kie-ai-mcp-server-VERSION.mcpb`` into that folder and prints its path and its SHA-256. The host brings uv,
which fetches the libraries of others at the first start. The same sources make the same bytes.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "bundle"
SERVER = "kie-ai-mcp-server"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PICTURES = "pillow>=11.3"
"""Pictures in the chat need it; the larger libraries of the extra ``preview`` would make the first start too slow."""

BEGINNING = (1980, 1, 1, 0, 0, 0)
"""Time of every file in the archive, the earliest that its format has."""

PYPROJECT = """\
[project]
name = "kie-ai-mcp-bundle"
version = "{version}"
requires-python = ">=3.11"
dependencies = [
{dependencies}
]

[tool.uv]
package = false

# The names in this table are never looked up in an index.
[tool.uv.sources]
{sources}
"""


def build_wheels(folder: Path) -> None:
    """Build a wheel of every distribution of this repository."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        sys.exit("uv is not on the PATH. Install it: python3 -m pip install uv")
    command = [uv, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(folder)]
    subprocess.run([*command, "--python", sys.executable, str(ROOT)], check=True)  # noqa: S603  nothing from outside


def name_of(wheel: Path) -> str:
    """Return the distribution's name."""
    return re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()


def project_of(version: str, wheels: list[Path]) -> str:
    """Return the bundle's pyproject.toml: every wheel a dependency, from the bundle alone."""
    names = {name_of(wheel): wheel.name for wheel in wheels}
    dependencies = "\n".join(f'    "{name}",' for name in [*names, PICTURES])
    sources = "\n".join(f'{name} = {{ path = "wheels/{file}" }}' for name, file in names.items())
    return PYPROJECT.format(version=version, dependencies=dependencies, sources=sources)


def members(version: str) -> set[str]:
    """Return the names of the distributions that the server pins, and its own."""
    pins: list[str] = PROJECT["dependencies"]
    return {SERVER, *(pin.removesuffix(f"=={version}") for pin in pins)}


def contents(wheels: list[Path], version: str) -> dict[str, bytes]:
    """Return the files of the bundle by their names in it."""
    manifest = json.loads((SOURCE / "manifest.json").read_text(encoding="utf-8"))
    if manifest["version"] != version:
        sys.exit(f"bundle/manifest.json has version {manifest['version']}, pyproject.toml has {version}.")
    if missing := members(version) - {name_of(wheel) for wheel in wheels}:
        sys.exit(f"These distributions have no wheel of version {version}: {', '.join(sorted(missing))}")
    files = {path.name: path.read_bytes() for path in sorted(SOURCE.iterdir()) if path.is_file()}
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files["pyproject.toml"] = project_of(version, wheels).encode()
    return files | {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels}


def pack(files: dict[str, bytes], target: Path) -> None:
    """Write the archive: the same files make the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, BEGINNING)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # as on Unix, wherever it is built
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)


def main() -> None:
    """Build the bundle."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the bundle")
    parser.add_argument("--wheels", type=Path, help="folder with the wheels, if they are built already")
    chosen = parser.parse_args()
    version: str = PROJECT["version"]
    target: Path = chosen.output / f"{SERVER}-{version}.mcpb"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = chosen.wheels or Path(scratch)
        if chosen.wheels is None:
            build_wheels(folder)
        pack(contents(sorted(folder.glob(f"kie_ai_mcp_*-{version}-*.whl")), version), target)
    sys.stdout.write(f"{target}\n{hashlib.sha256(target.read_bytes()).hexdigest()}\n")


if __name__ == "__main__":
    main()
