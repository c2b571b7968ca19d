"""Limits of credits, held against everything that can be charged."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.conftest import Rows
    from tests.promise.conftest import Desk, Launch, OpenDesk

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("address")]

PICTURE = "https://example.com/a.png"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)

# Requests whose price no provider of this repository knows.
UNPRICED: dict[str, dict[str, Any]] = {
    "generate_midjourney_image": {"prompt": "A fox"},
    "generate_midjourney_video": {"prompt": "A fox", "imageUrls": [PICTURE]},
    "generate_sora2_video": {"prompt": "A fox"},
    "generate_sora2_storyboard": {"shots": [{"scene": "A fox", "duration": 5}]},
}


@pytest.fixture
async def desk(open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path) -> AsyncIterator["Desk"]:
    """A server that may spend 100 credits a day."""
    settings = {"enabled_providers": ("midjourney", "sora2"), "max_credits_per_day": 100.0, "upload_roots": (tmp_path,)}
    async with open_desk(tmp_path, sandbox.base_url, upload_url=sandbox.upload_url, **settings) as desk:
        yield desk


@pytest.mark.parametrize("tool", UNPRICED)
async def test_request_of_unknown_price_is_refused_with_the_cure(tool: str, desk: "Desk", sandbox: Sandbox) -> None:
    reply = await desk.call(tool, **UNPRICED[tool])
    assert (reply.is_error, reply.data["status"], reply.data["charged"]) == (True, "refused", "no")
    assert f"The price of this {tool} is unknown" in reply.data["error"]
    assert "KIE_AI_ASSUMED_CREDITS" in reply.data["next_step"]
    assert (sandbox.requests, sandbox.ledger) == ([], [])


@pytest.mark.parametrize(
    ("tool", "standing", "nearest"),
    [
        ("generate_sora2_video", "Sora 2 is retired", "generate_veo3_video"),
        ("generate_dalle3_image", "DALL-E 3 is undocumented", "generate_gpt4o_image"),
    ],
)
async def test_limit_names_first_what_the_service_no_longer_has_and_the_tool_to_use(
    tool: str, standing: str, nearest: str, open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path
) -> None:
    providers = ("sora2", "veo3", "dalle3", "gpt4o-image")
    limits = {"enabled_providers": providers, "max_credits_per_day": 100.0}
    async with open_desk(tmp_path, sandbox.base_url, **limits) as desk:
        reply = await desk.call(tool, prompt="A fox")
        estimate = await desk.call("estimate_cost", name=tool, arguments={"prompt": "A fox"})
    begin = f"{standing} at Kie.ai; use {nearest} instead."
    assert reply.data["error"].startswith(f"{begin} The price of this {tool} is unknown")
    step = f"Use {nearest}. Only where it must be this one, let the user set KIE_AI_ASSUMED_CREDITS"
    assert reply.data["next_step"].startswith(step)
    assert estimate.data["notes"][0] == begin
    assert estimate.data["next_step"].startswith(f"It would be refused: {begin}")
    assert sandbox.ledger == []


async def test_estimate_without_a_limit_names_the_tool_to_use_first(
    open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path
) -> None:
    for providers, step in (
        (("sora2", "veo3"), "Use generate_veo3_video. Only where it must be this one, call it to buy this."),
        (("sora2",), "Call it to buy this."),
    ):
        async with open_desk(tmp_path, sandbox.base_url, enabled_providers=providers) as desk:
            estimate = await desk.call("estimate_cost", name="generate_sora2_video", arguments={"prompt": "A fox"})
        assert estimate.data["next_step"] == step


async def test_nothing_is_uploaded_for_a_request_of_unknown_price(
    desk: "Desk", sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "fox.png").write_bytes(PNG)
    tool = "generate_midjourney_video"
    reply = await desk.call(tool, **UNPRICED[tool] | {"imageUrls": [str(tmp_path / "fox.png")]})
    assert "is unknown" in reply.data["error"]
    assert sandbox.requests == []


async def test_assumed_credits_are_named_in_the_answer_and_in_what_was_spent(
    open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path
) -> None:
    limits = {"max_credits_per_day": 50.0, "assumed_credits": 50.0}
    async with open_desk(tmp_path, sandbox.base_url, enabled_providers=("midjourney",), **limits) as desk:
        reply = await desk.call("generate_midjourney_image", prompt="A fox")
        assert "estimated_credits" not in reply.data
        assert "Price unknown: 50 credits are booked until the service names the charge." in reply.data["notes"]
        credits = await desk.call("get_credits")
    step = "The day's limit is reached: wait, or raise KIE_AI_MAX_CREDITS_PER_DAY: "
    assert (credits.data["credits_24h"], credits.data["next_step"][: len(step)]) == (50.0, step)
    assert "Spent in the last 24 hours, estimates included: 50 of 50" in credits.text


# Reads that are charged for, and what the service makes only once ----------------------------------------------------

HD = "get_veo3_1080p_video"
CLIP_COST, HD_COST, FOUR_K_COST = 30.0, 5.0, 120.0


class OpenVeo(Protocol):
    """Opens a server whose service has made one clip."""

    def __call__(self, limit: float) -> AbstractAsyncContextManager[tuple["Desk", str]]:
        """Return a context that runs it with a limit of credits a day, and gives it and the clip's id."""
        ...


