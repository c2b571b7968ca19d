"""Requests of the Recraft tool."""

from kie_ai_mcp_recraft.tools import remove_background
from tests.service.facts import official

PICTURE = "https://example.com/a.png"


def test_picture_is_all_that_is_sent() -> None:
    sent = remove_background(PICTURE)
    assert sent.body == {"model": "recraft/remove-background", "input": {"image": PICTURE}}
    official("recraft/remove-background").validate(sent.body["input"])
