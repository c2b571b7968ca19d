"""Node for the tests: what is said where it can't be had."""

from pathlib import Path

import pytest

from tests.hosts import node


def test_machine_without_npm_and_uv_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(node.Missing, match="npm is not on the PATH, and uv"):
        node.install()


def test_registry_that_refuses_is_told_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no such registry' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(node, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(node.Missing, match="no such registry"):
        node.install()
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".part"] == ["lock"]
