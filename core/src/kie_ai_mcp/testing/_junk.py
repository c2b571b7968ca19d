"""Unexpected answers of a service: every state that a known payload may have, and junk whole or inside of one."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from random import Random
from typing import Any

from kie_ai_mcp.readings import STATES

PAYLOAD_COUNT = 300
TASK_ID = "task-1"
_PICTURE = "https://media.example.com/1.png"

# Payloads that report no end of a task.
NOTHING: tuple[Mapping[str, Any], ...] = ({}, {"note": "nothing that anybody knows"}, {"state": "a word of tomorrow"})

# The shapes that the service's answers have had.
USUAL: tuple[Mapping[str, Any], ...] = (
    {
        "taskId": TASK_ID,
        "model": "some/model",
        "state": "success",
        "resultJson": f'{{"resultUrls": ["{_PICTURE}"]}}',
        "progress": 100,
        "creditsConsumed": 4,
        "completeTime": 1_790_000_000_000,
    },
    {"taskId": TASK_ID, "state": "fail", "failCode": "501", "failMsg": "the model failed"},
    {
        "taskId": TASK_ID,
        "successFlag": 1,
        "response": {"resultUrls": ["https://media.example.com/1.mp4"]},
        "completeTime": "2026-11-02 08:30:00",
    },
    {"taskId": TASK_ID, "successFlag": 3, "errorCode": 400, "errorMessage": "the picture can't be read"},
)

FLAGS = ("successFlag", "expireFlag", "fallbackFlag")
FLAG_VALUES: tuple[Any, ...] = (0, 1, 2, 3, True, False, "0", "1")

_SCALARS = (None, True, False, 0, 1, 2, 3, -1, 0.5, 10**30, float("nan"), float("inf"))
_WORDS = ("", " ", "0", "1", "NaN", "1e999", "success", "fail", "no-such-state", "2026-13-45 99:99:99")
_TEXTS = ("http://", _PICTURE, "/files/1.png", "//", "null", "[", '{"resultUrls": null}', f'["{_PICTURE}", 7, [null]]')
_ODD_TEXTS = ("\x00", "\ud800", "x" * 5_000)
_NESTED: tuple[Any, ...] = ([], {}, [None], [[]], {"": None}, [_PICTURE, {"url": 1}], {"resultUrls": {"0": _PICTURE}})
LEAVES: tuple[Any, ...] = (*_SCALARS, *_WORDS, *_TEXTS, *_ODD_TEXTS, *_NESTED)
DEEP = 60
_MISSING = object()


def flagged(known: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield known payloads and the usual shapes with every value of every flag, and with every state word.

    Flags are those that the service is known for, and whatever looks like one: a boolean, or a number from 0 to 3.
    """
    for shape in (*known, *USUAL):
        own = [name for name, value in shape.items() if isinstance(value, int) and 0 <= value <= 3]
        for name in dict.fromkeys((*FLAGS, *own)):
            for value in FLAG_VALUES:
                yield deepcopy({**shape, name: value})
        for name, value in shape.items():
            if isinstance(value, str) and value.lower() in STATES:
                for word in STATES:
                    yield deepcopy({**shape, name: word.upper() if value.isupper() else word})


def leaves() -> Iterator[Any]:
    """Yield values of every sort that JSON can hold, and deep ones."""
    yield from deepcopy(LEAVES)
    for wrap in (lambda inner: [inner], lambda inner: {"response": inner}):
        value: Any = _PICTURE
        for _ in range(DEEP):
            value = wrap(value)
        yield value


def changed(known: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield known payloads with each place missing, and with every odd value in its stead."""
    for shape in known:
        for number, _ in enumerate(places(shape)):
            for value in (_MISSING, *leaves()):
                other = deepcopy(dict(shape))
                place, key = next(islice(places(other), number, None))
                if value is _MISSING:
                    del place[key]
                else:
                    place[key] = value
                yield other


def payloads(known: Sequence[Mapping[str, Any]], seed: str) -> Iterator[dict[str, Any]]:
    """Yield objects: known payloads and the usual shapes with one place changed or missing, and with junk everywhere.

    The same seed gives the same payloads.
    """
    random, junk = Random(seed), list(leaves())  # noqa: S311  repeatable on purpose
    shapes = [shape for shape in (*known, *USUAL) if shape]
    names = sorted({name for shape in shapes for name in shape})
    for _ in range(PAYLOAD_COUNT):
        if random.random() < 0.3:
            sample = random.sample(names, random.randint(1, len(names)))
            yield {name: deepcopy(random.choice(junk)) for name in sample}
            continue
        odd: Any = deepcopy(dict(random.choice(shapes)))
        place, key = random.choice(list(places(odd)))
        if random.random() < 0.2:
            del place[key]
        else:
            place[key] = deepcopy(random.choice(junk))
        yield odd


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place inside a payload, as a container and a key of it."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)
