"""The remembered start: what the same server said before, said at once, and never otherwise than the server says it."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._app.app import App
from kie_ai_mcp._mcp import stdio
from kie_ai_mcp._settings.load import load_settings
from kie_ai_mcp._start.memory import Memory
from kie_ai_mcp._start.remembered import FILL_COMMAND, Start
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S, until
from tests.wire.processes import CLIENT, PREFIX, STATELESS

if TYPE_CHECKING:
    from tests.conftest import Environment
    from tests.wire.conftest import Plant, Run, Spawn
    from tests.wire.processes import Child

Message = dict[str, Any]

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", STATELESS)
LISTS = ("tools/list", "prompts/list", "resources/templates/list")
ON_DEMAND: Message = {"KIE_AI_LOAD": "demand"}
SOURCE = '''
from kie_ai_mcp import Prompt, Submission, hookimpl

def generate_{name}(prompt: Prompt) -> Submission:
    """Make a {name}."""
    return Submission.market("{name}", {{"prompt": prompt}}, api_type="{name}")

@hookimpl
def kie_register_tools():
    return [generate_{name}]
'''


def asked(child: "Child", revision: str = "2025-11-25") -> dict[str, Message]:
    """What a server says of itself, before anything is called."""
    said = {"greeting": child.greet(revision)}
    return said | {method: child.answer(child.ask(method))["result"] for method in LISTS}


def names(child: "Child") -> set[str]:
    """The names of the listed tools."""
    child.greet("2025-11-25")
    return {tool["name"] for tool in child.answer(child.ask("tools/list"))["result"]["tools"]}


def ended(child: "Child") -> int:
    """The exit code of a process whose input ends."""
    child.close_input()
    return child.ended()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests of this module: a memory holds for a home, so that those with one need no start."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def tmp_path(home: Path) -> Iterator[Path]:
    """The folder, empty."""
    yield home
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture(scope="module")
def earlier() -> dict[str, tuple[Message, Path, bytes]]:
    """What servers said in earlier tests, by revision and settings, and the file in which they remembered it."""
    return {}


@pytest.fixture
def memories(tmp_path: Path) -> Callable[[], list[Path]]:
    """The files of what was remembered in the test's home folder."""
    return lambda: sorted(tmp_path.rglob("starts/*.json"))


@pytest.fixture
def remembered(
    spawn: "Spawn", tmp_path: Path, memories: Callable[[], list[Path]], earlier: dict[str, tuple[Message, Path, bytes]]
) -> Callable[..., Message]:
    """Starts a server that is asked everything, ends it, and removes its database; returns what it said.

    Where an earlier test did the same in an empty folder, the memory of that is written again.
    """

    def start(revision: str = "2025-11-25", **settings: str) -> Message:
        given: Message = {**ON_DEMAND, **settings}
        key, is_first = json.dumps([revision, given]), not [*tmp_path.iterdir()]
        if is_first and key in earlier:
            said, file, content = deepcopy(earlier[key])
            file.parent.mkdir(mode=0o700, parents=True)
            file.write_bytes(content)
            return said
        child = spawn(**given)
        said = asked(child, revision)
        until(memories)
        assert ended(child) == 0
        (tmp_path / "tasks.db").unlink(missing_ok=True)
        if is_first:
            (file,) = memories()
            earlier[key] = deepcopy(said), file, file.read_bytes()
        return said

    return start


def is_loaded(folder: Path) -> bool:
    """Whether a server has opened its database."""
    return (folder / "tasks.db").exists()


# What is said at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", REVISIONS)
def test_second_start_says_the_same_and_loads_nothing(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message], revision: str
) -> None:
    first = remembered(revision)
    child = spawn(**ON_DEMAND)
    second = asked(child, revision)
    assert not is_loaded(tmp_path)
    for message in (*first.values(), *second.values()):
        message.pop("ttlMs", None)  # an early answer may be corrected soon
    assert second == first
    assert ended(child) == 0
    assert not is_loaded(tmp_path)


