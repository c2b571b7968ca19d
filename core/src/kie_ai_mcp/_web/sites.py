"""Sites of the HTTP server: the server's own, and one of each user, which knows of nobody else."""

import logging
from dataclasses import dataclass, field

import anyio
import anyio.abc
from starlette.types import Receive, Scope, Send

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._record.users import User
from kie_ai_mcp._web.access import USER
from kie_ai_mcp._web.site import Site
from kie_ai_mcp.errors import KieError

log = logging.getLogger(__name__)
LOOK_S = 2.0  # seconds between two looks whether users whose sites are open may still use them


@dataclass
class _Open:
    site: Site
    user: User
    scope: anyio.CancelScope


@dataclass
class Sites:
    """The site that answers a request: its user's, opened at the first one, or the server's `own`.

    Sessions, subscriptions and all that a page has shown are kept by a site, so that nobody gets at another's. It is
    closed, and its streams end, once its user is removed, or has another token or role.
    """

    own: Site
    links: Links
    group: anyio.abc.TaskGroup
    _open: dict[str, _Open] = field(default_factory=dict)
    _turn: anyio.Lock = field(default_factory=anyio.Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the site of the request's user answer it."""
        user: User | None = scope.get(USER)
        site = self.own if user is None else await self._site_of(user)
        await site.starlette(scope, receive, send)

    async def _site_of(self, user: User) -> Site:
        people = self.own.app.engine.people
        assert people is not None  # noqa: S101  the app has made it
        engine = people.engine_for(user)
        engine.links = self.links  # users may be anywhere
        async with self._turn:
            opened = self._open.get(user.name)
            if opened is None or opened.site.app.engine is not engine or opened.user.token_hash != user.token_hash:
                self._close(user.name)
                site = Site(App(engine.settings, engine), self.own.drained)
                scope = await self.group.start(self._run, site)
                self._open[user.name] = opened = _Open(site, user, scope)
                if len(self._open) == 1:
                    self.group.start_soon(self._look_on)
        return opened.site

    async def _run(self, site: Site, *, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            async with site.starlette.router.lifespan_context(site.starlette):
                task_status.started(scope)
                await anyio.sleep_forever()

    async def _look_on(self) -> None:
        """Close the site of each user who may no longer use it, as long as any is open."""
        while self._open:
            await anyio.sleep(LOOK_S)
            try:
                users = {user.name: user for user in await self.own.app.engine.record.users.all()}
            except KieError as exc:
                log.warning("users could not be looked up: %s", exc)
                continue
            for name, opened in [*self._open.items()]:
                now, then = users.get(name), opened.user
                if now is None or _rights(now) != _rights(then):
                    self._close(name)

    def _close(self, name: str) -> None:
        if opened := self._open.pop(name, None):
            opened.scope.cancel()


def _rights(user: User) -> tuple[object, ...]:
    return user.token_hash, user.is_admin, user.own_key, user.removed_at
