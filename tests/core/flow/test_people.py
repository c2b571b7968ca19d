"""Engines of users: with which key a task is read, and what is said to whom."""

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.tools import say_nothing
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.settle import resolve
from kie_ai_mcp._flow.submit import submit
from kie_ai_mcp._flow.watching import catch_up
from kie_ai_mcp._record.kept import Key
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp._record.submissions import NewSubmission, Ticket
from kie_ai_mcp._record.tables import Ending
from kie_ai_mcp._record.users import User
from kie_ai_mcp._settings.folders import folder_name
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import StorageError

pytestmark = pytest.mark.anyio

SERVERS, EDS = "key-of-the-server", "key-of-ed"


@dataclass
class Service:
    """A service that tells of a task only the account that has made it."""

    made_by: dict[str, str] = field(default_factory=dict)
    reads: Counter[str] = field(default_factory=Counter)

    def answer(self, request: Request) -> Response:
        key = request.headers["Authorization"].removeprefix("Bearer ")
        if request.method == "POST":
            task_id = f"{len(self.made_by):032x}"
            self.made_by[task_id] = key
            return self._said({"taskId": task_id})
        self.reads[key] += 1
        task_id = request.args["taskId"]
        if self.made_by[task_id] != key:
            return Response(json.dumps({"code": 422, "msg": "recordInfo is null"}), content_type="application/json")
        result = json.dumps({"resultUrls": ["https://x.example/a.png"]})
        return self._said({"taskId": task_id, "state": "success", "resultJson": result})

    def _said(self, data: object) -> Response:
        return Response(json.dumps({"code": 200, "msg": "success", "data": data}), content_type="application/json")


@pytest.fixture
def service(httpserver: HTTPServer) -> Service:
    made = Service()
    for path in ("/api/v1/jobs/createTask", "/api/v1/jobs/recordInfo"):
        httpserver.expect_request(path).respond_with_handler(made.answer)
    return made


@pytest.fixture
async def server(
    service: Service, httpserver: HTTPServer, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Engine]:
    """The engine of a server that has the key of Ed, and one of its own unless the test takes it away."""
    values = {"base_url": httpserver.url_for("/api/v1"), "db_path": tmp_path / "tasks.db", "user_keys": f"ed={EDS}"}
    values |= {"api_key": getattr(request, "param", SERVERS), "enabled_providers": ("nano-banana",)}
    app = App.open(Settings.model_validate(values))
    app.engine.tends_all = True
    async with app.engine.running():
        yield app.engine


def of(server: Engine, user: User) -> App:
    assert server.people is not None
    engine = server.people.engine_for(user)
    return App(engine.settings, engine)


async def bought(app: App, prompt: str) -> str:
    answer = await app.call("generate_nano_banana", {"prompt": prompt})
    assert answer.data is not None
    return str(answer.data["task_id"])


async def status(server: Engine, task_id: str) -> str:
    task = await server.record.tasks.find(task_id)
    assert task is not None
    return task.status


@pytest.mark.parametrize("server", [None, SERVERS], indirect=True)
async def test_task_is_watched_with_the_key_of_its_owner(server: Engine, service: Service) -> None:
    ed = User("ed", own_key=True)
    await server.record.users.add(ed)
    task_id = await bought(of(server, ed), "A fox")
    await catch_up(server)
    assert await status(server, task_id) == "completed"
    assert {*service.reads} == {EDS}


@pytest.mark.parametrize("pays_himself", [True, False])
async def test_task_is_read_in_the_account_it_was_made_in(server: Engine, service: Service, pays_himself: bool) -> None:
    ed = User("ed", own_key=pays_himself)
    await server.record.users.add(ed)
    task_id = await bought(of(server, ed), "A fox")
    ed = await server.record.users.change("ed", own_key=not pays_himself)
    later = await of(server, ed).call("get_task_status", {"task_id": task_id})
    assert later.data is not None
    assert later.data["status"] == "completed"
    assert {*service.reads} == {EDS if pays_himself else SERVERS}


