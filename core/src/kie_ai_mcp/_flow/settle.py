"""Settling of requests whose outcome is unknown: adopt the task they made, or discard them."""

from dataclasses import replace

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.report import Report
from kie_ai_mcp._flow.results import refresh
from kie_ai_mcp._flow.status import look_up, payload_of
from kie_ai_mcp.errors import StorageError
from kie_ai_mcp.specs import KIE, Task


async def resolve(engine: Engine, submission_id: int, task_id: str | None) -> Report:
    """Settle an unknown submission: adopt the task that the account's log shows for it, or discard it if None.

    Raise StorageError where the submission is not unknown, TaskNotFound or ReadFailed where the service lacks the task.
    """
    if task_id is None:
        discarded = await engine.record.submissions.resolve(submission_id, None)
        next_step = f"{discarded.tool} may be called again with the same arguments."
        return Report(status="discarded", next_step=next_step, submission_id=submission_id, charged="unknown")
    request = await engine.record.submissions.unknown(submission_id)
    if not engine.adopts:
        reason = f"Submission {submission_id} was sent to the server's account, of which you see only your own tasks."
        raise StorageError(reason, next_step="Ask an administrator of this server to settle it.")
    tool = engine.plugins.tools.get(request.tool)
    if tool is not None and not tool.paid:
        reason = f"Submission {submission_id} asked for what has no task of its own at the service."
        raise StorageError(reason, next_step=f"Call {tool.name} again with the same arguments; it is not paid twice.")
    owner = await engine.of_owner(request)
    if owner.record.accounts.get(request.gateway) != engine.record.accounts.get(request.gateway):
        engine, caller = owner, owner.caller(request.gateway)  # that account alone knows the task
        if caller.needs_key and not caller.gateway.key:
            reason = f"Submission {submission_id} was paid for with a key of {request.user}, which this server lacks."
            raise StorageError(reason, next_step=caller.gateway.key_help)
    # The service's log shows the id alone.
    made = replace(request, task_id=engine.checked("task_id", task_id).removeprefix(f"{request.gateway}:"))
    record = await engine.record.tasks.find(made.exact_id)
    if record is None and request.gateway == KIE:
        record, _ = await look_up(engine, made.exact_id)
    elif record is None:
        # Another service's ids are looked up nowhere; the submission says what was asked for, and where.
        origin = ("task_id", "api_type", "provider", "kind", "tool", "model", "gateway")
        task = Task(**{name: getattr(made, name) for name in origin})
        await payload_of(engine, task)
        record = await engine.record.tasks.adopt(task)
    # First, so that what is saved of it says how it was made.
    await engine.record.submissions.resolve(submission_id, record.task)
    return replace(await refresh(engine, made.exact_id), submission_id=submission_id)
