"""Users on other machines: links in place of paths, no path of the server's disk, no file read by its path."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.wire.conftest import SiteIn
    from tests.wire.processes import Site

TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MISSING = b'{"error":"There is no such file; ask for the task once more, or reload the gallery."}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def site(site_in: "SiteIn", folder: Path) -> Iterator["Site"]:
    """A server that other machines may reach; its own files may be sent by whoever sits before it."""
    settings = {"KIE_AI_HTTP_TOKEN": TOKEN, "KIE_AI_UPLOAD_ROOTS": str(folder)}
    with Sandbox(speed=10_000) as sandbox, site_in(folder, "--host", "0.0.0.0", sandbox=sandbox, **settings) as site:
        site.client.headers.update(BEARER)
        yield site


def make(site: "Site", prompt: str, **options: Any) -> dict[str, Any]:
    """Make a picture and return its task once it is saved."""
    made = site.tool("generate_nano_banana", prompt=prompt, **options)["structuredContent"]
    (task,) = site.tool("wait_for_tasks", task_ids=[made["task_id"]])["structuredContent"]["tasks"]
    return dict(task)


@pytest.fixture(scope="module")
def task(site: "Site") -> dict[str, Any]:
    """A finished task with one saved picture."""
    return make(site, "A fox far away", subfolder="foxes/red")


@pytest.fixture(scope="module")
def link(task: dict[str, Any]) -> str:
    """The link to the picture."""
    (link,) = task["files"]
    return str(link)


def saved(folder: Path, link: str) -> Path:
    (path,) = (folder / "out").rglob(link.rpartition("/")[2])
    return path


# Links ---------------------------------------------------------------------------------------------------------------


def test_link_opens_the_picture_without_a_token(folder: Path, link: str) -> None:
    answer = httpx.get(link, trust_env=False)
    assert answer.content == saved(folder, link).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private"
    assert answer.headers["content-disposition"].startswith('inline; filename="')
    assert httpx.head(link, trust_env=False).headers["content-length"] == str(len(answer.content))
    part = httpx.get(link, headers={"Range": "bytes=4-9"}, trust_env=False)
    assert (part.status_code, part.content) == (206, answer.content[4:10])


def test_every_wrong_link_is_answered_the_same(site: "Site", task: dict[str, Any], link: str) -> None:
    other = make(site, "Another fox far away")
    start, mac, task_id, number, name = link.rsplit("/", 4)
    wrong = [
        f"{start}/{'0' * 32}/{task_id}/{number}/{name}",
        f"{start}/{mac[:-1]}/{task_id}/{number}/{name}",
        f"{start}/{mac}%C3%A9/{task_id}/{number}/{name}",
        f"{start}/{mac}/{other['task_id']}/{number}/{name}",
        f"{start}/{mac}/nobody/{number}/{name}",
        f"{start}/{mac}/{task_id}/2/{name}",
        f"{start}/{mac}/{task_id}/0/{name}",
        f"{start}/{mac}/..%2F..%2Ftasks.db/1/{name}",
    ]
    answers = [httpx.get(address, trust_env=False) for address in wrong]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, MISSING)}
    assert httpx.get(f"{start}/{mac}/{task_id}/{number}/..%2F..%2Ftasks.db", trust_env=False).status_code == 404
    assert task["task_id"] == task_id


def test_right_proof_of_what_is_not_on_record_opens_nothing(site: "Site", folder: Path, task: dict[str, Any]) -> None:
    settings = {"api_key": "key-of-the-tests", "http_token": TOKEN, "output_dir": folder / "out"}
    links = Links.of(Settings.model_validate(settings), site.url, folder)
    for user, task_id, number in (("", "nobody", 1), ("", task["task_id"], 2), ("ann", task["task_id"], 1)):
        answer = httpx.get(f"{site.url}/files{links.path(user, task_id, number, 'x.png')}", trust_env=False)
        assert (answer.status_code, answer.content) == (404, MISSING)
    right = httpx.get(f"{site.url}/files{links.path('', task['task_id'], 1, 'x.png')}", trust_env=False)
    assert right.status_code == 200


def test_text_is_shown_where_nothing_of_it_can_run(site: "Site", folder: Path) -> None:
    task = make(site, "A fox with another content")
    (link,) = task["files"]
    saved(folder, link).write_text("<script>alert(1)</script>")
    answer = httpx.get(link, trust_env=False)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    saved(folder, link).unlink()
    assert httpx.get(link, trust_env=False).content == MISSING


def test_link_of_one_replica_is_opened_by_another(site_in: "SiteIn", tmp_path: Path) -> None:
    settings = {"KIE_AI_HTTP_TOKEN": TOKEN, "KIE_AI_PUBLIC_URL": "https://kie.example/team"}
    with (
        Sandbox(speed=10_000) as sandbox,
        site_in(tmp_path, sandbox=sandbox, **settings) as first,
        site_in(tmp_path, sandbox=sandbox, **settings) as second,
    ):
        for site in (first, second):
            site.client.headers.update(BEARER)
        (link,) = make(first, "A fox by two servers")["files"]
        assert link.startswith("https://kie.example/team/files/")
        # The proxy takes its prefix off.
        own = urlsplit(link).path.removeprefix("/team")
        page = second.client.get("/gallery").text
        shown = re.findall(r'"\.(/gallery/[^"]+\.png)"', page)
        contents = {site.client.get(path).content for site in (first, second) for path in (own, *shown)}
        assert (len(shown), contents) == (1, {saved(tmp_path, link).read_bytes()})


def test_results_are_found_after_the_whole_folder_has_moved_and_what_is_gone_is_said(
    site_in: "SiteIn", tmp_path: Path
) -> None:
    settings = {"KIE_AI_HTTP_TOKEN": TOKEN, "KIE_AI_PUBLIC_URL": "https://kie.example"}
    with Sandbox(speed=10_000) as sandbox:
        with site_in(tmp_path, sandbox=sandbox, **settings) as site:
            site.client.headers.update(BEARER)
            task = make(site, "A fox that moves", subfolder="foxes/red")
        (link,) = task["files"]
        content = saved(tmp_path, link).read_bytes()
        (tmp_path / "out").rename(tmp_path / "elsewhere")
        settings["KIE_AI_OUTPUT_DIR"] = str(tmp_path / "elsewhere")
        with site_in(tmp_path, sandbox=sandbox, **settings) as site:
            site.client.headers.update(BEARER)
            assert site.client.get(urlsplit(link).path).content == content
            told = site.tool("get_task_status", task_id=task["task_id"])["structuredContent"]
            assert (told["files"], "not there" in str(told)) == ([link], False)
            sandbox.play("http:404@recordInfo")
            (kept,) = (tmp_path / "elsewhere").rglob("*.png")
            kept.unlink()
            said = site.tool("get_task_status", task_id=task["task_id"])["structuredContent"]
            assert "The saved file of result 1 is not there any more" in str(said["notes"])
            assert site.client.get(urlsplit(link).path).content == MISSING


def test_server_that_listens_everywhere_without_a_name_says_what_its_links_are_worth(
    site_in: "SiteIn", tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"KIE_AI_HTTP_TOKEN": TOKEN}
    for name in "", "box.local":
        with site_in(tmp_path, "--host", "0.0.0.0", **settings, KIE_AI_ALLOWED_HOSTS=name) as site:
            assert site.client.get("/healthz").status_code == 200
        assert ("links begin with http://127.0.0.1:" in site.child.errors) is not bool(name)


# No path -------------------------------------------------------------------------------------------------------------


def everything(site: "Site", task_id: str, *only: str) -> list[str]:
    """Return all that a user gets to read of tools, or of some of them alone, and of pages."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list_tasks", {}),
        ("get_task_status", {"task_id": task_id}),
        ("wait_for_tasks", {"task_ids": [task_id]}),
        ("show_result", {"task_id": task_id}),
        ("save_result", {"task_id": task_id}),
        ("save_result", {"task_id": task_id, "folder": "copies"}),
        ("save_result", {"task_id": task_id, "folder": "../above"}),
        ("save_result", {"task_id": task_id, "folder": "~/home"}),
        ("save_result", {"task_id": task_id, "folder": "/srv"}),
        ("upload_file", {"path": "~/fox.png"}),
        ("upload_file", {"path": "/srv/fox.png"}),
        ("edit_nano_banana", {"prompt": "A fox", "image_urls": ["fox.png", "/srv/fox.png"]}),
        ("generate_nano_banana", {"prompt": "A fox", "subfolder": "../above"}),
        ("generate_nano_banana", {"prompt": "A fox far away", "idempotency_key": "paths"}),
        ("get_credits", {}),
        ("find_models", {"words": "fox"}),
        ("resolve_submission", {"submission_id": 999, "action": "discard"}),
    ]
    bodies = [{"name": name, "arguments": given} for name, given in calls if name in only or not only]
    texts = [site.client.post("/tools/call", json=body).text for body in bodies]
    pages = ("/gallery", "/gallery/", "/gallery/entries.json", "/nowhere")
    return [*texts, *(site.client.get(path).text for path in pages)]


