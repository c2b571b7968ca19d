"""The sandbox's own addresses below /_sandbox/, for tests that run it in another process."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kie_ai_mcp_sandbox.drift import parse_drift
from kie_ai_mcp_sandbox.faults import Plan, parse_plan
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Task


def plan_of(fault: str, times: int | None = None, path: str | None = None, accept: bool | None = None) -> Plan:
    """A plan from its text and what is given besides.

    Raises:
        ValueError: It can't be read.
    """
    plan = parse_plan(fault)
    if times is not None:
        if times < 0:
            raise ValueError(f"times is a number from 1, or 0 for always; {times} was given")
        plan = replace(plan, times=times or None)
    return replace(plan, path=path or plan.path, accept=accept)


def view(task: Task, now: float) -> dict[str, Any]:
    """What is shown of a task."""
    return {
        "task_id": task.task_id,
        "family": task.family.name,
        "path": task.path,
        "model": task.model,
        "state": task.state(now),
        "credits": task.credits,
        "failure": task.failure,
        "body": task.body,
    }


def control_routes(service: Service) -> list[Route]:
    """The routes."""

    def with_body(action: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                body = await request.json() if await request.body() else {}
                if not isinstance(body, dict):
                    raise ValueError("a JSON object is expected")
                return JSONResponse(action(body) or {"ok": True})
            except (ValueError, TypeError, KeyError) as error:
                return JSONResponse({"error": str(error)}, 400)

        return endpoint

    def shown(read: Callable[[], Any]) -> Callable[[Request], Any]:
        async def endpoint(_: Request) -> Response:
            return JSONResponse(read())

        return endpoint

    def drift(drift: str, where: str | None = None, schema: dict[str, Any] | None = None) -> None:
        service.drift(parse_drift(drift, where, schema))

    return [
        Route("/ledger", shown(lambda: [asdict(accepted) for accepted in service.ledger])),
        Route("/requests", shown(lambda: [asdict(seen) for seen in service.seen.values()])),
        Route("/tasks", shown(lambda: [view(task, service.now()) for task in service.tasks.values()])),
        Route("/faults", with_body(lambda body: service.plans.append(plan_of(**body))), methods=["POST"]),
        Route("/drift", with_body(lambda body: drift(**body)), methods=["POST"]),
        Route("/reset", with_body(lambda body: service.reset(**body)), methods=["POST"]),
        Route("/finish", with_body(lambda body: service.finish(**body)), methods=["POST"]),
        Route("/advance", with_body(lambda body: service.advance(**body)), methods=["POST"]),
    ]
