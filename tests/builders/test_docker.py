"""
How the docker command is called. It is a script here that writes down what it was given: there is
no buildx to test with; the other two ways are tested on a real engine in tests/contract.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from runyard.builders.base import Order, Secret
from runyard.builders.docker import DockerBuilder
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.images import ImageRef, Login

pytestmark = pytest.mark.anyio

DIGEST = "sha256:" + "d" * 64
IMAGE = "sha256:" + "1" * 64
INFO = {"ID": "ENGINE", "Name": "host", "DockerRootDir": "/var/lib/docker"}
SCRIPT = """import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
said = json.loads((here / "said.json").read_text())
argv = sys.argv[1:]
config = pathlib.Path(os.environ["DOCKER_CONFIG"])
note = {
    "argv": argv, "env": dict(os.environ),
    "config": json.loads((config / "config.json").read_text()),
    "modes": {str(p): oct(p.stat().st_mode & 0o777) for p in [config, *config.iterdir()]},
    "files": {a: pathlib.Path(a).read_text() for a in argv if pathlib.Path(a).is_file()},
    "secrets": [
        pathlib.Path(a.partition("src=")[2]).read_text() for a in argv if a.startswith("id=")
    ],
}
with open(here / "calls", "a") as calls:
    calls.write(json.dumps(note) + "\\n")
if "--iidfile" in argv:
    pathlib.Path(argv[argv.index("--iidfile") + 1]).write_text(said["image"])
for words, (code, out, err) in said["answers"].items():
    if " ".join(argv).startswith(words):
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)
"""


class Docker:
    """A client on PATH; `answers` are exit code, output and messages by the first arguments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        program = path / "docker"
        program.write_text(f"#!{sys.executable} -IS\n{SCRIPT}")
        program.chmod(0o755)
        self.answers: dict[str, tuple[int, str, str]] = {
            "info": (0, json.dumps(INFO), ""),
            "version": (0, json.dumps({"Components": [{"Name": "Engine"}]}), ""),
            "buildx version": (0, "github.com/docker/buildx v0.30.0", ""),
            "image inspect": (0, json.dumps([{"Id": IMAGE, "Size": 5}]), ""),
            "push": (0, f"tag: digest: {DIGEST} size: 1\n", ""),
        }

    def builder(self, host: str | None = None, **env: str) -> DockerBuilder:
        said = {"image": IMAGE, "answers": self.answers}
        (self.path / "said.json").write_text(json.dumps(said))
        path = f"{self.path}:{os.environ['PATH']}"
        return DockerBuilder(host, {"PATH": path, "HOME": str(self.path), **env})

    def calls(self, *words: str) -> list[dict[str, Any]]:
        calls = self.path / "calls"
        made = [json.loads(line) for line in calls.read_text().splitlines()]
        return [call for call in made if call["argv"][: len(words)] == list(words)]


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    directory = tmp_path / "bin"
    directory.mkdir()
    return Docker(directory)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "context").mkdir()
    (tmp_path / "Dockerfile.made").write_text("FROM base\nRUN true\n")
    return Order(
        context=tmp_path / "context",
        dockerfile=tmp_path / "Dockerfile.made",
        target=ImageRef("registry.example.com/ml/jobs", "t1"),
        push=True,
        team="vision",
        platform="linux/arm64",
        secrets=[Secret("netrc", "machine x password hidden-word")],
        logins=[
            Login("registry.example.com", "me", "pass:word"),
            Login("docker.io", "hub", "key"),
        ],
        labels={"b": "2", "a": "1 2"},
    )


