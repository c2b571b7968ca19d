"""Catalogue: whose model it is, what the settings leave of it, and providers whose models can't be used."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from kie_ai_mcp._models.catalogue import Catalogue
from kie_ai_mcp._models.search import best, offer_of_model
from kie_ai_mcp._providers.loader import Plugins
from kie_ai_mcp._providers.tools import tool_name
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp.models import Model, read_models
from kie_ai_mcp.testing._load import load
from tests.service import facts

Open = Callable[..., Catalogue]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def open_(**values: Any) -> Catalogue:
        settings = Settings.model_validate({"db_path": tmp_path / "tasks.db", **values})
        return Catalogue(Plugins(settings), settings)

    return open_


def current(catalogue: Catalogue) -> set[str]:
    """The names of the models that the service sells today."""
    return {name for name, entry in catalogue.entries.items() if entry.model.availability == "current"}


def test_family_owns_what_its_tools_sell_and_market_all_others(opened: Open) -> None:
    catalogue = opened()
    owners = {name: entry.provider for name, entry in catalogue.entries.items()}
    assert current(catalogue) == facts.models().keys()
    assert {owners[name] for name in owners.keys() - current(catalogue)} == {"midjourney", "sora2"}
    assert (owners["topaz/image-upscale"], owners["ai-music-api/generate"]) == ("topaz", "suno")
    assert (owners["z-image"], owners["hailuo/2-3-image-to-video-pro"]) == ("market", "market")
    assert catalogue.owned("suno", "ai-music-api/generate") is not None
    assert catalogue.owned("suno", "z-image") is None
    assert catalogue.owned("nano-banana", "google/nano-banana") is not None


def test_model_of_a_disabled_family_is_still_sold_by_market(opened: Open) -> None:
    entry = opened(disabled_providers=("topaz",)).find("topaz/image-upscale")
    assert entry is not None
    assert entry.provider == "market"


def test_model_is_found_by_its_id_without_regard_to_case(opened: Open) -> None:
    found = opened().find("Z-IMAGE")
    assert found is not None
    assert found.name == "z-image"


def test_models_of_retired_families_come_last_and_can_be_left_out(opened: Open) -> None:
    offers = [offer_of_model(entry) for entry in opened().entries.values()]
    states = [offer.availability for offer in best(offers, "sora video", None, None)]
    assert "current" in states
    assert states == sorted(states)
    assert "sora-2-text-to-video" not in opened(availability=("current",)).entries


def test_settings_leave_out_kinds_and_patterns(opened: Open) -> None:
    kinds = {entry.model.kind for entry in opened(kinds=("audio",)).entries.values()}
    assert kinds == {"audio"}
    market = {"allow": ["kling*", "z-image"], "deny": ["kling/*"]}
    names = current(opened(providers={"market": market}))
    assert {name.partition("/")[0] for name in names} == {"kling-2.6", "kling-3.0", "kling-3.0-omni", "z-image"}
    denied = opened(providers={"market": {"deny": "topaz/*"}})
    assert "topaz/image-upscale" not in denied.entries
    assert denied.owned("topaz", "topaz/image-upscale") is not None
    by_variable = opened(provider_variables={"KIE_AI_PROVIDER_MARKET_DENY": "kling/*, z-image"})
    assert "z-image" not in by_variable.entries


def test_data_file_is_not_read_before_a_model_is_asked_for(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def read(file: Path) -> Iterator[Model]:
        reads.append(file.name)
        return iter(())

    monkeypatch.setattr("kie_ai_mcp_market.read_models", read)
    catalogue = opened(enabled_providers=("market",))
    assert reads == []
    assert not catalogue.entries
    assert len(reads) == 1


def test_provider_whose_models_can_not_be_used_is_left_out(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: object) -> object:
        raise ValueError("the file is cut")

    monkeypatch.setattr("kie_ai_mcp_topaz.read_models", broken)
    catalogue = opened()
    assert current(catalogue) == facts.models().keys()
    assert "the file is cut" in catalogue.faults["topaz"][0]


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


# Third parties -------------------------------------------------------------------------------------------------------

TIDAL = """
import time
from kie_ai_mcp import *

@hookimpl
def kie_register_gateways():
    return [Gateway("tidal", "Tidal", "https://tidal.example", unit="drops")]

@hookimpl
def kie_register_models():
    {hook}
    schema = {{"type": "object", "properties": {{"prompt": {{"type": "string"}}}}, "additionalProperties": False}}
    return [Model("{id}", "Tidal", "image", "text-to-image", schema, gateway="{gateway}", price=Price(({price},)))]
