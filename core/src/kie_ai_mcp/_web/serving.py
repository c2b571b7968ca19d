"""Serving over HTTP, from the listening socket to the end by a signal."""

import logging
import socket
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING

import anyio
import uvicorn

from kie_ai_mcp._app.app import open_to_serve
from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._flow.people import key_faults
from kie_ai_mcp._mcp.server import CLEANUP_S
from kie_ai_mcp._mcp.signals import code_after, exit_after, signalled
from kie_ai_mcp._mcp.traces import begin_traces
from kie_ai_mcp._settings.hosts import is_local
from kie_ai_mcp._settings.load import Faults
from kie_ai_mcp._settings.settings import Settings
from kie_ai_mcp._web import connections
from kie_ai_mcp._web.access import EVERYWHERE, Access
from kie_ai_mcp._web.readiness import has_keys
from kie_ai_mcp._web.site import CLOSE_S, Site
from kie_ai_mcp._web.sites import Sites
from kie_ai_mcp._web.visitors import MCP_PATH, Visitors
from kie_ai_mcp.errors import ConfigError, KieError, StorageError

if TYPE_CHECKING:
    from kie_ai_mcp._web.oauth import Issuer

log = logging.getLogger(__name__)
ENDS = "the server ends once paid requests are recorded"
MOST_NAMED = 20  # submissions in a line of the log
NAME_IT = "set KIE_AI_PUBLIC_URL to the address that users see, or KIE_AI_ALLOWED_HOSTS to the name of this machine"


async def serve_http(settings: Settings, host: str, port: int, faults: Faults) -> int:
    """Serve over HTTP until a signal; return the exit code that stands for it.

    Raises what `open_to_serve` raises, ConfigError where others could get in, and KieError where the port is not free.
    """
    for fault in faults:
        if {"http_token", "oauth_issuer"} & {*fault.where}:  # without it everybody on this machine could get in
            raise fault
    if settings.oauth_issuer is not None and settings.public_url is None:
        problem = "KIE_AI_OAUTH_ISSUER is set, but not the address that its tokens are for."
        raise ConfigError(problem, next_step="Set KIE_AI_PUBLIC_URL to the address at which users reach this server.")
    app = open_to_serve(settings, faults)
    visitors = Visitors(app.engine.record.users)
    try:
        if (settings.token or settings.oauth_issuer) is None and not is_local(host):
            await _check_closed(visitors, host)
        with suppress(StorageError):  # known from now on, whatever becomes of the database
            await warn_of_record(app.engine)
            has_users = await visitors.exist() or settings.oauth_issuer is not None
            if settings.public_url and settings.token is None and not has_users:
                log.warning("there is an address in the internet and no token: only callers on this machine get in")
        listener = connections.listen(host, port)
    except KieError:
        app.engine.record.close()
        raise
    app.engine.tends_all = app.engine.life.is_over_http = True
    base_url = settings.public_url or _local_url(settings, host, listener)
    links = Links.of(settings, base_url, app.engine.record.path)
    app.engine.links = links if is_remote(settings, host) else None
    if host in EVERYWHERE and not (settings.public_url or settings.allowed_hosts):
        log.warning("links begin with %s, which other machines can't open: %s", base_url, NAME_IT)
    issuer = _issuer_of(settings)
    site, flush = Site(app, more=issuer.routes() if issuer else ()), begin_traces()
    with signalled() as first:
        async with anyio.create_task_group() as group, app.engine.running():
            sites = Sites(site, links, group)
            group.start_soon(sites.look_on)
            access = Access(sites, app.settings, host, visitors, issuer)
            server = _server_of(access)
            # Draining cancels what the flow itself has started; the answers are still to be written then.
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as serving:
                    serving.start_soon(server.serve, [listener])
                    _announce(host, listener)
                    if not (app.engine.faults or has_keys(app.engine)):
                        log.warning("no key of a service is set: nothing paid is sent until KIE_AI_API_KEY is")
                    app.watch()
                    received = await first
                    log.info("%s: no new requests are taken, and %s", received.name, ENDS)
                    group.start_soon(exit_after, CLEANUP_S + CLOSE_S, 128 + received)
                    access.closing = True
                    await app.engine.drain()
                    site.drained.set()
                    server.should_exit = True
            group.cancel_scope.cancel()
    flush()
    return code_after(received)


def _issuer_of(settings: Settings) -> "Issuer | None":
    if settings.oauth_issuer is None:
        return None
    issuer: Issuer = import_module("kie_ai_mcp._web.oauth").Issuer.of(settings)  # few need it, and it takes its time
    return issuer


def _server_of(access: Access) -> "_Uvicorn":
    config = uvicorn.Config(
        access,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=CLOSE_S,
        **connections.options(),
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(connections.Quiet())
    return _Uvicorn(config)


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to us: requests that are paid for end first."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator's is one
        return nullcontext()


async def warn_of_record(engine: Engine) -> None:
    """Log what is wrong with users' keys, and how many requests of a server that was killed a person has to settle."""
    for text in key_faults(await engine.record.users.all(), engine.settings.keys_of_users):
        log.warning("%s", text)
    unknown = [str(each.id) for each in await engine.record.submissions.unsettled() if each.state == "unknown"]
    if unknown:
        numbers = ", ".join(unknown[:MOST_NAMED]) + (", ..." if len(unknown) > MOST_NAMED else "")
        text = "requests that may have been charged, and have to be settled with tasks resolve: %s (submission %s)"
        log.warning(text, len(unknown), numbers)


async def _check_closed(visitors: Visitors, host: str) -> None:
    """Raise ConfigError where everybody who reaches the server would be let in."""
    if not await visitors.exist():
        step = "Set KIE_AI_HTTP_TOKEN to a secret of 16 characters or more, add users with users add, "
        raise ConfigError(
            f"--host {host} opens this server, and the account it spends from, to other machines, and no token is set.",
            next_step=f"{step}or leave --host out.",
        )


def is_remote(settings: Settings, host: str) -> bool:
    """Return whether users may be on other machines, so that paths of this one mean nothing to them."""
    return settings.public_url is not None or not is_local(host)


def _local_url(settings: Settings, host: str, listener: socket.socket) -> str:
    """Return the address of this server where no public one is set; one that listens everywhere by a name it has."""
    if host in EVERYWHERE:
        host = next(iter(settings.allowed_hosts), "127.0.0.1")
    return _url(host, listener)


def _url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _announce(host: str, listener: socket.socket) -> None:
    sys.stderr.write(f"kie-ai-mcp-server: serving MCP at {_url(host, listener)}{MCP_PATH}\n")
    sys.stderr.flush()
