"""Where the server may be sent by the people who use it, on real sockets (T16)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from runyard.domain.errors import Invalid, Unavailable
from runyard.domain.targets import parse, refusal
from runyard.server.outbound import MOST, Answer, Outbound, excerpt

LOOPBACK = [ipaddress.ip_network("127.0.0.2/32"), ipaddress.ip_network("127.0.0.4/32")]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Site:
    """A server on one address that answers each request with the same bytes."""

    def __init__(self, address: str, answer: bytes, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._answer, self._context = answer, context
        self._socket = socket.create_server((address, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Site:
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
                self._talk(plain)
            except OSError:
                plain.close()

    def _talk(self, plain: socket.socket) -> None:
        talk = plain
        if self._context is not None:
            talk = self._context.wrap_socket(plain, server_side=True)
        with talk:
            data = b""
            while b"\r\n\r\n" not in data:
                if not (more := talk.recv(65536)):
                    return
                data += more
            self.requests.append(data)
            talk.sendall(self._answer)


class Names:
    """A resolver that gives the next of its answers each time, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@contextmanager
def outbound(names: Names, port: int, **more: object) -> Iterator[Outbound]:
    yield Outbound(networks=LOOPBACK, ports=[port], resolve=names, **more)  # type: ignore[arg-type]


def post(
    out: Outbound, url: str, body: bytes = b"{}", run: Callable[..., Answer] = asyncio.run
) -> Answer:
    return run(out.send("POST", url, headers={"X-A": "b"}, body=body))


REFUSED = {
    "127.0.0.1": "loopback", "127.9.9.9": "loopback", "::1": "loopback",
    "0.0.0.0": "unspecified", "::": "unspecified",
    "169.254.169.254": "metadata", "169.254.170.2": "metadata", "fd00:ec2::254": "metadata",
    "100.100.100.200": "metadata", "168.63.129.16": "metadata",
    "169.254.1.1": "link local", "fe80::1": "link local", "fe80::1%eth0": "link local",
    "10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private",
    "192.168.1.1": "private", "fc00::1": "private", "fd12::1": "private",
    "100.64.0.1": "carrier", "100.127.255.255": "carrier",
    "224.0.0.1": "multicast", "ff02::1": "multicast",
    "255.255.255.255": "reserved", "192.0.2.1": "reserved", "2001:db8::1": "reserved",
    "::ffff:127.0.0.1": "loopback", "::ffff:169.254.169.254": "metadata",
    "::ffff:10.0.0.1": "private", "::127.0.0.1": "not public",
    "64:ff9b::7f00:1": "tunnel", "64:ff9b::8.8.8.8": "tunnel", "64:ff9b:1::1": "tunnel",
    "2002:7f00:1::": "tunnel", "2001:0:1::1": "tunnel",
    "4000::1": "not public", "": "no address", "example.org": "no address",
}  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
def test_T16_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert REFUSED[address] in refusal(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])
def test_a_public_address_is_not_refused(address: str) -> None:
    assert refusal(address) == ""


def test_T16_no_network_that_an_operator_opens_opens_the_metadata_services() -> None:
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    assert refusal("10.0.0.1", everything) == ""
    assert refusal("::ffff:10.0.0.1", everything) == ""
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"):
        assert "metadata" in refusal(address, everything)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "0", "1.2.3",
        "%31%32%37.0.0.1", "0x7f.1", "00000177.0.0.1", "127.0.0.1.0x",
    ],
)  # fmt: skip
def test_T16_an_address_in_an_unusual_spelling_is_no_host(host: str) -> None:
    with pytest.raises(Invalid, match="unusual spelling"):
        parse(f"http://{host}/")


