"""Identity of tasks: services and accounts that give the same id, ids of any form, a service that uses one again."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow.waiting import wake
from kie_ai_mcp._flow.watching import catch_up
from kie_ai_mcp._gallery.page import page
from kie_ai_mcp._record.submissions import NewSubmission
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp_sandbox import pictures
from tests.helpers import eventually

if TYPE_CHECKING:
    from tests.core.conftest import Publish

pytestmark = pytest.mark.anyio

OpenApp = Callable[..., Any]


@cache
def picture(name: str) -> bytes:
    """Return what a service draws."""
    return pictures.picture(name, "", "1:1", "png", task_id=name, number=0)


def content_of(file: str) -> bytes:
    return Path(file).read_bytes()


SOURCE = '''
from kie_ai_mcp import Gateway, Outcome, Prompt, StatusRoute, Submission, TaskId, hookimpl


def generate_NAME_picture(prompt: Prompt) -> Submission:
    """Make a picture."""
    return Submission("create", {"prompt": prompt}, "NAME", gateway="NAME")


def extend_NAME_picture(task_id: TaskId, prompt: Prompt) -> Submission:
    """Extend a picture."""
    return Submission("create", {"prompt": prompt, "of": task_id}, "NAME", gateway="NAME")


@hookimpl
def kie_register_tools(settings):
    return [generate_NAME_picture, extend_NAME_picture]


@hookimpl
def kie_register_gateways(settings):
    return [Gateway("NAME", "NAME", "BASE/NAME", key="key of NAME")]


@hookimpl
def kie_route_status(task):
    return StatusRoute("status", {"taskId": task.task_id})


@hookimpl
def kie_normalize_result(task, payload):
    return Outcome(payload["state"], tuple(payload["urls"]))
'''


class Services:
    """Kie.ai below ``/kie``, and any other service below its name; each names its tasks as the test says."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.ids: dict[str, list[str]] = {}
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.read: list[tuple[str, str]] = []
        self.state = "completed"
        for name in ("kie", "sandbox", "acme", "orbit"):
            for path in ("/create", "/jobs/createTask"):
                server.expect_request(f"/{name}{path}").respond_with_handler(self._handler(name, self._create))
            for path in ("/status", "/jobs/recordInfo"):
                server.expect_request(f"/{name}{path}").respond_with_handler(self._handler(name, self._status))
            server.expect_request(f"/{name}/out.png").respond_with_data(picture(name))

    def url(self, name: str) -> str:
        return self.server.url_for(f"/{name}")

    def _handler(self, name: str, work: Callable[[str, Request], dict[str, Any]]) -> Callable[[Request], Response]:
        return lambda request: Response(
            json.dumps({"code": 200, "msg": "success", "data": work(name, request)}), mimetype="application/json"
        )

    def _create(self, name: str, request: Request) -> dict[str, Any]:
        self.created.append((name, request.get_json()))
        return {"taskId": self.ids[name].pop(0)}

    def _status(self, name: str, request: Request) -> dict[str, Any]:
        task_id = request.args["taskId"]
        self.read.append((name, task_id))
        urls = [self.url(f"{name}/out.png")] if self.state == "completed" else []
        words = {"completed": "success", "processing": "generating"}
        return {
            "taskId": task_id,
            "state": words[self.state] if name in {"kie", "sandbox"} else self.state,
            "resultJson": json.dumps({"resultUrls": urls}),
            "urls": urls,
        }


@pytest.fixture
def services(httpserver: HTTPServer) -> Services:
    return Services(httpserver)


@pytest.fixture
async def open_app(services: Services, publish: "Publish", tmp_path: Path) -> AsyncIterator[OpenApp]:
    """Opens the server on the test's database: ``await open_app()``, for an account of Kie.ai or its stand-in."""
    for name in ("acme", "orbit"):
        publish(name, SOURCE.replace("NAME", name).replace("BASE", services.url("").rstrip("/")))
    async with AsyncExitStack() as stack:

        async def make(key: str = "key-of-the-tests", service: str = "kie", **settings: Any) -> App:
            host = services.server.host
            values = {
                "api_key": key,
                "base_url": services.url(service),
                "db_path": tmp_path / "tasks.db",
                "output_dir": tmp_path / "out",
                "enabled_providers": ("nano-banana", "acme", "orbit"),
                "trusted_hosts": (f"{host}:{services.server.port}",),
                **settings,
            }
            app = App.open(Settings.model_validate(values))
            await stack.enter_async_context(app.engine.running())
            return app

        yield make


