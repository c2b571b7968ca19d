"""Uploads on record: files of users that a service holds for a while."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kie_ai_mcp._record.database import Database
from kie_ai_mcp._record.lane import in_worker
from kie_ai_mcp._record.scope import Scope
from kie_ai_mcp._record.tables import UploadRow, put


@dataclass
class Uploads:
    """The uploads of one user: how fast an answer comes must not tell what files others have."""

    scope: Scope

    def __post_init__(self) -> None:
        self.database: Database = self.scope.database

    @in_worker
    def find(self, sha256: str, account: str = "") -> tuple[str, datetime] | None:
        """Return where the service holds these bytes for an account and until when, if it does."""
        held = (
            (UploadRow.sha256 == sha256) & (UploadRow.account == account) & (UploadRow.expires_at > datetime.now(UTC))
        )
        row = self.database.first(UploadRow.select().where(held, UploadRow.user == self.scope.user))
        return (row["url"], row["expires_at"]) if row else None

    @in_worker
    def add(self, sha256: str, url: str, expires_at: datetime, account: str = "") -> None:
        """Write where the service holds bytes for an account."""
        values = {"sha256": sha256, "url": url, "expires_at": expires_at, "account": account}
        values["user"] = self.scope.user
        self.database.execute(put(UploadRow, values))

    @in_worker
    def hashes(self) -> dict[str, str]:
        """Return the hashes of the bytes that were uploaded lately, by the addresses they have."""
        lately = UploadRow.expires_at > datetime.now(UTC) - timedelta(days=3)
        query = UploadRow.select().where(lately, UploadRow.user == self.scope.user)
        return {row["url"]: row["sha256"] for row in self.database.rows(query)}
