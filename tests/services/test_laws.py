"""
Random traffic, biased towards trouble: whatever is asked in whatever order, these stay true.

The bias matters: traffic chosen evenly closes every item early and finds little.
"""

from contextlib import suppress
from datetime import timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runyard.domain.errors import RunyardError
from runyard.services import runs, sweeping
from runyard.store import tables as t
from runyard.wire import agent as wire
from tests.services.conftest import Yard

CALLS = st.lists(
    st.tuples(
        st.sampled_from(
            ["lease"] * 5 + ["claim"] * 5 + ["wait"] * 4 + ["expire"] * 4 + ["register"] * 2
            + ["preempt"] * 2 + ["running", "exit", "gone", "fail", "release", "poll", "cancel"]
        ),
        st.integers(0, 2),
        st.integers(0, 5),
    ),
    min_size=25,
    max_size=60,
)  # fmt: skip
OBSERVED = {"running": None, "exit": 0, "gone": None, "preempt": None}
PHASES = {"running": "running", "exit": "exited", "gone": "gone", "preempt": "preempted"}


class World:
    """What happened outside: which attempts were begun, with which token, by whom."""

    def __init__(self, tx):
        self.yard = Yard(tx)
        self.items = self.yard.submit("a", "b", "c")
        self.agents = [self.yard.register(name) for name in ("one", "two", "three")]
        self.held = []
        self.running = {}  # item -> attempts whose workload runs, as the world knows it

    def do(self, name, which, much):
        yard, who = self.yard, self.agents[which]
        match name:
            case "wait":
                yard.later(seconds=20 * (1 + much**3))
            case "expire":
                sweeping.expire(yard.call())
            case "register":
                self.agents[which] = yard.register(who.name)
                self.held += [(which, h) for h in self.agents[which].held]
            case "lease":
                self.held += [(which, h) for h in yard.lease(who, 1 + much % 2)]
            case "poll":
                yard.poll(who, *self.items)
            case "cancel":
                runs.cancel(yard.call(), self.items[much % 3])
            case _ if self.held:
                self.move(name, *self.held[much % len(self.held)])

    def move(self, name, which, held):
        who = self.agents[which]
        given = {"item_id": held.item_id, "token": held.token}
        if name == "claim":
            answer = self.yard.move(who, wire.Claim(**given))[0]
            if not answer.code:  # only now may a workload be started
                self.running.setdefault(held.item_id, set()).add(held.key)
            return
        if name == "fail":
            move = wire.Fail(stage="run", message="x", **given)
        elif name == "release":
            move = wire.Release(**given)
        else:
            move = wire.Observe(phase=PHASES[name], exit_code=OBSERVED[name], **given)
        answer = self.yard.move(who, move)[0]
        if not answer.code and name in ("exit", "gone", "preempt", "fail"):
            self.running.get(held.item_id, set()).discard(held.key)

    def check(self):
        for item_id in self.items:
            row = self.yard.row(item_id)
            alive = self.running.get(item_id, set())
            assert len(alive) <= 1, f"{item_id} runs twice: {alive}"
            # An item may be handed out again only when nothing runs for it.
            assert not (row["state"] in ("PENDING", "LEASED") and alive)
            assert (row["state"] in ("FINISHED", "FAILED", "CANCELLED")) == (
                row["run_state"] in ("finished", "failed", "killed", "crashed")
            ), (row["state"], row["run_state"])

    def check_history(self):
        """Events tell exactly the moves: each begins where the one before ended."""
        tx = self.yard.tx
        for item_id in self.items:
            rows = tx.all(
                t.item_events.select()
                .where(t.item_events.c.item_id == item_id)
                .order_by(t.item_events.c.seq)
            )
            states = [None] + [r["became"] for r in rows]
            assert [r["was"] for r in rows] == states[:-1]
            assert states[-1] == self.yard.row(item_id)["state"]


class _Undo(Exception):
    pass


@settings(
    max_examples=60,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(CALLS)
def test_no_order_of_calls_loses_an_item_or_runs_it_twice(database, calls):
    with suppress(_Undo), database.begin() as tx:
        world = World(tx)
        for call in calls:
            with suppress(RunyardError):
                world.do(*call)
            world.check()
        world.check_history()
        world.yard.now += timedelta(days=1)
        while sweeping.expire(world.yard.call()):
            pass
        # Nothing hangs: what was not ended waits for an agent, or was given up.
        assert {world.yard.row(i)["state"] for i in world.items} <= {
            "PENDING", "FINISHED", "FAILED", "CANCELLED",
        }  # fmt: skip
        raise _Undo
