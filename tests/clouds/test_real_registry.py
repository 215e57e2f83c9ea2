"""
A real registry, with a login and without one: Docker's own (Debian's docker-registry).

    RUNYARD_TEST_DOCKER=1 pytest tests/clouds/test_real_registry.py
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.builders.base import Order
from runyard.builders.docker import DockerBuilder
from runyard.cli.children import free_port
from runyard.clouds.finding import registry_for
from runyard.clouds.oci import OciRegistry
from runyard.domain.errors import Rejected
from runyard.domain.images import ImageRef
from tests.clouds.test_oci import using

pytestmark = pytest.mark.docker
if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs Docker's registry: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

USER, PASSWORD = "ann", "s3cret"
HTPASSWD = "ann:$2y$05$0rmEM8EmkskyBcmVH9kLhuOndAAZfgzCu788wvocv4nIdtSy.kqwW"
KIND = "application/vnd.oci.image.index.v1+json"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": KIND, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


@pytest.fixture(scope="module", params=["open", "with a login"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("registry")
    host = f"127.0.0.1:{free_port('127.0.0.1')}"
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": str(place / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": host},
    }
    if request.param == "with a login":
        (place / "htpasswd").write_text(HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(place / "htpasswd")}}
    (place / "config.yml").write_text(json.dumps(settings))  # which is YAML, too
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(
            ["docker-registry", "serve", str(place / "config.yml")], stdout=log, stderr=log
        )
    deadline = time.monotonic() + 60
    while status(host) is None:
        assert server.poll() is None, (place / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield host
    server.kill()
    server.wait()


def status(host: str) -> int | None:
    """Return what the registry answers to somebody without a login; None if nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{host}/v2/", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


@pytest.fixture
def logged_in(host: str, tmp_path: Path) -> OciRegistry:
    auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = {"auths": {host: {"auth": auth}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = registry_for(f"{host}/ml/jobs", env={"DOCKER_CONFIG": str(tmp_path)})
    assert isinstance(found, OciRegistry)
    return found


def test_what_a_builder_pushes_with_the_login_is_found(
    host: str, logged_in: OciRegistry, tmp_path: Path
) -> None:
    """From a login that Docker keeps, by the order of a build, to an image with a digest."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text(host)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n")
    target = ImageRef(f"{host}/ml/built", "v1")

    async def build(it: OciRegistry) -> tuple[str, str | None]:
        login = await it.login()
        assert login is not None
        builder = DockerBuilder(env=os.environ)
        order = Order(
            context=context,
            dockerfile=tmp_path / "Dockerfile",
            target=target,
            push=True,
            team="t",
            logins=[login],
        )
        try:
            built = await builder.build(order, log=lambda _: None)
            return built.image.digest, await it.digest(target)
        finally:
            await builder.remove(target)
            await builder.close()

    pushed, found = using(logged_in, build)
    assert pushed == found
    assert pushed.startswith("sha256:")


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
    if status(host) == 200:
        assert using(stranger, lambda it: it.digest(image)) is None
    else:
        with pytest.raises(Rejected, match="wants a login"):
            using(stranger, lambda it: it.digest(image))