async def test_user_with_a_key_of_their_own_waits_for_nobody_elses_turn(server: Engine, service: Service) -> None:
    assert server.people is not None
    ann, ed = (server.people.engine_for(User(name, own_key=name == "ed")) for name in ("ann", "ed"))
    ann.record.submissions.limit, ed.record.submissions.limit = RateLimit(1, 60.0), RateLimit(1, 0.3)
    tool = server.plugins.tools["generate_nano_banana"]
    await submit(ann, tool, {"prompt": "the one slot"}, say_nothing)
    await submit(ed, tool, {"prompt": "a slot of Ed's"}, say_nothing)
    async with anyio.create_task_group() as calls:
        calls.start_soon(submit, ann, tool, {"prompt": "a fox that waits"}, say_nothing)
        while not any(ann.turns.values()):  # noqa: ASYNC110  nothing tells of a turn
            await anyio.sleep(0.01)
        report = await submit(ed, tool, {"prompt": "a fox of Ed's"}, say_nothing, patience_s=10)
        calls.cancel_scope.cancel()
    assert service.made_by[str(report.task_id)] == EDS


async def test_user_without_the_key_they_pay_with_is_told_before_they_buy(server: Engine, service: Service) -> None:
    app = of(server, User("fay", own_key=True))
    for name, arguments in (
        ("estimate_cost", {"name": "generate_nano_banana", "arguments": {"prompt": "A fox"}}),
        ("generate_nano_banana", {"prompt": "A fox"}),
    ):
        answer = await app.call(name, arguments)
        assert "fay pays with a key of their own, and this server has none" in answer.text
    assert service.made_by == {}
    assert server.faults == []


async def test_notices_are_for_who_runs_the_server(server: Engine, service: Service) -> None:
    key = Key("notice", "kie", server.record.accounts["kie"], "a")
    await server.record.kept.notice([key], lambda names: f"Something happened to {names}.")
    server.life.has_notices = True
    for user, is_told in ((User("bob"), False), (User("root", is_admin=True), True)):
        answer = await of(server, user).call("list_tasks", {})
        assert ("Something happened" in answer.text) == is_told


def test_no_two_users_have_one_folder() -> None:
    names = ["ada", "Ada", "auth0|x", folder_name("auth0|x"), "a b", "con", "..", "é", "x" * 100, "x" * 99 + "y"]
    folders = [folder_name(name) for name in names]
    assert len({folder.lower() for folder in folders}) == len(names)
    assert folders[0] == "ada"
    assert all("/" not in folder and folder not in {".", "..", "con"} for folder in folders)


async def test_user_of_the_server_s_account_is_told_of_their_own_spending_alone(server: Engine) -> None:
    answer = await of(server, User("bob", credits_per_day=10.0)).call("get_credits", {})
    assert answer.data is not None
    assert (answer.data["credits"], answer.data["credits_24h"]) == (10.0, 0.0)
    assert "of 10" in answer.text


async def test_administrator_is_told_what_each_user_has_spent(server: Engine, httpserver: HTTPServer) -> None:
    balance = {"code": 200, "msg": "success", "data": 100}
    httpserver.expect_request("/api/v1/chat/credit").respond_with_json(balance)
    root, ada = (of(server, User(name, is_admin=name == "root")) for name in ("root", "ada"))
    assert "credits_24h_by_user" not in ((await root.call("get_credits", {})).data or {})  # nobody has spent any
    await bought(ada, "A fox")
    answer = await root.call("get_credits", {})
    assert answer.data is not None
    assert (answer.data["credits_24h"], answer.data["credits_24h_by_user"]) == (0.0, {"ada": 4.0})
    assert "estimates included: 0 credits (yours; of all: ada 4)" in answer.text
    own = await ada.call("get_credits", {})
    assert ("credits_24h_by_user" in (own.data or {}), "of all" in own.text) == (False, False)


