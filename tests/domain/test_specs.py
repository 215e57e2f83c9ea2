import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.environment import chunked, program_environment
from runyard.domain.errors import Invalid
from runyard.domain.jobs import JobRef, Source, content_digest
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import Resource, check_queue_name
from runyard.domain.specs import LaunchSpec, merge
from runyard.domain.tracing import traceparent

IMAGE = {"docker": {"docker_image": "busybox"}}


def mistakes(data):
    with pytest.raises(Invalid) as raised:
        LaunchSpec.parse(data)
    return {v.path: v.message for v in raised.value.violations}


def test_all_mistakes_are_told_at_once_by_field():
    found = mistakes(
        {
            "job": "a",
            **IMAGE,
            "projct": "x",
            "entity": 3,
            "resource_args": {"local-container": "x"},
            "overrides": {"args": "not a list", "runconfig": {}},
        }
    )
    assert set(found) == {
        "job", "projct", "entity", "resource_args", "overrides.args", "overrides.runconfig",
    }  # fmt: skip
    assert "did you mean project?" in found["projct"]


@pytest.mark.parametrize("spelling", ["entry_point", "entrypoint"])
def test_both_spellings_of_the_entry_point_are_read(spelling):
    spec = LaunchSpec.parse({**IMAGE, "overrides": {spelling: ["python", "a.py"]}})
    assert spec.overrides.entry_point == ("python", "a.py")


def test_neither_job_nor_image_is_a_mistake():
    assert "job" in mistakes({})


def test_what_the_peers_agent_writes_with_an_underscore_is_carried_over():
    assert LaunchSpec.parse({**IMAGE, "_resume_count": 1}).image == "busybox"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x"])
def test_paths_that_leave_the_job_are_refused_T11(path):
    assert "overrides.dockerfile" in mistakes({**IMAGE, "overrides": {"dockerfile": path}})


@pytest.mark.parametrize("args", [["a\0b"], [1], {"a": 1}, "abc"])
def test_arguments_are_words_T7(args):
    assert "overrides.args" in mistakes({**IMAGE, "overrides": {"args": args}})


def test_merging_lays_the_submission_over_the_queue():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}, "c": None}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": None}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=200)), st.integers(1, 60))
def test_a_long_variable_is_cut_into_pieces_that_join_to_the_same_json(value, longest):
    env = chunked("WANDB_CONFIG", value, longest)
    pieces = (
        [env["WANDB_CONFIG"]]
        if "WANDB_CONFIG" in env
        else [env[f"WANDB_CONFIG_{n}"] for n in range(len(env))]
    )
    assert json.loads("".join(pieces)) == value
    assert all(len(p) <= longest for p in pieces)


def test_the_programs_environment_has_the_peers_names():
    spec = {
        "project": "p", "entity": "e", "run_id": "r", "author": "ann", "queue": "q",
        "queue_entity": "e", "name": "first", "job": "e/p/j:v1", "sweep_id": None,
        "overrides": {"run_config": {"lr": 1}, "files": {}, "artifacts": {"data": "x"}},
    }  # fmt: skip
    env = program_environment(
        spec, base_url="http://s", item_id="i", requeues=1, image="img", longest=32670
    )
    assert env == {
        "WANDB_BASE_URL": "http://s", "WANDB_PROJECT": "p", "WANDB_ENTITY": "e",
        "WANDB_LAUNCH": "True", "WANDB_RUN_ID": "r", "WANDB_USERNAME": "ann",
        "WANDB_LAUNCH_QUEUE_NAME": "q", "WANDB_LAUNCH_QUEUE_ENTITY": "e",
        "WANDB_LAUNCH_TRACE_ID": "i", "WANDB_NAME": "first", "WANDB_RESUME": "allow",
        "TRACEPARENT": traceparent("i", 1),
        "WANDB_DOCKER": "img", "WANDB_CONFIG": '{"lr": 1}',
        "WANDB_ARTIFACTS": '{"_wandb_job": "e/p/j:v1", "data": "x"}',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("e/p/n:v3", ("e", "p", "n", "v3")),
        ("p/n", (None, "p", "n", "latest")),
        ("n:best", (None, None, "n", "best")),
    ],
)
def test_a_job_may_be_named_in_full_or_in_part(text, parts):
    ref = JobRef.parse(text)
    assert (ref.entity, ref.project, ref.name, ref.alias) == parts


@pytest.mark.parametrize("text", ["", "a/b/c/d", "a//b", "a:", "/a"])
def test_what_is_no_job_reference_is_refused(text):
    with pytest.raises(Invalid):
        JobRef.parse(text)


def test_a_source_tells_all_its_mistakes():
    with pytest.raises(Invalid) as raised:
        Source.from_json({"kind": "git", "remot": "x", "patch": "abc", "services": {"a": "now"}})
    assert {v.path for v in raised.value.violations} == {
        "source.remot", "source.remote", "source.commit", "source.patch", "source.services",
    }  # fmt: skip


def test_the_same_source_has_the_same_digest_in_any_order():
    one = Source.from_json({"kind": "image", "image": "a", "entry_point": ["x"]})
    two = Source.from_json({"entry_point": ["x"], "image": "a", "kind": "image"})
    assert content_digest(one, {}) == content_digest(two, {})
    assert Source.from_json(one.to_json()) == one


def test_a_policy_tells_all_its_mistakes():
    with pytest.raises(Invalid) as raised:
        QueuePolicy.parse({"max_requeue": 1, "claim_ttl": 5, "priorities": 1, "stop_grace": True})
    assert {v.path for v in raised.value.violations} == {
        "policy.max_requeue", "policy.claim_ttl", "policy.priorities", "policy.stop_grace",
    }  # fmt: skip


def test_vertex_is_an_alias_and_an_unknown_resource_names_the_known():
    assert Resource.named("vertex") is Resource.GCP_VERTEX
    with pytest.raises(Invalid, match="local-process"):
        Resource.named("cloud")


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a b", "x" * 65, "a\n"])
def test_bad_queue_names_are_refused(name):
    with pytest.raises(Invalid):
        check_queue_name(name)