@pytest.mark.parametrize(
    ("spelled", "host"),
    [
        ("127。0。0。1", "127.0.0.1"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("①②⑦.0.0.1", "127.0.0.1"),
        ("LOCALHOST.", "localhost"),
        ("ⓛocalhost", "localhost"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::FFFF:127.0.0.1]", "::ffff:7f00:1"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_T16_every_spelling_of_a_host_is_brought_to_one(spelled: str, host: str) -> None:
    assert parse(f"http://{spelled}/").host == host


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "//example.org/",
        "example.org", "http://user:secret@example.org/", "http://user@example.org/",
        "http://example.org@127.0.0.1/", "http://example.org\\@127.0.0.1/", "http:///x",
        "http://example.org:22/", "http://example.org:0/", "http://example.org:99999/",
        "http://exa mple.org/", "http://example.org/\r\nHost: evil", "http://a..b/", "http://-a/",
        "http://[fe80::1%25eth0]/", "http://[::1", "http://a%2eb/", "http://example.org/\ud800",
        "http://" + "a" * 300 + ".org/", "http://example.org/" + "a" * 2000, "http://./", "",
        "http://a/\0", "https://example.org:443:80/", "http://example.org#@127.0.0.1:22/\t",
    ],
)  # fmt: skip
def test_T16_what_is_no_plain_url_is_refused_before_anybody_is_asked(url: str) -> None:
    names = Names(["8.8.8.8"])
    out = Outbound(resolve=names)
    with pytest.raises(Invalid):
        asyncio.run(out.check(url))
    with pytest.raises(Invalid):
        post(out, url)
    assert names.asked == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127。0。0。1", "localhost."])
def test_T16_the_systems_own_names_for_itself_are_refused(host: str) -> None:
    with pytest.raises(Invalid, match="not public"):
        asyncio.run(Outbound().check(f"http://{host}/"))
    with pytest.raises(Invalid, match="not public"):
        post(Outbound(), f"http://{host}/")


def test_T16_one_address_that_is_refused_spoils_the_others() -> None:
    names = Names(["8.8.8.8", "10.0.0.1"])
    with pytest.raises(Invalid, match="private"):
        asyncio.run(Outbound(resolve=names).check("https://example.org/"))


def test_T16_a_name_that_leads_elsewhere_after_the_check_is_refused_when_it_is_used() -> None:
    with Site("127.0.0.1", OK) as inside:
        names = Names(["8.8.8.8"], ["127.0.0.1"])
        out = Outbound(ports=[inside.port], resolve=names)
        url = f"http://rebind.example:{inside.port}/"
        asyncio.run(out.check(url))
        with pytest.raises(Invalid, match="loopback"):
            post(out, url)
        assert inside.requests == []


def test_T16_a_request_resolves_once_and_connects_to_what_was_judged() -> None:
    with Site("127.0.0.2", OK) as allowed:
        # The second answer is what a connection by name would get.
        names = Names(["127.0.0.2"], ["127.0.0.1"])
        with outbound(names, allowed.port) as out:
            answer = post(out, f"http://Rebind.Example:{allowed.port}/a?b=c#d", b"body")
        assert (answer.status, answer.body, names.asked) == (200, b"ok", 1)
        (request,) = allowed.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a?b=c HTTP/1.1"
    assert f"Host: rebind.example:{allowed.port}" in lines
    assert "X-A: b" in lines
    assert body in (b"", b"body")  # it may come in a second piece
    assert not [line for line in lines if line.lower().startswith(("authorization", "cookie"))]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_T16_a_redirect_to_the_metadata_service_is_not_followed(code: int) -> None:
    to = "http://169.254.169.254/latest/meta-data/iam/"
    redirect = f"HTTP/1.1 {code} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
    with Site("127.0.0.2", redirect) as site, outbound(Names(["127.0.0.2"]), site.port) as out:
        answer = post(out, f"http://example.org:{site.port}/")
    assert answer.status == code
    assert not answer.is_success
    assert len(site.requests) == 1


def test_T16_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Site("127.0.0.4", OK) as proxy, Site("127.0.0.2", OK) as site:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.4:{proxy.port}")
        with outbound(Names(["127.0.0.2"]), site.port) as out:
            post(out, f"http://example.org:{site.port}/")
        assert (len(proxy.requests), len(site.requests)) == (0, 1)


def test_T16_of_a_long_answer_little_is_read_and_less_is_shown() -> None:
    long = b"HTTP/1.1 500 X\r\n\r\n" + b"x" * (4 * MOST)
    with Site("127.0.0.2", long) as site, outbound(Names(["127.0.0.2"]), site.port) as out:
        answer = post(out, f"http://example.org:{site.port}/")
    assert len(answer.body) == MOST
    assert len(excerpt(answer)) == 200
    assert excerpt(Answer(200, {}, b"a\r\n\x1b[31mb\xff\x00c\xe2\x80\xae")) == "a [31mb� c"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "ended before an answer"),
        (b"SSH-2.0-OpenSSH_9\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 60_000 + b"\r\n\r\n", "too long"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n\r\n", "too long"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "ended before an answer"),
    ],
)
def test_T16_what_does_not_answer_in_http_is_told_apart(answer: bytes, said: str) -> None:
    with (
        Site("127.0.0.2", answer) as site,
        outbound(Names(["127.0.0.2"]), site.port) as out,
        pytest.raises(Unavailable, match=said),
    ):
        post(out, f"http://example.org:{site.port}/")


