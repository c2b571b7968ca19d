"""Node for the tests: what is said where it can't be had."""

from pathlib import Path

import pytest

from tests.hosts import node


def test_machine_without_npm_and_uv_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(node.Missing, match="npm is not on the PATH, and uv"):
        node.install()


def test_registry_that_refuses_is_told_and_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho 'no such registry' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(node, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for _ in range(2):
        with pytest.raises(node.Missing, match="no such registry"):
            node.install()
    assert (tmp_path / "asked").read_text() == "asked\n"