def test_early_answers_are_not_to_be_kept(spawn: "Spawn", remembered: Callable[..., Message]) -> None:
    assert remembered(STATELESS)["tools/list"]["ttlMs"] > 0
    assert asked(spawn(**ON_DEMAND), STATELESS)["tools/list"]["ttlMs"] == 0


@pytest.mark.parametrize("load", ["demand", "background"])
def test_call_after_early_answers_is_answered_and_none_comes_twice(
    spawn: "Spawn", remembered: Callable[..., Message], load: str
) -> None:
    remembered(KIE_AI_LOAD=load)
    child = spawn(KIE_AI_LOAD=load)
    asked(child)
    assert child.call("list_tasks")["isError"] is False
    assert ended(child) == 0
    numbers = [json.loads(line).get("id") for line in child.received]
    assert numbers == [1, 3, 4, 5, 6]


def test_everything_in_one_write_is_answered_once_and_in_order(
    spawn: "Spawn", remembered: Callable[..., Message]
) -> None:
    remembered()
    child = spawn(**ON_DEMAND)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
    lines = [
        {"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "b", "method": "tools/list"},
        {"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": {"name": "list_tasks", "arguments": {}}},
        {"jsonrpc": "2.0", "id": "d", "method": "tools/list", "params": {}},
    ]
    child.write("\n".join(map(json.dumps, lines)))
    answers = [json.loads(child.line())["id"] for _ in lines[1:]]
    assert ended(child) == 0
    assert (answers[:2], sorted(answers[2:]), len(child.received)) == (["a", "b"], ["c", "d"], 4)


@pytest.mark.parametrize("revision", REVISIONS)
def test_input_that_ends_after_known_questions_loads_nothing(
    environment: "Environment", tmp_path: Path, remembered: Callable[..., Message], revision: str
) -> None:
    background: Message = {"KIE_AI_LOAD": "background"}
    said = remembered(revision, **background)
    command = [sys.executable, "-m", "kie_ai_mcp"]
    early = said_at_once(command, environment(tmp_path, **background), tmp_path, revision)
    assert (len(early), is_loaded(tmp_path)) == (len(said), False)


def test_server_loads_by_itself_while_the_client_pauses(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message]
) -> None:
    remembered(KIE_AI_LOAD="background")
    child = spawn(KIE_AI_LOAD="background")
    asked(child)
    until(lambda: is_loaded(tmp_path))


def test_unusual_question_is_left_to_the_server(spawn: "Spawn", remembered: Callable[..., Message]) -> None:
    remembered(STATELESS)
    unusual: list[Message] = [
        {"method": "server/discover", "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": STATELESS}}},
        {"method": "initialize", "params": {"protocolVersion": "2025-11-25"}},
        {"method": "initialize", "params": {"protocolVersion": 7, "capabilities": {}, "clientInfo": CLIENT}},
        {"method": "tools/list"},
        {"method": "tools/list", "params": {"cursor": "x"}},
        {"method": "no/such"},
    ]
    usual = {"server/discover": spawn(KIE_AI_LOAD="background")}  # which decides upon a revision: the others differ
    handshakes = spawn(KIE_AI_LOAD="background")
    for number, line in enumerate(unusual):
        answers = []
        for child in (spawn(**ON_DEMAND), usual.get(line["method"], handshakes)):
            child.send(json.dumps({"jsonrpc": "2.0", "id": number, **line}))
            answers.append(child.answer(number))
        assert "error" in answers[0]
        assert answers[0] == answers[1]


# Before the first start in a host ------------------------------------------------------------------------------------


