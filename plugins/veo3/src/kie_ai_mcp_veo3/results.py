"""Outcomes of Veo's answers: the status record, and the two upgrades, which answer in other shapes."""

from collections.abc import Mapping
from typing import Any

from kie_ai_mcp import Answer, Outcome
from kie_ai_mcp.errors import Refused
from kie_ai_mcp.readings import TWO_WEEKS_S, labelled, object_in, outcome_by_flag, text_in, urls_in

# Fields of clips, the best first: the clip, the whole film after an extension, the clip before it was cropped.
RESULTS = ("resultUrls", "result_urls", "resultUrl", "fullResultUrls", "originUrls")

LABELS = {"fullResultUrls": "whole film", "originUrls": "uncropped"}

# Codes that are final for this request; any other code means "not yet".
FINAL_CODES = {400, 401, 402, 404, 405, 413, 422, 433, 451, 501, 505}


def task_outcome(payload: Mapping[str, Any]) -> Outcome:
    """Read ``data`` of ``veo/record-info``: clips, extensions and 4k versions alike."""
    record = [object_in(payload.get("response")), object_in(payload.get("info")), payload]
    places = {label: [place.get(name) for place in record] for name, label in LABELS.items()}
    return labelled(outcome_by_flag(payload, clips_in(payload)), places)


def hd_outcome(answer: Answer) -> Outcome:
    """Read an answer of ``veo/get-1080p-video``, which says "not yet" with the codes of an error."""
    clips = clips_in(answer.data)
    if clips:
        return _done(clips)
    if answer.code in FINAL_CODES and not _in_progress(answer):
        return Outcome("failed", error=answer.message or "the service gave no reason", error_code=answer.code)
    return Outcome("processing")


def read_4k(answer: Answer) -> str | Outcome | None:
    """Read an answer of ``veo/get-4k-video``, whose code is 422 even when the clips are ready.

    Returns:
        The finished clips, or the id of the task that makes them; None to read the code as usual.

    Raises:
        Refused: The clips are being made, and the answer does not name the task that makes them.
    """
    clips = clips_in(answer.data)
    if clips:
        return _done(clips)
    in_progress = _in_progress(answer)
    if answer.code != 200 and not in_progress:
        return None
    data = object_in(answer.data)
    task_id = text_in(data.get("taskId")) or text_in(data.get("task_id"))
    if task_id is None and in_progress:
        raise Refused(
            f"Not ready yet; an earlier call makes it, in the service's words: {answer.message}.",
            code=answer.code,
            next_step="Call get_veo3_4k_video again in 30 seconds.",
            can_retry=True,
        )
    return task_id


def clips_in(data: object) -> tuple[str, ...]:
    """Return the address of every clip in an answer's data, in its present and its earlier shapes."""
    record = object_in(data)
    places = (object_in(record.get("response")), object_in(record.get("info")), record)
    return urls_in(*(place.get(name) for name in RESULTS for place in places))


def _done(clips: tuple[str, ...]) -> Outcome:
    return Outcome("completed", clips, progress=1.0, keeps_s=TWO_WEEKS_S)


def _in_progress(answer: Answer) -> bool:
    message = answer.message.lower()
    return answer.code in {400, 422} and "processing" in message and "fail" not in message
