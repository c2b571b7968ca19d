"""A scripted service for tests, and the real server over stdio. Part of `kie_ai_mcp.testing`."""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from anyio.from_thread import BlockingPortal, start_blocking_portal
from werkzeug import Request, Response

from kie_ai_mcp._settings.settings import PREFIX, variable
from kie_ai_mcp.testing._load import entry_of

if TYPE_CHECKING:
    import mcp
    import mcp_types
    from pytest_httpserver import HTTPServer

Section = Mapping[str, str | bool | int | float]

API = "/api/v1"
KEY = "key-of-the-tests"
CALL_LIMIT_S = 20.0


class Service(Protocol):
    """Something to send requests to: a `PlayedGateway`, or a sandbox."""

    @property
    def base_url(self) -> str:
        """Its address, as ``KIE_AI_BASE_URL`` takes it."""


class PlayedGateway:
    """The service, played by pytest-httpserver: it answers what the test planned, in the service's own envelope.

    Every plan is for one path below `base_url`. Several for the same path are answered in turn; the last one stays.

    Args:
        httpserver: pytest-httpserver's server, for whatever is not planned here.
    """

    def __init__(self, httpserver: "HTTPServer") -> None:
        self.httpserver = httpserver
        self._plans: dict[tuple[str, str], list[dict[str, Any]]] = {}

    @property
    def base_url(self) -> str:
        """Its address, as ``KIE_AI_BASE_URL`` takes it."""
        return self.httpserver.url_for(API)

    def accept(self, path: str, task_id: str) -> None:
        """Answer a create request with a task id."""
        self._plan("POST", path, 200, "success", {"taskId": task_id})

    def refuse(self, path: str, code: int, message: str = "") -> None:
        """Answer a create request with one of the service's codes, which stands inside an HTTP 200."""
        self._plan("POST", path, code, message, None)

    def answer(self, path: str, data: Any, *, code: int = 200, message: str = "success") -> None:
        """Answer a read with this `data`."""
        self._plan("GET", path, code, message, data)

    @property
    def sent(self) -> list[Any]:
        """The bodies of all create requests that arrived, in order."""
        return [request.get_json() for request, _ in self.httpserver.log if request.method == "POST"]

    @property
    def read(self) -> list[dict[str, str]]:
        """The parameters of all reads that arrived, in order."""
        return [request.args.to_dict() for request, _ in self.httpserver.log if request.method == "GET"]

    def _plan(self, method: str, path: str, code: int, message: str, data: Any) -> None:
        plans = self._plans.setdefault((method, path), [])
        plans.append({"code": code, "msg": message, "data": data})

        def respond(_request: Request) -> Response:
            content = plans[0] if len(plans) == 1 else plans.pop(0)
            return Response(json.dumps(content), content_type="application/json")

        if len(plans) == 1:
            self.httpserver.expect_request(f"{API}/{path}", method).respond_with_handler(respond)


@dataclass(eq=False)
class Server:
    """The real server as a child process, with one provider enabled; `client` is connected to it.

    It ends with the ``with`` block.
    """

    client: "mcp.Client"
    _portal: BlockingPortal
    _log: Path

    @property
    def tools(self) -> "dict[str, mcp_types.Tool]":
        """Every tool that it lists, by name; its own utilities last."""
        return {tool.name: tool for tool in self._portal.call(self.client.list_tools).tools}

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its answer as data.

        Nothing is raised for a refusal: its ``status`` is ``refused`` or ``unknown``, and ``error`` says why.
        """
        return dict(self._portal.call(self.client.call_tool, tool, arguments).structured_content or {})

    def wait(self, task_id: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """Wait until a task is finished, and return its answer."""
        answer = self.call("wait_for_tasks", task_ids=[task_id], timeout_s=timeout_s)
        assert "tasks" in answer, answer  # noqa: S101  this is for tests
        return dict(answer["tasks"][0])

    @property
    def log(self) -> str:
        """The log up to now."""
        return self._log.read_text(encoding="utf-8")


@dataclass(frozen=True)
class ServeProvider:
    """Starts the real server with one provider enabled: the fixture `kie_server`.

    Args:
        folder: The folder for its files.
    """

    folder: Path

    @contextmanager
    def __call__(
        self, provider: str, service: Service | None = None, *, settings: Section | None = None, **variables: str
    ) -> Iterator[Server]:
        """Start the server; it ends with the ``with`` block.

        Args:
            provider: The entry point's name.
            service: The service that it calls. Without one, every call is refused for want of a connection.
            settings: The provider's section of the configuration.
            variables: Other settings by name, as text: ``wait_s="5"``.

        Raises:
            AssertionError: The provider is not installed, or the server ended at once; says why.
        """
        entry_of(provider)
        config, log = self.folder / "config.toml", self.folder / "server.log"
        section = [f"{key} = {json.dumps(value)}" for key, value in (settings or {}).items()]
        config.write_text("\n".join([f"[providers.{provider}]", *section, ""]) if section else "", encoding="utf-8")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            "NO_PROXY": "*",
            "KIE_AI_API_KEY": KEY,
            "KIE_AI_BASE_URL": service.base_url if service else f"http://127.0.0.1:9{API}",
            "KIE_AI_CONFIG": str(config),
            "KIE_AI_DB_PATH": str(self.folder / "tasks.db"),
            "KIE_AI_ENABLED_PROVIDERS": provider,
            **{variable(name): value for name, value in variables.items()},
        }
        stack = ExitStack()
        try:
            portal = stack.enter_context(start_blocking_portal())
            client = stack.enter_context(portal.wrap_async_context_manager(_client(self.folder, environment, log)))
            server = Server(client, portal, log)
        except Exception as exc:
            stack.close()
            raise AssertionError(f"The server did not start: {log.read_text(encoding='utf-8').strip() or exc}") from exc
        try:
            yield server
        finally:
            # Closed without the test's own failure, which each layer of the client would wrap into a group.
            stack.close()


@asynccontextmanager
async def _client(folder: Path, environment: dict[str, str], log: Path) -> "AsyncIterator[mcp.Client]":
    from mcp import Client, StdioServerParameters, stdio_client  # noqa: PLC0415  heavy; the checks don't need it

    command = ["-m", "kie_ai_mcp", "serve", "--strict"]
    parameters = StdioServerParameters(command=sys.executable, args=command, env=environment, cwd=folder)
    with log.open("a", encoding="utf-8") as errors:
        async with Client(stdio_client(parameters, errlog=errors), read_timeout_seconds=CALL_LIMIT_S) as client:
            yield client
