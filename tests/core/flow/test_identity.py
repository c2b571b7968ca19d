"""Identity of tasks: services and accounts that give the same id, ids of any form, a service that uses one again."""

import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response
from werkzeug.exceptions import InternalServerError

from kie_ai_mcp import Media, Submission
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import Answer
from kie_ai_mcp._flow.identity import hash_of
from kie_ai_mcp._flow.watching import catch_up
from kie_ai_mcp._gallery.page import entries
from kie_ai_mcp._record.submissions import NewSubmission
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._service import transfer
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument
from kie_ai_mcp.specs import MARKET_CREATE
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


def change(path: Path, data: bytes) -> None:
    """Change a file's bytes, and nothing that its folder shows."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


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
        self.loses = False
        self.uploads: list[bytes] = []
        for name in ("kie", "sandbox", "acme", "orbit"):
            for path in ("/create", "/jobs/createTask"):
                server.expect_request(f"/{name}{path}").respond_with_handler(self._handler(name, self._create))
            path = "/api/file-stream-upload"
            server.expect_request(f"/{name}{path}").respond_with_handler(self._handler(name, self._upload))
            for path in ("/status", "/jobs/recordInfo"):
                server.expect_request(f"/{name}{path}").respond_with_handler(self._handler(name, self._status))
            server.expect_request(f"/{name}/out.png").respond_with_data(picture(name))

    def url(self, name: str) -> str:
        return self.server.url_for(f"/{name}")

    def _handler(self, name: str, work: Callable[[str, Request], dict[str, Any]]) -> Callable[[Request], Response]:
        return lambda request: Response(
            json.dumps({"code": 200, "msg": "success", "data": work(name, request)}), mimetype="application/json"
        )

    def _upload(self, name: str, request: Request) -> dict[str, Any]:
        self.uploads.append(request.files["file"].read())
        return {"downloadUrl": f"https://files.example/{name}/{len(self.uploads)}.png"}

    def _create(self, name: str, request: Request) -> dict[str, Any]:
        self.created.append((name, request.get_json()))
        if self.loses:
            raise InternalServerError
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
                "upload_url": services.url("kie"),
                "upload_roots": (tmp_path,),
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
    shown = {entry["task_id"]: entry["prompt"] for entry in (await entries(app.engine.record))["entries"]}
    assert shown == {task_id: f"Drawn by {name}" for name, task_id in ids.items()}


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


IDS = [
    "x" * 700,
    "job:1",
    "acme:9",
    "kie:1",
    "a/b?c#d%41&e",
    "é 你",
    "..",
    "-rf",
    "CON",
    "a:b:c",
    "a" * 90,
    "a" * 91,
    " x ",
    "tab\there",
]
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
    (entry,) = (await entries(app.engine.record))["entries"]
    assert entry["prompt"] == "A fox"


async def test_id_of_another_service_that_is_not_on_record_is_not_asked_for_at_kie(
    services: Services, open_app: OpenApp
) -> None:
    app = await open_app()
    answer = await app.call("get_task_status", {"task_id": "acme:job_9"})
    assert answer.is_error
    assert "only Kie.ai is asked" in answer.text
    assert services.read == []
    assert (await call(app, "get_task_status", task_id=" kie:job_9 "))["task_id"] == "job_9"
    assert (await call(app, "get_task_status", task_id="kie:acme:9"))["task_id"] == "kie:acme:9"


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
    services.loses = True
    assert ((await ours.call(TOOLS["kie"], {"prompt": "A fox"})).data or {})["status"] == "unknown"
    services.loses = False
    assert (await ours.call(TOOLS["kie"], {"prompt": "A fox"})).is_error
    await call(theirs, TOOLS["kie"], prompt="A fox")
    assert len(services.created) == 2


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
        assert app.engine.wake(ids[0])
        await eventually(lambda: services.read.count(("kie", "job_1")) == 2)
        assert services.read.count(("acme", "job_1")) == 1
        group.cancel_scope.cancel()


# What was asked ------------------------------------------------------------------------------------------------------

EDIT = "edit_nano_banana"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of the user's."""
    path = tmp_path / "fox.png"
    path.write_bytes(picture("a fox"))
    return path


async def lose(app: App, services: Services, tool: str, **arguments: Any) -> None:
    """Send a request whose answer is lost."""
    services.loses = True
    assert ((await app.call(tool, arguments)).data or {})["status"] == "unknown"
    services.loses = False


