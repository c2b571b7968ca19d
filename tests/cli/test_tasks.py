"""``tasks``: the record listed, shown, waited for, saved, pruned, exported and settled."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._cli.figures import line_of
from kie_ai_mcp._cli.tasks import saved_words
from kie_ai_mcp._record.record import Record
from kie_ai_mcp.specs import Outcome, Task
from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.cli.conftest import Run

InStore = Callable[[Callable[[Record], Any]], Any]
PICTURE = "generate_nano_banana"
DAY = timedelta(days=1)


async def fill(record: Record, *tasks: tuple[str, str, timedelta], status: str = "completed") -> None:
    """Record finished tasks: id, address of the result, and how long ago they were made."""
    for task_id, url, age in tasks:
        made = datetime.now(UTC) - age
        await record.tasks.adopt(Task(task_id, "nano-banana", "nano-banana", created_at=made))
        if status in {"completed", "failed"}:
            urls = (url,) if url else ()
            await record.tasks.record_outcome(task_id, Outcome(status, urls, finished_at=made))  # type: ignore[arg-type]


def make(run: "Run", sandbox: Sandbox, prompt: str = "A harbour", *more: str) -> str:
    """Make a picture and return its task's id."""
    ended = run("call", PICTURE, f"prompt={prompt}", "--json", *more, sandbox=sandbox)
    task_id: str = json.loads(ended.stdout)["task_id"]
    return task_id


# list and show -------------------------------------------------------------------------------------------------------


def test_list_is_what_the_tool_answers(run: "Run", sandbox: Sandbox) -> None:
    first, second = make(run, sandbox), make(run, sandbox, "A lighthouse")
    listed = run("tasks", "list", "--json", "--limit", "1", "--status", "pending", sandbox=sandbox)
    reply = run("call", "list_tasks", "limit=1", "status=pending", "--json", sandbox=sandbox)
    assert json.loads(listed.stdout) == json.loads(reply.stdout)
    rest = run("tasks", "list", "--json", "--cursor", json.loads(listed.stdout)["next_cursor"])
    assert [row["task_id"] for row in json.loads(rest.stdout)["tasks"]] == [first]
    assert json.loads(listed.stdout)["tasks"][0]["task_id"] == second


def test_list_is_readable_for_people(run: "Run", sandbox: Sandbox) -> None:
    assert run("tasks", "list").stdout == "No tasks.\n"
    task_id = make(run, sandbox)
    (line,) = [line for line in run("tasks", "list").stdout.splitlines() if f"{task_id[:8]} " in line]
    assert "generate_nano_banana" in line
    assert "A harbour" in line
    assert "pending" in line
    assert "~4" in line
    assert "Kie.ai credits, estimates included: 4 in this list, 4 in the last 24 hours" in run("tasks", "list").stdout


@pytest.mark.parametrize(("since", "shown"), [("2d", ["new"]), ("5w", ["new", "old"]), ("2001-02-03", ["new", "old"])])
def test_list_takes_an_age_or_a_date(run: "Run", in_store: InStore, since: str, shown: list[str]) -> None:
    in_store(lambda record: fill(record, ("old", "", 30 * DAY), ("new", "", DAY)))
    listed = json.loads(run("tasks", "list", "--json", "--since", since).stdout)
    assert [row["task_id"] for row in listed["tasks"]] == shown


def test_request_of_unknown_outcome_is_listed_first_and_says_how_to_settle_it(run: "Run", sandbox: Sandbox) -> None:
    make(run, sandbox)
    sandbox.play("drop-after")
    run("call", PICTURE, "prompt=A lost harbour", sandbox=sandbox)
    shown = run("tasks", "list").stdout
    assert shown.index("A lost harbour") < shown.index(sandbox.ledger[0].task_id[:8])
    assert "tasks resolve SUBMISSION --adopt TASK | --discard" in shown


