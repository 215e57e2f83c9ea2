"""
A job whose image is there already: from submission to the first line of user code in a container.

With RUNYARD_TEST_DOCKER, on an engine that has python:3.11-slim. With RUNYARD_TEST_REGISTRY, whose
python:3.11-slim it is then, images are pushed there, and the registry is asked at each launch.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
import uuid
from functools import partial
from statistics import median

from harness.results import Row
from harness.yard import Yard, wait_for

from measures.floors import Floors
from runyard.client import follow
from runyard.client.api import Api
from runyard.wire.rest import RunRef

_STAMP = "import time; print(time.time_ns())"
_PATIENCE = 300.0  # seconds for the one build


def rows(floors: Floors) -> list[Row]:
    if not os.environ.get("RUNYARD_TEST_DOCKER"):
        return []
    name, registry = (
        f"runyard-bench-{uuid.uuid4().hex[:8]}",
        os.environ.get("RUNYARD_TEST_REGISTRY"),
    )
    base = f"{registry}/python:3.11-slim" if registry else "python:3.11-slim"
    builder = {"type": "docker", "base_image": base}
    if registry:
        builder["destination"] = f"{registry}/{name}"
    with Yard() as yard:
        yard.add_queue("bench", "local-container")
        job = yard.add_job({"stamp.py": _STAMP, "requirements.txt": ""}, ["python", "stamp.py"])
        yard.add_agent("bench", settings={"builder": builder})
        yard.wait_agents("bench")
        ours, bare = [], []
        with yard.api() as api:
            _, built = _launched(api, yard, job)
            target = built.partition("building ")[2].partition(" ")[0]
            image = built.splitlines()[-1].split()[1].removesuffix(":")
            try:
                _launched(api, yard, job)
                for _ in range(10 if floors.quick else 20):  # in turns: the machine is not alike
                    bare.append(_bare_ms(image))
                    ours.append(_launched(api, yard, job)[0])
            finally:
                words = ["docker", "image", "rm", "--force", target, image]
                subprocess.run(words, capture_output=True, check=False)
    floor = median(bare)
    return [
        Row("submission to user code, image there", "ms", ours, floor,
            "`docker run` of that image, to the first line of user code", 1.5 * floor,
            note="the target is 1.5 x the floor, measured in turns with it"),
    ]  # fmt: skip


def _launched(api: Api, yard: Yard, job: str) -> tuple[float, str]:
    """Launch once; return milliseconds to the first line of user code, and the log of the build."""
    time.sleep(random.uniform(0.2, 0.4))  # the one before is cleaned up
    begun = time.time_ns()
    ref = api.submit(yard.entity, "bench", [{"job": job}]).items[0].run
    ended = partial(_is_over, api, ref)
    wait_for(ended, "the job does not end", seconds=_PATIENCE, every=0.1)
    built, printed = (b"".join(follow.log(api, ref, stage=of)).decode() for of in ("build", ""))
    if api.run(ref).exit_code != 0:
        raise RuntimeError(f"the job failed:\n{built}{printed}")
    return (int(printed) - begun) / 1e6, built


def _is_over(api: Api, run: RunRef) -> bool:
    return follow.is_over(api.run(run))


def _bare_ms(image: str) -> float:
    begun = time.time_ns()
    argv = ["docker", "run", "--rm", image]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return (int(done.stdout) - begun) / 1e6
