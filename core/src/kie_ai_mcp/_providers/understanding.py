"""Understanding of arguments as people write them: other names, choices in any spelling, `auto`, one for many."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import gcd
from typing import Any, NamedTuple

NOTHING = ("null", "None", "undefined")  # texts that hosts and models send for an argument they leave out
AUTO = "auto"  # leaves a choice to the service, as an argument that is left out does

# Names of the same thing, most usual first. Written without case and underscores; an argument of the tool itself wins.
NAMES = (
    "prompt text input script description instruction caption imageprompt videoprompt",
    "style instructions voiceinstructions",
    "negativeprompt negative avoid exclude",
    "aspectratio size imagesize shape ratio aspect",
    "resolution quality imageresolution videoresolution definition size imagesize",
    "duration seconds length durations durationseconds videolength",
    "imageurls imageurl images image pictures picture photos photo inputimages inputimage inputurls imageinput"
    " sourceimage startimage initimage firstframeurl firstframe",
    "firstframeurl firstframe startframe startimage firstimage imageurls imageurl image",
    "lastframeurl lastframe endframe endimage tailimageurl",
    "referenceimageurls referenceimages referenceimage referenceimageurl references",
    "images referenceimageurls",
    "maskurl mask maskimage maskimageurl",
    "videourl videourls videos video clip inputvideo sourcevideo referencevideourls",
    "audiourl audiourls audio audiofile voiceurl referenceaudiourls",
    "sound generateaudio audio withaudio enableaudio withsound",
    "n numimages nvariants videobatchsize count numberofimages numvariants variants batchsize samples",
    "outputformat format fileformat filetype",
    "seed seeds randomseed",
    "model modelname modelid version",
    "callbackurl callback webhookurl webhook",
    "speed renderingspeed",
    "cfgscale guidancescale guidance",
    "taskid id jobid task",
    "taskids ids taskid tasks",
    "voice voiceid voicename speaker",
    "elements klingelements",
)

# Choices in other words, each with what a schema may call it.
WORDS = {
    "landscape": ("16:9", "landscape"),
    "horizontal": ("16:9", "landscape"),
    "widescreen": ("16:9", "landscape"),
    "portrait": ("9:16", "portrait"),
    "vertical": ("9:16", "portrait"),
    "square": ("1:1", "square"),
    "hd": ("720p",),
    "full hd": ("1080p",),
    "fullhd": ("1080p",),
    "fhd": ("1080p",),
    "uhd": ("4k",),
    "jpg": ("jpeg",),
    "jpeg": ("jpg",),
}
# The ends of a clip, for a tool that has no argument for each but takes a list of pictures.
FIRST = ("firstframeurl", "firstframe", "firstimage", "startframe", "startimage", "imageurl", "image")
LAST = ("lastframeurl", "lastframe", "lastimage", "endframe", "endimage", "tailimageurl", "tailimage")
TIMES = re.compile(r"duration|seconds|length|(_at|At|_s)$")  # names of arguments that are seconds
_NUMBER = r"(-?[0-9]{1,6}(?:\.[0-9]{1,3})?)[\s-]*"
LENGTH = re.compile(
    rf"(?:{_NUMBER}m(?:ins?|inutes?)?)?(?:[\s,]*(?:and\s)?\s*{_NUMBER}s(?:ecs?|econds?)?)?", re.IGNORECASE
)
CLOCK = re.compile(r"(?:([0-9]{1,2}):)?([0-9]{1,3}):([0-5][0-9])")
SEVERAL = re.compile(r"https?://\S+(?:[,\s]+https?://\S+)+\s*")  # addresses in one text
SHAPE = re.compile(r"([0-9]{1,4})\s*[x/×]\s*([0-9]{1,4})", re.IGNORECASE)


class Understood(NamedTuple):
    """Arguments in a tool's own names and spellings.

    Args:
        arguments: The arguments; what is not understood is among them as it was given, for the check to refuse.
        notes: A sentence for each that was left out or read as another.
        left_out: The names of those that leave a choice to the service.
    """

    arguments: dict[str, Any]
    notes: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()


def understood(given: Mapping[str, Any], schema: Mapping[str, Any], media: Iterable[str]) -> Understood:
    """Return what arguments mean to a tool with this schema, of which `media` are files."""
    fields: Mapping[str, Any] = schema["properties"]
    required, files = schema.get("required", ()), {*media}
    arguments, notes, left_out = dict[str, Any](), list[str](), set[str]()
    given, of_frames = _with_frames(given, fields)
    notes += of_frames
    # An argument that says nothing does not keep another name of it from being understood.
    taken = {name for name, value in given.items() if name in fields and not _says_nothing(value)}
    for name, value in given.items():
        own = name if name in fields else next(_own_names(name, value, fields, taken), name)
        field = fields.get(own)
        if field is None or _says_nothing(value):
            arguments.setdefault(own, value)
            continue
        taken.add(own)
        read = _read(value, own, field, is_file=own in files)
        if read is None and own not in required:
            notes.append(f"{own} {AUTO!r} was left out.")
            left_out.add(own)
            continue
        if own_name(name).rstrip("s") != own_name(own).rstrip("s"):
            notes.append(f"{name} was read as {own}.")
        arguments[own] = value if read is None else read
        # Of a number with its unit (8s), or a text with blanks around it, nothing was read as another.
        if isinstance(value, str) and isinstance(read, str | int | float) and not _begins_with(value, read):
            notes.append(f"{own} {value!r} was read as {read!r}.")
    return Understood(arguments, tuple(notes), frozenset(left_out))


def _begins_with(text: str, value: str | float) -> bool:
    return text.strip().lower().startswith(str(value).strip().lower())


def _with_frames(given: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """Return arguments with a first and a last picture in the tool's one list of pictures, and a note that says so."""
    plain, own = {own_name(name): name for name in given}, {own_name(name): name for name in fields}
    first, last = (next((plain[word] for word in words if word in plain), None) for words in (FIRST, LAST))
    pictures = own.get("imageurls")
    has_own = {first, last} & fields.keys() or pictures in given or {*FIRST, *LAST} & own.keys()
    if not (first and last and pictures) or has_own:
        return given, []
    pair = [given[first], given[last]]
    if any(not isinstance(each, str) or _says_nothing(each) for each in pair):
        return given, []
    rest = {name: value for name, value in given.items() if name not in (first, last)}
    return {**rest, pictures: pair}, [f"{first} and {last} were read as {pictures}."]


