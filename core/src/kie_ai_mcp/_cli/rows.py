"""Cells of tables about tasks: age, credits, prompt and tool, as short as each can be."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp._settings.amounts import plain
from kie_ai_mcp.errors import one_line

PROMPT_CHARS = 60  # the most of a prompt in a list
UNITS = (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0))


def age_of(seconds: float) -> str:
    """Return a time as `--since` takes it, in its largest unit: 40s, 5m, 3h, 12d."""
    for unit, length in UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def credits_in(task: Mapping[str, Any]) -> str:
    """Return what a task cost; behind ~ what it is thought to cost."""
    price, about = task.get("credits"), ""
    if "estimated_credits" in task:
        price, about = task["estimated_credits"], "~"
    return "" if price is None else f"{about}{plain(price)} {task.get('unit', '')}".rstrip()


def prompt_in(task: Mapping[str, Any]) -> str:
    """Return the beginning of a task's prompt; nothing where prompts are not stored."""
    return one_line(task.get("prompt") or "", PROMPT_CHARS)


def tool_in(task: Mapping[str, Any]) -> str:
    """Return the tool that made a task, else its provider, and the model."""
    return " ".join(filter(None, [task.get("tool") or task.get("provider"), task.get("model")]))