"""


def tidal(
    tmp_path: Path, id: str = "wave/1", gateway: str = "tidal", price: str = "PriceLine(3)", hook: str = "pass"
) -> Catalogue:
    """The catalogue of a third-party provider beside this project's own."""
    module = ModuleType("kie_ai_mcp_tidal")
    source = TIDAL.format(id=id, gateway=gateway, price=price, hook=hook)
    exec(compile(source, "kie_ai_mcp_tidal/__init__.py", "exec"), module.__dict__)
    plugins = load(module).plugins
    own = Plugins(Settings.model_validate({"db_path": tmp_path / "tasks.db"}))
    plugins.plugins |= {name: plugin for name, plugin in own.plugins.items() if name == "market"}
    theirs = plugins.hook
    plugins.hook = lambda name, owner: own.hook(name, owner) if owner == "market" else theirs(name, owner)  # type: ignore[method-assign]
    return Catalogue(plugins, Settings.model_validate({"db_path": tmp_path / "tasks.db"}))


def test_model_of_another_service_has_its_prices_in_its_unit(tmp_path: Path) -> None:
    entry = tidal(tmp_path).find("wave/1")
    assert entry is not None
    assert (entry.name, entry.unit, entry.provider) == ("tidal:wave/1", "drops", "tidal")
    assert offer_of_model(entry).price == "3 drops"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"price": 'PriceLine(3, per="~~x")'}, "its Price can't be read: '~~x' is no term"),
        ({"price": 'PriceLine("two")'}, "wave/1 is left out: price.lines[0].credits are 'two', not a finite number"),
        ({"price": "PriceLine(-2)"}, "price.lines[0].credits are -2, not a finite number of at least 0"),
        ({"price": 'PriceLine(float("nan"))'}, "price.lines[0].credits are nan, not a finite number of at least 0"),
        ({"price": 'PriceLine(2, when={"siz": "1K"})'}, "its price names 'siz', which is no field"),
        ({"price": 'PriceLine(2, when={"prompt": 7})'}, "its price tests prompt for 7, which it can't be"),
        ({"price": 'PriceLine(2, when={"prompt": {"nut": "a"}})'}, "price.lines[0].when is "),
        ({"price": 'PriceLine(2),)), rules=tuple((Rule("onlywith", ("prompt",))'}, "rules[0].kind is 'onlywith', not"),
        ({"price": 'PriceLine(2),), checked=str("last week"'}, "price.checked is 'last week', not a day, as"),
        ({"gateway": "nobody"}, "the gateway 'nobody' is registered by no provider"),
        ({"hook": "1 / 0"}, "ZeroDivisionError"),
        ({"id": "z-image", "gateway": "kie"}, "its model z-image belongs to market"),
    ],
)
@pytest.mark.parametrize("way", ["while calls run", "at a start"])
@pytest.mark.anyio
async def test_models_that_can_not_be_used_are_left_out(
    tmp_path: Path, values: dict[str, str], reason: str, way: str
) -> None:
    catalogue = tidal(tmp_path, **values)
    if way == "while calls run":
        await catalogue.load()
    assert {entry.provider for entry in catalogue.entries.values()} == {"market"}
    assert reason in catalogue.faults["tidal"][0]
    assert "(kie_ai_mcp_tidal/__init__.py, line " in catalogue.faults["tidal"][0] or "belongs to" in reason
    assert len(catalogue.faults["tidal"]) == 1


WAVE = """
  "{id}": {{
    "title": "Wave",
    "kind": "image",
    "task": "edit",
    "fields": {{
      "prompt": {{"type": "string"}},
      "size": {{"type": "string", "enum": ["small", "large"]}},
      "image_url": {{"type": "string"}}
    }},
    "media": {{"image_url": {{"kind": "image"}}}},
    "rules": [{{"kind": "needs", "fields": ["size"], "when": {{"image_url": "*"}}}}],
    "price": {{
      "lines": [
        {{"credits": 2, "when": {{"size": "small"}}}},
        {{"credits": 3}}
      ]
    }}
  }}"""
NEEDS = '"needs", "fields": ["size"], "when": {"image_url": "*"}'
WAVES = "{" + ",".join(WAVE.format(id=f"wave/{number}") for number in (1, 2, 3)) + "\n}\n"


