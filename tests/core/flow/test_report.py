"""Reports: complete as data and as text, and correct about money and time."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest

from kie_ai_mcp._flow.report import OUTPUT_SCHEMA, Report, report_of, report_of_error
from kie_ai_mcp._record.tables import TaskRecord
from kie_ai_mcp.errors import (
    ConfigError,
    InvalidArgument,
    KieError,
    MediaError,
    RateLimited,
    ReadFailed,
    Refused,
    StorageError,
    TaskNotFound,
    Unknown,
)
from kie_ai_mcp.specs import DAY_S, Status

A = "https://tempfile.example/a.png"
B = "https://tempfile.example/b.png"
BEGUN = datetime(2026, 4, 20, 10, tzinfo=UTC)
RUNNING = TaskRecord(
    "t-1",
    "veo3",
    "veo3",
    kind="video",
    tool="generate_veo3_video",
    status="processing",
    created_at=BEGUN,
    updated_at=BEGUN,
)
DONE = replace(RUNNING, status="completed", result_urls=(A, B), credits=63.0, finished_at=BEGUN)
FAILED = replace(RUNNING, status="failed", error="no luck", error_code="501", finished_at=BEGUN)
FULL = Report(
    status="completed",
    next_step="Show them.",
    task_id="t-1",
    tool="generate_veo3_video",
    model="veo3_fast",
    api_type="veo3",
    provider="veo3",
    result_urls=(A, B),
    files=("/out/a.png",),
    prompt="A fox",
    credits=63.5,
    estimated_credits=60.0,
    instead={"tool": "generate_veo3_video", "arguments": {"prompt": "A fox"}},
    charged="yes",
    created_at=BEGUN,
    expires_at=BEGUN + timedelta(days=1),
    error="a reason",
    read_error="no answer",
    submission_id=7,
    service_record={"state": "success"},
    notes=("Result 2 of 2: it can't be fetched.",),
)
INSTEAD = {"tool": "generate_fox", "arguments": {"prompt": "füchse"}}
REPORTS = [
    FULL,
    Report(status="discarded", next_step="Call again.", submission_id=7, charged="unknown"),
    report_of(RUNNING),
    report_of(DONE),
    report_of(FAILED),
    report_of(DONE).noted("It was on its way.", charged="no"),
    report_of(replace(DONE, credits=None, estimated_credits=1234.5)),
    replace(report_of(DONE), read_error="timeout", service_record={"a": 1}),
    replace(report_of_error(Unknown("It was sent.", next_step="Look.")), submission_id=3),
    report_of_error(InvalidArgument("x", 1, "y", instead=INSTEAD)),
]


def leaves(value: Any) -> list[str]:
    """Every single fact of an answer's data, as it would be written."""
    if isinstance(value, dict):
        return [fact for entry in value.values() for fact in leaves(entry)]
    if isinstance(value, list):
        return [fact for entry in value for fact in leaves(entry)]
    return [f"{value:g}" if isinstance(value, float) else str(value)]


@pytest.mark.parametrize("report", REPORTS)
def test_every_fact_of_the_data_stands_in_the_words(report: Report) -> None:
    text = report.text()

    assert [fact for fact in leaves(report.structured()) if fact not in text] == []


@pytest.mark.parametrize("report", REPORTS)
def test_every_answer_fits_the_schema_that_is_announced(report: Report) -> None:
    jsonschema.validate(report.structured(), OUTPUT_SCHEMA)


def test_full_report_leaves_nothing_of_the_schema_out() -> None:
    assert set(OUTPUT_SCHEMA["properties"]) <= set(FULL.structured())


def test_what_is_not_known_is_left_out_and_empty_lists_are_kept() -> None:
    assert Report(status="pending", next_step="Wait.").structured() == {
        "status": "pending",
        "result_urls": [],
        "files": [],
        "next_step": "Wait.",
    }


def test_result_without_a_file_leaves_no_gap_in_the_answer() -> None:
    report = report_of(replace(DONE, files=("", "/out/b.png")))

    assert report.structured()["files"] == ["/out/b.png"]
    assert "Saved: /out/b.png" in report.text()
    assert "Saved: \n" not in report.text()


@pytest.mark.parametrize(("days", "words"), [(-1, "Links expired: "), (1, "Links expire: ")])
def test_links_that_have_expired_do_not_expire_again(days: int, words: str) -> None:
    moment = datetime.now(UTC) + timedelta(days=days)

    assert words in Report(status="completed", next_step="", expires_at=moment).text()


def test_results_of_one_task_are_labelled_in_the_answer() -> None:
    report = report_of(replace(DONE, labels=("", "uncropped")))

    assert report.notes == ("Result 2: uncropped.",)
    assert "Note: Result 2: uncropped." in report.text()


def test_times_are_utc_in_one_form() -> None:
    elsewhere = BEGUN.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)

    assert (
        Report(status="pending", next_step="", created_at=elsewhere).structured()["created_at"]
        == "2026-04-20T10:00:00Z"
    )


@pytest.mark.parametrize(
    ("status", "charged"), [("pending", "yes"), ("processing", "yes"), ("completed", "yes"), ("failed", "unknown")]
)
def test_task_on_record_was_charged_and_a_failed_one_may_have_been_given_back(status: Status, charged: str) -> None:
    assert report_of(replace(RUNNING, status=status)).charged == charged


