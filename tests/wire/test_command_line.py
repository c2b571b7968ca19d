"""The command line in a process of its own: what is installed, the sandbox, and the demonstration."""

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import httpx
import psutil
import pytest
from PIL import Image

from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.conftest import Environment
    from tests.wire.conftest import Plant, Run, Spawn

BROKEN = 'raise RuntimeError("the moon is in the wrong house")\n'
WITNESS = 'from pathlib import Path\nPath("imported").touch()\n'


# The demonstration ---------------------------------------------------------------------------------------------------


class Demonstration:
    """A running ``demo``, and every process that was seen below it."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        # To a file: a pipe would stay open as long as anything is left running.
        with (folder / "said.txt").open("w", encoding="utf-8") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kie_ai_mcp", "demo", "--output", "made"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd=folder,
            )
        self.below: set[psutil.Process] = set()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def _watch(self) -> None:
        top = psutil.Process(self.process.pid)
        while not self._over.wait(0.2):
            try:
                self.below.update(top.children(recursive=True))
            except psutil.NoSuchProcess:
                return

    def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code and what it said."""
        code = self.process.wait(timeout=LIMIT_S)
        return code, (self.folder / "said.txt").read_text("utf-8")

    def close(self) -> None:
        """Leave nothing of it behind."""
        self._over.set()
        self._watcher.join()
        for process in self.below:
            if process.is_running():
                process.kill()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module", autouse=True)
