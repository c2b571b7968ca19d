#!/usr/bin/env python3
"""Writer of the project addresses of every distribution, which are those of the root pyproject.toml.

::

    uv run python tools/project_urls.py
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = r"(?ms)^\[project\.urls\]\n.*?(?=^\[|\Z)"
NEXT = "[build-system]\n"
"""The table that it stands before."""


def main() -> None:
    """Write the addresses; print the files that were changed."""
    found = re.search(TABLE, (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if found is None:
        sys.exit("The root pyproject.toml has no table [project.urls].")
    for file in [ROOT / "core/pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]:
        old = file.read_text(encoding="utf-8")
        new = re.sub(TABLE, "", old).replace(NEXT, f"{found[0]}{NEXT}", 1)
        if new != old:
            file.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{file.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