async def test_buildx_is_taken_if_it_is_there(docker: Docker, order: Order) -> None:
    lines: list[bytes] = []
    built = await docker.builder().build(order, log=lines.append)
    assert built.image == order.target.pinned(DIGEST)
    assert (built.run, built.size) == (f"registry.example.com/ml/jobs@{DIGEST}", 5)
    (call,) = docker.calls("buildx", "build")
    argv = call["argv"]
    dockerfile = argv[argv.index("--file") + 1]
    iidfile = argv[argv.index("--iidfile") + 1]
    secret = argv[argv.index("--secret") + 1]
    assert argv == [
        "buildx", "build", "--load", "--file", dockerfile,
        "--tag", "registry.example.com/ml/jobs:t1",
        "--iidfile", iidfile, "--build-arg", "RUNYARD_TEAM=vision", "--platform", "linux/arm64",
        "--label", "a=1 2", "--label", "b=2", "--progress=plain", "--secret", secret,
        "--build-arg", "BUILDKIT_CACHE_MOUNT_NS=vision",
        "--add-host", "vision.runyard.invalid:127.0.0.1", "--", str(order.context),
    ]  # fmt: skip
    assert call["files"][dockerfile] == "FROM base\nARG RUNYARD_TEAM\nRUN true\n"
    assert docker.calls("push")[0]["argv"] == ["push", "--", "registry.example.com/ml/jobs:t1"]
    assert b"digest: " in b"".join(lines)


async def test_secrets_and_logins_are_in_files_of_ones_own_that_go_again(
    docker: Docker, order: Order
) -> None:
    await docker.builder().build(order, log=lambda _: None)
    (call,) = docker.calls("buildx", "build")
    assert call["secrets"] == ["machine x password hidden-word"]
    auths = call["config"]["auths"]
    assert {host: base64.b64decode(auth["auth"]).decode() for host, auth in auths.items()} == {
        "registry.example.com": "me:pass:word",
        "https://index.docker.io/v1/": "hub:key",
    }
    home = call["env"]["DOCKER_CONFIG"]
    assert call["modes"].pop(home) == "0o700"
    written = {mode for path, mode in call["modes"].items() if not path.endswith("iid")}
    assert written == {"0o600"}
    assert not Path(home).exists()
    for each in docker.calls():
        assert "hidden-word" not in " ".join(each["argv"])
        assert "pass:word" not in " ".join(each["argv"])


async def test_of_the_agents_environment_it_has_the_way_only(docker: Docker, order: Order) -> None:
    builder = docker.builder(
        DOCKER_HOST="tcp://10.0.0.1:2376", DOCKER_TLS_VERIFY="1", HTTPS_PROXY="http://proxy:1",
        AWS_SECRET_ACCESS_KEY="key", RUNYARD_API_KEY="key", BUILDX_BUILDER="another",
    )  # fmt: skip
    await builder.build(order, log=lambda _: None)
    (call,) = docker.calls("buildx", "build")
    env = {key: value for key, value in call["env"].items() if key not in ("LC_CTYPE", "PATH")}
    own = env["HOME"]
    assert env == {
        "HOME": own, "DOCKER_CONFIG": own, "DOCKER_HOST": "tcp://10.0.0.1:2376",
        "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": f"{docker.path}/.docker",
        "HTTPS_PROXY": "http://proxy:1", "DOCKER_BUILDKIT": "1",
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
    }  # fmt: skip
    assert own != str(docker.path)


async def test_a_host_that_is_said_comes_before_that_of_the_environment(docker: Docker) -> None:
    await docker.builder("unix:///own.sock", DOCKER_HOST="tcp://other:1").place()
    assert docker.calls("info")[0]["env"]["DOCKER_HOST"] == "unix:///own.sock"


async def test_plugins_of_the_agents_user_are_found(docker: Docker) -> None:
    plugins = docker.path / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    await docker.builder().mounts()
    (call,) = docker.calls("buildx", "version")
    assert call["config"] == {"auths": {}, "cliPluginsExtraDirs": [str(plugins)]}


