"""Results of Ideogram tasks."""

from kie_ai_mcp_ideogram.results import KEPT_S, outcome


def test_finished_task_has_every_picture_and_how_long_the_service_keeps_them() -> None:
    urls = ["https://files.example/1.png", "https://files.example/2.png"]
    done = outcome({"state": "success", "resultJson": {"resultUrls": urls}, "creditsConsumed": 7})
    assert (done.status, done.urls, done.credits, done.keeps_s) == ("completed", tuple(urls), 7, KEPT_S)


def test_failed_task_has_the_reason_and_running_one_has_none() -> None:
    failed = outcome({"state": "fail", "failMsg": "not allowed", "failCode": "400"})
    assert (failed.status, failed.error, failed.error_code) == ("failed", "not allowed", 400)
    assert outcome({"state": "generating"}).status == "processing"
