"""Hints on a setting: they name what holds it, since a command that writes the file changes nothing of a variable."""

from pathlib import Path

import pytest

from kie_ai_mcp._flow.engine import _fault_of
from kie_ai_mcp._record.slots import Budget
from kie_ai_mcp._settings.sources import overriding, to_allow, unless_overridden
from kie_ai_mcp.errors import LimitReached
from kie_ai_mcp.specs import KIE

THERE = "in the client's settings for this server, or in its environment"


def refusal(budget: Budget) -> str:
    """What is to be done where a request of 5 credits is refused."""
    with pytest.raises(LimitReached) as refused:
        budget.credits_to_book("generate_video", KIE, 5.0)
    return refused.value.next_step


@pytest.mark.parametrize("text", ["", " ", "${user_config.credits}"])
def test_limit_that_no_variable_sets_is_raised_by_a_command(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KIE_AI_MAX_CREDITS_PER_REQUEST", text)
    step = refusal(Budget(credits_per_request=4))
    assert step.endswith("`kie-ai-mcp-server config set max_credits_per_request N`, then restart.")


def test_limit_of_a_variable_is_raised_where_the_variable_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIE_AI_MAX_CREDITS_PER_REQUEST", "4")
    step = refusal(Budget(credits_per_request=4))
    assert step.endswith(f"raise KIE_AI_MAX_CREDITS_PER_REQUEST: change it {THERE}, then restart.")


def test_folder_of_a_variable_is_named_where_the_variable_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for is_set in (False, True):
        if is_set:
            monkeypatch.setenv("KIE_AI_OUTPUT_DIR", str(tmp_path / "file"))
            monkeypatch.setenv("KIE_AI_UPLOAD_ROOTS", str(tmp_path))
        fault = _fault_of(tmp_path / "file")
        assert fault is not None
        for step in (fault.next_step, to_allow(tmp_path)):
            assert ("config set" in step, THERE in step) == (not is_set, is_set)
        assert unless_overridden("output_dir") == " (and unset KIE_AI_OUTPUT_DIR, or correct it there)" * is_set
    assert f"add {tmp_path} to KIE_AI_UPLOAD_ROOTS" in to_allow(tmp_path)


def test_variable_that_holds_no_key_sets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIE_AI_API_KEY", "YOUR_KEY")
    assert overriding("api_key") == ""
    monkeypatch.setenv("KIE_AI_API_KEY", "'a-key-0123'")
    assert overriding("api_key") == "KIE_AI_API_KEY"
