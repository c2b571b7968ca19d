"""Secrets in clients' files: of other servers and of ours, none is printed or left where others can read it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_install import SECRET, file_of, install, one_platform

if TYPE_CHECKING:
    from tests.cli.conftest import Run

__all__ = ["one_platform"]

# What can't be read, or not by all means, with a secret where the library's errors and warnings quote the file.
UNREADABLE = {
    "goose": {
        "line 3, column 3: a key stands there twice": f"o:\n  TOKEN: {SECRET}\n  TOKEN: {SECRET}-2\n",
        "no valid YAML": f"o:\n  TOKEN: '{SECRET}\n",
        "line 2, column 10: a tag or a key": f"o:\n  TOKEN: !{SECRET} x\n",
        "line 1, column 4: an alias without": f"o: *{SECRET}\n",
        "a value that can't be read": f"o: !!int {SECRET}\n",
        "line 2, column 1: no valid YAML": f"- {SECRET}\no: 1\n",
        "line 3, column 1: an alias without its anchor, or a second document": f"---\nA: {SECRET}\n---\nb: 2\n",
    },
    "codex": {
        "Cannot declare ... twice (at line 3": f'["{SECRET}"]\na = 1\n["{SECRET}"]\n',
        "Duplicate inline table key ... (at line 1": f'a = {{"{SECRET}" = 1, "{SECRET}" = 2}}',
        "a number of too many digits": f"n = {'1' * 5000} # {SECRET}\n",
    },
    "cursor": {"a number of too many digits": f'{{"n": {"1" * 5000}, "a": "{SECRET}"}}'},
}


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize(
    ("name", "reason", "text"), [(name, *case) for name, cases in UNREADABLE.items() for case in cases.items()]
)
def test_file_that_can_t_be_read_is_not_quoted(
    run: "Run", tmp_path: Path, command: str, name: str, reason: str, text: str
) -> None:
    path = file_of(name, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    ended = run(command, name, "--yes", "--file", path)
    assert (ended.code, ended.stderr.count("\n"), path.read_text("utf-8")) == (1, 1, text)
    assert reason in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr


def test_warnings_about_a_file_do_not_quote_it(run: "Run", tmp_path: Path) -> None:
    path = file_of("goose", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(f"o: &x {SECRET}\np: &x {SECRET}\n", "utf-8")
    ended = install(run, "goose", "--yes")
    assert (ended.code, SECRET in ended.stdout + ended.stderr) == (0, False), ended.stderr