def said_at_once(command: list[str], environ: dict[str, str], folder: Path, revision: str) -> list[Message]:
    """What a host hears that asks everything at once and leaves."""
    meta = {f"{PREFIX}protocolVersion": revision, f"{PREFIX}clientInfo": CLIENT, f"{PREFIX}clientCapabilities": {}}
    hello: Message = {"protocolVersion": revision, "capabilities": {}, "clientInfo": CLIENT}
    first: list[Message] = [{"id": 0, "method": "initialize", "params": hello}, {"method": "notifications/initialized"}]
    more: Message = {}
    if revision == STATELESS:
        more = {"params": {"_meta": meta}}
        first = [{"id": 0, "method": "server/discover", **more}]
    asked_for = [*first, *({"id": method, "method": method, **more} for method in LISTS)]
    text = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in asked_for)
    done = subprocess.run(
        command,
        input=text,
        env=environ,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line)["result"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["cursor", "doctor"])
def test_first_start_after_install_or_doctor_says_at_once_what_a_usual_one_says(
    run: "Run", spawn: "Spawn", environment: "Environment", tmp_path: Path, name: str
) -> None:
    unset: Message = dict.fromkeys(("KIE_AI_BASE_URL", "KIE_AI_DB_PATH", "KIE_AI_OUTPUT_DIR"), "")
    command = [str(Path(sysconfig.get_path("scripts"), "kie-ai-mcp-server"))]
    if name == "doctor":
        done = run("doctor", "--offline", **unset)
        assert "The server starts and answers what hosts ask first." in done.stdout
    else:  # the shell's other settings do not reach the server that the host starts
        done = run("install", name, "--yes", KIE_AI_CONFIG=str(tmp_path / "none.toml"))
        assert done.returncode == 0, done.stderr
        entry = json.loads((tmp_path / ".cursor" / "mcp.json").read_text("utf-8"))["mcpServers"]["kie-ai"]
        assert command == [entry["command"]]
    assert not [*tmp_path.rglob("tasks.db*")]
    environ, revisions = environment(tmp_path, **unset), ("2025-06-18", "2025-11-25", STATELESS)
    early = [said_at_once(command, environ, tmp_path, revision) for revision in revisions]
    assert not [*tmp_path.rglob("tasks.db*")]  # no server was loaded
    usual = [[*asked(spawn(**unset), revision).values()] for revision in revisions]
    for message in chain(*early, *usual):
        message.pop("ttlMs", None)
    assert early == usual


def test_memory_is_filled_without_a_look_at_the_service_or_the_database(
    run: "Run", sandbox: Sandbox, tmp_path: Path, memories: Callable[[], list[Path]]
) -> None:
    (tmp_path / "tasks.db").write_text("no database")
    assert run(FILL_COMMAND, sandbox=sandbox).returncode == 0
    assert (sandbox.requests, len(memories())) == ([], 1)
    assert [path.name for path in tmp_path.glob("tasks.db*")] == ["tasks.db"]


@pytest.mark.parametrize("form", ["module", "script", "uv run"])
def test_every_way_to_launch_the_server_has_its_memory(environment: "Environment", tmp_path: Path, form: str) -> None:
    script = str(Path(sysconfig.get_path("scripts"), "kie-ai-mcp-server"))
    uv = shutil.which("uv")
    if form == "uv run" and uv is None:
        pytest.skip("uv is not installed")
    command = {
        "module": [sys.executable, "-m", "kie_ai_mcp"],
        "script": [script],
        "uv run": [str(uv), "run", "--no-project", "--offline", "--python", sys.executable, script],
    }[form]
    environ = environment(tmp_path, KIE_AI_DB_PATH="")
    subprocess.run([*command, FILL_COMMAND], env=environ, cwd=tmp_path, timeout=LIMIT_S, check=True)
    assert len(said_at_once(command, environ, tmp_path, "2025-11-25")) == 1 + len(LISTS)
    assert not [*tmp_path.rglob("tasks.db*")]


# When nothing is remembered ------------------------------------------------------------------------------------------


def test_other_setting_has_a_memory_of_its_own(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message], memories: Callable[[], list[Path]]
) -> None:
    remembered()
    assert "generate_veo3_video" not in names(spawn(KIE_AI_KINDS="image", **ON_DEMAND))
    assert is_loaded(tmp_path)
    until(lambda: len(memories()) == 2)
    assert "generate_veo3_video" in names(spawn(**ON_DEMAND))


