"""Notifications from end to end: a real server, a real receiver, a real mail server."""

from __future__ import annotations

import asyncio
import base64
import email
import hashlib
import hmac
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.errors import Invalid, Rejected, Unavailable
from runyard.domain.targets import parse
from runyard.server.app import create_app
from runyard.server.mail import Mailer, compose
from runyard.server.outbound import Outbound
from runyard.server.settings import ServerSettings
from runyard.services import hooks
from runyard.store.db import Database
from runyard.wire import agent as wire
from runyard.wire.rest_hooks import Notification
from tests.services.conftest import Yard

from .conftest import Clock, World, on_a_port
from .mailbox import Mailbox

T0 = datetime(2030, 1, 1, tzinfo=UTC)


class Receiver:
    """A webhook's other end; `codes` are its next answers, and then it is content."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.codes: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                code = receiver.codes.pop(0) if receiver.codes else 200
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "http://169.254.169.254/")
                self.end_headers()
                self.wfile.write(b"thank you" if code < 400 else b"no\r\n\x1b[31mgood")

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
        self.port: int = self.http.server_address[1]
        self.url = f"http://127.0.0.2:{self.port}/services/T0/the-way-in"
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join(5)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def settings(tmp_path: Path, receiver: Receiver, mailbox: Mailbox) -> ServerSettings:
    return ServerSettings(
        home=tmp_path / "home",
        sweep_interval_s=60,
        public_url="https://runyard.example",
        webhook_allowed_networks=(ipaddress.ip_network("127.0.0.2/32"),),
        webhook_ports=(80, 443, receiver.port),
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        smtp_from="runyard@example.org",
    )


def until(wanted: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := wanted()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def create(world: World, name: str = "h", **body: Any) -> Any:
    body = {"name": name, "events": ["item.failed"], **body}
    return world.admin.ok("POST", "/hooks/admin", json=body)


def fail_one(world: World, code: int = 3) -> None:
    world.submit()
    agent = world.agent()
    agent.finish(agent.claim(), code)


def test_a_failed_item_reaches_a_webhook_signed_within_seconds(
    live: World, receiver: Receiver
) -> None:
    live.queue()
    made = create(live, url=receiver.url, queue="q")
    assert made["url"] == f"http://127.0.0.2:{receiver.port}/…"

    fail_one(live)
    headers, body = until(lambda: receiver.got)[0]

    signed = headers["x-runyard-timestamp"].encode() + b"." + body
    expected = hmac.new(made["secret"].encode(), signed, hashlib.sha256).hexdigest()
    assert headers["x-runyard-signature"] == f"sha256={expected}"
    assert abs(int(headers["x-runyard-timestamp"]) - time.time()) < 60
    assert headers["content-type"] == "application/json"
    told = json.loads(body)
    Notification.model_validate(told)
    assert headers["x-runyard-delivery"] == told["id"]
    assert (headers["x-runyard-event"], told["event"]) == ("item.failed", "item.failed")
    assert told["item"]["run"]["url"].startswith("https://runyard.example/admin/default/runs/")
    assert told["text"].endswith("failed in queue admin/q (run): exit code 3")
    shown = until(
        lambda: (
            live.admin.ok("GET", "/hooks/admin/h")["deliveries"][0]["state"] == "sent"
            and live.admin.ok("GET", "/hooks/admin/h")
        )
    )
    assert (shown["deliveries"][0]["tries"], shown["failing_since"]) == (1, None)
    assert "the-way-in" not in json.dumps(shown)
    assert made["secret"] not in json.dumps(shown)
    assert "authorization" not in headers


def test_the_guides_way_to_check_a_signature_accepts_ours_and_nothing_else(
    world: World, receiver: Receiver
) -> None:
    guide = Path(__file__).parents[2].joinpath("docs/guides/notifications.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    is_genuine = names["is_genuine"]
    secret = create(world, url=receiver.url)["secret"]
    world.admin.ok("POST", "/hooks/admin/h/test")
    received, body = receiver.got[0]
    headers = {name.title(): value for name, value in received.items()}
    assert is_genuine(secret, headers, body)
    assert not is_genuine(secret, headers, body + b" ")
    assert not is_genuine("another", headers, body)
    old = str(int(headers["X-Runyard-Timestamp"]) - 600)
    assert not is_genuine(secret, {**headers, "X-Runyard-Timestamp": old}, body)


def test_the_guides_example_of_a_body_is_one() -> None:
    guide = Path(__file__).parents[2].joinpath("docs/guides/notifications.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", guide, re.DOTALL)
    shown = Notification.model_validate_json(block)
    assert shown.model_dump(mode="json") == json.loads(block)


def test_what_did_not_arrive_is_sent_again_with_the_same_id(
    live: World, receiver: Receiver, clock: Clock
) -> None:
    live.queue()
    create(live, url=receiver.url)
    receiver.codes += [503, 302]
    fail_one(live)
    until(lambda: len(receiver.got) == 1)
    (waiting,) = until(
        lambda: [d for d in live.admin.ok("GET", "/hooks/admin/h")["deliveries"] if d["error"]]
    )
    assert (waiting["state"], waiting["error"]) == ("waiting", "HTTP 503: no [31mgood")
    clock.ahead += timedelta(minutes=1)
    until(lambda: len(receiver.got) == 2)
    until(lambda: "redirects" in live.admin.ok("GET", "/hooks/admin/h")["deliveries"][0]["error"])
    clock.ahead += timedelta(minutes=5)
    until(lambda: len(receiver.got) == 3)
    until(lambda: live.admin.ok("GET", "/hooks/admin/h")["deliveries"][0]["state"] == "sent")
    assert len({body["id"] for body in receiver.bodies}) == 1
    assert live.admin.ok("GET", "/hooks/admin/h")["failing_since"] is None
    counted = live.server.metrics.text().decode()
    assert 'runyard_notifications_total{kind="webhook",result="failed"} 2.0' in counted
    assert 'runyard_notifications_total{kind="webhook",result="sent"} 1.0' in counted


def test_two_servers_on_one_database_tell_it_once(
    database: Database, settings: ServerSettings, clock: Clock, receiver: Receiver
) -> None:
    servers = [
        create_app(settings, database=db, clock=clock, say=lambda _: None)
        for db in (database, Database(database.url.render_as_string(hide_password=False)))
    ]
    import httpx2

    with (
        on_a_port(servers[0], settings) as url,
        on_a_port(servers[1], settings),
        httpx2.Client(base_url=url, timeout=60) as http,
    ):
        world = World(servers[0], http, clock)
        world.queue()
        create(world, url=receiver.url, events=["item.finished"])
        agent = world.agent()
        runs = {item["run"]["run_id"] for item in world.submit(12)}
        for _ in range(12):
            agent.finish(agent.claim())
        until(lambda: len(receiver.got) >= 12)
        time.sleep(2)
        told = [body["item"]["run"]["run_id"] for body in receiver.bodies]
        assert sorted(told) == sorted(runs)
    servers[1].database.close()


def test_mail_of_several_events_is_one_letter(live: World, mailbox: Mailbox, clock: Clock) -> None:
    live.queue()
    create(live, emails=["ada@example.org", "bob@example.org"], events=["item.finished"])
    agent = live.agent()
    live.submit(3)
    for _ in range(3):
        agent.finish(agent.claim())
    until(lambda: len(live.admin.ok("GET", "/hooks/admin/h")["deliveries"]) == 3)
    assert mailbox.letters == []
    clock.ahead += timedelta(seconds=31)
    until(lambda: mailbox.letters)
    until(lambda: live.admin.ok("GET", "/hooks/admin/h")["deliveries"][0]["state"] == "sent")
    (letter,) = mailbox.letters
    message = email.message_from_bytes(letter.data)
    assert letter.to == ["ada@example.org", "bob@example.org"]
    assert message["Subject"] == "[admin] 3 notifications of h"
    assert message["From"] == "runyard@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert _text(message).count("finished in queue admin/q.") == 3
    assert "https://runyard.example/admin/default/runs/" in _text(message)


def _text(message: Message) -> str:
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


class Steps:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now


def test_a_follower_that_dies_before_it_commits_loses_nothing_and_doubles_nothing(
    database: Database, settings: ServerSettings
) -> None:
    steps = Steps()
    server = create_app(settings, database=database, clock=steps, say=lambda _: None)
    with database.begin() as tx:
        yard = Yard(tx)
        hooks.create(
            replace(yard.call(), seal=server.sealer), "ann", "h",
            target=parse("https://hooks.example/"), emails=None, events=["item.finished"],
        )  # fmt: skip
        agent = yard.register()
        yard.submit("a")
        held = yard.claimed(agent)
        yard.move(
            agent,
            wire.Observe(item_id=held.item_id, token=held.token, phase="exited", exit_code=0),
        )
    steps.now += timedelta(minutes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runyard.services.notifying.rows.deliver", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            asyncio.run(server.notifier.follow())
    assert [asyncio.run(server.notifier.follow()) for _ in range(2)] == [1, 0]


def test_after_a_pause_of_the_server_the_silence_of_agents_means_nothing_for_a_while(
    database: Database, settings: ServerSettings
) -> None:
    steps = Steps()
    server = create_app(settings, database=database, clock=steps, say=lambda _: None)
    steady: list[bool] = []

    def spied(_call: Any, _url: str, *, is_steady: bool) -> list[Any]:
        steady.append(is_steady)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runyard.server.notifying.looking.look", spied)
        for seconds in (0, 30, 30, 30, 30, 30, 600, 30, 30, 30, 30):
            steps.now += timedelta(seconds=seconds)
            assert asyncio.run(server.notifier.look()) == 0
        assert asyncio.run(server.notifier.look()) is None  # not yet again
    assert steady == [*[False] * 4, True, True, *[False] * 4, True]


# -- asked for a test --------------------------------------------------------------------


def test_a_test_shows_what_came_back(world: World, receiver: Receiver, mailbox: Mailbox) -> None:
    create(world, url=receiver.url)
    create(world, "mail", emails=["ada@example.org"])
    receiver.codes += [200, 404]
    good = world.admin.ok("POST", "/hooks/admin/h/test")
    bad = world.admin.ok("POST", "/hooks/admin/h/test")
    mail = world.admin.ok("POST", "/hooks/admin/mail/test")
    assert (good["ok"], good["status"], good["answer"]) == (True, 200, "thank you")
    assert (bad["ok"], bad["error"]) == (False, "HTTP 404: no [31mgood")
    assert (mail["ok"], mail["status"]) == (True, None)
    assert receiver.bodies[0] == good["sent"]
    assert len(mailbox.letters) == 1
    assert world.admin.ok("GET", "/hooks/admin/h")["deliveries"] == []


def test_without_a_mail_server_mail_says_so(
    database: Database, settings: ServerSettings, clock: Clock
) -> None:
    from starlette.testclient import TestClient

    server = create_app(
        settings.model_copy(update={"smtp_host": ""}), database=database, clock=clock,
        say=lambda _: None,
    )  # fmt: skip
    with TestClient(server, base_url="http://localhost") as http:
        world = World(server, http, clock)
        create(world, emails=["ada@example.org"])
        answer = world.admin.ok("POST", "/hooks/admin/h/test")
    assert not answer["ok"]
    assert "RUNYARD_SMTP_HOST" in answer["error"]


# -- T16 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://169.254.169.254/latest",
        "http://10.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/",
        "http://user:pass@127.0.0.2/", "ftp://127.0.0.2/", "http://127.0.0.2:22/", "nonsense",
        "http://１２７.0.0.1/", "http://no-such-name.invalid/",
    ],
)  # fmt: skip
def test_T16_a_hook_to_where_nobody_may_send_the_server_is_not_made(world: World, url: str) -> None:
    body = {"name": "h", "url": url, "events": ["item.failed"]}
    answer = world.admin("POST", "/hooks/admin", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert world.admin.ok("GET", "/hooks/admin")["data"] == []


def test_T16_a_name_that_moved_inside_since_it_was_checked_is_refused_at_each_send(
    live: World, receiver: Receiver
) -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def resolve(_host: str, _port: int) -> list[str]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    live.server.notifier.outbound._resolve = resolve
    live.queue()
    with socket.create_server(("127.0.0.1", 0)) as inside:
        create(live, url="http://rebind.example/x")
        test = live.admin.ok("POST", "/hooks/admin/h/test")
        assert (test["ok"], test["status"]) == (False, None)
        assert "not public (loopback)" in test["error"]
        fail_one(live)
        (delivery,) = until(
            lambda: [
                d for d in live.admin.ok("GET", "/hooks/admin/h")["deliveries"]
                if d["state"] == "failed"
            ]
        )  # fmt: skip
        assert "not public (loopback)" in delivery["error"]
        inside.settimeout(0.1)
        with pytest.raises(TimeoutError):
            inside.accept()


def test_T16_nobody_without_the_permission_makes_the_server_look_names_up(world: World) -> None:
    asked = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"]

    world.server.notifier.outbound = Outbound(resolve=resolve)
    sam = world.user("sam")
    body = {"name": "h", "url": "https://inside.example/", "events": ["item.failed"]}
    assert sam("POST", "/hooks/admin", json=body).status_code == 404
    assert sam("PATCH", "/hooks/admin/h", json={"url": body["url"]}).status_code == 404
    assert asked == []


def test_a_hook_is_listed_edited_and_deleted(world: World, receiver: Receiver) -> None:
    world.queue()
    for name in ("a", "b", "c"):
        create(world, name, url=receiver.url, wait_s=60)
    first = world.admin.ok("GET", "/hooks/admin?limit=2")
    rest = world.admin.ok("GET", f"/hooks/admin?limit=2&cursor={first['next']}")
    assert [h["name"] for h in (*first["data"], *rest["data"])] == ["a", "b", "c"]
    change = {"events": ["item.waiting"], "queue": "q", "wait_s": 90, "enabled": False}
    edited = world.admin.ok("PATCH", "/hooks/admin/a", json=change)
    assert (edited["events"], edited["queue"], edited["wait_s"], edited["enabled"]) == (
        ["item.waiting"], "q", 90, False,
    )  # fmt: skip
    assert edited["disabled_why"] == "disabled by admin"
    assert world.admin.ok("PATCH", "/hooks/admin/a", json={"queue": None})["queue"] is None
    world.admin.ok("DELETE", "/hooks/admin/a")
    assert world.admin("GET", "/hooks/admin/a").status_code == 404


# -- the mail server ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a mail server called localhost shows, and what trusts it."""
    root = tmp_path_factory.mktemp("tls")
    argv = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(root / "key.pem"), "-out", str(root / "cert.pem"),
    ]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(root / "cert.pem", root / "key.pem")
    return theirs, ssl.create_default_context(cafile=str(root / "cert.pem"))


