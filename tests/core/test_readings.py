"""Readings: all spellings of the service, and whatever else may come instead."""

import gc
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kie_ai_mcp import Outcome
from kie_ai_mcp._providers.contract import judge
from kie_ai_mcp.readings import (
    ADDRESSES_CHARS,
    TWO_WEEKS_S,
    amount_in,
    code_in,
    labelled,
    market_outcome,
    number_in,
    object_in,
    outcome_by_flag,
    outcome_by_state,
    share,
    status_in,
    text_in,
    time_in,
    urls_in,
)
from kie_ai_mcp.specs import ADDRESS_CHARS, DAY_S, Status

A = "https://tempfile.example/a.png"
B = "http://tempfile.example/b.png"

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(),
    st.text(),
    st.from_regex(r"-*\d+", fullmatch=True),
    st.sampled_from([A, B, "success", "fail", "1", "0.5", "2026-04-20 10:00:00", "9" * 5000]),
)
NAMES = st.sampled_from(
    [
        "resultUrl",
        "resultUrls",
        "url",
        "successFlag",
        "state",
        "failCode",
        "failMsg",
        "errorCode",
        "errorMessage",
        "completeTime",
        "progress",
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(NAMES, st.text()), inner, max_size=4),
        inner.map(lambda value: json.dumps(value, default=str)),
    ),
    max_leaves=8,
)
READINGS: list[Callable[[Any], object]] = [
    status_in,
    object_in,
    urls_in,
    time_in,
    number_in,
    amount_in,
    text_in,
    code_in,
    share,
]

fuzz = settings(deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("wait", "pending"),
        ("waiting", "pending"),
        ("queuing", "pending"),
        ("queueing", "pending"),
        ("PENDING", "pending"),
        ("generating", "processing"),
        ("GENERATING", "processing"),
        ("success", "completed"),
        ("SUCCESS", "completed"),
        (" Success ", "completed"),
        ("fail", "failed"),
        ("FAILED", "failed"),
        ("CREATE_TASK_FAILED", "failed"),
        ("GENERATE_FAILED", "failed"),
    ],
)
def test_every_state_word_of_the_service_is_known(word: str, status: Status) -> None:
    assert status_in(word) == status


@pytest.mark.parametrize(
    "word", ["", "uploading", "successful", "failing", None, 1, 3, True, ["fail"], {"state": "fail"}]
)
def test_state_word_never_seen_before_means_still_running(word: object) -> None:
    assert status_in(word) == "processing"


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (A, (A,)),
        (f" {A} ", (A,)),
        ([A, B], (A, B)),
        ((A, B), (A, B)),
        ([{"resultUrl": A}, {"resultUrl": B}], (A, B)),
        ("HTTPS" + A[5:], ("HTTPS" + A[5:],)),
        ({"resultUrl": A}, (A,)),
        ({"url": A}, (A,)),
        ({"videoUrl": A, "imageUrl": B}, (A, B)),
        (json.dumps([A, B]), (A, B)),
        (json.dumps([{"resultUrl": A}]), (A,)),
        (json.dumps({"resultUrl": A}), (A,)),
        (json.dumps(json.dumps([A])), (A,)),
        ([json.dumps([A]), [B]], (A, B)),
        ([A, A, B, A], (A, B)),
        ([{"href": A}], (A,)),
        ({"images": [{"url": A, "width": 1}, {"url": B}]}, (A, B)),
        *((f"{A}{apart}{B}", (A, B)) for apart in ("\n", "\r\n", ",", ", ", ",\n", ";", " ", "\t")),
        (f"{A}?sign=1,2,{B}?sign=3,4", (f"{A}?sign=1,2", f"{B}?sign=3,4")),
        ({"resultUrls": f"{A},{B}\n{A}?2"}, (A, B, f"{A}?2")),
        (f"{A}?size=1,2", (f"{A}?size=1,2",)),
        (f"{A}?of={B},{B}", (f"{A}?of={B},{B}",)),
        (f"{A}?of={B},{B}\n{B}", (f"{A}?of={B},{B}", B)),
        ({"output": {"video": {"link": A}}}, (A,)),
        ({"resultWaterMarkUrls": [A], "inputImage": B, "callBackUrl": B, "param": {"url": B}}, (A,)),
    ],
)
def test_result_addresses_are_found_in_every_shape(value: object, addresses: tuple[str, ...]) -> None:
    assert urls_in(value) == addresses


