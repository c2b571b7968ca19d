"""``call``: a tool from the command line, with the checks, the record and the files of a call over MCP."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from PIL import Image

from kie_ai_mcp._cli.call import arguments_of
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import LIMIT_S, until

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.conftest import Environment

PICTURE = "generate_nano_banana"
TASKS = "kie-ai-mcp-server tasks list"
SCHEMA = {
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "flag": {"type": "boolean"},
        "urls": {"type": "array", "items": {"type": "string"}},
        "sizes": {"type": "array", "items": {"type": "integer"}},
        "shots": {"type": "array", "items": {"type": "object"}},
        "rate": {"enum": [12, 24]},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    }
}


# Arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "given"),
    [
        (["text=a=b"], {"text": "a=b"}),
        (["text=5"], {"text": "5"}),
        (["text="], {"text": ""}),
        (["count=5", "share=0.5", "flag=true"], {"count": 5, "share": 0.5, "flag": True}),
        (["count=five"], {"count": "five"}),
        (["urls=http://a/1"], {"urls": ["http://a/1"]}),
        (["urls=http://a/1", "urls=http://a/2"], {"urls": ["http://a/1", "http://a/2"]}),
        (
            ['urls=["http://a/1", "http://a/2"]', "urls=http://a/3"],
            {"urls": ["http://a/1", "http://a/2", "http://a/3"]},
        ),
        (["sizes=1", "sizes=[2, 3]"], {"sizes": [1, 2, 3]}),
        (['shots={"prompt": "a"}'], {"shots": [{"prompt": "a"}]}),
        (["rate=24"], {"rate": 24}),
        (["either=24"], {"either": "24"}),
        (["text=@@home"], {"text": "@home"}),
        (["unheard=of"], {"unheard": "of"}),
    ],
)
def test_values_are_read_as_the_schema_declares_them(pairs: list[str], given: dict[str, Any]) -> None:
    assert arguments_of(pairs, SCHEMA) == given


def test_value_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompt.txt").write_text("Zwei Häfen\nbei Nacht\n", encoding="utf-8")
    Path("shots.json").write_text('[{"prompt": "a"}, {"prompt": "b"}]', encoding="utf-8")
    given = arguments_of(["text=@prompt.txt", "shots=@shots.json"], SCHEMA)
    assert given == {"text": "Zwei Häfen\nbei Nacht", "shots": [{"prompt": "a"}, {"prompt": "b"}]}


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("prompt", "'prompt' is not KEY=VALUE"),
        ("=value", "'=value' is not KEY=VALUE"),
        ("text=@nowhere.txt", "nowhere.txt can't be read: No such file"),
        ("text=@picture.png", "picture.png is not text"),
    ],
)
def test_unusable_pair_is_wrong_usage(pair: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("picture.png")
    with pytest.raises(click.UsageError, match=words.replace("(", r"\(")):
        arguments_of([pair], SCHEMA)


def test_single_value_given_twice_is_wrong_usage() -> None:
    with pytest.raises(click.UsageError, match="text is given twice"):
        arguments_of(["text=a", "text=b"], SCHEMA)


def test_prompt_comes_from_stdin(run: "Run", sandbox: Sandbox) -> None:
    ended = run("call", PICTURE, "prompt=@-", sandbox=sandbox, stdin="A harbour from afar\n")
    assert ended.code == 0
    assert sandbox.ledger[0].body["input"]["prompt"] == "A harbour from afar"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("source", ["@prompt.txt", "@-"])
def test_byte_order_mark_is_no_part_of_a_prompt(
    run: "Run", sandbox: Sandbox, tmp_path: Path, encoding: str, source: str
) -> None:
    (tmp_path / "prompt.txt").write_text("Ein Hafen bei Föhn\n", encoding)
    stdin = (tmp_path / "prompt.txt").read_bytes()
    ended = run("call", PICTURE, f"prompt={source}", sandbox=sandbox, stdin=stdin)
    assert ended.code == 0, ended.stderr
    assert sandbox.ledger[0].body["input"]["prompt"] == "Ein Hafen bei Föhn"


# What comes of it ----------------------------------------------------------------------------------------------------


def test_picture_is_made_waited_for_and_saved(run: "Run", sandbox: Sandbox, tmp_path: Path) -> None:
    wanted = ("prompt=A harbour", "image_size=16:9", "--save", "pictures", "--json")
    ended = run("call", PICTURE, *wanted, sandbox=sandbox, KIE_AI_OUTPUT_DIR="")
    assert ended.code == 0, ended.stderr
    task = json.loads(ended.stdout)
    (file,) = task["files"]
    assert (task["status"], task["task_id"]) == ("completed", sandbox.ledger[0].task_id)
    assert Path(file).parent == tmp_path / "pictures"
    with Image.open(file) as image:
        image.verify()
    listed = json.loads(run("tasks", "list", "--json", sandbox=sandbox).stdout)
    assert [(row["task_id"], row["files"]) for row in listed["tasks"]] == [(task["task_id"], [file])]


def test_without_waiting_the_task_is_printed_at_once(run: "Run", tmp_path: Path) -> None:
    with Sandbox(hold=True) as sandbox:
        ended = run("call", PICTURE, "prompt=A harbour", sandbox=sandbox)
        assert (ended.code, ended.stderr) == (0, "")
        assert "Status: pending" in ended.stdout
        assert sandbox.ledger[0].task_id in ended.stdout


def test_list_of_pictures_reaches_the_service(run: "Run", sandbox: Sandbox) -> None:
    addresses = ["https://example.com/1.png", "https://example.com/2.png"]
    pairs = [f"image_urls={address}" for address in addresses]
    ended = run("call", "edit_nano_banana", "prompt=Swap them", *pairs, sandbox=sandbox)
    assert ended.code == 0, ended.stderr
    assert sandbox.ledger[0].body["input"]["image_urls"] == addresses


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((PICTURE, "promt=A harbour"), "did you mean 'prompt'"),
        ((PICTURE, "prompt=A harbour", "wxyz=1"), "has no such argument (given '1'). Known arguments: prompt"),
        ((PICTURE, "prompt=A harbour", "image_size=7:1"), "image_size: '7:1' is not accepted"),
        (("generate_nano_bananas", "prompt=A harbour"), "Did you mean generate_nano_banana"),
        ((PICTURE, "prompt=A harbour", "prompt=Two"), "prompt is given twice"),
        (("wait_for_tasks",), "task_ids: this required argument is missing"),
    ],
)
def test_wrong_arguments_send_nothing_and_end_with_2(
    run: "Run", sandbox: Sandbox, arguments: tuple[str, ...], words: str
) -> None:
    ended = run("call", *arguments, sandbox=sandbox)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr
    assert [end for end in ("?.", "..", "; Known") if end in ended.stderr] == []
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("code:402", "refused", "Top up at https://kie.ai/billing"),
        ("http:422", "refused", "Change the arguments it names"),
        ("drop-after", "unknown", "tasks resolve"),
        ("http:500", "unknown", "https://kie.ai/logs"),
    ],
)
def test_request_without_a_task_exits_with_1_and_says_whether_it_may_be_charged(
    run: "Run", sandbox: Sandbox, fault: str, status: str, words: str
) -> None:
    sandbox.play(fault)
    ended = run("call", PICTURE, "prompt=A harbour", "--json", sandbox=sandbox)
    answer = json.loads(ended.stdout)
    assert (ended.code, answer["status"]) == (1, status)
    assert answer["charged"] == ("unknown" if status == "unknown" else "no")
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr


def test_failed_task_ends_with_1_and_its_reason(run: "Run", sandbox: Sandbox) -> None:
    ended = run("call", PICTURE, "prompt=A harbour [fail]", "--wait", sandbox=sandbox)
    assert ended.code == 1
    assert "Status: failed" in ended.stdout
    assert ended.stderr.splitlines()[-1].startswith("kie-ai-mcp-server: the task is failed: ")


def test_task_that_is_known_to_have_failed_ends_with_1_without_waiting(run: "Run", sandbox: Sandbox) -> None:
    wanted = ("call", PICTURE, "prompt=A harbour [fail]", "idempotency_key=mine")
    run(*wanted, "--wait", sandbox=sandbox)
    ended = run(*wanted, sandbox=sandbox)
    assert (ended.code, len(sandbox.ledger)) == (1, 1)
    assert "Status: failed" in ended.stdout


def test_task_that_still_runs_at_the_deadline_ends_with_1_and_says_how_to_go_on(run: "Run") -> None:
    with Sandbox(hold=True) as sandbox:
        ended = run("call", PICTURE, "prompt=A harbour", "--wait", "--timeout", "1", sandbox=sandbox)
        assert ended.code == 1
        assert f"kie-ai-mcp-server tasks wait {sandbox.ledger[0].task_id}" in ended.stderr


def test_result_that_could_not_be_saved_ends_with_1(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("http:404*always@files")
    ended = run("call", PICTURE, "prompt=A harbour", "--save", "pictures", "--json", sandbox=sandbox)
    assert (ended.code, json.loads(ended.stdout)["files"]) == (1, [])
    assert "kie-ai-mcp-server tasks save" in ended.stderr


def test_folder_that_can_not_be_made_is_refused_before_anything_is_sent(
    run: "Run", sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    ended = run("call", PICTURE, "prompt=A harbour", "--save", "file/pictures", sandbox=sandbox)
    assert (ended.code, sandbox.requests) == (2, [])
    assert "can't be written" in ended.stderr


def test_server_tools_are_called_too(run: "Run", sandbox: Sandbox) -> None:
    credits = run("call", "get_credits", "--json", sandbox=sandbox)
    assert (credits.code, json.loads(credits.stdout)["credits"]) == (0, 10_000)
    made = json.loads(run("call", PICTURE, "prompt=A harbour", "--json", sandbox=sandbox).stdout)
    waited = run("call", "wait_for_tasks", f"task_ids={made['task_id']}", "--json", sandbox=sandbox)
    assert (waited.code, json.loads(waited.stdout)["tasks"][0]["status"]) == (0, "completed")


def test_without_a_key_nothing_is_recorded_and_the_variable_is_named(run: "Run", sandbox: Sandbox) -> None:
    ended = run("call", PICTURE, "prompt=A harbour", sandbox=sandbox, KIE_AI_API_KEY="")
    assert (ended.code, ended.stdout) == (2, "")
    assert "KIE_AI_API_KEY" in ended.stderr
    assert "https://kie.ai/api-key" in ended.stderr
    assert json.loads(run("tasks", "list", "--json").stdout)["tasks"] == []


def test_key_is_not_shown_where_the_service_repeats_it(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("echo-key")
    ended = run("call", PICTURE, "prompt=A harbour", "--json", sandbox=sandbox)
    assert ended.code == 1
    assert "key-of-the-tests" not in ended.stdout + ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child there")
def test_interrupted_wait_ends_with_130_and_the_task_stays_on_record(
    environment: "Environment", tmp_path: Path, in_store: Callable[..., Any]
) -> None:
    with Sandbox(hold=True) as sandbox:
        command = [sys.executable, "-m", "kie_ai_mcp", "call", PICTURE, "prompt=A harbour", "--wait"]
        environ = environment(tmp_path, sandbox)
        with subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            while not any(seen.path.endswith("recordInfo") for seen in sandbox.requests):
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 130
        assert "interrupted" in stderr
        assert "Traceback" not in stderr
        assert in_store(lambda record: record.tasks.find(sandbox.ledger[0].task_id)).status == "pending"


@pytest.mark.parametrize("module", ["main", "call"])
def test_interrupted_import_ends_with_130_and_one_line(environment: "Environment", tmp_path: Path, module: str) -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'kie_ai_mcp._cli.{module}': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from kie_ai_mcp.__main__ import main\n"
        "main()"
    )
    command = [sys.executable, "-c", code, "call", PICTURE, "prompt=A harbour"]
    environ = environment(tmp_path, None)
    ended = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (ended.returncode, ended.stdout, "interrupted" in ended.stderr) == (130, "", True), ended
    assert len(ended.stderr.strip().splitlines()) == 1


def test_names_to_choose_from_are_given_as_they_are(run: "Run", sandbox: Sandbox) -> None:
    near = run("call", "find_modells", sandbox=sandbox)
    assert (near.code, "Did you mean find_models or run_model?" in near.stderr) == (2, True)
    assert "`kie-ai-mcp-server " not in near.stderr
    unknown = run("call", "get_task_status", "task_id=nothing-such", sandbox=sandbox).stderr
    assert "list_tasks" not in unknown


@pytest.mark.parametrize("amount", ["inf", "1e309", "nan"])
def test_limit_without_an_end_is_refused_on_the_command_line(run: "Run", amount: str) -> None:
    for words in (
        ("users", "add", "ada", f"--credits-per-day={amount}"),
        ("models", "run", "google/nano-banana", f"--max-credits={amount}"),
        ("install", "cursor", "--yes", f"--max-credits-per-day={amount}"),
        ("install", "cursor", "--yes", "--set", f"max_credits_per_day={amount}"),
    ):
        ended = run(*words)
        assert (ended.code, "finite" in ended.stderr) == (2, True), ended


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals there")
@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGHUP])
def test_signal_while_a_request_is_sent_lets_its_answer_be_recorded(
    received: signal.Signals, environment: "Environment", tmp_path: Path, sandbox: Sandbox, in_store: Callable[..., Any]
) -> None:
    sandbox.play("slow:0.5", path="createTask")
    command = [sys.executable, "-m", "kie_ai_mcp", "call", PICTURE, "prompt=A harbour"]
    environ = environment(tmp_path, sandbox)
    with subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: sandbox.ledger)
        process.send_signal(received)
        _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + received
    assert stderr.startswith(f"kie-ai-mcp-server: ended by {received.name}; what was sent is on record: ")
    assert stderr.endswith(f"{TASKS}\n")  # with the path of the program where a shell does not find it
    assert in_store(lambda record: record.tasks.find(sandbox.ledger[0].task_id)).status == "pending"
