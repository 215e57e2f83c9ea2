"""Operating queues and items: `runyard queue pause …`, `runyard item hold …`, `--set-var`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from runyard.domain.rules import RULES
from runyard.wire.rest import QueueIn
from tests.cli.conftest import Cli
from tests.cli.double import Double, Run

QUEUE_VERBS = ("pause", "drain", "resume", "explain", "schema")
ITEM_VERBS = ("hold", "release", "priority", "move", "cancel", "retry", "why")


@pytest.fixture
def items(logged_in: Double) -> list[Run]:
    """Five items that wait."""
    for n in range(5):
        logged_in.runs[str(n)] = Run(str(n), {"job": "digits"}, "gpu")
    return list(logged_in.runs.values())


@pytest.mark.parametrize(
    "words",
    [*(("queue", v) for v in QUEUE_VERBS), *(("item", v) for v in ITEM_VERBS)],
    ids=" ".join,
)
def test_each_command_explains_itself_with_an_example(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Example" in done.out
    assert f"runyard {' '.join(words)}" in done.out


# -- queues ------------------------------------------------------------------------------------


def test_a_queue_is_paused_drained_and_opened_again(logged_in: Double, cli: Cli) -> None:
    done = cli("queue", "pause", "gpu", "-m", "driver update")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "Queue ada/gpu is paused: waiting 0, running 0.",
        "Open it again: runyard queue resume ada/gpu",
    ]
    assert "Mode:     paused by ada: driver update\n" in cli("queue", "show", "gpu").out
    assert cli("queue", "list").out.splitlines()[2].split()[3] == "paused"

    drained = json.loads(cli("queue", "drain", "ada/gpu", "--json").out)
    assert (drained["mode"], drained["mode_why"]) == ("draining", "")
    assert "Mode:     draining by ada\n" in cli("queue", "show", "gpu").out

    assert cli("queue", "resume", "gpu").err == "Queue ada/gpu is open.\n"
    assert "Mode:" not in cli("queue", "show", "gpu").out
    assert json.loads(cli("queue", "resume", "gpu", "--json").out)["mode"] == "open"


@pytest.mark.parametrize("verb", ["pause", "drain", "resume", "explain"])
def test_a_queue_that_is_not_there_is_answered_with_the_nearest(
    logged_in: Double, cli: Cli, verb: str
) -> None:
    done = cli("queue", verb, "defualt")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: no queue 'defualt' in ada; near: default\nhint: queue list\n"


BUSY: dict[str, Any] = {
    "rules": ["max_running = 4: most items of the queue that run at once; 0: no limit"],
    "agents": {"live": 3, "leasing": 2, "slots": 8, "taken": 5, "aside": "bad: disk full"},
    "running": 4, "max_running": 4, "waiting": 7, "held": 2, "typical_s": 0.2,
    "users": [
        {"user": "ada", "waiting": 4, "running": 3, "used_s": 9000, "room": 0},
        {"user": "bob", "waiting": 3, "running": 1, "used_s": 90, "room": None},
    ],
    "next": ["bob", "ada", "bob"],
}  # fmt: skip


def test_a_queue_is_explained(logged_in: Double, cli: Cli) -> None:
    logged_in.explained = BUSY
    cli("queue", "pause", "gpu", "-m", "driver update")
    done = cli("queue", "explain", "gpu")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "Queue:       ada/gpu",
        "Mode:        paused by ada: driver update",
        "Rules:       max_running = 4: most items of the queue that run at once; 0: no limit",
        "Agents:      3 live, 5 of 8 slots taken",
        "             of these 1 take nothing new: bad: disk full",
        "Running:     4 of 4 (max_running)",
        "Waiting:     7",
        "Held:        2",
        "Typical run: under 1 s",
        "Next:        bob, ada, bob",
        "",
        "USER  WAITING  RUNNING  MAY START  USED OF LATE",
        "ada   4        3        0          2.5 h",
        "bob   3        1        any        90 s",
    ]
    shown = json.loads(cli("queue", "explain", "gpu", "--json").out)
    assert (shown["running"], shown["next"], shown["typical_s"]) == (4, ["bob", "ada", "bob"], 0.2)


def test_a_queue_without_agents_is_told_with_how_to_start_one(logged_in: Double, cli: Cli) -> None:
    assert cli("queue", "explain", "gpu").out.splitlines() == [
        "Queue:   ada/gpu",
        "Mode:    open",
        "Rules:   none but the defaults",
        "Agents:  none; start one: runyard agent -q gpu -e ada",
        "Running: 0",
        "Waiting: 0",
    ]


def test_the_schema_of_a_policy_is_printed_without_a_server(cli: Cli) -> None:
    done = cli("queue", "schema")
    assert (done.code, done.err) == (0, "")
    schema = json.loads(done.out)
    assert schema["properties"].keys() == RULES.keys()
    assert all(rule["description"] for rule in schema["properties"].values())
    assert schema["additionalProperties"] is False


def test_rules_of_a_newer_server_are_shown(logged_in: Double, cli: Cli) -> None:
    logged_in.queues["gpu"].policy = {"of_tomorrow": 1, "aging": 0}
    shown = cli("queue", "show", "gpu").out
    assert '"of_tomorrow": 1' in shown
    assert "aging" not in shown


# -- items, one by one -------------------------------------------------------------------------


@pytest.mark.usefixtures("items")
def test_items_are_held_released_ranked_moved_and_cancelled(cli: Cli) -> None:
    held = cli("item", "hold", "0", "1", "-m", "new data")
    assert (held.code, held.out) == (0, "")
    assert held.err.splitlines() == [f"{n} is Queued (held by ada: new data)." for n in (0, 1)]
    assert cli("item", "release", "1").err == "1 is Queued.\n"
    (ranked,) = json.loads(cli("item", "priority", "high", "1", "--json").out)
    assert ranked["priority"] == 1
    (moved,) = json.loads(cli("item", "move", "default", "1", "--json").out)
    assert moved["queue"] == "default"
    assert cli("item", "priority", "low", "1").err == "1 has priority low.\n"
    assert cli("item", "move", "gpu", "1").err == "1 is in queue ada/gpu.\n"
    assert cli("item", "cancel", "1").err == "1 is Killed.\n"


@pytest.mark.usefixtures("items")
def test_what_was_done_before_a_refusal_is_told(logged_in: Double, cli: Cli) -> None:
    cli("item", "hold", "0")
    done = cli("item", "release", "0", "1", "2")
    assert done.code == 1
    assert done.err.splitlines() == ["0 is Queued.", "error: item 1 is not held"]
    assert len(logged_in.seen("POST", "/items/2")) == 0


@pytest.mark.usefixtures("items")
def test_an_item_is_tried_again_with_changes(logged_in: Double, cli: Cli) -> None:
    done = cli("item", "retry", "0", "-c", '{"priority": "low"}')
    assert (done.out, done.err) == ("", "0 is tried again as 5, run run-5.\n")
    assert logged_in.runs["5"].spec == {"job": "digits", "priority": "low"}
    as_json = cli("item", "retry", "0", "1", "--json")
    assert as_json.err == ""
    assert [one["id"] for one in json.loads(as_json.out)] == ["6", "7"]


def test_why_an_item_waits_is_told_with_its_place(
    logged_in: Double, items: list[Run], cli: Cli
) -> None:
    done = cli("item", "why", "0")
    assert (done.code, done.err) == (0, "")
    why, place, start = done.out.splitlines()
    assert (why, place) == ("Why:          it is behind 2 other items", "Place:        3")
    assert start.startswith("Starts about: 20")
    assert json.loads(cli("item", "why", "0", "--json").out)["ahead"] == 2
    cli("item", "hold", "0", "-m", "x")
    assert cli("item", "why", "0").out == "Why: held by ada: x; release it\n"

    logged_in.end(items[1], 3)
    assert cli("item", "why", "1").err == "Item 1 does not wait. It is Failed: exit code 3.\n"
    done = cli("item", "why", "1", "--json")
    assert (json.loads(done.out), done.err) == (None, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hold",), "name the items to hold, or a queue with --queue: one of the two"),
        (("hold", "0", "-q", "gpu"), "name the items to hold"),
        (("retry", "0", "-c", "{broken"), "neither YAML nor JSON"),
        (("priority",), "Missing argument"),
        (("move",), "Missing argument"),
        (("why",), "Missing argument"),
        (("explode", "0"), "no command 'explode'"),
        (("hold", "0", "--author", "ada"), "--author goes with --queue"),
        (("cancel", "0", "--of-job", "digits"), "--of-job goes with --queue"),
        (("cancel", "0", "--dry-run"), "--dry-run goes with --queue"),
    ],
)
@pytest.mark.usefixtures("items")
def test_wrong_usage_is_refused_with_a_hint_and_changes_nothing(
    logged_in: Double, cli: Cli, words: tuple[str, ...], said: str
) -> None:
    done = cli("item", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "\nhint: " in done.err
    assert not logged_in.requests


# -- items, by filter --------------------------------------------------------------------------


@pytest.mark.usefixtures("items")
def test_many_items_are_changed_only_when_it_was_said_twice(logged_in: Double, cli: Cli) -> None:
    words = ("item", "cancel", "-q", "ada/gpu", "--author", "bob", "--of-job", "lab/x")
    refused = cli(*words)
    assert (refused.code, refused.out) == (2, "")
    assert "not done without being asked: Cancel: 5 items of ada/gpu. Go on?" in refused.err
    assert "hint: add --yes" in refused.err
    asked = [r.json() for r in logged_in.seen("POST", "/queues/ada/gpu/select")]
    assert {one["dry_run"] for one in asked} == {True}

    logged_in.requests.clear()
    done = cli(*words, "--yes")
    assert (done.code, done.err) == (0, "5 items of ada/gpu cancelled.\n")
    asked = [r.json() for r in logged_in.seen("POST", "/queues/ada/gpu/select")]
    assert [(one["dry_run"], one["after"]) for one in asked] == [
        (True, None), (True, "1"), (True, "3"), (False, None), (False, "1"), (False, "3"),
    ]  # fmt: skip
    assert {(one["action"], one["author"], one["job"]) for one in asked} == {
        ("cancel", "bob", "lab/x")
    }


@pytest.mark.usefixtures("items")
def test_a_trial_says_what_it_would_be_done_to(logged_in: Double, cli: Cli) -> None:
    logged_in.refused = {"3": "it is not yours"}
    done = cli("item", "hold", "-q", "gpu", "--dry-run")
    assert done.err.splitlines() == [
        "4 items of ada/gpu would be held.",
        "  refused 3: it is not yours",
    ]
    shown = json.loads(cli("item", "hold", "-q", "gpu", "--dry-run", "--json").out)
    assert shown == {
        "changed": ["0", "1", "2", "4"], "refused": {"3": "it is not yours"}, "dry_run": True,
    }  # fmt: skip
    assert {r.json()["dry_run"] for r in logged_in.seen("POST", "/queues")} == {True}


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("hold", "-m", "later"), {"action": "hold", "reason": "later", "held": False}),
        (("release",), {"action": "release", "held": True}),
        (("priority", "low", "--of-priority", "high"),
         {"action": "priority", "priority": "low", "of_priority": "high"}),
        (("move", "big"), {"action": "move", "queue": "big"}),
        (("retry", "-c", '{"priority": "low"}'),
         {"action": "retry", "changes": {"priority": "low"}}),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("items")
def test_each_verb_sends_what_it_needs(
    logged_in: Double, cli: Cli, words: tuple[str, ...], sent: dict[str, Any]
) -> None:
    assert cli("item", *words, "-q", "gpu", "--yes").code == 0
    body = logged_in.seen("POST", "/queues/ada/gpu/select")[-1].json()
    usual = {"ids": [], "states": [], "reason": "", "dry_run": False, "after": "3"}
    assert {k: v for k, v in body.items() if v is not None} == {**usual, **sent}


def test_one_item_is_changed_without_a_question(logged_in: Double, cli: Cli) -> None:
    logged_in.runs["0"] = Run("0", {"job": "digits"}, "gpu")
    assert cli("item", "hold", "-q", "gpu").err == "1 item of ada/gpu held.\n"


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130)])
def test_a_person_is_asked(logged_in: Double, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "runyard.cli.main", "item", "hold", "-q", "gpu"]
    process = subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.write(ours, answer.encode() + b"\n")
    _, err = process.communicate(timeout=30)
    os.close(theirs)
    os.close(ours)
    assert process.returncode == code, err
    assert b"Hold: 5 items of ada/gpu. Go on? [y/N]" in err
    done = {r.json()["dry_run"] for r in logged_in.seen("POST", "/queues")}
    assert done == ({True, False} if answer == "y" else {True})


# -- launching ---------------------------------------------------------------------------------


@pytest.fixture
def template(logged_in: Double) -> Double:
    variables = {
        "gpus": {"type": "integer", "maximum": 4},
        "ratio": {"type": "number"},
        "debug": {"type": "boolean"},
        "note": {"type": "string"},
    }
    logged_in.add_queue(QueueIn(name="safe", resource="local-container", variables=variables))
    return logged_in


def launched(server: Double) -> dict[str, Any]:
    (run,) = server.runs.values()
    return run.spec


def test_values_are_read_in_the_types_of_the_queues_variables(template: Double, cli: Cli) -> None:
    values = ("gpus=2", "ratio=0.5", "debug=true", "note=a=b c")
    words = [word for value in values for word in ("--set-var", value)]
    assert cli("launch", "-j", "digits", "-q", "safe", *words).code == 0
    assert launched(template)["template_variables"] == {
        "gpus": 2, "ratio": 0.5, "debug": True, "note": "a=b c",
    }  # fmt: skip


def test_values_that_are_not_of_the_type_go_as_typed_for_the_server_to_explain(
    template: Double, cli: Cli
) -> None:
    words = ("-v", "gpus=many", "-v", "debug=perhaps", "-v", "gpsu=1", "-v", "note=7")
    cli("launch", "-j", "digits", "-q", "safe", *words)
    assert launched(template)["template_variables"] == {
        "gpus": "many", "debug": "perhaps", "gpsu": "1", "note": "7",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["gpus", "=2", ""])
def test_a_value_without_a_name_is_refused_before_anything_is_submitted(
    template: Double, cli: Cli, word: str
) -> None:
    done = cli("launch", "-j", "digits", "-q", "safe", "--set-var", word)
    assert done.code == 2
    assert f"--set-var {word!r} is not KEY=VALUE" in done.err
    assert "hint: --set-var gpus=2" in done.err
    assert not template.runs


def test_values_of_a_flag_win_over_those_of_a_file(template: Double, cli: Cli) -> None:
    spec = '{"job": "digits", "template_variables": {"gpus": 1, "note": "kept"}}'
    assert cli("launch", "-c", spec, "-q", "safe", "-v", "gpus=3").code == 0
    assert launched(template)["template_variables"] == {"gpus": 3, "note": "kept"}


def test_a_submission_narrows_the_policy_and_may_be_held(logged_in: Double, cli: Cli) -> None:
    words = ("launch", "-j", "digits", "-q", "gpu", "--policy", '{"run_timeout": 60}', "--hold")
    assert cli(*words).code == 0
    spec = launched(logged_in)
    assert (spec["policy"], spec["hold"]) == ({"run_timeout": 60}, True)