async def call(app: App, tool: str, **arguments: Any) -> dict[str, Any]:
    answer: Answer = await app.call(tool, arguments)
    assert not answer.is_error, answer.text
    return answer.data or {}


def new_request(gateway: str) -> NewSubmission:
    """Return a request that was lost, as it is written down."""
    return NewSubmission("generate_acme_picture", gateway, gateway, "image", gateway, None, {"prompt": "An owl"}, "owl")


TOOLS = {"kie": "generate_nano_banana", "acme": "generate_acme_picture", "orbit": "generate_orbit_picture"}


async def test_equal_ids_of_three_services_are_three_tasks_with_their_own_results(
    services: Services, open_app: OpenApp, tmp_path: Path
) -> None:
    app = await open_app()
    services.ids = {name: ["job_1"] for name in TOOLS}
    ids = {name: (await call(app, tool, prompt=f"Drawn by {name}"))["task_id"] for name, tool in TOOLS.items()}
    assert ids == {"kie": "job_1", "acme": "acme:job_1", "orbit": "orbit:job_1"}
    assert services.read == []

    waited = (await call(app, "wait_for_tasks", task_ids=list(ids.values())))["tasks"]

    assert sorted(services.read) == [(name, "job_1") for name in sorted(TOOLS)]
    assert [task["task_id"] for task in waited] == list(ids.values())
    files = []
    for name, task in zip(TOOLS, waited, strict=True):
        again = await call(app, "get_task_status", task_id=ids[name])
        assert task["result_urls"] == again["result_urls"] == [services.url(f"{name}/out.png")]
        (file,) = again["files"]
        files.append(file)
        assert content_of(file) == picture(name)
        story = json.loads(content_of(f"{file}.json"))
        assert (story["task_id"], story["arguments"]["prompt"]) == (ids[name], f"Drawn by {name}")
        content = await app.resources.read(f"kie://files/{quote(ids[name], safe='')}/1")
        assert content.blob == picture(name)
        listed = json.loads((await app.resources.read(f"kie://tasks/{ids[name]}")).text or "")
        assert (listed["task_id"], listed["files"]) == (ids[name], [file])
        shown, _, _ = await app.resources.show(ids[name])
        assert shown.task_id == ids[name]
    assert len(set(files)) == 3
    assert ":" not in "".join(Path(file).name for file in files)
    assert {task["task_id"] for task in (await call(app, "list_tasks"))["tasks"]} == set(ids.values())
    cards = (await page(app.engine.record)).split('class="card"')[1:]
    for name, task_id in ids.items():
        (card,) = [card for card in cards if f"<dd>{task_id}</dd>" in card]
        assert f"Drawn by {name}" in card


async def test_id_alone_is_an_error_with_both_forms_where_two_services_use_it(
    services: Services, open_app: OpenApp
) -> None:
    app = await open_app()
    services.ids = {"acme": ["job_1"], "orbit": ["job_1"]}
    await call(app, TOOLS["acme"], prompt="A fox")
    assert (await call(app, "get_task_status", task_id="job_1"))["task_id"] == "acme:job_1"
    await call(app, TOOLS["orbit"], prompt="A fox")

    for tool in ("get_task_status", "save_result", "show_result"):
        answer = await app.call(tool, {"task_id": "job_1"})
        assert answer.is_error
        assert "acme:job_1 or orbit:job_1" in answer.text
    waited = await app.call("wait_for_tasks", {"task_ids": ["job_1", "acme:job_1"], "timeout_s": 5})
    assert "acme:job_1 or orbit:job_1" in waited.text
    assert [task["status"] for task in (waited.data or {})["tasks"]] == ["unread", "completed"]
    with pytest.raises(InvalidArgument, match="acme:job_1 or orbit:job_1"):
        await app.resources.read("kie://tasks/job_1")


