"""
E-mail, by the operator's SMTP server.

The message is made of values and never of text that was put together, so nothing in an address
or a subject can become a header of its own. A password goes over TLS or not at all.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from runyard.domain.errors import Invalid, Rejected, Unavailable

TIMEOUT: Final = 10.0  # seconds for each step of the conversation
_SUBJECT: Final = 200  # characters


@dataclass(frozen=True)
class Mailer:
    """How mail is sent. `security` is starttls, tls or none."""

    host: str
    port: int
    sender: str
    security: str = "starttls"
    user: str = ""
    password_file: Path | None = None
    context: ssl.SSLContext | None = None

    def send(
        self,
        to: Sequence[str],
        subject: str,
        text: str,
        *,
        message_id: str,
        at: datetime,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send one message, to all of `to`. Blocks for a few seconds; run it in a thread.

        Raises:
            Rejected: the SMTP server refuses all the addresses, or the message, for good.
            Unavailable: it could not be asked, or wants to be asked later.
        """
        message = compose(
            self.sender, to, subject, text, message_id=message_id, at=at, headers=headers or {}
        )
        try:
            with self._connected() as smtp:
                smtp.send_message(message, from_addr=self.sender, to_addrs=list(to))
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            kind = Rejected if all(500 <= code < 600 for code in codes) else Unavailable
            raise kind("the mail server refuses every recipient") from error
        except smtplib.SMTPResponseException as error:
            kind = Rejected if _is_final(error) else Unavailable
            raise kind(f"the mail server answers {error.smtp_code}") from error
        except ssl.SSLError as error:
            raise Unavailable(f"the mail server's TLS: {error.reason or error}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable(f"the mail server cannot be used: {error}") from error

    def _connected(self) -> smtplib.SMTP:
        own_name = self.sender.rpartition("@")[2]
        if self.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, own_name, timeout=TIMEOUT, context=self._tls()
            )
        else:
            smtp = smtplib.SMTP(self.host, self.port, own_name, timeout=TIMEOUT)
        try:
            if self.security == "starttls":
                smtp.starttls(context=self._tls())
            if self.user:
                smtp.login(self.user, self._password())
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _tls(self) -> ssl.SSLContext:
        return self.context or ssl.create_default_context()

    def _password(self) -> str:
        if self.security == "none":
            raise Unavailable("the mail server's password is not sent without TLS")
        if self.password_file is None:
            raise Unavailable("the mail server wants a password: set smtp_password_file")
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise Unavailable(f"smtp_password_file cannot be read: {error.strerror}") from error


def compose(
    sender: str,
    to: Sequence[str],
    subject: str,
    text: str,
    *,
    message_id: str,
    at: datetime,
    headers: Mapping[str, str],
) -> EmailMessage:
    """Return a message. `message_id` is the same for the same message, sent again.

    Raises:
        Invalid: something in it cannot stand in a header.
    """
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = ", ".join(to)
        message["Subject"] = _line(subject)
        message["Date"] = format_datetime(at)
        message["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # so that no absence notice answers it
        for name, value in headers.items():
            message[name] = value
    except ValueError as error:
        raise Invalid(f"the message cannot be sent: {error}") from error
    message.set_content(text)
    return message


def _line(text: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words[:_SUBJECT]


def _is_final(error: smtplib.SMTPResponseException) -> bool:
    # A login that fails today may work when the operator has looked at it.
    return 500 <= error.smtp_code < 600 and not isinstance(error, smtplib.SMTPAuthenticationError)
