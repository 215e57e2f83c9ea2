"""Which of all that need an image builds it, from the agents' side of the wire."""

from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest
from sqlalchemy import select

from runyard.domain.image_builds import FRESH
from runyard.domain.items import CLAIM_TTL
from runyard.services import accounts, agents, moving, queues, runs, submitting, sweeping
from runyard.store import tables as t
from runyard.store.values import from_text
from runyard.wire import agent as wire
from tests.services.test_leasing import observe
from tests.services.test_races import Lab

REPO, TAG = "registry.example:5000/team/jobs", "0123456789abcdef0123"
DIGEST = "sha256:" + "a" * 64


def image(held, **more):
    name = {"place": "", "repository": REPO, "tag": TAG}
    return {"item_id": held.item_id, "token": held.token, **name, **more}


def build(held, **more):
    return wire.Build(**image(held, **more))


def built(held, **more):
    return wire.Built(**image(held, **{"digest": DIGEST, **more}))


def use(held, **more):
    return wire.Use(**image(held, **{"digest": DIGEST, **more}))


def ask(yard, agent, held, **more):
    (answer,) = yard.move(agent, build(held, **more))
    assert answer.code == "", answer.message
    return answer.may_build


def done(yard, agent, move):
    (answer,) = yard.move(agent, move)
    return answer.code


def row(yard, **where):
    found = yard.tx.all(select(t.images))
    assert len(found) == 1
    return found[0]


def used(yard):
    return {r["item_id"] for r in yard.tx.all(select(t.image_uses))}


@pytest.fixture
def agent(yard):
    return yard.register()


def claimed(yard, agent, *names, **spec):
    """Submit and claim items, in their order."""
    yard.submit(*names, **spec)
    return [yard.claimed(agent) for _ in names]


def test_the_first_builds_and_the_others_wait_for_it(yard, agent):
    first, second, third = claimed(yard, agent, "a", "b", "c")

    assert ask(yard, agent, first).do == "build"
    waits = ask(yard, agent, second)
    assert (waits.do, waits.by) == ("wait", "ann/default/a")
    assert ask(yard, agent, first).do == "build"  # the answer may have been lost
    assert done(yard, agent, built(first, size=7)) == ""
    told = ask(yard, agent, second, waits=True)

    assert (told.do, told.digest) == ("use", DIGEST)
    assert ask(yard, agent, third).do == "use"
    made = row(yard)
    assert (made["state"], made["size"], made["item_id"]) == ("READY", 7, first.item_id)
    assert used(yard) == {first.item_id, second.item_id, third.item_id}


def test_one_batch_of_moves_gives_one_build_even_to_what_it_claims_itself(yard, agent):
    yard.submit("a", "b")
    first, second = yard.lease(agent, 2)
    claims = [wire.Claim(item_id=h.item_id, token=h.token) for h in (first, second)]

    answers = yard.move(agent, *claims, build(first), build(second))

    assert [a.may_build.do for a in answers[2:]] == ["build", "wait"]


def test_an_image_of_another_name_is_another_build(yard, agent):
    first, second = claimed(yard, agent, "a", "b")
    assert ask(yard, agent, first).do == "build"

    assert ask(yard, agent, second, tag="other").do == "build"
    assert ask(yard, agent, second, place="docker:one").do == "build"
    assert ask(yard, agent, second, repository="elsewhere/jobs").do == "build"


def ended_by_failure(yard, agent, held):
    yard.move(
        agent, wire.Fail(item_id=held.item_id, token=held.token, stage="agent", message="no disk")
    )


def ended_by_the_host(yard, agent, held):
    yard.move(agent, wire.Fail(item_id=held.item_id, token=held.token, stage="build",
                               message="no disk", host=True))  # fmt: skip


def ended_well(yard, agent, held):
    yard.move(agent, observe(held, "exited", 0))


def ended_by_preemption(yard, agent, held):
    yard.move(agent, observe(held, "preempted"))


def ended_by_its_owner(yard, agent, held):
    runs.cancel(yard.call(), held.item_id)
    yard.move(agent, observe(held, "exited", 143))


