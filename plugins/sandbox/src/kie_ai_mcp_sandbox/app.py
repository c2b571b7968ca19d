"""Routes: every address of the service that the sandbox stands in for."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from kie_ai_mcp_sandbox import fal, files, gpt4o, live, market, veo
from kie_ai_mcp_sandbox.control import control_routes
from kie_ai_mcp_sandbox.faults import Reply, envelope
from kie_ai_mcp_sandbox.images import FLUX, MIDJOURNEY
from kie_ai_mcp_sandbox.incoming import API, Handler, authorize, json_object, origin_of, path_of
from kie_ai_mcp_sandbox.service import Service
from kie_ai_mcp_sandbox.tasks import Create, Family
from kie_ai_mcp_sandbox.videos import ALEPH, MODIFY, RUNWAY
from kie_ai_mcp_sandbox.words import Refusal

FAMILIES = (veo.FAMILY, gpt4o.FAMILY, FLUX, RUNWAY, ALEPH, MIDJOURNEY, MODIFY)


def application(service: Service) -> Starlette:
    """Return the whole application, without the interception of requests."""

    def served(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                if not service.serves(path_of(request)):
                    return _response(envelope(404, status=404))
                authorize(request, service)
                return _response(await handler(request, service))
            except Refusal as refusal:
                return _response(envelope(refusal.code, refusal.message, refusal.data))
            except files.Unusable as unusable:
                return _response(files.upload_answer(400, str(unusable)))

        return endpoint

    def post(path: str, handler: Handler) -> Route:
        return Route(path, served(handler), methods=["POST"])

    def get(path: str, handler: Handler) -> Route:
        return Route(path, served(handler), methods=["GET"])

    async def file(request: Request) -> Response:
        found = files.read(service, request.path_params["name"])
        if found is None:
            return _response(envelope(404, status=404))
        return Response(found[0], media_type=found[1])

    return Starlette(
        routes=[
            *(post(API + path, create_market) for path in (market.CREATE, market.OLD_CREATE)),
            *(get(API + path, status_of(market.FAMILY)) for path in (market.STATUS, market.OLD_STATUS)),
            *(post(API + made.path, create_of(family, made)) for family in FAMILIES for made in family.creates),
            *(get(API + family.status, status_of(family)) for family in FAMILIES),
            get(API + veo.GET_1080P, veo.get_1080p),
            post(API + veo.GET_4K, veo.get_4k),
            post(API + gpt4o.DOWNLOAD, gpt4o.download_url),
            *(get(API + path, handler) for path, handler in live.HANDLERS.items()),
            get(API + "chat/credit", credit),
            post(API + "common/download-url", download_url),
            post("/api/file-base64-upload", files.from_base64),
            post("/api/file-stream-upload", files.from_form),
            post("/api/file-url-upload", files.from_url),
            Route("/files/{name:path}", file),
            *fal.routes(service),
            Mount("/_sandbox", routes=control_routes(service)),
        ],
        exception_handlers={404: _no_such_address, 405: _no_such_address},
    )


async def create_market(request: Request, service: Service) -> Reply:
    """POST jobs/createTask."""
    body = await json_object(request)
    return envelope(200, data=market.create(service, path_of(request), body, origin_of(request)))


def create_of(family: Family, made: Create) -> Handler:
    """A create endpoint of a family."""

    async def create(request: Request, service: Service) -> Reply:
        body = await json_object(request)
        task = service.create(family, made, body, origin_of(request))
        return envelope(200, data={"taskId": task.task_id})

    return create


def status_of(family: Family) -> Handler:
    """The status endpoint of a family."""

    async def status(request: Request, service: Service) -> Reply:
        task_id = request.query_params.get("taskId", "")
        if not task_id:
            raise Refusal(400, "taskId is required")
        task = service.task(family, task_id)
        record = family.record(task, service.now())
        unseen = service.drifted("state", task.model)
        if unseen and task.state(service.now()) not in {"success", "fail"}:
            record |= {name: unseen.value for name in ("state", "status") if name in record}
        return envelope(200, data=record)

    return status


async def credit(_: Request, service: Service) -> Reply:
    """GET chat/credit."""
    return envelope(200, data=service.balance())


async def download_url(request: Request, service: Service) -> Reply:
    """POST common/download-url: a link to one of the service's own files."""
    body = await json_object(request)
    link = files.link(service, str(body.get("url", "")), origin_of(request))
    if link is None:
        raise Refusal(422, "url is wrong")
    return envelope(200, data=link)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))


async def _no_such_address(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return _response(envelope(status, "Not found" if status == 404 else "Method not allowed", status=status))
