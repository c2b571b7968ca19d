"""``models``, ``estimate`` and ``--dry-run``: models and prices from the command line."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kie_ai_mcp_sandbox.server import Sandbox

if TYPE_CHECKING:
    from tests.cli.conftest import Run

CREATE = "/api/v1/jobs/createTask"
MARKET = {"KIE_AI_ENABLED_PROVIDERS": "market,nano-banana,recraft"}


def creates(sandbox: Sandbox) -> int:
    """How many paid requests arrived."""
    return sum(seen.path == CREATE for seen in sandbox.requests)


def test_models_are_found_by_words(run: "Run", sandbox: Sandbox) -> None:
    found = run("models", "find", "remove", "background", "--json", sandbox=sandbox, **MARKET)
    assert found.code == 0
    assert json.loads(found.stdout)["models"][0]["name"] == "remove_background"
    shown = run("models", "find", "cheapest", "image", "--kind", "image", sandbox=sandbox, **MARKET).stdout
    assert shown.split("\n")[0].split() == ["name", "kind", "price", "makes"]
    assert re.search(r"(?m)^z-image +image +0\.8 credits \(\$0\.004\) +Z-Image, ", shown)
    assert shown.endswith("kie-ai-mcp-server estimate` has the price of other settings.\n")
    none = run("models", "find", "zzzz", sandbox=sandbox, **MARKET)
    assert (none.code, none.stdout.partition(".")[0]) == (0, "Nothing fits")


def test_model_is_shown_with_fields_rules_and_price(run: "Run", sandbox: Sandbox) -> None:
    shown = run("models", "show", "bytedance/seedance-2-5", sandbox=sandbox, **MARKET)
    assert shown.code == 0
    for words in ("duration", "first_frame_url", "credits per second"):
        assert words in shown.stdout


def test_model_is_run_and_saved(run: "Run", sandbox: Sandbox, tmp_path: Path) -> None:
    words = ["prompt=A harbour at dawn", "aspect_ratio=16:9", "--max-credits", "1", "--save", str(tmp_path / "out")]
    made = run("models", "run", "z-image", *words, sandbox=sandbox, **MARKET)
    assert made.code == 0, made.stderr
    assert [path.suffix for path in (tmp_path / "out").glob("*.png")] == [".png"]


def test_dearer_model_than_the_user_allows_is_not_run(run: "Run", sandbox: Sandbox) -> None:
    words = ["prompt=A harbour at dawn", "aspect_ratio=16:9", "--max-credits", "0.5"]
    refused = run("models", "run", "z-image", *words, sandbox=sandbox, **MARKET)
    assert refused.code == 1
    assert "0.8 credits" in refused.stderr
    assert creates(sandbox) == 0


def test_estimate_and_dry_run_send_nothing_paid(run: "Run", sandbox: Sandbox) -> None:
    words = ["prompt=A harbour", "aspect_ratio=16:9"]
    cost = run("estimate", "z-image", *words, "--json", sandbox=sandbox, **MARKET)
    assert json.loads(cost.stdout)["credits"] == 0.8
    assert (
        "0.8 credits ($0.004)" in run("models", "run", "z-image", *words, "--dry-run", sandbox=sandbox, **MARKET).stdout
    )
    dry = run("call", "generate_nano_banana", "prompt=A fox", "--dry-run", sandbox=sandbox, **MARKET).stdout
    assert "4 credits" in dry
    assert "Next: Buy it with the same command without --dry-run." in dry
    wrong = run("estimate", "z-image", "prompt=A harbour", "aspect_ratio=5:1", sandbox=sandbox, **MARKET)
    assert wrong.code == 1
    assert "16:9" in wrong.stdout
    assert creates(sandbox) == 0


def test_unknown_model_is_named_with_the_nearest(run: "Run", sandbox: Sandbox) -> None:
    missing = run("models", "run", "z-imag", "prompt=A fox", sandbox=sandbox, **MARKET)
    assert missing.code == 2
    assert "z-image" in missing.stderr
    without = run("models", "run", "z-image", "prompt=A fox", sandbox=sandbox, KIE_AI_ENABLED_PROVIDERS="luma")
    assert "no provider with models is enabled" in without.stderr
