"""Benchmarks: each can be loaded, says what it measures, and is described; no test looks at a time."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
every_script = pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda script: script.name)


@every_script
@pytest.mark.skipif(sys.platform == "win32", reason="some ask the system for what Windows does not have")
def test_benchmark_says_what_it_measures(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_path(str(script), run_name="__main__")
    assert f"uv run python benchmarks/{script.name}" in capsys.readouterr().out


@every_script
def test_benchmark_is_described(script: Path) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"\n| `{script.name}` |" in page
    assert f"benchmarks/{script.name}\n" in page


def test_benchmark_stands_in_for_no_module_that_its_neighbours_import() -> None:
    assert {script.stem for script in FOLDER.glob("*.py")}.isdisjoint(sys.stdlib_module_names)
