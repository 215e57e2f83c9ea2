"""
A real git server over HTTP on this machine: git's own `http-backend` behind a small server.

Repositories are bare ones below `root`. With a password set, every request needs it.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_WHO = {
    "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


@dataclass
class GitServer:
    """`url` is the address of `root`; `host` is what an allow-list of hosts needs."""

    root: Path
    url: str
    host: str
    password: str | None = None
    requests: int = 0

    def repository(self, name: str) -> Repository:
        """Make an empty repository and a work tree to commit from."""
        bare, tree = self.root / name, self.root.parent / f"{name}.work"
        git(self.root, "init", "--quiet", "--bare", "--initial-branch=main", name)
        git(self.root.parent, "clone", "--quiet", str(bare), str(tree))
        git(tree, "checkout", "--quiet", "-B", "main")
        return Repository(f"{self.url}/{name}", bare, tree)


@dataclass(frozen=True)
class Repository:
    """A repository on the server, and the work tree it is filled from."""

    url: str
    bare: Path
    tree: Path

    def commit(self, files: dict[str, str], message: str = "Change") -> str:
        """Write the files, commit everything in the tree, push, and return the commit."""
        for name, text in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.tree, "add", "--all", "--force")
        git(self.tree, "commit", "--quiet", "--allow-empty", "-m", message)
        git(self.tree, "push", "--quiet", "origin", "HEAD")
        return git(self.tree, "rev-parse", "HEAD")


def git(directory: Path, *words: str) -> str:
    """Run git as a person would, with a name and no configuration; return what it prints."""
    return subprocess.run(
        ["git", "-C", str(directory), "-c", "protocol.file.allow=always", *words],
        env={**os.environ, **_WHO},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@contextmanager
def git_server(root: Path, *, tls: tuple[Path, Path] | None = None) -> Iterator[GitServer]:
    """Serve the repositories below `root` until the end of the block.

    `tls` are the files of a certificate and its key.
    """
    root.mkdir(parents=True, exist_ok=True)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    host = f"127.0.0.1:{http.server_port}"
    served = GitServer(root, f"{'https' if tls else 'http'}://{host}", host)
    http.git = served  # type: ignore[attr-defined]  # how a handler finds what it serves
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served: GitServer = self.server.git  # type: ignore[attr-defined]
        served.requests += 1
        if not self._may_enter(served):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(served.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        ).stdout
        self._answer(answer)

    do_POST = do_GET

    def _may_enter(self, served: GitServer) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        return served.password is None or base64.b64decode(given) == served.password.encode()

    def _answer(self, answer: bytes) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
