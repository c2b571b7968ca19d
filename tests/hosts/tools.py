"""Every tool of a server, and what it is called with by whichever client."""

import re

from tests.hosts.fixtures import PIXEL
from tests.wire.calls import GOES_ON_WITH, NAMED, PLUGINS, PROMPT, arguments_of
from tests.wire.processes import Message

SETTINGS = {**NAMED, "KIE_AI_RATE_LIMIT": "1000", "KIE_AI_ENABLED_PROVIDERS": "", "KIE_AI_OUTPUT_DIR": ""}
FIRST = [name for name in PLUGINS.tools if name not in GOES_ON_WITH]
MADE = "generate_nano_banana"
REFUSED = {"resolve_submission", "save_result"}
"""There is nothing to resolve, and no folder for results: what is saved is shown elsewhere and would take its time."""


def calls() -> list[tuple[str, Message]]:
    """Every paid tool that goes on with no other task, and what it is called with."""
    run = {"model": "google/nano-banana", "input": {**PROMPT, "prompt": "A fox by its model"}}
    return [*((name, arguments_of(name)) for name in FIRST), ("run_model", run)]


def later_calls(made: dict[str, str]) -> list[tuple[str, Message]]:
    """Every paid tool that goes on with a finished task of another; to be called one after the other."""
    return [(name, {**arguments_of(name), "task_id": made[earlier]}) for name, earlier in GOES_ON_WITH.items()]


def needed(made: dict[str, str]) -> list[str]:
    """Return the ids of the tasks that others go on with."""
    return [made[name] for name in sorted({MADE, *GOES_ON_WITH.values()})]


def free_calls(made: dict[str, str]) -> list[tuple[str, Message]]:
    """Every other tool."""
    one = {"task_id": made[MADE]}
    return [
        ("find_models", {"words": "a photo"}),
        ("describe_model", {"model": "google/nano-banana"}),
        ("estimate_cost", {"name": MADE, "arguments": PROMPT}),
        ("get_task_status", one),
        ("wait_for_tasks", {"task_ids": [made[MADE]]}),
        ("list_tasks", {}),
        ("get_credits", {}),
        ("upload_file", {"base64_data": PIXEL}),
        ("save_result", one),
        ("show_result", one),
        ("resolve_submission", {"submission_id": 1, "action": "discard"}),
    ]


def id_of(answer: Message) -> str:
    """Return the id of the task that a paid call has made, whether it is a task of the protocol or not."""
    result = answer.get("result", answer)
    assert not result.get("isError"), result
    if result.get("resultType") == "task":
        return str(result["taskId"])
    found = re.search(r"^Task: (\S+)", result["content"][0]["text"], re.MULTILINE)
    assert found, result
    return found[1]


def names_of(*called: list[tuple[str, Message]]) -> set[str]:
    """Return the names of the tools that were called."""
    return {name for calls in called for name, _ in calls}
