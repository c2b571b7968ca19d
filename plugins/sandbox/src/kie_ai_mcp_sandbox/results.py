"""Results of market models: which files a task makes, and the shape in which its record names them."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from kie_ai_mcp import Model
from kie_ai_mcp_sandbox import sounds
from kie_ai_mcp_sandbox.prices import Bill, number
from kie_ai_mcp_sandbox.tasks import Task

MOST = 15
COUNTS = ("num_images", "n", "max_images")
"""Fields that say how many results are wanted."""

SEVERAL: Mapping[str, int] = {
    "grok-imagine/text-to-image": 2,
    "ai-music-api/cover-generate": 2,
    "seedream/5-pro-layer-decomposition": 3,
    "seedream/5-flash-layer-decomposition": 3,
    "omnihuman-1-5/subject-detection": 2,
}
"""Models that make several results without being asked; of a decomposition the base picture is the first."""

TRACKS = 2
FILES_OF_TRACKS = ("ai-music-api/convert-to-wav-format", "ai-music-api/separate-vocals")
STEMS = ("vocals", "backing-vocals", "drums", "bass", "guitar", "keyboard", "percussion", "strings", "synth", "fx")
VERSE = "[Verse]\nA line that nobody sang before\nAnother one, and then one more"
NOTES = ((60, 0.0), (64, 0.25), (67, 0.5), (72, 0.75))


def files_of(model: Model, sent: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the files that a request makes: ``1.png``, ``2-drums.mp3``."""
    if model.kind == "text":
        return ()
    ending = _ending(model, sent)
    if model.id == "ai-music-api/separate-vocals":
        return tuple(f"{n}-{stem}.{ending}" for n, stem in enumerate(_stems(sent), 1))
    if model.id.endswith("layer-decomposition"):
        return (f"1.{ending}", *(f"{n}-layer.png" for n in range(2, SEVERAL[model.id] + 1)))
    return tuple(f"{n}.{ending}" for n in range(1, _count(model, sent) + 1))


def _count(model: Model, sent: Mapping[str, Any]) -> int:
    if is_music(model):
        return TRACKS
    fields = model.input.get("properties", {})
    usual = SEVERAL.get(model.id, 1)
    for name in COUNTS:
        if name in fields:
            unset = Bill(sent, defaults_of(model)).unset(model.price) if model.price else defaults_of(model)
            return int(min(number(sent.get(name), number(unset.get(name), usual)), MOST))
    return usual


def defaults_of(model: Model) -> dict[str, Any]:
    """Return what counts for fields that are left out, by the model's schema."""
    fields = model.input.get("properties", {})
    return {name: field["default"] for name, field in fields.items() if field.get("default") is not None}


def _ending(model: Model, sent: Mapping[str, Any]) -> str:
    if model.kind == "audio":
        return "wav" if "wav" in model.id or "gemini" in model.id else "mp3"
    field = model.input.get("properties", {}).get("output_format", {})
    wanted = str(sent.get("output_format") or field.get("default") or "")
    if model.kind == "video":
        return "mov" if wanted == "mov" else "mp4"
    return {"jpeg": "jpg", "jpg": "jpg", "webp": "webp"}.get(wanted, "png")


def _stems(sent: Mapping[str, Any]) -> tuple[str, ...]:
    match sent.get("type"):
        case "split_stem":
            return STEMS
        case "split_stem_advanced":
            return str(sent.get("stem_name") or "stem").lower().replace(" ", "-"), "rest"
    return "vocals", "instrumental"


def is_music(model: Model) -> bool:
    """Return whether a model makes tracks of music or sound."""
    return model.id.startswith("ai-music-api/") and model.kind == "audio" and model.id not in FILES_OF_TRACKS


