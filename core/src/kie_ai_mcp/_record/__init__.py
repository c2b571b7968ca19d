"""The record: what is written down of paid requests and tasks, so that none is lost or paid for twice."""

import sys

# peewee imports every driver that is installed, and psycopg takes a tenth of a second, also where it is not used.
if "psycopg" not in sys.modules:
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    import peewee  # noqa: F401

    del sys.modules["psycopg"]
