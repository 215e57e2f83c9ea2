"""
A real registry, with a login and without one: Docker's own, by the shared tool that starts it.

    RUNYARD_TEST_DOCKER=1 pytest tests/clouds/test_real_registry.py
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.cli.children import free_port
from runyard.clouds.finding import registry_for
from runyard.clouds.oci import OciRegistry
from runyard.domain.errors import Rejected
from runyard.domain.images import ImageRef
from tests.clouds.test_oci import using

pytestmark = pytest.mark.docker
if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs Docker's registry: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

TOOL = Path(__file__).parents[3] / "shared" / "tools" / "start-registry.sh"
USER, PASSWORD = "ann", "s3cret"
KIND = "application/vnd.oci.image.index.v1+json"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": KIND, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


@pytest.fixture(scope="module", params=["open", "with a login"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = str(free_port("127.0.0.1"))
    env = {**os.environ, "REGISTRY_DIR": str(tmp_path_factory.mktemp("registry"))}
    if request.param == "with a login":
        env |= {"REGISTRY_USER": USER, "REGISTRY_PASSWORD": PASSWORD}
    subprocess.run([str(TOOL), port], env=env, check=True, stdout=subprocess.DEVNULL)
    yield f"127.0.0.1:{port}"
    subprocess.run([str(TOOL), port, "stop"], env=env, check=True)


@pytest.fixture
def logged_in(host: str, tmp_path: Path) -> OciRegistry:
    auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = {"auths": {host: {"auth": auth}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = registry_for(f"{host}/ml/jobs", env={"DOCKER_CONFIG": str(tmp_path)})
    assert isinstance(found, OciRegistry)
    return found


def push(host: str, tag: str) -> ImageRef:
    auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(
        f"http://{host}/v2/ml/jobs/manifests/{tag}",
        data=MANIFEST,
        method="PUT",
        headers={"Content-Type": KIND, "Authorization": f"Basic {auth}"},
    )
    urllib.request.urlopen(request, timeout=30).close()
    return ImageRef(f"{host}/ml/jobs", tag)


def test_what_was_pushed_is_found_by_its_digest_and_is_gone_once_deleted(
    host: str, logged_in: OciRegistry
) -> None:
    image = push(host, "v1")

    async def all_of_it(it: OciRegistry) -> list[str | None]:
        await it.check(image.repository)
        found = [await it.digest(image), await it.digest(ImageRef(image.repository, "v2"))]
        found.append(await it.digest(image.pinned(DIGEST)))
        await it.delete(image.pinned(DIGEST))
        await it.delete(image.pinned(DIGEST))
        return [*found, await it.digest(image)]

    assert using(logged_in, all_of_it) == [DIGEST, None, DIGEST, None]


def test_a_closed_registry_says_that_there_is_no_login(host: str, tmp_path: Path) -> None:
    stranger = registry_for(f"{host}/ml/jobs", env={"DOCKER_CONFIG": str(tmp_path)})
    assert isinstance(stranger, OciRegistry)
    image = ImageRef(f"{host}/ml/jobs", "none")
    is_open = urllib.request.Request(f"http://{host}/v2/")
    try:
        urllib.request.urlopen(is_open, timeout=30).close()
    except urllib.error.HTTPError:
        with pytest.raises(Rejected, match="wants a login"):
            using(stranger, lambda it: it.digest(image))
    else:
        assert using(stranger, lambda it: it.digest(image)) is None