def test_settings_file_that_changes_is_read(spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message]) -> None:
    file = tmp_path / "config.toml"
    settings: Message = {"KIE_AI_CONFIG": str(file)}
    file.write_text('kinds = ["image", "audio"]\n')
    remembered(**settings)
    file.write_text('kinds = ["video"]\n')
    assert "generate_nano_banana" not in names(spawn(**settings, **ON_DEMAND))


def test_provider_that_is_installed_edited_or_removed_is_noticed(
    spawn: "Spawn", tmp_path: Path, plant: "Plant", remembered: Callable[..., Message]
) -> None:
    path: Message = {"PYTHONPATH": plant("early", SOURCE.format(name="early"))}
    remembered(**path)
    plant("later", SOURCE.format(name="later"))
    assert {"generate_early", "generate_later"} <= names(spawn(**path, **ON_DEMAND))
    remembered(**path)
    (module,) = tmp_path.rglob("kie_ai_mcp_early.py")
    module.write_text(SOURCE.format(name="edited"))
    assert {"generate_edited", "generate_later"} <= names(spawn(**path, **ON_DEMAND))
    remembered(**path)
    for file in tmp_path.rglob("*later*.dist-info/*"):
        file.unlink()
    for folder in tmp_path.rglob("*later*.dist-info"):
        folder.rmdir()
    assert "generate_later" not in names(spawn(**path, **ON_DEMAND))


