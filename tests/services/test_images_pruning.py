"""Which images go, which stay, and what an agent is told to delete."""

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import select

from runyard.domain.errors import Forbidden, NotFound, TooMuch
from runyard.domain.image_builds import FRESH
from runyard.services import accounts, agents, audit, jobs, runs, sweeping
from runyard.services.images import listing, pruning
from runyard.services.images.pruning import FAILED_STAY, Wanted
from runyard.store import tables as t
from runyard.store.values import from_text
from runyard.wire import agent as wire
from tests.services.test_images import (
    REPO,
    ask,
    build,
    built,
    claimed,
    done,
    ended_by_failure,
    ended_well,
    use,
)


@pytest.fixture
def agent(yard):
    return yard.register()


def made(yard, agent, tag, *, ends=True, **more):
    """Build an image with an item that has ended since."""
    (held,) = claimed(yard, agent, f"run-{next(yard.numbers)}", docker={"docker_image": tag})
    name = {"tag": tag, **more}
    asked = {key: value for key, value in name.items() if key != "digest"}
    assert ask(yard, agent, held, **asked).do == "build"
    digest = "sha256:" + hashlib.sha256(tag.encode()).hexdigest()
    assert done(yard, agent, built(held, **{"size": 10, "digest": digest, **name})) == ""
    if ends:
        ended_well(yard, agent, held)
    return held


def going(yard, **wanted):
    plan = pruning.plan(yard.call(), Wanted(**wanted))
    return sorted(image.name.tag for image in plan.images)


def prune(yard, **wanted):
    asked = Wanted(**wanted)
    return pruning.doom(yard.call(), asked, pruning.plan(yard.call(), asked))


def tell(yard, agent, *gone, place="", repository=REPO, after=""):
    call = yard.call(yard.agent(agent))
    asked = wire.AskDoomed(place=place, repository=repository, gone=list(gone), after=after)
    return pruning.doomed(call, agents.current(call, agent.agent_id), asked).images


def states(yard):
    return {r["tag"]: r["state"] for r in yard.tx.all(select(t.images))}


def test_images_go_by_age_use_and_repository(yard, agent):
    made(yard, agent, "old")
    yard.later(days=2)
    made(yard, agent, "young")
    made(yard, agent, "other", repository="elsewhere/jobs")
    (held,) = claimed(yard, agent, "again", docker={"docker_image": "x"})
    done(yard, agent, use(held, tag="old"))
    ended_well(yard, agent, held)
    yard.later(days=1)

    assert going(yard) == ["old", "other", "young"]
    assert going(yard, older_than=timedelta(days=2)) == ["old"]
    assert going(yard, older_than=timedelta(days=2), unused_for=timedelta(days=2)) == []
    assert going(yard, unused_for=timedelta(days=1)) == ["old", "other", "young"]
    assert going(yard, unused_for=timedelta(days=1, seconds=1)) == []
    assert going(yard, repository="elsewhere/jobs") == ["other"]
    assert states(yard) == dict.fromkeys(["old", "young", "other"], "READY")  # only asked


def test_the_newest_images_of_each_job_may_be_kept(yard, agent):
    def version(n, job):
        source = {"kind": "image", "image": f"{job}:{n}"}
        jobs.save(yard.call(), entity="ann", project="default", name=job, source=source)

    for n in range(3):
        for job in ("one", "two"):
            version(n, job)
            (held,) = claimed(yard, agent, f"{job}-{n}", job=f"ann/default/{job}", docker=None)
            ask(yard, agent, held, tag=f"{job}-{n}")
            digest = "sha256:" + hashlib.sha256(f"{job}-{n}".encode()).hexdigest()
            done(yard, agent, built(held, tag=f"{job}-{n}", digest=digest))
            ended_well(yard, agent, held)
            yard.later(minutes=1)

    assert going(yard, keep_last=1) == ["one-0", "one-1", "two-0", "two-1"]
    assert going(yard, keep_last=2) == ["one-0", "two-0"]
    assert going(yard, keep_last=3) == []


def test_what_runs_keeps_its_image_and_what_waits_keeps_those_of_its_source(yard, agent):
    made(yard, agent, "idle")
    for tag in ("waiting", "held", "leased", "retried"):
        made(yard, agent, tag)
    running = made(yard, agent, "running", ends=False)
    (item,) = yard.submit("w1", docker={"docker_image": "retried"})
    held = yard.claimed(agent)
    yard.submit("w2", docker={"docker_image": "leased"})
    (leased,) = yard.lease(agent)
    yard.move(agent, observe_preempted(held))
    yard.submit("w3", docker={"docker_image": "waiting"})
    yard.submit("w4", docker={"docker_image": "held"}, hold=True)

    plan = prune(yard)

    assert [image.name.tag for image in plan.images] == ["idle"]
    assert plan.needed == 5
    assert states(yard) == {
        "idle": "DOOMED",
        **dict.fromkeys(["waiting", "held", "leased", "retried", "running"], "READY"),
    }
    ended_well(yard, agent, running)
    yard.move(agent, wire.Release(item_id=leased.item_id, token=leased.token))
    runs.cancel(yard.call(), item)
    assert going(yard) == ["retried", "running"]


