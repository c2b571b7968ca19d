"""Users on record: their names, the hashes of their tokens, and what each may spend."""

import hashlib
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.lane import in_worker
from kie_ai_mcp._record.tables import UserRow
from kie_ai_mcp.errors import InvalidArgument

NAME_CHARS = 100
LIMITS = "credits_per_day", "credits_per_request", "submissions_per_hour"
BEGINNING = "kie-"  # of each token, by which people and scanners of secrets know one


@dataclass(frozen=True)
class User:
    """One user. Limits are Kie.ai's credits and paid requests; None is none besides those of the settings.

    With `own_key` nothing is paid from the server's account, but with the key that the settings hold for the name.
    """

    name: str
    is_admin: bool = False
    own_key: bool = False
    credits_per_day: float | None = None
    credits_per_request: float | None = None
    submissions_per_hour: int | None = None
    token_hash: str | None = None
    created_at: datetime | None = None
    removed_at: datetime | None = None


@dataclass
class Users:
    """The users in a database. A removed one stays, with the name of its tasks, and is let in no more."""

    database: Database

    @in_worker
    def exist(self) -> bool:
        """Return whether the server has users, also such that were removed: it is nobody else's any more."""
        return self.database.first(UserRow.select(UserRow.name)) is not None

    @in_worker
    def all(self) -> Sequence[User]:
        """Return every user, also those that were removed, in the order of their names."""
        return [*map(_user, self.database.rows(UserRow.select().order_by(UserRow.name)))]

    @in_worker
    def find(self, name: str) -> User | None:
        """Return the user of a name, or None; a removed one as well."""
        return self._found(UserRow.name == name)

    @in_worker
    def of_token(self, token: str) -> User | None:
        """Return the user who has this token, or None."""
        return self._found(UserRow.token_hash == _hash(token), UserRow.removed_at.is_null())

    @in_worker
    def add(self, user: User, *, with_token: bool = True) -> str | None:
        """Add a user, or let one in again that was removed; return the new token, which is kept as a hash alone.

        One who was removed comes back with the limits of before where no others are given, but as no administrator.
        Raise `InvalidArgument` for a name that can't be one, or is taken.
        """
        check_name(user.name)
        token = new_token() if with_token else None
        with self.database.transaction():
            known = self._found(UserRow.name == user.name)
            if known is not None and known.removed_at is None:
                raise InvalidArgument("name", user.name, "there is such a user; change, rotate or remove it")
            made = (known and known.created_at) or datetime.now(UTC)
            user = user if known is None else _limited_as(user, known)
            values = asdict(replace(user, token_hash=token and _hash(token), created_at=made, removed_at=None))
            if known is None:
                self.database.execute(UserRow.insert(values))
            else:
                self._change(user.name, values)
        return token

    @in_worker
    def admit(self, name: str) -> User | None:
        """Return the user of a name that somebody else vouches for, added if new; None for one that was removed."""
        check_name(name)
        with self.database.transaction():
            user = self._found(UserRow.name == name)
            if user is None:
                user = User(name, created_at=datetime.now(UTC))
                self.database.execute(UserRow.insert(asdict(user)))
        return user if user.removed_at is None else None

    @in_worker
    def change(self, name: str, /, **values: Any) -> User:
        """Change fields of a user; raise `InvalidArgument` where there is none of the name."""
        with self.database.transaction():
            user = self._known(name)
            self._change(name, values)
        return replace(user, **values)

    @in_worker
    def rotate(self, name: str) -> str:
        """Return a new token of a user, in place of the one before; raise `InvalidArgument` where there is no such."""
        token = new_token()
        with self.database.transaction():
            self._known(name)
            self._change(name, {"token_hash": _hash(token)})
        return token

    @in_worker
    def remove(self, name: str) -> None:
        """Let a user in no more; raise `InvalidArgument` where there is none of the name."""
        with self.database.transaction():
            self._known(name)
            self._change(name, {"token_hash": None, "removed_at": datetime.now(UTC)})

    def _known(self, name: str) -> User:
        user = self._found(UserRow.name == name)
        if user is None or user.removed_at is not None:
            raise InvalidArgument("name", name, "there is no such user; `kie-ai-mcp-server users list` shows them")
        return user

    def _found(self, *conditions: Any) -> User | None:
        row = self.database.first(UserRow.select().where(*conditions))
        return None if row is None else _user(row)

    def _change(self, name: str, values: dict[str, Any]) -> None:
        self.database.execute(UserRow.update(values).where(UserRow.name == name))


def _limited_as(user: User, known: User) -> User:
    """Return a user with what kept the one before from spending, where it names nothing else."""
    limits = {name: getattr(known, name) for name in LIMITS if getattr(user, name) is None}
    return replace(user, **limits, own_key=user.own_key or known.own_key)


def check_name(name: str) -> None:
    """Raise `InvalidArgument` for what can't be a user's name: it stands in lists, logs and addresses."""
    odd = [sign for sign in name if unicodedata.category(sign)[0] in "CZ"]
    if not name or len(name) > NAME_CHARS or odd:
        allowed = f"it must have 1 to {NAME_CHARS} characters, none of them a space or a control character"
        raise InvalidArgument("name", name, allowed)


def new_token() -> str:
    """Return a token that nobody guesses: 256 bits of chance."""
    return BEGINNING + secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    # Not salted: of so much chance nothing is found by trying, and a token is looked up by its hash.
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _user(row: dict[str, Any]) -> User:
    return User(**{**row, "is_admin": bool(row["is_admin"]), "own_key": bool(row["own_key"])})
