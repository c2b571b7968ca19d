"""Tolerant readings of the service's answers, for `kie_normalize_result`.

The service spells the same thing in several ways, between families and between years. These functions accept
every spelling that was seen, and never read an unknown one as a failure or a success.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate, chain
from typing import Any

from kie_ai_mcp.errors import NO_REASON, one_line, sound
from kie_ai_mcp.specs import ADDRESS_CHARS, DAY_S, Outcome, Status

FIRST_YEAR, LAST_YEAR = 2000, 9000
CODE = re.compile(r"-?[0-9]{1,9}")
CODE_CHARS = 80
WEB = re.compile("https?://", re.IGNORECASE)
LOCAL = re.compile(r"/[^/\\\s]\S*")  # an address below that of the service
APART = re.compile(r"(?:[,;]|[,;]?\s{1,9})(?=https?://)", re.IGNORECASE)
LABEL_CHARS = 80
ADDRESSES_CHARS = 20_000  # of all result addresses of one task together
PLACES = ("resultUrls", "resultUrl", "url", "videoUrl", "imageUrl", "audioUrl")
# Fields that repeat the request, or hold what was made on the way to the result.
REQUEST = re.compile(r"param|input|prompt|callback|webhook|request|origin|source", re.IGNORECASE)
# Fields that say of which task an answer is and how it stands, but hold nothing that was made.
ABOUT = re.compile(
    r"(task|record)_?id|(create|update|complete)_?time|state|status|success_?flag|code|msg|message|error.*",
    re.IGNORECASE,
)
ADDRESSED = re.compile(r"(.+?)_?urls?", re.IGNORECASE)  # a field's name that says what its address leads to
TRACK = ("audio_url", "audioUrl", "stream_audio_url", "streamAudioUrl")  # the whole track, before the one that grows
PLAYED = re.compile(r".*audio_?url|source.*|create_?time", re.IGNORECASE)  # fields of a track that its file stands for
NAMES = ("title", "name", "stem_name", "stemName", "stem_type_group_name", "label")
WORDS = ("text", "lyrics", "result")  # fields whose text is the result itself
LOOKS = 20_000  # values that one search for addresses reads
TWO_WEEKS_S = 14 * DAY_S  # how long the dedicated endpoints say they keep results

# Words of both state machines (market: waiting, queuing, generating, success, fail; runway: wait, queueing)
# and of the endpoints that answer in capitals. A word that is not here means "still running".
STATES: dict[str, Status] = {
    "wait": "pending",
    "waiting": "pending",
    "queuing": "pending",
    "queueing": "pending",
    "pending": "pending",
    "generating": "processing",
    "success": "completed",
    "fail": "failed",
    "failed": "failed",
    "create_task_failed": "failed",
    "generate_failed": "failed",
}


def status_in(word: object) -> Status:
    """Return our status for the service's state word; ``processing`` for a word never seen before."""
    return STATES.get(word.strip().lower(), "processing") if isinstance(word, str) else "processing"


def object_in(value: object) -> Mapping[str, Any]:
    """Return `value` as a mapping: itself, the one in a list, or either from JSON text; else an empty one."""
    content = _json_in(value) if isinstance(value, str) else value
    content = content[0] if isinstance(content, list) and len(content) == 1 else content
    return content if isinstance(content, Mapping) else {}


