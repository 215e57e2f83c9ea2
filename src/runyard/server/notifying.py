"""
Telling people: the tasks that follow the events, look around, and send.

Each may run on any number of servers at once; the services see to it that nothing is told twice.
A round of sending lasts as long as its slowest answer, and in each round every hook has its turn.
"""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog

from runyard.domain.agents import LOST_AFTER
from runyard.domain.errors import Rejected, RunyardError, Unavailable
from runyard.domain.hooks import HookKind, signature
from runyard.server.edge import SERVER, Edge
from runyard.server.mail import Mailer
from runyard.server.metrics import Metrics
from runyard.server.outbound import Answer, Outbound, excerpt
from runyard.server.settings import ServerSettings
from runyard.server.sweeper import every
from runyard.services import delivering, looking, notifying
from runyard.services.delivering import Due
from runyard.store.values import to_text

log = structlog.get_logger(__name__)

FOLLOW_EVERY: Final = 1.0  # seconds
SEND_EVERY: Final = 1.0
LOOK_EVERY: Final = timedelta(seconds=30)
FORGET_EVERY: Final = 600.0
_LISTED: Final = 50  # notifications in one e-mail; of more it says how many


class Notifier:
    """Follows, looks, sends. `url` is the server's, for links; `mailer` None sends no e-mail."""

    def __init__(
        self, edge: Edge, metrics: Metrics, outbound: Outbound, mailer: Mailer | None, url: str
    ) -> None:
        self._edge, self._metrics, self._url = edge, metrics, url
        self.outbound, self._mailer = outbound, mailer
        self._mails = anyio.CapacityLimiter(4)
        self._steady_since = edge.clock()
        self._forgotten = time.monotonic()

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs as long as the server does."""
        return [
            every(FOLLOW_EVERY, self.follow),
            every(SEND_EVERY, self.send),
            every(LOOK_EVERY.total_seconds(), self.look),
        ]

    async def follow(self) -> int:
        """Turn the events since the last time into deliveries; return how many those are."""
        made = 0
        more = await self._edge.read(SERVER, notifying.has_news)
        while more:
            new, more = await self._edge.write(
                SERVER, lambda call: notifying.follow(call, self._url)
            )
            made += new
        return made

    async def look(self) -> int | None:
        """Look for what is no event; None if another server has just done it."""
        now = self._edge.clock()
        last = await self._edge.read(SERVER, looking.last_look)
        if not await self._edge.write(SERVER, lambda call: looking.take_turn(call, LOOK_EVERY)):
            return None
        if last is not None and now - last > 3 * LOOK_EVERY:
            # Nobody was here to hear the agents: that they were silent says nothing.
            self._steady_since = now
        steady = now - self._steady_since > LOST_AFTER + LOOK_EVERY
        found = await self._edge.read(
            SERVER, lambda call: looking.look(call, self._url, is_steady=steady)
        )
        if found:
            await self._edge.write(SERVER, lambda call: looking.tell(call, found))
        return len(found)

    async def send(self) -> int:
        """Send what is due; return how many deliveries that were."""
        await self._forget()
        if not await self._edge.read(SERVER, delivering.is_due):
            return 0
        due = await self._edge.write(SERVER, delivering.claim)
        parts = [list(part) for _, part in groupby(due, key=lambda d: d.hook.id)]
        await asyncio.gather(*(self._of_hook(part) for part in parts))
        return len(due)

    async def attempt(self, due: Sequence[Due]) -> Answer | None:
        """Send deliveries of one hook: one to a webhook, or all of them in one e-mail.

        Raises:
            Invalid, Rejected: there is no use in trying again. Unavailable: there is.
        """
        first = due[0]
        if first.hook.kind is HookKind.EMAIL:
            await self._mail(due)
            return None
        if first.place is None:
            raise Unavailable(first.fault)
        body, headers = _signed(first, self._edge.clock())
        answer = await self.outbound.send("POST", first.place.url, headers=headers, body=body)
        if not answer.is_success:
            kind = Rejected if answer.status == 410 else Unavailable  # it says that it is gone
            raise kind(_told(answer))
        return answer

    async def _of_hook(self, due: list[Due]) -> None:
        if due[0].hook.kind is HookKind.EMAIL:
            await self._one(due)
        else:
            await asyncio.gather(*(self._one([each]) for each in due))

    async def _one(self, due: list[Due]) -> None:
        hook = due[0].hook
        fields = {"hook": f"{hook.entity}/{hook.name}", "deliveries": len(due)}
        try:
            await self.attempt(due)
        except RunyardError as error:
            self._metrics.notified.labels(hook.kind.value, "failed").inc()
            final, why = not isinstance(error, Unavailable), error.message
            log.info("a notification did not arrive", **fields, error=why, tries=due[0].tries)
            await self._edge.write(
                SERVER,
                lambda call: delivering.failed(call, due, why, for_good=final),
            )
        except Exception:
            # Whatever it is, the others go on, and this one is due again in some minutes.
            log.exception("a notification could not be sent", **fields)
        else:
            self._metrics.notified.labels(hook.kind.value, "sent").inc()
            await self._edge.write(SERVER, lambda call: delivering.sent(call, due))

    async def _mail(self, due: Sequence[Due]) -> None:
        mailer, first = self._mailer, due[0]
        if mailer is None:
            raise Unavailable("this server sends no e-mail: an operator sets RUNYARD_SMTP_HOST")
        subject, text = _letter(due)
        await anyio.to_thread.run_sync(
            lambda: mailer.send(
                first.hook.addresses,
                subject,
                text,
                message_id=first.id,
                at=self._edge.clock(),
                headers={"X-Runyard-Delivery": first.id},
            ),
            limiter=self._mails,
        )

    async def _forget(self) -> None:
        if time.monotonic() - self._forgotten < FORGET_EVERY:
            return
        self._forgotten = time.monotonic()
        while await self._edge.write(SERVER, delivering.forget):
            pass


def create_notifier(edge: Edge, metrics: Metrics, settings: ServerSettings) -> Notifier:
    outbound = Outbound(networks=settings.webhook_allowed_networks, ports=settings.webhook_ports)
    return Notifier(edge, metrics, outbound, mailer(settings), settings.url)


def mailer(settings: ServerSettings) -> Mailer | None:
    """Return what sends e-mail, if the operator has a server for that."""
    if not settings.smtp_host:
        return None
    return Mailer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        sender=settings.smtp_from,
        security=settings.smtp_security,
        user=settings.smtp_user,
        password_file=settings.smtp_password_file,
    )


def _signed(due: Due, now: datetime) -> tuple[bytes, dict[str, str]]:
    assert due.place is not None
    timestamp = str(int(now.timestamp()))
    body = to_text(_for_chats(due.payload)).encode()
    return body, {
        "Content-Type": "application/json",
        "X-Runyard-Event": due.event,
        "X-Runyard-Delivery": due.id,
        "X-Runyard-Timestamp": timestamp,
        "X-Runyard-Signature": signature(due.place.secret, timestamp, body),
    }


def _for_chats(payload: dict[str, Any]) -> dict[str, Any]:
    """Take from the text what chats would obey: `<!channel>` calls everybody."""
    return {**payload, "text": html.escape(payload["text"], quote=False)}


def _told(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return f"HTTP {answer.status}: redirects are not followed"
    return f"HTTP {answer.status}: {excerpt(answer)}".removesuffix(": ")


def _letter(due: Sequence[Due]) -> tuple[str, str]:
    """Return subject and text of the e-mail that tells of all of these."""
    first, hook = due[0], due[0].hook
    texts = [_paragraph(d.payload) for d in due[:_LISTED]]
    if len(due) > _LISTED:
        texts.append(f"… and {len(due) - _LISTED} more.")
    subject = f"[{hook.entity}] " + (
        first.payload["text"] if len(due) == 1 else f"{len(due)} notifications of {hook.name}"
    )
    footer = f"-- \nSent by the hook {hook.name} of {hook.entity} on a Runyard server."
    return subject, "\n\n".join([*texts, footer]) + "\n"


def _paragraph(payload: dict[str, Any]) -> str:
    item = payload.get("item")
    return f"{payload['text']}\n{item['run']['url']}" if item else str(payload["text"])