@pytest.mark.parametrize(
    "value",
    [
        f"https://files.example/{'x' * ADDRESS_CHARS}",
        "https://files.example/a.png\nNext: pay again",
        "https://files.example/\x1b[2Ja.png",
        "https://files.example/\u202egnp.exe",
        "https://files.example/\ud800",
    ],
    ids=ascii,
)
def test_address_too_long_or_with_invisible_characters_is_no_result(value: str) -> None:
    assert urls_in([value, A]) == (A,)
    assert judge(Outcome("completed", (value,)), Outcome) or "\u202e" in value


def test_addresses_of_one_task_are_read_up_to_a_total_length() -> None:
    many = [f"{A}?{number:0199}" for number in range(1_000)]

    assert urls_in(many) == tuple(many[: ADDRESSES_CHARS // len(many[0])])


def test_addresses_of_several_places_keep_their_order_and_come_once() -> None:
    assert urls_in([B], None, A, "", json.dumps([B, A])) == (B, A)


def test_a_field_that_a_plugin_names_goes_before_all_others() -> None:
    assert urls_in([{"href": A, "self": B}], names=("href",)) == (A,)
    assert urls_in([{"href": A, "self": B}]) == (A, B)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "[]",
        "{",
        "null",
        7,
        True,
        {},
        [],
        [None, ""],
        "ftp://a/b",
        "file:///etc/passwd",
        "//a/b",
        "data:,x",
        "a",
    ],
)
def test_what_is_no_web_address_is_no_result(value: object) -> None:
    assert urls_in(value) == ()


@pytest.mark.parametrize(
    "value",
    [
        1776679200000,
        1776679200000.0,
        "1776679200000",
        "2026-04-20T10:00:00Z",
        "2026-04-20T10:00:00.000Z",
        "2026-04-20T12:00:00+02:00",
        "2026-04-20T10:00:00",
        "2026-04-20 10:00:00",
        " 2026-04-20 10:00:00 ",
    ],
)
def test_every_spelling_of_a_time_is_the_same_moment(value: object) -> None:
    assert time_in(value) == datetime(2026, 4, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, "", " ", 0, -5, True, "0x10", "yesterday", "2026-13-40", 1e300, [], {}])
def test_what_is_no_time_is_none(value: object) -> None:
    assert time_in(value) is None


@pytest.mark.parametrize(
    ("value", "number"), [(5916.25, 5916.25), (70, 70.0), ("0.75", 0.75), (" 3 ", 3.0), ("-1", -1.0), (0, 0.0)]
)
def test_numbers_are_read_also_from_text(value: object, number: float) -> None:
    assert number_in(value) == number


@pytest.mark.parametrize("value", [None, True, "", "much", "nan", "inf", float("inf"), float("nan"), 10**400, [], {}])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert number_in(value) is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        *((400, 400), ("400", 400), (" 501 ", 501), (-1, -1), ("-1", -1), ("E_POLICY", "E_POLICY"), ("4.5", "4.5")),
        *((10**9, "1000000000"), (10**300, f"1{'0' * 79}")),
    ],
)
def test_error_codes_are_numbers_where_they_are_numbers(value: object, code: int | str) -> None:
    assert code_in(value) == code


@pytest.mark.parametrize("value", [None, "", 0, "0", False, True, [], {}, 1.5])
def test_zero_and_empty_are_no_error_code(value: object) -> None:
    assert code_in(value) is None


@pytest.mark.parametrize("value", ["²", "--5", "-", "٣", "9" * 5000])
def test_odd_digits_never_break_the_reading_of_a_code(value: str) -> None:
    assert isinstance(code_in(value), (int, str))


@pytest.mark.parametrize(
    ("progress", "whole", "expected"),
    [("0.00", 1, 0.0), ("0.42", 1, 0.42), ("1.00", 1, 1.0), (37, 100, 0.37), (100, 100, 1.0), (120, 100, 1.0)],
)
def test_progress_is_a_share_of_the_whole(progress: object, whole: float, expected: float) -> None:
    assert share(progress, whole) == pytest.approx(expected)


@pytest.mark.parametrize("progress", [None, "", "half", -1, float("nan"), []])
def test_progress_that_says_nothing_is_none(progress: object) -> None:
    assert share(progress) is None


@pytest.mark.parametrize("value", [{"a": 1}, [{"a": 1}], '[{"a": 1}]', '{"a": 1}', json.dumps({"a": 1}, indent=2)])
def test_object_is_read_as_it_is_or_from_its_text(value: object) -> None:
    assert object_in(value) == {"a": 1}


