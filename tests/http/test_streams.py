from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx2

from .conftest import World
from .test_agents import until


def events(response: httpx2.Response) -> Iterator[tuple[str, str, Any]]:
    """Yield (event, id, data) of a stream of server-sent events."""
    name = number = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("id: "):
            number = line[4:]
        elif line.startswith("data: "):
            yield name, number, json.loads(line[6:])
            name = number = ""


def stream(world: World, path: str, **params: Any) -> Any:
    headers = {"Authorization": f"Bearer {world.admin.key}", **params.pop("headers", {})}
    return world.http.stream("GET", f"/api/v1{path}", params=params, headers=headers)


def test_a_followed_log_brings_every_byte_and_ends_with_the_run(live: World) -> None:
    live.queue()
    agent = live.agent()
    (made,) = live.submit()
    held = agent.claim()
    agent.log(held, 0, b"first ")
    path = f"/runs/admin/default/{made['run']['run_id']}/logs"
    got = bytearray()

    def read() -> None:
        with stream(live, path, follow="true", offset=2) as response:
            for piece in response.iter_bytes():
                got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: got == b"rst ")
    agent.log(held, 6, b"second")
    until(lambda: got == b"rst second")
    agent.finish(held)
    reader.join(5)
    assert not reader.is_alive()


def test_a_run_is_followed_from_the_queue_to_its_end(live: World) -> None:
    live.queue()
    agent = live.agent()
    (made,) = live.submit()
    path = f"/runs/admin/default/{made['run']['run_id']}/events"
    states, log, ended = [], bytearray(), False
    with stream(live, path, log_offset=0) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for name, number, data in events(response):
            if name == "run":
                states.append(data["state"])
                if states == ["pending"]:
                    held = agent.claim()
                    agent.move(agent.to("observe", held, phase="running"))
                elif data["state"] == "running" and not log:
                    agent.log(held, 0, b"\x00\xff42")
            elif name == "log":
                log += base64.b64decode(data["data"])
                assert int(number) == len(log)
                agent.finish(held)
            elif name == "end":
                ended = True
    assert ended
    assert states[0] == "pending"
    assert states[-2:] == ["running", "finished"]
    assert log == b"\x00\xff42"


def test_moves_of_items_are_followed_and_resumed_by_number(live: World) -> None:
    live.queue()
    live.queue("other")
    live.submit()
    with stream(live, "/events", after=0, queue="q", entity="admin") as response:
        feed = events(response)
        name, first, data = next(feed)
        assert (name, data["became"], data["queue"]) == ("item", "PENDING", "q")
        live.submit(1, "admin/other")
        live.submit(2)
        assert [next(feed)[2]["became"] for _ in range(2)] == ["PENDING", "PENDING"]
    with stream(live, "/events", queue="q", headers={"Last-Event-ID": first}) as response:
        feed = events(response)
        numbers = [int(next(feed)[1]) for _ in range(2)]
    assert int(first) < numbers[0] < numbers[1]


def test_a_user_has_a_bounded_number_of_streams(live: World) -> None:
    opened = [stream(live, "/events") for _ in range(live.server.settings.max_streams)]
    for each in opened:
        each.__enter__()
    refused = live.admin("GET", "/events")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_much")
    assert refused.headers["retry-after"]
    for each in opened:
        each.__exit__(None, None, None)
    until(lambda: live.server.metrics.streams._value.get() == 0)
    with stream(live, "/events") as response:
        assert response.status_code == 200


def test_the_server_leaves_at_once_though_polls_and_streams_hang(live: World) -> None:
    live.queue()
    agent = live.agent()
    agent.poll()
    hanging = threading.Thread(target=lambda: agent.poll(wait_s=25))
    hanging.start()
    until(lambda: live.server.metrics.polls_waiting._value.get() == 1)
    with stream(live, "/events") as response:
        live.server.hub.close()
        assert list(response.iter_bytes()) in ([], [b""])
    hanging.join(2)
    assert not hanging.is_alive()