def _says_nothing(value: Any) -> bool:
    return value.strip() in {"", *NOTHING} if isinstance(value, str) else value is None or value in ([], {})


def spelled(text: str, choices: Iterable[Any]) -> str | None:
    """Return a text as one of the choices spells it, without regard to case; None where none does."""
    return next((each for each in choices if isinstance(each, str) and each.lower() == text.lower()), None)


def seconds_in(text: str) -> float | None:
    """Return a length in words or as a clock shows it (``2 min``, ``1:30``) in seconds; None for anything else."""
    clock, words = CLOCK.fullmatch(text.strip()), LENGTH.fullmatch(text.strip())
    if clock:
        return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + int(clock[3])
    if words is None or not any(words.groups()):
        return None
    seconds = float(words[1] or 0) * 60 + float(words[2] or 0)
    return int(seconds) if seconds.is_integer() else round(seconds, 3)


def _own_names(name: str, value: Any, fields: Mapping[str, Any], taken: Iterable[str]) -> Iterator[str]:
    """Yield the tool's own argument that an unknown name means; none where the likeliest one was given besides."""
    own = {own_name(field): field for field in fields}
    plain = own_name(name)
    meant = [own[word] for word in (plain, *_same_as(plain)) if word in own]
    is_bool = isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in {"true", "false"})
    fitting = [field for field in meant if is_bool == (fields[field].get("type") == "boolean")]
    several = isinstance(value, list) and len(value) > 1
    # A size is a shape for one tool and a resolution for another, an image the first frame or one of several.
    fitting.sort(
        key=lambda field: (several != (fields[field].get("type") == "array"), not _is_choice(value, fields[field]))
    )
    yield from (field for field in fitting[:1] if field not in taken)


def _is_choice(value: Any, field: Mapping[str, Any]) -> bool:
    choices = field.get("enum")
    return choices is None or _read(value, "", field, is_file=False) in choices


@cache
def _same_as(plain: str) -> tuple[str, ...]:
    groups = [group.split() for group in NAMES]
    # The group that begins with the name says most about it.
    groups.sort(key=lambda group: group.index(plain) if plain in group else len(group))
    return tuple(dict.fromkeys(word for group in groups if plain in group for word in group))


def own_name(name: str) -> str:
    """Return a name without case, underscores and dashes, by which names are compared."""
    return name.replace("_", "").replace("-", "").lower()


def _read(value: Any, name: str, field: Mapping[str, Any], *, is_file: bool) -> Any:
    """Return a value as a field's schema spells it; None where it leaves the choice to the service."""
    kind, choices = field.get("type"), field.get("enum", ())
    if kind == "string" and is_file and isinstance(value, list) and len(value) == 1:
        return value[0]
    if kind == "array" and isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
        return re.split(r"[,\s]+", value.strip()) if is_file and SEVERAL.fullmatch(value) else [value]
    seconds = seconds_in(value) if isinstance(value, str) and TIMES.search(name) else None
    if isinstance(value, str) and kind in ("integer", "number"):
        return seconds if seconds is not None else None if value.strip().lower() == AUTO else value
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not choices or value in choices:
        return None if kind == "boolean" and value == AUTO else value
    value = value if seconds is None else seconds
    word = f"{value:g}" if isinstance(value, float) else str(value).strip().lower()
    near = (word, f"{word}p", *WORDS.get(word, ()), *_shapes(word))
    read = next(filter(None, (spelled(each, choices) for each in near)), value)
    return None if word == AUTO and read == value else read


def _shapes(word: str) -> Iterator[str]:
    """Yield what a size in pixels or a shape in other signs is as a shape: ``1920x1080`` is 16:9."""
    if shape := SHAPE.fullmatch(word):
        width, height = int(shape[1]), int(shape[2])
        common = gcd(width, height) or 1
        yield f"{width}:{height}"
        yield f"{width // common}:{height // common}"
