"""The server as a process: one port, one loop, and an orderly end."""

from __future__ import annotations

import gc
import logging
import socket
import sys
from types import FrameType

import structlog
import uvicorn

from runyard.domain.errors import Unavailable
from runyard.server import starting
from runyard.server.app import Server, create_app
from runyard.server.settings import ServerSettings

log = structlog.get_logger(__name__)
_LEAVE_WITHIN = 10  # seconds for requests that are being answered


def serve(settings: ServerSettings) -> None:
    """Serve until asked to stop by SIGTERM or SIGINT.

    Raises:
        Unavailable: the address is taken, or not this machine's. Conflict: the database's schema.
    """
    configure_log(settings.log_format)
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _listening(settings) as listening:
        settings = settings.model_copy(update={"port": listening.getsockname()[1]})
        app = create_app(settings, say=lambda text: print(text, flush=True))
        starting.prepare(app.database)  # the app would do it too, but fail less readably
        server = serving(app, settings)
        server.run(sockets=[listening])
        app.database.close()
    if server.failed:
        sys.exit(1)


def serving(app: Server, settings: ServerSettings) -> Uvicorn:
    """Return the server of an app, ready to run on a socket that the caller has bound."""
    return Uvicorn(app, settings)


class Uvicorn(uvicorn.Server):
    """Says when it answers, and ends what hangs by design before it waits for the rest."""

    def __init__(self, app: Server, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        app.about_to_answer = lambda: starting.announce(settings)
        proxies = list(settings.trusted_proxies)
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=proxies or None,
                backlog=4096,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_LEAVE_WITHIN,
                ws="none",
            )
        )

    @property
    def failed(self) -> bool:
        return not self.started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What is here now stays, and a submission of thousands makes no cycles: looking
            # for garbage among all of it, again and again, took a tenth of the time.
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            log.info("serving", url=self._settings.url, home=str(self._settings.home))
            if not self._settings.is_loopback and not self._settings.public_url:
                log.warning(
                    "open to other machines without TLS; put a proxy that does TLS before it",
                    host=self._settings.host,
                )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave, and leave with 0: to be asked to stop is no failure."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # or it would be raised again, to kill, at the end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.hub.close()
        await super().shutdown(sockets)


def _listening(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise Unavailable(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}",
            hint=f"choose another port: runyard server --port {settings.port + 1}",
        ) from error
    return listening


def configure_log(form: str) -> None:
    """Write events to stderr, one a line, with fields; `form` is console or json."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