def test_show_tells_everything_of_a_task_without_asking_the_service(run: "Run", sandbox: Sandbox) -> None:
    task_id = make(run, sandbox)
    before = len(sandbox.requests)
    shown = json.loads(run("tasks", "show", task_id, "--json", sandbox=sandbox).stdout)
    assert (shown["task_id"], shown["tool"], shown["arguments"]) == (task_id, PICTURE, {"prompt": "A harbour"})
    text = run("tasks", "show", task_id, sandbox=sandbox).stdout
    assert 'Arguments: {"prompt": "A harbour"}' in text
    assert f"Next: Run `kie-ai-mcp-server tasks wait {task_id}`;" in text
    assert f"kie-ai-mcp-server tasks show {task_id} --refresh asks the service." in text
    assert len(sandbox.requests) == before


def test_show_finds_a_task_that_was_made_elsewhere(run: "Run", sandbox: Sandbox, tmp_path: Path) -> None:
    task_id = make(run, sandbox)
    elsewhere = str(tmp_path / "other.db")
    unknown = run("tasks", "show", task_id, sandbox=sandbox, KIE_AI_DB_PATH=elsewhere)
    assert unknown.code == 1
    assert "--refresh" in unknown.stderr
    found = run("tasks", "show", task_id, "--refresh", "--json", sandbox=sandbox, KIE_AI_DB_PATH=elsewhere)
    assert (found.code, json.loads(found.stdout)["task_id"]) == (0, task_id)


def test_beginning_of_an_id_stands_for_the_one_task_that_has_it(run: "Run", in_store: InStore) -> None:
    names = ("fox-12345-a", "fox-12345-b", "hen-1")
    in_store(lambda record: fill(record, *((name, "", DAY) for name in names)))
    assert json.loads(run("tasks", "show", "fox-12345-b", "--json").stdout)["task_id"] == "fox-12345-b"
    assert json.loads(run("tasks", "show", "hen-", "--json").stdout)["task_id"] == "hen-1"
    several = run("tasks", "show", "fox-12")
    assert (several.code, "fox-12345-a, fox-12345-b. Give more of one" in several.stderr) == (2, True)
    assert run("tasks", "show", "cow-").code == 1
    listed = run("tasks", "list").stdout
    assert [name in listed for name in names] == [True] * 3


def test_list_finds_tasks_by_words_of_tool_model_or_prompt(run: "Run", sandbox: Sandbox) -> None:
    for prompt in ("A lighthouse over the Ärmelkanal", "A fox"):
        make(run, sandbox, prompt)
    for words, count in (("LIGHTHOUSE", 1), ("ärmelkanal lighthouse", 1), ("fox lighthouse", 0), ("nano_banana", 2)):
        listed = json.loads(run("tasks", "list", "--json", "--words", words).stdout)
        assert (words, len(listed["tasks"])) == (words, count)
    (found,) = json.loads(run("tasks", "list", "--json", "--words", "fox").stdout)["tasks"]
    assert (found["tool"], found["model"], found["prompt"]) == (PICTURE, "google/nano-banana", "A fox")
    assert json.loads(run("tasks", "list", "--json", "--words", "100%").stdout)["tasks"] == []


# again ---------------------------------------------------------------------------------------------------------------


def test_again_makes_an_earlier_request_anew_with_changes(run: "Run", sandbox: Sandbox) -> None:
    task_id = make(run, sandbox, "A harbour", "image_size=16:9", "output_format=png")
    dry = run("tasks", "again", task_id[:8], "image_size=", "--dry-run", sandbox=sandbox)
    assert (dry.code, "Cost: 4 credits ($0.02)" in dry.stdout, len(sandbox.ledger)) == (0, True, 1)
    made = run("tasks", "again", task_id[:8], "prompt=A lighthouse", "image_size=", "--json", sandbox=sandbox)
    assert made.code == 0
    first, second = (paid.body["input"] for paid in sandbox.ledger)
    assert (first["prompt"], second["prompt"]) == ("A harbour", "A lighthouse")
    assert second["output_format"] == first["output_format"] == "png"
    assert (first["image_size"] if "image_size" in first else first["aspect_ratio"]) == "16:9"
    assert "16:9" not in second.values()