@pytest.fixture
def open_veo(open_desk: "OpenDesk", tmp_path: Path) -> Iterator[tuple[Sandbox, OpenVeo]]:
    with Sandbox(speed=1_000_000) as sandbox:

        @asynccontextmanager
        async def start(limit: float) -> AsyncIterator[tuple["Desk", str]]:
            settings = {"enabled_providers": ("veo3",), "max_credits_per_day": limit}
            async with open_desk(tmp_path, sandbox.base_url, **settings) as desk:
                clip = await desk.call("generate_veo3_video", prompt="A fox", model="veo3_lite", idempotency_key="k")
                yield desk, clip.data["task_id"]

        yield sandbox, start


def spent(sandbox: Sandbox) -> float:
    return 10_000.0 - sandbox.credits


async def test_paid_read_that_would_pass_the_limit_is_not_sent(
    open_veo: tuple[Sandbox, OpenVeo], rows: "Rows", tmp_path: Path
) -> None:
    sandbox, start = open_veo
    async with start(CLIP_COST) as (desk, clip):
        before = len(sandbox.requests)
        for _ in range(3):
            reply = await desk.call(HD, task_id=clip)
            assert (reply.data["status"], reply.data["charged"]) == ("refused", "no")
            assert "30 credits were spent" in reply.data["error"]
    assert (len(sandbox.requests), spent(sandbox)) == (before, CLIP_COST)
    assert len(rows(tmp_path, "submissions")) == 1


async def test_what_was_paid_may_be_asked_for_again_though_nothing_is_left(
    open_veo: tuple[Sandbox, OpenVeo], rows: "Rows", tmp_path: Path
) -> None:
    sandbox, start = open_veo
    async with start(CLIP_COST + HD_COST) as (desk, clip):
        replies = [await desk.call(HD, task_id=clip) for _ in range(3)]
        assert {reply.data["task_id"] for reply in replies} == {"submission-2"}
        assert replies[-1].data["result_urls"] == [f"{sandbox.upload_url}/files/{clip}-1-1080p.mp4"]
    assert spent(sandbox) == CLIP_COST + HD_COST
    assert [row["estimated_credits"] for row in rows(tmp_path, "submissions")] == [CLIP_COST, HD_COST]


