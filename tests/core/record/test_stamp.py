"""The stamp of the record: it changes with everything that is written, and with another file in its place."""

from pathlib import Path

import pytest

from kie_ai_mcp._record.record import Record
from kie_ai_mcp._record.slots import RateLimit
from kie_ai_mcp.errors import StorageError

pytestmark = pytest.mark.anyio


async def test_another_database_in_its_place_has_another_stamp(tmp_path: Path) -> None:
    records = [Record(tmp_path / name, RateLimit(10_000, 10.0)) for name in ("a.db", "b.db", "c.db")]
    for record in records:
        record.open()
        record.close()
    record, *others = records
    record.open()
    stamps = [await record.tasks.stamp()]
    assert await record.tasks.stamp() == stamps[0]
    for other in others:
        other.path.replace(record.path)
        with pytest.raises(StorageError):
            await record.tasks.stamp()
        stamps.append(await record.tasks.stamp())
    assert len({*stamps}) == len(stamps)
    record.close()
