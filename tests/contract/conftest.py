"""A separate pytest run for tests of fixtures."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from tests.helpers import LIMIT_S


@pytest.fixture
def pytester_like(tmp_path: Path) -> Callable[[str], str]:
    """Runs a test file of its own in a folder of its own, and returns what pytest prints."""

    def run(source: str) -> str:
        folder = tmp_path / "inner"
        folder.mkdir()
        (folder / "test_inner.py").write_text(dedent(source), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), str(folder)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        return done.stdout

    return run