async def test_credits_that_limits_leave_are_said_and_to_users_not_what_others_spend(
    server: Engine, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/api/v1/chat/credit").respond_with_json({"code": 200, "msg": "success", "data": 100})
    server.record.budget = replace(server.record.budget, credits_per_day=6.0)
    root, ada = (of(server, User(name, is_admin=name == "root")) for name in ("root", "ada"))
    await bought(ada, "A fox")
    steps = [((await app.call("get_credits", {})).data or {})["next_step"] for app in (root, ada)]
    assert steps[0] == "Generations can be started that cost at most 2 credits each: the limits leave no more."
    assert "as far as the server's limit, which all share, allows" in steps[1]


async def test_beginning_of_an_id_names_only_what_its_user_sees(server: Engine) -> None:
    ada, bob = (of(server, User(name)) for name in ("ada", "bob"))
    task_id = await bought(ada, "A fox")
    call = {"prompt": "A fox", "image_urls": [task_id[:12]]}
    for app, is_named in (ada, True), (bob, False):
        refused = await app.call("edit_nano_banana", call)
        assert (refused.is_error, task_id in refused.text) == (True, is_named)


async def test_limit_that_all_share_is_told_beside_the_credits_and_stands_in_the_log(
    server: Engine, httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    balance = {"code": 200, "msg": "success", "data": 100}
    httpserver.expect_request("/api/v1/chat/credit").respond_with_json(balance)
    caplog.set_level(logging.INFO, "kie_ai_mcp.requests")
    server.record.budget = replace(server.record.budget, submissions_per_hour=0)
    steps = dict[str, str]()
    for user in User("bob"), User("root", is_admin=True):
        app = of(server, user)
        answer = await app.call("get_credits", {})
        steps[user.name] = (answer.data or {})["next_step"]
        assert (await app.call("generate_nano_banana", {"prompt": "a fox"})).is_error
    assert steps["bob"].startswith("The hour's limit of this server is reached: wait, or ask an administrator")
    assert "raise KIE_AI_MAX_SUBMISSIONS_PER_HOUR" in steps["root"]
    lines = [line for line in caplog.messages if "LimitReached" in line]
    assert len(lines) == len(steps)
    assert all("reason=LimitReached limit=KIE_AI_MAX_SUBMISSIONS_PER_HOUR used=0 allowed=0 " in line for line in lines)


async def test_database_that_is_away_is_one_line_of_the_log_and_one_when_it_is_back(
    server: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    path = server.record.path
    server.record.close()
    away = path.rename(path.with_name("away"))
    path.mkdir()
    for _ in range(3):
        await catch_up(server)
    path.rmdir()
    away.rename(path)
    for _ in range(2):
        await catch_up(server)
    lines = [line.partition(":")[0] for line in caplog.messages if "looked after" in line]
    assert lines == ["running tasks can't be looked after", "running tasks are looked after again"]


async def test_user_of_the_server_s_account_leaves_settling_to_an_administrator(server: Engine) -> None:
    bob = of(server, User("bob"))
    new = NewSubmission("generate_nano_banana", "x", "x", "image", "kie", None, {}, "hash", user="bob")
    ticket = await bob.engine.record.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    await bob.engine.record.submissions.settled(ticket.submission_id, Ending("unknown", message="lost"))
    listed = await bob.call("list_tasks", {})
    asked = {"submission_id": ticket.submission_id, "action": "adopt", "task_id": "0" * 32}
    refused = await bob.call("resolve_submission", asked)
    assert all("Ask an administrator" in answer.text for answer in (listed, refused))
    theirs = await of(server, User("root", is_admin=True)).call("list_tasks", {})
    assert ("of the user bob, " in theirs.text, "of the user" in listed.text) == (True, False)
    assert [entry["user"] for entry in (theirs.data or {})["unresolved"]] == ["bob"]


@pytest.mark.parametrize("has_key", [True, False])
async def test_server_adopts_for_a_user_with_the_key_that_paid(server: Engine, service: Service, has_key: bool) -> None:
    name = "ed" if has_key else "fay"
    user = User(name, own_key=True)
    await server.record.users.add(user)
    theirs, task_id = of(server, user).engine.record, "0" * 32
    new = NewSubmission("generate_nano_banana", "nano-banana", "x", "image", "kie", None, {}, "hash", user=name)
    ticket = await theirs.submissions.write_ahead(new)
    assert isinstance(ticket, Ticket)
    await theirs.submissions.settled(ticket.submission_id, Ending("unknown", message="lost"))
    service.made_by[task_id] = EDS
    if not has_key:
        with pytest.raises(StorageError, match="was paid for with a key of fay") as refused:
            await resolve(server, ticket.submission_id, task_id)
        assert "KIE_AI_USER_KEYS" in refused.value.next_step
        assert [entry.state for entry in await theirs.submissions.unsettled()] == ["unknown"]
        return
    report = await resolve(server, ticket.submission_id, task_id)
    assert (report.status, {*service.reads}) == ("completed", {EDS})
    task = await theirs.tasks.find(task_id)
    assert task is not None
    assert task.user == name