@pytest.mark.parametrize("is_whole", [True, False], ids=["installed anew", "changed in place"])
def test_new_entry_point_of_the_same_version_is_noticed(
    spawn: "Spawn", tmp_path: Path, plant: "Plant", remembered: Callable[..., Message], is_whole: bool
) -> None:
    path: Message = {"PYTHONPATH": plant("early", SOURCE.format(name="early"))}
    (tmp_path / "plugins" / "kie_ai_mcp_later.py").write_text(SOURCE.format(name="later"))
    remembered(**path)
    (about,) = tmp_path.rglob("*early*.dist-info")
    entries = about / "entry_points.txt"
    times, text = entries.stat(), entries.read_text("utf-8") + "later = kie_ai_mcp_later\n"
    if is_whole:  # as an installer does that takes files from its cache
        files = {file.name: file.read_text("utf-8") for file in about.iterdir()} | {entries.name: text}
        shutil.rmtree(about)
        about.mkdir()
        for name, content in files.items():
            (about / name).write_text(content, "utf-8")
        os.utime(entries, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        entries.write_text(text, "utf-8")
    assert {"generate_early", "generate_later"} <= names(spawn(**path, **ON_DEMAND))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": {}, "answers": []}', b"\xff\xfe", b'{"files": 7}'])
def test_damaged_memory_leads_to_a_usual_start(
    spawn: "Spawn", remembered: Callable[..., Message], memories: Callable[[], list[Path]], content: bytes
) -> None:
    said = remembered()
    (file,) = memories()
    file.write_bytes(content)
    child = spawn(**ON_DEMAND)
    assert asked(child) == said
    assert ended(child) == 0


def test_folder_that_can_not_be_written_leads_to_usual_starts(spawn: "Spawn", tmp_path: Path) -> None:
    (tmp_path / ".cache").write_text("in the way")
    said = [asked(child := spawn(**ON_DEMAND)), ended(child), asked(child := spawn(**ON_DEMAND)), ended(child)]
    assert said[:2] == said[2:]
    assert "Traceback" not in child.errors


def test_user_without_a_home_has_usual_starts(spawn: "Spawn", tmp_path: Path) -> None:
    nowhere: Message = {"HOME": "~", "USERPROFILE": "~", "LOCALAPPDATA": ""}
    child = spawn(**nowhere, **ON_DEMAND)
    asked(child)
    assert ended(child) == 0
    assert not [*tmp_path.rglob("starts")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other owners, and links for administrators alone")
@pytest.mark.parametrize("what", ["another user's file", "link", "pipe", "folder"])
def test_what_is_no_file_of_the_user_s_is_not_read(
    spawn: "Spawn", remembered: Callable[..., Message], memories: Callable[[], list[Path]], tmp_path: Path, what: str
) -> None:
    said = remembered()
    (file,) = memories()
    other = tmp_path / "other.json"
    other.write_text(file.read_text("utf-8").replace("generate_veo3_video", "generate_veo9_video"), "utf-8")
    content = other.read_bytes()
    file.unlink()
    if what == "another user's file":
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        other.rename(file)
        os.chown(file, 12345, 12345)
    elif what == "link":
        file.symlink_to(other)
    elif what == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    child = spawn(**ON_DEMAND)
    assert asked(child) == said
    assert ended(child) == 0
    assert "Traceback" not in child.errors
    if what == "link":
        assert (file.is_symlink(), other.read_bytes()) == (False, content)


def test_start_in_which_something_is_wrong_is_not_remembered(
    spawn: "Spawn", plant: "Plant", memories: Callable[[], list[Path]]
) -> None:
    broken: list[Message] = [
        {"KIE_AI_TIMEOUT": "60s"},
        {"PYTHONPATH": plant("broken", "raise RuntimeError('not today')")},
    ]
    for settings in broken:
        child = spawn(**settings)
        asked(child)
        assert ended(child) == 0
        assert memories() == []


def test_six_first_starts_at_once_say_the_same(spawn: "Spawn", memories: Callable[[], list[Path]]) -> None:
    children = [spawn(**ON_DEMAND) for _ in range(6)]
    said = [asked(child) for child in children]
    assert said == said[:1] * 6
    until(memories)
    assert [ended(child) for child in children] == [0] * 6
    assert [path.suffix for path in memories()[0].parent.iterdir()] == [".json"]


# What must not be said -----------------------------------------------------------------------------------------------


@pytest.fixture
def liar(remembered: Callable[..., Message], memories: Callable[[], list[Path]]) -> Path:
    """A memory in which a tool has another name."""
    remembered()
    (file,) = memories()
    text = file.read_text(encoding="utf-8")
    assert "generate_veo3_video" in text
    file.write_text(text.replace("generate_veo3_video", "generate_veo9_video"), encoding="utf-8")
    return file


def test_wrong_memory_is_corrected_and_the_client_told(spawn: "Spawn", liar: Path) -> None:
    child = spawn(**ON_DEMAND)
    assert "generate_veo9_video" in names(child)
    assert child.call("list_tasks")["isError"] is False
    listed = child.answer(child.ask("tools/list"))["result"]["tools"]
    assert ended(child) == 0
    assert "generate_veo3_video" in {tool["name"] for tool in listed}
    assert "notifications/tools/list_changed" in {json.loads(line).get("method") for line in child.received}
    assert "no longer right" in child.errors
    assert "generate_veo9_video" not in liar.read_text(encoding="utf-8")
    assert "generate_veo3_video" in names(spawn(**ON_DEMAND))


def test_stream_of_the_newest_revision_is_told_of_corrected_tools(spawn: "Spawn", liar: Path) -> None:
    text = liar.read_text(encoding="utf-8")
    liar.write_text(text.replace("generate_veo9_video", "generate_veo3_video"), encoding="utf-8")
    child = spawn(**ON_DEMAND)
    asked(child, STATELESS)
    child.call("list_tasks")
    assert ended(child) == 0
    text = liar.read_text(encoding="utf-8")
    liar.write_text(text.replace("generate_veo3_video", "generate_veo9_video"), encoding="utf-8")
    child = spawn(**ON_DEMAND)
    child.greet(STATELESS)
    child.answer(child.ask("tools/list"))
    child.ask("subscriptions/listen", notifications={"toolsListChanged": True})
    heard = [json.loads(child.line()).get("method") for _ in range(2)]
    assert heard == ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"]


def test_stored_schema_of_a_pinned_model_changes_no_remembered_answer(
    spawn: "Spawn", tmp_path: Path, sandbox: Sandbox, remembered: Callable[..., Message]
) -> None:
    pinned: Message = {"KIE_AI_PINNED_MODELS": "z-image", "KIE_AI_BASE_URL": sandbox.base_url}
    first = remembered(**pinned)
    assert "z_image" in {tool["name"] for tool in first["tools/list"]["tools"]}
    child = spawn(**pinned, **ON_DEMAND)
    assert asked(child) == first
    assert not is_loaded(tmp_path)
    sandbox.drift("field:mood", "z-image")
    child.call("z_image", prompt="A fox", aspect_ratio="1:1", mood="calm")
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as database:
        (stored,) = database.execute("SELECT value FROM kept WHERE sort = 'schema'").fetchone()
    assert "mood" in stored
    assert ended(child) == 0
    child = spawn(**pinned, **ON_DEMAND)
    assert asked(child) == first
    assert child.call("list_tasks")["isError"] is False
    assert ended(child) == 0
    assert "no longer right" not in child.errors


def test_server_says_that_its_tools_may_change(spawn: "Spawn") -> None:
    assert spawn().greet("2025-11-25")["capabilities"]["tools"]["listChanged"] is True


def test_memory_holds_no_secret_and_is_the_user_s_alone(
    remembered: Callable[..., Message], memories: Callable[[], list[Path]]
) -> None:
    remembered(KIE_AI_API_KEY="a-secret-of-the-tests")
    (file,) = memories()
    assert "a-secret-of-the-tests" not in file.read_text(encoding="utf-8") + file.name
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    remembered(KIE_AI_API_KEY="another-secret-of-the-tests")
    assert len({path.name for path in memories()}) == 2


@pytest.mark.parametrize("arguments", [[], ["serve", "--strict"]], ids=" ".join)
@pytest.mark.parametrize(
    "error",
    [
        "ImportError('this library is broken')",
        "ExceptionGroup('several', [ImportError('this library is broken')])",
        "ImportError('this library is broken: ' + __import__('os').environ['KIE_AI_API_KEY'])",
    ],
    ids=["one", "group", "secret"],
)
def test_start_that_fails_after_an_early_answer_answers_what_is_open(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message], arguments: list[str], error: str
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    settings: Message = {"PYTHONPATH": str(site), "KIE_AI_API_KEY": "Bearer a-secret-of-the-tests"}
    remembered(**settings)
    (site / "peewee.py").write_text(f"raise {error}")
    child = spawn(*arguments, **settings, **ON_DEMAND)
    asked(child)
    message = child.answer(child.ask("tools/call", name="list_tasks", arguments={}))["error"]["message"]
    assert "ImportError: this library is broken" in message
    assert "nothing was sent" in message
    assert "a-secret-of-the-tests" not in message
    assert ended(child) == 1


def test_start_that_fails_ends_though_the_client_stays(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message]
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    remembered(PYTHONPATH=str(site))
    (site / "peewee.py").write_text("raise ImportError('this library is broken')")
    child = spawn(PYTHONPATH=str(site), **ON_DEMAND)
    asked(child)
    child.ask("tools/call", name="list_tasks", arguments={})
    assert child.ended() == 1


def test_database_that_broke_since_is_told_by_calls_or_ends_a_strict_start_with_2(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message]
) -> None:
    said = remembered()
    (tmp_path / "tasks.db").write_bytes(b"no database, but as long as one" * 1000)
    for arguments in ([], ["serve", "--strict"]):
        child = spawn(*arguments, **ON_DEMAND)
        assert asked(child) == said
        answer = child.answer(child.ask("tools/call", name="generate_nano_banana", arguments={"prompt": "A fox"}))
        if arguments:
            assert str(tmp_path / "tasks.db") in answer["error"]["message"]
            assert "nothing was sent" in answer["error"]["message"]
            assert (child.ended(), child.errors.count("\n")) == (2, 1)
        else:
            assert answer["result"]["isError"] is True
            assert str(tmp_path / "tasks.db") in json.dumps(answer["result"])
            assert ended(child) == 0


def test_strict_start_is_remembered_as_the_usual_one_is(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message]
) -> None:
    said = remembered()
    child = spawn("serve", "--strict", **ON_DEMAND)
    assert (asked(child), is_loaded(tmp_path)) == (said, False)
    assert child.call("list_tasks")["isError"] is False
    assert ended(child) == 0