def send(mailer: Mailer, to: tuple[str, ...] = ("ada@example.org",)) -> None:
    mailer.send(to, "Subject", "Text", message_id="m1", at=T0)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_password_goes_over_tls_that_was_checked(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], security: str, tmp_path: Path
) -> None:
    theirs, ours = tls
    (tmp_path / "password").write_text("pass word\n")
    with Mailbox(theirs, tls_at_once=security == "tls") as box:
        mailer = Mailer(
            "localhost", box.port, "a@example.org", security, "ada", tmp_path / "password", ours
        )
        send(mailer)
        (letter,) = box.letters
        assert letter.tls
        assert base64.b64decode(letter.login) == b"\0ada\0pass word"
        assert "Message-ID: <m1@example.org>" in letter.data.decode()
        with pytest.raises(Unavailable, match="TLS"):  # nobody in the world vouches for it
            send(Mailer("localhost", box.port, "a@example.org", security))
        with pytest.raises(Unavailable, match="TLS"):  # it is not 127.0.0.1
            send(Mailer("127.0.0.1", box.port, "a@example.org", security, context=ours))
        assert len(box.letters) == 1


def test_without_tls_no_password_is_sent(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("password")
    with Mailbox() as box:
        plain = Mailer(
            "localhost", box.port, "a@example.org", "none", "ada", tmp_path / "password"
        )  # fmt: skip
        with pytest.raises(Unavailable, match="without TLS"):
            send(plain)
        with pytest.raises(Unavailable, match="cannot be used"):  # it has no STARTTLS
            send(Mailer("localhost", box.port, "a@example.org", "starttls"))
        assert box.letters == []


@pytest.mark.parametrize(
    ("refuse", "error"),
    [
        ({"RCPT": "550 no such user"}, Rejected),
        ({"RCPT": "450 later"}, Unavailable),
        ({"MAIL": "451 later"}, Unavailable),
        ({"DATA": "554 no"}, Rejected),
    ],
)
def test_a_refusal_for_good_is_told_from_one_for_now(
    refuse: dict[str, str], error: type[Exception]
) -> None:
    with Mailbox(refuse=refuse) as box, pytest.raises(error):
        send(Mailer("localhost", box.port, "a@example.org", "none"))


def test_T16_nothing_in_a_message_becomes_a_header() -> None:
    made: EmailMessage = compose(
        "a@example.org", ["b@example.org"], "Run x\r\nBcc: c@example.org\0\x1b failed",
        "Hello\r\n.\r\nBcc: d@example.org", message_id="m", at=T0, headers={},
    )  # fmt: skip
    assert made["Subject"] == "Run x Bcc: c@example.org failed"
    parsed = email.message_from_bytes(made.as_bytes())
    assert parsed["Bcc"] is None
    for field in ("sender", "to", "id"):
        with pytest.raises(Invalid):
            compose(
                "a@example.org\nBcc: x@y.org" if field == "sender" else "a@example.org",
                ["b@example.org\nBcc: x@y.org" if field == "to" else "b@example.org"],
                "s", "t", at=T0, headers={"X-A": "b\nBcc: x@y.org"} if field == "id" else {},
                message_id="m",
            )  # fmt: skip
