"""What queues and submissions may say of building, and how the one is laid over the other."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.building import BuildOptions, parse_options, secrets_named
from runyard.domain.configs import faults, template_faults
from runyard.domain.errors import Invalid
from runyard.domain.images import Packages
from runyard.domain.queues import Resource
from runyard.domain.secrets import AgentEnv, KubernetesKey, Stored
from runyard.domain.templates import parse_variables

CUDA = "nvidia/cuda:12.8.1-runtime-ubuntu24.04"
DIGEST = "sha256:" + "a" * 64


def mistakes(given: Any, *, of_queue: bool = True) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        parse_options(given, of_queue=of_queue)
    return {v.path: v.message for v in caught.value.violations}


def test_all_options_of_a_queue_are_read() -> None:
    found = parse_options(
        {
            "type": "none", "base_image": f"python@{DIGEST}", "platform": "linux/arm64",
            "accelerator": {"base_image": CUDA}, "packages": "lenient",
            "secrets": {"pip.conf": "pip", "netrc": {"agent_env": "NETRC"}},
        },
        of_queue=True,
    )  # fmt: skip
    assert found == BuildOptions(
        builds=False,
        base_image=f"python@{DIGEST}",
        accelerator=CUDA,
        platform="linux/arm64",
        packages=Packages.LENIENT,
        secrets={"pip.conf": Stored("pip"), "netrc": AgentEnv("NETRC")},
    )


def test_nothing_said_is_to_build_as_the_agent_does() -> None:
    assert parse_options({}, of_queue=True) == BuildOptions()
    assert parse_options({"accelerator": None, "base_image": ""}, of_queue=False) == BuildOptions()


def test_the_peers_older_key_is_the_same_and_both_at_once_are_a_mistake() -> None:
    assert parse_options({"cuda": {"base_image": CUDA}}, of_queue=True).accelerator == CUDA
    both = {"cuda": {"base_image": "a"}, "accelerator": {"base_image": "b"}}
    assert "give one of them" in mistakes(both)["builder.cuda"]


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes(
        {
            "type": "docker", "base_image": "a b", "cuda": {"base_image": "x#y"}, "platfrm": "x",
            "platform": "windows/amd64", "packages": ["strict"], "secrets": {"a b": "x", "c": 1},
        }
    )  # fmt: skip
    assert set(found) == {
        "builder.type", "builder.base_image", "builder.cuda.base_image", "builder.platfrm",
        "builder.platform", "builder.packages", "builder.secrets.a b", "builder.secrets.c",
    }  # fmt: skip
    assert "the agent's settings say" in found["builder.type"]
    assert "did you mean platform?" in found["builder.platfrm"]


@pytest.mark.parametrize(
    "image",
    ["a b", "a#b", "a\n", "A/b", "http://x/y", "x@sha256:1", f"x@md5:{'a' * 64}", "x:", ":x",
     "$(x)", "${HOME}", "a:b:c/d", 7, ["x"]],
)  # fmt: skip
def test_a_base_image_is_the_name_of_one(image: Any) -> None:
    assert set(mistakes({"base_image": image})) == {"builder.base_image"}
    accelerator = {"accelerator": {"base_image": image}}
    assert set(mistakes(accelerator, of_queue=False)) == {"builder.accelerator.base_image"}


@pytest.mark.parametrize("given", ["docker", ["x"], 1, True])
def test_a_block_is_a_mapping(given: Any) -> None:
    assert set(mistakes(given)) == {"builder"}
    assert set(mistakes({"accelerator": given})) == {"builder.accelerator"}


@pytest.mark.parametrize("given", [{"secrets": {"netrc": "n"}}, {"secrets": {}}])
def test_T14_a_submission_names_no_secrets(given: Any) -> None:
    assert "only a queue's own" in mistakes(given, of_queue=False)["builder.secrets"]


@pytest.mark.parametrize("name", ["none", "docker", "", None])
def test_a_submission_chooses_no_builder(name: Any) -> None:
    assert "not a submission's" in mistakes({"type": name}, of_queue=False)["builder.type"]


@pytest.mark.parametrize("key", ["destination", "kaniko-image", "build-context-store"])
@pytest.mark.parametrize("of_queue", [True, False])
def test_what_is_the_agents_to_say_nobody_else_may(key: str, of_queue: bool) -> None:
    assert "agent's to say" in mistakes({key: "x"}, of_queue=of_queue)[f"builder.{key}"]


def test_a_kubernetes_secret_is_for_a_kubernetes_queue() -> None:
    given = {"secrets": {"netrc": {"kubernetes": {"name": "a", "key": "b"}}}}
    found = parse_options(given, of_queue=True, kubernetes=True)
    assert found.secrets == {"netrc": KubernetesKey("a", "b")}
    assert set(mistakes(given)) == {"builder.secrets.netrc"}


def test_a_submission_is_laid_over_its_queue_option_by_option() -> None:
    queue = BuildOptions(
        builds=False, accelerator="a", platform="linux/arm64", secrets={"x": Stored("y")}
    )
    assert BuildOptions().over(queue) == queue
    own = BuildOptions(base_image="b", packages=Packages.LENIENT).over(queue)
    assert (own.base_image, own.accelerator) == ("b", "")  # of either kind, it is the image
    assert (own.builds, own.platform, own.secrets) == (False, "linux/arm64", queue.secrets)
    assert own.packages is Packages.LENIENT
    assert BuildOptions(accelerator="b").over(BuildOptions(base_image="a")).base_image == ""


def test_what_a_submission_says_is_told_in_one_spelling() -> None:
    said = {"cuda": {"base_image": CUDA}, "platform": "linux/amd64", "packages": "strict"}
    told = parse_options(said, of_queue=False).to_json()
    assert told == {"accelerator": said.pop("cuda"), **said}
    assert parse_options(told, of_queue=False).to_json() == told
    assert BuildOptions().to_json() == {}


def test_every_secret_of_a_configuration_is_told_with_its_place() -> None:
    config = {"secrets": {"A": "a"}, "builder": {"secrets": {"pip.conf": "b"}, "type": "odd"}}
    assert secrets_named(config) == {
        "secrets.A": Stored("a"),
        "builder.secrets.pip.conf": Stored("b"),
    }
    assert secrets_named({"builder": "odd"}) == {}  # a queue that was let through leniently


@pytest.mark.parametrize("resource", [Resource.LOCAL_CONTAINER, Resource.LOCAL_PROCESS])
def test_a_queues_block_is_checked_with_all_else(resource: Resource) -> None:
    found = faults(resource, {"builder": {"base_image": "a b", "x": 1}, "no-such": 1})
    assert {v.path for v in found} == {"builder.base_image", "builder.x", "no-such"}
    assert not faults(resource, {"builder": {"cuda": {"base_image": CUDA}}})


def test_a_template_is_tried_with_the_values_that_it_allows() -> None:
    config = {"builder": {"accelerator": {"base_image": "{{image}}"}}}
    variables = parse_variables({"image": {"type": "string", "enum": [CUDA, "not one"]}})
    (found,) = template_faults(Resource.LOCAL_CONTAINER, config, variables)
    assert found.path == "builder.accelerator.base_image"
    assert "(with image = 'not one')" in found.message
