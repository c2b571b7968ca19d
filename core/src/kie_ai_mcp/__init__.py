"""The contract for providers of kie-ai-mcp-server: everything a plugin author imports.

See `kie_ai_mcp.hookspecs` for the hooks, `kie_ai_mcp.specs` for the values, `kie_ai_mcp.readings` for help
with the service's answers and `kie_ai_mcp.errors` for the error tree.
"""

from kie_ai_mcp.errors import InvalidArgument, KieError
from kie_ai_mcp.hookspecs import CONTRACT, hookimpl
from kie_ai_mcp.specs import (
    Accepted,
    Answer,
    AspectRatio,
    AudioUrl,
    CallbackUrl,
    FrameRate,
    Gateway,
    ImageUrl,
    ImageUrls,
    Media,
    NegativePrompt,
    OnePicture,
    Outcome,
    OutputFormat,
    Prompt,
    Provider,
    Query,
    StatusRoute,
    Submission,
    Task,
    TaskId,
    Tool,
    VideoResolution,
    VideoUrl,
    apply_overrides,
    reject_arguments,
)

__all__ = [
    "CONTRACT",
    "Accepted",
    "Answer",
    "AspectRatio",
    "AudioUrl",
    "CallbackUrl",
    "FrameRate",
    "Gateway",
    "ImageUrl",
    "ImageUrls",
    "InvalidArgument",
    "KieError",
    "Media",
    "NegativePrompt",
    "OnePicture",
    "Outcome",
    "OutputFormat",
    "Prompt",
    "Provider",
    "Query",
    "StatusRoute",
    "Submission",
    "Task",
    "TaskId",
    "Tool",
    "VideoResolution",
    "VideoUrl",
    "apply_overrides",
    "hookimpl",
    "reject_arguments",
]
