"""Containers that share a team's caches, whoever they run as."""

from __future__ import annotations

import pytest

from bench.harness.yard import Yard
from runyard.client import follow
from runyard.wire.rest import QueuePatch
from tests.e2e.conftest import until

SCRIPT = """
import os, pathlib
os.umask(0o022)
for name in ("PIP_CACHE_DIR", "WANDB_CACHE_DIR"):
    cache = pathlib.Path(os.environ[name])
    (cache / "deep").mkdir(exist_ok=True)
    (cache / "deep" / str(os.getuid())).touch()
    print(cache, sorted(os.listdir(cache / "deep")), flush=True)
print(sorted(os.listdir("/mnt/cache")), flush=True)
"""


@pytest.mark.docker
def test_containers_of_several_users_share_their_teams_caches_alone(yard: Yard) -> None:
    where = yard.root / "agent-agent" / "config" / "runyard"
    where.mkdir(parents=True)
    cache = yard.root / "cache"
    (where / "agent.yaml").write_text(
        f"cache: {{shared: [pip, wandb-artifacts], path: {cache}}}\n"
        "resources: {local-container: {user: true}}\nbuilder: {type: none}\n"
    )
    yard.add_queue("box", "local-container")
    spec = {
        "docker": {"docker_image": "python:3.11-slim"},
        "overrides": {"entry_point": ["python", "-c", SCRIPT]},
    }
    yard.add_agent("box")
    yard.wait_agents("box")
    others = cache / "teams" / "blue" / "pip"
    others.mkdir(parents=True)

    with yard.api() as api:
        for user, found in (("1000", ["1000"]), ("2000", ["1000", "2000"])):
            api.edit_queue(yard.entity, "box", QueuePatch(config={"user": user}))
            (made,) = api.submit(yard.entity, "box", [spec]).items
            until(lambda one=made: api.item(one.id).ended_at is not None)
            item = api.item(made.id)
            said = b"".join(follow.log(api, item.run)).decode().splitlines()
            assert said == [
                f"/mnt/cache/pip {found}",
                f"/mnt/cache/wandb {found}",
                "['pip', 'wandb']",
            ], (item.failure, said)
    assert list(others.iterdir()) == []
    assert (cache / "teams" / yard.entity / "pip" / "deep" / "2000").exists()
