"""Raw clients of every revision list and call every tool over stdio and HTTP, and go on after a killed server."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until, unused_port
from tests.hosts.talk import REVISIONS, Lines, Posts, Request, Talk, check_known
from tests.hosts.tools import REFUSED, SETTINGS, calls, free_calls, id_of, later_calls, names_of
from tests.wire.processes import STATELESS

if TYPE_CHECKING:
    from tests.wire.conftest import SiteIn, SpawnIn
    from tests.wire.processes import Message

LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")


@pytest.fixture
def service() -> Iterator[Sandbox]:
    """So fast that every task is finished when it is first read."""
    with Sandbox(speed=1_000_000, rate_limit=1000) as sandbox:
        yield sandbox


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


def finish(talk: Talk, ids: list[str]) -> None:
    """Drive tasks to their ends, as the client of the revision does."""

    def is_finished(answer: "Message") -> bool:
        task = answer["result"]
        if talk.revision != STATELESS:
            assert not task.get("isError"), task
            return "completed" in task["content"][0]["text"]
        assert task["status"] in {"working", "completed"}, task
        return task["status"] == "completed" and task["result"]["isError"] is False

    def are_finished() -> bool:
        waits = [("wait_for_tasks", {"task_ids": [task_id], "timeout_s": 20}) for task_id in left]
        reads = [("tasks/get", {"taskId": task_id}) for task_id in left]
        answers = talk.together(reads if talk.revision == STATELESS else requests(waits))
        left[:] = [task_id for task_id, answer in zip(left, answers, strict=True) if not is_finished(answer)]
        return not left

    left = list(ids)
    until(are_finished)


# What is remembered is said in the words of a revision, and everything after it by the server itself, as without.
WAYS = [
    *((revision, transport, False) for revision in REVISIONS for transport in ("stdio", "http")),
    *((revision, "stdio", True) for revision in ("2024-11-05", STATELESS)),
]


@pytest.mark.parametrize(
    ("revision", "transport", "memory"),
    WAYS,
    ids=["-".join([revision, transport, *["remembered"] * memory]) for revision, transport, memory in WAYS],
    indirect=["memory"],
)
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
        finish(talk, [id_of(talk.together([one])[0]) for one in requests(later)])
        free = free_calls(made)
        for (name, _), answer in zip(free, talk.together(requests(free)), strict=True):
            assert answer["result"].get("isError", False) == (name in REFUSED), answer
        check_known(talk)
    assert {tool["name"] for tool in lists[0]["result"]["tools"]} == names_of(calls(), later, free)
