"""What a run's program, its people and its agent tell at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from runyard.domain.errors import RunyardError
from runyard.server.edge import SERVER, Ids, new_secret
from runyard.services import accounts
from runyard.services.call import Call
from runyard.services.tracking import ending, life, runs, upserting
from runyard.services.tracking.upserting import Told
from runyard.store import accounts as rows
from runyard.store.db import Database, Tx

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Lab:
    def __init__(self, database: Database) -> None:
        self._database, self._ids = database, Ids(lambda: NOW)
        self.write(lambda call: accounts.bootstrap(call, "ann"))

    def write(self, service: Callable[[Call], Any], at: datetime = NOW) -> Any:
        def run(tx: Tx) -> Any:
            actor = rows.actor_named(tx, "ann") or SERVER
            return service(Call(tx, actor, at, self._ids, new_secret))

        return self._database.write(run)

    def together(self, *work: Callable[[Call], Any]) -> list[Any]:
        """Do all at once; return results and our errors."""
        ready, done = threading.Barrier(len(work)), [None] * len(work)

        def one(n: int, service: Callable[[Call], Any]) -> None:
            ready.wait(10)
            try:
                done[n] = self.write(service)
            except RunyardError as error:
                done[n] = error  # type: ignore[call-overload]

        threads = [threading.Thread(target=one, args=(n, s)) for n, s in enumerate(work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return done


def test_one_run_is_made_however_many_tell_of_it(database: Database) -> None:
    lab = Lab(database)
    lab.write(lambda call: upserting.upsert(call, Told(entity="ann", project="p", name="first")))

    def tell(call: Call) -> tuple[str, bool]:
        told = Told(entity="ann", project="p", name="r", tags=["a"], config='{"x": 1}')
        row, is_new = upserting.upsert(call, told)
        return row["pk"], is_new

    told = lab.together(*[tell] * 6)
    assert len({pk for pk, _ in told}) == 1, told
    assert sorted(is_new for _, is_new in told) == [False] * 5 + [True]


def test_an_end_a_crash_a_resumption_and_a_deletion_at_once_leave_one_state(
    database: Database,
) -> None:
    lab = Lab(database)
    late = NOW + timedelta(hours=1)
    for n in range(3):
        told = Told(entity="ann", project="p", name=f"r{n}")
        pk = lab.write(lambda call, told=told: upserting.upsert(call, told)[0]["pk"])
        done = lab.together(
            lambda call, pk=pk: life.said_end(call, pk, 0),
            lambda call: life.crash_silent(call, NOW - late),
            lambda call, told=told: upserting.upsert(call, told)[1],
            lambda call, n=n: ending.stop(call, "ann", "p", f"r{n}"),
            lambda call, pk=pk: life.heard(call, pk),
        )
        assert not [each for each in done if isinstance(each, RunyardError)], done
        row = lab.write(lambda call, pk=pk: runs.by_pk(call, pk))
        assert row["state"] in ("running", "finished", "killed", "crashed")
        lab.write(lambda call, pk=pk: life.said_end(call, pk, 0))
        row = lab.write(lambda call, pk=pk: runs.by_pk(call, pk))
        assert row["state"] in ("finished", "killed")
