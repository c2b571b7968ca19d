"""Structure of core in figures: how far one generation travels, how often a field is written, how large a part is.

Each limit is a constant. Where a lower one is aimed at, the comment behind it says so; lower it with the code.
"""

import ast
import configparser
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult

import kie_ai_mcp
from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]
CORE = Path(kie_ai_mcp.__file__).parent
MODULES = sorted(CORE.rglob("*.py"))

FOLDER_CHANGES = 18
MASKINGS = 4
FIELD_PLACES = {"status_address": 6}
FLOORS = 11
CLASS_LINES = 250
LARGE_CLASSES = 0
FUNCTION_LINES = 60
LATE_IMPORTS = 20
CORE_LINES = 35_165
RIDDLES = 0
TEST_NAME_LENGTH = 80


# One generation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """A call of a function of core by another one of core, on the same thread."""

    caller: str
    callee: str
    function: str

    @property
    def changes_folder(self) -> bool:
        return folder_of(self.caller) != folder_of(self.callee)

    @property
    def is_masking(self) -> bool:
        return self.callee == "_settings/secrets.py"

    def __str__(self) -> str:
        return f"{self.caller} > {self.callee} {self.function}"


@dataclass
class Recorder:
    """A profile hook that keeps the calls inside core, in every thread.

    A coroutine or generator that goes on is no call; a function that nothing of core has called has no caller to
    differ from.
    """

    steps: list[Step] = field(default_factory=list)
    is_on: bool = False
    _begun: set[FrameType] = field(default_factory=set)

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if event != "call" or not self.is_on or (callee := module_of(frame.f_code.co_filename)) is None:
            return
        if frame.f_code.co_flags & (CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR):
            if frame in self._begun:
                return
            self._begun.add(frame)
        caller = frame.f_back
        while caller is not None and module_of(caller.f_code.co_filename) is None:
            caller = caller.f_back
        if caller is not None:
            source = module_of(caller.f_code.co_filename)
            assert source is not None
            self.steps.append(Step(source, callee, frame.f_code.co_qualname))


@cache
def module_of(filename: str) -> str | None:
    """Return a file's path inside core, or None for a file elsewhere."""
    path = Path(filename)
    return path.relative_to(CORE).as_posix() if path.is_relative_to(CORE) else None


def folder_of(module: str) -> str:
    """Return the package folder of a module of core: ``_flow``, or ``.`` for the public modules."""
    return Path(module).parts[0] if "/" in module else "."


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    before = sys.getprofile(), threading.getprofile()
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    yield recorder
    sys.setprofile(before[0])
    threading.setprofile(before[1])


@pytest.mark.anyio
async def test_one_generation_seldom_changes_folder(recorder: Recorder, tmp_path: Path) -> None:
    with Sandbox(hold=True) as sandbox:
        answer = await generate_twice(recorder, sandbox, tmp_path)
        assert not answer.is_error
        assert len(sandbox.ledger) == 2
    changes = [step for step in recorder.steps if step.changes_folder]
    maskings = [step for step in changes if step.is_masking]
    files = sum(step.caller != step.callee for step in recorder.steps)
    head = f"{len(recorder.steps)} calls, {files} into another file, {len(changes)} into another folder:"
    trail = "\n".join([head, *map(str, changes)])
    assert len(changes) <= FOLDER_CHANGES, trail
    assert len(maskings) <= MASKINGS, trail


async def generate_twice(recorder: Recorder, sandbox: Sandbox, folder: Path) -> CallToolResult:
    """Make two pictures and record the second one: what is built or imported at first use has its cost once."""
    settings = {
        "api_key": "key-of-the-tests",
        "base_url": sandbox.base_url,
        "db_path": folder / "tasks.db",
        "output_dir": folder / "out",
        "enabled_providers": ("nano-banana",),
    }
    app = App.open(Settings.model_validate(settings))
    async with app.engine.running(), Client(server_of(app)) as client:
        await client.call_tool("generate_nano_banana", {"prompt": "The first fox"})
        recorder.is_on = True
        answer = await client.call_tool("generate_nano_banana", {"prompt": "A fox in the snow"})
        recorder.is_on = False
    return answer


# One field -----------------------------------------------------------------------------------------------------------


def places_of(name: str) -> list[str]:
    """Return where the name is written in core's code: annotation, keyword, attribute, text, SQL; not in docstrings."""
    found = set[str]()
    for path in MODULES:
        # The fake answers of the kit for plugin authors are no part of a task's way.
        if path.is_relative_to(CORE / "testing"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            for line in lines_with(name, node) if id(node) not in docs else ():
                found.add(f"{path.relative_to(CORE).as_posix()}:{line}")
    return sorted(found)


def lines_with(name: str, node: ast.AST) -> Iterator[int]:
    match node:
        case ast.Name(id=written) | ast.Attribute(attr=written) | ast.keyword(arg=written) | ast.arg(arg=written) if (
            written == name
        ):
            yield node.lineno
        case ast.Constant(value=str(text)):
            for number, line in enumerate(text.splitlines()):
                if re.search(rf"\b{name}\b", line):
                    yield node.lineno + number


@pytest.mark.parametrize(("name", "limit"), FIELD_PLACES.items())
def test_field_of_a_task_is_written_at_few_places(name: str, limit: int) -> None:
    places = places_of(name)
    assert places, f"no field of a task is named {name} any more: choose another one that is passed on"
    assert len(places) <= limit, "\n".join(places)


# Sizes ---------------------------------------------------------------------------------------------------------------


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def larger_than(limit: int, *kinds: type[Any]) -> list[str]:
    """Return the functions or classes of core with more lines, decorators left out."""
    return [
        f"{path.relative_to(CORE)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, kinds) and node.end_lineno - node.lineno + 1 > limit
    ]


def test_every_private_module_stands_in_a_folder() -> None:
    flat = {path.stem for path in CORE.glob("_*.py")}
    assert flat == {"__init__", "__main__", "_pytest_fixtures"}


def test_layers_of_core_are_few() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    layers = contracts["importlinter:contract:layers"]["layers"].split("\n")
    assert len([layer for layer in layers if layer.strip()]) <= FLOORS


def test_classes_are_short() -> None:
    large = larger_than(CLASS_LINES, ast.ClassDef)
    assert len(large) <= LARGE_CLASSES, "\n".join(large)


def test_functions_are_short() -> None:
    assert larger_than(FUNCTION_LINES, ast.FunctionDef, ast.AsyncFunctionDef) == []


def test_late_imports_are_few() -> None:
    late = [
        f"{path.relative_to(CORE)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "PLC0415" in line
    ]
    assert len(late) <= LATE_IMPORTS, "\n".join(late)


def test_core_is_small() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES)
    cure = "remove what can go, then raise CORE_LINES by what is left and say why in the commit (CONTRIBUTING, Limits)"
    assert lines <= CORE_LINES, f"{lines} lines of core, {CORE_LINES} are allowed: {cure}"


def test_module_docstrings_begin_with_what_the_module_is() -> None:
    riddle = re.compile(r"(What|Which|Whether|How|Who|Where)\b")
    begun = {path.relative_to(CORE).as_posix(): ast.get_docstring(tree_of(path)) or "" for path in MODULES}
    riddles = [f"{name}: {text.splitlines()[0]}" for name, text in begun.items() if riddle.match(text)]
    assert len(riddles) <= RIDDLES, "\n".join(riddles)
    assert [name for name, text in begun.items() if not text and not name.endswith("__init__.py")] == []


# Tests ---------------------------------------------------------------------------------------------------------------


def test_names_of_tests_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name) > TEST_NAME_LENGTH
    ]
    assert long == []
