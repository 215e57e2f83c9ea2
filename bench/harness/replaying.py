"""
A server that answers at once: each request gets what a real server once answered to its like.

    record(url) ──▶ a proxy that notes answers ──▶ replaying(answers) ──▶ a server without a thought

What was never seen gets an empty object. A second use of the module is a bare file server: what is
PUT is kept in a directory, and GET gives it.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runyard.cli.children import free_port

_OWN_HEADERS = {"connection", "transfer-encoding", "content-length", "server", "date"}
_PLACE = "http://recorded"  # stands for the server's own address in what is kept

Answers = dict[str, dict[str, Any]]


@contextmanager
def recording(url: str) -> Iterator[tuple[str, Answers]]:
    """Pass requests on to a server; give our address, and what was answered, by `_key`."""
    answers: Answers = {}
    upstream = urlsplit(url)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self._body()
            onward = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
            onward.request(self.command, self.path, body, dict(self.headers))
            answer = onward.getresponse()
            data = answer.read()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN_HEADERS}
            here = f"http://{self.headers['Host']}"
            answers[_key(self.command, self.path, body)] = {
                "status": answer.status,
                "headers": headers,
                "body": data.decode("latin-1").replace(here, _PLACE),
            }
            self.send_response(answer.status)
            for name, value in (headers | {"Content-Length": str(len(data))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            onward.close()

        do_GET = do_POST = do_PUT = _pass

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", answers
        finally:
            server.shutdown()


@contextmanager
def replaying(answers: Answers, folder: Path) -> Iterator[str]:
    """Serve what was recorded, from a process of its own."""
    kept = folder / "answers.json"
    kept.write_text(json.dumps(answers))
    with _process("replay", kept) as url:
        yield url


@contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serve an empty directory: PUT and GET of files, and nothing else to think about."""
    with _process("files", folder) as url:
        yield url


@contextmanager
def _process(what: str, path: Path) -> Iterator[str]:
    port = free_port("127.0.0.1")
    process = subprocess.Popen([sys.executable, __file__, what, str(path), str(port)])
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    from harness.yard import wait_for

    def is_there() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"the bare server ended with {process.returncode}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(is_there, "the bare server does not come")


def _key(method: str, path: str, body: bytes) -> str:
    plain = path.partition("?")[0]
    if plain == "/graphql":
        return f"{method} {plain} {json.loads(body)['query']}"
    return f"{method} {plain}"


# -- in the process ----------------------------------------------------------------------------


def _serve(what: str, path: Path, port: int) -> None:
    import uvicorn

    app = _replay(json.loads(path.read_text()), port) if what == "replay" else _files(path)
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools",
                log_level="error", access_log=False, lifespan="off")  # fmt: skip


def _replay(answers: Answers, port: int) -> Any:
    here = f"http://127.0.0.1:{port}"
    known = {
        key: (
            answer["status"],
            [(k.encode(), v.encode()) for k, v in answer["headers"].items()],
            answer["body"].replace(_PLACE, here).encode("latin-1"),
        )
        for key, answer in answers.items()
    }
    otherwise = (200, [(b"content-type", b"application/json")], b"{}")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await _whole(receive)
        found = known.get(_key(scope["method"], scope["path"], body), otherwise)
        await _send(send, *found)

    return app


def _files(folder: Path) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = folder / scope["path"].rpartition("/")[2]
        if scope["method"] == "PUT":
            with path.open("wb") as file:
                while True:
                    message = await receive()
                    file.write(message.get("body", b""))
                    if not message.get("more_body"):
                        break
            await _send(send, 200, [], b"")
            return
        await _send(send, 200, [], path.read_bytes())

    return app


async def _whole(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _send(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
