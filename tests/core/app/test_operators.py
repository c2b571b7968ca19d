"""What an operator reads in the log and the figures of refused requests, and what users read of an operator's cures."""

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.hints import for_user
from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._record.users import User
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web.metrics import Metrics
from kie_ai_mcp._web.readiness import Readiness
from kie_ai_mcp._web.serving import warn_of_record
from kie_ai_mcp.errors import MEANINGS
from kie_ai_mcp_sandbox.server import Sandbox

pytestmark = pytest.mark.anyio
TOOL, PROMPT = "generate_nano_banana", "A secret fox"
ASK = "Ask an administrator of this server"


@asynccontextmanager
async def served(folder: Path, base_url: str, **values: Any) -> AsyncIterator[App]:
    """The application of a server for users on other machines."""
    usual = {"api_key": "key-of-the-server", "base_url": base_url, "db_path": folder / "tasks.db"}
    app = App.open(Settings.model_validate({**usual, "enabled_providers": ("nano-banana",), **values}), [])
    app.engine.life.is_over_http = True
    async with app.engine.running():
        yield app


def of(app: App, user: User) -> App:
    assert app.engine.people is not None
    engine = app.engine.people.engine_for(user)
    return App(engine.settings, engine)


def nobody() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    caplog.set_level(logging.INFO, "kie_ai_mcp.requests")
    return lambda: [
        (record.levelname, record.getMessage()) for record in caplog.records if record.name == "kie_ai_mcp.requests"
    ]


Lines = Callable[[], list[tuple[str, str]]]


async def test_each_cause_of_a_refusal_has_its_own_reason_in_the_log_and_is_counted(
    tmp_path: Path, lines: Lines
) -> None:
    (tmp_path / "file").touch()
    async with served(tmp_path, nobody()) as app:
        await app.call(TOOL, {"prompt": PROMPT})
        await of(app, User("fay", own_key=True)).call(TOOL, {"prompt": PROMPT})
        app.engine.settings = app.settings.model_copy(update={"output_dir": tmp_path / "file"})
        await app.call(TOOL, {"prompt": PROMPT})
        app.engine.life.is_closing = True
        await app.call(TOOL, {"prompt": PROMPT})
        app.engine.life.is_closing = False
        assert app.engine.record.made["refused"] == 4
    told = [(level, *re.findall(r"reason=(\w+).* error=(.{12})", line)) for level, line in lines()]
    assert told == [
        ("WARNING", ("ServiceUnreachable", "No connectio")),
        ("WARNING", ("KeyMissing", "fay pays wit")),
        ("WARNING", ("FolderNotWritable", "The folder /")),
        ("WARNING", ("ServerEnding", "The server i")),
    ]
    assert PROMPT not in repr(lines())


async def test_refusal_by_the_service_is_logged_with_its_code_and_without_its_words(
    sandbox: Sandbox, tmp_path: Path, lines: Lines
) -> None:
    async with served(tmp_path, sandbox.base_url) as app:
        for code in (422, 402, 401):
            sandbox.play(f"code:{code}@createTask")
            await app.call(TOOL, {"prompt": PROMPT})
    usual, empty, rejected = lines()
    assert (usual[0], "reason=Refused code=422 " in usual[1], "error=" in usual[1]) == ("INFO", True, False)
    assert (empty[0], "reason=NoCredits code=402 " in empty[1]) == ("WARNING", True)
    assert empty[1].endswith("error=the account has not enough credits.")
    assert (rejected[0], "reason=KeyRejected " in rejected[1]) == ("WARNING", True)
    assert rejected[1].endswith("error=the service does not accept the key.")


