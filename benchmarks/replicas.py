"""How many paid calls a second servers on one PostgreSQL database make, and what bounds them.

    uv run python benchmarks/replicas.py [--rounds 300] [--at-once 16] [--servers 1 2 4]

Real servers over stdio, each with as many calls in flight, talk to the same local service, a child. The baseline of the
same run is one server on a file. Beside each number of servers stand the pairs of transactions that as many bare
connections to the same PostgreSQL make in a second, each pair what one paid call writes: every transaction takes the
lock of the database in turn, as ours do, or a lock of its connection's own; and how busy the processors were.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.call import per_second, start_service
from benchmarks.shared.servers import OURS, environment

from tests.databases import Postgres

BARE_S = 3.0
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
INSERT = "INSERT INTO bare (words) VALUES (%s) RETURNING id"
UPDATE = "UPDATE bare SET words = %s WHERE id = %s"


def together(many: int, work: Callable[[Callable[[], object]], float]) -> tuple[float, float]:
    """Do a work as often, begun at once after each has made itself ready; return the sum and the processors' share."""
    import psutil  # noqa: PLC0415  comes with the PostgreSQL of the tests

    barrier = threading.Barrier(many)

    def begin() -> None:
        barrier.wait()
        psutil.cpu_percent()  # of the time from here on

    with ThreadPoolExecutor(many) as pool:
        rates = [pool.submit(work, begin) for _ in range(many)]
        total = sum(rate.result() for rate in rates)
    return total, float(psutil.cpu_percent())


def calls(base_url: str, folder: Path, address: str, rounds: int, at_once: int) -> Callable[[Any], float]:
    """Return the work of one server."""
    settings = {"KIE_AI_WATCH": "false", "KIE_AI_ENABLED_PROVIDERS": "nano-banana", "KIE_AI_DATABASE_URL": address}
    env = environment(folder, base_url, **{name: value for name, value in settings.items() if value})
    return lambda begin: per_second(OURS, env, "generate_nano_banana", rounds, at_once, begin)


def bare(address: str, lock: Callable[[], str]) -> Callable[[Any], float]:
    """Return the work of one connection that writes what a paid call does, each time under a lock."""

    def work(begin: Callable[[], object]) -> float:
        import psycopg  # noqa: PLC0415  as above

        with psycopg.connect(address, autocommit=True) as connection:
            name = lock()
            begin()
            started, made = time.perf_counter(), 0
            while time.perf_counter() - started < BARE_S:
                with connection.transaction():
                    connection.execute(LOCK, (name,))
                    (row,) = connection.execute(INSERT, ("a" * 500,)).fetchone() or (0,)
                with connection.transaction():
                    connection.execute(LOCK, (name,))
                    connection.execute(UPDATE, ("b" * 500, row))
                made += 1
            return made / (time.perf_counter() - started)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    service, base_url = start_service()
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL does not run as root
        rounds, at_once = options.rounds, options.at_once
        file, busy = together(1, calls(base_url, folder, "", rounds, at_once))
        print(f"a file, 1 server: {file:.0f} paid calls /s, processors {busy:.0f} %")
        server = Postgres(folder / "postgres", quiet=False)
        address, numbers = server.make(), count()
        server.execute(
            address.partition("?")[0].rpartition("/")[2], "CREATE TABLE bare (id BIGSERIAL PRIMARY KEY, words TEXT)"
        )
        for many in options.servers:
            rate, busy = together(many, calls(base_url, folder, address, rounds, at_once))
            one, busy_one = together(many, bare(address, lambda: "one"))
            own, busy_own = together(many, bare(address, lambda: f"own {next(numbers)}"))
            print(
                f"PostgreSQL, {many} server(s): {rate:.0f} paid calls /s ({rate / file:.2f} x of the file), processors "
                f"{busy:.0f} %; bare: {one:.0f} /s under one lock ({busy_one:.0f} %), {own:.0f} /s under a lock each "
                f"({busy_own:.0f} %): ours make {rate / one:.2f} of the first"
            )
        server.end()
    service.terminate()


if __name__ == "__main__":
    main()
