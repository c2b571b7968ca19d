"""Completions of addresses: tasks by id and by words, and the numbers of their results."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mcp import Client
from mcp_types import ResourceTemplateReference

from kie_ai_mcp import Outcome, Task
from kie_ai_mcp._app.app import App
from kie_ai_mcp._app.completions import Completion, of_address
from kie_ai_mcp._app.resources import FILE_TEMPLATE, TASK_TEMPLATE
from kie_ai_mcp._mcp.server import server_of
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import InvalidArgument

pytestmark = pytest.mark.anyio


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    app = App.open(Settings.model_validate({"db_path": tmp_path / "tasks.db", "enabled_providers": ("nano-banana",)}))
    with closing(app.engine.record):
        yield app


async def record(app: App, task_id: str, tool: str = "generate_nano_banana", gateway: str = "kie") -> None:
    await app.engine.record.tasks.adopt(Task(task_id, "x", "nano-banana", tool=tool, model="google/x", gateway=gateway))


async def ids(app: App, text: str, template: str = TASK_TEMPLATE) -> Completion:
    return await of_address(app, template, "id", text, {})


async def test_tasks_are_suggested_newest_first_with_the_prefix_of_their_service(app: App) -> None:
    for task_id, gateway in (("a1", "kie"), ("b2", "fal"), ("a3", "kie")):
        await record(app, task_id, gateway=gateway)
    assert await ids(app, "") == Completion(["a3", "fal:b2", "a1"], 3, has_more=False)


async def test_tasks_are_found_by_the_beginning_of_the_id_and_by_words(app: App) -> None:
    await record(app, "abc")
    await record(app, "b2", gateway="fal")
    await record(app, "d4", tool="edit_nano_banana")
    assert (await ids(app, "ab")).values == ["abc"]
    assert (await ids(app, "fal:b")).values == ["fal:b2"]
    assert (await ids(app, "edit banana")).values == ["d4"]
    assert (await ids(app, "zebra")) == Completion([], 0, has_more=False)


async def test_at_most_a_hundred_tasks_are_suggested_and_more_are_announced(app: App) -> None:
    for number in range(101):
        await record(app, f"t{number:03}")
    found = await ids(app, "")
    assert (len(found.values), found.total, found.has_more) == (100, None, True)
    assert (found.values[0], found.values[-1]) == ("t100", "t001")
    assert (await ids(app, "t1")).values == ["t100"]


async def test_results_are_numbered_and_running_tasks_have_none(app: App) -> None:
    await record(app, "done")
    await record(app, "running")
    urls = tuple(f"https://example.com/{number}.png" for number in range(11))
    await app.engine.record.tasks.record_outcome("done", Outcome("completed", urls=urls))
    assert (await ids(app, "", FILE_TEMPLATE)).values == ["done"]
    assert (await of_address(app, FILE_TEMPLATE, "n", "1", {"id": "done"})).values == ["1", "10", "11"]
    assert (await of_address(app, FILE_TEMPLATE, "n", "", {"id": "running"})).values == []
    assert (await of_address(app, FILE_TEMPLATE, "n", "", {"id": "unknown"})).values == []
    assert (await of_address(app, FILE_TEMPLATE, "n", "", {})).values == []


async def test_at_most_a_hundred_results_are_numbered_and_all_are_counted(app: App) -> None:
    await record(app, "many")
    urls = tuple(f"https://example.com/{number}.png" for number in range(150))
    await app.engine.record.tasks.record_outcome("many", Outcome("completed", urls=urls))
    found = await of_address(app, FILE_TEMPLATE, "n", "", {"id": "many"})
    assert (len(found.values), found.total, found.has_more) == (100, 150, True)


@pytest.mark.parametrize(("template", "part"), [("kie://nothing/{id}", "id"), (TASK_TEMPLATE, "n")])
async def test_unknown_address_and_unknown_part_of_one_are_refused(app: App, template: str, part: str) -> None:
    with pytest.raises(InvalidArgument):
        await of_address(app, template, part, "", {})


async def test_key_inside_an_id_is_not_suggested(tmp_path: Path) -> None:
    key = "key-of-the-tests"
    app = App.open(Settings.model_validate({"db_path": tmp_path / "tasks.db", "api_key": key}))
    async with app.engine.running(), Client(server_of(app)) as client:
        await record(app, f"a-{key}-b")
        argument = {"name": "id", "value": "a-"}
        (value,) = (await client.complete(ResourceTemplateReference(uri=TASK_TEMPLATE), argument)).completion.values
        assert value.startswith("a-")
        assert key not in value