def execute(path: Path, query: str, *values: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(query, values)


async def test_equal_calls_side_by_side_with_one_local_file_are_paid_for_once(
    services: Services, open_app: OpenApp, photo: Path
) -> None:
    app = await open_app()
    services.ids["kie"] = ["job_1"]
    answers: list[dict[str, Any]] = []

    async def edit() -> None:
        answers.append(await call(app, EDIT, prompt="A hat", image_urls=[str(photo)]))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(edit)

    assert [answer["task_id"] for answer in answers] == ["job_1"] * 4
    assert len(services.created) == 1


async def test_lost_request_is_known_again_when_its_file_was_uploaded_anew(
    services: Services, open_app: OpenApp, photo: Path, tmp_path: Path
) -> None:
    app = await open_app()
    asked: dict[str, Any] = {"prompt": "A hat", "image_urls": [str(photo)]}
    await lose(app, services, EDIT, **asked)
    execute(tmp_path / "tasks.db", "DELETE FROM uploads")
    copy = tmp_path / "copy.png"
    copy.write_bytes(content_of(str(photo)))
    sent = (await call(app, "upload_file", path=str(photo)))["url"]

    for addresses in ([str(photo)], [str(copy)], [sent]):
        again = await app.call(EDIT, {**asked, "image_urls": addresses})
        assert again.is_error
        assert "It was not sent again" in again.text
    assert len(services.created) == 1


async def test_file_inside_an_object_is_sent_and_known_again_by_its_content(
    services: Services, open_app: OpenApp, publish: "Publish", photo: Path, tmp_path: Path
) -> None:
    source = SOURCE.replace("prompt: Prompt", "shots: list[dict[str, str]]").replace(
        '"prompt": prompt', '"shots": shots'
    )
    publish("scenes", source.replace("BASE/NAME", services.url("orbit")).replace("NAME", "scenes"))
    app = await open_app(enabled_providers=("scenes",))
    tool = "generate_scenes_picture"
    app.engine.plugins.tools[tool].arguments.media["shots[].url"] = Media("image")
    shots = [{"words": "A fox"}, {"words": str(photo), "url": str(photo)}]
    await lose(app, services, tool, shots=shots)
    (copy := tmp_path / "copy.png").write_bytes(content_of(str(photo)))

    again = await app.call(tool, {"shots": [shots[0], {"words": str(photo), "url": str(copy)}]})

    assert "It was not sent again" in again.text
    (sent,) = services.created
    assert sent[1]["shots"] == [shots[0], {"words": str(photo), "url": "https://files.example/kie/1.png"}]
    change(copy, picture("an owl"))
    services.ids["orbit"] = ["job_1"]
    await call(app, tool, shots=[{"url": str(copy)}])
    assert services.uploads == [picture("a fox"), picture("an owl")]


async def test_changed_file_is_another_request(services: Services, open_app: OpenApp, photo: Path) -> None:
    app = await open_app()
    services.ids["kie"] = ["job_1"]
    asked = {"prompt": "A hat", "image_urls": [str(photo)]}
    await lose(app, services, EDIT, **asked, idempotency_key="one")
    change(photo, picture("an owl"))

    refused = await app.call(EDIT, {**asked, "idempotency_key": "one"})
    assert "it belongs to another request" in refused.text
    assert (await call(app, EDIT, **asked))["task_id"] == "job_1"
    assert services.uploads == [picture("a fox"), picture("an owl")]


async def test_file_that_changes_while_it_is_sent_is_not_paid_for(
    services: Services, open_app: OpenApp, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, look = await open_app(), transfer.file_mark

    def changed(status: os.stat_result) -> tuple[int, ...]:
        if not services.uploads and sum(1 for _ in calls) == 1:  # between the check and the sending, unseen
            change(photo, content_of(str(photo))[::-1])
        calls.append(status)
        return look(status)

    calls: list[os.stat_result] = []
    monkeypatch.setattr(transfer, "file_mark", changed)
    refused = await app.call(EDIT, {"prompt": "A hat", "image_urls": [str(photo)]})

    assert refused.is_error
    assert "was changed after it was looked at" in refused.text
    assert (len(services.uploads), services.created) == (1, [])
    assert await app.engine.record.uploads.hashes() == {}


FILE = "https://files.example/a/fox.png"
SAME = {
    "signed for Amazon": (f"{FILE}?X-Amz-Date=1&X-Amz-Signature=a", f"{FILE}?X-Amz-Date=2&X-Amz-Signature=b"),
    "signed without a name": ("https://s3.example/b/1?X-Amz-Signature=a", "https://s3.example/b/1?X-Amz-Signature=b"),
    "signed for Azure": (f"{FILE}?sv=1&se=2&sr=b&sp=r&sig=a", f"{FILE}?sv=1&se=3&sr=b&sp=r&sig=b"),
    "signed for Google": (f"{FILE}?X-Goog-Expires=1&X-Goog-Signature=a", f"{FILE}?X-Goog-Expires=1&X-Goog-Signature=b"),
    "with a token": (f"{FILE}?token=a", f"{FILE}?token=b"),
    "of a chat": (f"{FILE}?ex=1&is=2&hm=3&width=9", f"{FILE}?ex=4&is=5&hm=6&width=9"),
    "with a place in it": (f"{FILE}#1", FILE),
}
OTHER = {
    "another file": (FILE, "https://files.example/b/fox.png"),
    "another picture of a script": ("https://files.example/show.php?is=1", "https://files.example/show.php?is=2"),
    "behind a token": ("https://files.example/download?token=a", "https://files.example/download?token=b"),
    "another size": (f"{FILE}?x-oss-process=resize,1&x-oss-signature=a", f"{FILE}?x-oss-process=resize,2"),
    "another version": (f"{FILE}?versionId=1&X-Amz-Signature=a", f"{FILE}?versionId=2&X-Amz-Signature=a"),
}


@pytest.mark.parametrize(
    ("links", "is_same"),
    [(pair, True) for pair in SAME.values()] + [(o, False) for o in OTHER.values()],
    ids=[*SAME, *OTHER],
)
async def test_link_signed_anew_asks_for_the_same(
    links: tuple[str, str], is_same: bool, services: Services, open_app: OpenApp
) -> None:
    app = await open_app()
    services.ids["kie"] = ["job_1"]
    await lose(app, services, EDIT, prompt="A hat", image_urls=[links[0]])
    again = await app.call(EDIT, {"prompt": "A hat", "image_urls": [links[1]]})
    assert (again.is_error, len(services.created)) == ((True, 1) if is_same else (False, 2))
    assert services.created[-1][1]["input"]["image_urls"] == [links[0] if is_same else links[1]]


@pytest.mark.parametrize(
    "changes",
    [
        {"callBackUrl": "https://hooks.example/2"},
        {"callBackUrl": None},
        {"model": "google/nano-banana"},
        {"prompt": " A fox "},
        {"idempotency_key": "another"},
    ],
    ids=str,
)
async def test_request_is_the_same_whoever_is_called_back_and_with_defaults_named(
    changes: dict[str, Any], services: Services, open_app: OpenApp
) -> None:
    app = await open_app()
    asked = {"prompt": "A fox", "callBackUrl": "https://hooks.example/1"}
    await lose(app, services, TOOLS["kie"], **asked)
    again = await app.call(TOOLS["kie"], {**asked, **changes})
    assert "It was not sent again" in again.text
    assert len(services.created) == 1


async def test_request_for_a_converted_picture_is_another_one(open_app: OpenApp) -> None:
    tool = (await open_app()).engine.plugins.tools[TOOLS["kie"]]
    asked = [Submission("fox", {}, "fox", convert_to=wanted) for wanted in (None, "png", "jpeg")]
    assert len({hash_of(tool, "kie", request, "account") for request in asked}) == 3


@pytest.mark.parametrize("other", [{"key": "another-key"}, {"service": "sandbox"}, {"upload_url": "sandbox"}], ids=str)
async def test_upload_of_one_account_or_address_is_not_used_by_another(
    other: dict[str, str], services: Services, open_app: OpenApp, photo: Path
) -> None:
    if "upload_url" in other:
        other = {"upload_url": services.url("sandbox")}
    ours, theirs = await open_app(), await open_app(**other)
    for app, expected in ((ours, 1), (ours, 1), (theirs, 2), (theirs, 2)):
        await call(app, "upload_file", path=str(photo))
        assert len(services.uploads) == expected


@pytest.mark.parametrize("settings", [{}, {"store_prompts": False}], ids=["stored", "not stored"])
@pytest.mark.parametrize("has_file", [False, True])
async def test_open_request_from_before_accounts_still_stands_in_the_way(
    has_file: bool, settings: dict[str, Any], services: Services, open_app: OpenApp, photo: Path, tmp_path: Path
) -> None:
    app = await open_app(**settings)
    services.ids["kie"] = ["job_1"]
    tool, asked = (EDIT, {"image_urls": [str(photo)]}) if has_file else (TOOLS["kie"], {})
    await lose(app, services, tool, prompt="A fox", **asked)
    # As the version before wrote it: with the address of the upload in the hash, and of an account that is not known.
    ((_, body),) = services.created
    bound = app.engine.plugins.tools[tool]
    earlier = hash_of(bound, "kie", Submission(MARKET_CREATE, body, "x"))
    execute(tmp_path / "tasks.db", "UPDATE submissions SET account = '', body_hash = ?", earlier)
    execute(tmp_path / "tasks.db", "UPDATE uploads SET account = ''")

    again = await app.call(tool, {"prompt": "A fox", **asked})

    # Where the prompt is not stored, a request with another upload can't be told from any other.
    can_be_known = not (has_file and settings)
    assert (again.is_error, len(services.created)) == ((True, 1) if can_be_known else (False, 2))
    if can_be_known:
        assert (await call(app, tool, prompt="An owl", **asked))["task_id"] == "job_1"
