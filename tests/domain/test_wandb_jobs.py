"""Jobs in the tracking client's words, read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runyard.domain import wandb_jobs
from runyard.domain.errors import Invalid
from runyard.domain.inputs import check_inputs
from runyard.domain.jobs import Source, SourceKind

ARCHIVE = "sha256:" + "a" * 64
COMMIT = "b" * 40
GIT = {"remote": "https://example.org/x.git", "commit": COMMIT}


def told(kind: str, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"_version": "v0", "source_type": kind, "source": source, "runtime": "3.11.4", **more}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (told("image", {"image": "busybox:1"}), Source(SourceKind.IMAGE, image="busybox:1")),
        (
            told("image", {"image": "x", "entrypoint": ["a", "b c"]}, services={"s": "never"}),
            Source(SourceKind.IMAGE, image="x", entry_point=("a", "b c"), services={"s": "never"}),
        ),
        (
            told("repo", {"git": GIT, "entrypoint": ["python", "t.py"], "dockerfile": "D"}),
            Source(
                SourceKind.GIT, remote=GIT["remote"], commit=COMMIT, runtime="3.11",
                entry_point=("python", "t.py"), dockerfile="D",
            ),
        ),
        (
            told("artifact", {"artifact": "wandb-artifact://_id/QQ==", "entrypoint": ["t.sh"]}),
            Source(SourceKind.CODE, archive=ARCHIVE, runtime="3.11", entry_point=("t.sh",)),
        ),
    ],
)  # fmt: skip
def test_a_source_is_read_and_written(given: dict[str, Any], expected: Source) -> None:
    assert wandb_jobs.source_of(given, archive=ARCHIVE) == expected
    again = wandb_jobs.tell(expected, "QQ==")
    assert wandb_jobs.source_of(again, archive=ARCHIVE) == expected
    assert again["source_type"] == given["source_type"]


def test_the_python_of_a_run_is_a_program() -> None:
    made = told("image", {"image": "x", "entrypoint": ["pythonCPython 3.11", "train.py"]})
    assert wandb_jobs.source_of(made).entry_point == ("python", "train.py")


@pytest.mark.parametrize(
    "given",
    [
        told("image", {"image": "-v"}),
        told("image", {}),
        told("repo", {"git": {"remote": "file:///etc", "commit": COMMIT}}),
        told("repo", {"git": {"remote": "ext::sh -c x", "commit": COMMIT}}),
        told("repo", {"git": {**GIT, "commit": "main"}}),
        told("repo", {"git": "x"}),
        told("repo", {"git": GIT, "entrypoint": ["python", "../t.py"]}),
        told("repo", {"git": GIT, "dockerfile": "../D"}),
        told("repo", {"git": GIT, "entrypoint": [1]}),
        told("image", {"image": "x"}, services=["s"]),
        told("spell", {}),
    ],
)
def test_what_cannot_be_a_job_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        wandb_jobs.source_of(given)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"source": []}', b"[" * 100_000])
def test_a_file_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid):
        wandb_jobs.read(text)


def test_code_is_named_by_an_id_only() -> None:
    by_id = told("artifact", {"artifact": "wandb-artifact://_id/QQ=="})
    assert wandb_jobs.code_of(by_id) == "QQ=="
    assert wandb_jobs.code_of(told("image", {"image": "x"})) is None
    for address in ("wandb-artifact://a/b/c:v0", "s3://x", None, 1):
        with pytest.raises(Invalid):
            wandb_jobs.code_of(told("artifact", {"artifact": address}))


def test_types_of_a_run_become_schemas_where_they_are_certain() -> None:
    def typed(kind: str, **params: Any) -> dict[str, Any]:
        return {"wb_type": kind, **({"params": params} if params else {})}

    types = typed("typedDict", type_map={
        "lr": typed("number"), "name": typed("string"), "on": typed("boolean"),
        "none": typed("none"), "any": typed("union", allowed_types=[]), "odd": 5,
        "layers": typed("list", element_type=typed("number"), length=2),
        "deep": typed("typedDict", type_map={"x": typed("number")}),
    })  # fmt: skip
    found = wandb_jobs.schemas_of({"input_types": types}, {})
    assert found["@wandb.config"]["properties"] == {
        "lr": {"type": "number"}, "name": {"type": "string"}, "on": {"type": "boolean"},
        "none": {}, "any": {}, "odd": {},
        "layers": {"type": "array", "items": {"type": "number"}},
        "deep": {"type": "object", "properties": {"x": {"type": "number"}}},
    }  # fmt: skip
    check_inputs(found)
    own = {"@wandb.config": {"type": "object"}}
    assert wandb_jobs.schemas_of({"input_types": types}, {"input_schemas": own}) == own
    for empty in (typed("typedDict", type_map={}), None, {}, typed("invalid")):
        assert wandb_jobs.schemas_of({"input_types": empty}, {}) == {}
    assert json.dumps(found)
