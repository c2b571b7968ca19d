"""Values on record besides tasks: what a service says of its models, and turns that all processes take together."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.lane import in_worker
from kie_ai_mcp._record.scope import Scope
from kie_ai_mcp._record.tables import KeptRow, put


class Key(NamedTuple):
    """Name of one kept value: its sort, the account at a gateway that it holds for, and what it is about."""

    sort: str
    gateway: str
    account: str
    name: str = ""


@dataclass
class Keeping:
    """The kept values of a database. Times are seconds since 1970."""

    scope: Scope

    @property
    def database(self) -> Database:
        """The database that they are in."""
        return self.scope.database

    @in_worker
    def find(self, key: Key) -> dict[str, Any] | None:
        """Return the row of a value, or None."""
        return self._row(key)

    @in_worker
    def put(self, key: Key, columns: Mapping[str, Any]) -> None:
        """Write these columns of a value's row, and leave its others as they are."""
        with self.database.unsynced(), self.database.transaction():
            self._write(key, columns)

    @in_worker
    def turn(self, key: Key, pause_s: float, longest_s: float) -> float:
        """Take the turn, which nobody gets again for `pause_s`, and return 0; else the seconds until it is free.

        A pause that ends later than in `longest_s` is one from before the clock was set back, and holds nobody up.
        """
        with self.database.unsynced(), self.database.transaction():
            row, now = self._row(key), self.database.now()
            wait_s = row["until"] - now if row else 0.0
            if 0 < wait_s <= longest_s:
                return float(wait_s)
            self._write(key, {"until": now + pause_s})
        return 0.0

    @in_worker
    def notice(self, keys: Sequence[Key], words: Callable[[Sequence[str]], str]) -> None:
        """Keep for the next answer what `words` says of those subjects that no notice of this sort was about."""
        with self.database.unsynced(), self.database.transaction():
            new = [key for key in keys if self._row(key) is None]
            for key in new:
                text = words([each.name for each in new]) if key == new[0] else None
                self._write(key, {"value": text, "until": self.database.now()})  # by which they are told in their order

    @in_worker
    def notices(self, since: float = math.inf) -> list[str]:
        """Return the notices about the accounts of this process that were not told yet, or were since then."""
        return self._told_since(since)

    @in_worker
    def tell(self) -> list[str]:
        """Return the notices that were not told yet, which nobody tells again."""
        with self.database.unsynced(), self.database.transaction():
            texts, now = self._told_since(math.inf), self.database.now()
            self.database.execute(KeptRow.update(read_at=now).where(self._is_notice(), KeptRow.read_at == 0))
        return texts

    def _is_notice(self) -> Any:
        accounts = list(self.scope.accounts.values())
        return KeptRow.sort.startswith("notice") & KeptRow.value.is_null(False) & KeptRow.account.in_(accounts)

    def _told_since(self, since: float) -> list[str]:
        late = (KeptRow.read_at == 0) | (KeptRow.read_at >= since)
        query = KeptRow.select().where(self._is_notice(), late).order_by(KeptRow.until, KeptRow.name)
        return [row["value"] for row in self.database.rows(query)]

    def _row(self, key: Key) -> dict[str, Any] | None:
        same = [getattr(KeptRow, name) == value for name, value in key._asdict().items()]
        return self.database.first(KeptRow.select().where(*same))

    def _write(self, key: Key, columns: Mapping[str, Any]) -> None:
        row = {**(self._row(key) or {}), **key._asdict(), **columns}
        self.database.execute(put(KeptRow, row))