def waves(tmp_path: Path, old: str, new: str) -> Catalogue:
    """The catalogue of a provider whose data file has three models, of which the second has a mistake."""
    head, begin, rest = WAVES.partition('  "wave/2"')
    middle, end, tail = rest.partition('  "wave/3"')
    assert old in middle
    (tmp_path / "kie_ai_mcp_tidal").mkdir()
    file = tmp_path / "kie_ai_mcp_tidal/models.json"
    file.write_text(head + begin + middle.replace(old, new, 1) + end + tail, encoding="utf-8")
    return tidal(tmp_path, hook=f"from pathlib import Path; return read_models(Path({str(file)!r}), gateway='tidal')")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"title"', '"titel"', "the entry has the unknown key 'titel' (did you mean 'title'?)@21"),
        ('"price"', '"prices"', "the entry has the unknown key 'prices' (did you mean 'price'?)@31"),
        ('"credits": 3', '"credit": 3', "price.lines[1] has the unknown key 'credit' (did you mean 'credits'?)@34"),
        ('"when": {"image', '"wenn": {"image', "rules[0] has the unknown key 'wenn' (did you mean 'when'?)@30"),
        ('"kind": "image"}}', '"kinds": ""}}', "media.image_url has the unknown key 'kinds' (did you mean 'kind'?)@29"),
        ('"rules": [{', '"rules": [{"size": 1, ', "rules[0] has the unknown key 'size'@30"),
        ('"kind": "image"}}', '"kind": "image", "size": 1}}', "media.image_url has the unknown key 'size'@29"),
        ('{"credits": 2,', '{"credits": 2, "prompt": 1,', "price.lines[0] has the unknown key 'prompt'@33"),
        ('"title": "Wave",', "", "the entry has no key 'title'@20"),
        ('"lines": [', '"lines": 2, "x": [', "price.lines must be a list, not 2@32"),
        ('"kind": "image",', '"kind": "imgae",', "'audio' or 'text' (did you mean 'image'?)@20"),
        ('"needs"', '"need"', "(did you mean 'needs'?)@20"),
        ('"image_url": "*"', '"image_ulr": "*"', "names 'image_ulr', which is no field (did you mean 'image_url'?)@20"),
        ('"size": "small"', '"size": "smal"', "tests size for 'smal', which it can't be (did you mean 'small'?)@20"),
        ('"enum"', '"enmu"', "its field size has 'enmu', which is no keyword of a schema (did you mean 'enum'?)@20"),
        ('"media": {"image_url"', '"media": {"imag_url"', "is no field of text (did you mean 'image_url'?)@20"),
        ('"media"', '"required": ["promt"], "media"', "'promt', which is no field (did you mean 'prompt'?)@20"),
        ('"kind": "image",', '"kind": "image", "kind": "video",', "the entry has the key 'kind' twice@22"),
        ('{"credits": 3}', '{"credits": 3, "credits": 4}', "price.lines[1] has the key 'credits' twice@34"),
        ('"large"]', '"large"], "default": null, "enmu": []', "keyword of a schema (did you mean 'enum'?)@20"),
        ('"large"]', '"large"], "default": "smal"', "which it does not take (did you mean 'small'?)@20"),
        ('{"type": "string"}', '{"type": "integer", "minimum": 1, "default": 0}', "0, which it does not take@20"),
        ('"string", "enum"', '"text", "enum"', "boolean, array, object or null@20"),
        ('"when": {"size": "small"}}', '"per": "size"}', "its price counts size, which is no number@20"),
        ('"when": {"size": "small"}}', '"per": "prompt"}', "its price counts prompt, which is no number@20"),
        ('"when": {"size": "small"}}', '"per": "~image_url"}', "image_url, which is no clip and no sound@20"),
        ('"credits": 3}', '"credits": 3}, {"credits": 4, "when": {"size": "large"}}', "lines[1] does, and is first@20"),
        ('"credits": 3', '"credits": 3, "when": {"size": "small", "prompt": "*"}', "lines[0] does, and is first@20"),
        ('"credits": 3', '"credits": 3, "when": {"size": ["small"]}', "price.lines[0] does, and is first@20"),
        ('"needs"', '"limit"', "its rules[0] (limit) has no bound, so no value breaks it@20"),
        ('"needs"', '"limit", "min": 3, "max": 2', "its rules[0] (limit) allows no value at all@20"),
        ('"needs"', '"limit", "above": 2, "max": 2', "its rules[0] (limit) allows no value at all@20"),
        ('"needs"', '"not_both"', "its rules[0] (not_both) names one field or group alone@20"),
        ('"needs"', '"refers"', "its rules[0] (refers) has no to, so nobody knows what it refers to@20"),
        ('"needs"', '"needs", "max": 2', "has max, which only a rule of the kind limit looks at@20"),
        ('"fields": ["size"]', '"fields": []', "its rules[0] (needs) names no fields@20"),
        (NEEDS, '"only_with", "fields": ["size"]', "has no when, so nothing breaks it@20"),
        (NEEDS, '"only_with", "fields": ["size"], "when": {}', "has no when, so nothing breaks it@20"),
        ('"credits": 3', '"credits": 3, "each": 1000', "price.lines[1] has each without per, so it counts nothing@20"),
        ('"lines": [', '"plus": [', "its price has no lines@20"),
        ('"kind": "image"}}', '"kind": "image", "formats": ""}}', "formats are '', not a list (in Python, a tuple)@20"),
    ],
)  # fmt: skip
def test_mistake_in_an_entry_leaves_out_that_model_alone(tmp_path: Path, old: str, new: str, fault: str) -> None:
    catalogue = waves(tmp_path, old, new)
    assert [name for name in catalogue.entries if name.startswith("tidal:")] == ["tidal:wave/1", "tidal:wave/3"]
    (said,) = catalogue.faults["tidal"]
    reason, _, line = fault.partition("@")
    assert said.startswith("its model wave/2 is left out: ")
    assert said.endswith(f"{reason} (kie_ai_mcp_tidal/models.json, line {line})")
    assert reason in catalogue.unknown("model", "tidal:wave/2").message
    assert "wave/2" in catalogue.ids("tidal")  # so that it is not told as new at the service


