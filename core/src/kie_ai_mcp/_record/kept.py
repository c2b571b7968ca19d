"""Values on record besides tasks: what a service says of its models, and turns that all processes take together."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kie_ai_mcp._record.database import Database, in_worker
from kie_ai_mcp._record.tables import KeptRow


class Key(NamedTuple):
    """Name of one kept value: its sort, the account at a gateway that it holds for, and what it is about."""

    sort: str
    gateway: str
    account: str
    name: str = ""


@dataclass
class Keeping:
    """The kept values of a database. Times are seconds since 1970."""

    database: Database

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
        now = time.time()
        with self.database.unsynced(), self.database.transaction():
            row = self._row(key)
            wait_s = row["until"] - now if row else 0.0
            if 0 < wait_s <= longest_s:
                return float(wait_s)
            self._write(key, {"until": now + pause_s})
        return 0.0

    def _row(self, key: Key) -> dict[str, Any] | None:
        same = [getattr(KeptRow, name) == value for name, value in key._asdict().items()]
        return self.database.first(KeptRow.select().where(*same))

    def _write(self, key: Key, columns: Mapping[str, Any]) -> None:
        row = {**(self._row(key) or {}), **key._asdict(), **columns}
        self.database.execute(KeptRow.insert(row).on_conflict_replace())
