from dataclasses import replace
from typing import Any

import pytest

from runyard.agent.build_settings import BuilderSettings
from runyard.agent.planning import Builds, Wish
from runyard.agent.rendering import Draft, Grants, Image, completed, draft
from runyard.builders.none import NeedsBuilder
from runyard.domain.errors import Rejected
from runyard.domain.images import BaseImage, Packages, Plan
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


# -- images that are built -----------------------------------------------------------------

SETTINGS = BuilderSettings(destination="registry.example.com/ml/jobs")
COMMIT = {"kind": "git", "remote": "https://git.example/r", "commit": "c" * 40}


def built(
    *, settings: BuilderSettings = SETTINGS, by: str = "docker", image: Image | None = None,
    images: list[str] = [], **changes: Any,  # noqa: B006
) -> Draft:  # fmt: skip
    held = Held(
        item_id="i1", token="t", key="ry-i1-1", attempt=1, requeues=0,
        spec=spec(**{"resource": "local-container", **changes}), images=images,
    )  # fmt: skip
    return draft(
        held, CONTAINER, Grants({}), base_url="http://s", builds=Builds(settings, by), image=image
    )


def wished(**changes: Any) -> Wish:
    wish = built(**changes).wish
    assert wish is not None
    return wish


@pytest.mark.parametrize("source", [CODE, COMMIT])
def test_code_and_commits_are_built_where_there_is_a_builder(source: dict[str, Any]) -> None:
    made = built(source=source)
    assert made.wish is not None
    assert made.workload.image == "registry.example.com/ml/jobs"  # until there is one
    assert not made.installs


@pytest.mark.parametrize(
    ("changes", "image"),
    [
        ({"source": {"kind": "image", "image": "busybox"}}, "busybox"),
        ({"source": {"kind": "command"}}, "python:3.11-slim"),
        ({"source": CODE, "by": ""}, "python:3.11-slim"),
        ({"source": CODE, "config": {"builder": {"type": "noop"}}}, "python:3.11-slim"),
        ({"source": CODE, "by": "", "settings": BuilderSettings(base_image="own:1")}, "own:1"),
    ],
)
def test_nothing_else_is_built(changes: dict[str, Any], image: str) -> None:
    made = built(**changes)
    assert (made.wish, made.workload.image) == (None, image)
    assert made.installs == (changes["source"]["kind"] != "image")


def test_images_that_stay_with_an_engine_are_built_only_for_jobs_of_its_host() -> None:
    far = replace(CONTAINER, host_bound=False)
    held = Held(
        item_id="i1", token="t", key="ry-i1-1", attempt=1, requeues=0, spec=spec(source=CODE)
    )
    made = draft(
        held, far, Grants({}), base_url="http://s", builds=Builds(BuilderSettings(), "docker")
    )
    assert made.wish is None
    assert wished(settings=BuilderSettings(), source=CODE).plan.team == "ann"


def test_the_base_image_is_the_first_that_is_said() -> None:
    job = {**CODE, "base_image": "job:1", "runtime": "3.12"}
    of_agent = BuilderSettings(
        destination="r.example/j", base_image="agent:1",
        accelerator={"base_image": "agent-gpu:1"},  # type: ignore[arg-type]
    )  # fmt: skip
    queue = {"base_image": "queue:1", "accelerator": {"base_image": "queue-gpu:1"}}

    def base(**changes: Any) -> tuple[str, bool]:
        plan = wished(settings=of_agent, **changes).plan
        return plan.base.name, plan.accelerator

    own = {"builder": {"accelerator": {"base_image": "mine-gpu:1"}}}
    with_queue = {"config": {"builder": queue}}
    assert base(source=job, **with_queue, **own) == ("mine-gpu:1", True)
    assert base(source=CODE, **with_queue, builder={"base_image": "mine:1"}) == ("mine:1", False)
    assert base(source=job, **with_queue) == ("queue-gpu:1", True)
    assert base(source=job, config={"builder": {"base_image": "queue:1"}}) == ("job:1", False)
    assert base(source=job, builder={"base_image": "mine:1"}) == ("mine:1", False)
    assert base(source=CODE, config={"builder": {"base_image": "queue:1"}}) == ("queue:1", False)
    assert base(source=CODE, config={"gpus": 1}) == ("agent-gpu:1", True)
    assert base(source=CODE) == ("agent:1", False)
    assert wished(source=job).plan.base.name == "job:1"
    assert wished(source={**CODE, "runtime": "3.12"}).plan.base.name == "python:3.12-slim"


