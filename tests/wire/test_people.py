"""Several people at one server over HTTP: what each sees, spends and settles is theirs alone."""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from kie_ai_mcp._web.sites import LOOK_S
from kie_ai_mcp_sandbox.server import Sandbox
from tests.databases import Postgres
from tests.helpers import LIMIT_S, until
from tests.hosts.talk import Posts
from tests.wire.conftest import RunIn, SiteIn
from tests.wire.processes import STATELESS, Message, Site

PROMPT = "Adas secret fox"
NOBODYS = "0f" * 16  # an id that no task has
MODEL = "grok-imagine/upscale"  # takes the id of a task


@dataclass
class People:
    """A server with users: `ada`, `bob`, and `root`, who is an administrator."""

    site: Site
    sandbox: Sandbox
    folder: Path
    run: RunIn
    tokens: dict[str, str]
    clients: ExitStack

    def command(self, *words: str) -> Any:
        """Run a command of users on the server's record, and return what it prints as JSON."""
        done = self.run(self.folder, "users", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def add(self, name: str, *options: str) -> Site:
        """Add a user, and return the site as they see it."""
        self.tokens[name] = self.command("add", name, *options)["token"]
        return self.seen_by(name)

    def seen_by(self, name: str) -> Site:
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        client = httpx.Client(base_url=self.site.url, timeout=LIMIT_S, trust_env=False, headers=headers)
        self.clients.enter_context(client)
        return Site(self.site.child, self.site.url, client)


@pytest.fixture(scope="module")
def people(site_in: SiteIn, run_in: RunIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    folder = tmp_path_factory.mktemp("people")
    settings = {"KIE_AI_OUTPUT_DIR": str(folder / "out"), "KIE_AI_RATE_LIMIT": "1000"}
    settings["KIE_AI_ENABLED_PROVIDERS"] = "nano-banana,veo3,market"
    with Sandbox(speed=10_000) as sandbox, site_in(folder, sandbox=sandbox, **settings) as site, ExitStack() as clients:
        made = People(site, sandbox, folder, run_in, {}, clients)
        made.add("ada")
        made.add("bob")
        made.add("root", "--admin")
        yield made


@pytest.fixture(scope="module")
def adas(people: People) -> Mapping[str, Any]:
    """What Ada has: a picture and a clip that are saved, and a request whose outcome is unknown."""
    ada = people.seen_by("ada")
    image = ada.tool("generate_nano_banana", prompt=PROMPT)["structuredContent"]["task_id"]
    video = ada.tool("generate_veo3_video", prompt=PROMPT)["structuredContent"]["task_id"]
    done = ada.tool("wait_for_tasks", task_ids=[image, video], timeout_s=30)["structuredContent"]["tasks"]
    assert [task["status"] for task in done] == ["completed", "completed"]
    people.sandbox.play("drop-after")
    lost = ada.tool("generate_nano_banana", prompt=f"{PROMPT} lost")["structuredContent"]
    assert lost["status"] == "unknown"
    (unresolved,) = ada.tool("list_tasks")["structuredContent"]["unresolved"]
    files = [file for task in done for file in task["files"]]
    return {"image": image, "video": video, "files": files, "lost": unresolved["submission_id"]}


def said(answer: Any, *names: str) -> str:
    """Return an answer as a text that names of tasks don't tell apart."""
    text = json.dumps(answer)
    for name in names:
        text = text.replace(name, "ID")
    return re.sub(r"\d{4}-\d\d-\d\dT[^\"]*", "TIME", text)


def fits(schema: Message, name: str) -> bool:
    return name in schema.get("properties", {})


def test_no_tool_tells_a_stranger_more_of_a_task_than_of_none(people: People, adas: Mapping[str, Any]) -> None:
    bob, tried = people.seen_by("bob"), []
    tools = Posts(bob, STATELESS).answer("tools/list", {})["result"]["tools"]
    before = len(people.sandbox.ledger)
    for tool in tools:
        name, schema = tool["name"], tool["inputSchema"]
        required = {key: _sample(key, schema) for key in schema.get("required", ())}
        for key in ("task_id", "task_ids"):
            if not fits(schema, key):
                continue
            for task in (adas["image"], adas["video"]):
                one, other = ({**required, key: [each] if key == "task_ids" else each} for each in (task, NOBODYS))
                if name == "resolve_submission":
                    one, other = ({**each, "action": "adopt", "submission_id": adas["lost"]} for each in (one, other))
                ours, nobodys = bob.tool(name, **one), bob.tool(name, **other)
                assert said(ours, task) == said(nobodys, NOBODYS), name
                assert PROMPT not in said(ours)
                tried.append(name)
    assert {"get_task_status", "wait_for_tasks", "save_result", "show_result", "resolve_submission"} <= {*tried}
    assert {"extend_veo3_video", "get_veo3_1080p_video"} <= {*tried}
    assert len(people.sandbox.ledger) == before


def test_file_of_another_is_no_picture_to_work_on(people: People, adas: Mapping[str, Any]) -> None:
    bob = people.seen_by("bob")
    for form in ("{}", "kie://files/{}/1", "kie://tasks/{}"):
        ours, none = (
            bob.tool("edit_nano_banana", prompt="Take it", image_urls=[form.format(each)])
            for each in (adas["image"], NOBODYS)
        )
        assert said(ours, adas["image"]) == said(none, NOBODYS)
        assert ours["isError"]


def test_model_takes_no_task_of_another(people: People, adas: Mapping[str, Any]) -> None:
    bob, before = people.seen_by("bob"), len(people.sandbox.ledger)
    for field in ("taskId", "task_id"):
        ours, none = (
            bob.tool("run_model", model="grok-imagine/upscale", input={field: each})
            for each in (adas["video"], NOBODYS)
        )
        assert said(ours, adas["video"]) == said(none, NOBODYS)
        assert ours["isError"]
    assert len(people.sandbox.ledger) == before


def _sample(key: str, schema: Message) -> Any:
    kind = schema["properties"][key]
    return {"array": [], "integer": 1, "number": 1}.get(kind.get("type"), kind.get("enum", ["A hare"])[0])


def test_request_of_another_cannot_be_settled(people: People, adas: Mapping[str, Any]) -> None:
    bob, ada = people.seen_by("bob"), people.seen_by("ada")
    for action in ("discard", "adopt"):
        more = {"task_id": NOBODYS} if action == "adopt" else {}
        ours = bob.tool("resolve_submission", submission_id=adas["lost"], action=action, **more)
        none = bob.tool("resolve_submission", submission_id=999_999, action=action, **more)
        assert said(ours, f"{adas['lost']}") == said(none, "999999")
    listed = ada.tool("list_tasks")["structuredContent"]["unresolved"]
    assert [entry["submission_id"] for entry in listed] == [adas["lost"]]


def test_lists_show_each_user_their_own(people: People, adas: Mapping[str, Any]) -> None:
    people.add("gina")
    lists = {name: people.seen_by(name).tool("list_tasks", words="fox")["structuredContent"] for name in people.tokens}
    assert {task["task_id"] for task in lists["ada"]["tasks"]} == {adas["image"], adas["video"]}
    assert (lists["gina"]["tasks"], lists["gina"].get("unresolved")) == ([], None)
    assert lists["gina"]["credits_24h"] == lists["root"]["credits_24h"] == 0 < lists["ada"]["credits_24h"]
    assert lists["root"]["credits_24h_by_user"]["ada"] == lists["ada"]["credits_24h"]
    assert "gina" not in lists["root"]["credits_24h_by_user"]
    assert "credits_24h_by_user" not in lists["gina"]
    assert {task["user"] for task in lists["root"]["tasks"]} == {"ada"}
    assert all("user" not in task for task in lists["ada"]["tasks"])


@pytest.mark.parametrize("revision", ["2025-11-25", STATELESS])
def test_no_resource_prompt_or_completion_tells_of_another(
    people: People, adas: Mapping[str, Any], revision: str
) -> None:
    talk = Posts(people.seen_by("bob"), revision)
    for task in (adas["image"], adas["video"]):
        for form in ("kie://tasks/{}", "kie://files/{}/1"):
            ours, none = (talk.answer("resources/read", {"uri": form.format(each)}) for each in (task, NOBODYS))
            assert said(ours["error"], task) == said(none["error"], NOBODYS)
        if revision == STATELESS:
            ours, none = (talk.answer("tasks/get", {"taskId": each}) for each in (task, NOBODYS))
            assert said(ours["error"], task) == said(none["error"], NOBODYS)
    begin = {"argument": {"name": "id", "value": adas["image"][:4]}}
    completed = talk.answer(
        "completion/complete", {"ref": {"type": "ref/resource", "uri": "kie://tasks/{id}"}, **begin}
    )
    assert completed["result"]["completion"]["values"] == []
    listed = json.dumps([talk.answer(f"{what}/list", {}) for what in ("resources", "prompts", "resources/templates")])
    read = json.dumps(talk.answer("resources/read", {"uri": "kie://tasks"}))
    for secret in (PROMPT, adas["image"], adas["video"], *map(str, adas["files"])):
        assert secret not in listed + read


def test_change_of_a_task_is_told_to_its_user_alone(people: People, adas: Mapping[str, Any]) -> None:
    ada, bob = (Posts(people.seen_by(name), "2025-11-25") for name in ("ada", "bob"))
    uri = f"kie://tasks/{adas['image']}"
    assert "result" in ada.answer("resources/subscribe", {"uri": uri})
    none = bob.answer("resources/subscribe", {"uri": f"kie://tasks/{NOBODYS}"})["error"]
    assert said(bob.answer("resources/subscribe", {"uri": uri})["error"], adas["image"]) == said(none, NOBODYS)


def test_administrator_waits_for_and_saves_what_is_anothers_where_it_belongs(people: People) -> None:
    bob, root = people.seen_by("bob"), people.seen_by("root")
    task = bob.tool("generate_nano_banana", prompt="Bobs hare")["structuredContent"]["task_id"]
    done = root.tool("wait_for_tasks", task_ids=[task], timeout_s=20)["structuredContent"]["tasks"][0]
    assert done["status"] == "completed"
    assert [*(people.folder / "out" / "bob").glob(f"*{task}*.png")]
    assert bob.client.get(done["files"][0]).status_code == 200


def test_gallery_shows_each_user_their_own(people: People, adas: Mapping[str, Any]) -> None:
    pages = {name: people.seen_by(name).client.get("/gallery").text for name in people.tokens}
    entries = {name: people.seen_by(name).client.get("/gallery/entries.json").text for name in people.tokens}
    for shown in (pages, entries):
        assert adas["image"] in shown["ada"]
        assert adas["image"] in shown["root"]
        assert adas["image"] not in shown["bob"]
        assert PROMPT not in shown["bob"]
    results = [part for entry in json.loads(entries["ada"])["entries"] for part in entry.get("results", ())]
    address = next(part["address"] for part in results if "address" in part)
    file = f"/gallery/{'/'.join(address.split('/')[-4:])}"
    assert people.seen_by("ada").client.get(file).status_code == 200
    assert people.seen_by("bob").client.get(file).status_code == 404


def test_link_to_a_file_leads_to_that_one_alone(people: People, adas: Mapping[str, Any]) -> None:
    (image, video) = adas["files"]
    assert [people.site.client.get(link).status_code for link in (image, video)] == [200, 200]
    proof, other = (link.split("/files/")[1].split("/")[0] for link in (image, video))
    for forged in (video.replace(other, proof), image.replace("/1/", "/2/"), image.replace(adas["image"], NOBODYS)):
        assert people.site.client.get(forged).status_code == 404, forged


def test_session_of_another_is_unknown(people: People) -> None:
    ada, bob = Posts(people.seen_by("ada"), "2025-11-25"), Posts(people.seen_by("bob"), "2025-11-25")
    bob.session = ada.session
    answer = bob.post({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}})
    assert answer.status_code == 404


def test_nobody_gets_in_without_a_token_of_theirs(people: People) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer kie-wrong"},
        {"Authorization": f"Bearer {people.tokens['ada'][:-1]}"},
    ):
        for path in ("/gallery", "/gallery/entries.json", "/mcp", "/tools/call"):
            answer = people.site.client.get(path, headers=headers)
            assert answer.status_code == 401, path
    assert people.site.client.get("/healthz").status_code == 200