IDS = ["x" * 700, "job:1", "acme:9", "kie:1", "a/b?c#d%41&e", "é 你", "..", "-rf", "CON", "a:b:c", "a" * 90, "a" * 91]
ALSO_NAMED = ("acme:9", "kie:1")  # of Kie.ai they read like those of another service


@pytest.mark.parametrize("task_id", IDS)
@pytest.mark.parametrize("service", ["kie", "acme"])
async def test_every_id_that_a_service_gives_can_be_used(
    service: str, task_id: str, services: Services, open_app: OpenApp
) -> None:
    app = await open_app()
    services.ids[service] = [task_id]
    services.state = "processing"
    written = (await call(app, TOOLS[service], prompt="A fox"))["task_id"]
    assert written == (task_id if service == "kie" and task_id not in ALSO_NAMED else f"{service}:{task_id}")
    assert (await call(app, "get_task_status", task_id=written))["status"] == "processing"
    services.state = "completed"
    (waited,) = (await call(app, "wait_for_tasks", task_ids=[written]))["tasks"]
    assert (waited["task_id"], waited["status"]) == (written, "completed")
    assert set(services.read) == {(service, task_id)}
    saved = await app.call("save_result", {"task_id": written})
    (file,) = (saved.data or {})["files"]
    assert len(Path(file).name) < 200
    (link,) = saved.links
    assert (await app.resources.read(link.uri)).blob == picture(service) == content_of(file)
    assert (await app.resources.read(f"kie://tasks/{quote(written, safe='')}")).text
    assert (await call(app, "get_task_status", task_id=f"{service}:{task_id}"))["task_id"] == written


async def test_id_that_a_service_uses_again_is_told_and_shows_no_result_of_another(
    services: Services, open_app: OpenApp
) -> None:
    app = await open_app(wait_s=5)
    services.ids["acme"] = ["job_1", "job_1"]
    first = await call(app, TOOLS["acme"], prompt="A fox")
    assert first["status"] == "completed"
    for _ in range(2):
        again = await app.call(TOOLS["acme"], {"prompt": "An owl", "idempotency_key": "owl"})
        told = again.data or {}
        assert again.is_error
        assert (told["status"], told["submission_id"], told["charged"]) in {
            ("unknown", 2, "unknown"),
            ("unknown", 2, "no"),
        }
        assert (told["result_urls"], told["files"], again.links) == ([], [], ())
        assert "the id of an earlier task" in told["error"]
        assert "acme:job_1" in told["next_step"]
    assert [body["prompt"] for _, body in services.created] == ["A fox", "An owl"]
    assert (await call(app, "get_task_status", task_id="acme:job_1"))["files"] == first["files"]
    second = await app.engine.record.submissions.find(2)
    assert (second.state, second.task_id, second.arguments["prompt"]) == ("accepted", "job_1", "An owl")
    (card,) = (await page(app.engine.record)).split('class="card"')[1:]
    assert "A fox" in card


async def test_task_of_another_service_is_refused_before_it_is_paid_for(services: Services, open_app: OpenApp) -> None:
    app = await open_app()
    services.ids = {"acme": ["job_1", "job_2", "job_3"], "orbit": ["job_1"]}
    await call(app, TOOLS["orbit"], prompt="A fox")
    answer = await app.call("extend_acme_picture", {"task_id": "orbit:job_1", "prompt": "An owl"})
    assert answer.is_error
    assert "it is a task of orbit, and this call goes to acme" in answer.text
    await call(app, "extend_acme_picture", task_id="acme:job_7", prompt="An owl")
    await call(app, "extend_acme_picture", task_id="job:7", prompt="An owl")
    assert [body.get("of") for _, body in services.created] == [None, "job_7", "job:7"]


async def test_lost_request_is_adopted_by_the_id_that_its_own_service_shows(
    services: Services, open_app: OpenApp
) -> None:
    app = await open_app()
    services.ids = {"kie": ["job_1"], "acme": ["job_2"], "orbit": ["job_1"]}
    await call(app, TOOLS["kie"], prompt="A fox")
    await call(app, TOOLS["orbit"], prompt="A fox")
    lost = await app.engine.record.submissions.write_ahead(new_request("acme"), 0.0)
    await app.engine.record.submissions.settled(lost.submission_id, Ending("unknown", message="no answer"))

    adopted = await call(app, "resolve_submission", submission_id=3, action="adopt", task_id="job_1")

    assert (adopted["task_id"], adopted["result_urls"]) == ("acme:job_1", [services.url("acme/out.png")])
    assert services.read == [("acme", "job_1")] * 2


