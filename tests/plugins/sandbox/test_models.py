"""Every model that the sandbox sells, and what it hands out: called as the market endpoints call them."""

import io
import json
import wave
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from PIL import Image

from kie_ai_mcp import Model, Price, PriceLine
from kie_ai_mcp._models.pricing import estimate
from kie_ai_mcp_sandbox import files, installed, market, sounds
from kie_ai_mcp_sandbox.prices import USUAL_S, Bill, listed, words
from kie_ai_mcp_sandbox.service import Service, Settings
from kie_ai_mcp_sandbox.tasks import Task
from tests.service import facts

ORIGIN = "http://127.0.0.1:1"
BEGINNINGS = {"png": b"\x89PNG", "jpg": b"\xff\xd8\xff", "mp4": b"ftyp", "mp3": b"ID3", "wav": b"WAVE"}


@pytest.fixture
def service() -> Service:
    return Service(Settings(rate_limit=10_000, credits=1e9))


def smallest(schema: Mapping[str, Any]) -> Any:
    """Return a small value that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: smallest(fields.get(name, {})) for name in schema.get("required", fields)}
        case "array":
            return [smallest(schema["items"])] * max(schema.get("minItems", 1), 1)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    return "https://example.com/a.png" if schema.get("format") == "uri" else "a fox"


def made(service: Service, name: str, /, **sent: Any) -> Task:
    """Buy a model with these arguments and those that it needs besides, and let it finish."""
    body = {"model": name, "input": {**smallest(service.models[name].input), **sent}}
    answer = market.create(service, market.CREATE, body, ORIGIN)
    task = service.tasks[answer["taskId"]]
    task.end(service.now())
    return task


def response(service: Service, task: Task) -> Any:
    record = market.record(task, service.now())
    assert json.loads(record["resultJson"]) == record["response"]
    return record["response"]


SHAPES = {
    "square": "1:1",
    "square_hd": "1:1",
    "portrait_4_3": "3:4",
    "portrait_3_2": "2:3",
    "portrait_16_9": "9:16",
    "landscape_4_3": "4:3",
    "landscape_3_2": "3:2",
    "landscape_16_9": "16:9",
    "landscape_21_9": "21:9",
    "auto": "1:1",
    "Auto": "1:1",
}
"""What the names mean that models have for shapes; those of clips, which all look alike, are left out."""


@pytest.mark.parametrize("field", ["aspect_ratio", "image_size"])
def test_picture_has_each_shape_that_a_model_names(service: Service, field: str) -> None:
    pictures = [each for each in service.models.values() if each.kind == "image"]
    fields = {each.id: each.input.get("properties", {}).get(field, {}) for each in pictures}
    offers = {shape: model for model, schema in fields.items() for shape in schema.get("enum", ())}
    assert {"1:1", "auto" if field == "aspect_ratio" else "portrait_3_2"} <= offers.keys()
    for shape, model in offers.items():
        task = made(service, model, **{field: shape})
        content, _ = files.read(service, task.results[0].rpartition("/")[2]) or (b"", "")
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
        meant = [int(side) for side in SHAPES.get(shape, shape).split(":")]
        assert width / height == pytest.approx(meant[0] / meant[1], rel=0.01), (model, shape)


def content(service: Service, address: str) -> bytes:
    found = files.read(service, address.partition("/files/")[2])
    assert found is not None, address
    return found[0]


def addresses(value: Any) -> list[str]:
    """Return every address in a result."""
    if isinstance(value, str):
        return [value] if value.startswith("http") else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [address for item in items for address in addresses(item)]


def test_every_model_takes_its_smallest_input_and_makes_its_kind(service: Service) -> None:
    seen: dict[str, str] = {}
    for model in service.models.values():
        task = made(service, model.id)
        result = response(service, task)
        urls = addresses(result)
        assert (model.kind == "text") == (not urls), model.id
        endings = {url.rpartition(".")[2] for url in urls}
        wanted = {"image": {"png", "jpg"}, "video": {"mp4"}, "audio": {"mp3", "wav", "jpg"}, "text": set()}
        assert endings <= wanted[model.kind], model.id
        assert task.credits > 0 or (model.price and model.price.lines[0].credits == 0), model.id
        seen |= {url.rpartition(".")[2]: url for url in urls}
    assert seen.keys() == BEGINNINGS.keys()
    for ending, url in seen.items():
        assert BEGINNINGS[ending] in content(service, url)[:12], ending


def test_all_models_of_the_service_are_there() -> None:
    assert installed.models().keys() >= facts.models().keys()


def test_pictures_have_the_format_that_is_asked_for_or_usual(service: Service) -> None:
    asked = [{}, {"output_format": "webp"}, {"output_format": "jpeg"}]
    urls = [
        addresses(response(service, made(service, "qwen2-1/text-to-image", prompt="a fox", **one)))[0] for one in asked
    ]
    formats = []
    for url in [*urls, *addresses(response(service, made(service, "nano-banana-2", prompt="a fox")))]:
        with Image.open(io.BytesIO(content(service, url))) as image:
            formats.append(image.format)
    assert formats == ["PNG", "WEBP", "JPEG", "JPEG"]


def test_cut_out_pictures_and_layers_are_transparent(service: Service) -> None:
    modes = []
    for model in ("recraft/remove-background", "seedream/5-pro-layer-decomposition", "recraft/crisp-upscale"):
        url = addresses(response(service, made(service, model)))[-1]
        with Image.open(io.BytesIO(content(service, url))) as image:
            modes.append(image.mode)
    assert modes == ["RGBA", "RGBA", "RGB"]


@pytest.mark.parametrize(
    ("model", "sent", "count"),
    [
        ("bytedance/seedream-v4-text-to-image", {"max_images": 5}, 5),
        ("ideogram/character", {"num_images": "3", "reference_image_urls": ["https://a/b.png"]}, 3),
        ("wan/2-7-image", {"n": 7}, 7),
        ("wan/2-7-image", {}, 4),
        ("grok-imagine/text-to-image", {}, 2),
        ("ai-music-api/cover-generate", {"task_id": "t"}, 2),
        ("seedream/5-pro-layer-decomposition", {"image_url": "https://a/b.png", "size": "1K"}, 3),
        ("google/imagen4", {}, 1),
    ],
)
def test_as_many_results_are_made_as_asked_for(service: Service, model: str, sent: dict[str, Any], count: int) -> None:
    urls = addresses(response(service, made(service, model, prompt="a fox", **sent)))
    assert len(set(urls)) == len(urls) == count


def test_music_is_two_tracks_that_can_be_played(service: Service) -> None:
    task = made(service, "ai-music-api/generate", model="V6", title="Übersee")
    tracks = response(service, task)["data"]
    assert [track["title"] for track in tracks] == ["Übersee", "Übersee (2)"]
    assert len({track["id"] for track in tracks}) == 2
    for track in tracks:
        assert track["model_name"] == "V6"
        for name in ("audio_url", "stream_audio_url"):
            assert sounds.seconds_of(content(service, track[name])) == pytest.approx(track["duration"], abs=0.1)
        assert content(service, track["image_url"]).startswith(b"\xff\xd8")


def test_sounds_are_whole_files_of_their_own(service: Service) -> None:
    name = "ai-music-api/convert-to-wav-format"
    first, second = (
        content(service, *addresses(response(service, made(service, name, task_id="t", audio_id="a"))))
        for _ in range(2)
    )
    assert first != second
    assert int.from_bytes(first[4:8], "little") == len(first) - 8
    with wave.open(io.BytesIO(first)) as sound:
        assert sound.getnframes() / sound.getframerate() == sounds.SECONDS
    assert sounds.seconds_of(first) == sounds.SECONDS
    assert sounds.seconds_of(b"no sound") is None


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        ({}, ["vocals", "instrumental"]),
        ({"type": "split_stem_advanced", "stem_name": "Drum Kit"}, ["drum-kit", "rest"]),
    ],
)
def test_stems_are_files_with_names(service: Service, sent: dict[str, Any], names: list[str]) -> None:
    task = made(service, "ai-music-api/separate-vocals", audio_url="https://a/b.mp3", **sent)
    urls = response(service, task)["resultUrls"]
    assert [url.rpartition("/")[2].split("-", 2)[2] for url in urls] == [f"{name}.mp3" for name in names]
    assert all(content(service, url).startswith(b"ID3") for url in urls)


def test_data_is_told_in_the_shape_of_its_model(service: Service) -> None:
    def data(model: str, **sent: Any) -> Any:
        return response(service, made(service, model, **sent))["resultObject"]

    lyrics = data("ai-music-api/generate-lyrics", prompt="a fox in the snow")
    assert ["a fox in the snow" in song["text"] for song in lyrics["lyricsData"]] == [True, True]
    segments = data("grok-imagine-image-2-0/segment-map", image_url="https://a/b.png")
    assert [segment["index"] for segment in segments["segments"]] == [1, 2, 3]
    notes = data("ai-music-api/generate-midi-from-audio", task_id="t")
    assert notes["instruments"][0]["notes"][0].keys() == {"pitch", "start", "end", "velocity"}
    masks = data("omnihuman-1-5/subject-detection", image_url="https://a/b.png")["mask_urls"]
    assert all(content(service, url).startswith(b"\x89PNG") for url in masks)


def test_large_veo_results_stand_elsewhere(service: Service) -> None:
    small, large = (made(service, "veo-3-1", prompt="a fox", resolution=name) for name in ("720p", "4k"))
    assert response(service, small) == {"resultUrls": small.results}
    assert response(service, large)["data"]["result_urls"] == large.results
    assert content(service, response(service, large)["data"]["origin_urls"][0])[4:8] == b"ftyp"


def test_first_and_last_frame_come_where_they_are_asked_for(service: Service) -> None:
    task = made(service, "bytedance/seedance-2", prompt="a fox", return_last_frame=True)
    assert response(service, task).keys() == {"resultUrls", "firstFrameUrl", "lastFrameUrl"}
    assert len(addresses(response(service, task))) == 3


@pytest.mark.parametrize(
    ("model", "sent", "credits"),
    [
        ("nano-banana-2", {"resolution": "2K"}, 12),
        ("bytedance/seedance-2", {"resolution": "720p", "duration": 4}, 164),
        (
            "bytedance/seedance-2",
            {"resolution": "720p", "duration": 4, "reference_video_urls": ["https://a/b.mp4"]},
            225,
        ),
        ("elevenlabs/text-to-speech-turbo-2-5", {"text": "x" * 500}, 3),
        ("seedream/5-pro-image-to-image", {"quality": "high", "image_urls": ["https://a/b.png"] * 3}, 15),
        ("seedream/5-pro-layer-decomposition", {"size": "2K", "image_url": "https://a/b.png"}, 42),
        ("flux1-kontext", {}, 5),
        ("runway/extend-ai-video", {"task_id": "t", "quality": "720p"}, 10),
    ],
)
def test_price_is_that_of_the_models_data(service: Service, model: str, sent: dict[str, Any], credits: float) -> None:
    assert made(service, model, **sent).credits == credits


def test_charge_agrees_with_the_estimate_of_every_model(service: Service) -> None:
    """Neither reads a price with the other's code."""
    compared = 0
    for model in service.models.values():
        needed = smallest(model.input)
        for sent in (needed, *({**needed, **other} for other in variations(model))):
            expected = estimate(model, sent, dict.fromkeys(addresses(sent), USUAL_S))
            if expected.credits is not None:
                charged = made(service, model.id, **sent).credits
                is_right = charged <= expected.credits if expected.at_most else charged == expected.credits
                assert is_right, (model.id, sent, charged, expected)
                compared += 1
    assert compared > 1_000


