"""``gallery``: one command from the history to a page in the browser."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.conftest import Environment


class Run(Protocol):
    """Runs the command to its end."""

    def __call__(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Return what came of it."""
        ...


@pytest.fixture
def run(environment: "Environment", tmp_path: Path) -> Run:
    def start(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kie_ai_mcp", "gallery", *arguments],
            env=environment(tmp_path, None, **settings),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    return start


def test_gallery_is_written_into_the_folder_of_results_and_opened(run: Run, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nprintf %s "$1" > opened\n', encoding="utf-8")
    browser.chmod(0o755)
    done = run(BROWSER=str(browser))
    path = tmp_path / "out" / "gallery.html"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}\n", "")
    assert (tmp_path / "opened").read_text(encoding="utf-8") == path.as_uri()
    assert "<h1>Gallery</h1>" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "output_dir", "written"),
    [
        ((), "", "gallery.html"),
        (("--output", "my pages/one.html"), "", "my pages/one.html"),
        (("--limit", "1", "--output", "two.html"), "out", "two.html"),
    ],
)
def test_gallery_is_written_where_it_was_wanted_and_not_opened(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], output_dir: str, written: str
) -> None:
    folder = str(tmp_path / output_dir) if output_dir else ""
    done = run(*arguments, "--no-open", KIE_AI_OUTPUT_DIR=folder, BROWSER="false")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / written}\n", "")
    assert (tmp_path / written).is_file()


def test_without_a_screen_the_path_is_printed(run: Run, tmp_path: Path) -> None:
    terminal = tmp_path / "www-browser"
    terminal.write_text("#!/bin/sh\necho taken over\n", encoding="utf-8")
    terminal.chmod(0o755)
    done = run(DISPLAY="", WAYLAND_DISPLAY="", TERM="xterm", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'out' / 'gallery.html'}\n")
    assert done.stderr == "No browser was found here: open the file in one.\n"


def test_file_that_is_no_gallery_stays_and_the_command_says_so_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("<p>mine</p>", encoding="utf-8")
    done = run("--output", "notes.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'notes.html'} is there already and is not a gallery" in done.stderr
    assert (tmp_path / "notes.html").read_text(encoding="utf-8") == "<p>mine</p>"


def test_path_is_printed_as_json_where_a_program_asks(run: Run, tmp_path: Path) -> None:
    assert json.loads(run("--no-open", "--json").stdout) == {"path": str(tmp_path / "out" / "gallery.html")}


def test_gallery_needs_no_key(run: Run) -> None:
    assert run("--no-open", KIE_AI_API_KEY="").returncode == 0


def test_importing_the_command_does_not_bring_pictures_or_the_protocol() -> None:
    code = "import sys, kie_ai_mcp._cli.gallery; print([name for name in ('PIL', 'av', 'mcp') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"