def test_again_understands_other_names_and_refuses_what_there_is_not(run: "Run", sandbox: Sandbox) -> None:
    task_id = make(run, sandbox, "A harbour", "image_size=16:9")
    made = run("tasks", "again", task_id[:8], "aspect_ratio=1:1", sandbox=sandbox)
    assert (made.code, sandbox.ledger[1].body["input"]["aspect_ratio"]) == (0, "1:1")
    assert run("tasks", "again", task_id[:8], "ratio=", sandbox=sandbox).code == 0
    assert "16:9" not in sandbox.ledger[2].body["input"].values()
    refused = run("tasks", "again", task_id[:8], "nonsense=", sandbox=sandbox)
    assert (refused.code, "has no nonsense" in refused.stderr, len(sandbox.ledger)) == (2, True, 3)


def test_again_leaves_out_defaults_that_were_set_since(run: "Run", sandbox: Sandbox, tmp_path: Path) -> None:
    task_id = make(run, sandbox, "A harbour")
    config = tmp_path / "defaults.toml"
    config.write_text('[tools.generate_nano_banana]\nmodel = "nano-banana-pro"\nresolution = "4K"\n', "utf-8")
    assert run("tasks", "again", task_id[:8], sandbox=sandbox, KIE_AI_CONFIG=str(config)).code == 0
    first, second = (paid.body for paid in sandbox.ledger)
    assert (first["model"], first["input"]) == (second["model"], second["input"])
    assert run("call", PICTURE, "prompt=A harbour", sandbox=sandbox, KIE_AI_CONFIG=str(config)).code == 0
    assert sandbox.ledger[2].body["model"] == "nano-banana-pro"


def test_again_runs_a_model_by_its_name(run: "Run", sandbox: Sandbox) -> None:
    pairs = ("google/nano-banana", "prompt=A harbour", "--json")
    enabled: Any = {"KIE_AI_ENABLED_PROVIDERS": "nano-banana,market"}
    made = json.loads(run("models", "run", *pairs, sandbox=sandbox, **enabled).stdout)
    again = run("tasks", "again", made["task_id"], "prompt=A hen", "--json", sandbox=sandbox, **enabled)
    assert (again.code, json.loads(again.stdout)["tool"]) == (0, "run_model")
    assert [paid.body["input"]["prompt"] for paid in sandbox.ledger] == ["A harbour", "A hen"]


def test_again_wants_the_prompt_where_prompts_are_not_stored(run: "Run", sandbox: Sandbox) -> None:
    private: Any = {"KIE_AI_STORE_PROMPTS": "false"}
    made = run("call", PICTURE, "prompt=A harbour", "--json", sandbox=sandbox, **private)
    task_id = json.loads(made.stdout)["task_id"]
    listed = json.loads(run("tasks", "list", "--json", **private).stdout)
    assert "prompt" not in listed["tasks"][0]
    refused = run("tasks", "again", task_id, sandbox=sandbox, **private)
    assert (refused.code, "prompt=..." in refused.stderr, len(sandbox.ledger)) == (2, True, 1)
    assert run("tasks", "again", task_id, "prompt=A hen", sandbox=sandbox, **private).code == 0
    assert sandbox.ledger[-1].body["input"]["prompt"] == "A hen"


def test_again_of_a_task_that_was_made_elsewhere_is_refused(run: "Run", in_store: InStore) -> None:
    in_store(lambda record: fill(record, ("elsewhere", "", DAY)))
    ended = run("tasks", "again", "elsewhere", "prompt=A hen")
    assert (ended.code, "No request of a task 'elsewhere' is on record" in ended.stderr) == (1, True)


# wait and save -------------------------------------------------------------------------------------------------------


def test_wait_waits_for_all_that_are_running_and_saves_them(run: "Run", sandbox: Sandbox) -> None:
    made = {make(run, sandbox, prompt) for prompt in ("A harbour", "A lighthouse")}
    ended = run("tasks", "wait", "--json", sandbox=sandbox)
    waited = json.loads(ended.stdout)
    assert ended.code == 0
    assert {task["task_id"] for task in waited} == made
    assert all(Path(task["files"][0]).is_file() for task in waited)
    assert run("tasks", "wait", sandbox=sandbox).stdout == "No task is running.\n"


