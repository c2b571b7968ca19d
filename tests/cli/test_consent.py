"""Consent at the command line: `tasks approve`, and calls that ask the person at the terminal."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp._record.consents import Question
from kie_ai_mcp._record.record import Record
from kie_ai_mcp_sandbox.server import Sandbox
from tests.terminals import read, terminal

if TYPE_CHECKING:
    from tests.cli.conftest import Run
    from tests.conftest import Environment

FOX = ("call", "generate_nano_banana", "prompt=A fox")
ASKS = {"KIE_AI_CONFIRM_CREDITS": "1", "KIE_AI_ENABLED_PROVIDERS": "nano-banana"}


def test_questions_of_users_say_whose_they_are(run: "Run", in_store: Callable[[Callable[[Record], Any]], Any]) -> None:
    question = Question("i", "kie", "a", "generate_x", None, {"prompt": "a fox"}, 2.5, user="bert")
    in_store(lambda record: record.consents.ask(question))
    assert "Question 1 of the user bert\nTool: generate_x" in run("tasks", "approve", sandbox=None, **ASKS).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("user", "said"), [("Bert", "User: Bert\n"), ("", "")])
def test_who_answers_at_the_terminal_sees_whose_question_it_is(
    user: str, said: str, environment: "Environment", tmp_path: Path, in_store: Callable[[Callable[[Record], Any]], Any]
) -> None:
    question = Question("i", "kie", "a", "generate_x", None, {"prompt": "a fox"}, 2.5, user=user)
    in_store(lambda record: record.consents.ask(question))
    command = [sys.executable, "-m", "kie_ai_mcp", "tasks", "approve", "1"]
    with terminal(command, environment(tmp_path, None, **ASKS), tmp_path, 120) as (_, ours):
        shown = read(ours, "Arguments: ").replace("\r", "")
        os.write(ours, b"n\n")
    assert re.search(f"asks a person\n{said}Arguments: ", shown), shown


def test_call_without_a_terminal_is_refused_and_made_after_approval(run: "Run", sandbox: Sandbox) -> None:
    refused = run(*FOX, sandbox=sandbox, **ASKS)
    assert refused.code == 1
    assert "kie-ai-mcp-server tasks approve 1" in refused.stderr
    assert not sandbox.ledger

    listed = run("tasks", "approve", sandbox=sandbox, **ASKS)
    assert "Question 1\nTool: generate_nano_banana" in listed.stdout
    assert "Prompt: 'A fox'" in listed.stdout
    assert "Price: 4 credits ($0.02)" in listed.stdout

    agreed = run("tasks", "approve", "1", "--yes", sandbox=sandbox, **ASKS)
    assert "call again unchanged within 10 minutes" in agreed.stdout
    assert "No question is open." in run("tasks", "approve", sandbox=sandbox, **ASKS).stdout
    made = run(*FOX, "--json", sandbox=sandbox, **ASKS)
    assert json.loads(made.stdout)["status"] == "pending"
    assert len(sandbox.ledger) == 1

    entries = [json.loads(line) for line in run("tasks", "export", sandbox=sandbox, **ASKS).stdout.splitlines()]
    (consent,) = [entry for entry in entries if entry["record"] == "consent"]
    said = {name: consent[name] for name in ("answer", "answered_by", "submission_id", "price")}
    assert said == {"answer": "yes", "answered_by": "command line", "submission_id": 1, "price": 4.0}


def test_approval_for_one_prompt_buys_no_other(run: "Run", sandbox: Sandbox) -> None:
    run(*FOX, sandbox=sandbox, **ASKS)
    run("tasks", "approve", "1", "--yes", sandbox=sandbox, **ASKS)
    assert "tasks approve 2" in run(*FOX[:2], "prompt=A wolf", sandbox=sandbox, **ASKS).stderr
    assert not sandbox.ledger


def test_declined_question_is_closed(run: "Run", sandbox: Sandbox) -> None:
    run(*FOX, sandbox=sandbox, **ASKS)
    assert "You declined" in run("tasks", "approve", "1", "--no", sandbox=sandbox, **ASKS).stdout
    assert "tasks approve 2" in run(*FOX, sandbox=sandbox, **ASKS).stderr
    assert not sandbox.ledger


def test_person_may_change_an_answer_until_it_is_used(run: "Run", sandbox: Sandbox) -> None:
    def answer(word: str) -> tuple[str, int | None, str]:
        said = json.loads(run("tasks", "approve", "1", word, "--json", sandbox=sandbox, **ASKS).stdout)
        return said["answer"], said["submission_id"], said["said"]

    run(*FOX, sandbox=sandbox, **ASKS)
    assert answer("--no") == ("no", None, "You declined. Nothing is bought.")
    assert answer("--yes")[:2] == ("yes", None)
    assert json.loads(run(*FOX, "--json", sandbox=sandbox, **ASKS).stdout)["status"] == "pending"
    for word in ("--no", "--yes"):
        given, used_for, said = answer(word)
        assert (given, used_for) == ("yes", 1)
        assert "was used before, for submission 1" in said
    assert len(sandbox.ledger) == 1


def test_calls_without_an_answer_leave_one_question(run: "Run", sandbox: Sandbox) -> None:
    for _ in range(3):
        run(*FOX, sandbox=sandbox, **ASKS)
    assert run("tasks", "approve", sandbox=sandbox, **ASKS).stdout.count("Question") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("7",), "There is no question 7"),
        (("9" * 30,), "There is no question 999"),
        (("1",), "give --yes or --no"),
        (("--yes",), "Give the ID of a question"),
        (("1", "--yes", "--no"), "either --yes or --no"),
    ],
)
def test_approve_says_what_it_needs(words: tuple[str, ...], reason: str, run: "Run", sandbox: Sandbox) -> None:
    run(*FOX, sandbox=sandbox, **ASKS)
    done = run("tasks", "approve", *words, sandbox=sandbox, **ASKS)
    assert (done.code, reason in done.stderr) == (2, True), done.stderr


def test_estimate_says_that_a_person_is_asked(run: "Run", sandbox: Sandbox) -> None:
    for limit, is_asked in (("1", True), ("100", False)):
        settings = {**ASKS, "KIE_AI_CONFIRM_CREDITS": limit}
        done = run(*FOX, "--dry-run", sandbox=sandbox, **settings)
        assert (f"A person is asked before it is bought: KIE_AI_CONFIRM_CREDITS is {limit}." in done.stdout) is is_asked


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("word", "bought"), [("y", 1), ("n", 0), ("", 0)])
def test_person_at_the_terminal_is_asked_by_the_call_itself(
    word: str, bought: int, environment: "Environment", sandbox: Sandbox, tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "kie_ai_mcp", *FOX, "--json"]
    env = environment(tmp_path, sandbox, **ASKS) | {"TERM": "dumb"}
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, env=env, cwd=tmp_path) as child:
        os.close(theirs)
        shown = b""
        while b"Buy it?" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, f"{word}\n".encode())
        assert child.stdout is not None
        answer = json.loads(child.stdout.read())
    os.close(ours)

    assert b"Prompt: 'A fox'" in shown
    assert answer["status"] == ("pending" if bought else "refused")
    assert bought or "The user said no" in answer["error"]
    assert len(sandbox.ledger) == bought
