"""Visitors of the HTTP server: which user a token belongs to, and whether there are users at all."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kie_ai_mcp._record.users import BEGINNING, User, Users, check_name
from kie_ai_mcp.errors import KieError

MCP_PATH = "/mcp"
RESOURCE_PATH = "/.well-known/oauth-protected-resource"  # what clients read to find the issuer of tokens
KNOWN_S = 1.0  # how long what is on record of users counts without another look
MOST_KNOWN = 1_000


class TokenRefused(KieError):
    """A token is none, or none for this server now."""


class IssuerAway(KieError):
    """A token can't be checked, since its issuer does not answer."""


@dataclass
class Visitors:
    """The users on record, looked up for each request; one who is removed gets in for `KNOWN_S` at most."""

    users: Users
    _exist: bool = False
    _looked_at: float = float("-inf")
    _known: dict[str, tuple[float, User]] = field(default_factory=dict)  # until when, by token or name

    async def exist(self, token: str = "") -> bool:
        """Return whether the server has users, or had any: then it is open to nobody else.

        Who comes with the `token` of a user may be the first one, added a moment ago.
        """
        is_late = time.monotonic() - self._looked_at > KNOWN_S or token.startswith(BEGINNING)
        if not self._exist and is_late:
            self._exist = await self.users.exist()
            self._looked_at = time.monotonic()
        return self._exist

    async def admit(self, name: str) -> User | None:
        """Return the user of a name that an issuer vouches for, added if new; None for one that was removed.

        Raise `InvalidArgument` for a name that can't be one.
        """
        check_name(name)
        return await self._looked_up(f" {name}", self._vouched_for, name)  # no token begins like this

    async def _vouched_for(self, name: str) -> User | None:
        user = await self.users.find(name)  # nearly each is there, and waits for nobody who writes
        if user is None:
            return await self.users.admit(name)
        return user if user.removed_at is None else None

    async def find(self, token: str) -> User | None:
        """Return the user whose token this is, or None; raise `StorageError` where the record can't be read."""
        return await self._looked_up(token, self.users.of_token, token) if token else None

    async def _looked_up(self, mark: str, look_up: Callable[[str], Awaitable[User | None]], text: str) -> User | None:
        now = time.monotonic()
        if (known := self._known.get(mark)) and now < known[0]:
            return known[1]
        user = await look_up(text)
        self._known = {name: each for name, each in self._known.items() if now < each[0]}
        if user is not None and len(self._known) < MOST_KNOWN:
            self._known[mark] = now + KNOWN_S, user
        return user