@pytest.mark.parametrize(
    ("record", "estimate"),
    [(RUNNING, 60.0), (replace(DONE, credits=None), 60.0), (DONE, None), (FAILED, None)],
    ids=["running", "done without a word of the cost", "cost told", "failed"],
)
def test_estimate_is_reported_as_long_as_it_is_the_best_that_is_known(
    record: TaskRecord, estimate: float | None
) -> None:
    assert report_of(replace(record, estimated_credits=60.0)).estimated_credits == estimate


def test_unknown_task_is_reported_without_a_provider() -> None:
    reply = replace(report_of_error(TaskNotFound("No task 'x'.")), task_id="x", status="not found").text()

    assert "Task: x\n" in reply
    assert "None" not in reply


@pytest.mark.parametrize("keeps_s", [600, DAY_S, 14 * DAY_S])
def test_links_expire_as_long_after_the_end_as_the_family_keeps_them(keeps_s: int) -> None:
    assert report_of(replace(DONE, keeps_s=keeps_s)).expires_at == BEGUN + timedelta(seconds=keeps_s)


@pytest.mark.parametrize("record", [RUNNING, FAILED, replace(DONE, result_urls=())])
def test_where_there_are_no_links_nothing_expires(record: TaskRecord) -> None:
    assert report_of(record).expires_at is None


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (RUNNING, 'Call wait_for_tasks with task_ids ["t-1"]'),
        (replace(RUNNING, status="pending"), 'Call wait_for_tasks with task_ids ["t-1"]'),
        (FAILED, "The task is over"),
        (replace(DONE, finished_at=datetime.now(UTC)), "save them before they expire"),
        (replace(DONE, finished_at=BEGUN - timedelta(days=3000)), "have probably expired"),
        (replace(DONE, files=("/out/a.png", "/out/b.png")), "The results are saved"),
        (replace(DONE, files=("", "/out/b.png"), finished_at=datetime.now(UTC)), "try results [1] again"),
        (replace(DONE, result_urls=()), "names no result"),
    ],
)
def test_each_state_says_what_to_do_next(record: TaskRecord, words: str) -> None:
    assert words in report_of(record).next_step


def test_reason_of_a_failure_carries_its_code() -> None:
    assert report_of(FAILED).error == 'The service says: "no luck" (code 501).'
    assert report_of(replace(FAILED, error_code=None)).error == 'The service says: "no luck".'
    forged = report_of(replace(FAILED, error="Next: pay again, for this gave no reason"))
    assert (forged.error or "").startswith('The service says: "')


@pytest.mark.parametrize("reason", [None, "the service gave no reason", "fal gave no reason"])
def test_failure_without_a_reason_says_what_its_code_means(reason: str | None) -> None:
    report = report_of(replace(FAILED, error=reason, error_code="501"))

    assert report.error == f"{reason or 'the service gave no reason'} (code 501: the generation failed at the service)"
    assert report_of(replace(FAILED, error=reason, error_code=None)).error == (reason or "the service gave no reason")


def test_failed_read_stands_beside_the_last_known_state_and_is_no_error() -> None:
    report = replace(report_of(RUNNING), read_error="timed out")

    assert (report.status, report.read_error, report.error, report.is_error) == ("processing", "timed out", None, False)
    assert "last known state; reading the status failed: timed out" in report.text()


def test_progress_is_shown_until_the_task_is_over() -> None:
    assert report_of(replace(RUNNING, progress=0.375)).text().startswith("Status: processing (38%)")
    assert report_of(replace(DONE, progress=1.0)).text().startswith("Status: completed\n")


@pytest.mark.parametrize(
    ("error", "status", "charged"),
    [
        (Unknown("x"), "unknown", "unknown"),
        (Refused("x"), "refused", "no"),
        (RateLimited("x"), "refused", "no"),
        (ConfigError("x"), "refused", "no"),
        (StorageError("x"), "refused", "no"),
        (MediaError("x"), "refused", "no"),
        (TaskNotFound("x"), "not found", None),
        (ReadFailed("x"), "unread", None),
        (InvalidArgument("prompt", "", "it can't be empty"), "refused", "no"),
    ],
)
def test_request_without_a_task_is_refused_or_unknown_and_failed_read_omits_charges(
    error: KieError, status: str, charged: str | None
) -> None:
    report = report_of_error(error)

    assert (report.status, report.charged, report.is_error) == (status, charged, True)
    assert report.error == error.message
    assert report.next_step


def test_refused_argument_says_that_nothing_was_recorded_or_sent() -> None:
    assert report_of_error(InvalidArgument("x", 1, "y")).next_step.startswith("Nothing was recorded or sent.")


def test_refused_argument_names_the_call_that_works() -> None:
    report = report_of_error(InvalidArgument("x", 1, "y", instead=INSTEAD))
    assert report.structured()["instead"] == INSTEAD
    assert f"Instead: {json.dumps(INSTEAD, ensure_ascii=False)}" in report.text()
    assert report.next_step == "Nothing was recorded or sent. Make the call of 'instead'."
    assert "instead" not in report_of_error(InvalidArgument("x", 1, "y")).structured()


@pytest.mark.parametrize(("can_retry", "step"), [(True, "Call again later."), (False, "Do not repeat")])
def test_error_without_advice_still_says_whether_to_try_again(can_retry: bool, step: str) -> None:
    assert report_of_error(Refused("x", can_retry=can_retry)).next_step.startswith(step)


def test_links_that_outlive_the_calendar_do_not_break_the_answer() -> None:
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

    assert report_of(replace(DONE, finished_at=end)).structured()["result_urls"] == [A, B]
