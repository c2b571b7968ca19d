"""The 1080p version by Kie.ai's common form, where it is a task of its own and no read."""

from kie_ai_mcp import Submission, TaskId
from kie_ai_mcp_veo3.prices import credits_of
from kie_ai_mcp_veo3.tools import HD, Index


def get_veo3_1080p_video(task_id: TaskId, index: Index | None = None) -> Submission:
    """Make the 1080p version of a finished Veo clip (paid, 1-3 minutes)."""
    fields = {"taskId": task_id, "index": None if index is None else str(index)}
    return Submission.market("veo/get-1080p-video", fields, api_type=HD, estimated_credits=credits_of(HD))
