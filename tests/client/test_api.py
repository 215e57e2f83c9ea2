"""The client on its bad days: servers that are away, proxies that answer, logs that break off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from runyard.client import follow
from runyard.client.api import Api
from runyard.client.problems import error_from
from runyard.domain import errors
from runyard.wire.rest import QueueIn, RunRef
from tests.cli.double import KEY, Double, Run, wait_until


@pytest.fixture
def server() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture
def api(server: Double) -> Iterator[Api]:
    with Api(server.url, KEY, patience=5.0) as api:
        yield api


def submit(api: Api, server: Double) -> Run:
    item = api.submit("ada", "default", [{"job": "digits"}]).items[0]
    return server.runs[item.id]


def test_errors_come_back_as_what_the_server_raised(api: Api) -> None:
    with pytest.raises(errors.Conflict, match="there is a queue"):
        api.create_queue(QueueIn(name="gpu", resource="local-process"))
    with pytest.raises(errors.NotFound) as caught:
        api.queue("ada", "gup")
    assert caught.value.hint == "queue list"


def test_a_wrong_key_is_unauthenticated(server: Double) -> None:
    with Api(server.url, "wrong") as api, pytest.raises(errors.Unauthenticated):
        api.me()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (409, b'{"code": "stale_lease", "detail": "gone"}', errors.StaleLease),
        (403, b'{"code": "forbidden", "detail": "no"}', errors.Forbidden),
        (422, b'{"code": "of a newer server", "detail": "x"}', errors.Invalid),
        (413, b"<html>", errors.TooMuch),
        (429, b"", errors.Unavailable),
        (502, b"<html>Bad Gateway</html>", errors.Unavailable),
        (500, b'{"code": "internal", "detail": "bug", "request_id": "r1"}', errors.RunyardError),
        (418, b"[]", errors.RunyardError),
    ],
)
def test_any_answer_of_any_proxy_has_its_error(
    status: int, body: bytes, kind: type[errors.RunyardError]
) -> None:
    error = error_from(status, body)
    assert type(error) is kind
    assert error.message
    if b"r1" in body:
        assert "r1" in error.message  # an id to quote


def test_violations_keep_their_places() -> None:
    body = b'{"code": "invalid", "detail": "d", "violations": [{"path": "a.b", "message": "bad"}]}'
    assert [str(v) for v in error_from(422, body).violations] == ["a.b: bad"]


def test_a_server_that_never_was_there_fails_at_once_in_one_line() -> None:
    begun = time.monotonic()
    with Api("http://127.0.0.1:9", KEY) as api, pytest.raises(errors.Unavailable) as caught:
        api.me()
    assert time.monotonic() - begun < 5
    assert caught.value.message.startswith("cannot reach the Runyard server at http://127.0.0.1:9:")
    assert "runyard up" in caught.value.hint
    assert "\n" not in caught.value.message


def test_reads_are_repeated_while_the_server_is_busy(api: Api, server: Double) -> None:
    server.answers += [(503, b""), (502, b"")]
    assert api.me().name == "ada"
    assert len(server.requests) == 3


def test_a_submission_is_repeated_under_one_key_and_queued_once(api: Api, server: Double) -> None:
    api.me()
    server.answers += [(503, b"")]
    api.submit("ada", "default", [{"job": "digits"}])
    sent = server.seen("POST", "/queues/ada/default/items")
    assert len(sent) == 2
    assert len({request.headers["idempotency-key"] for request in sent}) == 1
    assert len(server.runs) == 1


def test_what_may_have_happened_already_is_not_repeated(api: Api, server: Double) -> None:
    api.me()
    server.answers += [(503, b"")]
    with pytest.raises(errors.Unavailable):
        api.create_user("bob")
    assert len(server.seen("POST", "/users")) == 1


def test_pages_are_fetched_as_far_as_somebody_reads(api: Api, server: Double) -> None:
    for n in range(450):
        server.runs[str(n)] = Run(str(n), {}, "default")
    assert [item.id for item in api.items()] == [str(n) for n in range(450)]
    assert len(server.seen("GET", "/items")) == 3
    server.requests.clear()
    assert len(list(api.items(limit=7))) == 7
    assert [request.query["limit"] for request in server.requests] == ["7"]


def test_a_redirect_is_not_followed_with_the_key(api: Api, server: Double) -> None:
    server.answers += [(302, b"")]
    with pytest.raises(errors.RunyardError, match="redirects"):
        api.me()


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_T11_names_that_would_be_another_path_are_not_sent(
    api: Api, server: Double, name: str
) -> None:
    with pytest.raises(errors.Invalid):
        api.queue("ada", name)
    assert not server.requests


def test_slashes_and_question_marks_stay_in_their_name(api: Api, server: Double) -> None:
    with pytest.raises(errors.NotFound):
        api.item("../me?x=1#y")
    assert [request.path for request in server.requests] == ["/items/../me?x=1#y"]


def test_T14_the_key_is_in_no_repr(server: Double) -> None:
    with Api(server.url, KEY) as api:
        assert KEY not in repr(api) + repr(vars(api))


def test_a_log_goes_on_where_it_broke_off(api: Api, server: Double) -> None:
    run = submit(api, server)
    server.end(run, log=bytes(range(256)) * 40)
    server.cut_log_after = 1000
    assert b"".join(follow.log(api, run.ref(), follow=True)) == run.log
    offsets = [int(r.query["offset"]) for r in server.seen("GET", "/runs") if "offset" in r.query]
    assert offsets == sorted(offsets)
    assert len(offsets) > 10


def test_a_log_that_ended_early_is_asked_for_the_rest(api: Api, server: Double) -> None:
    run = submit(api, server)
    server.end(run, log=b"x" * 2500)
    server.end_log_after = 1000
    assert b"".join(follow.log(api, run.ref(), follow=True)) == run.log
    assert b"".join(follow.log(api, run.ref())) == run.log


def test_a_log_is_followed_live_to_its_end(api: Api, server: Double) -> None:
    run = submit(api, server)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.extend(follow.log(api, run.ref(), follow=True)))
    reader.start()
    server.move(run, state="running", status="Running", started=True, log=b"one ")
    wait_until(lambda: got == [b"one "])
    server.end(run, log=b"two")
    reader.join(10)
    assert b"".join(got) == b"one two"


def test_a_log_that_is_not_followed_ends_with_what_is_there(api: Api, server: Double) -> None:
    run = submit(api, server)
    server.move(run, state="running", status="Running", log=b"so far")
    assert b"".join(follow.log(api, run.ref())) == b"so far"
    assert b"".join(follow.log(api, run.ref(), offset=3)) == b"far"


@pytest.mark.parametrize(
    ("log", "lines", "tail"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 2, b"b\nc"),
        (b"a\nb\n", 9, b"a\nb\n"),
        (b"a\nb\n", 0, b""),
        (b"", 3, b""),
        (b"x" * 100_000 + b"\n" + b"y" * 100_000 + b"\nz\n", 2, b"y" * 100_000 + b"\nz\n"),
    ],
)
def test_the_last_lines_are_found_from_the_end(
    api: Api, server: Double, log: bytes, lines: int, tail: bytes
) -> None:
    run = submit(api, server)
    server.end(run, log=log)
    offset = follow.offset_of_tail(api, run.ref(), lines)
    assert log[offset:] == tail


def test_waiting_ends_with_the_run_and_not_before(api: Api, server: Double) -> None:
    run = submit(api, server)
    seen: list[str] = []

    def watch() -> None:
        seen.extend(now.status for now in follow.changes(api, run.ref()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    wait_until(lambda: seen == ["Queued"])
    server.move(run, state="running", status="Running", started=True)
    wait_until(lambda: seen == ["Queued", "Running"])
    server.end(run, 3)
    watcher.join(10)
    assert seen == ["Queued", "Running", "Failed"]


def test_waiting_stops_when_its_time_is_over(api: Api, server: Double) -> None:
    run = submit(api, server)
    with pytest.raises(TimeoutError):
        follow.wait(api, run.ref(), timeout=0.2)
    server.keep_alive_s = 60  # a silent server does not make it wait longer
    with pytest.raises(TimeoutError):
        follow.wait(api, run.ref(), timeout=0.2)


def test_a_run_that_is_over_is_returned_without_a_second_look(api: Api, server: Double) -> None:
    run = submit(api, server)
    server.end(run)
    assert follow.wait(api, run.ref()).status == "Finished"


def test_a_run_that_is_not_there_is_not_waited_for(api: Api) -> None:
    with pytest.raises(errors.NotFound):
        follow.wait(api, RunRef(entity="ada", project="default", run_id="run-none"))
