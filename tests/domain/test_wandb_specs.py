"""Specs and configurations of the tracking client, there and back."""

import json

import pytest

from runyard.domain import wandb_specs
from runyard.domain.errors import Invalid
from runyard.domain.queues import Resource
from runyard.domain.specs import LaunchSpec
from runyard.domain.templates import parse_variables

IMAGE = {"docker": {"docker_image": "busybox"}}
# What `wandb launch -d busybox` sends, key by key.
SENT = {
    "entity": "ann", "project": "p", "docker": {"docker_image": "busybox"}, "resource": None,
    "git": {}, "overrides": {}, "uri": None, "job": None, "run_id": None, "sweep_id": {},
}  # fmt: skip
RESOLVED = {
    "entity": "ann", "project": "p", "run_id": "r1", "name": None, "author": "ann", "queue": "q",
    "queue_entity": "team", "resource": "local-container",
    "resource_args": {"local-container": {"cpus": 2, "secrets": {"TOKEN": "token"}}},
    "job": None, "source": {"kind": "image", "image": "busybox"},
    "overrides": {"args": [], "run_config": {}, "entry_point": None, "artifacts": {}, "files": {},
                  "dockerfile": "", "working_dir": ""},
    "sweep_id": None,
}  # fmt: skip


def ours(data, **more):
    return wandb_specs.read(data, **more).spec


def test_what_the_client_sends_is_a_spec_of_ours():
    spec = LaunchSpec.parse(ours(SENT))
    assert (spec.image, spec.project, spec.job) == ("busybox", "p", None)


@pytest.mark.parametrize(
    "extra",
    [
        {"_wandb_api_key": "secret"},
        {"_wandb": {"t": 1}},
        {"uri": "https://github.com/a/b"},
        {"cuda": None, "parameters": {}, "registry": {"url": "x"}, "queue": "q"},
        {"resource_args": {}},
        {"docker": {"docker_image": "busybox", "user_id": 1000}},
        {"git": {"version": "main"}, "builder": {}, "python_version": "3.11"},
    ],
)
def test_keys_of_the_client_s_own_are_left_out_not_refused(extra):
    read = ours({**IMAGE, **extra})
    LaunchSpec.parse(read)
    assert "secret" not in json.dumps(read)


def test_how_its_image_is_built_is_kept_as_far_as_a_submission_may_say_it():
    spec = LaunchSpec.parse(ours({**IMAGE, "builder": {"cuda": {"base_image": "nvidia/cuda"}}}))
    assert spec.builder.accelerator == "nvidia/cuda"
    assert LaunchSpec.parse(ours({**IMAGE, "rebuild": True})).rebuild
    with pytest.raises(Invalid) as caught:
        LaunchSpec.parse(ours({**IMAGE, "builder": {"type": "docker", "destination": "x"}}))
    assert {v.path for v in caught.value.violations} == {"builder.type", "builder.destination"}


def test_nulls_and_numbers_in_overrides_are_as_good_as_absent_and_as_text():
    over = {"args": ["--lr", 0.1], "run_config": None, "entry_point": None, "dockerfile": None}
    assert ours({**IMAGE, "overrides": over})["overrides"] == {"args": ["--lr", "0.1"]}


def test_a_mistake_within_is_left_for_the_strict_reader():
    with pytest.raises(Invalid) as caught:
        LaunchSpec.parse(ours({**IMAGE, "overrides": ["no"], "resource_args": [1]}))
    assert {v.path for v in caught.value.violations} == {"overrides", "resource_args"}


def test_an_image_may_be_named_in_the_old_way():
    assert ours({"image_uri": "busybox", "docker": {}})["docker"] == {"docker_image": "busybox"}


def test_values_and_priority_beside_the_spec_count_more():
    spec = {**IMAGE, "priority": 3, "template_variables": {"a": 1, "b": 2}}
    read = ours(spec, values={"b": 5}, priority=0)
    assert (read["priority"], read["template_variables"]) == (0, {"a": 1, "b": 5})


def test_how_often_it_was_resumed_is_told_apart():
    assert wandb_specs.read({**IMAGE, "_resume_count": 2}).resumes == 2
    for wrong in ("2", True, -1):
        with pytest.raises(Invalid):
            wandb_specs.read({**IMAGE, "_resume_count": wrong})
    with pytest.raises(Invalid):
        wandb_specs.read(["no", "mapping"])


def test_an_item_s_spec_is_told_as_the_client_s_agent_reads_it():
    told = wandb_specs.told(RESOLVED, requeues=2, run_key="ryr_x")
    assert told["docker"] == {"docker_image": "busybox"}
    assert told["resource_args"] == {"local-container": {"cpus": 2}}  # what is ours is left out
    assert told["overrides"] == {"args": [], "run_config": {}}
    assert (told["_resume_count"], told["_wandb_api_key"]) == (2, "ryr_x")
    assert told["queue_entity"] == "team"
    assert "sweep_id" not in told
    assert "uri" not in told


