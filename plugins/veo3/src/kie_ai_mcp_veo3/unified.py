"""The 1080p version by Kie.ai's common form, where it is a task of its own and no read."""

from kie_ai_mcp import Submission, TaskId
from kie_ai_mcp_veo3.tools import HD, Index, in_hd


def get_veo3_1080p_video(task_id: TaskId, index: Index | None = None) -> Submission:
    """Make the 1080p version of a finished Veo clip (paid, 1-3 minutes)."""
    return in_hd(task_id, index).submission(HD)
