"""Limits of credits, held against everything that can be charged."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.promise.conftest import Desk, OpenDesk

pytestmark = pytest.mark.anyio

PICTURE = "https://example.com/a.png"
CLIP = "https://example.com/a.mp4"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
SOUND = "https://example.com/a.mp3"

# Requests whose price no provider of this repository knows.
UNPRICED: dict[str, dict[str, Any]] = {
    "generate_kling_omni_video": {"prompt": "A fox", "videoUrl": CLIP},
    "generate_kling_motion_video": {"imageUrl": PICTURE, "videoUrl": CLIP},
    "generate_kling_avatar_video": {"imageUrl": PICTURE, "audioUrl": SOUND, "prompt": "A fox"},
    "generate_midjourney_image": {"prompt": "A fox"},
    "generate_sora2_video": {"prompt": "A fox"},
    "generate_ideogram_image": {"prompt": "A fox"},
    "remix_ideogram_image": {"prompt": "A fox", "image_url": PICTURE},
}


@pytest.fixture
async def desk(open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path) -> AsyncIterator["Desk"]:
    """A server that may spend 100 credits a day."""
    settings = {
        "enabled_providers": ("kling", "midjourney", "sora2", "ideogram"),
        "max_credits_per_day": 100.0,
        "upload_roots": (tmp_path,),
    }
    async with open_desk(tmp_path, sandbox.base_url, upload_url=sandbox.upload_url, **settings) as desk:
        yield desk


@pytest.mark.parametrize("tool", UNPRICED)
async def test_request_of_unknown_price_is_refused_with_the_cure(tool: str, desk: "Desk", sandbox: Sandbox) -> None:
    reply = await desk.call(tool, **UNPRICED[tool])
    assert (reply.is_error, reply.data["status"], reply.data["charged"]) == (True, "refused", "no")
    assert f"The price of this {tool} is unknown" in reply.data["error"]
    assert "KIE_AI_ASSUMED_CREDITS" in reply.data["next_step"]
    assert (sandbox.requests, sandbox.ledger) == ([], [])


async def test_nothing_is_uploaded_for_a_request_of_unknown_price(
    desk: "Desk", sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "fox.png").write_bytes(PNG)
    tool = "generate_kling_motion_video"
    reply = await desk.call(tool, **UNPRICED[tool] | {"imageUrl": str(tmp_path / "fox.png")})
    assert "is unknown" in reply.data["error"]
    assert sandbox.requests == []


async def test_assumed_credits_are_named_in_the_answer_and_in_what_was_spent(
    open_desk: "OpenDesk", sandbox: Sandbox, tmp_path: Path
) -> None:
    limits = {"max_credits_per_day": 50.0, "assumed_credits": 50.0}
    async with open_desk(tmp_path, sandbox.base_url, enabled_providers=("midjourney",), **limits) as desk:
        reply = await desk.call("generate_midjourney_image", prompt="A fox")
        assert reply.data["estimated_credits"] == "unknown"
        assert "Its price is unknown: 50 credits are booked" in reply.data["next_step"]
        credits = await desk.call("get_credits")
    assert (credits.data["credits_24h"], credits.data["next_step"]) == (
        50.0,
        "The day's limit is reached: wait, or raise KIE_AI_MAX_CREDITS_PER_DAY.",
    )
    assert "Spent in the last 24 hours, estimates included: 50 of 50" in credits.text