def test_what_decides_the_image_is_in_its_plan() -> None:
    source = {**COMMIT, "patch": f"sha256:{'1' * 64}", "build_context": "sub", "runtime": "3.11"}
    wish = wished(
        source=source,
        overrides={"entry_point": ["python", "a.ipynb"]},
        settings=BuilderSettings(platform="linux/arm64", packages="lenient", user_id=0,
                                 secrets={"netrc": {"env": "NETRC"}}),  # type: ignore[dict-item]
        build_secrets={"pip.conf": {"entity": "ann", "name": "pip"}},
        rebuild=True,
    )  # fmt: skip
    assert wish.rebuild
    assert wish.plan == Plan(
        team="ann",
        source=f"https://git.example/r {'c' * 40} sha256:{'1' * 64}",
        base=BaseImage("python:3.11-slim"),
        entry_point=("python", "a.ipynb"),
        notebooks=("sub/a.ipynb",),
        build_context="sub",
        python="3.11",
        platform="linux/arm64",
        uid=0,
        packages=Packages.LENIENT,
        secrets=("netrc", "pip.conf"),
    )


def test_a_submissions_platform_and_packages_are_laid_over_the_queues() -> None:
    queue = {"builder": {"platform": "linux/amd64", "packages": "lenient"}}
    plan = wished(source=CODE, config=queue, builder={"platform": "linux/arm64"}).plan
    assert (plan.platform, plan.packages) == ("linux/arm64", Packages.LENIENT)


@pytest.mark.parametrize(
    "changes",
    [
        {"builder": {"type": "none"}},
        {"builder": {"secrets": {"A": "a"}}},
        {"config": {"builder": {"type": "none"}}, "laid_over": {"builder": {"type": "none"}}},
    ],
)
def test_T9_what_only_a_queue_may_say_is_refused_from_a_submission(changes: Any) -> None:
    with pytest.raises(Rejected, match=r"only a queue's own|not a submission's to say"):
        built(source=CODE, **changes)


def test_the_queues_list_is_for_base_images_and_not_for_what_is_built_upon_them() -> None:
    allowed = ["python:3.*-slim"]
    assert wished(source=CODE, images=allowed).images == ("python:3.*-slim",)
    with pytest.raises(Rejected, match="'job:1' is not on the queue's list"):
        built(source={**CODE, "base_image": "job:1"}, images=allowed)
    own = {**CODE, "dockerfile": "Dockerfile"}  # its images are known once it was read
    assert wished(source=own, images=allowed).plan.base.name == ""


def test_the_jobs_variables_and_settings_name_the_image_that_was_built() -> None:
    config = {"env": ["IMAGE=${image_uri}"]}
    run = f"registry.example.com/ml/jobs@sha256:{'a' * 64}"
    made = built(source=CODE, config=config, image=Image(run)).workload
    assert (made.image, made.env["WANDB_DOCKER"]) == (run, run)
    assert made.config["env"] == [f"IMAGE={run}"]


def test_a_rendered_image_has_the_code_at_home_and_starts_as_a_mounted_one_would() -> None:
    source = {**CODE, "build_context": "sub"}
    image = Image("x@sha256:1")
    assert built(source=source, image=image).workload.working_dir == "home/runyard/sub"
    over = {"working_dir": "other"}
    assert built(source=source, overrides=over, image=image).workload.working_dir == (
        "home/runyard/other"
    )


def test_an_own_dockerfile_may_say_the_command_and_the_directory() -> None:
    over = {"dockerfile": "Dockerfile", "entry_point": None}
    assert built(source=CODE, overrides=over).workload.entry_point == ()
    own = Image("x@sha256:1", home="")
    made = built(source=CODE, overrides=over, image=own).workload
    assert (made.entry_point, made.working_dir) == ((), "")

    beside = Image("x@sha256:1", home="", entry_point=("python", "a.py"))
    over = {"entry_point": ["python", "sub/a.py"], "working_dir": "srv"}
    made = built(source=CODE, overrides=over, image=beside).workload
    assert (made.entry_point, made.working_dir) == (("python", "a.py"), "srv")


def test_T14_a_builds_secrets_never_reach_the_workload() -> None:
    refs = {"pip.conf": {"entity": "ann", "name": "pip"}}
    made = built(source=CODE, build_secrets=refs, image=Image("x"))
    workload = completed(made, given={"build:pip.conf": "s3cret"}, run_token="t")
    assert workload.secrets == {"WANDB_API_KEY": "t"}
