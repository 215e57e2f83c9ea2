"""A mail server small enough to read: it takes letters and keeps them."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field


@dataclass
class Letter:
    sender: str
    to: list[str]
    data: bytes
    tls: bool
    login: str = ""


@dataclass
class Mailbox:
    """`refuse` maps a command, say RCPT, to what is answered to it instead."""

    context: ssl.SSLContext | None = None
    tls_at_once: bool = False
    refuse: dict[str, str] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Mailbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            try:
                if self.tls_at_once and self.context:
                    plain = self.context.wrap_socket(plain, server_side=True)
                self._talk(plain, tls=self.tls_at_once)
            except OSError:
                pass
            finally:
                plain.close()

    def _talk(self, talk: socket.socket, *, tls: bool) -> None:
        letter = Letter("", [], b"", tls)
        talk.sendall(b"220 mail.example\r\n")
        while line := _line(talk):
            word = line.split(" ")[0].upper()
            if word in self.refuse:
                _say(talk, self.refuse[word])
            elif word == "EHLO":
                more = "STARTTLS" if self.context and not tls else "AUTH PLAIN"
                _say(talk, f"250-mail.example\r\n250 {more}")
            elif word == "STARTTLS" and self.context:
                _say(talk, "220 go on")
                with self.context.wrap_socket(talk, server_side=True) as secret:
                    letter.tls = True
                    self._rest(secret, letter)
                return
            else:
                if not self._one(talk, word, line, letter):
                    return
                letter = Letter("", [], b"", tls) if letter.data else letter

    def _rest(self, talk: socket.socket, letter: Letter) -> None:
        while line := _line(talk):
            word = line.split(" ")[0].upper()
            if word in self.refuse:
                _say(talk, self.refuse[word])
            elif word == "EHLO":
                _say(talk, "250-mail.example\r\n250 AUTH PLAIN")
            elif not self._one(talk, word, line, letter):
                return

    def _one(self, talk: socket.socket, word: str, line: str, letter: Letter) -> bool:
        if word == "AUTH":
            letter.login = line.split(" ")[-1]
            _say(talk, "235 welcome")
        elif word == "MAIL":
            letter.sender = line
            _say(talk, "250 ok")
        elif word == "RCPT":
            letter.to.append(line.partition("<")[2].partition(">")[0])
            _say(talk, "250 ok")
        elif word == "DATA":
            _say(talk, "354 go on")
            lines = []
            while (text := _line(talk)) != ".":
                lines.append(text)
            letter.data = "\r\n".join(lines).encode()
            self.letters.append(letter)
            _say(talk, "250 ok")
        else:
            _say(talk, "221 bye" if word == "QUIT" else "250 ok")
        return word != "QUIT"


def _line(talk: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n"):
        if not (more := talk.recv(1)):
            return ""
        data += more
    return data.decode().rstrip("\r\n") or " "


def _say(talk: socket.socket, text: str) -> None:
    talk.sendall(text.encode() + b"\r\n")
