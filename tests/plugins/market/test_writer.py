"""Writer of the data files: what differs is told in words, and what only prose says survives a live rebuild."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from kie_ai_mcp import read_models

TOOL = Path(__file__).parents[3] / "tools" / "market_models.py"

ENTRIES: dict[str, Any] = {
    "clip/old": {"title": "Old Clip", "kind": "video", "task": "other", "checked": "2026-10-01", "fields": {"a": {}}},
    "maker/clip": {
        "title": "Clip 1",
        "kind": "video",
        "task": "image-to-video",
        "checked": "2026-10-01",
        "tool": "make_clip",
        "notes": ["duration -1: the model chooses"],
        "fields": {
            "prompt": {"type": "string", "maxLength": 500},
            "duration": {"type": "integer", "enum": [-1, 4, 5], "default": 5},
            "size": {"type": "string", "enum": ["480p", "720p"]},
            "style": {"type": "string"},
            "shots": {"type": "array", "items": {"type": "object", "properties": {"image_url": {"type": "string"}}}},
        },
        "required": ["prompt"],
        "media": {"shots[].image_url": {"kind": "image", "most_mb": 10}},
        "rules": [{"kind": "not_both", "fields": ["style", "size"]}],
        "price": {"lines": [{"credits": 2, "per": "duration"}], "checked": "2026-10-01"},
    },
}
PUBLISHED = {
    "type": "object",
    "required": ["prompt", "size"],
    "properties": {
        "prompt": {"type": "string", "maxLength": 1000, "description": "What to make."},
        "duration": {"type": "integer", "minimum": -1, "maximum": 5, "default": 5},
        "size": {"type": "string", "enum": ["720p", "1080p"]},
        "seed": {"type": "integer"},
        "shots": {"type": "array", "items": {"type": "object", "properties": {"image_url": {"type": "object"}}}},
    },
}


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Return a folder of plugins whose market has two models."""
    file = data_file(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(ENTRIES), encoding="utf-8")
    return tmp_path


def data_file(plugins: Path) -> Path:
    return plugins / "market" / "src" / "kie_ai_mcp_market" / "models.json"


def serve(server: HTTPServer, schemas: dict[str, Any], price: str = "2 credits per second") -> None:
    """Serve a list of models and their schemas; None is a model of which none is published."""
    server.clear()
    models = [
        {"model": name, "title": name.title(), "taskType": ["Text to Video"], "pricingDesc": price} for name in schemas
    ]
    server.expect_request("/models", headers={"Authorization": "Bearer k"}).respond_with_json(
        {"code": 200, "msg": "success", "data": {"total": len(models), "models": models}}
    )
    for name, taken in schemas.items():
        body = {"properties": {"input": taken}}
        operation = {"post": {"requestBody": {"content": {"application/json": {"schema": body}}}}}
        openapi = {"paths": {"/api/v1/jobs/createTask": operation}} if taken else None
        server.expect_request(f"/models/{name}/schema").respond_with_json(
            {"code": 200, "msg": "success", "data": {"model": name, "openapi": openapi}}
        )


Rebuild = Callable[..., tuple[int | str | None, set[str]]]


