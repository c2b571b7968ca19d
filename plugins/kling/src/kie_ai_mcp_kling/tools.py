"""Kling's main tool: one clip from words or pictures, made by the first model that takes the arguments."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from kie_ai_mcp import CallbackUrl, ImageUrls, InvalidArgument, Media, Prompt, Submission, reject_arguments
from kie_ai_mcp_kling.models import DEFAULTS, MODELS, MODES, Form, Model, Shots, models_that
from kie_ai_mcp_kling.prices import credits_of

VIDEO = "kling-video"


class Cut(BaseModel):
    """One shot: its content, and its length in seconds."""

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    duration: Annotated[int, Field(ge=1)]


# A plain object with a schema of its own, because a tool's schema has no references.
Shot = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"prompt": {"type": "string"}, "duration": {"type": "integer"}},
            "required": ["prompt", "duration"],
        }
    ),
]


def generate_kling_video(
    prompt: Prompt,
    imageUrls: Annotated[ImageUrls, Field(max_length=2), Media("image", most_mb=50)] | None = None,
    duration: Annotated[int, Field(ge=3, le=15)] | None = None,
    aspectRatio: Literal["16:9", "9:16", "1:1"] | None = None,
    mode: Literal["standard", "fast", "turbo"] | None = None,
    resolution: Literal["720p", "1080p", "4k"] | None = None,
    frameRate: int | None = None,
    callBackUrl: CallbackUrl | None = None,
    model: Literal["2.1-standard", "2.1-pro", "2.1-master", "2.5-turbo", "2.6", "3.0", "3.0-turbo", "3.0-omni"]
    | None = None,
    sound: bool | None = None,
    negative_prompt: str | None = None,
    shots: list[Shot] | None = None,
) -> Submission:
    """Clip from words or a first (and last) picture; mode standard needs one.

    resolution: 3.0 models. sound: 2.6, 3.0, -omni. shots (replace prompt): 3.0, -omni. frameRate: refused.
    """
    reject_arguments("Kling sets the frame rate itself", frameRate=frameRate)
    if mode and model not in {None, MODES[mode]}:
        raise InvalidArgument("mode", mode, f"it means model='{MODES[mode]}'; give mode or model, not both")
    settings = {
        "aspectRatio": aspectRatio,
        "resolution": resolution,
        "sound": sound,
        "negative_prompt": negative_prompt,
        "shots": shots,
    }
    named = MODES[mode] if mode else model
    candidates = (named,) if named else DEFAULTS
    request = partial(
        _submission,
        mode=mode,
        prompt=prompt,
        pictures=imageUrls or [],
        duration=duration,
        settings=settings,
        callback_url=callBackUrl,
    )
    for candidate in candidates[:-1]:
        with suppress(InvalidArgument):
            return request(candidate)
    return request(candidates[-1])


def _submission(
    model: str,
    *,
    mode: str | None,
    prompt: str,
    pictures: list[str],
    duration: int | None,
    settings: Mapping[str, Any],
    callback_url: str | None,
) -> Submission:
    # A refusal after a mode also names the model that the mode means, because its advice names other models.
    name = f"{model} (mode {mode})" if mode else model
    form = _form(name, MODELS[model], pictures)
    options = {argument: value for argument, value in settings.items() if value is not None}
    if form.silent and options.get("sound") is False:
        del options["sound"]
    for argument, value in options.items():
        if not form.takes(argument):
            _reject(name, argument, value, pictures=bool(pictures))
    shots = options.pop("shots", None)
    body = {
        **form.always,
        **_pictures(form, pictures),
        "prompt": _prompt(name, form, prompt),
        **{form.fields[argument]: _word(name, form, argument, value) for argument, value in options.items()},
    }
    if shots is not None and form.shots is not None:
        cuts = _cuts(name, form.shots, shots)
        duration = _total(duration, cuts)
        body |= {
            form.shots.switch: True,
            "multi_prompt": cuts,
            **_sound_of_shots(name, form.shots, options.get("sound")),
        }
        if len(pictures) > form.shots.pictures:
            raise InvalidArgument("imageUrls", pictures, f"Kling {name} takes only a first picture with shots")
    if duration is not None:
        body["duration"] = form.duration_type(_length(name, form, "duration" if shots is None else "shots", duration))
    return Submission.market(
        form.id, body, api_type=VIDEO, callback_url=callback_url, estimated_credits=credits_of(form.id, body)
    )


def _form(name: str, model: Model, pictures: list[str]) -> Form:
    form = model.pictures if pictures else model.text
    if form is None:
        others = models_that(lambda _: True, pictures=False)
        raise InvalidArgument(
            "imageUrls", None, f"Kling {name} starts from a picture; from words alone: model {others}"
        )
    if len(pictures) > form.pictures:
        others = models_that(lambda form: form.pictures >= len(pictures), pictures=True)
        advice = f"; first and last: model {others}" if others else ""
        raise InvalidArgument("imageUrls", pictures, f"Kling {name} takes at most {form.pictures}{advice}")
    return form


def _reject(name: str, argument: str, value: Any, *, pictures: bool) -> None:
    others = models_that(lambda form: form.takes(argument), pictures=pictures)
    reject_arguments(
        f"Kling {name} {'with a picture ' if pictures else ''}has no such setting",
        f"leave it out, or use model {others}" if others else "leave it out",
        **{argument: value},
    )


def _prompt(name: str, form: Form, prompt: str) -> str:
    if len(prompt) > form.prompt_chars:
        raise InvalidArgument("prompt", prompt, f"Kling {name} takes at most {form.prompt_chars} characters")
    return " ".join(prompt.splitlines()) if form.one_line else prompt


def _pictures(form: Form, pictures: list[str]) -> dict[str, Any]:
    if form.picture_fields:
        return dict(zip(form.picture_fields, pictures, strict=False))
    return {"image_urls": pictures} if pictures else {}


def _word(name: str, form: Form, argument: str, value: Any) -> Any:
    if argument == "negative_prompt" and len(value) > form.negative_chars:
        raise InvalidArgument(argument, value, f"Kling {name} takes at most {form.negative_chars} characters here")
    if argument == "resolution" and value not in form.resolutions:
        raise InvalidArgument(argument, value, f"Kling {name} makes {' or '.join(form.resolutions)}")
    return form.resolutions[value] if argument == "resolution" else value


def _cuts(name: str, limits: Shots, shots: list[Any]) -> list[dict[str, Any]]:
    if not 1 <= len(shots) <= limits.most:
        raise InvalidArgument("shots", shots, f"Kling {name} takes 1 to {limits.most}, {len(shots)} were given")
    return [_cut(f"shots[{index}]", limits, shot) for index, shot in enumerate(shots)]


def _cut(field: str, limits: Shots, shot: Any) -> dict[str, Any]:
    allowed = f"a prompt of at most {limits.prompt_chars} characters and a duration of 1 to {limits.longest_s} seconds"
    try:
        cut = Cut.model_validate(shot)
    except ValidationError:
        raise InvalidArgument(field, shot, f"give {allowed}") from None
    if len(cut.prompt) > limits.prompt_chars or cut.duration > limits.longest_s:
        raise InvalidArgument(field, shot, f"give {allowed}")
    return cut.model_dump()


def _sound_of_shots(name: str, limits: Shots, sound: bool | None) -> dict[str, bool]:
    if not limits.sounds:
        return {}
    if sound is False:
        raise InvalidArgument("sound", sound, f"Kling {name} always adds sound to shots; use model='3.0-omni'")
    return {"sound": True}


def _total(duration: int | None, cuts: list[dict[str, Any]]) -> int:
    total: int = sum(cut["duration"] for cut in cuts)
    if duration not in {None, total}:
        reject_arguments(f"the shots last {total} seconds together", "leave duration out", duration=duration)
    return total


def _length(name: str, form: Form, field: str, duration: int) -> int:
    if duration not in form.durations_s:
        others = models_that(lambda form: duration in form.durations_s, pictures=bool(form.pictures))
        advice = f"; {duration} seconds: model {others}" if others else ""
        raise InvalidArgument(field, duration, f"Kling {name} makes {_span(form.durations_s)} seconds{advice}")
    return duration


def _span(durations_s: tuple[int, ...]) -> str:
    first, last = durations_s[0], durations_s[-1]
    return f"{first} or {last}" if len(durations_s) == 2 else f"{first} to {last}"
