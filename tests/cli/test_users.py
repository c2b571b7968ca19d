"""Commands ``users``: tokens shown once, limits, and what the list says of everybody."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.cli.conftest import Run

TOKEN = r"kie-[A-Za-z0-9_-]{43}"


def test_token_is_printed_once_and_kept_nowhere_in_clear(run: "Run", tmp_path: Path) -> None:
    added = run("users", "add", "ada", "--credits-per-day", "5")
    (token,) = re.findall(TOKEN, added.stdout)
    listed = run("users", "list").stdout + run("users", "list", "--json").stdout
    assert "ada" in listed
    assert "5 credits a day" in listed
    assert not re.search(TOKEN, listed)
    assert all(token.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    rotated = json.loads(run("users", "rotate", "ada", "--json").stdout)
    assert rotated["token"] != token


def test_rights_and_limits_change_and_what_is_not_given_stays(run: "Run") -> None:
    run("users", "add", "ada", "--credits-per-day", "5", "--submissions-per-hour", "9")
    run("users", "change", "ada", "--admin", "--credits-per-request", "2")
    (ada,) = json.loads(run("users", "list", "--json").stdout)
    limits = ("credits_per_day", "credits_per_request", "submissions_per_hour", "is_admin")
    assert [ada[name] for name in limits] == [5.0, 2.0, 9, True]
    run("users", "change", "ada", "--unlimited", "--no-admin", "--credits-per-day", "1")
    (ada,) = json.loads(run("users", "list", "--json").stdout)
    assert [ada[name] for name in limits] == [1.0, None, None, False]


def test_user_who_was_removed_comes_back_with_the_limits_of_before(run: "Run") -> None:
    run("users", "add", "ada", "--credits-per-day", "500", "--submissions-per-hour", "9", "--own-key", "--admin")
    run("users", "remove", "ada")
    answer = run("users", "add", "ada", "--submissions-per-hour", "7").stdout
    assert answer.startswith("Added ada (own key; 500 credits a day, 7 requests an hour).")
    (ada,) = json.loads(run("users", "list", "--json").stdout)
    assert [ada[name] for name in ("credits_per_day", "submissions_per_hour", "own_key")] == [500.0, 7, True]
    assert not ada["is_admin"]
    assert run("users", "add", "bob").stdout.startswith("Added bob (user; no limits of their own).")


def test_mistakes_are_named_with_their_cure(run: "Run") -> None:
    assert "No users" in run("users", "list").stdout
    run("users", "add", "ada")
    for words, code, says in (
        (("add", "ada"), 2, "there is such a user"),
        (("add", "two words"), 2, "'two words' is not accepted"),
        (("remove", "bob"), 2, "no such user"),
        (("rotate", "bob"), 2, "no such user"),
        (("change", "bob", "--admin"), 2, "no such user"),
        (("change", "ada"), 2, "Nothing to change"),
        (("add", "cara", "--credits-per-day", "-1"), 2, "-1"),
    ):
        answer = run("users", *words)
        assert (answer.code, says in answer.stderr) == (code, True), answer


def test_user_of_an_issuer_has_no_token(run: "Run") -> None:
    added = json.loads(run("users", "add", "ada@example.org", "--no-token", "--json").stdout)
    assert added == {"name": "ada@example.org"}
    assert "no token" in run("users", "list").stdout
    assert "removed" in run("users", "remove", "ada@example.org", "--json").stdout
    assert "removed" in run("users", "list").stdout


def test_misspelt_setting_is_named_and_no_other_database_is_written(run: "Run", tmp_path: Path) -> None:
    misspelt: Any = {"KIE_AI_DATABASE_ULR": "postgresql://me@db/kie"}
    answer = run("users", "add", "ada", **misspelt)
    assert (answer.code, "KIE_AI_DATABASE_URL" in answer.stderr) == (2, True), answer
    assert not (tmp_path / "tasks.db").exists()