# Two accounts, two addresses -----------------------------------------------------------------------------------------

OTHERS = {"another key": {"key": "another-key"}, "another address": {"service": "sandbox"}}


@pytest.mark.parametrize("other", OTHERS)
async def test_two_accounts_on_one_database_never_get_each_other_s_task(
    other: str, services: Services, open_app: OpenApp, tmp_path: Path
) -> None:
    ours, theirs = await open_app(), await open_app(**OTHERS[other])
    services.ids = {"kie": ["job_1", "job_2"], "sandbox": ["job_1"]}
    their_id = "job_2" if other == "another key" else "job_1"
    asked = {"prompt": "A fox", "idempotency_key": "fox"}
    first = await call(ours, TOOLS["kie"], **asked)
    second = await call(theirs, TOOLS["kie"], **asked)

    assert (first["task_id"], second["task_id"], len(services.created)) == ("job_1", their_id, 2)
    for app, name, task_id in ((ours, "kie", "job_1"), (theirs, OTHERS[other].get("service", "kie"), their_id)):
        assert (await call(app, TOOLS["kie"], **asked))["task_id"] == task_id
        done = await call(app, "get_task_status", task_id=task_id)
        assert done["result_urls"] == [services.url(f"{name}/out.png")]
        assert content_of(done["files"][0]) == picture(name)
    assert len(services.created) == 2
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


async def test_task_of_another_address_is_not_asked_for_where_its_id_may_be_another_s(
    services: Services, open_app: OpenApp
) -> None:
    services.state = "processing"
    services.ids = {"kie": ["job_1"]}
    await call(await open_app(), TOOLS["kie"], prompt="A fox")
    theirs = await open_app(service="sandbox")

    await catch_up(theirs.engine)
    shown = await call(theirs, "get_task_status", task_id="job_1")

    assert services.read == []
    assert (shown["status"], shown["task_id"]) == ("pending", "job_1")
    assert "another address of Kie.ai than" in shown["read_error"]
    assert "KIE_AI_BASE_URL" in shown["next_step"]
    rotated = await open_app(key="another-key")
    assert (await call(rotated, "get_task_status", task_id="job_1"))["status"] == "processing"


@pytest.mark.parametrize("other", OTHERS)
async def test_unknown_request_of_one_account_does_not_block_another(
    other: str, services: Services, open_app: OpenApp
) -> None:
    ours, theirs = await open_app(), await open_app(**OTHERS[other])
    services.ids = {"kie": ["job_1"], "sandbox": ["job_1"]}
    services.server.clear()
    refused = await ours.call(TOOLS["kie"], {"prompt": "A fox"})
    assert (refused.data or {})["status"] == "unknown"
    services.__init__(services.server)  # type: ignore[misc]
    services.ids = {"kie": ["job_1"], "sandbox": ["job_1"]}
    assert (await ours.call(TOOLS["kie"], {"prompt": "A fox"})).is_error
    await call(theirs, TOOLS["kie"], prompt="A fox")
    assert len(services.created) == 1


async def test_news_of_a_task_wakes_those_who_wait_for_that_service_s_alone(
    services: Services, open_app: OpenApp
) -> None:
    app = await open_app()
    services.ids = {"kie": ["job_1"], "acme": ["job_1"]}
    services.state = "processing"
    ids = [(await call(app, TOOLS[name], prompt="A fox"))["task_id"] for name in ("kie", "acme")]
    async with anyio.create_task_group() as group:
        for task_id in ("kie:job_1", "acme:job_1"):
            group.start_soon(partial(app.call, "wait_for_tasks", {"task_ids": [task_id], "timeout_s": 60}))
        await eventually(lambda: sorted(services.read) == [("acme", "job_1"), ("kie", "job_1")])
        assert wake(app.engine, ids[0])
        await eventually(lambda: services.read.count(("kie", "job_1")) == 2)
        assert services.read.count(("acme", "job_1")) == 1
        group.cancel_scope.cancel()
