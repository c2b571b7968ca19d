"""Callbacks of the service: verified first, never trusted, and answered at once to those who wait."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from kie_ai_mcp_sandbox.callbacks import signature
from kie_ai_mcp_sandbox.server import Sandbox
from tests.helpers import until, unused_port
from tests.wire.processes import Site

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.wire.conftest import RunIn, SiteIn, Spawn

KEY = "signing-key-of-the-tests"
PATH = "/callbacks/kie"
BEFORE_THE_NEXT_POLL_S = 3.5
"""A clip is looked at every 4 to 6 seconds."""


@dataclass
class Scene:
    """A server whose public address is its own, and the service that posts to it."""

    site: "Site"
    sandbox: Sandbox
    folder: Path
    seen_before: dict[str, int] = field(default_factory=dict)

    def make(self, prompt: str, **more: str) -> str:
        """Start a clip, which runs until it is finished by hand."""
        made = self.site.tool("generate_veo3_video", prompt=prompt, **more)["structuredContent"]
        self.seen_before[made["task_id"]] = len(self.sandbox.requests)
        return str(made["task_id"])

    def reads(self, task_id: str) -> int:
        """How many statuses were read since the task was made; a test makes one."""
        return sum(seen.path.endswith("record-info") for seen in self.sandbox.requests[self.seen_before[task_id] :])

    def post(self, body: Any, *, key: str | None = KEY, signed: str = "", age_s: float = 0) -> httpx.Response:
        """Post as the service does."""
        timestamp = str(int(time.time() - age_s))
        headers = {}
        if key is not None:
            headers = {"X-Webhook-Timestamp": timestamp, "X-Webhook-Signature": signature(key, signed, timestamp)}
        return self.site.client.post(PATH, json=body, headers=headers)


@pytest.fixture(scope="module")
def scene(site_in: "SiteIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A server with the account's key that gets a callback for every task."""
    yield from _scene(site_in, tmp_path_factory.mktemp("signed"), KEY)