def test_model_that_stands_twice_is_left_out_where_it_stands_again(tmp_path: Path) -> None:
    end = '"credits": 3}\n      ]\n    }\n  },'
    catalogue = waves(tmp_path, end, end.replace("3", "9") + '\n  "wave/2": {"title": "Another"},')
    kept = catalogue.find("wave/2")
    assert kept is not None
    assert "9" in str(kept.model.price)
    (said,) = catalogue.faults["tidal"]
    where = "(kie_ai_mcp_tidal/models.json, line 38)"
    assert said == f"its model wave/2 is left out: its id stands twice, first in line 20 {where}"
    first, second, third = read_models(
        '{"a": {"title": "", "kind": "image", "task": "", "fields": {}}, "a": {}, "a": {}}'
    )
    assert (first.fault, second.fault, third.fault) == ("", *["its id stands twice, first in line 1"] * 2)


def test_misspelt_argument_of_read_models_is_blamed_on_the_call(tmp_path: Path) -> None:
    hook = "return read_models('{}', gateway='tidal', wraped=False)"
    catalogue = tidal(tmp_path, hook=hook)
    assert catalogue.find("wave/1") is None
    (said,) = catalogue.faults["tidal"]
    assert "read_models was called with wraped=, which is no field of Model (did you mean 'wrapped'?)" in said
    assert said.endswith("(kie_ai_mcp_tidal/__init__.py, line 11)")


def test_unknown_gateway_of_a_call_is_named_with_the_nearest_and_the_call(tmp_path: Path) -> None:
    hook = f"return read_models({WAVE.format(id='wave/1').join('{}')!r}, gateway='tydal')"
    catalogue = tidal(tmp_path, hook=hook)
    assert catalogue.find("wave/1") is None
    (said,) = catalogue.faults["tidal"]
    assert "the gateway 'tydal' is registered by no provider (did you mean 'tidal'?); its entry names it, or " in said
    assert "the call of read_models (kie_ai_mcp_tidal/__init__.py, line 9) (line 2 of its data file)" in said


def test_data_file_that_is_no_json_is_named_with_its_line(tmp_path: Path) -> None:
    catalogue = waves(tmp_path, '"media": {', '"media" {')
    assert catalogue.find("wave/1") is None
    (said,) = catalogue.faults["tidal"]
    assert "models kie_ai_mcp_tidal/models.json is no JSON object: Expecting ':' delimiter: line 29" in said


def test_mistake_in_the_text_of_a_data_file_is_found_by_its_line() -> None:
    first, second, _ = read_models(WAVES.replace('"title"', '"titel"', 1))
    assert (first.fault[:20], first.source) == ("the entry has the un", "line 3 of its data file")
    assert (second.fault, second.source) == ("", "line 20 of its data file")


@pytest.mark.anyio
async def test_provider_that_takes_long_holds_up_no_other_call(tmp_path: Path) -> None:
    catalogue, ticks = tidal(tmp_path, hook="time.sleep(0.4)"), 0
    async with anyio.create_task_group() as group:
        group.start_soon(catalogue.load)
        while catalogue._registered is None:
            await anyio.sleep(0.01)
            ticks += 1
    assert ticks > 10
    assert catalogue.find("wave/1") is not None