def test_files_of_each_user_have_a_folder_of_their_own(people: People, adas: Mapping[str, Any]) -> None:
    saved = [file.relative_to(people.folder / "out") for file in (people.folder / "out").rglob("*.mp4")]
    assert {file.parts[0] for file in saved} == {"ada"}


def test_same_words_and_key_of_two_users_are_two_requests(people: People) -> None:
    made = [
        people.seen_by(name).tool("generate_nano_banana", prompt="A shared thought", idempotency_key="k")
        for name in ("ada", "bob", "ada")
    ]
    first, second, third = (each["structuredContent"]["task_id"] for each in made)
    assert first == third != second


def test_limits_of_a_user_hold_for_that_one_alone(people: People) -> None:
    cara = people.add("cara", "--submissions-per-hour", "1")
    assert not cara.tool("generate_nano_banana", prompt="Caras one")["isError"]
    refused = cara.tool("generate_nano_banana", prompt="Caras two")["structuredContent"]
    assert (refused["status"], refused["charged"]) == ("refused", "no")
    assert "administrator" in refused["next_step"]
    assert not people.seen_by("bob").tool("generate_nano_banana", prompt="Bobs one")["isError"]
    people.command("change", "cara", "--submissions-per-hour", "2")
    until(lambda: not cara.tool("generate_nano_banana", prompt="Caras two")["isError"])


