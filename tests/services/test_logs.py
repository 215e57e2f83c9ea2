import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.domain.items import AgentId, RunId
from runyard.services import runs
from runyard.wire import agent as wire
from tests.services.test_leasing import observe

MANY = 1 << 30


def send(yard, who, held, offset, data, *, at_most=MANY):
    chunk = wire.LogChunk(item_id=held.item_id, token=held.token, offset=offset, data=data)
    return runs.append_logs(yard.call(), AgentId(who.agent_id), [chunk], at_most=at_most)[0]


def whole(yard, item):
    run = RunId(yard.row(item)["run_pk"])
    out = b""
    while piece := runs.read_log(yard.call(), run, len(out)):
        out += piece
    return out


@pytest.fixture
def running(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    return item, agent, yard.claimed(agent)


def test_output_arrives_once_and_in_order_however_often_it_is_sent(yard, running):
    item, agent, held = running

    assert send(yard, agent, held, 0, b"hello ").size == 6
    assert send(yard, agent, held, 0, b"hello ").size == 6  # the answer was lost
    assert send(yard, agent, held, 3, b"lo world").size == 11  # overlaps
    assert send(yard, agent, held, 50, b"gap").size == 11  # told where to go on

    assert whole(yard, item) == b"hello world"


def test_a_reader_may_begin_anywhere(yard, running):
    item, agent, held = running
    for n in range(20):
        send(yard, agent, held, n * 10, f"line {n:4d}\n".encode())
    run = RunId(yard.row(item)["run_pk"])
    text = whole(yard, item)

    for offset in (0, 1, 9, 10, 95, 199, 200, 5000):
        piece = runs.read_log(yard.call(), run, offset)
        assert text[offset:].startswith(piece)
        assert bool(piece) == (offset < 200)


def test_a_second_attempt_goes_on_behind_the_first(yard, running):
    item, agent, held = running
    send(yard, agent, held, 0, b"first\n")
    yard.move(agent, observe(held, "preempted"))
    again = yard.claimed(agent)

    assert send(yard, agent, again, 0, b"second\n").size == 7

    assert whole(yard, item) == b"first\nsecond\n"
    assert send(yard, agent, held, 6, b"late\n").code == "stale_lease"  # T23


def test_output_of_items_of_other_agents_is_refused_T22(yard, running):
    item, _, held = running
    other = yard.register("other")

    assert send(yard, other, held, 0, b"forged").code == "stale_lease"
    assert whole(yard, item) == b""


def test_a_log_over_its_bound_is_cut_with_a_note_and_holds_nobody_up(yard, running):
    item, agent, held = running

    assert send(yard, agent, held, 0, b"x" * 30, at_most=20).size == 30
    assert send(yard, agent, held, 30, b"y" * 30, at_most=20).size == 60

    assert whole(yard, item) == b"x" * 20 + b"\n[log cut here: over 20 bytes]\n"
    assert yard.row(item)["log_truncated"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=25))
def test_any_resending_gives_the_same_text(yard, running, pieces):
    item, agent, held = running
    text = bytes(range(65, 91))
    for start, length in pieces:
        size = send(yard, agent, held, start, text[start : start + length]).size
        assert whole(yard, item) == text[:size]


def test_several_chunks_of_one_run_in_one_request_follow_each_other(yard, running):
    item, agent, held = running
    chunks = [
        wire.LogChunk(item_id=held.item_id, token=held.token, offset=n * 2, data=b"ab")
        for n in range(3)
    ]
    answers = runs.append_logs(yard.call(), AgentId(agent.agent_id), chunks, at_most=MANY)

    assert [a.size for a in answers] == [2, 4, 6]
    assert whole(yard, item) == b"ababab"