@pytest.fixture
def rebuild(plugins: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rebuild:
    """Return a call of the tool on the folder of plugins: how it ends, and the lines that it prints."""
    monkeypatch.setenv("KIE_AI_API_KEY", "k")
    monkeypatch.setenv("NO_PROXY", "*")
    tool = runpy.run_path(str(TOOL))

    def run(*arguments: object) -> tuple[int | str | None, set[str]]:
        try:
            ended = tool["main"]([*map(str, arguments), "--pause", "0", "--plugins", str(plugins)])
        except SystemExit as exc:
            ended = exc.code
        return ended, set(capsys.readouterr().out.splitlines())

    return run


def test_live_catalogue_ahead_of_the_file_is_told_in_words(
    plugins: Path, rebuild: Rebuild, httpserver: HTTPServer
) -> None:
    serve(httpserver, {"maker/clip": PUBLISHED, "maker/new": {"properties": {"prompt": {}}}, "chat/one": None})
    assert rebuild("live", httpserver.url_for("/")) == (
        1,
        {
            "maker/clip: prompt maxLength is 1000, was 500",
            'maker/clip: size enum: "1080p" is new',
            'maker/clip: size enum: "480p" is gone',
            'maker/clip: seed is new: {"type": "integer"}',
            "maker/clip: style is gone",
            'maker/clip: required: "size" is new',
            "maker/clip: rules still names style, which is gone",
            "maker/new: new, Maker/New, makes video",
            "maker/new: its files, rules, price, kind and task are to be written by hand",
            "chat/one: new, but its schema was not read: nothing is published",
            "clip/old: not listed; it stays until you remove it",
        },
    )
    assert json.loads(data_file(plugins).read_text(encoding="utf-8")) == ENTRIES


def test_live_rebuild_keeps_what_the_service_does_not_publish(
    plugins: Path, rebuild: Rebuild, httpserver: HTTPServer
) -> None:
    serve(httpserver, {"maker/clip": PUBLISHED})
    rebuild("live", httpserver.url_for("/"), "--write")
    written = json.loads(data_file(plugins).read_text(encoding="utf-8"))
    before, after = ENTRIES["maker/clip"], written["maker/clip"]
    kept = ("title", "tool", "notes", "media", "rules", "price")
    assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
    assert after["fields"]["duration"] == before["fields"]["duration"]
    assert after["fields"]["shots"] == before["fields"]["shots"]
    assert after["checked"] > before["checked"]
    assert written["clip/old"] == ENTRIES["clip/old"]
    assert [model.id for model in read_models(data_file(plugins).read_text(encoding="utf-8"))] == list(ENTRIES)


def test_second_live_rebuild_of_the_same_catalogue_finds_no_difference(
    plugins: Path, rebuild: Rebuild, httpserver: HTTPServer
) -> None:
    serve(httpserver, {"maker/clip": PUBLISHED, "clip/old": {"properties": {"a": {}}}})
    rebuild("live", httpserver.url_for("/"), "--write")
    assert rebuild("live", httpserver.url_for("/")) == (0, set())


def test_price_text_that_changed_since_the_last_rebuild_is_named(
    plugins: Path, rebuild: Rebuild, httpserver: HTTPServer
) -> None:
    serve(httpserver, {"clip/old": {"properties": {"a": {}}}})
    rebuild("live", httpserver.url_for("/"), "--write")
    serve(httpserver, {"clip/old": {"properties": {"a": {}}}}, price="3 credits per second")
    assert "clip/old: the price text is another; read it" in rebuild("live", httpserver.url_for("/"))[1]


def test_service_that_is_asked_too_fast_is_asked_again(plugins: Path, rebuild: Rebuild, httpserver: HTTPServer) -> None:
    busy = {"code": 429, "msg": "Your call frequency is too high.", "data": None}
    httpserver.expect_oneshot_request("/models").respond_with_json(busy)
    httpserver.expect_request("/models").respond_with_json({"code": 200, "msg": "", "data": {"models": []}})
    assert rebuild("live", httpserver.url_for("/")) == (
        0,
        {f"{name}: not listed; it stays until you remove it" for name in ENTRIES},
    )


def test_unreadable_list_changes_nothing_and_says_what_to_check(
    plugins: Path, rebuild: Rebuild, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/models").respond_with_json({"code": 401, "msg": "You do not have access permissions"})
    refusal = "The list of models was not read: code 401: You do not have access permissions."
    assert rebuild("live", httpserver.url_for("/"), "--write") == (
        f"{refusal} Check the address and KIE_AI_API_KEY.",
        set(),
    )
    assert json.loads(data_file(plugins).read_text(encoding="utf-8")) == ENTRIES


def test_facts_ahead_of_the_file_are_told_and_written(plugins: Path, rebuild: Rebuild, tmp_path: Path) -> None:
    models = {
        "maker/clip": {
            "kind": "video", "task": "image-to-video", "checked": "2026-10-01",
            "input": {
                "anyOf": [{"properties": {"a_url": {"format": "uri"}}}, {"properties": {"n": {"minimum": 1}}}],
            },
        }
    }  # fmt: skip
    facts = {
        "models": models,
        "model_rules": {"maker/clip": [
            {"kind": "exactly_one", "fields": ["a_url", "n"]},
            {"kind": "schema", "fields": ["n"], "add": {"enum": [1, 2]}},
        ]},
        "model_media": {"maker/clip": {"a_url": {"kind": "image"}}},
        "model_prices": {
            "maker/clip": {"lines": [{"credits": 3, "source": "M"}], "checked": "2026-10-02", "source": "M"}
        },
    }  # fmt: skip
    for name, content in facts.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    assert rebuild("facts", tmp_path)[0] == 1
    ended, lines = rebuild("facts", tmp_path, "--write")
    assert ended == 0
    assert {
        "clip/old: gone",
        "maker/clip: a_url is new: {}",
        'maker/clip: n is new: {"enum": [1, 2]}',
        'maker/clip: price lines: {"credits": 3} is new',
    } <= lines
    assert json.loads(data_file(plugins).read_text(encoding="utf-8")) == {
        "maker/clip": {
            "title": "Clip 1", "kind": "video", "task": "image-to-video", "checked": "2026-10-01",
            "tool": "make_clip", "notes": ["duration -1: the model chooses"],
            "fields": {"a_url": {}, "n": {"enum": [1, 2]}},
            "media": {"a_url": {"kind": "image"}},
            "rules": [{"kind": "exactly_one", "fields": ["a_url", "n"]}],
            "price": {"lines": [{"credits": 3}], "checked": "2026-10-02"},
        }
    }  # fmt: skip
    assert rebuild("facts", tmp_path) == (0, set())


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("model_media.json", None, "has no model_media.json. The facts of this repository are in tests/service."),
        ("model_rules.json", "{,", "model_rules.json is no JSON: "),
        ("model_prices.json", '{"maker/clap": {}}', "model_prices.json names maker/clap; models.json has no such"),
        ("models.json", '{"maker/new": {}}', "maker/new: 'kind' is missing in its facts"),
        ("model_media.json", '{"maker/new": {"a": {}}}', "maker/new: 'a' is missing in its facts, or no field is"),
    ],
)
def test_fact_that_is_missing_or_wrong_is_named_in_words(
    plugins: Path, rebuild: Rebuild, tmp_path: Path, name: str, text: str | None, reason: str
) -> None:
    for other in ("model_rules.json", "model_media.json", "model_prices.json"):
        (tmp_path / other).write_text("{}", encoding="utf-8")
    models = {"maker/new": {"kind": "image", "task": "text-to-image", "input": {}}}
    (tmp_path / "models.json").write_text(json.dumps(models), encoding="utf-8")
    if text is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(text, encoding="utf-8")
    ended, lines = rebuild("facts", tmp_path, "--write")
    assert reason in str(ended)
    assert lines == set()
    assert json.loads(data_file(plugins).read_text(encoding="utf-8")) == ENTRIES


def test_new_model_of_the_facts_asks_for_its_title(plugins: Path, rebuild: Rebuild, tmp_path: Path) -> None:
    for other in ("model_rules.json", "model_media.json", "model_prices.json"):
        (tmp_path / other).write_text("{}", encoding="utf-8")
    models = {"maker/new": {"kind": "image", "task": "text-to-image", "input": {"properties": {"prompt": {}}}}}
    (tmp_path / "models.json").write_text(json.dumps(models), encoding="utf-8")
    assert f"maker/new: write its title into {data_file(plugins)}" in rebuild("facts", tmp_path, "--write")[1]
    assert json.loads(data_file(plugins).read_text(encoding="utf-8"))["maker/new"]["title"] == "maker/new"
    assert rebuild("facts", tmp_path) == (0, set())
