#!/usr/bin/env python3
"""Writer of a release's entry in the MCP registry: server.json, with the bundle of that release as a second package.

::

    python tools/registry_entry.py dist/kie-ai-mcp-server-VERSION.mcpb

The registry wants the SHA-256 of a bundle that can be fetched already, so that ``server.json`` can't have it before.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

ENTRY = Path(__file__).resolve().parents[1] / "server.json"


def main() -> None:
    """Write the entry."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output", type=Path, default=ENTRY, help="where to write it; server.json itself if not given")
    chosen = parser.parse_args()
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    if f"-{entry['version']}.mcpb" not in chosen.bundle.name:
        sys.exit(f"{chosen.bundle.name} is not of version {entry['version']}, which server.json has.")
    package = {
        "registryType": "mcpb",
        "identifier": f"{entry['repository']['url']}/releases/download/v{entry['version']}/{chosen.bundle.name}",
        "fileSha256": hashlib.sha256(chosen.bundle.read_bytes()).hexdigest(),
        "transport": {"type": "stdio"},
    }
    entry["packages"] = [*(each for each in entry["packages"] if each["registryType"] != "mcpb"), package]
    chosen.output.write_text(json.dumps(entry, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
