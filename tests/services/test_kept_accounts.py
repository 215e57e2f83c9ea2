"""A service account that is kept to some queues touches nothing of the others, by no way."""

from __future__ import annotations

import pytest

from runyard.domain.errors import Forbidden, NotFound
from runyard.services import (
    agents,
    hooks,
    queues,
    runs,
    service_accounts,
    submitting,
)
from runyard.wire import agent as wire

IMAGE = {"docker": {"docker_image": "busybox"}}


@pytest.fixture
def lab(yard):
    yard.team("lab")
    for name in ("gpu", "cpu"):
        queues.create(yard.call(), entity="lab", name=name, resource="local-container")
        spec = {**IMAGE, "run_id": f"on-{name}", "project": "p"}
        submitting.submit(yard.call(), "lab", name, [spec])
    service_accounts.create(yard.call(), "lab", "bot", role="admin", queues=["gpu"])
    return yard


def bot(lab):
    return lab.call(lab.user("bot"))


def test_T15_lists_and_events_have_nothing_of_other_queues(lab):
    for entity in (None, "lab"):
        none = {"entity": entity, "states": (), "author": None, "before": None, "limit": 50}
        items = runs.list_items(bot(lab), queue=None, **none)
        assert [row["queue"] for row in items] == ["gpu"]
        found = runs.list_runs(bot(lab), project=None, name=None, **none)
        assert [row["run_name"] for row in found] == ["on-gpu"]
        seen = runs.events(bot(lab), after=0, entity=entity, queue=None, limit=50)
        assert {row["queue"] for row in seen} == {"gpu"}
        there = queues.page(bot(lab), entity, after="", limit=50)
        assert [queue.name for queue, _ in there] == ["gpu"]
    none["entity"] = "lab"
    assert len(runs.list_items(lab.call(), queue=None, **none)) == 2
    assert {r["queue"] for r in runs.events(lab.call(), after=0, entity="lab", queue=None, limit=9)}


def test_a_page_of_queues_is_as_long_as_it_can_be(lab):
    for n in range(5):
        queues.create(lab.call(), entity="lab", name=f"a{n}", resource="local-container")
    service_accounts.edit(lab.call(), "lab", "bot", {"queues": ["a3", "a4", "gpu"]})
    found = queues.page(bot(lab), None, after="", limit=2)
    assert [queue.name for queue, _ in found] == ["gpu", "a3"]


def test_T15_a_run_of_another_queue_is_neither_seen_nor_stopped(lab):
    assert runs.get_run(bot(lab), "lab", "p", "on-gpu")["run_name"] == "on-gpu"
    for do in (runs.get_run, runs.stop):
        with pytest.raises(NotFound):
            do(bot(lab), "lab", "p", "on-cpu")


def test_T15_neither_the_default_queue_nor_a_new_one_is_a_way_out(lab):
    with pytest.raises(NotFound, match="default"):
        submitting.submit(bot(lab), "lab", "default", [IMAGE])
    with pytest.raises(NotFound, match="other"):
        queues.create(bot(lab), entity="lab", name="other", resource="local-container")
    service_accounts.edit(lab.call(), "lab", "bot", {"queues": ["default", "other"]})
    queues.create(bot(lab), entity="lab", name="other", resource="local-container")


def test_T22_agents_that_serve_other_queues_are_not_its_own_to_stop_or_to_be(lab):
    def register(call, name, *served):
        asked = wire.Register(
            name=name, hostname="h", version="1", queues=list(served), max_jobs=1, entity="lab"
        )
        return agents.register(call, asked)

    both = register(lab.call(), "both", "cpu", "gpu")
    other = register(lab.call(), "other", "cpu")
    one = register(lab.call(), "one", "gpu")
    listed = {agent.name for agent, *_ in agents.page(bot(lab), None, after="", limit=9)}
    assert listed == {"both", "one"}
    with pytest.raises(Forbidden, match="may not touch"):
        agents.ask_to_stop(bot(lab), both.agent_id)
    with pytest.raises(NotFound):
        agents.ask_to_stop(bot(lab), other.agent_id)
    with pytest.raises(Forbidden, match="may not touch"):
        register(bot(lab), "both", "gpu")  # with its claims
    agents.ask_to_stop(bot(lab), one.agent_id)
    assert register(bot(lab), "one", "gpu").epoch == 2


def test_T14_hooks_of_other_queues_and_of_all_are_not_its_own(lab):
    for name, queue in (("g", "gpu"), ("c", "cpu"), ("all", None)):
        hooks.create(
            lab.call(), "lab", name,
            target=None, emails=["ops@example.org"], events=["item.failed"], queue=queue,
        )  # fmt: skip
    assert [hook.name for hook in hooks.page(bot(lab), "lab", after="", limit=9)] == ["g"]
    assert hooks.get(bot(lab), "lab", "g").name == "g"
    for name in ("c", "all"):
        with pytest.raises(NotFound):
            hooks.edit(bot(lab), "lab", name, {"enabled": False}, target=None)
    with pytest.raises(Forbidden):
        hooks.edit(bot(lab), "lab", "g", {"queue": None}, target=None)