def protocol(site: "Site", task_id: str) -> list[str]:
    """Return what a client reads besides: resources, prompts, completions, lists."""
    accept = {"Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2025-11-25"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
    begun = site.client.post("/mcp", json=_message("initialize", **hello), headers=accept)
    # There is none where users can't be told apart, because their record is lost.
    headers = {**accept, "Mcp-Session-Id": begun.headers.get("mcp-session-id", "none")}
    uris = ["kie://tasks", "kie://providers", f"kie://tasks/{task_id}", "ui://kie/gallery", "kie://tasks/none"]
    reads = [("resources/read", {"uri": uri}) for uri in uris]
    lists: list[tuple[str, dict[str, Any]]] = [
        (f"{what}/list", {}) for what in ("resources", "resources/templates", "prompts", "tools")
    ]
    typed = {"ref": {"type": "ref/resource", "uri": "kie://tasks/{id}"}, "argument": {"name": "id", "value": ""}}
    asked = [*reads, *lists, ("completion/complete", typed)]
    answers = [site.client.post("/mcp", json=_message(method, **given), headers=headers) for method, given in asked]
    return [answer.text for answer in (begun, *answers)]


def _message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def test_nothing_that_users_read_names_a_path(site: "Site", folder: Path) -> None:
    task = make(site, "A fox without a path")
    texts = [*everything(site, task["task_id"]), *protocol(site, task["task_id"])]
    assert sum(f"{site.url}/files/" in text for text in texts) >= 8
    assert [text for text in texts if str(folder) in text] == []


def test_failure_of_the_disk_is_told_without_a_path(site_in: "SiteIn", tmp_path: Path) -> None:
    with (
        Sandbox(speed=10_000) as sandbox,
        site_in(tmp_path, "--host", "0.0.0.0", sandbox=sandbox, KIE_AI_HTTP_TOKEN=TOKEN) as site,
    ):
        site.client.headers.update(BEARER)
        task = make(site, "A fox on a lost drive")
        (tmp_path / "out").rename(tmp_path / "elsewhere")
        (tmp_path / "out").write_text("no folder")
        texts = everything(site, task["task_id"])
        assert any("The folder [output_dir] can't be written" in text for text in texts)
        (tmp_path / "tasks.db").write_bytes(b"no database" * 1000)
        for name in ("tasks.db-wal", "tasks.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        tools = ("list_tasks", "show_result", "generate_nano_banana", "save_result")
        lost = [*everything(site, task["task_id"], *tools), *protocol(site, task["task_id"])]
        assert any("[database]" in text for text in lost)
        assert httpx.get(task["files"][0], trust_env=False).status_code in {404, 503}
        assert [text for text in (*texts, *lost) if str(tmp_path) in text] == []


# Inputs and folders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["fox.png", "~/fox.png", "/home/ann/a fox's.png", "C:\\foxes\\fox.png"])
def test_path_is_refused_with_the_line_that_uploads_it(site: "Site", path: str) -> None:
    for call in (site.tool("upload_file", path=path), site.tool("edit_nano_banana", prompt="A fox", image_urls=[path])):
        error = call["structuredContent"]["error"]
        assert call["isError"]
        assert 'curl -H "Authorization: Bearer $TOKEN" --data-binary ' in error
        assert f"{site.url}/uploads?name=" in error
        assert TOKEN not in json.dumps(call)


def test_file_of_the_server_is_never_read_by_its_path(site: "Site", folder: Path, link: str) -> None:
    for path in (folder / "tasks.db", saved(folder, link)):
        assert site.tool("upload_file", path=str(path))["isError"]
        assert site.tool("edit_nano_banana", prompt="A fox", image_urls=[str(path)])["isError"]


def test_result_is_an_input_by_its_id(site: "Site", task: dict[str, Any]) -> None:
    made = site.tool("edit_nano_banana", prompt="A fox of a fox", image_urls=[task["task_id"]])
    assert not made["isError"]


@pytest.mark.parametrize("where", ["/", "..", "FOLDER", "FOLDER/out/../above"])
def test_results_are_saved_nowhere_else_than_below_the_folder(
    site: "Site", folder: Path, task: dict[str, Any], where: str
) -> None:
    answer = site.tool("save_result", task_id=task["task_id"], folder=where.replace("FOLDER", str(folder)))
    assert answer["isError"]
    assert "inside of your results" in answer["structuredContent"]["error"]
    assert not (folder / "above").exists()


def test_copy_of_a_result_is_named_by_its_link(site: "Site", folder: Path) -> None:
    task = make(site, "A fox in two folders")
    answer = site.tool("save_result", task_id=task["task_id"], folder="copies/foxes")
    (link,) = answer["structuredContent"]["files"]
    assert httpx.get(link, trust_env=False).status_code == 200
    assert [path.name for path in (folder / "out/copies/foxes").glob("*.png")] == [link.rpartition("/")[2]]


# A server of this machine alone --------------------------------------------------------------------------------------


def test_server_of_one_machine_names_paths_as_before(site_in: "SiteIn", tmp_path: Path) -> None:
    with Sandbox(speed=10_000) as sandbox, site_in(tmp_path, sandbox=sandbox) as site:
        (file,) = make(site, "A fox at home")["files"]
        assert Path(file).is_relative_to(tmp_path / "out")
