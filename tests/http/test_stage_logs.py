"""Output of stages through the API: of the run, of the item, followed, and to whom it is told."""

from __future__ import annotations

import base64
import threading

import msgspec

from runyard.wire import agent as wire

from .conftest import Agent, World
from .test_agents import until
from .test_streams import events, stream


def print_(agent: Agent, held: dict, offset: int, data: bytes, stage: str = "build") -> None:
    chunk = wire.LogChunk(
        item_id=held["item_id"], token=held["token"], offset=offset, data=data, stage=stage
    )
    answer = agent.caller(
        "POST",
        f"/agents/{agent.id}/logs",
        content=msgspec.msgpack.encode(wire.Logs([chunk])),
        headers={"Content-Type": "application/msgpack"},
    )
    (done,) = msgspec.msgpack.decode(answer.content, type=wire.LogsDone).results
    assert done.code == ""


def test_a_stages_output_is_read_by_run_and_by_item(world: World) -> None:
    world.queue()
    agent = world.agent()
    (made,) = world.submit()
    held = agent.claim()
    print_(agent, held, 0, b"step 1\nstep 2\n")
    agent.log(held, 0, b"trained\n")
    item, run = f"/items/{held['item_id']}", f"/runs/admin/default/{made['run']['run_id']}"

    for path in (item, run):
        assert world.admin.ok("GET", path)["stage_logs"] == {"build": 14}
        answer = world.admin("GET", f"{path}/logs", params={"stage": "build", "offset": 7})
        assert (answer.content, answer.headers["X-Runyard-Log-Size"]) == (b"step 2\n", "14")
        assert world.admin("GET", f"{path}/logs").content == b"trained\n"
        some = world.admin("GET", f"{path}/logs", params={"stage": "build", "limit_bytes": 4})
        assert some.content == b"step"
        assert world.admin("GET", f"{path}/logs", params={"stage": "fetch"}).content == b""
        refused = world.admin("GET", f"{path}/logs", params={"stage": "run"})
        assert refused.status_code == 422
    for listed in ("/items", "/runs"):
        (one,) = world.admin.ok("GET", listed)["data"]
        assert one["stage_logs"] == {"build": 14}


def test_a_run_that_was_never_built_has_no_output_of_a_build(world: World) -> None:
    world.queue()
    (made,) = world.submit()
    path = f"/runs/admin/default/{made['run']['run_id']}"
    assert world.admin.ok("GET", path)["stage_logs"] == {}
    assert world.admin("GET", f"{path}/logs", params={"stage": "build"}).content == b""


def test_a_stages_output_is_followed_until_the_program_runs(live: World) -> None:
    live.queue()
    agent = live.agent()
    (made,) = live.submit()
    held = agent.claim()
    print_(agent, held, 0, b"first ")
    path = f"/runs/admin/default/{made['run']['run_id']}/logs"
    got = bytearray()

    def read() -> None:
        with stream(live, path, follow="true", stage="build") as response:
            for piece in response.iter_bytes():
                got.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: got == b"first ")
    print_(agent, held, 6, b"second")
    until(lambda: got == b"first second")
    agent.move(agent.to("observe", held, phase="running"))
    reader.join(5)
    assert not reader.is_alive()


def test_a_stages_output_comes_as_events_too_and_tells_nobody_twice(live: World) -> None:
    live.queue()
    agent = live.agent()
    (made,) = live.submit()
    held = agent.claim()
    path = f"/runs/admin/default/{made['run']['run_id']}/events"
    print_(agent, held, 0, b"built")
    seen, log = [], b""
    with stream(live, path, log_offset=2, stage="build") as response:
        for name, number, data in events(response):
            seen.append(name)
            if name == "log":
                log += base64.b64decode(data["data"])
                assert int(number) == 2 + len(log)
                if log == b"ilt":
                    print_(agent, held, 5, b" again")
                else:
                    agent.finish(held)
    assert log == b"ilt again"
    assert seen == ["run", "log", "log", "run", "end"]


def test_output_is_told_to_those_who_may_see_item_and_run(world: World) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    held = agent.claim()
    print_(agent, held, 0, b"x")
    stranger = world.user("stranger")
    path = f"/items/{held['item_id']}/logs"
    assert stranger("GET", path, params={"stage": "build"}).status_code == 404
    assert world.caller(held["run_token"])("GET", path).status_code == 403
