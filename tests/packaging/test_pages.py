"""Pages for authors of plugins: a reader who types every line, with pip or with uv, sees what the page shows."""

import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from kie_ai_mcp import CONTRACT, testing
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.packaging.conftest import RunScript

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs/plugins"
PORTS = ("8787", "8790")
STEP = "@@ step"
SECOND_TERMINAL, FAILS = "second terminal", "fails"

BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[\w ]+) -->\n)?(?:^`(?P<file>[\w./-]+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What the tutorial says about uv.
WITH_UV = {"python -m venv .venv": "uv venv", "python -m pip": "uv pip"}


@dataclass(frozen=True)
class Step:
    """A command of a page, and what the page says that it prints; or a file to write."""

    command: str
    prints: str
    mark: str = ""


def steps_of(page: Path, staged: Path) -> Iterator[Step]:
    """Yield the commands of a page in order, with the files that it shows."""
    for number, block in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8"))):
        if block["file"]:
            path = staged / f"{page.stem}-{number}"
            path.write_text(block["text"], encoding="utf-8")
            yield Step(f"cp {shlex.quote(str(path))} {block['file']}", "")
        elif block["language"] == "console":
            for part in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                command, _, prints = part.partition("\n")
                yield Step(command, prints, block["mark"] or "")


def script_of(steps: list[Step], logs: Path) -> str:
    """Return a script that runs them all, and prints a line before each."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT", "exec 2>&1"]
    for number, step in enumerate(steps):
        command = step.command
        if step.mark == SECOND_TERMINAL:
            log = shlex.quote(str(logs / f"{number}.log"))
            # What it prints first says that it is ready.
            until_ready = f"for _ in {{1..300}}; do [ -s {log} ] && break; sleep 0.1; done; cat {log}"
            command = f"{{ exec {command}; }} >{log} & {until_ready}"
        if step.mark == FAILS:
            command = f"if {command}; then echo it did not fail; false; fi"
        lines += [f"echo {shlex.quote(f'{STEP} {number}')}", command]
    return "\n".join(lines)


def shows(expected: str, printed: str) -> bool:
    """Return whether a page shows what was printed; ``...`` is anything; spaces and lines of tables don't count."""
    pattern = ".*".join(re.escape(part.strip()) for part in plain(expected).split("..."))
    return re.fullmatch(pattern, plain(printed), re.DOTALL) is not None


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[\d;]*m|[│┃|━─┼╇┏┓┗┛╞╡╪═+]", " ", text).split())


def first_block(page: str, language: str) -> str:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return next(block["text"] for block in BLOCK.finditer(text) if block["language"] == language)


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


# The beginnings of lines that install something with pip, and of those that they need.
OF_PIP = ("python -m venv", "python -m pip", ". .venv", "mkdir ", "cd ", "cp ", "kie-ai-mcp-server new-provider")

# Between two pages: another folder, home and shell, in the environment that the first one has made.
ANEW = """kill $(jobs -p) 2>/dev/null || true; wait
unset $(compgen -v KIE_AI_)
export HOME={home}
cd {home}"""


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_every_line_of_both_tutorials_prints_what_the_page_shows(
    installer: str, run_script: "RunScript", tmp_path: Path
) -> None:
    home = tmp_path / "anew"
    home.mkdir()
    tutorial, gateway = (list(steps_of(PAGES / f"{page}.md", tmp_path)) for page in ("tutorial", "gateway"))
    steps = [*tutorial, Step(ANEW.format(home=shlex.quote(str(home))), ""), *gateway]
    if installer == "pip":  # the other lines are the same by both
        steps = [step for step in steps if step.command.startswith((*OF_PIP, ANEW[:4]))]
    script, shown = script_of(steps, tmp_path), [step.prints for step in steps]
    for words, words_of_uv in WITH_UV.items() if installer == "uv" else ():
        script = script.replace(words, words_of_uv)
    for port in PORTS:
        free = free_port()
        script, shown = script.replace(port, free), [text.replace(port, free) for text in shown]

    done = run_script(script, tmp_path)

    printed = re.split(rf"^{STEP} \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    for step, expected, text in zip(steps, shown, printed, strict=False):
        assert not expected or shows(expected, text), f"$ {step.command}\n{text}\nthe page shows:\n{expected}"
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(printed) == len(steps)


def test_tutorial_says_how_its_lines_read_with_uv() -> None:
    text = (PAGES / "tutorial.md").read_text(encoding="utf-8").replace("\n", " ")
    assert all(f"`{with_uv}` for `{words}`" in text for words, with_uv in WITH_UV.items())


def test_wheels_of_a_clone_are_built_as_the_tutorial_says(run_script: "RunScript", tmp_path: Path) -> None:
    found = re.search(
        r"^```sh\n(.*?)^```$", (PAGES / "tutorial.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found
    links = "echo $PIP_FIND_LINKS; echo $UV_FIND_LINKS"
    start = (
        f"git clone -q --no-local {shlex.quote(str(ROOT))} clone; cd clone; python -m venv .venv; . .venv/bin/activate"
    )
    done = run_script(f"{links}\n{start}\n{found[1]}\n{links}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    wheels = tmp_path / "clone/dist/wheels"
    assert len([*wheels.glob("*.whl")]) == len([*ROOT.glob("plugins/*/pyproject.toml")]) + 2
    lines = done.stdout.splitlines()
    assert lines[-2:] == [f"{wheels} {lines[0]}", f"{wheels},{lines[1]}"]  # what a reader has set stays


def test_package_of_the_page_about_models_is_installed_and_holds_its_data(
    run_script: "RunScript", tmp_path: Path
) -> None:
    (tmp_path / "kie_ai_mcp_tide").mkdir()
    page = (PAGES / "models.md").read_text(encoding="utf-8")
    for block in BLOCK.finditer(page):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["text"], encoding="utf-8")
    install = "python -m pip install --editable ."
    assert f"`{install}`" in page
    lines = ["python -m venv .venv", ". .venv/bin/activate", f"{install} --quiet --no-deps", "uv build --quiet --wheel"]
    done = run_script("\n".join([*lines, "python -m pip list"]), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kie-ai-mcp-tide" in done.stdout
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with ZipFile(wheel) as archive:
        assert "kie_ai_mcp_tide/models.json" in archive.namelist()


def test_excerpts_are_of_the_package_that_the_gateway_page_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kie_ai_mcp", "new-provider", "lantern", "--gateway"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=LIMIT_S, check=True)
    module = (tmp_path / "kie-ai-mcp-lantern/src/kie_ai_mcp_lantern/__init__.py").read_text(encoding="utf-8")
    page = (PAGES / "gateway.md").read_text(encoding="utf-8")
    excerpts = re.findall(r'^```python title="excerpt"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL)
    assert len(excerpts) >= 5
    assert [excerpt for excerpt in excerpts if excerpt not in module] == []