def test_what_is_said_of_building_is_told_where_the_client_s_agent_looks():
    queue = {"base_image": "a", "cuda": {"base_image": "b"}, "type": "none", "secrets": {"x": "y"}}
    spec = {**RESOLVED, "resource_args": {"local-container": {"cpus": 2, "builder": queue}}}
    read = {"base_image": "a", "cuda": {"base_image": "b"}}
    assert wandb_specs.told(spec)["resource_args"]["local-container"]["builder"] == read
    own = {"base_image": "c", "platform": "linux/arm64"}
    told = wandb_specs.told({**spec, "builder": own, "rebuild": True})
    assert told["resource_args"]["local-container"] == {"cpus": 2, "builder": own}
    assert LaunchSpec.parse(ours(told)).rebuild  # as its agent queues it again


def test_a_job_is_told_by_its_name_not_by_its_image():
    told = wandb_specs.told({**RESOLVED, "job": "ann/p/j:v0"})
    assert (told["job"], told["docker"]) == ("ann/p/j:v0", {})
    assert "_wandb_api_key" not in told


def test_what_was_told_can_be_pushed_again():
    told = wandb_specs.told(RESOLVED, requeues=1, run_key="ryr_x")
    read = wandb_specs.read({**told, "_resume_count": 2})
    spec = LaunchSpec.parse(read.spec)
    assert (spec.run_id, spec.image, read.resumes) == ("r1", "busybox", 2)
    assert "ryr_x" not in json.dumps(read.spec)


SCHEDULER = {
    "uri": "placeholder-uri-scheduler", "resource": "local-process", "docker": {}, "job": None,
    "overrides": {"entry_point": ["wandb", "scheduler", "s1"], "args": ["--queue", "q"]},
    "run_id": "s1", "name": "Scheduler.s1", "resource_args": {},
}  # fmt: skip


def test_a_scheduler_of_a_sweep_needs_no_job_and_runs_where_its_queue_says():
    spec = LaunchSpec.parse(ours(SCHEDULER))
    assert (spec.scheduler, spec.resource, spec.job, spec.image) == (True, None, None, None)
    told = wandb_specs.told({**RESOLVED, "source": {"kind": "command"}, "uri": SCHEDULER["uri"]})
    assert (told["uri"], told["resource"]) == ("placeholder-uri-scheduler", "local-process")
    assert told["resource_args"] == {"local-process": {}}
    assert told["docker"] == {}


def test_what_calls_itself_a_scheduler_runs_nothing_else():
    for words in (["bash", "-c", "true"], ["wandb"], []):
        with pytest.raises(Invalid):
            LaunchSpec.parse(ours({**SCHEDULER, "overrides": {"entry_point": words}}))
    with pytest.raises(Invalid):
        LaunchSpec.parse({**IMAGE, "uri": "https://github.com/a/b"})


def test_a_queue_s_config_is_under_its_resource():
    there = {"resource_args": {"local-container": {"cpus": 1}}}
    assert wandb_specs.config_of(there, Resource.LOCAL_CONTAINER) == {"cpus": 1}
    assert wandb_specs.config_told(Resource.LOCAL_CONTAINER, {"cpus": 1}) == there
    assert wandb_specs.config_of({}, Resource.SLURM) == {}
    for wrong in ({"cpus": 1}, [], {"resource_args": []}, {"resource_args": {"slurm": {}}},
                  {"resource_args": {"local-container": [1]}}):  # fmt: skip
        with pytest.raises(Invalid):
            wandb_specs.config_of(wrong, Resource.LOCAL_CONTAINER)


def test_schemas_of_variables_are_compact_texts_in_their_author_s_order():
    schema = {"type": "integer", "minimum": 1, "maximum": 4, "default": 1}
    read = parse_variables(wandb_specs.variables_of({"gpus": {"schema": schema}}))
    again = parse_variables({name: v.to_json() for name, v in read.items()})  # as from the store
    (told,) = wandb_specs.variables_told(again)
    assert told["name"] == "gpus"
    assert told["schema"] == '{"type":"integer","minimum":1,"maximum":4,"default":1}'


def test_a_variable_without_a_schema_is_refused_by_name():
    with pytest.raises(Invalid) as caught:
        wandb_specs.variables_of({"gpus": {"type": "integer"}})
    assert "gpus" in str(caught.value.violations[0])
    assert wandb_specs.variables_of(None) == {}


def test_links_come_out_of_their_wrapping():
    assert wandb_specs.links_of({"links": [{"label": "a", "url": "u"}]}) == [
        {"label": "a", "url": "u"}
    ]
    assert wandb_specs.links_of({}) == []