ENDS = [
    ended_by_failure, ended_by_the_host, ended_well, ended_by_preemption, ended_by_its_owner,
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_however_the_attempt_ends_its_right_to_build_passes_on(yard, agent, end):
    first, second = claimed(yard, agent, "a", "b")
    ask(yard, agent, first)
    end(yard, agent, first)

    assert ask(yard, agent, second, waits=True).do == "build"
    assert row(yard)["item_id"] == second.item_id
    assert done(yard, agent, built(first)) in ("stale_lease", "conflict")
    assert row(yard)["state"] == "BUILDING"


def test_the_right_to_build_is_lost_with_the_lease_before_anybody_sweeps(yard, agent):
    (first,) = claimed(yard, agent, "a")
    ask(yard, agent, first)
    yard.later(minutes=1)
    other = yard.register("b")
    (second,) = claimed(yard, other, "b")
    yard.now += CLAIM_TTL - timedelta(seconds=70)
    assert ask(yard, other, second).do == "wait"
    yard.poll(other, second.item_id)

    yard.later(seconds=10)

    assert ask(yard, other, second, waits=True).do == "build"
    sweeping.expire(yard.call())
    assert ask(yard, other, second).do == "build"


def test_a_later_attempt_of_the_item_has_no_part_in_the_right_of_the_one_before(yard, agent):
    (first,) = claimed(yard, agent, "a")
    ask(yard, agent, first)
    ended_by_preemption(yard, agent, first)
    again = yard.claimed(agent)

    assert done(yard, agent, built(again)) == "conflict"
    assert ask(yard, agent, again).do == "build"
    assert done(yard, agent, built(again)) == ""


def test_a_new_process_of_the_agent_goes_on_with_its_build(yard, agent):
    (first,) = claimed(yard, agent, "a")
    ask(yard, agent, first)
    again = yard.register()
    (held,) = again.held

    assert ask(yard, again, held).do == "build"
    assert done(yard, again, built(held)) == ""


def test_a_failed_build_fails_those_who_waited_and_nobody_who_comes_later(yard, agent):
    first, second, third = claimed(yard, agent, "a", "b", "c")
    ask(yard, agent, first)
    ask(yard, agent, second)
    assert done(yard, agent, built(first, digest="", error="no package nosuch\0")) == ""

    failed = ask(yard, agent, second, waits=True)
    assert (failed.do, failed.by) == ("fail", "ann/default/a")
    assert failed.message.endswith("ann/default/a, and that failed: no package nosuch\ufffd")
    assert done(yard, agent, built(first, digest="", error="again")) == ""
    assert row(yard)["error"] == "no package nosuch\ufffd"
    assert done(yard, agent, built(first)) == "conflict"  # it has told its failure
    assert ask(yard, agent, third).do == "build"
    assert row(yard)["error"] == ""


def test_the_end_of_a_build_may_be_told_twice(yard, agent):
    (first,) = claimed(yard, agent, "a")
    ask(yard, agent, first)
    done(yard, agent, built(first))
    before = row(yard)
    yard.later(seconds=5)

    assert done(yard, agent, built(first, digest="sha256:" + "b" * 64)) == ""

    after = row(yard)
    assert (after["digest"], after["ready_at"]) == (before["digest"], before["ready_at"])


def test_what_is_missing_is_built_again_but_who_looked_too_early_looks_again(yard, agent):
    first, second, third = claimed(yard, agent, "a", "b", "c")
    ask(yard, agent, first)
    done(yard, agent, built(first))

    assert ask(yard, agent, second, missing=True).do == "use"  # it looked before that was built
    assert ask(yard, agent, second, missing=True).do == "build"  # it has looked again
    done(yard, agent, built(second))
    yard.now += FRESH
    assert ask(yard, agent, third, missing=True).do == "build"


def test_a_rebuild_is_made_once_for_all_that_were_submitted_before_it_was_ready(yard, agent):
    (old,) = claimed(yard, agent, "old")
    ask(yard, agent, old)
    done(yard, agent, built(old))
    yard.later(minutes=1)
    first, second = again(yard, agent, "a", "b")

    assert ask(yard, agent, first).do == "build"
    assert ask(yard, agent, second).do == "wait"
    yard.later(minutes=1)
    done(yard, agent, built(first))
    assert ask(yard, agent, second, waits=True).do == "use"
    ended_by_preemption(yard, agent, first)  # back in the queue, later than the image
    yard.later(minutes=1)
    assert ask(yard, agent, yard.claimed(agent)).do == "use"
    (late,) = again(yard, agent, "c")
    assert ask(yard, agent, late).do == "build"


def again(yard, agent, *names):
    """Claim items whose submitter wants the image built anew."""
    return claimed(yard, agent, *names, rebuild=True)


def test_an_image_that_was_found_is_known_from_then_on(yard, agent):
    first, second = claimed(yard, agent, "a", "b")

    assert done(yard, agent, use(first, about={"base": "python:3.11"})) == ""

    made = row(yard)
    assert (made["state"], made["digest"], made["item_id"]) == ("READY", DIGEST, "")
    assert from_text(made["about"]) == {"base": "python:3.11"}
    assert used(yard) == {first.item_id}
    assert ask(yard, agent, second).digest == DIGEST


def test_a_rebuild_does_not_take_what_was_only_found_for_built(yard, agent):
    (first,) = again(yard, agent, "a")
    yard.later(minutes=1)
    (other,) = claimed(yard, agent, "b")
    done(yard, agent, use(other))

    assert ask(yard, agent, first).do == "build"


def test_using_what_another_builds_anew_leaves_the_build_alone(yard, agent):
    first, second = claimed(yard, agent, "a", "b")
    ask(yard, agent, first)

    assert done(yard, agent, use(second)) == ""
    assert row(yard)["state"] == "BUILDING"
    ended_by_failure(yard, agent, first)
    assert done(yard, agent, use(second)) == ""
    assert row(yard)["state"] == "READY"


@pytest.mark.parametrize(
    "wrong",
    [
        {"repository": "Upper/Case"}, {"repository": "a/../b"}, {"repository": "name:tag"},
        {"repository": "x" * 300}, {"repository": "a\0b"}, {"tag": ""}, {"tag": "a b"},
        {"tag": "x" * 129}, {"tag": "x@" + DIGEST}, {"place": "x" * 513}, {"place": "a\0"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("move", [build, built, use])
def test_what_can_be_no_image_is_refused_and_spoils_no_other_move_T22(yard, agent, move, wrong):
    first, second = claimed(yard, agent, "a", "b")

    answers = yard.move(agent, move(first, **wrong), build(second))

    assert [a.code for a in answers] == ["invalid", ""]


@pytest.mark.parametrize("digest", ["latest", "sha256:12", "sha512:" + "a" * 64])
def test_an_image_is_ready_only_with_its_digest(yard, agent, digest):
    (first,) = claimed(yard, agent, "a")
    ask(yard, agent, first)

    assert done(yard, agent, built(first, digest=digest)) == "invalid"
    assert done(yard, agent, use(first, digest=digest)) == "invalid"
    assert done(yard, agent, use(first, digest="")) == "invalid"
    assert row(yard)["state"] == "BUILDING"


def test_who_gives_a_build_up_leaves_it_to_the_next(yard, agent):
    first, second = claimed(yard, agent, "a", "b")
    ask(yard, agent, first)
    ask(yard, agent, second)
    assert done(yard, agent, use(second)) == ""

    for _ in range(2):  # the answer may have been lost
        assert done(yard, agent, built(first, digest="")) == ""

    assert yard.tx.all(select(t.images)) == []
    assert ask(yard, agent, second, waits=True).do == "build"
    assert done(yard, agent, built(first, digest="")) == ""
    assert row(yard)["item_id"] == second.item_id


def test_nobody_builds_for_an_item_that_is_not_claimed_or_not_theirs_T22(yard, agent):
    yard.submit("a")
    other = yard.register("other")
    (held,) = yard.lease(agent)
    assert done(yard, agent, build(held)) == "conflict"
    yard.move(agent, wire.Claim(item_id=held.item_id, token=held.token))

    for move in (build, built, use):
        assert done(yard, other, move(held)) == "stale_lease"
    assert done(yard, agent, built(held)) == "conflict"  # nobody said that it may
    assert yard.tx.all(select(t.images)) == []


def test_images_of_one_entity_are_nothing_to_another_T21(yard, agent):
    (first,) = claimed(yard, agent, "a")
    ask(yard, agent, first)
    done(yard, agent, built(first))
    yard.team("lab")
    other, held = theirs(yard)

    assert ask(yard, other, held).do == "build"


def theirs(yard):
    """Claim an item of the team's queue with an agent of the team."""
    queues.create(
        yard.call(), entity="lab", name="q", resource="local-container", config={}, policy={}
    )
    submitting.submit(yard.call(), "lab", "q", [{"docker": {"docker_image": "busybox"}}])
    asked = wire.Register(
        entity="lab", name="l", hostname="h", version="1", queues=["q"], max_jobs=-1
    )
    agent = agents.register(yard.call(), asked)
    return agent, yard.claimed(agent)


def test_what_is_told_about_an_image_is_bounded(yard, agent):
    (first,) = claimed(yard, agent, "a")
    ask(yard, agent, first, about={f"k{n:02d}\0" + "x" * 100: "v" * 1000 for n in range(30)})

    about = from_text(row(yard)["about"])
    assert len(about) == 20
    assert {(len(k), len(v)) for k, v in about.items()} == {(64, 512)}


class Crowd:
    """Fifty items of one job in the hands of three agents, who act at the same moment."""

    def __init__(self, database):
        self.lab = lab = Lab(database)
        lab.write("ann", _queue)
        lab.write("ann", lambda call: submitting.submit(
            call, "lab", "q", [{"docker": {"docker_image": "busybox"}}] * 50
        ))  # fmt: skip
        self.agents = [
            lab.write("ann", lambda call, n=n: _register(call, f"a{n}")) for n in range(3)
        ]
        self.held = [
            lab.write("ann", _claimer(agent, n))
            for agent, n in zip(self.agents, (17, 17, 16), strict=True)
        ]
        assert sum(map(len, self.held)) == 50

    def ask(self, **more):
        """Have all ask at once; return what they are to do, the agents' answers one by one."""

        def asker(agent, mine):
            def work(call):
                moves = [build(h, **more) for h in mine]
                return [m.may_build.do for m in _move(call, agent, moves)]

            return work

        pairs = zip(self.agents, self.held, strict=True)
        return self.lab.together(*(("ann", asker(agent, mine)) for agent, mine in pairs))


@pytest.fixture
def crowd(database):
    return Crowd(database)


def test_fifty_items_with_three_agents_at_one_moment_get_one_build(crowd):
    answers = crowd.ask(missing=True)
    assert sorted(chain.from_iterable(answers)) == ["build"] + ["wait"] * 49


def test_a_build_that_was_left_passes_to_one_of_all_who_ask_at_one_moment(crowd):
    crowd.ask()
    agent, held = next(
        (agent, h)
        for agent, mine, did in zip(crowd.agents, crowd.held, crowd.ask(), strict=True)
        for h, do in zip(mine, did, strict=True)
        if do == "build"
    )
    failed = wire.Fail(item_id=held.item_id, token=held.token, stage="build", message="no disk")
    crowd.lab.write("ann", lambda call: _move(call, agent, [failed]))
    crowd.held = [[h for h in mine if h is not held] for mine in crowd.held]

    answers = crowd.ask(waits=True)

    assert sorted(chain.from_iterable(answers)) == ["build"] + ["wait"] * 48


def _queue(call):
    queues.create(call, entity="lab", name="q", resource="local-container", config={}, policy={})


def _register(call, name):
    return agents.register(call, wire.Register(
        entity="lab", name=name, hostname="h", version="1", queues=["q"], max_jobs=-1
    ))  # fmt: skip


def _as(call, agent):
    return replace(call, actor=accounts.authenticate(call.tx, agent.token, call.now))


def _move(call, agent, moves):
    mine = _as(call, agent)
    return moving.move(mine, agents.current(mine, agent.agent_id), moves)


def _claimer(agent, n):
    def claim(call):
        mine = _as(call, agent)
        held = agents.poll(mine, agent.agent_id, wire.Poll(slots=n), turn=0)[0].leased
        _move(call, agent, [wire.Claim(item_id=h.item_id, token=h.token) for h in held])
        return held

    return claim