@pytest.fixture(scope="module")
def unsigned(site_in: "SiteIn", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The same without a key."""
    yield from _scene(site_in, tmp_path_factory.mktemp("unsigned"), None)


def _scene(site_in: "SiteIn", folder: Path, key: str | None) -> Iterator[Scene]:
    port = str(unused_port())
    settings = {"KIE_AI_PUBLIC_URL": f"http://127.0.0.1:{port}/", "KIE_AI_WEBHOOK_KEY": key or ""}
    with (
        Sandbox(hold=True, webhook_key=key, rate_limit=1000) as sandbox,
        site_in(folder, "--port", port, sandbox=sandbox, KIE_AI_RATE_LIMIT="1000", **settings) as site,
    ):
        yield Scene(site, sandbox, folder)


# The address ---------------------------------------------------------------------------------------------------------


def test_service_is_asked_to_post_here_unless_the_caller_named_an_address(scene: Scene) -> None:
    own, other = scene.make("A fox, here"), scene.make("A fox, there", callBackUrl="https://hooks.example/kie")
    assert scene.sandbox.tasks[own].body["callBackUrl"] == f"{scene.site.url}{PATH}"
    assert scene.sandbox.tasks[other].body["callBackUrl"] == "https://hooks.example/kie"


def test_same_request_is_known_again_whether_or_not_the_service_is_to_post(
    scene: Scene, spawn: "Spawn", tmp_path: Path
) -> None:
    scene.sandbox.play("drop-after@generate")
    lost = scene.site.tool("generate_veo3_video", prompt="A fox once")["structuredContent"]
    assert lost["status"] == "unknown"
    (number,) = re.findall(r"submission_id \d+", lost["next_step"])
    child = spawn(sandbox=scene.sandbox, KIE_AI_DB_PATH=str(scene.folder / "tasks.db"), KIE_AI_ENABLED_PROVIDERS="veo3")
    child.greet("2025-11-25")
    again = child.call("generate_veo3_video", prompt="A fox once")["structuredContent"]
    assert again["status"] == "refused"
    assert number.replace("_id", "") in again["error"]


# What a callback does ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail", [None, "the fox would not sit"])
def test_those_who_wait_are_answered_at_once_and_by_one_read(scene: Scene, fail: str | None) -> None:
    task_id = scene.make(f"A fox that is waited for, {fail}")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(scene.site.tool, "wait_for_tasks", task_ids=[task_id], timeout_s=20)
        until(lambda: scene.reads(task_id) == 1)
        scene.sandbox.finish(task_id, fail)
        (task,) = waiting.result(BEFORE_THE_NEXT_POLL_S)["structuredContent"]["tasks"]
    assert task["status"] == ("failed" if fail else "completed")
    assert scene.reads(task_id) == 2


def test_those_who_wait_at_another_server_are_answered_before_the_next_poll(
    address: str, site_in: "SiteIn", tmp_path: Path
) -> None:
    port = str(unused_port())
    settings = {"KIE_AI_PUBLIC_URL": f"http://127.0.0.1:{port}/", "KIE_AI_WEBHOOK_KEY": KEY}
    with (
        Sandbox(hold=True, webhook_key=KEY) as sandbox,
        site_in(tmp_path, "--port", port, sandbox=sandbox, **settings),  # the service posts to this one
        site_in(tmp_path, sandbox=sandbox, **settings) as ours,
        ThreadPoolExecutor(1) as pool,
    ):
        scene = Scene(ours, sandbox, tmp_path)
        task_id = scene.make("A fox that is waited for elsewhere")
        waiting = pool.submit(ours.tool, "wait_for_tasks", task_ids=[task_id], timeout_s=20)
        until(lambda: scene.reads(task_id) == 1)
        sandbox.finish(task_id)
        (task,) = waiting.result(BEFORE_THE_NEXT_POLL_S)["structuredContent"]["tasks"]
        assert (task["status"], scene.reads(task_id)) == ("completed", 2)


def test_task_without_a_waiting_caller_is_recorded_and_saved(scene: Scene, rows: "Rows") -> None:
    task_id = scene.make("A fox that is left alone")
    scene.sandbox.finish(task_id)
    until(
        lambda: any(
            row["task_id"] == task_id and json.loads(row["files"] or "[]") for row in rows(scene.folder, "tasks")
        )
    )
    assert scene.reads(task_id) == 1


def test_nothing_that_a_callback_says_is_believed(scene: Scene) -> None:
    task_id = scene.make("A fox that is not ready")
    body = {
        "code": 200,
        "msg": "ok",
        "data": {"taskId": task_id, "info": {"resultUrls": ["https://evil.example/1.mp4"]}},
    }
    assert scene.post(body, signed=task_id).status_code == 200

    def task() -> dict[str, Any]:
        listed = scene.site.tool("list_tasks")["structuredContent"]["tasks"]
        return next(task for task in listed if task["task_id"] == task_id)

    until(lambda: scene.reads(task_id) == 1 and task()["status"] != "pending")  # a read is recorded after its answer
    assert (task()["status"], task()["result_urls"]) == ("processing", [])


@pytest.mark.parametrize(
    "shape",
    [
        lambda task_id: {"data": {"taskId": task_id}},
        lambda task_id: {"data": {"task_id": task_id}},
        lambda task_id: {"code": 400, "data": None, "taskId": task_id},
        lambda task_id: {"data": {"taskId": "another", "task_id": task_id}, "taskId": "a third"},
        lambda task_id: {"data": json.dumps({"taskId": task_id})},
    ],
)
def test_task_is_found_wherever_its_family_names_it(scene: Scene, shape: Callable[[str], Any]) -> None:
    task_id = scene.make(f"A fox in its place {shape('')}")
    assert scene.post(shape(task_id), signed=task_id).status_code == 200
    until(lambda: scene.reads(task_id) == 1)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"key": None}, 401),
        ({"key": "another-key"}, 401),
        ({"signed": "another-task"}, 401),
        ({"signed": ""}, 401),
        ({"age_s": 301}, 401),
        ({"age_s": -310}, 401),
        ({"age_s": 290}, 200),
    ],
)
def test_callback_needs_the_signature_of_its_task_and_its_time(scene: Scene, how: dict[str, Any], status: int) -> None:
    task_id = scene.make(f"A fox behind a signature {how}")
    answer = scene.post({"data": {"taskId": task_id}}, **{"signed": task_id, **how})
    assert answer.status_code == status
    # The order of answers: whatever it had set off would have been read before this is.
    scene.site.tool("get_task_status", task_id=task_id)
    assert scene.reads(task_id) == (2 if status == 200 else 1)
    assert KEY not in answer.text + scene.site.child.errors


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1" * 500, "\xb2", "1e9"])
def test_time_that_is_none_is_refused(scene: Scene, timestamp: str) -> None:
    headers = {b"X-Webhook-Timestamp": timestamp.encode("latin-1"), b"X-Webhook-Signature": b"\xff"}
    answer = scene.site.client.post(PATH, json={"taskId": "a"}, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("body", [[], {}, "text", {"data": []}, {"data": {"taskId": {"a": 1}}}, {"taskId": " "}])
def test_callback_that_names_no_task_is_refused(scene: Scene, body: Any) -> None:
    assert scene.post(body).status_code == 400


def test_task_that_is_not_on_record_is_not_looked_up(scene: Scene) -> None:
    before = len(scene.sandbox.requests)
    assert scene.post({"taskId": "somebody-elses"}, signed="somebody-elses").status_code == 200
    assert "somebody-elses" not in json.dumps(scene.site.tool("list_tasks"))
    assert len(scene.sandbox.requests) == before


# Without a key -------------------------------------------------------------------------------------------------------


def test_unsigned_callback_is_a_hint_and_sets_off_few_reads(unsigned: Scene) -> None:
    task_id = unsigned.make("A fox by hearsay")
    for _ in range(5):
        assert unsigned.post({"data": {"taskId": task_id}}, key=None).status_code == 200
    until(lambda: unsigned.reads(task_id) == 1)
    unsigned.site.tool("get_task_status", task_id=task_id)
    assert unsigned.reads(task_id) == 2


def test_unsigned_callback_answers_those_who_wait(unsigned: Scene) -> None:
    task_id = unsigned.make("A fox that is waited for")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(unsigned.site.tool, "wait_for_tasks", task_ids=[task_id], timeout_s=20)
        until(lambda: unsigned.reads(task_id) == 1)
        unsigned.sandbox.finish(task_id)
        (task,) = waiting.result(BEFORE_THE_NEXT_POLL_S)["structuredContent"]["tasks"]
    assert task["status"] == "completed"


def test_flood_of_unsigned_callbacks_is_turned_away(unsigned: Scene) -> None:
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: unsigned.post({"taskId": "no-such-task"}, key=None).status_code, range(110)))
    assert set(codes) == {200, 429}
    assert codes.count(200) <= 100


# People with keys of their own ---------------------------------------------------------------------------------------


@dataclass
class Own:
    """A server that has users: `ada` with the server's key, `dora` with one of her own."""

    server: Scene
    ada: Scene
    dora: Scene


@pytest.fixture
def own(site_in: "SiteIn", run_in: "RunIn", tmp_path: Path) -> Iterator[Own]:
    port = str(unused_port())
    settings = {"KIE_AI_PUBLIC_URL": f"http://127.0.0.1:{port}/", "KIE_AI_WEBHOOK_KEY": KEY}
    settings |= {"KIE_AI_USER_KEYS": "dora=key-of-dora-0123", "KIE_AI_WATCH": "false"}
    with (
        Sandbox(hold=True, webhook_key="the-key-of-doras-account") as sandbox,
        site_in(tmp_path, "--port", port, sandbox=sandbox, **settings) as site,
        ExitStack() as clients,
    ):
        server, scenes = Scene(site, sandbox, tmp_path), []
        for name, *options in (["ada"], ["dora", "--own-key"]):
            token = json.loads(run_in(tmp_path, "users", "add", name, *options, "--json").stdout)["token"]
            headers = {"Authorization": f"Bearer {token}"}
            client = clients.enter_context(httpx.Client(base_url=site.url, trust_env=False, headers=headers))
            scenes.append(Scene(Site(site.child, site.url, client), sandbox, tmp_path))
        yield Own(server, *scenes)


def test_task_of_a_user_with_an_own_key_is_announced_by_a_hint(own: Own) -> None:
    task_id = own.dora.make("A fox of Doras own")
    own.dora.sandbox.finish(task_id)  # which posts, signed with the key of her account
    until(lambda: own.dora.reads(task_id) >= 1)
    listed = own.dora.site.tool("list_tasks")["structuredContent"]["tasks"]
    until(lambda: own.dora.site.tool("list_tasks")["structuredContent"]["tasks"][0]["status"] == "completed")
    assert listed[0]["task_id"] == task_id


def test_task_of_the_servers_account_needs_its_signature_where_users_have_keys(own: Own) -> None:
    task_id = own.ada.make("A fox of the servers")
    answers = [own.server.post({"taskId": name}, key=None) for name in (task_id, "no-such-task")]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, answers[0].text)] * 2
    assert own.ada.reads(task_id) == 0
    assert own.server.post({"taskId": task_id}, signed=task_id).status_code == 200
    until(lambda: own.ada.reads(task_id) == 1)
