"""
Hearing what other server processes announced, by PostgreSQL's LISTEN.

One connection of its own, in a thread. If it breaks, it comes back, and everybody is told to
look again (`missed`), since what was said in between is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from runyard.store.db import CHANNEL, Database

log = structlog.get_logger(__name__)
_PATIENCE: Final = 0.5  # seconds between looks at whether to stop
_BACK_OFF: Final = 1.0


class Listener:
    """`heard` is called in the listener's thread with topics and counts."""

    def __init__(
        self,
        database: Database,
        heard: Callable[[Mapping[str, int]], None],
        missed: Callable[[], None],
    ) -> None:
        self._database, self._heard, self._missed = database, heard, missed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runyard-listen", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=10 * _PATIENCE)

    def _run(self) -> None:
        import psycopg

        url = self._database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while not self._stopped.is_set():
            try:
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._missed()
                    self._follow(connection)
            except psycopg.Error as error:
                log.warning("lost the notification channel", error=str(error))
                self._stopped.wait(_BACK_OFF)

    def _follow(self, connection: object) -> None:
        while not self._stopped.is_set():
            for notice in connection.notifies(timeout=_PATIENCE):  # type: ignore[attr-defined]
                self._heard(msgspec.json.decode(notice.payload, type=dict[str, int]))
                if self._stopped.is_set():
                    return
