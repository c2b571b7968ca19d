"""Sites of the HTTP server: the server's own, and one of each user, which knows of nobody else."""

import logging
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import anyio
import anyio.abc
from starlette.types import Receive, Scope, Send

from kie_ai_mcp._app.app import App
from kie_ai_mcp._flow.links import Links
from kie_ai_mcp._record.users import User
from kie_ai_mcp._settings.logging import Outage
from kie_ai_mcp._web.access import PROVEN, USER, refusal
from kie_ai_mcp._web.site import Site
from kie_ai_mcp.errors import KieError

log = logging.getLogger(__name__)
LOOK_S = 2.0  # seconds between two looks whether those who are answered may still use the server
IDLE_S = 6 * 3600.0  # how long a site without a request is kept open
OWN = ""  # stands for requests to the server's own site among those of users


@dataclass
class _Open:
    site: Site
    user: User
    scope: anyio.CancelScope
    used_at: float = 0.0  # as time.monotonic()


@dataclass
class Sites:
    """The site that answers a request: its user's, opened at the first one, or the server's `own`.

    Sessions, subscriptions and all that a page has shown are kept by a site, so that nobody gets at another's. It is
    closed, and all that it still answers ends, once its user is removed, or has another token or role; what the own one
    answers ends once there are users, but for requests that have a proof of their own, such as downloads by links.
    """

    own: Site
    links: Links
    group: anyio.abc.TaskGroup
    _open: dict[str, _Open] = field(default_factory=dict)
    _requests: dict[str, set[anyio.CancelScope]] = field(default_factory=dict)
    _turn: anyio.Lock = field(default_factory=anyio.Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the site of the request's user answer it."""
        user: User | None = scope.get(USER)
        if scope["type"] != "http" or scope.get(PROVEN):
            await self.own.starlette(scope, receive, send)
            return
        site, answer = self.own if user is None else await self._site_of(user), _Answer(send)
        if site is not None:
            held = self._requests.setdefault(user.name if user else OWN, set())
            with anyio.CancelScope() as request:
                held.add(request)
                try:
                    await site.starlette(scope, receive, answer)
                finally:
                    held.discard(request)
            if not request.cancelled_caught:
                return
        await answer.cut(scope, receive)

    async def look_on(self) -> None:
        """End what is answered to those who may no longer use the server, until cancelled."""
        outage = Outage(log, "users can't be looked up", "users are looked up")
        while True:
            await anyio.sleep(LOOK_S)
            if not (self._open or self._requests.get(OWN)):
                continue
            try:
                users = {user.name: user for user in await self.own.app.engine.record.users.all()}
            except KieError as exc:
                outage.begin(exc)
                continue
            outage.end()
            if users:
                self._cut(OWN)
            for name, opened in [*self._open.items()]:
                is_idle = not self._requests.get(name) and time.monotonic() - opened.used_at > IDLE_S
                if is_idle or name not in users or _rights(users[name]) != _rights(opened.user):
                    self._close(name)

    async def _site_of(self, user: User) -> Site | None:
        """Return a user's site; None where the token that is known was taken from them a moment ago."""
        people = self.own.app.engine.people
        assert people is not None  # noqa: S101  the app has made it
        async with self._turn:
            opened = self._open.get(user.name)
            if opened is None or _rights(opened.user) != _rights(user):
                now = await self.own.app.engine.record.users.find(user.name)
                if now is None or now.removed_at is not None or now.token_hash != user.token_hash:
                    return None
                self._close(user.name)
                engine, user = people.engine_for(now), now
                engine.links = self.links  # users may be anywhere
                site = Site(App(engine.settings, engine), self.own.drained, room=self.own.room)
                scope = await self.group.start(self._run, site)
                self._open[user.name] = opened = _Open(site, user, scope)
        opened.used_at = time.monotonic()
        people.engine_for(user)  # which heeds limits that have changed
        return opened.site

    async def _run(self, site: Site, *, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            async with site.starlette.router.lifespan_context(site.starlette):
                task_status.started(scope)
                await anyio.sleep_forever()

    def _close(self, name: str) -> None:
        if opened := self._open.pop(name, None):
            self._cut(name)
            opened.scope.cancel()

    def _cut(self, name: str) -> None:
        """End what is answered; a paid request goes on by itself, and is recorded."""
        for request in self._requests.pop(name, ()):
            request.cancel()


@dataclass
class _Answer:
    """The way of one answer to who asked."""

    send: Send
    _last: MutableMapping[str, Any] = field(default_factory=dict)

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of the answer."""
        self._last = message
        await self.send(message)

    async def cut(self, scope: Scope, receive: Receive) -> None:
        """End the answer; where none has begun, say why there is none."""
        if not self._last:
            message = "Your token is not taken any more; an administrator of this server lets users in."
            await refusal(HTTPStatus.UNAUTHORIZED, message, {"WWW-Authenticate": "Bearer"})(scope, receive, self.send)
        elif self._last["type"] == "http.response.start" or self._last.get("more_body"):
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})


def _rights(user: User) -> tuple[object, ...]:
    return user.token_hash, user.is_admin, user.own_key, user.removed_at
