"""Scope of a record: whose rows are seen in it, and whose the new ones are."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import peewee

from kie_ai_mcp._record.database import Database
from kie_ai_mcp.specs import CREDITS, KIE


class Units(dict[str, str]):
    """The unit of each gateway's prices, as it stands behind a number; that of an unknown gateway has no name."""

    def __missing__(self, gateway: str) -> str:
        return CREDITS if gateway == KIE else f"of {gateway}"


@dataclass(frozen=True)
class Scope:
    """The rows of a database that one user sees: the user's own, or everybody's where `sees_all`.

    New rows are the `user`'s, "" where there are no users; `accounts` stand by gateway for its address and the user's
    key there; `units` are those of its prices.
    """

    database: Database
    accounts: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    sees_all: bool = True
    units: Units = field(default_factory=Units)

    @property
    def whole(self) -> "Scope":
        """All of the database, for what is done in it whoever it concerns."""
        return replace(self, sees_all=True)

    def accounts_at(self, gateway: str) -> tuple[str, str]:
        """Return the user's account at a gateway, and the one of rows that name none."""
        return self.accounts.get(gateway, ""), ""

    def seen(self, table: type[peewee.Model]) -> Any:
        """Return the condition of being a row of a table that is seen."""
        return peewee.SQL("1 = 1") if self.sees_all else getattr(table, "user") == self.user  # noqa: B009  of any table

    def sees(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row is seen."""
        return self.sees_all or row["user"] == self.user