@pytest.mark.parametrize(
    ("help_", "mounts", "buildkit"),
    [
        ((0, "      --secret stringArray   Secret file", ""), True, "1"),
        ((1, "", "ERROR: BuildKit is enabled but the buildx component is missing"), False, "0"),
    ],
    ids=["BuildKit by the client", "the legacy builder"],
)
async def test_without_buildx_it_is_what_the_client_has(
    docker: Docker, order: Order, help_: tuple[int, str, str], mounts: bool, buildkit: str
) -> None:
    docker.answers["buildx version"] = (1, "", "docker: 'buildx' is not a docker command.")
    docker.answers["build --help"] = help_
    builder = docker.builder()
    assert await builder.mounts() is mounts
    if not mounts:
        with pytest.raises(Rejected, match="legacy builder cannot mount"):
            await builder.build(order, log=lambda _: None)
        assert docker.calls("build", "--file") == []
        order = Order(order.context, order.dockerfile, order.target, push=False, team="vision")
    built = await builder.build(order, log=lambda _: None)
    (call,) = docker.calls("build", "--file")
    assert call["env"]["DOCKER_BUILDKIT"] == buildkit
    assert ("--progress=plain" in call["argv"]) is mounts
    assert ("--force-rm" in call["argv"]) is not mounts
    if not mounts:
        assert (built.image, built.run) == (order.target, IMAGE)
        assert docker.calls("push") == []


async def test_what_is_known_of_the_engine_is_not_asked_again(docker: Docker) -> None:
    builder = docker.builder()
    await builder.check()
    first = len(docker.calls())
    for _ in range(3):
        assert await builder.place() == "docker:ENGINE"
        assert await builder.mounts()
    assert len(docker.calls()) == first
    assert await builder.local("jobs:t1") == IMAGE
    assert len(docker.calls()) == first + 1


async def test_podman_behind_dockers_language_has_a_name_that_stays(docker: Docker) -> None:
    docker.answers["version"] = (0, json.dumps({"Components": [{"Name": "Podman Engine"}]}), "")
    builder = docker.builder()
    assert await builder.place() == "docker:podman:host:/var/lib/docker"
    assert not await builder.mounts()


async def test_the_digest_is_asked_for_where_the_push_does_not_say_it(
    docker: Docker, order: Order
) -> None:
    other = "sha256:" + "e" * 64
    docker.answers["push"] = (0, "", "")
    docker.answers["image inspect"] = (0, json.dumps([{
        "Id": IMAGE, "Size": 5,
        "RepoDigests": [f"elsewhere/x@{other}", f"registry.example.com/ml/jobs@{DIGEST}"],
    }]), "")  # fmt: skip
    assert (await docker.builder().build(order, log=lambda _: None)).image.digest == DIGEST


async def test_an_engine_that_does_not_answer_is_no_answer(docker: Docker) -> None:
    away = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"
    docker.answers["info"] = (0, json.dumps({"ServerErrors": [away]}), "")
    docker.answers["image inspect"] = (1, "[]", away)
    docker.answers["image rm"] = (1, "", away)
    builder = docker.builder()
    for asking in (builder.place, builder.mounts):
        with pytest.raises(Unavailable):
            await asking()
    with pytest.raises(Unavailable):
        await builder.local("x")
    with pytest.raises(Unavailable):
        await builder.remove(ImageRef("x", "1"))
    with pytest.raises(Rejected, match="does not answer") as caught:
        await builder.check()
    assert "DOCKER_HOST" in caught.value.hint


async def test_a_host_without_the_command_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="docker is not installed") as caught:
        await DockerBuilder(env={"PATH": str(tmp_path)}).check()
    assert "install the docker command" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a,src=/etc/shadow", "a=b"])
async def test_a_secrets_id_is_no_option(docker: Docker, order: Order, name: str) -> None:
    bad = Order(
        order.context, order.dockerfile, order.target, push=False, team="t",
        secrets=[Secret(name, "x")],
    )  # fmt: skip
    with pytest.raises(Rejected, match="cannot mount a secret"):
        await docker.builder().build(bad, log=lambda _: None)
    assert docker.calls("buildx", "build") == []


async def test_an_ignore_file_of_the_dockerfile_goes_with_it(
    docker: Docker, order: Order, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile.made.dockerignore").write_text("secret.txt\n")
    await docker.builder().build(order, log=lambda _: None)
    (call,) = docker.calls("buildx", "build")
    assert any(path.endswith("/Dockerfile.dockerignore") for path in call["modes"])