def variations(model: Model) -> Iterator[dict[str, Any]]:
    """Yield each value of each field that has few, one at a time."""
    for name, schema in model.input["properties"].items():
        values = schema.get("enum") or ((True, False) if schema.get("type") == "boolean" else ())
        yield from ({name: value} for value in values)
        yield from ({name: schema[limit]} for limit in ("minimum", "maximum") if limit in schema)
        if schema.get("type") == "array":
            yield {name: smallest(schema) * 2}


def test_seconds_of_own_files_are_measured(service: Service) -> None:
    clip = made(service, "google/gemini-omni-flash-1-1", prompt="a fox", duration="4").results[0]
    sent = {"input_urls": ["https://a/b.png"], "video_urls": [clip], "mode": "720p", "character_orientation": "image"}
    assert made(service, "kling-2.6/motion-control", **sent).credits == pytest.approx(2 * 11)


def test_bill_reads_every_sort_of_term_and_condition() -> None:
    price = Price(
        (
            PriceLine(1, {"mode": {"not": ["fast"]}, "clips": None}),
            PriceLine(2, ({"clips": "*"}, {"mode": "slow"}), per="#clips + 2 #texts[].say - ?mode"),
            PriceLine(3, {"size": ["1K", None]}, per="length", each=2),
            PriceLine(4),
        ),
        plus=(PriceLine(10, {"mode": True}, per="~clips", after=1),),
        unset={"length": 8},
    )

    def credits(**sent: Any) -> float:
        return Bill(sent, facts={}, seconds=lambda _: 4.0).credits(price)

    assert credits(mode="slow") == 1
    assert credits(clips=["a"], texts=[{"say": "abc"}]) == 2 * (1 + 6)
    assert credits(mode="fast") == 3 * 8 / 2
    assert credits(mode="fast", size="2K") == 4
    assert credits(mode=True, clips=["a", "b"]) == 2 * (2 - 1) + 10 * (8 - 1)


def test_price_is_put_into_words() -> None:
    assert words(None) is None
    assert words(listed(0)) == "free."
    assert words(listed(8, ({"resolution": "2K", "sound": True}, 12), times=("duration", 5))) == (
        "12 credits ($0.06) per second for 2K with sound; 8 credits ($0.04) per second."
    )


def test_family_wins_over_the_market_and_a_broken_provider_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(title: str, provider: str) -> Any:
        class Entry:
            name = provider

            @staticmethod
            def load() -> Any:
                if title == "broken":
                    raise ImportError

                class Plugin:
                    @staticmethod
                    def kie_register_models(settings: Mapping[str, Any]) -> list[Any]:
                        return [Model("tide/one", title, "video", "text-to-video", {}), "no model"]

                return Plugin

        return Entry

    entries = [entry("broken", "a"), entry("Family", "tide"), entry("Market", installed.MARKET)]
    monkeypatch.setattr(installed, "entry_points", lambda group: entries)
    installed.models.cache_clear()
    try:
        found = installed.models()
    finally:
        installed.models.cache_clear()
    assert found["tide/one"].title == "Family"
    assert "google/nano-banana" in found