def test_user_with_their_own_key_spends_nothing_of_the_servers(people: People, adas: Mapping[str, Any]) -> None:
    dora = people.add("dora", "--own-key")
    ours = dora.tool("get_task_status", task_id=adas["image"])
    assert ours["structuredContent"]["status"] == "not found"
    assert PROMPT not in said(ours)
    refused = dora.tool("generate_nano_banana", prompt="Doras one")["structuredContent"]
    assert refused["charged"] == "no"
    assert "KIE_AI_USER_KEYS" in refused["next_step"]


def ends_within_seconds(client: httpx.Client) -> None:
    until(lambda: client.get("/gallery").status_code == 401)


def test_removed_user_is_let_in_no_more_and_their_task_goes_on(people: People) -> None:
    emil = people.add("emil")
    task = emil.tool("generate_nano_banana", prompt="Emils one")["structuredContent"]["task_id"]
    people.command("remove", "emil")
    ends_within_seconds(emil.client)
    root = people.seen_by("root")
    seen = root.tool("wait_for_tasks", task_ids=[task], timeout_s=20)["structuredContent"]["tasks"]
    assert seen[0]["status"] == "completed"
    assert [*(people.folder / "out" / "emil").glob(f"*{task}*.png")]


def listens(site: Site) -> "subprocess.Popen[bytes]":
    """Return a process that holds a stream of changes open, once that has begun; it ends with the stream."""
    about = {"protocolVersion": STATELESS, "clientInfo": {"name": "by hand", "version": "1"}, "clientCapabilities": {}}
    params: Message = {"notifications": {"resourcesListChanged": True}}
    params |= {"_meta": {f"io.modelcontextprotocol/{key}": value for key, value in about.items()}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params})
    headers: dict[str, str] = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    headers |= {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "subscriptions/listen"}
    headers |= {"Authorization": site.client.headers.get("Authorization", "")}
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    listener = subprocess.Popen(["curl", "-sN", *options, "-d", body, f"{site.url}/mcp"], stdout=subprocess.PIPE)
    assert listener.stdout is not None
    assert any(b"acknowledged" in line for line in listener.stdout)
    return listener


