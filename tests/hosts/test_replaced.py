"""A server over HTTP that is killed and replaced at the same address: clients begin anew, or just go on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import unused_port
from tests.hosts.talk import REVISIONS, Posts
from tests.hosts.tools import MADE, id_of
from tests.wire.calls import PROMPT
from tests.wire.processes import STATELESS

if TYPE_CHECKING:
    from tests.hosts.node import Node
    from tests.wire.conftest import SiteIn
    from tests.wire.processes import Message, Site

LOST = "Session not found"
INVALID_REQUEST = -32600


class Place:
    """An address where one server follows another, over one record."""

    def __init__(self, site_in: "SiteIn", folder: Path, service: Sandbox) -> None:
        self.site_in, self.folder, self.service, self.port = site_in, folder, service, str(unused_port())

    def server(self) -> "AbstractContextManager[Site]":
        return self.site_in(self.folder, "--port", self.port, sandbox=self.service)


@pytest.fixture
def place(site_in: "SiteIn", tmp_path: Path) -> Iterator[Place]:
    with Sandbox(speed=1_000_000) as service:
        yield Place(site_in, tmp_path, service)


def kill(site: "Site") -> None:
    site.child.process.kill()
    site.child.process.wait()


def make(talk: Posts) -> str:
    return id_of(talk.answer("tools/call", {"name": MADE, "arguments": PROMPT}))


def look_at(task_id: str) -> "Message":
    return {"name": "get_task_status", "arguments": {"task_id": task_id}}


@pytest.mark.parametrize("revision", [REVISIONS[0], REVISIONS[-2]])
def test_session_of_a_killed_server_is_not_found_and_its_client_begins_anew(revision: str, place: Place) -> None:
    with place.server() as site:
        talk = Posts(site, revision)
        made = make(talk)
        kill(site)
    with place.server() as site:
        talk.site = site
        refused = talk.post({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": look_at(made)})
        assert (refused.status_code, refused.json()["error"]) == (404, {"code": INVALID_REQUEST, "message": LOST})
        headers = {"Mcp-Session-Id": talk.session, "Accept": "text/event-stream"}
        assert [site.client.request(method, "/mcp", headers=headers).status_code for method in ("GET", "DELETE")] == [
            404,
            404,
        ]
        anew = Posts(site, revision)
        assert anew.session not in {"", talk.session}
        seen = anew.answer("tools/call", look_at(made))["result"]
        assert "completed" in seen["content"][0]["text"]


def test_client_of_the_newest_revision_goes_on_with_another_server(place: Place) -> None:
    with place.server() as site:
        talk = Posts(site, STATELESS)
        made = make(talk)
        kill(site)
    with place.server() as talk.site:
        task = talk.answer("tasks/get", {"taskId": made})["result"]
        assert (task["status"], task["result"]["structuredContent"]["status"]) == ("completed", "completed")


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_python_client_is_told_that_its_session_is_lost_or_goes_on(mode: Any, place: Place) -> None:
    with place.server() as site:
        async with Client(f"{site.url}/mcp", mode=mode) as client:
            made = (await client.call_tool(MADE, PROMPT)).structured_content
            assert made is not None
            kill(site)
            with place.server():
                if mode == "legacy":  # it does not begin anew by itself: its host does, by this error
                    with pytest.raises(MCPError, match=LOST):
                        await client.call_tool("get_task_status", {"task_id": made["task_id"]})
                    async with Client(f"{site.url}/mcp", mode=mode) as anew:
                        seen = await anew.call_tool("get_task_status", {"task_id": made["task_id"]})
                else:
                    seen = await client.call_tool("get_task_status", {"task_id": made["task_id"]})
                assert seen.structured_content is not None
                assert seen.structured_content["status"] == "completed"


@pytest.mark.parametrize(("sdk", "era"), [("sdk", None), ("client", "legacy"), ("client", "auto")])
def test_typescript_client_is_told_that_its_session_is_lost_or_goes_on(
    sdk: str, era: str | None, place: Place, node: "Node"
) -> None:
    with node.typescript() as take:
        with place.server() as site:
            opening = {"sdk": sdk, "era": era, "url": f"{site.url}/mcp"}
            take("open", **opening)
            (answer,) = take("call", calls=[{"name": MADE, "arguments": PROMPT}])["answers"]
            made = id_of(answer)
            kill(site)
        with place.server():
            (answer,) = take("call", calls=[look_at(made)])["answers"]
            if era != "auto":  # it does not begin anew by itself: its host does, by this error
                assert LOST in answer["thrown"]
                take("open", **opening)
                (answer,) = take("call", calls=[look_at(made)])["answers"]
            assert answer["structuredContent"]["status"] == "completed"