async def test_balance_of_the_server_s_account_is_told_to_no_user(sandbox: Sandbox, tmp_path: Path) -> None:
    providers = ("nano-banana", "market")
    call = {"name": TOOL, "arguments": {"prompt": PROMPT}}
    async with served(tmp_path, sandbox.base_url, enabled_providers=providers) as app:
        told = [await each.call("estimate_cost", call) for each in (app, of(app, User("fay")))]
    assert ["balance" in (answer.data or {}) for answer in told] == [True, False]
    assert ["Balance" in answer.text for answer in told] == [True, False]


# The record ----------------------------------------------------------------------------------------------------------


async def reasons(app: App) -> tuple[int, bytes]:
    answer = await Readiness(app.engine).answer(Request({"type": "http"}))
    return answer.status_code, bytes(answer.body)


async def test_record_that_takes_no_writes_ends_readiness_until_it_takes_them_again(
    sandbox: Sandbox, tmp_path: Path, lines: Lines
) -> None:
    async with served(tmp_path, sandbox.base_url) as app:
        assert (await reasons(app))[0] == 200
        app.engine.record.database.connection.pragma("query_only", 1)
        refused = await app.call(TOOL, {"prompt": PROMPT})
        assert (refused.data or {})["status"] == "refused"
        assert app.engine.record.made["refused"] == 1
        assert await reasons(app) == (503, b'{"status":"not ready","reasons":["The task database can\'t be written."]}')
        listed = await app.call("list_tasks", {})
        assert "Paid requests are refused: The task database" in listed.text
        app.engine.record.database.connection.pragma("query_only", 0)
        assert (await reasons(app))[0] == 200
        assert "are refused" not in (await app.call("list_tasks", {})).text
    assert ("reason=StorageError" in lines()[0][1], lines()[0][0]) == (True, "WARNING")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only the administrator may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False).returncode:
        pytest.skip("this machine mounts nothing")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_full_disk_is_named_by_the_probe_until_there_is_space(sandbox: Sandbox, small_disk: Path) -> None:
    async with served(small_disk, sandbox.base_url) as app:
        assert (await reasons(app))[0] == 200
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        refused = [await app.call(TOOL, {"prompt": f"{PROMPT} {'x' * 4_000} {number}"}) for number in range(40)]
        assert "full" in refused[-1].text
        assert await reasons(app) == (
            503,
            b'{"status":"not ready","reasons":["The task database can\'t be written: its disk is full."]}',
        )
        ballast.unlink()
        assert (await reasons(app))[0] == 200


async def unknown(app: App, user: str = "") -> int:
    """A request of which nobody knows whether it was made."""
    new = NewSubmission(TOOL, "nano-banana", "x", "image", "kie", None, {}, f"hash-{user}", user=user)
    ticket = await app.engine.record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    await app.engine.record.submissions.settled(ticket.submission_id, Ending("unknown", message="lost"))
    return ticket.submission_id


async def test_requests_that_a_killed_server_left_are_a_figure_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, nobody()) as app:
        number = await unknown(app)
    async with served(tmp_path, nobody()) as app:
        assert app.engine.record.made["unknown"] == 0
        text = bytes((await Metrics(app.engine).answer(Request({"type": "http"}))).body)
        assert b"\nkie_ai_requests_unknown 1.0\n" in text
        await warn_of_record(app.engine)
    (line,) = (line for line in caplog.messages if "may have been charged" in line)
    assert line.endswith(f": 1 (submission {number})")