@pytest.mark.parametrize("change", [("remove",), ("rotate",), ("change", "--no-admin")])
def test_stream_ends_with_the_right_to_it(people: People, change: tuple[str, ...]) -> None:
    name = f"hank-{change[0]}"
    with listens(people.add(name, "--admin")) as listener:
        people.command(change[0], name, *change[1:])
        assert listener.wait(LIMIT_S) == 0


def test_what_was_open_to_everybody_ends_with_the_first_user(site_in: SiteIn, run_in: RunIn, tmp_path: Path) -> None:
    with Sandbox() as sandbox, site_in(tmp_path, sandbox=sandbox) as site, listens(site) as listener:
        assert run_in(tmp_path, "users", "add", "ada").returncode == 0
        assert listener.wait(LIMIT_S) == 0
        until(lambda: site.client.get("/gallery").status_code == 401)


def test_token_that_was_replaced_does_not_end_the_session_of_the_new_one(people: People) -> None:
    before = people.add("ivy")
    assert before.client.get("/gallery").status_code == 200
    people.tokens["ivy"] = people.command("rotate", "ivy")["token"]
    after = Posts(people.seen_by("ivy"), "2025-11-25")
    assert before.client.get("/gallery").status_code == 401
    assert "result" in after.answer("tools/list", {})