@pytest.mark.parametrize("fault", ["drop-after", "timeout", "garbage", "drop-before"])
async def test_paid_read_whose_answer_is_lost_is_settled_by_asking_again(
    fault: str, open_veo: tuple[Sandbox, OpenVeo], rows: "Rows", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, start = open_veo
    async with start(CLIP_COST + HD_COST) as (desk, clip):
        sandbox.play(fault, path="get-1080p-video")
        with monkeypatch.context() as patch:
            if fault == "timeout":
                patch.setattr(type(desk.app.engine.caller("kie")), "timeout_s", 0.3)
            lost = await desk.call(HD, task_id=clip)
        assert (lost.data["status"], lost.data["charged"]) == ("unknown", "unknown")
        assert lost.data["next_step"] == f"Call {HD} again with the same arguments; it is not paid twice."
        assert (await desk.call("get_credits")).data["credits_24h"] == CLIP_COST + HD_COST
        adopted = await desk.call("resolve_submission", submission_id=2, action="adopt", task_id=clip)
        assert f"Call {HD} again" in adopted.data["next_step"]

        # Neither does a refusal of the second try say that the first was not charged.
        for refusal in ("code:402", "429:0", "http:503"):
            sandbox.play(refusal, path="get-1080p-video")
            refused = await desk.call(HD, task_id=clip)
            assert (refused.is_error, refused.data["charged"]) == (True, "unknown")
            assert rows(tmp_path, "submissions")[1]["state"] == "unknown"

        settled = await desk.call(HD, task_id=clip)
        assert (settled.data["status"] in {"processing", "completed"}, settled.data["charged"]) == (True, "yes")
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted", "accepted"]
    assert spent(sandbox) == CLIP_COST + HD_COST


def test_paid_read_under_way_in_a_process_that_dies_is_on_record(
    launch: "Launch", held: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    orders = {"at": "create", "nth": 2, "when": "after"}
    first = launch(held, orders, KIE_AI_ENABLED_PROVIDERS="veo3")
    clip = first.call("generate_veo3_video", prompt="A fox", model="veo3_lite")["structuredContent"]["task_id"]
    held.finish(clip)
    first.ask(HD, task_id=clip)
    assert first.ended() == -9
    second = launch(held, KIE_AI_ENABLED_PROVIDERS="veo3")
    (lost,) = second.call("list_tasks")["structuredContent"]["unresolved"]
    assert (lost["tool"], lost["state"]) == (HD, "unknown")
    assert lost["next_step"] == f"Call {HD} again with the same arguments; it is not paid twice."
    assert second.call(HD, task_id=clip)["structuredContent"]["charged"] == "yes"
    assert [row["state"] for row in rows(tmp_path, "submissions")] == ["accepted", "accepted"]
    assert spent(held) == CLIP_COST + HD_COST


def test_limit_holds_in_a_race_of_four_processes(launch: "Launch", sandbox: Sandbox) -> None:
    settings: dict[str, Any] = {"KIE_AI_ENABLED_PROVIDERS": "market", "KIE_AI_MAX_CREDITS_PER_DAY": "5"}
    servers = [launch(sandbox, **settings) for _ in range(4)]
    calls = [
        (server, server.ask("run_model", model="z-image", input={"prompt": f"A fox {n} {k}", "aspect_ratio": "1:1"}))
        for k in range(5)
        for n, server in enumerate(servers)
    ]
    answers = [server.answer(number)["structuredContent"] for server, number in calls]
    bought = [answer for answer in answers if answer["status"] == "pending"]
    assert len(bought) == len(sandbox.ledger) == 6  # of 0.8 credits each
    assert {answer["charged"] for answer in answers if answer not in bought} == {"no"}


async def test_4k_version_is_made_and_booked_once_whatever_its_key(
    open_veo: tuple[Sandbox, OpenVeo], rows: "Rows", tmp_path: Path
) -> None:
    sandbox, start = open_veo
    async with start(CLIP_COST + FOUR_K_COST) as (desk, clip):
        tool = "get_veo3_4k_video"
        replies = [await desk.call(tool, task_id=clip, **key) for key in ({}, {"idempotency_key": "a"}, {}, {})]
        assert {reply.data["task_id"] for reply in replies} == {sandbox.ledger[-1].task_id}
        assert replies[-1].data["status"] == "completed"
    assert (len(rows(tmp_path, "submissions")), spent(sandbox)) == (2, CLIP_COST + FOUR_K_COST)


async def test_4k_version_that_failed_may_be_asked_for_anew(
    open_desk: "OpenDesk", held: Sandbox, rows: "Rows", tmp_path: Path
) -> None:
    async with open_desk(tmp_path, held.base_url, enabled_providers=("veo3",)) as desk:
        clip = (await desk.call("generate_veo3_video", prompt="A fox")).data["task_id"]
        held.finish(clip)
        first = await desk.call("get_veo3_4k_video", task_id=clip)
        held.finish(first.data["task_id"], fail="no luck")
        assert (await desk.call("get_task_status", task_id=first.data["task_id"])).data["status"] == "failed"
        await desk.call("get_veo3_4k_video", task_id=clip)
    assert len(rows(tmp_path, "submissions")) == 3
    assert [seen.path for seen in held.requests].count("/api/v1/veo/get-4k-video") == 2