def test_notes_before_the_answer_are_skipped() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    with Site("127.0.0.2", early + OK) as site, outbound(Names(["127.0.0.2"]), site.port) as out:
        answer = post(out, f"http://example.org:{site.port}/")
    assert (answer.status, answer.body, "link" in answer.headers) == (200, b"ok", False)


def test_T16_silence_ends_with_the_time_limit_however_it_drips() -> None:
    with (
        socket.create_server(("127.0.0.2", 0)) as silent,
        outbound(Names(["127.0.0.2"]), silent.getsockname()[1], timeout=0.3) as out,
        pytest.raises(Unavailable, match=r"within 0\.3 s"),
    ):
        post(out, f"http://example.org:{silent.getsockname()[1]}/")


def test_T16_a_silent_name_server_ends_with_the_time_limit_too() -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    out = Outbound(resolve=never, timeout=0.1)
    with pytest.raises(Unavailable, match="within"):
        post(out, "https://example.org/")
    with pytest.raises(Invalid, match="in time"):
        asyncio.run(out.check("https://example.org/"))


def test_the_next_address_is_tried_if_the_first_refuses() -> None:
    with Site("127.0.0.4", OK) as site:
        names = Names(["127.0.0.2", "127.0.0.4"])
        with outbound(names, site.port) as out:
            assert post(out, f"http://example.org:{site.port}/").status == 200
    with outbound(Names(["127.0.0.2"]), site.port) as out, pytest.raises(Unavailable):
        post(out, f"http://example.org:{site.port}/")


def test_T16_a_header_cannot_bring_another() -> None:
    with outbound(Names(["127.0.0.2"]), 80) as out, pytest.raises(Invalid, match="header"):
        asyncio.run(out.send("POST", "http://example.org/", headers={"A": "b\r\nC: d"}))


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for hooks.example, and its key."""
    root = tmp_path_factory.mktemp("tls")
    argv = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-days", "2", "-subj", "/CN=hooks.example",
        "-addext", "subjectAltName=DNS:hooks.example",
        "-keyout", str(root / "key.pem"), "-out", str(root / "cert.pem"),
    ]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
    return root / "cert.pem", root / "key.pem"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_T16_tls_is_checked_against_the_name_though_the_connection_goes_to_an_address(
    certified: tuple[Path, Path], run: Callable[..., Answer]
) -> None:
    cert, key = certified
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(cert, key)
    asked: list[str | None] = []
    theirs.sni_callback = lambda _s, name, _c: asked.append(name)  # type: ignore[assignment]
    ours = ssl.create_default_context(cafile=str(cert))
    with Site("127.0.0.2", OK, theirs) as site:
        with outbound(Names(["127.0.0.2"]), site.port, context=ours) as out:
            assert post(out, f"https://hooks.example:{site.port}/", run=run).status == 200
            assert asked == ["hooks.example"]
            with pytest.raises(Unavailable, match="TLS"):
                post(out, f"https://other.example:{site.port}/", run=run)
        theirs_only = outbound(Names(["127.0.0.2"]), site.port)  # the world's authorities
        with theirs_only as out, pytest.raises(Unavailable, match="TLS"):
            post(out, f"https://hooks.example:{site.port}/", run=run)
    assert len(site.requests) == 1