@pytest.mark.anyio
async def test_descriptors_that_were_taken_are_told_to_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(stdio, "rebind_std_handle_to_fd", told.append)  # its twin in the SDK does nothing but there
    start = Start(BytesIO(), BytesIO(), Memory())
    async with (
        stdio.message_streams(start, App.open(load_settings({}), []), lambda: None, lambda: None) as (read, write),
        read,
        write,
    ):
        assert told == [0, 1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_server_that_was_never_needed_ends_on_a_signal(spawn: "Spawn", remembered: Callable[..., Message]) -> None:
    remembered()
    for number in (signal.SIGTERM, signal.SIGINT):
        child = spawn(**ON_DEMAND)
        asked(child)
        child.process.send_signal(number)
        assert child.ended() == (0 if number == signal.SIGTERM else 128 + number)
        assert "Traceback" not in child.errors


def test_unknown_way_to_load_is_an_error_with_its_cure(spawn: "Spawn") -> None:
    child = spawn(KIE_AI_LOAD="later")
    child.greet("2025-11-25")
    assert "KIE_AI_LOAD" in json.dumps(child.call("list_tasks"))


# What a memory must not do -------------------------------------------------------------------------------------------


def modern(method: str, number: int, revision: str = STATELESS) -> Message:
    """A request that names its own revision."""
    meta = {f"{PREFIX}protocolVersion": revision, f"{PREFIX}clientInfo": CLIENT, f"{PREFIX}clientCapabilities": {}}
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": {"_meta": meta}}


def test_handshake_after_a_question_of_the_newest_revision_is_refused_as_usual(
    spawn: "Spawn", remembered: Callable[..., Message], memories: Callable[[], list[Path]]
) -> None:
    remembered(STATELESS)
    remembered("2025-06-18")
    (before,) = (path.read_bytes() for path in memories())
    child = spawn(KIE_AI_LOAD="demand")
    hello: Message = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": CLIENT}
    for message in (
        modern("server/discover", 1),
        {"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": hello},
        modern("tools/list", 3, "2025-11-25"),
        modern("tools/list", 4),
    ):
        child.send(json.dumps(message))
    answers = {number: child.answer(number) for number in (1, 2, 3, 4)}
    assert ["error" in answers[number] for number in (1, 2, 3, 4)] == [False, True, True, False]
    assert ended(child) == 0
    assert "no longer right" not in child.errors
    assert [path.read_bytes() for path in memories()] == [before]


@pytest.mark.parametrize("is_warm", [True, False], ids=["with a memory", "without"])
def test_number_that_cannot_be_written_ends_nothing(
    spawn: "Spawn", remembered: Callable[..., Message], is_warm: bool
) -> None:
    if is_warm:
        remembered()
    child = spawn(**ON_DEMAND)
    child.greet("2025-11-25")
    child.send('{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}')
    assert json.loads(child.line())["id"] is None
    assert child.answer(child.ask("ping"))["result"] == {}


def test_provider_that_is_removed_while_a_server_runs_is_noticed_by_the_next(
    spawn: "Spawn", tmp_path: Path, plant: "Plant"
) -> None:
    path: Message = {"PYTHONPATH": plant("early", SOURCE.format(name="early")), **ON_DEMAND}
    child = spawn(**path)
    assert "generate_early" in names(child)
    until(lambda: [*tmp_path.rglob("starts/*.json")])
    for folder in tmp_path.rglob("*early*.dist-info"):
        shutil.rmtree(folder)
    child.answer(child.ask("prompts/list"))  # and that is remembered, too
    assert ended(child) == 0
    assert "generate_early" not in names(spawn(**path))


def test_memory_of_a_provider_that_no_longer_loads_is_forgotten(
    spawn: "Spawn", tmp_path: Path, plant: "Plant", memories: Callable[[], list[Path]]
) -> None:
    gone = tmp_path / "licence"
    check = f"import pathlib\nassert not pathlib.Path({str(gone)!r}).exists()\n"
    path: Message = {"PYTHONPATH": plant("early", check + SOURCE.format(name="early"))}
    child = spawn(**path)
    assert "generate_early" in names(child)
    until(memories)
    assert ended(child) == 0
    gone.touch()
    child = spawn(**path)
    names(child)
    child.call("list_tasks")
    assert ended(child) == 0
    assert memories() == []


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_stream_ends_the_server(environment: "Environment", tmp_path: Path, closed: str) -> None:
    command = f'exec "{sys.executable}" -m kie_ai_mcp {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment(tmp_path), input=b"", cwd=tmp_path, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0


def test_connection_that_breaks_ends_the_server(environment: "Environment", tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kie_ai_mcp"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=log,
            env=environment(tmp_path),
        )
    theirs.close()
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
    ours.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode() + b"\n")
    assert ours.recv(1)  # the rest is never read
    ours.close()
    assert process.wait(20) in {0, 1}