def observe_preempted(held):
    return wire.Observe(item_id=held.item_id, token=held.token, phase="preempted")


def test_an_item_keeps_the_image_that_it_was_told_to_use_though_its_source_is_another(yard, agent):
    made(yard, agent, "shared")
    (held,) = claimed(yard, agent, "b", docker={"docker_image": "of-another-source"})
    assert ask(yard, agent, held, tag="shared").do == "use"

    assert going(yard) == []
    ended_well(yard, agent, held)
    assert going(yard) == ["shared"]


def test_an_image_stays_while_another_that_stays_has_its_content(yard, agent):
    same = {"digest": "sha256:" + "c" * 64}
    for tag in ("a", "b"):
        made(yard, agent, tag, **same)
    made(yard, agent, "c", **same, place="docker:one")
    yard.submit("w", docker={"docker_image": "a"})

    assert going(yard) == ["c"]
    runs.cancel(yard.call(), yard.tx.one(select(t.items).where(t.items.c.state == "PENDING"))["id"])
    assert going(yard) == ["a", "b", "c"]


def test_what_is_built_stays_and_what_failed_is_forgotten(yard, agent):
    first, second = claimed(yard, agent, "a", "b")
    ask(yard, agent, first, tag="building")
    ask(yard, agent, second, tag="failed")
    done(yard, agent, built(second, tag="failed", digest="", error="no"))

    plan = prune(yard)

    assert ([i.name.tag for i in plan.failed], plan.images) == (["failed"], ())
    assert states(yard) == {"building": "BUILDING"}


def test_what_was_used_between_planning_and_marking_stays(yard, agent):
    made(yard, agent, "one")
    made(yard, agent, "two")
    yard.later(hours=1)
    plan = pruning.plan(yard.call(), Wanted())
    (held,) = claimed(yard, agent, "late")
    done(yard, agent, use(held, tag="one"))

    marked = pruning.doom(yard.call(), Wanted(), plan)

    assert [image.name.tag for image in marked.images] == ["two"]
    assert states(yard) == {"one": "READY", "two": "DOOMED"}


def test_an_agent_is_told_what_is_doomed_of_its_place_and_repository_until_it_is_gone(yard, agent):
    made(yard, agent, "a")
    made(yard, agent, "b")
    made(yard, agent, "c", repository="elsewhere/jobs")
    made(yard, agent, "d", place="docker:one")
    prune(yard)

    first, second = tell(yard, agent)
    digest = "sha256:" + hashlib.sha256(b"a").hexdigest()
    assert (first.tag, first.repository, first.digest) == ("a", REPO, digest)
    assert tell(yard, agent, after=first.id) == [second]
    assert [d.tag for d in tell(yard, agent, place="docker:one")] == ["d"]
    assert tell(yard, agent, first.id) == [second]
    assert tell(yard, agent, first.id, second.id) == []  # told twice
    assert states(yard) == {"c": "DOOMED", "d": "DOOMED"}
    with pytest.raises(TooMuch):
        tell(yard, agent, *["x"] * 1001)


@pytest.mark.parametrize("how", ["found", "built"])
def test_a_doomed_image_that_is_needed_is_doomed_no_more(yard, agent, how):
    made(yard, agent, "a")
    prune(yard)
    (old,) = tell(yard, agent)
    (held,) = claimed(yard, agent, "again")

    if how == "found":
        assert done(yard, agent, use(held, tag="a")) == ""
    else:
        assert ask(yard, agent, held, tag="a").do == "build"

    assert states(yard) == {"a": "READY" if how == "found" else "BUILDING"}
    assert tell(yard, agent, old.id) == []  # and it was deleted before the agent heard of that
    assert states(yard) == {"a": "READY" if how == "found" else "BUILDING"}
    if how == "found":  # who comes next does not find it, and builds it
        ended_by_failure(yard, agent, held)
        yard.now += FRESH
        (third,) = claimed(yard, agent, "third")
        assert ask(yard, agent, third, tag="a", missing=True).do == "build"
    assert done(yard, agent, built(held if how == "built" else third, tag="a")) == ""


def test_an_agent_deletes_no_image_of_another_entity_or_place_T22(yard, agent):
    made(yard, agent, "a")
    made(yard, agent, "b")
    prune(yard, repository=REPO)
    one, two = tell(yard, agent)
    yard.team("lab")
    asked = wire.Register(entity="lab", name="l", hostname="h", version="1", queues=["q"])
    foreign = agents.register(yard.call(), asked)

    assert tell(yard, foreign, one.id, two.id) == []
    assert tell(yard, agent, one.id, place="docker:one") == []
    assert tell(yard, agent, two.id, repository="elsewhere/jobs") == []
    assert len(states(yard)) == 2
    made(yard, agent, "c")
    ready = yard.tx.one(select(t.images).where(t.images.c.state == "READY"))
    tell(yard, agent, ready["id"])
    assert states(yard)["c"] == "READY"  # nobody asked for that