def test_examples_of_the_kit_pass_and_name_everything_public(tmp_path: Path) -> None:
    page = (PAGES / "kit.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert headings[0] == "Fixtures"
    assert sorted(headings[1:]) == testing.__all__
    examples = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert [name for name in testing.__all__ if not re.search(rf"\b{name}\b", examples)] == []
    (tmp_path / "test_kit.py").write_text(examples, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "test_kit.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert f"{examples.count('def test_')} passed" in done.stdout, done.stdout


LINE = {"name", "about", "distribution", "repository", "contract"}


def known(text: str) -> list[str]:
    """Return what is wrong with the list of plugins by others."""
    entries = tomllib.loads(text)["plugin"]
    names = [entry.get("name", "") for entry in entries]
    faults = [] if names == sorted({*names}) else ["names are not in order, or one stands twice"]
    own = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
    for entry in entries:
        fits = (
            entry.keys() == LINE
            and re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", entry["name"])
            and entry["name"] not in own
            and re.fullmatch(r"[^|\n]{1,99}[^.|\n]", entry["about"])
            and re.fullmatch(r"[a-z0-9]+([-_.][a-z0-9]+)*", entry["distribution"])
            and re.fullmatch(r"https://[a-z0-9.-]+\.[a-z]+/\S+", entry["repository"])
            and entry["contract"] in range(1, CONTRACT[0] + 1)
        )
        faults += [] if fits else [f"the entry {entry.get('name')} is not as the page says"]
    return faults


def test_known_plugins_are_entered_as_the_page_says() -> None:
    assert known((PAGES / "known.toml").read_text(encoding="utf-8")) == []


def test_entry_of_the_page_about_known_plugins_is_right_and_its_faults_are_found() -> None:
    entry = first_block("known", "toml")
    assert known(entry) == []
    for right, wrong in {"lantern": "veo3", "https": "http", "= 1": "= 9", "repository": "page", "own": "own."}.items():
        assert known(entry.replace(right, wrong)), wrong
