"""Results of Suno's tasks: stems have the names of the files that hold them."""

import json

import pytest

from kie_ai_mcp import Task
from kie_ai_mcp_suno import kie_normalize_result
from kie_ai_mcp_suno.results import name_in
from kie_ai_mcp_suno.tools import SEPARATES, STEM

TASK = Task("t-1", STEM, "suno", kind="audio", model=SEPARATES)
VOICE, BACKING, REST = (f"https://x.example/a-{name}.mp3" for name in ("1-vocals", "2-backing-vocals", "3"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("8f-1-vocals.mp3", "vocals"),
        ("8f-2-backing-vocals.mp3", "backing vocals"),
        ("Bass_Guitar%20(1).wav", "bass guitar"),
        ("songDrumKit.mp3", "drum kit"),
        ("hi-hat.mp3", ""),
        ("bassoon-concert.mp3", "bassoon"),
        ("contrabassist.mp3", ""),
        ("8f3a.mp3", ""),
    ],
)
def test_name_of_a_stem_is_read_from_its_file(file: str, name: str) -> None:
    assert name_in(f"https://x.example/vocals/{file}?Signature=drums") == name


def test_stems_are_named_where_their_files_tell_them_apart() -> None:
    payload = {"state": "success", "resultJson": json.dumps({"resultUrls": [VOICE, BACKING, REST]})}

    outcome = kie_normalize_result(TASK, payload)

    assert outcome is not None
    assert (outcome.urls, outcome.labels) == ((VOICE, BACKING, REST), ("vocals", "backing vocals", ""))


def test_names_that_the_service_gives_go_first() -> None:
    named = {"resultUrls": [{"name": "Lead", "url": VOICE}, {"name": "Choir", "url": BACKING}]}

    outcome = kie_normalize_result(TASK, {"state": "success", "resultJson": json.dumps(named)})

    assert outcome is not None
    assert outcome.labels == ("Lead", "Choir")


@pytest.mark.parametrize("urls", [[VOICE], [REST], []])
def test_only_stem_needs_no_name(urls: list[str]) -> None:
    outcome = kie_normalize_result(TASK, {"state": "success", "response": {"resultUrls": urls}})

    assert outcome is not None
    assert outcome.labels == ()


def test_other_tasks_are_read_as_usual() -> None:
    assert kie_normalize_result(Task("t-1", "suno-music", "suno", model="ai-music-api/generate"), {}) is None
