"""Packages of the SDK that are deferred: their modules come without them, and they come when they are asked for."""

import subprocess
import sys

import pytest

from tests.helpers import LIMIT_S

START = "from kie_ai_mcp._start.packages import defer_packages; defer_packages(); import sys; "


def said(program: str) -> str:
    """What a new interpreter says."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_modules_of_the_server_come_without_client_and_second_server() -> None:
    program = "import kie_ai_mcp._mcp.server; print({'mcp.client', 'mcp.server.mcpserver'} & {*sys.modules})"
    assert said(START + program) == "set()"


@pytest.mark.parametrize("first", ["", "import kie_ai_mcp._mcp.server; "])
def test_every_public_name_is_there_afterwards(first: str) -> None:
    program = (
        "import mcp, mcp.server, mcp.client.stdio, mcp.server.mcpserver; from mcp import *; from mcp.server import *; "
        "print(all(hasattr(mcp, name) for name in mcp.__all__), len(mcp.__all__) > 50, "
        "all(hasattr(mcp.server, name) for name in mcp.server.__all__), mcp.server.Server is "
        "sys.modules['mcp.server.lowlevel.server'].Server)"
    )
    assert said(START + first + program) == "True True True True"


def test_name_that_there_is_not_is_no_attribute() -> None:
    assert said(START + "import mcp; print(hasattr(mcp, 'no_such_name'), hasattr(mcp, '__no_such__'))") == "False False"


def test_package_that_is_loaded_stays_as_it_is() -> None:
    program = (
        "import mcp; before = mcp.Client; from kie_ai_mcp._start.packages import defer_packages; defer_packages(); "
    )
    assert said(program + "import mcp; print(mcp.Client is before)") == "True"


def test_web_server_is_missing_only_while_the_server_over_stdio_is_imported() -> None:
    program = (
        "from kie_ai_mcp._start.packages import without_web_server\n"
        "with without_web_server(): import kie_ai_mcp._mcp.server\n"
        "print('uvicorn' in sys.modules, 'click' in sys.modules); import uvicorn\n"
        "with without_web_server(): from uvicorn.main import Server\n"
        "print(Server is uvicorn.Server)"
    )
    assert said(START + "\n" + program).split() == ["False", "False", "True"]