def demonstration(environment: "Environment", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    """Started before the first test: it mostly waits, and the others can run meanwhile."""
    folder = tmp_path_factory.mktemp("demonstration")
    environ = environment(folder, KIE_AI_API_KEY="", KIE_AI_BASE_URL="", KIE_AI_DB_PATH="", KIE_AI_OUTPUT_DIR="")
    demonstration = Demonstration(folder, environ | {"COLUMNS": "80"})
    yield demonstration
    demonstration.close()


# What is installed ---------------------------------------------------------------------------------------------------


@pytest.fixture
def providers(run: "Run", plant: "Plant") -> dict[str, dict[str, Any]]:
    """What ``providers`` says, with one provider disabled, one disabled that must not be imported, and one broken."""
    plant("broken", BROKEN)
    path = plant("witness", WITNESS)
    ended = run("providers", "--json", PYTHONPATH=path, KIE_AI_DISABLED_PROVIDERS="veo3, witness")
    assert ended.returncode == 0, ended.stderr
    return {row["provider"]: row for row in json.loads(ended.stdout)}


def test_providers_shows_enabled_disabled_and_set_aside_ones(
    providers: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    nano, veo, broken = (providers[name] for name in ("nano-banana", "veo3", "broken"))
    assert (nano["state"], nano["distribution"], nano["reason"]) == ("enabled", "kie-ai-mcp-nano-banana", "")
    assert nano["tools"] == ["generate_nano_banana", "edit_nano_banana"]
    assert {"kie_register_tools", "kie_describe_provider"} <= set(nano["hooks"])
    assert nano["version"]
    assert (veo["state"], veo["reason"], veo["tools"]) == ("disabled", "by configuration", [])
    assert (broken["state"], broken["tools"], broken["version"]) == ("set aside", [], "1.0")
    assert "the moon is in the wrong house" in broken["reason"]
    assert "Update or uninstall kie-ai-mcp-broken, or disable it: change KIE_AI_DISABLED_PROVIDERS" in broken["cure"]
    assert providers["witness"]["state"] == "disabled"
    assert not (tmp_path / "imported").exists()


def test_providers_is_readable_for_people(run: "Run", plant: "Plant") -> None:
    path = plant("broken", BROKEN)
    ended = run("providers", PYTHONPATH=path, KIE_AI_DISABLED_PROVIDERS="veo3", COLUMNS="250")
    assert ended.returncode == 0
    lines = {line.split()[0]: line for line in ended.stdout.splitlines() if line.split()}
    assert "enabled" in lines["nano-banana"]
    assert "by configuration" in lines["veo3"]
    (broken,) = [line for line in ended.stdout.splitlines() if line.split()[:1] == ["broken"]]
    assert "the moon is in the wrong house" in broken
    assert "Update or uninstall kie-ai-mcp-broken, or disable it: change KIE_AI_DISABLED_PROVIDERS" in lines["broken:"]


def test_call_of_a_tool_whose_provider_is_set_aside_says_why(run: "Run", plant: "Plant") -> None:
    ended = run("call", "generate_broken_image", "prompt=a", PYTHONPATH=plant("broken", BROKEN))
    assert ended.returncode == 2
    assert "There is no tool 'generate_broken_image': the provider broken is set aside" in ended.stderr
    assert "the moon is in the wrong house" in ended.stderr


@pytest.mark.parametrize(("more", "at_kie"), [("", ""), (', checked="2026-11-02"', "current")])
def test_providers_says_nothing_of_kie_where_a_plugin_said_nothing(
    more: str, at_kie: str, run: "Run", plant: "Plant"
) -> None:
    source = f"""
from kie_ai_mcp import Prompt, Provider, Submission, hookimpl

def make_tide(prompt: Prompt) -> Submission:
    "Make a picture."
    return Submission.market("tide/1", {{"prompt": prompt}}, api_type="tide")

@hookimpl
def kie_register_tools():
    return [make_tide]

@hookimpl
def kie_describe_provider():
    return Provider("Tide"{more})
"""
    ended = run("providers", "--json", PYTHONPATH=plant("tide", source))
    (tide,) = (row for row in json.loads(ended.stdout) if row["provider"] == "tide")
    assert (tide["state"], tide["tools"], tide["at Kie.ai"]) == ("enabled", ["make_tide"], at_kie)


def test_what_a_provider_raises_commands_no_terminal(run: "Run", plant: "Plant") -> None:
    path = plant("broken", 'raise RuntimeError("red\\x1b[2J\\x9b31m")\n')
    ended = run("providers", PYTHONPATH=path, COLUMNS="250")
    assert "\x1b" not in ended.stdout + ended.stderr
    for text in (ended.stdout, ended.stderr):  # the table, and the log
        assert r"red\u001b[2J\u009b31m" in text


def test_tools_are_only_those_that_are_wanted(run: "Run") -> None:
    ended = run("tools", "--json", KIE_AI_DISABLED_TOOLS="edit_nano_banana", KIE_AI_KINDS="image")
    assert ended.returncode == 0, ended.stderr
    shown = {row["tool"] for row in json.loads(ended.stdout)}
    assert {"generate_nano_banana", "get_credits"} <= shown
    assert not {"edit_nano_banana", "generate_veo3_video"} & shown


def test_tools_are_readable_for_people(run: "Run") -> None:
    ended = run("tools", COLUMNS="250")
    assert ended.returncode == 0
    (line,) = [line for line in ended.stdout.splitlines() if line.split()[:1] == ["generate_nano_banana"]]
    assert "nano-banana" in line
    assert "Make a picture from words" in line


@pytest.mark.parametrize("arguments", [("bananas",), ("serve", "--bananas")])
def test_wrong_usage_is_reported_on_stderr_with_exit_code_2(run: "Run", arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert arguments[-1] in ended.stderr
    assert "Traceback" not in ended.stderr


# The sandbox ---------------------------------------------------------------------------------------------------------


def test_sandbox_listens_until_its_input_ends(spawn: "Spawn") -> None:
    child = spawn("sandbox", "--port", "0", "--until-stdin-closes", "--credits", "12", "--key", "k")
    said, _, base_url = child.line().strip().rpartition(" ")
    assert said == "sandbox listening on"
    assert httpx.get(f"{base_url}/chat/credit", headers={"Authorization": "Bearer k"}).json()["data"] == 12
    assert httpx.get(f"{base_url}/chat/credit", headers={"Authorization": "Bearer x"}).json()["code"] == 401
    child.close_input()
    assert child.ended(10) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base_url}/chat/credit")


def test_sandbox_prints_every_line_that_sends_all_to_it(spawn: "Spawn") -> None:
    child = spawn("sandbox", "--port", "0", "--key", "k")
    base_url = child.line().rpartition(" ")[2].strip()
    assert child.line() == "To use it, type in another terminal:\n"
    values = [child.line().strip() for _ in range(3)]
    upload_url = base_url.removesuffix("/api/v1")
    given = {"KIE_AI_BASE_URL": base_url, "KIE_AI_UPLOAD_URL": upload_url, "KIE_AI_API_KEY": "k"}
    assert [line.partition(" ")[2] for line in values] == [f"{name}={value}" for name, value in given.items()]


def test_sandbox_refuses_a_fault_it_does_not_know(run: "Run") -> None:
    ended = run("sandbox", "--port", "0", "--fault", "drop-everything")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "'drop-everything'" in ended.stderr
    assert "drop-after" in ended.stderr


# The demonstration's end ---------------------------------------------------------------------------------------------


def test_demo_makes_files_says_where_they_are_and_leaves_nothing_running(demonstration: Demonstration) -> None:
    code, said = demonstration.ended()
    assert code == 0, said
    made = demonstration.folder / "made"
    (picture,) = made.glob("*.png")
    with Image.open(picture) as image:
        image.verify()
        assert image.format == "PNG"
    (clip,) = made.glob("*.mp4")
    with av.open(str(clip)) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(320, 180)] * 24
    for file in (picture, clip):
        assert str(file) in said
        assert json.loads(file.with_name(f"{file.name}.json").read_text("utf-8"))["arguments"]["prompt"]
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    assert "https://kie.ai/api-key" in said
    (command,) = [line for line in said.splitlines() if line.startswith("  ") and "install claude-desktop" in line]
    pasted = [*shlex.split(command)[:-2], "--version"]
    subprocess.run(pasted, cwd=demonstration.folder, capture_output=True, timeout=LIMIT_S, check=True)
    assert list(made.glob("*.part")) == []
    assert not list(demonstration.folder.rglob("tasks.db"))
    assert len(demonstration.below) >= 2
    assert psutil.wait_procs(demonstration.below, timeout=LIMIT_S)[1] == []