# Cures ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "is_asked"), [(User("bob"), True), (User("root", is_admin=True), False)], ids=["user", "administrator"]
)
async def test_only_administrators_are_told_what_an_operator_has_to_do(
    user: User, is_asked: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    steps = dict[str, Mapping[str, Any]]()
    async with served(tmp_path, sandbox.base_url) as app:
        theirs = of(app, user)
        for code in ("401", "402", "404"):
            sandbox.play(f"code:{code}@createTask")
            steps[code] = (await theirs.call(TOOL, {"prompt": code})).data or {}
        app.engine.record.database.connection.pragma("query_only", 1)
        steps["database"] = (await theirs.call(TOOL, {"prompt": "database"})).data or {}
        app.engine.record.database.connection.pragma("query_only", 0)
        theirs.engine.settings = theirs.settings.model_copy(update={"output_dir": tmp_path / "file"})
        steps["folder"] = (await theirs.call(TOOL, {"prompt": "folder"})).data or {}
    told = {name: data["next_step"] for name, data in steps.items()}
    assert {name: text.count(ASK) for name, text in told.items()} == dict.fromkeys(told, int(is_asked)), told
    assert told["402"].endswith("op up at https://kie.ai/billing; see get_credits.")
    assert "KIE_AI_API_KEY" in told["401"]


async def test_user_with_a_key_of_their_own_tops_up_their_account_themselves(sandbox: Sandbox, tmp_path: Path) -> None:
    async with served(tmp_path, sandbox.base_url, user_keys="ed=key-of-ed") as app:
        ed = of(app, User("ed", own_key=True))
        texts = [MEANINGS[code].next_step for code in (402, 401)]
        assert for_user(ed.engine, texts) == [texts[0], f"{ASK}: c{texts[1][1:]}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Give an address, or set KIE_AI_API_KEY.", f"Give an address, or a{ASK[1:]} to set KIE_AI_API_KEY."),
        (
            "Call again. Check KIE_AI_X, or set KIE_AI_Y. Wait.",
            f"Call again. {ASK}: check KIE_AI_X, or set KIE_AI_Y. Wait.",
        ),
        ("Let the user run `kie-ai-mcp-server config set a`.", f"{ASK}: run `kie-ai-mcp-server config set a`."),
        ("It is larger than 9 MB (KIE_AI_MAX_UPLOAD_MB).", "It is larger than 9 MB (KIE_AI_MAX_UPLOAD_MB)."),
        ("Next: Look at https://kie.ai/logs.", f"Next: {ASK}: look at https://kie.ai/logs."),
        ("Prompt: Set KIE_AI_X.", "Prompt: Set KIE_AI_X."),
        ("Set the seed. The server is new.", "Set the seed. The server is new."),
    ],
)
async def test_sentences_for_operators_are_passed_on_and_no_others(text: str, said: str, tmp_path: Path) -> None:
    async with served(tmp_path, nobody()) as app:
        bob = of(app, User("bob"))
        bob.engine.links = Links.of(app.settings, "https://kie.example", app.engine.record.path)
        assert for_user(bob.engine, {"next_step": text, "prompt": text}) == {"next_step": said, "prompt": text}


async def test_list_and_refusal_say_the_same_of_who_settles_an_unknown_request(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with served(tmp_path, sandbox.base_url) as app:
        bob = of(app, User("bob"))
        sandbox.play("drop-after@createTask")
        sent, again = [(await bob.call(TOOL, {"prompt": PROMPT})).data or {} for _ in range(2)]
        (listed,) = ((await bob.call("list_tasks", {})).data or {})["unresolved"]
        steps = {sent["next_step"], again["next_step"], listed["next_step"]}
        (step,) = steps
        number = listed["submission_id"]
        assert step.startswith(f"{ASK} whether https://kie.ai/logs shows its task, and to adopt it then.")
        assert step.endswith(f"call resolve_submission(submission_id={number}, action='discard').")
        settled = await bob.call("resolve_submission", {"submission_id": number, "action": "discard"})
        assert (settled.data or {})["status"] == "discarded"


async def test_administrator_elsewhere_is_told_to_change_the_settings_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIE_AI_MAX_SUBMISSIONS_PER_HOUR", "0")
    async with served(tmp_path, nobody(), max_submissions_per_hour=0) as app:
        answer = await of(app, User("root", is_admin=True)).call(TOOL, {"prompt": PROMPT})
    assert "raise KIE_AI_MAX_SUBMISSIONS_PER_HOUR: change it in the server's settings, then restart" in (
        (answer.data or {})["next_step"].replace("Raise", "raise")
    )
