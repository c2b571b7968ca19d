"""Demonstration without what it needs; with it, it is tested as a command of its own process."""

from pathlib import Path

import pytest

from kie_ai_mcp.errors import ConfigError
from kie_ai_mcp_sandbox import demo

pytestmark = pytest.mark.anyio


async def test_demonstration_without_a_provider_says_which_one_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SCENES", (("generate_what_nobody_offers", {}),))
    with pytest.raises(ConfigError) as error:
        await demo.run_demo(tmp_path / "made", "kie-ai-mcp-server")
    assert "nano-banana or veo3" in error.value.message
    assert "Install kie-ai-mcp-nano-banana" in error.value.next_step
    assert "Next:" not in capsys.readouterr().out