@pytest.mark.parametrize("damage", ["garbage", "[]", "half", "nested"])
def test_damaged_answers_are_those_of_the_server(
    spawn: "Spawn", remembered: Callable[..., Message], memories: Callable[[], list[Path]], damage: str
) -> None:
    said = remembered()
    (path,) = memories()
    held = json.loads(path.read_text("utf-8"))
    bad = {"garbage": "garbage", "[]": "[]", "half": '{"tools":["\ud800"]}', "nested": "[" * 100_000}[damage]
    held["answers"] = dict.fromkeys(held["answers"], bad)
    path.write_text("[" * 200_000 if damage == "nested" else json.dumps(held), "utf-8")
    child = spawn(**ON_DEMAND)
    assert asked(child) == said
    assert ended(child) == 0


def test_folder_of_memories_that_is_a_link_is_left_alone(spawn: "Spawn", tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    for number in range(30):
        (letters / f"{number}.json").touch()
    cache = tmp_path / "cache"
    (cache / "kie-ai-mcp-server").mkdir(parents=True)
    (cache / "kie-ai-mcp-server" / "starts").symlink_to(letters)
    child = spawn(XDG_CACHE_HOME=str(cache))
    asked(child)
    assert ended(child) == 0
    assert len([*letters.iterdir()]) == 30


def test_current_folder_that_is_gone_leads_to_a_usual_start(environment: "Environment", tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'rmdir "{gone}"; exec "{sys.executable}" -P -m kie_ai_mcp'
    environ = environment(tmp_path, KIE_AI_LOG_LEVEL="error") | {"KIE_AI_UPLOAD_ROOTS": "./x"}
    done = subprocess.run(["/bin/sh", "-c", command], env=environ, input=b"", cwd=gone, timeout=LIMIT_S, check=False)
    assert done.returncode == 0


def test_strict_server_is_checked_whatever_it_is_asked(
    environment: "Environment", tmp_path: Path, remembered: Callable[..., Message]
) -> None:
    remembered()
    (tmp_path / "tasks.db").write_text("no database")
    command = [sys.executable, "-m", "kie_ai_mcp", "serve", "--strict"]
    environ = environment(tmp_path, **ON_DEMAND)
    done = subprocess.run(
        command, env=environ, input=b"", cwd=tmp_path, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 2


def test_early_answers_without_end_take_no_memory_without_end(
    spawn: "Spawn", tmp_path: Path, remembered: Callable[..., Message]
) -> None:
    remembered()
    child = spawn(**ON_DEMAND)
    child.greet("2025-11-25")
    for _ in range(40):
        child.answer(child.ask("tools/list", _meta={"padding": "x" * 50_000}))
    assert is_loaded(tmp_path)
    assert ended(child) == 0
