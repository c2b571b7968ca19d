"""Providers whose loading ends or hangs the process: the next start sets them aside with the reason."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from tests.helpers import LIMIT_S

if TYPE_CHECKING:
    from tests.core.conftest import Publish

SCRIPT = """
import json, os, sys
from kie_ai_mcp._providers import loader, quarantine
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
loader.LOAD_S, quarantine.WATCHDOG_S = 0.3, 0.8
plugin = Plugins(Settings.model_validate({"enabled_providers": ("bad", "good")})).plugins["bad"]
os.write(1, json.dumps([plugin.state, plugin.reason, plugin.cure]).encode())
sys.stdout.write("|" + sys.stdin.read())
sys.stderr.write("warned")
"""
GOOD = """
from kie_ai_mcp import Submission, hookimpl

def generate_good(prompt: str) -> Submission:
    "Make it."
    return Submission("x", {"prompt": prompt}, "good")

@hookimpl
def kie_register_tools():
    return [generate_good]
"""
BAD = GOOD.replace("good", "bad")
Start = Callable[[], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(site: Path, tmp_path: Path) -> Start:
    """Load the providers in a process of its own, whose user has a folder of this test."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}

    def run() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", SCRIPT]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, input="line", timeout=LIMIT_S, check=False
        )

    return run


def marks(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.rglob("loading/*"))


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: time.sleep(1)",
        "import signal, threading\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nthreading.Event().wait()",
    ],
)
def test_provider_that_ended_the_process_is_set_aside_at_the_next_start(
    source: str, publish: "Publish", start: Start, tmp_path: Path
) -> None:
    publish("good", GOOD)
    publish("bad", source)

    assert not start().stdout
    for _ in range(2):
        second = start()
        assert '["set aside", "the server ended or hung while it loaded this provider."' in second.stdout
        assert "bad.ended" in second.stdout
        assert second.returncode == 0
    (path,) = marks(tmp_path)
    path.unlink()
    assert not start().stdout  # it is tried again


def test_provider_that_was_mended_is_loaded_again(publish: "Publish", start: Start, site: Path, tmp_path: Path) -> None:
    module = publish("bad", "import os\nos._exit(0)")
    publish("good", GOOD)
    start()
    assert "set aside" in start().stdout

    file = site / f"{module}.py"
    file.write_text(BAD, encoding="utf-8")
    os.utime(file, (2e9, 2e9))

    assert start().stdout.startswith('["enabled"')
    assert marks(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "state"),
    [
        (f"import os\nfor n in (0, 1, 2): os.close(n)\n{BAD}", '["enabled"'),
        (f"import sys\nfor s in (sys.__stdin__, sys.__stdout__, sys.__stderr__): s.close()\n{BAD}", '["enabled"'),
        (f"import sys\nsys.stdin = sys.stdout = None\n{BAD}", '["enabled"'),
        ("raise KeyboardInterrupt", '["set aside", "it raised KeyboardInterrupt."'),
        ("raise SystemExit(3)", '["set aside", "SystemExit: 3'),
    ],
)
def test_standard_streams_survive_a_provider(
    source: str, state: str, publish: "Publish", start: Start, tmp_path: Path
) -> None:
    publish("good", GOOD)
    publish("bad", source)

    ended = start()

    assert ended.stdout.startswith(state)
    assert ended.stdout.endswith("|line")
    assert ended.stderr.endswith("warned")
    assert marks(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_end_by_the_host_is_not_held_against_a_provider(
    number: signal.Signals, publish: "Publish", start: Start, tmp_path: Path
) -> None:
    publish("good", GOOD)
    publish("bad", f"import os, time\nos.kill(os.getppid() and os.getpid(), {int(number)})\ntime.sleep(5)")

    ended = start()

    assert ended.returncode == -number
    assert marks(tmp_path) == []


def test_provider_that_another_server_loads_now_is_loaded_too(
    publish: "Publish", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    publish("good", GOOD)
    settings = Settings.model_validate({"enabled_providers": ("good",)})
    assert Plugins(settings).plugins["good"].state == "enabled"
    (folder,) = tmp_path.rglob("loading")
    (folder / str(os.getppid())).write_text("good", encoding="utf-8")

    assert Plugins(settings).plugins["good"].state == "enabled"

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (folder / str(ended.pid)).write_text("good", encoding="utf-8")
    assert Plugins(settings).plugins["good"].state == "set aside"


def test_user_without_a_folder_loads_providers_all_the_same(
    publish: "Publish", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_DATA_HOME", str(blocked))
    publish("good", GOOD)

    assert Plugins(Settings.model_validate({"enabled_providers": ("good",)})).plugins["good"].state == "enabled"
