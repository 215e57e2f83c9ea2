"""Sweeps: making them, what agents are told, who may do what; on both databases."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMuch
from runyard.domain.items import RunId
from runyard.services.sweeps import agents, bayes, defining, finding, listing, yaml_text
from runyard.services.sweeps.agents import Command
from runyard.services.sweeps.defining import Told
from runyard.services.sweeps.suggesting import best_of
from runyard.services.tracking import life, places, streaming
from runyard.services.tracking.upserting import Told as RunTold
from runyard.services.tracking.upserting import upsert
from runyard.store import items
from runyard.store import sweeps as rows
from runyard.store.db import Database, Row, Tx
from tests.services.conftest import Yard

SILENCE = timedelta(minutes=5)
GRID = "method: grid\nparameters: {x: {values: [1, 2, 3]}, y: {value: a}}\n"
RANDOM = "method: random\nmetric: {name: loss}\nparameters: {x: {min: 0.0, max: 1.0}}\n"
PROJECT = "p"


class Sweep:
    """A sweep in a yard, and what its agents do."""

    def __init__(self, yard: Yard, config: str = GRID, actor: Actor | None = None) -> None:
        self.yard, self.actor = yard, actor
        row, self.warnings = defining.create(yard.call(actor), "ann", PROJECT, Told(config=config))
        self.id, self.name = row["id"], row["name"]

    @property
    def row(self) -> Row:
        return finding.by_pk(self.yard.call(self.actor), self.id)

    def agent(self) -> str:
        call = self.yard.call(self.actor)
        return str(agents.register(call, "ann", PROJECT, self.name, "host")["id"])

    def beat(self, agent: str, *running: str, actor: Actor | None = None) -> list[Command]:
        call = self.yard.call(actor or self.actor)
        return agents.heartbeat(call, agent, running, silence=SILENCE)

    def ask(self, agent: str) -> tuple[str, dict[str, Any]]:
        """Ask for work, and return the run and its arguments."""
        (command,) = self.beat(agent)
        assert command["type"] == "run", command
        return command["run_id"], {k: v["value"] for k, v in command["args"].items()}

    def begin(self, run: str, **summary: Any) -> None:
        told = RunTold(entity="ann", project=PROJECT, name=run, sweep=self.name,
                       summary=json.dumps(summary) if summary else None)  # fmt: skip
        upsert(self.yard.call(self.actor), told)

    def end(self, run: str, exit_code: int = 0) -> None:
        life.said_end(self.yard.call(self.actor), self.pk(run), exit_code)

    def do(self, agent: str, **summary: Any) -> dict[str, Any]:
        run, args = self.ask(agent)
        self.begin(run, **summary)
        self.end(run)
        return args

    def log(self, run: str, losses: list[float]) -> None:
        lines = [json.dumps({"_step": n, "loss": loss}) for n, loss in enumerate(losses)]
        said = streaming.said(history=(0, lines), events=None, console=None, summary=None)
        limits = streaming.Limits(1 << 20, 1 << 20)
        streaming.take(self.yard.call(self.actor), "ann", PROJECT, run, said, limits)

    def pk(self, run: str) -> str:
        (row,) = rows.runs_named(self.yard.tx, self.id, [run])
        return str(row["id"])

    def states(self) -> list[str]:
        found = finding.runs_of(self.yard.call(self.actor), self.row, agent_id=None, after="",
                                newest_first=False, limit=100)  # fmt: skip
        return [run["state"] for run in found]

    def set(self, state: str, actor: Actor | None = None) -> None:
        defining.set_state(self.yard.call(actor or self.actor), self.id, state)


def test_a_grid_is_gone_through_once_and_finished(yard: Yard) -> None:
    sweep = Sweep(yard)
    assert sweep.row["state"] == "PENDING"
    agent = sweep.agent()
    assert sweep.row["state"] == "RUNNING"
    assert [sweep.do(agent) for _ in range(3)] == [{"x": n, "y": "a"} for n in (1, 2, 3)]
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert sweep.row["state"] == "FINISHED"
    assert listing.count_runs(yard.call(), sweep.row) == 3


def test_a_run_is_there_before_its_program_and_knows_its_sweep(yard: Yard) -> None:
    sweep = Sweep(yard, "method: grid\nprogram: train.py\nparameters: {o: {parameters: {lr: "
                        "{values: [0.5]}}}}\n")  # fmt: skip
    agent = sweep.agent()
    (command,) = sweep.beat(agent)
    assert command == {
        "type": "run", "run_id": command["run_id"], "args": {"o": {"value": {"lr": 0.5}}},
        "program": "train.py", "logs": [],
    }  # fmt: skip
    (run,) = rows.runs_named(yard.tx, sweep.id, [command["run_id"]])
    assert run["state"] == "pending"
    assert (run["sweep_id"], run["sweep_agent_id"]) == (sweep.id, agent)
    assert json.loads(run["config"]) == {"o": {"lr": 0.5}}


def test_an_agent_that_has_runs_is_given_no_more(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    run, _ = sweep.ask(agent)
    assert sweep.beat(agent, run) == []
    assert sweep.states() == ["pending"]


def test_an_answer_that_was_lost_is_given_again_and_once_only(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    first, args = sweep.ask(agent)
    assert sweep.ask(agent) == (first, args)
    second, _ = sweep.ask(agent)  # it had it, and ended before wandb.init
    assert second != first
    assert sweep.states() == ["failed", "pending"]


def test_a_run_that_its_agent_has_listed_is_not_given_again(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    first, _ = sweep.ask(agent)
    sweep.beat(agent, first)
    assert sweep.ask(agent)[0] != first


def test_a_run_of_a_silent_agent_that_never_began_goes_to_another(yard: Yard) -> None:
    sweep = Sweep(yard)
    lost, args = sweep.ask(sweep.agent())
    other = sweep.agent()
    assert sweep.ask(other)[0] != lost
    yard.later(minutes=6)
    third = sweep.agent()
    assert sweep.ask(third) == (lost, args)


def test_a_preempted_run_is_resumed(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    run, args = sweep.ask(agent)
    sweep.begin(run)
    known = items.locked_run(yard.tx, RunId(sweep.pk(run)))
    assert known is not None
    items.save_runs(yard.tx, [(known, known.preempted("the host was taken away"))])
    (command,) = sweep.beat(agent)
    assert (command["type"], command["run_id"]) == ("resume", run)
    assert {k: v["value"] for k, v in command["args"].items()} == args
    assert sweep.ask(sweep.agent())[0] != run


def test_the_last_agents_run_holds_the_end_of_the_sweep_up(yard: Yard) -> None:
    sweep = Sweep(yard, "method: grid\nparameters: {x: {values: [1]}}\n")
    busy, idle = sweep.agent(), sweep.agent()
    run, _ = sweep.ask(busy)
    sweep.begin(run)
    assert sweep.beat(idle) == [{"type": "exit"}]
    assert sweep.row["state"] == "RUNNING"
    sweep.end(run)
    assert sweep.beat(busy) == [{"type": "exit"}]
    assert sweep.row["state"] == "FINISHED"


def test_pausing_gives_nothing_and_resuming_goes_on(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    assert sweep.do(agent)["x"] == 1
    sweep.set("PAUSED")
    assert sweep.beat(agent) == []
    sweep.set("RUNNING")
    assert sweep.do(agent)["x"] == 2


def test_stopping_lets_runs_end_and_sends_agents_home(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    run, _ = sweep.ask(agent)
    sweep.begin(run)
    sweep.set("FINISHED")
    assert sweep.beat(agent, run) == []
    sweep.end(run)
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert sweep.states() == ["finished"]


def test_cancelling_ends_the_runs(yard: Yard) -> None:
    sweep = Sweep(yard)
    one, two = sweep.agent(), sweep.agent()
    going, _ = sweep.ask(one)
    sweep.begin(going)
    sweep.ask(two)
    sweep.set("CANCELED")
    assert sweep.beat(one, going) == [{"type": "exit"}]
    assert sweep.states() == ["running", "killed"]
    (run,) = rows.runs_named(yard.tx, sweep.id, [going])
    assert run["stop_requested_at"] is not None
    with pytest.raises(Conflict):
        sweep.set("PAUSED")


def test_a_run_that_was_asked_to_stop_is_told_so(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    run, _ = sweep.ask(agent)
    sweep.begin(run)
    items.ask_to_stop(yard.tx, RunId(sweep.pk(run)), "by a test", yard.now)
    assert sweep.beat(agent, run) == [{"type": "stop", "run_id": run}]


def test_random_points_go_on_where_they_were_and_keep_to_the_cap(yard: Yard) -> None:
    sweep = Sweep(yard, RANDOM + "run_cap: 3\n")
    agent = sweep.agent()
    drawn = [sweep.do(agent)["x"] for _ in range(3)]
    assert len(set(drawn)) == 3
    assert all(0 <= x <= 1 for x in drawn)
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert sweep.row["cursor"] == 3


def test_the_best_value_is_kept(yard: Yard) -> None:
    sweep = Sweep(yard, RANDOM)
    agent = sweep.agent()
    metric = yaml_text.read(RANDOM).metric
    for loss in (3.0, 1.0, 2.0):
        sweep.do(agent, loss=loss)
    assert best_of(yard.call(), sweep.row, metric) == 1.0
    sweep.do(agent, loss=0.5)  # not yet noted: no agent has asked since
    assert best_of(yard.call(), sweep.row, metric) == 0.5


def test_hyperband_ends_what_falls_behind_and_remembers_the_rungs(yard: Yard) -> None:
    config = RANDOM + "early_terminate: {type: hyperband, min_iter: 2, eta: 2}\n"
    sweep = Sweep(yard, config)
    going = {}
    for losses in ([5.0, 1.0], [5.0, 2.0], [5.0, 3.0], [5.0]):
        agent = sweep.agent()
        run, _ = sweep.ask(agent)
        sweep.begin(run)
        sweep.log(run, losses)
        going[agent] = run
    # Each is measured by those that came to the rung before it; the better half goes on.
    runs = list(going.values())
    for _ in range(2):
        told = [sweep.beat(agent, run) for agent, run in going.items()]
        stops = [[{"type": "stop", "run_id": run}] for run in runs]
        assert told == [[], stops[1], stops[2], []]
    (stopped,) = rows.runs_named(yard.tx, sweep.id, [runs[2]])
    assert "stopped early" in stopped["reason"]
    assert sorted(rows.bests_at(yard.tx, sweep.id, [2, 4])[2]) == [1.0, 2.0, 3.0]


def test_bayes_learns_from_what_has_ended(yard: Yard) -> None:
    config = (
        "method: bayes\nmetric: {name: loss, goal: maximize}\nparameters:\n"
        "  x: {min: 0.0, max: 1.0}\n  kind: {values: [a, b, c]}\n  n: {min: 1, max: 9}\n"
        "  lr: {distribution: log_uniform_values, min: 0.001, max: 1}\n  c: {value: 7}\n"
    )
    sweep = Sweep(yard, config)
    agent = sweep.agent()
    drawn = []
    for _ in range(40):
        run, args = sweep.ask(agent)
        assert args["c"] == 7
        assert 0.001 <= args["lr"] <= 1
        sweep.begin(run, loss=-abs(args["x"] - 0.8) + (args["kind"] == "b"))
        sweep.end(run)
        drawn.append(args)
    later = drawn[-15:]
    assert sum(a["kind"] == "b" for a in later) >= 10
    assert sum(abs(a["x"] - 0.8) for a in later) / 15 < 0.25


def test_bayes_without_its_library_says_what_to_install(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Invalid) as refused:
        Sweep(yard, RANDOM.replace("random", "bayes"))
    assert "pip install 'runyard[sweeps]'" in refused.value.hint
    with pytest.raises(Invalid):
        bayes.propose(yaml_text.read(RANDOM).space, [], maximize=False, seed=1)


def test_enqueued_runs_come_first(yard: Yard) -> None:
    sweep = Sweep(yard)
    name = agents.enqueue(yard.call(), sweep.id, {"x": 99}, "mine")
    other = agents.enqueue(yard.call(), sweep.id, {"x": {"value": 98}}, None)
    assert sweep.ask(sweep.agent()) == (name, {"x": 99})
    assert sweep.ask(sweep.agent()) == (other, {"x": 98})


def test_a_sweep_with_a_scheduler_of_its_own_proposes_nothing(yard: Yard) -> None:
    sweep = Sweep(yard, "method: bayes\nmetric: {name: loss}\nscheduler: {engine: optuna}\n")
    agent = sweep.agent()
    assert sweep.beat(agent) == []
    name = agents.enqueue(yard.call(), sweep.id, {"x": 1}, None)
    assert sweep.ask(agent)[0] == name
    sweep.set("FINISHED")
    with pytest.raises(Conflict):
        agents.enqueue(yard.call(), sweep.id, {"x": 1}, None)


def test_a_local_controller_is_obeyed(yard: Yard) -> None:
    sweep = Sweep(yard, GRID + "controller: {type: local}\n")
    agent = sweep.agent()
    assert sweep.beat(agent) == []

    def say(**controller: Any) -> None:
        told = Told(controller=json.dumps(controller))
        defining.edit(yard.call(), sweep.id, told)

    say(schedule=[{"id": "one", "data": {"args": {"x": {"value": 5}}}}])
    run, args = sweep.ask(agent)
    assert args == {"x": 5}
    scheduled = json.loads(sweep.row["scheduler"])["scheduled"]
    assert scheduled == [{"id": "one", "runid": run}]
    sweep.begin(run)
    say(earlystop=[run])
    assert sweep.beat(agent, run) == [{"type": "stop", "run_id": run}]
    sweep.end(run)
    say(schedule=[{"id": "two", "data": {"args": None}}])
    assert sweep.beat(agent) == [{"type": "exit"}]
    assert sweep.row["state"] == "FINISHED"


def test_prior_runs_are_those_that_the_filter_names(yard: Yard) -> None:
    for name in ("one", "two"):
        upsert(yard.call(), RunTold(entity="ann", project=PROJECT, name=name))
    prior = json.dumps({"$or": [{"name": "two"}]})
    row, _ = defining.create(yard.call(), "ann", PROJECT, Told(config=RANDOM, prior_runs=prior))
    found = listing.prior_runs(yard.call(), row, after="", limit=10)
    assert [run["name"] for run in found] == ["two"]


def test_sweeps_are_listed_newest_first_and_filtered(yard: Yard) -> None:
    made = [Sweep(yard) for _ in range(3)]
    made[1].set("CANCELED")
    place = places.find(yard.call(), "ann", PROJECT)
    found = listing.page(yard.call(), place, None, before="~", limit=2)
    assert [row["id"] for row in found] == [made[2].id, made[1].id]
    filters = json.dumps({"state": "CANCELED"})
    assert listing.count(yard.call(), place, filters) == 1
    with pytest.raises(Invalid):
        listing.page(yard.call(), place, '{"author_id": 1}', before="~", limit=2)


# -- changing ------------------------------------------------------------------------------


def test_a_configuration_is_kept_word_for_word(yard: Yard) -> None:
    text = "# why\nmethod:   grid\nparameters:\n  x: {values: ['008', 2]}\n"
    sweep = Sweep(yard, text)
    assert sweep.row["config"] == text
    assert sweep.ask(sweep.agent())[1] == {"x": "008"}


def test_the_search_can_be_changed_until_there_are_runs(yard: Yard) -> None:
    sweep = Sweep(yard)
    defining.edit(yard.call(), sweep.id, Told(config=RANDOM))
    assert sweep.row["method"] == "random"
    sweep.ask(sweep.agent())
    defining.edit(yard.call(), sweep.id, Told(config=RANDOM + "run_cap: 5\n"))
    assert sweep.row["run_cap"] == 5
    with pytest.raises(Conflict, match="method and parameters"):
        defining.edit(yard.call(), sweep.id, Told(config=GRID))


def test_odd_configurations_warn(yard: Yard) -> None:
    assert list(Sweep(yard, GRID + "colour: red\n").warnings) == ["'colour' is not read here"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "takes a configuration"),
        ("method: [", "no YAML"),
        ("method: grid\nparameters: {x: 1}", "not valid"),
        ("a: &a [x]\nb: *a\nmethod: grid", "anchor"),
        ("1: x\nmethod: grid", "must be text"),
        ("method: !!python/object:os.system x", "no YAML"),
        ("method: grid\nparameters: {x: {values: [" + "[" * 60 + "]" * 60 + "]}}", "deep"),
        ("method: grid\nparameters: {x: {values: [!!binary aGk=]}}", "bytes"),
        ("x: " + "y" * (300 << 10), "KiB"),
        ("method: " + "9" * 6000, "cannot be read"),
    ],
)
def test_yaml_of_strangers_is_bounded(yard: Yard, text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        Sweep(yard, text)


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(Invalid, match="anchor"):
        yaml_text.load("\n".join(lines))


def test_times_stay_text() -> None:
    assert yaml_text.load("day: 2030-01-01") == {"day": "2030-01-01"}


@pytest.mark.parametrize(
    "told",
    [
        Told(config=GRID, state="DONE"),
        Told(config=GRID, controller="no json"),
        Told(config=GRID, scheduler="[1]"),
    ],
)
def test_other_words_of_a_sweep_are_checked(yard: Yard, told: Told) -> None:
    with pytest.raises(Invalid):
        defining.create(yard.call(), "ann", PROJECT, told)
    with pytest.raises(TooMuch):
        defining.create(yard.call(), "ann", PROJECT, Told(config=GRID, display_name="x" * 600))


# -- who may -------------------------------------------------------------------------------


def test_sweeps_of_others_are_not_there(yard: Yard) -> None:
    sweep = Sweep(yard)
    agent = sweep.agent()
    eve = yard.new_user("eve")
    call = yard.call(eve)
    with pytest.raises(NotFound):
        finding.find(call, "ann", PROJECT, sweep.name)
    with pytest.raises(NotFound):
        agents.register(call, "ann", PROJECT, sweep.name, "h")
    with pytest.raises(NotFound):
        sweep.beat(agent, actor=eve)
    with pytest.raises(NotFound):
        agents.enqueue(call, sweep.id, {}, None)
    with pytest.raises(NotFound):
        defining.set_state(call, sweep.id, "CANCELED")
    with pytest.raises(NotFound):
        defining.create(call, "ann", PROJECT, Told(config=GRID))
    assert sweep.row["state"] == "RUNNING"


def test_roles_in_a_team(yard: Yard) -> None:
    for name in ("sue", "vic", "mel"):
        yard.new_user(name)
    yard.team("crew", sue="submitter", vic="viewer", mel="member")
    sue, vic, mel = (yard.user(name) for name in ("sue", "vic", "mel"))
    made, _ = defining.create(yard.call(mel), "crew", PROJECT, Told(config=GRID))
    agents.register(yard.call(sue), "crew", PROJECT, made["name"], "h")
    with pytest.raises(Forbidden):  # it is not hers
        defining.set_state(yard.call(sue), made["id"], "CANCELED")
    with pytest.raises(Forbidden):
        agents.register(yard.call(vic), "crew", PROJECT, made["name"], "h")
    own, _ = defining.create(yard.call(sue), "crew", PROJECT, Told(config=GRID))
    defining.set_state(yard.call(mel), own["id"], "CANCELED")


def test_a_run_drives_its_own_sweep_and_no_other(yard: Yard) -> None:
    mine, other = Sweep(yard), Sweep(yard)
    row, _ = upsert(yard.call(), RunTold(entity="ann", project=PROJECT, name="scheduler"))
    rows.change(yard.tx, mine.id, {"scheduler_run_id": row["pk"]}, yard.now)
    token = Actor(Kind.RUN, yard.admin.user_id, "ann", run_id=RunId(row["pk"]),
                  run_name="scheduler", project_id=row["project_id"])  # fmt: skip
    call = yard.call(token)
    agent = agents.register(call, None, None, mine.name, "worker")["id"]
    assert agents.heartbeat(call, agent, [], silence=SILENCE)[0]["type"] == "run"
    defining.set_state(call, mine.id, "PAUSED")
    assert finding.find(call, "ann", PROJECT, other.name)["state"] == "PENDING"
    with pytest.raises(Forbidden):
        agents.register(call, "ann", PROJECT, other.name, "worker")
    with pytest.raises(Forbidden):
        defining.set_state(call, other.id, "CANCELED")
    with pytest.raises(Forbidden):
        agents.heartbeat(call, other.agent(), [], silence=SILENCE)
    with pytest.raises(Forbidden):
        defining.create(call, "ann", PROJECT, Told(config=GRID))
    far, _ = defining.create(yard.call(), "ann", "elsewhere", Told(config=GRID))
    with pytest.raises(NotFound):
        finding.find(call, "ann", "elsewhere", far["name"])
    with pytest.raises(NotFound):
        defining.set_state(call, far["id"], "CANCELED")


def test_the_workers_of_a_launched_sweep_are_not_sent_home_over_each_other(yard: Yard) -> None:
    sweep = Sweep(yard, "method: grid\nparameters: {x: {values: [1]}}\n")
    row, _ = upsert(yard.call(), RunTold(entity="ann", project=PROJECT, name="scheduler"))
    rows.change(yard.tx, sweep.id, {"scheduler_run_id": row["pk"]}, yard.now)
    busy, idle = sweep.agent(), sweep.agent()
    run, _ = sweep.ask(busy)
    sweep.begin(run)
    assert sweep.beat(idle) == []
    sweep.end(run)
    assert sweep.beat(idle) == []
    assert sweep.row["state"] == "FINISHED"


# -- at once -------------------------------------------------------------------------------


def test_two_agents_at_once_never_share_a_point(database: Database) -> None:
    n = 24
    with database.begin() as tx:
        yard = Yard(tx)
        config = f"method: grid\nparameters: {{x: {{values: {list(range(n))}}}}}\n"
        sweep = Sweep(yard, config)
        asking = [sweep.agent() for _ in range(4)]

    def ask(tx: Tx, agent: str) -> Command:
        call = replace(yard.call(), tx=tx)
        (command,) = agents.heartbeat(call, agent, [], silence=SILENCE)
        # Its agent has it, so that it is not given again.
        rows.change_agent(tx, agent, {"offered_run_id": None})
        return command

    def work(agent: str) -> list[int]:
        got: list[int] = []
        while True:
            command = database.write(lambda tx: ask(tx, agent))
            if command["type"] == "exit":
                return got
            got.append(command["args"]["x"]["value"])

    with ThreadPoolExecutor(4) as pool:
        points = [x for got in pool.map(work, asking) for x in got]
    assert sorted(points) == list(range(n))
