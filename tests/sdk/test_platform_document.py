"""The document: what may be written, all mistakes at once by line, several files as one."""

from __future__ import annotations

import inspect
from pathlib import Path

import jsonschema
import pytest
import yaml

from runyard.domain.errors import Invalid
from runyard.sdk import platform
from runyard.sdk.platform.document import read_text
from runyard.sdk.platform.things import Key

HEAD = "apiVersion: runyard/v1\n"


def mistakes(text: str) -> dict[str, str]:
    """Return message by place, of a text below the head; its first line is line 2."""
    with pytest.raises(Invalid) as caught:
        read_text(HEAD + inspect.cleandoc(text), "p.yaml")
    return {one.path: one.message for one in caught.value.violations}


def test_all_mistakes_come_at_once_with_file_line_and_path() -> None:
    found = mistakes("""
        teams:
          vision:
            members:
              ada: 7
            queues:
              gpu:
                resource: local-contaner
                polcy: {}
              big:
                resource: local-process
                policy: {max_runing: 3}

              cpu: {}
              "a/b": {resource: local-process}
          Vision: {}
        team: {}
    """)
    assert list(found) == [
        "p.yaml:5: teams.vision.members.ada",
        "p.yaml:9: teams.vision.queues.gpu.polcy",
        "p.yaml:12: teams.vision.queues.big.policy.max_runing",
        "p.yaml:14: teams.vision.queues.cpu.resource",
        "p.yaml:15: teams.vision.queues.a/b",
        "p.yaml:16: teams.Vision",
        "p.yaml:17: team",
    ]
    assert found["p.yaml:9: teams.vision.queues.gpu.polcy"] == "unknown; did you mean policy?"
    assert found["p.yaml:17: team"] == "unknown; did you mean teams?"


def test_the_insides_of_a_queue_are_checked_as_the_server_does() -> None:
    found = mistakes("""
        teams:
          vision:
            queues:
              gpu:
                resource: local-contaner
                config: {gpus: "{{gpu}}"}
                variables:
                  gpus: {type: integer, maximum: 4}
                policy:
                  max_runing: 3
                  retry:
                    - at_most: 0
    """)
    assert {place.partition(": ")[0]: text for place, text in found.items()} == {
        "p.yaml:6": "unknown 'local-contaner'; known are local-process, local-container, "
        "kubernetes, sagemaker, gcp-vertex, slurm",
        "p.yaml:11": "unknown; did you mean max_running?",
        "p.yaml:13": "0 is not from 1 to 100",
        "p.yaml:7": "{{gpu}} is not among the variables; did you mean gpus?",
        "p.yaml:9": "the config has no {{gpus}}",
    }


def test_a_document_says_which_version_it_is() -> None:
    with pytest.raises(Invalid) as caught:
        read_text("teams: {}\n", "p.yaml")
    assert str(caught.value.violations[0]) == "p.yaml:1: apiVersion: must be given"
    with pytest.raises(Invalid, match="1 mistake"):
        read_text("apiVersion: runyard/v2\n")
    with pytest.raises(Invalid):
        read_text("just words\n")


def test_a_section_without_a_value_is_a_mistake_and_not_nothing() -> None:
    # It would be "none of them", and --prune would delete all.
    assert "{} is none" in next(iter(mistakes("teams:\n  vision:\n    queues:").values()))


def test_a_section_is_managed_only_if_it_is_there() -> None:
    read = read_text(HEAD + "teams: {vision: {queues: {}}}\nusers: {ada: }\n")
    assert read.managed == {("queue", "vision")}
    assert list(read.things) == [Key("user", "", "ada"), Key("team", "", "vision")]


def test_files_and_directories_add_up(tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    queue = "{resource: local-process}"
    (many / "a.yaml").write_text(HEAD + f"teams: {{vision: {{queues: {{a: {queue}}}}}}}\n")
    (many / "b.yml").write_text(HEAD + f"teams: {{vision: {{queues: {{b: {queue}}}}}}}\n")
    (many / "README.md").write_text("not one of them")
    one = tmp_path / "one.yaml"
    one.write_text(HEAD + "users: {ada: {}}\n---\n" + HEAD + "users: {bob: {admin: true}}\n")
    read = platform.read_files([many, one])
    assert {key.name for key in read.things} == {"vision", "a", "b", "ada", "bob"}
    assert read.things[Key("queue", "vision", "b")].where == f"{many / 'b.yml'}:2"


def test_the_same_thing_in_two_files_is_a_mistake_of_the_second(tmp_path: Path) -> None:
    text = HEAD + "teams: {vision: {queues: {a: {resource: local-process}}}}\n"
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text(text)
    second.write_text(text)
    with pytest.raises(Invalid) as caught:
        platform.read_files([tmp_path])
    (wrong,) = caught.value.violations
    assert wrong.path == f"{second}:2: teams.vision.queues.a"
    assert wrong.message == f"is given twice; first in {first}:2"


def test_what_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid) as caught:
        platform.read_files([tmp_path / "none", tmp_path / "bad.yaml", tmp_path / "empty"])
    assert [str(one).rpartition(": ")[2] for one in caught.value.violations] == [
        "No such file or directory", "is not a text in UTF-8", "has no *.yaml or *.yml in it",
    ]  # fmt: skip


def test_the_schema_takes_what_is_right_and_refuses_what_is_wrong() -> None:
    schema = platform.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = yaml.safe_load(
        HEAD + "teams: {vision: {members: {ada: admin}, "
        "queues: {q: {resource: local-process, policy: {max_running: 3}}}}}"
    )
    jsonschema.validate(good, schema)
    for wrong in ({"resource": "x", "polcy": {}}, {}, {"resource": "x", "policy": {"x": 1}}):
        bad = {**good, "teams": {"vision": {"queues": {"q": wrong}}}}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
