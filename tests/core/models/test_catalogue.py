"""Catalogue: whose model it is, what the settings leave of it, and providers whose models can't be used."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kie_ai_mcp._models.catalogue import Catalogue
from kie_ai_mcp._models.tools import tool_name
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.models import Model

Open = Callable[..., Catalogue]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def open_(**values: Any) -> Catalogue:
        settings = Settings.model_validate({"db_path": tmp_path / "tasks.db", **values})
        return Catalogue(Plugins(settings), settings)

    return open_


def test_family_owns_what_its_tools_sell_and_market_all_others(opened: Open) -> None:
    catalogue = opened()
    owners = {name: entry.provider for name, entry in catalogue.entries.items()}
    assert len(owners) == 184
    assert (owners["topaz/image-upscale"], owners["ai-music-api/generate"]) == ("topaz", "suno")
    assert (owners["z-image"], owners["kling-3.0/video"]) == ("market", "market")
    assert catalogue.owned("suno", "ai-music-api/generate") is not None
    assert catalogue.owned("suno", "z-image") is None
    assert catalogue.owned("nano-banana", "google/nano-banana") is None


def test_model_of_a_disabled_family_is_still_sold_by_market(opened: Open) -> None:
    entry = opened(disabled_providers=("topaz",)).find("topaz/image-upscale")
    assert entry is not None
    assert entry.provider == "market"


def test_settings_leave_out_kinds_and_patterns(opened: Open) -> None:
    kinds = {entry.model.kind for entry in opened(kinds=("audio",)).entries.values()}
    assert kinds == {"audio"}
    market = {"allow": ["kling*", "z-image"], "deny": ["kling/*"]}
    left = [entry for entry in opened(providers={"market": market}).entries.values() if entry.provider == "market"]
    names = {entry.name for entry in left}
    assert "z-image" in names
    assert "kling-3.0/video" in names
    assert not any(name.startswith("kling/") for name in names)
    by_variable = opened(provider_variables={"KIE_AI_PROVIDER_MARKET_DENY": "kling/*, z-image"})
    assert "z-image" not in by_variable.entries


def test_data_file_is_not_read_before_a_model_is_asked_for(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def read(text: str) -> Iterator[Model]:
        reads.append(text)
        return iter(())

    monkeypatch.setattr("kie_ai_mcp_market.read_models", read)
    catalogue = opened(enabled_providers=("market",))
    assert reads == []
    assert not catalogue.entries
    assert len(reads) == 1


def test_provider_whose_models_can_not_be_used_is_left_out(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> object:
        raise ValueError("the file is cut")

    monkeypatch.setattr("kie_ai_mcp_topaz.read_models", broken)
    catalogue = opened()
    assert len(catalogue.entries) == 184
    assert "the file is cut" in catalogue.faults["topaz"]


@pytest.mark.parametrize(
    ("model_id", "name"),
    [
        ("bytedance/seedance-2-5", "bytedance_seedance_2_5"),
        ("4o-image-api", "model_4o_image_api"),
        ("ai-music-api/upload-and-extend-audio", "ai_music_api_upload_and_extend_audio"),
    ],
)
def test_pinned_tool_is_named_after_its_model(model_id: str, name: str) -> None:
    assert tool_name(model_id) == name
