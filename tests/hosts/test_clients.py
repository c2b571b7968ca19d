"""Clients of every revision, raw ones and those of others: every tool is listed and called, over stdio and HTTP."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import unused_port
from tests.hosts.fixtures import PIXEL
from tests.hosts.talk import REVISIONS, STATELESS, Lines, Posts, Request, Talk, check_known
from tests.wire.calls import GOES_ON_WITH, NAMED, PLUGINS, PROMPT, arguments_of

if TYPE_CHECKING:
    from tests.wire.conftest import SiteIn, SpawnIn
    from tests.wire.processes import Message

SETTINGS = {**NAMED, "KIE_AI_RATE_LIMIT": "1000", "KIE_AI_ENABLED_PROVIDERS": ""}
FIRST = [name for name in PLUGINS.tools if name not in GOES_ON_WITH]
LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
MADE = "generate_nano_banana"
REFUSED = {"resolve_submission"}
"""There is nothing to resolve."""


@pytest.fixture
def service() -> Iterator[Sandbox]:
    """So fast that every task is finished when it is first read."""
    with Sandbox(speed=1_000_000, rate_limit=1000) as sandbox:
        yield sandbox


def calls() -> list[tuple[str, "Message"]]:
    """Every paid tool that goes on with no other task, and what it is called with."""
    run = {"model": "google/nano-banana", "input": {**PROMPT, "prompt": "A fox by its model"}}
    return [*((name, arguments_of(name)) for name in FIRST), ("run_model", run)]


def later_calls(made: dict[str, str]) -> list[tuple[str, "Message"]]:
    """Every paid tool that goes on with a finished task of another."""
    return [(name, {**arguments_of(name), "task_id": made[earlier]}) for name, earlier in GOES_ON_WITH.items()]


def free_calls(made: dict[str, str]) -> list[tuple[str, "Message"]]:
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


def requests(named: list[tuple[str, "Message"]]) -> list[Request]:
    return [("tools/call", {"name": name, "arguments": arguments}) for name, arguments in named]


class Talks:
    """Conversations with servers over one record, one after the other."""

    def __init__(
        self, transport: str, revision: str, spawn_in: "SpawnIn", site_in: "SiteIn", folder: Path, service: Sandbox
    ) -> None:
        self.transport, self.revision, self.folder, self.service = transport, revision, folder, service
        self.spawn_in, self.site_in, self.port = spawn_in, site_in, str(unused_port())
        self.settings = {**SETTINGS, "KIE_AI_UPLOAD_URL": service.upload_url}

    @contextmanager
    def begin(self) -> Iterator[Talk]:
        """Start a server, over HTTP always on the same port, and greet it."""
        with ExitStack() as stack:
            if self.transport == "stdio":
                child = self.spawn_in(self.folder, sandbox=self.service, **self.settings)
                stack.callback(child.close)
                yield Lines(child, self.revision)
            else:
                address = ("--port", self.port)
                yield Posts(
                    stack.enter_context(self.site_in(self.folder, *address, sandbox=self.service, **self.settings)),
                    self.revision,
                )


def id_of(answer: "Message") -> str:
    """Return the id of the task that a paid call has made, whether it is a task of the protocol or not."""
    result = answer["result"]
    assert not result.get("isError"), result
    if result.get("resultType") == "task":
        return str(result["taskId"])
    found = re.search(r"^Task: (\S+)", result["content"][0]["text"], re.MULTILINE)
    assert found, result
    return found[1]


def finish(talk: Talk, ids: list[str]) -> None:
    """Drive tasks to their ends, as the client of the revision does."""
    if talk.revision == STATELESS:
        for answer in talk.together([("tasks/get", {"taskId": task_id}) for task_id in ids]):
            task = answer["result"]
            assert (task["status"], task["result"]["isError"]) == ("completed", False), task
        return
    waits = [("wait_for_tasks", {"task_ids": [task_id], "timeout_s": 20}) for task_id in ids]
    for answer in talk.together(requests(waits)):
        assert "completed" in answer["result"]["content"][0]["text"], answer


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("revision", REVISIONS)
def test_every_revision_calls_every_tool_although_the_server_is_killed(
    revision: str, transport: str, spawn_in: "SpawnIn", site_in: "SiteIn", tmp_path: Path, service: Sandbox
) -> None:
    talks = Talks(transport, revision, spawn_in, site_in, tmp_path, service)
    with talks.begin() as talk:
        lists = talk.together([(method, {}) for method in LISTS])
        answers = talk.together(requests(calls()))
        made = {name: id_of(answer) for (name, _), answer in zip(calls(), answers, strict=True)}
        talk.kill()
        check_known(talk)
    charged = service.credits
    with talks.begin() as talk:
        finish(talk, list(made.values()))
        assert service.credits == charged
        later = later_calls(made)
        finish(talk, [id_of(answer) for answer in talk.together(requests(later))])
        free = free_calls(made)
        for (name, _), answer in zip(free, talk.together(requests(free)), strict=True):
            assert answer["result"].get("isError", False) == (name in REFUSED), answer
        check_known(talk)
    called = {name for name, _ in [*calls(), *later, *free]}
    assert {tool["name"] for tool in lists[0]["result"]["tools"]} == called
