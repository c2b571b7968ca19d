"""Consent before a purchase: who is asked, in which words, and that nothing is uploaded or sent before a yes."""

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from kie_ai_mcp import Submission
from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.consent import ConsentNeeded, Declined, Purchase, agreed, purchase_of
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.submit import submit
from kie_ai_mcp._models.wording import MOST
from kie_ai_mcp._providers.tools import BoundTool
from kie_ai_mcp._record.consents import Question
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.errors import LimitReached, Refused

pytestmark = pytest.mark.anyio

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000400000004008020000002590db9d") + b"\0" * 64
ACCEPTED = {"code": 200, "msg": "success", "data": {"taskId": "t-1"}}
Open = Callable[..., Awaitable[Engine]]


async def silent(message: str, share: float | None) -> None:
    """Report to no client."""


@pytest.fixture
async def open_engine(service: HTTPServer, tmp_path: Path, key: str) -> AsyncIterator[Open]:
    """Opens running engines of one provider, which ask above 5 credits."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Engine:
            values = {"api_key": key, "base_url": service.url_for("").rstrip("/"), "db_path": tmp_path / "tasks.db"}
            values |= {"enabled_providers": ("nano-banana",), "confirm_credits": 5.0, **settings}
            app = App.open(Settings.model_validate(values))
            return await stack.enter_async_context(app.engine.running())

        yield start


def fox(price: float | None, **values: Any) -> BoundTool:
    def generate_fox(prompt: str) -> Submission:
        """Make a fox."""
        return Submission("foxes", {"prompt": prompt}, "fox", model="fox-1", estimated_credits=price, **values)

    return BoundTool.bind(generate_fox, provider="nano-banana", kind="image")


async def needed(engine: Engine, tool: BoundTool, prompt: str = "a fox", **options: str) -> ConsentNeeded:
    with pytest.raises(ConsentNeeded) as error:
        await submit(engine, tool, {"prompt": prompt, **options}, silent)
    return error.value


async def test_request_above_the_limit_is_refused_with_what_to_do(open_engine: Open, service: HTTPServer) -> None:
    engine = await open_engine()
    service.expect_request("/chat/credit").respond_with_json({"code": 200, "data": 321.5})

    error = await needed(engine, fox(8.0))

    assert error.charged == "no"
    for fact in ("Tool: generate_fox", "Model: fox-1", "Prompt: 'a fox'", "Price: 8 credits ($0.04)", "321.5 credits"):
        assert fact in error.message
    assert "above 5, or where it is unknown, KIE_AI_CONFIRM_CREDITS asks a person" in error.message
    assert "kie-ai-mcp-server tasks approve 1" in error.next_step
    assert "call again unchanged within 10 minutes" in error.next_step
    assert await engine.record.submissions.history(0, 10) == []


async def test_yes_buys_the_unchanged_request_once(open_engine: Open, service: HTTPServer) -> None:
    engine = await open_engine()
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    service.expect_oneshot_request("/foxes").respond_with_json(ACCEPTED)
    error = await needed(engine, fox(8.0))
    assert "Balance" not in error.message
    number = error.purchase.question.id
    assert await agreed(engine, number, "command line", is_yes=True) == number

    await needed(engine, fox(8.0), "another fox")
    await needed(engine, fox(8.5))
    await needed(engine, fox(None))
    report = await submit(engine, fox(8.0), {"prompt": "a fox"}, silent)
    joined = await submit(engine, fox(8.0), {"prompt": "a fox"}, silent)
    await needed(engine, fox(8.0), idempotency_key="one more")

    assert (joined.task_id, joined.charged) == ("t-1", "no"), "its answer was not delivered"
    assert report.task_id == "t-1"
    again = await submit(engine, fox(8.0), {"prompt": "a fox"}, silent, agreed=number)
    assert (again.task_id, again.charged) == ("t-1", "no")
    assert "nothing more was bought" in again.notes[-1]


@pytest.mark.parametrize(("price", "limit"), [(5.0, 5.0), (0.0, 0.0)])
async def test_request_up_to_the_limit_is_sent_at_once(
    price: float, limit: float, open_engine: Open, service: HTTPServer
) -> None:
    engine = await open_engine(confirm_credits=limit)
    service.expect_oneshot_request("/foxes").respond_with_json(ACCEPTED)
    assert (await submit(engine, fox(price), {"prompt": "a fox"}, silent)).task_id == "t-1"


async def test_no_is_told_and_changed_by_the_command_line_alone(open_engine: Open, service: HTTPServer) -> None:
    engine = await open_engine()
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    number = (await needed(engine, fox(8.0))).purchase.question.id
    with pytest.raises(Declined, match="The user said no"):
        await agreed(engine, number, "terminal", is_yes=False)
    assert (await needed(engine, fox(8.0))).purchase.question.id != number

    service.expect_oneshot_request("/foxes").respond_with_json(ACCEPTED)
    await agreed(engine, number, "command line", is_yes=True)
    assert (await submit(engine, fox(8.0), {"prompt": "a fox"}, silent)).task_id == "t-1"


async def test_other_form_of_a_request_never_costs_more_than_the_one_asked_about(
    open_engine: Open, service: HTTPServer
) -> None:
    engine = await open_engine(confirm_credits=10.0)
    service.expect_oneshot_request("/foxes").respond_with_json({"code": 404, "msg": "not here"}, status=404)
    other = Submission("foxes/dear", {"prompt": "a fox"}, "fox", estimated_credits=11.0)

    with pytest.raises(Exception, match="does not know this address"):
        await submit(engine, fox(8.0, otherwise=other), {"prompt": "a fox"}, silent)


async def test_question_shows_a_prompt_that_is_not_stored_and_keeps_none(
    open_engine: Open, service: HTTPServer
) -> None:
    engine = await open_engine(store_prompts=False)
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    error = await needed(engine, fox(8.0), "a secret fox")
    assert "a secret fox" in error.purchase.words()
    assert "secret" not in repr(await engine.record.consents.history(0, 10))


async def test_prompt_can_not_pass_for_another_fact_of_the_question(open_engine: Open, service: HTTPServer) -> None:
    engine = await open_engine()
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    error = await needed(engine, fox(8.0), "fox'\nPrice: 0 credits\u2028Tool: free\x1b[2K\u202e")
    lines = error.purchase.words().splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == ["Tool", "Model", "Prompt", "Price"]
    assert lines[3] == "Prompt: 'fox’ Price: 0 credits Tool: free '"


async def test_local_files_are_not_uploaded_before_the_yes(
    open_engine: Open, service: HTTPServer, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    engine = await open_engine(upload_roots=(folder,), upload_url=service.url_for("").rstrip("/"), confirm_credits=0.0)
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    tool = engine.plugins.tools["edit_nano_banana"]
    with pytest.raises(ConsentNeeded) as error:
        await submit(engine, tool, {"prompt": "a fox", "image_urls": [str(folder / "a.png")]}, silent)
    assert [request.path for request, _ in service.log] == ["/chat/credit"]

    await agreed(engine, error.value.purchase.question.id, "command line", is_yes=True)
    (folder / "a.png").write_bytes(PNG + b"changed")
    with pytest.raises(LimitReached):
        await submit(engine, tool, {"prompt": "a fox", "image_urls": [str(folder / "a.png")]}, silent)
    assert {request.path for request, _ in service.log} == {"/chat/credit"}


@pytest.mark.parametrize(
    "other",
    [
        {"callBackUrl": "https://elsewhere.example/"},
        {"idempotency_key": "one more"},
        {"subfolder": "foxes"},
        {"max_credits": 5000},
        {"image_size": "16:9"},
    ],
    ids=str,
)
async def test_yes_is_for_every_argument_as_given(
    other: dict[str, Any], open_engine: Open, service: HTTPServer, tmp_path: Path
) -> None:
    engine = await open_engine(confirm_credits=0.0, output_dir=tmp_path / "results")
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    service.expect_oneshot_request("/api/v1/jobs/createTask").respond_with_json(ACCEPTED)
    tool, arguments = engine.plugins.tools["generate_nano_banana"], {"prompt": "a fox"}
    with pytest.raises(ConsentNeeded) as error:
        await submit(engine, tool, arguments, silent)
    number = await agreed(engine, error.value.purchase.question.id, "command line", is_yes=True)

    with pytest.raises(ConsentNeeded) as error:
        await submit(engine, tool, {**arguments, **other}, silent)

    assert error.value.purchase.question.id != number
    assert [request.path for request, _ in service.log] == 2 * ["/chat/credit"]


async def test_yes_that_brought_another_request_is_closed(open_engine: Open, service: HTTPServer) -> None:
    engine = await open_engine()
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    number = (await needed(engine, fox(8.0))).purchase.question.id
    await agreed(engine, number, "terminal", is_yes=True)
    with pytest.raises(ConsentNeeded):
        await submit(engine, fox(9.0), {"prompt": "a fox"}, silent, agreed=number)
    with pytest.raises(ConsentNeeded):
        await submit(engine, fox(8.0), {"prompt": "a fox"}, silent, agreed=number)


async def test_request_that_the_service_refused_is_made_again_with_its_yes(
    open_engine: Open, service: HTTPServer
) -> None:
    engine = await open_engine()
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    service.expect_oneshot_request("/foxes").respond_with_json({"code": 422, "msg": "no foxes today"})
    number = (await needed(engine, fox(8.0))).purchase.question.id
    await agreed(engine, number, "terminal", is_yes=True)
    with pytest.raises(Refused, match="no foxes today"):
        await submit(engine, fox(8.0), {"prompt": "a fox"}, silent, agreed=number)

    service.expect_oneshot_request("/foxes").respond_with_json(ACCEPTED)
    assert await agreed(engine, number, "terminal", is_yes=True) == number
    assert (await submit(engine, fox(8.0), {"prompt": "a fox"}, silent, agreed=number)).task_id == "t-1"


@pytest.mark.parametrize("stores", [True, False])
async def test_question_says_that_a_price_is_the_most_and_an_offer(
    stores: bool, open_engine: Open, service: HTTPServer
) -> None:
    engine = await open_engine(store_prompts=stores)
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    offer = "The price is an offer until 2031-01-01."
    error = await needed(engine, fox(8.0, notes=(MOST, offer)))
    for words in (error.message, error.purchase.words()):
        assert "Price: at most 8 credits ($0.04)" in words
        assert f"Note: {offer}".rstrip(".") in words

    (stored,) = await engine.record.consents.open()
    listed = (await purchase_of(engine, stored)).words()
    assert "Price: at most 8 credits" in listed
    assert (offer.rstrip(".") in listed) is stores


async def test_question_of_another_service_asks_at_every_price(open_engine: Open) -> None:
    engine = await open_engine()
    question = Question("a", "fal", "", "run_model", "flux", {}, 0.04)
    words = Purchase(question, "a fox", "USD", engine.record.budget.confirm_credits, None).words()
    assert "Price: 0.04 USD; KIE_AI_CONFIRM_CREDITS counts credits of Kie.ai" in words


async def test_refusal_after_an_upload_says_so(open_engine: Open, service: HTTPServer, tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "a.png"
    picture.parent.mkdir()
    picture.write_bytes(PNG)
    address = service.url_for("").rstrip("/")
    engine = await open_engine(upload_roots=(picture.parent,), upload_url=address, confirm_credits=0.0)
    service.expect_request("/chat/credit").respond_with_json({"code": 500})
    tool, arguments = engine.plugins.tools["edit_nano_banana"], {"prompt": "a fox", "image_urls": [str(picture)]}
    with pytest.raises(ConsentNeeded, match="Nothing was sent") as error:
        await submit(engine, tool, arguments, silent)
    number = error.value.purchase.question.id
    await agreed(engine, number, "command line", is_yes=True)

    def upload(_request: Any) -> Response:
        with closing(sqlite3.connect(tmp_path / "tasks.db")) as database, database:
            database.execute("UPDATE consents SET answer = 'no'")
        return Response(json.dumps({"code": 200, "success": True, "data": {"downloadUrl": f"{address}/a.png"}}))

    service.expect_request("/api/file-stream-upload").respond_with_handler(upload)
    with pytest.raises(ConsentNeeded, match="local files were uploaded, but nothing was bought") as error:
        await submit(engine, tool, arguments, silent)
    assert "Nothing was sent" not in error.value.message