def urls_in(*values: object, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return every web address in `values`, in order and once each; what is longer than any address is none.

    A value may be an address, several with spaces, lines or commas between them, a list of addresses, a list of objects
    that hold one (``{"resultUrl": ...}``), JSON text of any of these, or None. Of objects the fields in `names` and the
    usual ones are read; where no address stands there, all others, except those that repeat the request.

    With `names`, an address that begins with one ``/`` counts, too: the server completes it with the service's own.
    """
    is_own, names = bool(names), (*names, *PLACES)
    addresses = [address for value in values for address in _addresses(value, names, is_own)]
    addresses = addresses or list(chain.from_iterable(_addresses(value, names, False, REQUEST) for value in values))
    addresses = list(dict.fromkeys(addresses))
    sizes = accumulate(map(len, addresses))
    return tuple(address for address, size in zip(addresses, sizes, strict=True) if size <= ADDRESSES_CHARS)


def time_in(value: object) -> datetime | None:
    """Return a time of the service: milliseconds, ISO 8601, or ``YYYY-MM-DD HH:MM:SS``, taken as UTC.

    None for anything else, and for a time that no task can have ended at.
    """
    try:
        if isinstance(value, str) and not value.strip().isdecimal():
            moment = datetime.fromisoformat(value.strip())
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        else:
            moment = datetime.fromtimestamp((number_in(value) or 0) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if FIRST_YEAR <= moment.year <= LAST_YEAR else None


def number_in(value: object) -> float | None:
    """Return a finite number, also from decimal text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def amount_in(value: object) -> float | None:
    """Return a finite number of at least 0, as `Outcome.credits` takes it, also from decimal text; else None."""
    number = number_in(value)
    return None if number is None or number < 0 else number


def text_in(value: object) -> str | None:
    """Return text in which something can be seen, a number as text too; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    # Half a surrogate pair can come out of JSON, but goes into no database and no answer.
    text = str(value)
    return text if one_line(text.strip()) and sound(text) == text else None


def outcome_by_flag(
    payload: Mapping[str, Any],
    *results: object,
    completed: Iterable[int] = (1,),
    failed: Iterable[int] = (2, 3),
    keeps_s: int = TWO_WEEKS_S,
) -> Outcome:
    """Read an answer whose state is ``successFlag``, as the dedicated endpoints give it.

    Args:
        payload: The answer's ``data``.
        results: Where the result addresses stand, in any shape that `urls_in` takes.
        completed: Flags that mean success.
        failed: Flags that mean failure. Any other flag means "still running".
        keeps_s: How long the service keeps the results, in whole seconds; 0 where they have expired already.
    """
    flag = number_in(payload.get("successFlag"))
    if flag is not None and flag in set(completed):
        return _completed(payload, None, results, keeps_s)
    if flag is not None and flag in set(failed):
        return _failed(payload, None, "errorMessage", "errorCode")
    return Outcome("processing", progress=share(payload.get("progress")))


def outcome_by_state(payload: Mapping[str, Any], *results: object, keeps_s: int = DAY_S) -> Outcome:
    """Read an answer whose state is the word ``state``, as the market gives it.

    Args:
        payload: The answer's ``data``.
        results: Where the result addresses stand, in any shape that `urls_in` takes.
        keeps_s: How long the service keeps the results, in seconds.
    """
    status, model = status_in(payload.get("state")), text_in(payload.get("model"))
    if status == "completed":
        return _completed(payload, model, results, keeps_s)
    if status == "failed":
        return _failed(payload, model, "failMsg", "failCode")
    return Outcome(
        status,
        progress=share(payload.get("progress"), 100),
        credits=amount_in(payload.get("creditsConsumed")),
        model=model,
    )


def market_outcome(payload: Mapping[str, Any], keeps_s: int = DAY_S) -> Outcome:
    """Read a market model's answer, whose ``state`` decides whether results or a reason are read.

    Tracks of music are labelled with their titles and stems with their names. What is said of tracks, lyrics, and all
    that has no address is `Outcome.data`.

    Args:
        payload: The answer's ``data``.
        keeps_s: How long the service keeps the results, in seconds.
    """
    values = payload.get("resultJson"), payload.get("response")
    objects = [content for value in values if (content := object_in(value))]
    result, tracks = (objects or [{}])[0], next(filter(None, map(_tracks, objects)), [])
    results: Sequence[object] = [result.get(name) for name in ("resultUrls", "firstFrameUrl", "lastFrameUrl")]
    results = [*(urls_in(*map(track.get, TRACK))[0] for track in tracks), *results]
    if not urls_in(*results):  # another model, another spelling; last the fields beside them
        results = values if urls_in(*values) else [payload]
    labels = _labels(objects) | {"first frame": result.get("firstFrameUrl"), "last frame": result.get("lastFrameUrl")}
    outcome = labelled(outcome_by_state(payload, *results, keeps_s=keeps_s), labels)
    if outcome.status != "completed":
        return outcome
    about = [{name: value for name, value in track.items() if value and not PLAYED.fullmatch(name)} for track in tracks]
    found = (_plain(_data_in(content, outcome.urls)) for content in objects)
    data = _plain(about) if any(about) else next((data for data in found if data is not None), None)
    return replace(outcome, data=data)


def labelled(outcome: Outcome, places: Mapping[str, object]) -> Outcome:
    """Return an outcome whose addresses at some places are labelled.

    Args:
        outcome: Any outcome.
        places: By label, where addresses stand that have it, in any shape that `urls_in` takes.
    """
    labels = {url: label for label, value in places.items() for url in urls_in(value, names=PLACES)}
    named = tuple(labels.get(url, "") for url in outcome.urls)
    return replace(outcome, labels=named) if any(named) else outcome


def code_in(value: object) -> int | str | None:
    """Return an error code as a number where it is one, else as text; None for 0, empty and absent."""
    if isinstance(value, str):
        text = value.strip()
        return (int(text) or None) if CODE.fullmatch(text) else text[:CODE_CHARS] or None
    return code_in(str(value)) if isinstance(value, int) and not isinstance(value, bool) else None


def share(progress: object, whole: float = 1.0) -> float | None:
    """Return a progress between 0 and 1. `whole` is what the family counts to: 1 or 100."""
    done = amount_in(progress)
    return None if done is None else min(done / whole, 1.0)


def _tracks(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the tracks of music in a result."""
    places = (content.get(name) for name in ("data", "sunoData"))
    entries = chain.from_iterable(place for place in places if isinstance(place, list))
    return [entry for entry in entries if isinstance(entry, Mapping) and urls_in(*map(entry.get, TRACK))]


def _labels(objects: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """Return addresses by the names that stand beside them, or that their fields have where there are several."""
    named, fields = dict[str, list[object]](), dict[str, object]()
    for content in objects:
        inner = [value for value in content.values() if isinstance(value, Mapping)]
        for name, value in chain.from_iterable(each.items() for each in (content, *inner)):
            for entry in value if isinstance(value, list) else ():
                if isinstance(entry, Mapping) and (
                    label := next(filter(None, map(text_in, map(entry.get, NAMES))), "")
                ):
                    named.setdefault(one_line(label, LABEL_CHARS), []).append([*entry.values()])
            if (match := ADDRESSED.fullmatch(name)) and name not in PLACES and not REQUEST.search(name):
                fields[re.sub("_|(?<=[a-z])(?=[A-Z])", " ", match[1]).lower()] = value
    return {**(fields if len(fields) > 1 else {}), **named}


def _data_in(content: Mapping[str, Any], urls: tuple[str, ...]) -> object:
    """Return what a result holds besides addresses: lyrics and other words as text; None for nothing."""
    value = content.get("resultObject")
    value = (_json_in(value) or value) if isinstance(value, str) else value
    if not value and not urls:
        others = (item for item in content.items() if not REQUEST.search(item[0]) and not ABOUT.fullmatch(item[0]))
        value = {name: other for name, other in others if other and name not in PLACES}
    if isinstance(value, Mapping):
        variants = value.get("lyricsData") or value.get("data")
        if isinstance(variants, list) and (words := [*filter(None, map(_words, variants))]):
            return "\n\n----\n\n".join(words)
        if set(value) <= set(WORDS) and (words := [*filter(None, map(text_in, value.values()))]):
            return "\n\n".join(words)
    return value if any(leaf not in urls for leaf in _leaves(value)) else None


def _words(variant: object) -> str:
    """Return one variant of lyrics, below its title."""
    fields = variant if isinstance(variant, Mapping) else {}
    text = text_in(fields.get("text"))
    return "\n\n".join(filter(None, (text_in(fields.get("title")), text))) if text else ""


def _leaves(value: object) -> Iterator[object]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (Mapping, list)):
            waiting.extend(value.values() if isinstance(value, Mapping) else value)
        elif value not in (None, ""):
            yield value


def _plain(value: object) -> Any:
    """Return a JSON value of the service's as every reader of JSON takes it; None for one that is nested too deep."""
    try:
        return json.loads(json.dumps(value), parse_constant=lambda _: None)
    except (ValueError, TypeError, RecursionError):
        return None


def _completed(payload: Mapping[str, Any], model: str | None, results: Iterable[object], keeps_s: int) -> Outcome:
    return _ended(payload, Outcome("completed", urls_in(*results), progress=1.0, model=model, keeps_s=keeps_s))


def _failed(payload: Mapping[str, Any], model: str | None, reason: str, code: str) -> Outcome:
    error = one_line(text_in(payload.get(reason)) or "") or NO_REASON
    return _ended(payload, Outcome("failed", error=error, error_code=code_in(payload.get(code)), model=model))


def _ended(payload: Mapping[str, Any], outcome: Outcome) -> Outcome:
    return replace(
        outcome, credits=amount_in(payload.get("creditsConsumed")), finished_at=time_in(payload.get("completeTime"))
    )


def _json_in(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _addresses(
    value: object, names: Sequence[str], is_own: bool, others_than: re.Pattern[str] | None = None
) -> Iterator[str]:
    # A list of the values still to read, not recursion: the service decides how deep its answer goes.
    waiting = [value]
    for _ in range(LOOKS):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, str):
            text = value.strip()
            parts = APART.split(text) if WEB.match(text) else []
            if any("://" in part.partition("?")[2] for part in parts):  # the commas belong to a query with addresses
                parts = text.split()
            if len(parts) > 1:
                waiting.extend(reversed(parts))
            elif (parts or (is_own and LOCAL.fullmatch(text))) and text.isprintable() and len(text) <= ADDRESS_CHARS:
                yield text
            elif text.startswith(("[", "{", '"')):
                waiting.append(_json_in(text))
        elif isinstance(value, Mapping):
            fields = [value[name] for name in names if value.get(name)]
            if others_than and not fields:
                fields = [entry for name, entry in value.items() if not others_than.search(str(name))]
            waiting.extend(reversed(fields))
        elif isinstance(value, (list, tuple)):
            waiting.extend(reversed(value))
