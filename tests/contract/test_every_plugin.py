"""Contract checks of every installed provider, as any provider's author can run them."""

from importlib.metadata import entry_points
from typing import Any

import pytest

from kie_ai_mcp.testing import check_provider

PROVIDERS = sorted(entry.name for entry in entry_points(group="kie_ai_mcp"))
FAL = "https://queue.fal.run/fal-ai/pika/requests/t"
CLIP, PICTURE, DAY = "https://files.example.com/1.mp4", "https://files.example.com/1.png", "2026-04-20T10:00:00.000Z"

# A finished and a failed record of each family that has a status address of its own, in the service's shape. The
# checks also read them with every part changed or missing.
RECORDS: dict[str, list[dict[str, Any]]] = {
    "fal": [
        {"request_id": "task-1", "status": "IN_QUEUE", "queue_position": 1, "status_url": f"{FAL}/status"},
        {"request_id": "task-1", "status": "COMPLETED", "response_url": FAL, "metrics": {"inference_time": 1.5}},
        {"request_id": "task-1", "status": "COMPLETED", "error": "too slow", "error_type": "request_timeout"},
        {"images": [{"url": PICTURE}], "seed": 7},
    ],
    "flux": [
        {"taskId": "t", "successFlag": 1, "response": {"resultImageUrl": PICTURE, "originImageUrl": PICTURE}},
        {"taskId": "t", "successFlag": 3, "errorCode": 501, "errorMessage": "failed", "response": None},
    ],
    "gpt4o-image": [
        {
            "taskId": "t",
            "status": "SUCCESS",
            "successFlag": 1,
            "response": {"resultUrls": [PICTURE]},
            "progress": "1.00",
        },
        {"taskId": "t", "status": "GENERATE_FAILED", "successFlag": 3, "errorCode": 501, "errorMessage": "failed"},
    ],
    "luma": [
        {
            "taskId": "t",
            "successFlag": 1,
            "response": {"resultUrls": [CLIP], "originUrls": [CLIP]},
            "completeTime": DAY,
        },
        {"taskId": "t", "successFlag": 3, "errorCode": 500, "errorMessage": "failed"},
    ],
    "midjourney": [
        {"taskId": "t", "successFlag": 1, "resultInfoJson": {"resultUrls": [{"resultUrl": PICTURE}]}},
        {"taskId": "t", "successFlag": 2, "errorCode": 500, "errorMessage": "failed", "resultInfoJson": None},
    ],
    "runway": [
        {"taskId": "t", "successFlag": 1, "response": {"resultVideoUrl": CLIP, "resultImageUrl": PICTURE}},
        {"taskId": "t", "state": "success", "videoInfo": {"videoUrl": CLIP, "imageUrl": PICTURE}, "expireFlag": 0},
        {"taskId": "t", "state": "fail", "failCode": 400, "failMsg": "failed", "videoInfo": None},
    ],
    "veo3": [
        {"taskId": "t", "successFlag": 1, "response": {"resultUrls": [CLIP], "originUrls": [CLIP]}, "info": None},
        {"taskId": "t", "successFlag": 2, "errorCode": 500, "errorMessage": "failed", "fallbackFlag": False},
    ],
}


# The service publishes no price of this one.
@pytest.mark.filterwarnings("ignore:grok-imagine-video-1-5-preview. its price has no line for resolution 1080p")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_contract_is_kept(provider: str) -> None:
    check_provider(provider, payloads=RECORDS.get(provider, ()))