@pytest.mark.parametrize("value", [None, "", "[1]", "{", "null", 5, ["a"], "[" * 100_000])
def test_what_is_no_object_is_an_empty_one(value: object) -> None:
    assert object_in(value) == {}


def test_text_is_kept_and_emptiness_is_none() -> None:
    values: list[object] = ["x", " x", 7, "", "  ", None, [], {}, True, float("nan"), float("inf")]
    values += ["\x00", "\x1b[31m", "\u200b\n"]

    assert [text_in(value) for value in values] == ["x", " x", "7", *[None] * 11]


@pytest.mark.parametrize("place", ["/files/1.png", " /files/1.png ", ["/files/1.png"], [{"href": "/files/1.png"}]])
def test_address_below_the_service_counts_in_fields_that_are_named(place: object) -> None:
    assert urls_in({"files": place}, names=("files", "href")) == ("/files/1.png",)
    assert urls_in({"files": place}) == ()


@pytest.mark.parametrize(
    "text", ["//other.example/1.png", "/\\other.example/1.png", "/", "files/1.png", "/a b", "/\x00"]
)
def test_text_that_may_lead_elsewhere_is_no_address_below_the_service(text: str) -> None:
    assert urls_in({"href": text}, names=("href",)) == ()


def test_address_below_the_service_keeps_its_label() -> None:
    outcome = Outcome("completed", ("/files/1.mp4", "/files/2.mp4"))
    assert labelled(outcome, {"uncropped": "/files/2.mp4"}).labels == ("", "uncropped")


@given(JSON)
@fuzz
def test_amounts_and_words_that_are_read_fit_an_outcome(value: object) -> None:
    reason = text_in(value) or "no reason was given"
    outcome = Outcome("failed", error=reason, credits=amount_in(value))
    assert judge(outcome, Outcome) is None
    assert outcome.error


@pytest.mark.parametrize(
    ("value", "amount"), [(0, 0), ("0.02", 0.02), (-1, None), ("-0.5", None), (float("nan"), None)]
)
def test_amount_is_a_number_of_at_least_0_or_none(value: object, amount: float | None) -> None:
    assert amount_in(value) == amount


@pytest.mark.parametrize("flag", [1, "1", 1.0, " 1 "])
def test_flag_one_is_success_with_results_credits_and_time(flag: object) -> None:
    payload = {"successFlag": flag, "creditsConsumed": "12.5", "completeTime": "2026-04-20 10:00:00", "errorCode": 0}

    assert outcome_by_flag(payload, None, [A]) == Outcome(
        "completed",
        (A,),
        progress=1.0,
        credits=12.5,
        finished_at=datetime(2026, 4, 20, 10, tzinfo=UTC),
        keeps_s=TWO_WEEKS_S,
    )