def test_an_agent_whose_owner_may_run_none_any_more_is_told_nothing_T22(yard):
    yard.new_user("mel")
    yard.team("lab", mel="member")
    asked = wire.Register(entity="lab", name="l", hostname="h", version="1", queues=["q"])
    agent = agents.register(yard.call(yard.user("mel")), asked)
    yard.tx.run(
        t.images.insert(),
        {
            "id": "i", "entity_id": yard.team_id("lab"), "repository": REPO, "tag": "a",
            "state": "DOOMED", "item_id": "", "attempt": 0, "created_at": 0, "began_at": 0,
            "ready_at": 0, "used_at": 0,
        },
    )  # fmt: skip
    assert [d.id for d in tell(yard, agent)] == ["i"]

    accounts.set_member(yard.call(), "lab", "mel", "viewer")

    assert tell(yard, agent, "i") == []
    assert states(yard) == {"a": "DOOMED"}


def test_pruning_takes_an_operator_and_looking_a_member(yard, agent):
    for name in ("vic", "mem", "opa", "out"):
        yard.new_user(name)
    yard.team("lab", vic="viewer", mem="member", opa="operator")
    for name in ("vic", "mem"):
        with pytest.raises(Forbidden):
            pruning.plan(yard.call(yard.user(name)), Wanted(entity="lab"))
    plan = pruning.plan(yard.call(yard.user("opa")), Wanted(entity="lab"))
    with pytest.raises(Forbidden):
        pruning.doom(yard.call(yard.user("mem")), Wanted(entity="lab"), plan)
    with pytest.raises(NotFound):
        pruning.plan(yard.call(yard.user("out")), Wanted(entity="lab"))
    wanted = listing.Wanted(entity="lab")
    assert listing.page(yard.call(yard.user("vic")), wanted, before="", limit=5) == ([], {})
    with pytest.raises(NotFound):
        listing.page(yard.call(yard.user("out")), wanted, before="", limit=5)


def test_who_pruned_what_is_noted_and_a_prune_of_nothing_is_not(yard, agent):
    def noted():
        found = audit.page(yard.call(), audit.Wanted("ann"), before=None, limit=50)
        return [e for e in found if e["action"] == "image.prune"]

    prune(yard, repository=REPO)
    assert noted() == []
    made(yard, agent, "a")
    prune(yard, repository=REPO)
    (entry,) = noted()
    assert (entry["actor"], entry["thing"]) == ("ann", REPO)
    assert from_text(entry["after"]) == {"images": 1, "failed": 0}


def test_a_plan_of_one_entity_dooms_nothing_of_another(yard, agent):
    made(yard, agent, "a")
    plan = pruning.plan(yard.call(), Wanted())
    yard.team("lab")
    forged = pruning.Plan(yard.team_id("lab"), "lab", plan.images)

    assert pruning.doom(yard.call(), Wanted(), forged).images == ()
    assert states(yard) == {"a": "READY"}


def test_builds_that_came_to_nothing_are_forgotten_after_a_while(yard, agent):
    first, second, third = claimed(yard, agent, "a", "b", "c")
    ask(yard, agent, first, tag="failed")
    done(yard, agent, built(first, tag="failed", digest="", error="no"))
    ended_by_failure(yard, agent, first)
    ask(yard, agent, second, tag="left")
    ask(yard, agent, third, tag="built")
    done(yard, agent, built(third, tag="built"))
    assert sweeping.SWEEPS[-1](yard.call()) == 0
    yard.now += FAILED_STAY
    assert pruning.forget_failed_builds(yard.call()) == 1  # the other one's item is still held
    assert states(yard) == {"left": "BUILDING", "built": "READY"}
    sweeping.expire(yard.call())

    assert pruning.forget_failed_builds(yard.call()) == 1
    assert states(yard) == {"built": "READY"}


def test_forgetting_an_image_forgets_who_used_it(yard, agent):
    made(yard, agent, "a")
    prune(yard)
    (old,) = tell(yard, agent)

    tell(yard, agent, old.id)

    assert states(yard) == {}
    assert yard.tx.all(select(t.image_uses)) == []


def test_who_needs_what_is_found_in_steps(yard, agent, monkeypatch):
    monkeypatch.setattr("runyard.store.image_pruning._STEP", 2)
    for n in range(5):
        made(yard, agent, f"t{n}")
    yard.submit(*(f"w{n}" for n in range(3)), docker={"docker_image": "t1"})
    yard.submit("w9", docker={"docker_image": "t3"})

    assert going(yard) == ["t0", "t2", "t4"]


def test_a_build_move_names_its_image(yard, agent):
    (held,) = claimed(yard, agent, "a")
    assert yard.move(agent, build(held, tag="x"))[0].may_build.do == "build"
    assert states(yard) == {"x": "BUILDING"}