def test_new_token_takes_the_place_of_the_one_before(people: People) -> None:
    before = people.add("fred")
    assert before.client.get("/gallery").status_code == 200
    people.tokens["fred"] = people.command("rotate", "fred")["token"]
    ends_within_seconds(before.client)
    assert people.seen_by("fred").client.get("/gallery").status_code == 200


def test_users_are_the_same_at_every_server_of_a_database(
    site_in: SiteIn, run_in: RunIn, postgres: Postgres, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    settings: Any = {"KIE_AI_DATABASE_URL": postgres.empty(), "KIE_AI_OUTPUT_DIR": str(tmp_path / "out")}
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox(speed=10_000))
        for folder in folders:
            folder.mkdir()
        added = run_in(folders[0], "users", "add", "ada", "--json", **settings)
        sites = [stack.enter_context(site_in(folder, sandbox=sandbox, **settings)) for folder in folders]
        headers = {"Authorization": f"Bearer {json.loads(added.stdout)['token']}"}
        clients = [
            stack.enter_context(httpx.Client(base_url=site.url, headers=headers, timeout=LIMIT_S, trust_env=False))
            for site in sites
        ]
        first, second = (Site(site.child, site.url, client) for site, client in zip(sites, clients, strict=True))
        task = first.tool("generate_nano_banana", prompt="A fox")["structuredContent"]["task_id"]
        done = second.tool("wait_for_tasks", task_ids=[task], timeout_s=20)["structuredContent"]["tasks"][0]
        assert done["status"] == "completed"
        assert clients[1].get(done["files"][0]).status_code == 200
        run_in(folders[1], "users", "remove", "ada", **settings)
        for client in clients:
            ends_within_seconds(client)


def test_download_by_a_link_outlasts_the_looks_at_users(people: People) -> None:
    ada = people.seen_by("ada")
    made = ada.tool("generate_nano_banana", prompt="A fox as large as a house")["structuredContent"]["task_id"]
    (task,) = ada.tool("wait_for_tasks", task_ids=[made], timeout_s=30)["structuredContent"]["tasks"]
    (link,) = task["files"]
    (saved,) = (people.folder / "out").rglob("*a-fox-as-large*.png")
    with saved.open("ab") as file:
        file.write(bytes(50_000_000))  # more than what lies between the two
    with httpx.stream("GET", link, timeout=LIMIT_S, trust_env=False) as answer:
        pieces = answer.iter_raw(100_000)
        taken = len(next(pieces))
        time.sleep(2 * LOOK_S)
        taken += sum(map(len, pieces))
    assert taken == saved.stat().st_size
