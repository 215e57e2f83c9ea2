"""What builds print: kept apart from the program's output, through all attempts of an item."""

import pytest
from sqlalchemy import event

from runyard.domain.errors import Invalid
from runyard.domain.items import AgentId
from runyard.services import runs
from runyard.wire import agent as wire
from tests.services.test_leasing import observe
from tests.services.test_logs import MANY, send, whole


def tell(yard, who, held, offset, data, *, stage="build", at_most=MANY):
    chunk = wire.LogChunk(
        item_id=held.item_id, token=held.token, offset=offset, data=data, stage=stage
    )
    return runs.append_logs(yard.call(), AgentId(who.agent_id), [chunk], at_most=at_most)[0]


def printed(yard, item, stage="build"):
    out = b""
    while True:
        size, piece = runs.read_stage_log(yard.call(), item, stage, len(out))
        if not piece:
            assert size == len(out)
            return out
        out += piece


@pytest.fixture
def running(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    return item, agent, yard.claimed(agent)


def test_a_build_prints_into_a_log_of_its_own_once_and_in_order(yard, running):
    item, agent, held = running

    assert tell(yard, agent, held, 0, b"step 1\n").size == 7
    assert tell(yard, agent, held, 0, b"step 1\n").size == 7  # the answer was lost
    assert tell(yard, agent, held, 3, b"p 1\nstep 2\n").size == 14  # overlaps
    assert tell(yard, agent, held, 50, b"gap").size == 14
    assert tell(yard, agent, held, 0, b"cloned\n", stage="fetch").size == 7
    assert send(yard, agent, held, 0, b"trained\n").size == 8

    assert printed(yard, item) == b"step 1\nstep 2\n"
    assert printed(yard, item, "fetch") == b"cloned\n"
    assert whole(yard, item) == b"trained\n"


def test_many_chunks_of_many_stages_in_one_request_are_placed(yard, running):
    item, agent, held = running
    tell(yard, agent, held, 0, b"ab")
    chunks = [
        wire.LogChunk(item_id=held.item_id, token=held.token, offset=at, data=data, stage=stage)
        for at, data, stage in
        [(2, b"cd", "build"), (0, b"x", "fetch"), (3, b"def", "build"), (0, b"out", "")]
    ]  # fmt: skip

    answers = runs.append_logs(yard.call(), AgentId(agent.agent_id), chunks, at_most=MANY)

    assert [a.size for a in answers] == [4, 1, 6, 3]
    assert (printed(yard, item), printed(yard, item, "fetch")) == (b"abcdef", b"x")


def test_a_reader_may_begin_anywhere(yard, running):
    item, agent, held = running
    for n in range(20):
        tell(yard, agent, held, n * 10, f"line {n:4d}\n".encode())
    text = printed(yard, item)

    for offset in (0, 1, 9, 10, 95, 199, 200, 5000):
        _, piece = runs.read_stage_log(yard.call(), item, "build", offset)
        assert text[offset:].startswith(piece)
        assert bool(piece) == (offset < 200)


def test_a_later_attempt_goes_on_where_the_log_is_and_is_told_so(yard, running):
    item, agent, held = running
    assert held.build_log_size == 0
    tell(yard, agent, held, 0, b"first\n")
    agent = yard.register()  # its next process
    (adopted,) = agent.held
    assert adopted.build_log_size == 6
    yard.move(agent, observe(adopted, "preempted"))
    (again,) = yard.lease(agent)
    assert again.build_log_size == 6
    yard.move(agent, wire.Claim(item_id=again.item_id, token=again.token))

    assert tell(yard, agent, again, 6, b"second\n").size == 13
    assert printed(yard, item) == b"first\nsecond\n"
    assert tell(yard, agent, held, 13, b"late").code == "stale_lease"  # T23


def test_what_comes_to_its_first_agent_costs_no_look_for_a_log(yard):
    yard.submit("a", "b")
    agent = yard.register()
    asked = []
    event.listen(yard.tx.connection, "before_cursor_execute", lambda *a: asked.append(a[2]))

    assert len(yard.lease(agent, 2)) == 2

    assert asked
    assert not [statement for statement in asked if "stage_chunks" in statement]


def test_a_log_over_its_bound_is_cut_with_a_note_and_holds_nobody_up(yard, running):
    item, agent, held = running

    assert tell(yard, agent, held, 0, b"x" * 20, at_most=20).size == 20
    assert printed(yard, item) == b"x" * 20
    assert tell(yard, agent, held, 20, b"y" * 5, at_most=20).size == 25
    assert tell(yard, agent, held, 25, b"z" * 30, at_most=20).size == 55
    assert tell(yard, agent, held, 0, b"z" * 30, at_most=20).size == 30

    assert printed(yard, item) == b"x" * 20 + b"\n[log cut here: over 20 bytes]\n"


@pytest.mark.parametrize("stage", ["run", "agent", "BUILD", "x" * 100, "a\0b"])
def test_only_stages_that_have_logs_are_taken_and_read(yard, running, stage):
    item, agent, held = running

    assert tell(yard, agent, held, 0, b"x", stage=stage).code == "invalid"
    with pytest.raises(Invalid):
        runs.read_stage_log(yard.call(), item, stage, 0)


def test_a_build_prints_for_its_own_claimed_item_alone_T22(yard):
    (item,) = yard.submit("a")
    agent, other = yard.register(), yard.register("other")
    (held,) = yard.lease(agent)

    assert tell(yard, agent, held, 0, b"early").code == "conflict"
    yard.move(agent, wire.Claim(item_id=held.item_id, token=held.token))
    assert tell(yard, other, held, 0, b"forged").code == "stale_lease"
    assert printed(yard, item) == b""
