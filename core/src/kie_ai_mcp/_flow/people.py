"""Users of a server: an engine of each, which sees, pays and saves for that user alone."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from kie_ai_mcp._flow.engine import Engine
from kie_ai_mcp._record.tables import SubmissionRecord, TaskRecord
from kie_ai_mcp._record.users import User
from kie_ai_mcp._service.caller import NO_KEY, Caller, account_of, kie
from kie_ai_mcp._settings.folders import folder_name
from kie_ai_mcp._settings.settings import Settings, variable
from kie_ai_mcp.errors import ConfigError
from kie_ai_mcp.specs import KIE

KNOWN_S = 1.0  # how long what is on record of a user counts for the background


@dataclass
class People:
    """The engines of the users, over the server's own one, with which they share the database and all that runs."""

    server: Engine
    _engines: dict[tuple[str, bool, bool], Engine] = field(default_factory=dict)  # by name, and whether admin, own key
    _known: dict[str, tuple[float, User]] = field(default_factory=dict)  # until when, by name

    async def engine_of(self, task: TaskRecord | SubmissionRecord) -> Engine:
        """Return the engine of a task's or request's owner; of one who was removed as well: what was paid for goes on.

        It has the key of the account that the task was made in, whichever of the two the owner pays with now.
        """
        if not task.user:
            return self.server
        user = await self._user(task.user)
        for each in (user, replace(user, own_key=not user.own_key)):
            engine = self.engine_for(each)
            if task.account in ("", engine.record.accounts.get(task.gateway)):
                return engine
        return self.engine_for(user)

    def engine_for(self, user: User) -> Engine:
        """Return the engine of a user as it is on record now."""
        key = user.name, user.is_admin, user.own_key
        engine = self._engines[key] = self._engines.get(key) or _engine_for(self.server, user)
        engine.record.limit_to(user, self.server.record.budget)
        return engine

    async def close(self) -> None:
        """Close the connections that users have of their own."""
        for engine in self._engines.values():
            for caller in engine.callers.values():
                await caller.close()

    async def _user(self, name: str) -> User:
        now = time.monotonic()
        until, user = self._known.get(name, (0.0, User(name)))
        if now >= until:
            user = await self.server.record.users.find(name) or user
            self._known[name] = now + KNOWN_S, user
        return user


def key_faults(users: Iterable[User], keys: Iterable[str]) -> list[str]:
    """Return what does not fit together of the users on record and the names that the setting `user_keys` has."""
    paying, others = set[str](), set[str]()
    for user in users:
        if user.removed_at is None:
            (paying if user.own_key else others).add(user.name)
    named = {*keys}
    unknown, unused, lacking = named - paying - others, named & others, paying - named
    texts = {
        "names nobody who is on record as a user": unknown,
        "has a key for a user who pays with the server's (users change NAME --own-key)": unused,
        "lacks a key of a user who pays with their own": lacking,
    }
    return [f"{variable('user_keys')} {text}: {', '.join(sorted(names))}." for text, names in texts.items() if names]


def _engine_for(server: Engine, user: User) -> Engine:
    settings = _settings_for(server.settings, user)
    callers, faults = dict(server.callers), server.faults
    if user.own_key:  # nothing is paid from any account of the server
        step = f"An administrator of this server adds a key of {user.name} to {variable('user_keys')}."
        gateways = [replace(kie(settings), key_help=step)]
        gateways += [replace(each.gateway, key=None) for name, each in callers.items() if name != KIE]
        callers = {gateway.name: Caller(settings, gateway) for gateway in gateways}
        if not settings.key:
            missing = f"{user.name} pays with a key of their own, and this server has none."
            faults = [*faults, ConfigError(missing, next_step=step, reason=NO_KEY)]
    accounts = {name: account_of(caller.gateway) for name, caller in callers.items()}
    record = server.record.of_user(user, accounts)
    # An id tells no stranger what it leads to; in an account of their own everything is the user's.
    parts: dict[str, Any] = {"settings": settings, "callers": callers, "record": record, "_catalogue": server.catalogue}
    parts["faults"] = faults
    return replace(server, **parts, adopts=user.is_admin or user.own_key)


def _settings_for(settings: Settings, user: User) -> Settings:
    """Return the settings as they hold for a user: the key, and where results are saved."""
    key, folder = settings.keys_of_users.get(user.name), settings.output_dir
    own: dict[str, Any] = {"api_key": SecretStr(key) if key else None} if user.own_key else {}
    _ = settings.mask  # which a copy keeps: it knows the secrets of the server and of every user
    saved: dict[str, Any] = {"output_dir": folder and folder / folder_name(user.name), "upload_roots": ()}
    return settings.model_copy(update={**saved, **own})
