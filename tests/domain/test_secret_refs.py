"""References to secrets: what may name what, and what is said when it may not."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.errors import Invalid, Rejected
from runyard.domain.jobs import Source, SourceKind
from runyard.domain.secrets import (
    MAX_BYTES,
    AgentEnv,
    KubernetesKey,
    Stored,
    check_name,
    check_value,
    merged,
    of_spec,
    parse_refs,
    resolved,
    split,
    submission_faults,
)

KUBERNETES = {"kubernetes": {"name": "hf", "key": "token"}}


def test_a_queue_names_what_its_jobs_get() -> None:
    refs, rest = split({"gpus": 1, "secrets": {"HF_TOKEN": "hf-token", "A": {"agent_env": "B"}}})
    assert refs == {"HF_TOKEN": Stored("hf-token"), "A": AgentEnv("B")}
    assert rest == {"gpus": 1}
    assert split({"gpus": 1}) == ({}, {"gpus": 1})


def test_a_kubernetes_secret_needs_a_kubernetes_queue() -> None:
    assert parse_refs({"A": KUBERNETES}, kubernetes=True) == {"A": KubernetesKey("hf", "token")}
    with pytest.raises(Invalid) as caught:
        parse_refs({"A": KUBERNETES})
    assert "kubernetes queue" in str(caught.value.violations[0])


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("A B", "x"), ("1A", "x"), ("", "x"), ("A=", "x"), ("A" * 129, "x"),
        ("\u00c4", "x"), ("A\n", "x"),
        ("PATH", "x"), ("path", "x"), ("LD_PRELOAD", "x"), ("LD_LIBRARY_PATH", "x"),
        ("DYLD_INSERT_LIBRARIES", "x"), ("PYTHONPATH", "x"), ("BASH_ENV", "x"), ("IFS", "x"),
        ("WANDB_API_KEY", "x"), ("wandb_api_key", "x"), ("RUNYARD_API_KEY", "x"),
        ("A", ""), ("A", "../x"), ("A", "-x"), ("A", "a b"), ("A", "x\n"),
        ("A", 1), ("A", None), ("A", ["x"]),
        ("A", {"agent_env": "B C"}), ("A", {"agent_env": 1}), ("A", {"agent_env": "B", "x": 1}),
        ("A", {"value": "s3cret"}), ("A", {}), ("A", {"kubernetes": {"name": "a"}}),
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(variable: str, value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        parse_refs({variable: value}, kubernetes=True)
    assert len(caught.value.violations) == 1


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        parse_refs({"A B": "x", "PATH": "x", "C": 1, "D": "fine"})
    assert [v.path for v in caught.value.violations] == ["secrets.A B", "secrets.PATH", "secrets.C"]
    with pytest.raises(Invalid):
        parse_refs({f"A{n}": "x" for n in range(65)})
    with pytest.raises(Invalid):
        parse_refs(["A"])


@pytest.mark.parametrize("key", ["secrets", "SECRETS", "--secrets", " secrets", "Secrets_"])
def test_T14_a_submission_names_no_secret_in_any_spelling(key: str) -> None:
    (fault,) = submission_faults({"local-container": {key: {"A": "x"}, "gpus": 1}})
    assert fault.path.startswith("resource_args.local-container.")
    assert submission_faults({"local-container": {"gpus": 1}}) == []


def test_a_job_names_secrets_of_the_store_alone() -> None:
    source = Source.from_json({"kind": "image", "image": "i", "secrets": {"A": "x"}})
    assert source.secrets == {"A": "x"}
    assert source.to_json()["secrets"] == {"A": "x"}
    with pytest.raises(Invalid) as caught:
        Source.from_json({"kind": "image", "image": "i", "secrets": {"A": {"agent_env": "B"}}})
    assert [v.path for v in caught.value.violations] == ["source.secrets.A"]


def test_a_job_without_secrets_is_written_as_before_there_were_any() -> None:
    assert Source(SourceKind.IMAGE, image="i").to_json() == {"kind": "image", "image": "i"}


def test_the_queue_has_the_last_word_and_each_secret_its_owner() -> None:
    refs = parse_refs({"A": "of-queue", "B": {"agent_env": "HOST"}})
    item = merged(refs, {"A": "of-job", "C": "of-job"}, queue_entity="team", run_entity="ada")
    assert item == {
        "A": {"entity": "team", "name": "of-queue"},
        "C": {"entity": "ada", "name": "of-job", "by_job": True},
        "B": {"agent_env": "HOST"},
    }
    assert of_spec({"secrets": item}) == {
        "A": Stored("of-queue", "team"), "C": Stored("of-job", "ada", by_job=True),
        "B": AgentEnv("HOST"),
    }  # fmt: skip
    assert of_spec({}) == {}


def test_an_agent_finds_what_its_settings_allow_and_the_server_gave() -> None:
    refs = {"A": Stored("a"), "B": AgentEnv("HOST")}
    assert resolved(refs, {"A": "1"}, {"HOST": "2"}, {"HOST"}) == {"A": "1", "B": "2"}
    assert resolved(refs, None, {"HOST": "2"}, {"HOST"}) == {"B": "2"}  # before the claim


@pytest.mark.parametrize(
    ("refs", "words"),
    [
        ({"B": AgentEnv("AGENT_KEY")}, "env_passthrough"),
        ({"B": AgentEnv("ABSENT")}, "has no ABSENT"),
        ({"B": Stored("b")}, "did not hand out"),
        ({"B": KubernetesKey("a", "b")}, "kubernetes queue"),
    ],
)
def test_T14_nothing_starts_without_a_secret_that_it_needs(refs: Any, words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        resolved(refs, {}, {"AGENT_KEY": "s3cret"}, {"ABSENT"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["", "a\0b", "x" * (MAX_BYTES + 1), "\u00e4" * (MAX_BYTES // 2 + 1), "\ud800"]
)
def test_a_value_that_no_program_could_get_is_refused_unquoted(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_value(value)
    assert "xxx" not in str(caught.value)


def test_a_value_may_be_as_long_as_is_said() -> None:
    assert check_value("x" * MAX_BYTES)
    assert check_value("-----BEGIN KEY-----\n\u00e4\n")


@pytest.mark.parametrize("name", ["", "a b", "..", ".a", "-a", "a/b", "a" * 129, "a\n"])
def test_a_name_is_simple(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name)