def test_wait_ends_with_1_where_a_task_failed(run: "Run", sandbox: Sandbox) -> None:
    failing = make(run, sandbox, "A harbour [fail]")
    ended = run("tasks", "wait", failing, make(run, sandbox), sandbox=sandbox)
    assert ended.code == 1
    assert ended.stderr.endswith(f"{failing[:8]} is failed.\n")


def test_save_takes_what_expires_first_and_leaves_what_has_expired(
    run: "Run", sandbox: Sandbox, in_store: InStore
) -> None:
    source = make(run, sandbox, "A harbour", "--wait")
    address = in_store(lambda record: record.tasks.find(source)).result_urls[0]
    late, soon, gone = ("late", address, DAY / 24), ("soon", address, DAY * 0.9), ("gone", address, DAY * 3)
    in_store(lambda record: fill(record, late, soon, gone))
    saved = json.loads(run("tasks", "save", "--to", "kept", "--json", sandbox=sandbox).stdout)
    assert [row["task_id"] for row in saved["saved"]] == ["soon", "late"]
    assert all(Path(row["files"][0]).parent.name == "kept" for row in saved["saved"])
    assert saved["expired"] == 1
    again = run("tasks", "save", "--to", "kept", "--expired", sandbox=sandbox)
    assert (again.code, "gone" in again.stdout) == (0, True)


def test_save_goes_on_after_one_that_can_not_be_saved(run: "Run", sandbox: Sandbox, in_store: InStore) -> None:
    source = make(run, sandbox, "A harbour", "--wait")
    address = in_store(lambda record: record.tasks.find(source)).result_urls[0]
    in_store(lambda record: fill(record, ("bad", f"{address}.nowhere", DAY / 2), ("good", address, DAY / 3)))
    ended = run("tasks", "save", "--json", sandbox=sandbox)
    saved = {row["task_id"]: row for row in json.loads(ended.stdout)["saved"]}
    assert (ended.code, saved["bad"]["files"], len(saved["good"]["files"])) == (1, [], 1)
    assert "could not be saved: 1;" in ended.stderr


def test_save_first_reads_what_is_not_finished_on_record(run: "Run") -> None:
    with Sandbox(hold=True) as sandbox:
        done, failed, running = [make(run, sandbox, f"A harbour {number}") for number in range(3)]
        sandbox.finish(done)
        sandbox.finish(failed, fail="no luck")
        ended = run("tasks", "save", "--json", sandbox=sandbox)
        saved = json.loads(ended.stdout)
        assert (ended.code, saved["running"], saved["failed"], saved["unread"]) == (0, 1, 1, 0)
        ((task_id, files),) = [(row["task_id"], row["files"]) for row in saved["saved"]]
        assert (task_id, len(files)) == (done, 1)
        again = run("tasks", "save", sandbox=sandbox)
        assert "0 of 0 tasks saved in" in again.stdout
        assert "1 more: running." in again.stdout
        sandbox.play("http:500*always", path="recordInfo")
        ended = run("tasks", "save", sandbox=sandbox)
        assert (ended.code, "1 more: unread." in ended.stdout) == (1, True)
        assert f"could not be read, and may be finished: 1. {running}: " in ended.stderr


def test_save_ends_with_1_where_a_task_that_it_finds_finished_can_not_be_saved(run: "Run", sandbox: Sandbox) -> None:
    made = make(run, sandbox)
    sandbox.advance(10)
    sandbox.play("http:404*always", path="/files/")
    ended = run("tasks", "save", sandbox=sandbox)
    assert (ended.code, f"{made[:8]}: Result 1 of 1" in ended.stdout) == (1, True)
    assert "could not be saved: 1;" in ended.stderr
    assert "0 of 1 tasks saved in" in ended.stdout


def test_save_copies_a_saved_result_to_the_folder_that_is_named(run: "Run", sandbox: Sandbox) -> None:
    made = make(run, sandbox, "A harbour", "--wait")
    (before,) = json.loads(run("tasks", "show", made, "--json").stdout)["files"]
    ended = run("tasks", "save", made[:8], "--to", "second", sandbox=sandbox)
    (copy,) = [path for path in Path(before).parents[1].rglob("second/*") if path.suffix != ".json"]
    assert (ended.code, copy.read_bytes()) == (0, Path(before).read_bytes())
    assert str(copy) in ended.stdout
    assert f"1 of 1 tasks saved in {copy.parent}." in ended.stdout


