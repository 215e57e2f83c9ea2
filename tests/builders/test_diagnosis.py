"""
What failed builds printed, and what is said of them.

The files in `output` were printed by real builders (BuildKit and the legacy builder of docker
20.10, buildah 1.28) with real pip, uv and apt; lines of downloads are left out, long ones are cut.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from runyard.builders.base import BuildFailed
from runyard.builders.diagnosis import explain, explain_push
from runyard.builders.transcript import Transcript
from runyard.domain.errors import HostFault, RunyardError, Unavailable

OUTPUT = Path(__file__).with_name("output")
CAUSES = {
    "apt": "apt has no package runyard-no-such-package",
    "base": "the base image 127.0.0.1:5000/nosuch:1 is not there, or may not be pulled",
    "copy": "COPY of requirements.txt, which is not in the build's context",
    "disk": "the disk is full",
    "gcc": "a package has to be compiled, and gcc is missing or fails",
    "instr": "the Dockerfile cannot be read: unknown instruction: FOO",
    "oom": "the step was killed: most likely the builder's host is out of memory",
    "own": "RUN echo before; ./train.sh --x ended with exit code 127",
    "pip-conflict": "the required packages contradict each other",
    "pip-dns": "the package index at index.invalid cannot be reached: its name is not known",
    "pip-nosuch": "no such package, or no such version of it: runyard-no-such-package-x",
    "pip-nover": "no such package, or no such version of it: idna==99.1",
    "pip-python": "numba==0.53.1 does not run on this Python: it wants >=3.6,<3.10",
    "pip-refused": "the package index at 127.0.0.1 cannot be reached: it refuses connections",
    "pip-reqpython": "needsnew does not run on this Python: it wants >=3.99",
    "pip-tls": "the package index at a.test cannot be trusted: its certificate is not accepted",
    "secret": "the build's secret 'token' was not given",
    "secret-opt": "the build's secret 'token' was not given",
    "uv-conflict": "the required packages contradict each other",
    "uv-dns": "the package index at index.invalid cannot be reached: its name is not known",
    "uv-gcc": "a package has to be compiled, and gcc is missing or fails",
    "uv-nosuch": "no such package: runyard-no-such-package-x",
    "uv-nover": "no such version of a package: idna==99.1",
    "uv-python": "needsnew==1 does not run on this Python: it wants >=3.99",
    "uv-python3": "scipy==1.18.0 does not run on this Python: it wants >=3.12",
    "uv-refused": "the package index at 127.0.0.1 cannot be reached: it refuses connections",
}
OTHERWISE = {
    "base.buildah": "the base image 127.0.0.1:5000/nosuch is not there, or may not be pulled",
    "instr.buildah": 'the Dockerfile cannot be read: Unknown instruction: "FOO"',
    "secret.legacy": "RUN --mount needs BuildKit, and this agent's docker has only the legacy "
    "builder",
}
STEPS = {
    "apt": "RUN apt-get update -q && apt-get install -yq runyard-no-such-package",
    "copy": "COPY requirements.txt /r",
    "own": "RUN echo before; ./train.sh --x",
    "pip-nosuch": "RUN pip install --no-cache-dir runyard-no-such-package-x",
    "pip-refused": "RUN pip install --no-cache-dir --retries 1 "
    "--index-url http://127.0.0.1:1/simple idna",
}


def told(text: str, code: int = 1) -> RunyardError:
    transcript = Transcript()
    for at in range(0, len(text), 7):  # as it comes: in pieces that end anywhere
        transcript.feed(text[at : at + 7])
    return explain(transcript, code)


@pytest.mark.parametrize("name", sorted(path.stem for path in OUTPUT.glob("*.txt")))
def test_a_failure_is_told_in_one_line(name: str) -> None:
    case = name.partition(".")[0]
    error = told((OUTPUT / f"{name}.txt").read_text())
    if case == "away":
        assert type(error) is Unavailable
        assert "registry.invalid" in error.message
        return
    assert isinstance(error, BuildFailed)
    assert error.message == OTHERWISE.get(name, CAUSES[case])
    assert error.hint
    assert "user:pw" not in error.message + error.step
    assert error.step == STEPS.get(case, error.step)


def test_a_failed_step_shows_the_end_of_its_own_output() -> None:
    error = told((OUTPUT / "own.buildkit.txt").read_text())
    assert isinstance(error, BuildFailed)
    assert error.lines.splitlines()[0] == "before"
    assert "one" not in error.lines.splitlines()
    text = "Step 1/1 : RUN x\n" + "".join(f"line {n}\n" for n in range(10_000))
    error = told(text + "The command '/bin/sh -c x' returned a non-zero code: 9\n")
    assert isinstance(error, BuildFailed)
    assert error.message == "RUN x ended with exit code 9"
    assert error.lines.splitlines()[-2] == "line 9999"
    assert len(error.lines.splitlines()) == 30


def test_of_steps_at_one_time_the_failed_one_is_named() -> None:
    error = told(
        "#5 [a 2/2] RUN one\n#6 [b 2/2] RUN two\n#5 0.1 of one\n#6 0.1 of two\n"
        "#6 ERROR: process \"/bin/sh -c two\" did not complete successfully: exit code: 4\n"
        "#5 0.2 more of one\n#5 CANCELED\n"
        "ERROR: failed to solve: process \"/bin/sh -c two\" did not complete successfully: "
        "exit code: 4\n"
    )  # fmt: skip
    assert isinstance(error, BuildFailed)
    assert error.step == "RUN two"
    assert error.message == "RUN two ended with exit code 4"
    assert "of two" in error.lines
    assert "of one" not in error.lines


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Cannot connect to the Docker daemon at unix:///x. Is it running?\n", Unavailable),
        (
            "#7 exporting layers\nfailed to copy files: copy file range failed: "
            "no space left on device\n",
            HostFault,
        ),
        (
            "Step 2/2 : COPY a /a\nerror processing tar file(exit status 1): write /a: "
            "no space left on device\n",
            HostFault,
        ),
        ("write /var/lib/docker/tmp/x: no space left on device\n", HostFault),
        ("error during connect: Post \"http://x/build\": EOF\n", Unavailable),
    ],
)  # fmt: skip
def test_what_is_not_the_jobs_fault_is_told_apart(text: str, kind: type[RunyardError]) -> None:
    assert type(told(text)) is kind


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("denied: requested access to the resource is denied", BuildFailed),
        ("unauthorized: authentication required", BuildFailed),
        ('Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
         Unavailable),
        ('Get "https://r:5000/v2/": http: server gave HTTP response to HTTPS client', BuildFailed),
        ("received unexpected HTTP status: 503 Service Unavailable", Unavailable),
        ("writing blob: storing blob to file: no space left on device", HostFault),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_pushed(words: str, kind: type[RunyardError]) -> None:
    error = explain_push("r:5000/x:1", words)
    assert type(error) is kind
    if kind is BuildFailed:
        assert words in error.message
        assert error.hint


def test_nothing_known_is_told_in_the_builders_last_words() -> None:
    error = told("something\nwent wrong at https://me:word@host/x\n")
    assert type(error) is BuildFailed
    assert error.message == "the build failed: went wrong at https://host/x"
    assert told("", 7).message == "the build failed: exit code 7"