@pytest.mark.parametrize("flag", [2, 3, "2", "3"])
def test_flags_two_and_three_are_failure_with_its_reason(flag: object) -> None:
    payload = {"successFlag": flag, "errorCode": "501", "errorMessage": "no luck", "completeTime": 1776679200000}

    outcome = outcome_by_flag(payload, [A])

    assert (outcome.status, outcome.error, outcome.error_code, outcome.urls) == ("failed", "no luck", 501, ())
    assert outcome.finished_at == datetime(2026, 4, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize("credits", [-1, "-0.5", float("nan"), float("inf"), "much", True, None])
def test_price_that_is_no_number_of_at_least_0_is_none(credits: object) -> None:
    for payload in ({"state": "success"}, {"state": "fail"}, {"state": "generating"}):
        outcome = outcome_by_state({**payload, "creditsConsumed": credits})
        assert (outcome.credits, judge(outcome, Outcome)) == (None, None)
    assert judge(Outcome("completed", credits=-1.0), Outcome) is not None


def test_reason_is_one_line_of_at_most_500_characters() -> None:
    reason = outcome_by_state({"state": "fail", "failMsg": "\x1b[31mno\n\nNext: pay\u202e" + "x" * 9_000}).error

    assert reason is not None
    assert (reason[:16], len(reason), reason.isprintable()) == ("no Next: pay xxx", 500, True)


def test_failure_without_words_says_that_there_are_none() -> None:
    assert outcome_by_flag({"successFlag": 2, "errorMessage": ""}).error == "the service gave no reason"


@pytest.mark.parametrize("flag", [0, "0", 4, 9, -1, None, "", "SUCCESS", True, False, [1], {"a": 1}])
def test_any_other_flag_is_still_running_whatever_else_is_there(flag: object) -> None:
    payload = {"successFlag": flag, "progress": "0.40", "errorMessage": "", "completeTime": None}

    assert outcome_by_flag(payload, [A]) == Outcome("processing", progress=0.4)


def test_a_family_names_its_own_flags_and_its_own_keeping() -> None:
    read = partial(outcome_by_flag, completed=(1, 4), failed=(3,), keeps_s=DAY_S)

    assert read({"successFlag": 4}, A) == Outcome("completed", (A,), progress=1.0)
    assert read({"successFlag": 2}, A).status == "processing"


def test_state_of_success_has_results_credits_model_and_time() -> None:
    payload = {
        "state": "success",
        "creditsConsumed": "12.5",
        "model": "maker/one",
        "completeTime": "2026-04-20 10:00:00",
        "failMsg": "",
    }

    assert outcome_by_state(payload, None, [A], keeps_s=TWO_WEEKS_S) == Outcome(
        "completed",
        (A,),
        progress=1.0,
        credits=12.5,
        model="maker/one",
        finished_at=datetime(2026, 4, 20, 10, tzinfo=UTC),
        keeps_s=TWO_WEEKS_S,
    )
    assert outcome_by_state(payload, A).keeps_s == DAY_S


@pytest.mark.parametrize("state", ["fail", "failed", "GENERATE_FAILED"])
def test_state_of_failure_has_reason_code_credits_and_no_results(state: str) -> None:
    payload = {"state": state, "failCode": "501", "failMsg": "no luck", "creditsConsumed": 2, "completeTime": ""}

    assert outcome_by_state(payload, [A]) == Outcome("failed", error="no luck", error_code=501, credits=2.0)
    assert outcome_by_state({"state": state}).error == "the service gave no reason"


@pytest.mark.parametrize(
    ("state", "status"),
    [("waiting", "pending"), ("generating", "processing"), ("new", "processing"), (None, "processing")],
)
def test_any_other_state_is_still_running_whatever_else_is_there(state: object, status: Status) -> None:
    payload = {"state": state, "progress": 40, "failMsg": "", "completeTime": None, "model": "maker/one"}

    assert outcome_by_state(payload, [A]) == Outcome(status, progress=0.4, model="maker/one")


# Sound, words and data -----------------------------------------------------------------------------------------------

TRACK = {"id": "a-1", "audio_url": A, "stream_audio_url": "https://x.example/s", "title": "Rain", "duration": 61.5}
GROWING = {"id": "a-2", "audio_url": "", "stream_audio_url": B, "image_url": "https://x.example/c.png", "title": "Rain"}
LYRICS = [{"title": "Rain", "text": "[Verse]\nDrops", "status": "complete"}, {"text": "", "status": "failed"}]


def market(result: object, response: object = None) -> Outcome:
    return market_outcome({"state": "success", "resultJson": result, "response": response})


@pytest.mark.parametrize("place", ["resultJson", "response"])
@pytest.mark.parametrize("name", ["data", "sunoData"])
def test_every_track_is_a_result_with_its_title_and_what_is_said_of_it(place: str, name: str) -> None:
    outcome = market_outcome({"state": "success", "resultJson": "", place: {name: [TRACK, GROWING, {"id": "none"}]}})

    assert (outcome.urls, outcome.labels) == ((A, B), ("Rain", "Rain"))
    assert outcome.data == [
        {"id": "a-1", "title": "Rain", "duration": 61.5},
        {"id": "a-2", "image_url": "https://x.example/c.png", "title": "Rain"},
    ]


def test_tracks_that_are_told_twice_are_read_once() -> None:
    outcome = market({"data": [TRACK]}, {"data": [TRACK]})

    assert (outcome.urls, outcome.data) == ((A,), [{"id": "a-1", "title": "Rain", "duration": 61.5}])


def test_address_of_a_track_that_is_none_yet_gives_way_to_the_next() -> None:
    assert market({"data": [{**TRACK, "audio_url": "pending", "stream_audio_url": B}]}).urls == (B,)


def test_track_that_still_grows_is_no_result() -> None:
    outcome = market_outcome({"state": "generating", "response": {"data": [GROWING]}})

    assert outcome == Outcome("processing")


@pytest.mark.parametrize(
    "result",
    [
        {"vocalUrl": A, "leadGuitarUrl": B, "originUrl": "https://x.example/whole.mp3"},
        {"vocal_removal_info": {"vocal_url": A, "lead_guitar_url": B}},
        {"resultUrls": [{"name": "vocal", "url": A}, {"name": "lead guitar", "url": B}]},
        {
            "resultUrls": [A, B],
            "originData": [{"stem_name": "vocal", "audio_url": A}, {"title": "lead guitar", "audio_url": B}],
        },
    ],
    ids=["fields", "fields inside", "entries", "beside"],
)
def test_stems_are_results_with_their_names(result: dict[str, Any]) -> None:
    outcome = market(json.dumps(result))

    assert (outcome.urls, outcome.labels, outcome.data) == ((A, B), ("vocal", "lead guitar"), None)


@pytest.mark.parametrize(
    "result",
    [
        {"audioWavUrl": A},
        {"images": [A]},
        {"resultObject": {"mask_urls": [A]}},
        {"data": {"result_urls": [A], "origin_urls": [B]}},
    ],
)
def test_only_result_needs_no_name(result: dict[str, Any]) -> None:
    assert market("", result) == Outcome("completed", (A,), progress=1.0)


@pytest.mark.parametrize(
    ("result", "data"),
    [
        ({"resultObject": {"lyricsData": LYRICS}}, "Rain\n\n[Verse]\nDrops"),
        ({"data": [*LYRICS, {"text": "Sun"}]}, "Rain\n\n[Verse]\nDrops\n\n----\n\nSun"),
        ({"resultObject": {"text": "a lush ballad"}}, "a lush ballad"),
        ({"resultObject": "a lush ballad"}, "a lush ballad"),
        ({"resultObject": {"segments": [{"index": 0}]}}, {"segments": [{"index": 0}]}),
        ({"resultObject": '{"instruments": [{"notes": []}, 1]}'}, {"instruments": [{"notes": []}, 1]}),
        ({"resultUrls": [], "taskId": "t", "voiceId": "v-1", "status": "ok"}, {"voiceId": "v-1"}),
        ({"resultObject": {"start": float("nan")}}, {"start": None}),
        ({"resultObject": {"found": False}}, {"found": False}),
        ({"resultUrls": [], "taskId": "t", "errorMessage": "", "createTime": 5}, None),
    ],
)
def test_result_without_an_address_is_data_and_words_are_text(result: dict[str, Any], data: object) -> None:
    assert market(json.dumps(result)) == Outcome("completed", progress=1.0, data=data)


def test_data_beside_an_address_is_kept_as_well() -> None:
    outcome = market({"resultUrls": [A], "resultObject": {"score": 3, "url": A}})

    assert (outcome.urls, outcome.data) == ((A,), {"score": 3, "url": A})


def test_data_nested_too_deep_is_left_out() -> None:
    value: object = "x"
    for _ in range(100_000):
        value = [value]

    assert market({"resultUrls": [A], "resultObject": value}).data is None


@fuzz
@given(
    st.dictionaries(st.sampled_from(["data", "sunoData", "resultObject", "resultUrls", "lyricsData", "x_url"]), JSON)
)
def test_no_result_makes_the_market_reading_raise_or_break_the_contract(result: dict[str, Any]) -> None:
    outcome = market(result, {"data": [result]})

    assert judge(outcome, Outcome) is None


@fuzz
@given(JSON)
@example("²")
@example("--5")
@example("9" * 5000)
@example(10**400)
@example(float("inf"))
def test_no_value_makes_a_reading_raise(value: object) -> None:
    for read in READINGS:
        read(value)
    assert urls_in(value, value) == urls_in(value)


@fuzz
@given(st.dictionaries(NAMES, JSON))
def test_no_answer_makes_a_flag_reading_raise_or_name_an_end_that_is_not_there(payload: dict[str, Any]) -> None:
    outcome = outcome_by_flag(payload, payload.get("resultUrls"))

    assert (outcome.status == "completed") == (number_in(payload.get("successFlag")) == 1)
    assert (outcome.status == "failed") == (number_in(payload.get("successFlag")) in {2, 3})


@fuzz
@given(st.dictionaries(NAMES, JSON))
def test_no_answer_makes_a_state_reading_raise_or_name_an_end_that_is_not_there(payload: dict[str, Any]) -> None:
    outcome = outcome_by_state(payload, payload.get("resultUrls"))

    assert outcome.status == status_in(payload.get("state"))
    assert bool(outcome.urls) <= (outcome.status == "completed")


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Keeps the garbage collector from running somebody's finalizer where the stack is almost used up."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("depth", [100, 5_000])
def test_depth_never_breaks_the_search_for_addresses(depth: int) -> None:
    value: object = A
    for _ in range(depth):
        value = [value]

    assert urls_in(value) in {(A,), ()}
    assert urls_in(value, B) in {(A, B), (B,)}