def shaped(task: Task) -> dict[str, Any]:
    """Return what the record of a finished task holds as ``response``, and as text in ``resultJson``."""
    if task.offer and is_music(task.offer):
        return {"data": [_track(task, n) for n in range(1, task.count + 1)]}
    if data := DATA.get(task.model):
        return {"resultObject": data(task)}
    if task.kind == "text":
        return {"resultObject": {"text": f"What {task.model} says: {task.argument('prompt', 'text', 'content')}"}}
    if task.model == "veo-3-1" and task.argument("resolution", default="720p") != "720p":
        origin = [task.file(f"{n}-origin.mp4") for n in range(1, task.count + 1)]
        return {"data": {"result_urls": task.results, "origin_urls": origin}}
    result: dict[str, Any] = {"resultUrls": task.results}
    if task.body["input"].get("return_last_frame"):
        result |= {"firstFrameUrl": [task.file("1-first.png")], "lastFrameUrl": [task.file("1-last.png")]}
    return result


def _track(task: Task, n: int) -> dict[str, Any]:
    title = task.argument("title", default="Sandbox song")
    return {
        "id": f"track-{n}-{task.task_id}",
        "audio_url": task.file(f"{n}.mp3"),
        "stream_audio_url": task.file(f"{n}-stream.mp3"),
        "image_url": task.file(f"{n}-cover.jpg"),
        "prompt": task.argument("lyrics", "prompt"),
        "model_name": task.body["input"].get("model") or "V6",
        "title": title if n == 1 else f"{title} ({n})",
        "tags": task.argument("style", "tags"),
        "createTime": int(task.created * 1000),
        "duration": sounds.SECONDS,
    }


def _lyrics(task: Task) -> dict[str, Any]:
    about = task.argument("prompt")
    return {
        "lyricsData": [
            {"text": f"{VERSE}\n({about}, {n})", "title": f"Song {n}", "status": "complete", "errorMessage": ""}
            for n in (1, 2)
        ]
    }


def _words(_: Task) -> dict[str, Any]:
    words = VERSE.split()[1:]
    timed = [
        {"word": word, "success": True, "startS": n / 10, "endS": (n + 1) / 10, "palign": 0}
        for n, word in enumerate(words)
    ]
    return {"alignedWords": timed, "waveformData": [0, 0.5, 1, 0.5], "hootCer": 0.1, "isStreamed": False}


def _notes(_: Task) -> dict[str, Any]:
    notes = [{"pitch": pitch, "start": start, "end": start + 0.25, "velocity": 0.8} for pitch, start in NOTES]
    return {"state": "complete", "instruments": [{"name": "Piano", "notes": notes}]}


def _segments(task: Task) -> dict[str, Any]:
    names = ("person", "sky", "ground")
    segments = [{"index": n, "label": name, "area": 0.3} for n, name in enumerate(names, 1)]
    return {"taskId": task.task_id, "segments": segments}


def _voice(task: Task) -> dict[str, Any]:
    return {"voiceId": f"voice-{task.task_id}", "name": task.argument("voice_name", default="Sandbox voice")}


def _phrase(task: Task) -> dict[str, Any]:
    words = ["amber", "river", "seven", "paper", "north", "candle", "violet", "stone"]
    return {"validateInfo": " ".join(random.Random(task.task_id).sample(words, 4))}  # noqa: S311  no secret


DATA: Mapping[str, Callable[[Task], dict[str, Any]]] = {
    "ai-music-api/generate-lyrics": _lyrics,
    "ai-music-api/timeStamped-lyrics": _words,
    "ai-music-api/generate-midi-from-audio": _notes,
    "ai-music-api/boost-music-style": lambda task: {"result": f"{task.argument('content')}, warm analog synths"},
    "ai-music-api/check-voice": lambda _: {"isAvailable": True},
    "ai-music-api/create-voice": _voice,
    "ai-music-api/generate-persona": lambda task: {
        "personaId": f"persona-{task.task_id}",
        "name": task.argument("name"),
        "description": task.argument("description"),
    },
    "ai-music-api/regenerate-phrase": _phrase,
    "ai-music-api/validation-phrase": _phrase,
    "grok-imagine-image-2-0/segment-map": _segments,
    "omnihuman-1-5/human-identification": lambda _: {"hasHuman": True},
    "omnihuman-1-5/subject-detection": lambda task: {"mask_urls": task.results},
}
"""Results that are data: by model, what ``resultObject`` holds."""