@pytest.mark.parametrize(
    ("files", "words"),
    [(["a.mp3", "b.mp3", "c.json"], "2 saved"), (["lyrics.json"], "1 saved"), (["a.png"], "1 saved")],
)
def test_data_beside_media_is_no_result_of_its_own(files: list[str], words: str) -> None:
    assert saved_words(files) == words


def test_save_names_no_folder_where_results_lie_elsewhere(run: "Run", sandbox: Sandbox) -> None:
    made = make(run, sandbox, "A harbour", "--wait", "--save", "first")
    ended = run("tasks", "save", made, sandbox=sandbox)
    assert (ended.code, ended.stdout.endswith("1 of 1 tasks saved.\n")) == (0, True)
    assert "first" in ended.stdout


def test_save_without_a_folder_names_the_cure(run: "Run", sandbox: Sandbox) -> None:
    ended = run("tasks", "save", sandbox=sandbox, KIE_AI_OUTPUT_DIR="")
    assert (ended.code, "--to DIR" in ended.stderr) == (2, True)


# prune, export and resolve -------------------------------------------------------------------------------------------


def test_prune_deletes_old_finished_tasks_alone(run: "Run", sandbox: Sandbox, in_store: InStore) -> None:
    sandbox.play("drop-after")
    run("call", PICTURE, "prompt=A lost harbour", sandbox=sandbox)
    in_store(lambda record: fill(record, ("old", "", 40 * DAY), ("new", "", 20 * DAY)))
    in_store(lambda record: fill(record, ("running", "", 50 * DAY), status="pending"))
    dry = run("tasks", "prune", "--older-than", "30d", "--dry-run", "--json")
    assert json.loads(dry.stdout) | {"before": ""} == {"tasks": 1, "dry_run": True, "before": ""}
    assert in_store(lambda record: record.tasks.find("old")) is not None
    assert run("tasks", "prune", "--older-than", "30d").stdout.endswith("deleted: 1\n")
    listed = json.loads(run("tasks", "list", "--json").stdout)
    assert [row["task_id"] for row in listed["tasks"]] == ["running", "new"]
    assert len(listed["unresolved"]) == 1


@pytest.mark.parametrize("age", ["12h", "2m", "3x", "30", "-1d", "yesterday", "99999999d", "999999w"])
def test_age_that_is_none_deletes_nothing(run: "Run", in_store: InStore, age: str) -> None:
    in_store(lambda record: fill(record, ("old", "", 40 * DAY)))
    ended = run("tasks", "prune", "--older-than", age)
    assert (ended.code, ended.stdout) == (2, "")
    assert ("Give 1d or more" if age in {"12h", "2m"} else "30d") in ended.stderr
    assert in_store(lambda record: record.tasks.find("old")) is not None


def test_export_has_every_request_and_task_as_a_line(run: "Run", sandbox: Sandbox, tmp_path: Path) -> None:
    task_id = make(run, sandbox)
    sandbox.play("code:402")
    run("call", PICTURE, "prompt=A dear harbour", sandbox=sandbox)
    lines = [json.loads(line) for line in run("tasks", "export").stdout.splitlines()]
    assert [(line["record"], line.get("state", line.get("status"))) for line in lines] == [
        ("submission", "accepted"),
        ("submission", "refused"),
        ("task", "pending"),
    ]
    assert (lines[2]["task_id"], lines[1]["arguments"]["prompt"]) == (task_id, "A dear harbour")
    ended = run("tasks", "export", "--output", "record.jsonl")
    assert ended.code == 0
    assert [json.loads(line) for line in (tmp_path / "record.jsonl").read_text("utf-8").splitlines()] == lines
    assert list(tmp_path.glob("*.part")) == []


def test_export_has_the_estimate_of_each_task_and_none_where_it_is_unknown(
    run: "Run", sandbox: Sandbox, in_store: InStore
) -> None:
    make(run, sandbox)
    in_store(lambda record: fill(record, ("elsewhere", "", DAY)))
    lines = [json.loads(line) for line in run("tasks", "export").stdout.splitlines()]
    assert [line.get("estimated_credits", "absent") for line in lines] == [4, 4, "absent"]


