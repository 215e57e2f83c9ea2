from typing import Any

import pytest

from runyard.agent.rendering import Draft, Grants, NeedsBuilder, completed, draft
from runyard.domain.errors import Rejected
from runyard.drivers.base import Capabilities
from runyard.wire.agent import Held
from tests.agent.double import spec

PROCESS = Capabilities(needs_image=False, takes_gpus=True)
CONTAINER = Capabilities(needs_image=True, takes_gpus=True)
CODE = {"kind": "code", "archive": f"sha256:{'0' * 64}"}


def drafted(
    capabilities: Capabilities = PROCESS, *, allowed: tuple[str, ...] = (), **changes: Any
) -> Draft:
    held = Held(item_id="i1", token="t", key="ry-i1-1", attempt=1, requeues=0, spec=spec(**changes))
    environment = {"SCRATCH": "/scratch", "WANDB_API_KEY": "agents-own", "run_id": "shadow"}
    return draft(held, capabilities, Grants(environment, allowed), base_url="http://s")


def test_the_submissions_entry_point_replaces_the_jobs_and_its_args_are_the_args() -> None:
    source = {**CODE, "entry_point": ["python", "a.py"]}
    over = {"entry_point": None, "args": ["--lr", "0.1"]}
    made = drafted(source=source, overrides=over).workload
    assert (made.entry_point, made.args) == (("python", "a.py"), ("--lr", "0.1"))

    made = drafted(source=source, overrides={**over, "entry_point": ["sh"]}).workload
    assert (made.entry_point, made.args) == (("sh",), ("--lr", "0.1"))


def test_code_without_a_command_is_refused_with_the_flag_that_gives_one() -> None:
    with pytest.raises(Rejected) as caught:
        drafted(source=CODE, overrides={"entry_point": None})
    assert "runyard launch -E" in caught.value.hint


def test_an_image_keeps_its_own_entry_point() -> None:
    source = {"kind": "image", "image": "busybox"}
    over = {"entry_point": None, "args": ["x"]}
    made = drafted(CONTAINER, source=source, overrides=over)
    assert (made.workload.image, made.workload.entry_point) == ("busybox", ())
    assert (made.workload.env["WANDB_DOCKER"], made.installs) == ("busybox", False)


def test_macros_are_filled_and_cannot_be_shadowed_by_the_environment() -> None:
    config = {"env": ["A=${run_id}/${run_name}/${entity_name}/${unknown}"]}
    made = drafted(config=config).workload
    assert made.config["env"] == ["A=run-i1/run-i1/ann/${unknown}"]


def test_a_macro_reads_the_agents_environment_only_where_its_settings_allow_it() -> None:
    config = {"env": ["A=${SCRATCH}"]}
    assert drafted(config=config, allowed=("SCRATCH",)).workload.config["env"] == ["A=/scratch"]
    with pytest.raises(Rejected, match="SCRATCH"):
        drafted(config=config)
    with pytest.raises(Rejected, match="WANDB_API_KEY"):
        drafted(config={"env": ["A=${WANDB_API_KEY}"]}, allowed=("SCRATCH",))


def test_code_runs_in_the_jobs_base_image_else_the_queues_else_in_a_bare_python() -> None:
    builder = {"builder": {"base_image": "queue:1"}}
    job = {**CODE, "base_image": "job:1"}
    assert drafted(CONTAINER, source=job, config=builder).workload.image == "job:1"
    queue = drafted(CONTAINER, source=CODE, config=builder)
    assert (queue.workload.image, queue.workload.config, queue.installs) == ("queue:1", {}, False)
    bare = drafted(CONTAINER, source=CODE)
    assert (bare.workload.image, bare.installs) == ("python:3.11-slim", True)
    chosen = drafted(CONTAINER, source={**CODE, "runtime": "3.12"})
    assert chosen.workload.image == "python:3.12-slim"


def test_T7_a_bare_image_installs_requirements_by_a_fixed_script_that_no_word_of_a_job_enters() -> (
    None
):
    words = ["python", "a.py; $(id)"]
    bare = drafted(CONTAINER, source=CODE, overrides={"entry_point": words, "args": ["`id`"]})
    made = completed(bare, directory="/d", requirements="sub/requirements.txt")

    shell, flag, script, place, *rest = made.entry_point
    assert (shell, flag, place) == ("/bin/sh", "-c", "/mnt/wandb/sub/requirements.txt")
    assert rest == words
    assert made.args == ("`id`",)
    assert "id" not in script.replace("pip", "")

    assert completed(bare, directory="/d").entry_point == tuple(words)
    given = drafted(CONTAINER, source={**CODE, "base_image": "job:1"})
    assert completed(given, requirements="requirements.txt").entry_point == ("true",)


@pytest.mark.parametrize("where", ["job", "submission"])
def test_a_dockerfile_is_refused_until_there_is_a_builder(where: str) -> None:
    source = {**CODE, "dockerfile": "Dockerfile"} if where == "job" else CODE
    over = {"dockerfile": "Dockerfile"} if where == "submission" else {}
    with pytest.raises(NeedsBuilder, match="Dockerfile"):
        drafted(CONTAINER, source=source, overrides=over)


def test_T14_the_runs_token_is_a_secret_and_in_no_other_field() -> None:
    made = completed(drafted(), run_token="ryr_token", env={"PATH": "/venv/bin"})
    assert made.secrets == {"WANDB_API_KEY": "ryr_token"}
    assert made.env["PATH"] == "/venv/bin"
    assert "ryr_token" not in repr(made)


def test_code_starts_in_its_build_context_unless_the_submission_says_where() -> None:
    source = {**CODE, "build_context": "sub"}
    assert drafted(source=source).workload.working_dir == "sub"
    over = {"working_dir": "other"}
    assert drafted(source=source, overrides=over).workload.working_dir == "other"


@pytest.mark.parametrize(
    ("config", "wanted"), [({}, 0), ({"gpus": "all"}, "all"), ({"gpus": 2}, 2)]
)
def test_gpus_are_asked_for_in_the_queues_configuration(config: Any, wanted: Any) -> None:
    assert drafted(config=config).gpus == wanted


def test_a_source_of_a_later_version_is_refused_with_its_fields() -> None:
    with pytest.raises(Rejected) as caught:
        drafted(source={**CODE, "sparse": True})
    assert "source.sparse" in caught.value.message
    assert "update this agent" in caught.value.hint