@pytest.mark.parametrize("arguments", [("tasks", "show", "--refresh"), ("tasks", "resolve", "1", "--adopt")])
def test_key_in_place_of_a_task_s_id_is_neither_stored_nor_sent(
    run: "Run", sandbox: Sandbox, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    sandbox.play("drop-after")
    run("call", PICTURE, "prompt=A lost harbour", sandbox=sandbox)
    asked = len(sandbox.requests)
    ended = run(*arguments, "key-of-the-tests", sandbox=sandbox)
    assert (ended.code, len(sandbox.requests)) == (2, asked)
    assert "it holds a key" in ended.stderr
    refused = run("call", PICTURE, "prompt=A fox", "subfolder=of key-of-the-tests", sandbox=sandbox)
    assert (refused.code, "it holds a key" in refused.stderr, len(sandbox.ledger)) == (2, True, 1)
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert b"key-of-the-tests" not in file.read_bytes(), file


def test_export_reads_on_after_a_page(run: "Run", in_store: InStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kie_ai_mcp._cli.tasks.PAGE", 2)
    in_store(lambda record: fill(record, *((f"task-{number}", "", DAY) for number in range(5))))
    lines = [json.loads(line) for line in run("tasks", "export").stdout.splitlines()]
    assert [line["task_id"] for line in lines] == [f"task-{number}" for number in range(5)]


def test_export_overwrites_nothing(run: "Run", tmp_path: Path) -> None:
    (tmp_path / "record.jsonl").write_text("mine", "utf-8")
    ended = run("tasks", "export", "--output", "record.jsonl")
    assert (ended.code, (tmp_path / "record.jsonl").read_text("utf-8")) == (2, "mine")
    nowhere = run("tasks", "export", "--output", "nowhere/record.jsonl")
    assert (nowhere.code, "can't be written" in nowhere.stderr) == (1, True)


def test_lost_request_is_settled_by_adopting_its_task(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("drop-after")
    run("call", PICTURE, "prompt=A lost harbour", sandbox=sandbox)
    settled = run("tasks", "resolve", "1", "--adopt", sandbox.ledger[0].task_id, "--json", sandbox=sandbox)
    assert (settled.code, json.loads(settled.stdout)["task_id"]) == (0, sandbox.ledger[0].task_id)
    assert "unresolved" not in json.loads(run("tasks", "list", "--json").stdout)


def test_no_beginning_of_an_id_settles_a_request(run: "Run", sandbox: Sandbox, in_store: InStore) -> None:
    in_store(lambda record: fill(record, ("4ae6d0c2-whole", "", DAY)))
    sandbox.play("drop-after")
    run("call", PICTURE, "prompt=A lost harbour", sandbox=sandbox)
    for start in ("4ae6", "4ae6d0c2"):
        arguments = ("submission_id=1", "action=adopt", f"task_id={start}")
        ended = run("call", "resolve_submission", *arguments, sandbox=sandbox)
        assert (ended.code, "whole id" in ended.stderr) == (2, True), ended
        assert run("tasks", "resolve", "1", "--adopt", start, sandbox=sandbox).code != 0
    (lost,) = json.loads(run("tasks", "list", "--json").stdout)["unresolved"]
    assert (lost["submission_id"], lost["state"]) == (1, "unknown")


def test_paid_call_takes_no_beginning_of_an_id(run: "Run", sandbox: Sandbox, in_store: InStore) -> None:
    in_store(lambda record: fill(record, ("4ae6d0c2-whole", "", DAY)))
    paid = ("call", "extend_veo3_video", "task_id=4ae6", "prompt=On and on")
    ended = run(*paid, sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="veo3,nano-banana")
    assert (ended.code, "whole id" in ended.stderr, sandbox.ledger) == (2, True, [])
    read = run("call", "get_task_status", "task_id=4ae6", "--json", sandbox=sandbox)
    assert json.loads(read.stdout)["task_id"] == "4ae6d0c2-whole"
    made = make(run, sandbox)
    again = run("tasks", "again", made[:7], sandbox=sandbox)
    assert (again.code, "8 or more characters" in again.stderr, len(sandbox.ledger)) == (1, True, 1)


def test_lost_request_is_settled_once_by_discarding_it(run: "Run", sandbox: Sandbox) -> None:
    sandbox.play("drop-after")
    run("call", PICTURE, "prompt=A lost harbour", sandbox=sandbox)
    assert run("tasks", "resolve", "1", "--discard", sandbox=sandbox).code == 0
    again = run("tasks", "resolve", "1", "--discard", sandbox=sandbox)
    assert (again.code, "is discarded" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments", [("1",), ("1", "--discard", "--adopt", "x"), ("0", "--discard"), ("a", "--discard")]
)
def test_resolve_needs_one_way_to_settle_and_a_number(run: "Run", arguments: tuple[str, ...]) -> None:
    ended = run("tasks", "resolve", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1


# stats and CSV -------------------------------------------------------------------------------------------------------


def test_stats_say_what_a_project_cost(run: "Run", sandbox: Sandbox) -> None:
    for prompt in ("A harbour", "The harbour at night", "A fox"):
        run("call", PICTURE, f"prompt={prompt}", "--wait", sandbox=sandbox)
    answer = run("tasks", "stats", "--by", "day,model", "--words", "harbour", "--json", "--since", "1d")
    (row,) = json.loads(answer.stdout)
    assert (row["day"], row["tasks"]) == (f"{datetime.now(UTC):%Y-%m-%d}", {"completed": 2})
    assert row["credits"] > 0
    assert row["median_s"] is not None
    (whole,) = json.loads(run("tasks", "stats", "--by", "", "--json").stdout)
    assert whole["tasks"] == {"completed": 3}
    shown = run("tasks", "stats").stdout
    assert f"Kie.ai credits: {whole['credits']:g}, of which the service has named" in shown
    assert "No tasks." in run("tasks", "stats", "--words", "nobody").stdout
    wrong = run("tasks", "stats", "--by", "moon")
    assert (wrong.code, "'moon' is none of: day, model" in wrong.stderr) == (2, True)


def test_csv_is_safe_for_spreadsheets(run: "Run", in_store: InStore, sandbox: Sandbox, tmp_path: Path) -> None:
    formulas = ["=1+1", "+1", "-1", 'Say "hi",\nto all']
    for prompt in formulas:
        run("call", PICTURE, f"prompt={prompt}", "--wait", sandbox=sandbox)
    sandbox.play("drop-after@createTask")
    run("call", PICTURE, "prompt=lost", sandbox=sandbox)
    assert run("tasks", "export", "--csv", "--output", "all.csv").code == 0
    content = (tmp_path / "all.csv").read_bytes()
    assert content.endswith(b"\r\n")
    assert run("tasks", "export", "--csv").stdout.encode() == content.replace(b"\r\n", b"\n")  # as the runner shows it
    rows = [*csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))]
    assert [row["prompt"] for row in rows] == ["'=1+1", "'+1", "'-1", formulas[3], "lost"]
    assert [(row["record"], row["status"]) for row in rows[-2:]] == [("task", "completed"), ("request", "unknown")]
    assert float(rows[0]["estimated_credits"]) > 0
    assert rows[0]["files"].startswith(str(tmp_path / "out"))
    assert not [cell for row in rows for cell in row.values() if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}]


def test_csv_keeps_numbers_and_holds_no_prompt_that_is_not_stored(run: "Run", sandbox: Sandbox) -> None:
    assert line_of(["@SUM(A1)", "\tx", "\rx"]) == b"'@SUM(A1),'\tx,'\\u000dx\r\n"
    assert line_of([-1.5, None, "-1.5", "a\rb", datetime(2026, 1, 2, tzinfo=UTC), ("x", "", "y")]) == (
        b"-1.5,,'-1.5,a\\u000db,2026-01-02T00:00:00Z,x y\r\n"
    )
    run("call", PICTURE, "prompt=Nobody may know", sandbox=sandbox, KIE_AI_STORE_PROMPTS="false")
    assert "Nobody" not in run("tasks", "export", "--csv").stdout
