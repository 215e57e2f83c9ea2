"""From a workload to the engine's request, compared with a golden file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.errors import Invalid, Rejected
from runyard.domain.workloads import Mount, Observation, Phase, Workload
from runyard.drivers.docker_request import EngineHost, container_request, shown_request
from runyard.drivers.docker_secrets import PLACE, WRAPPER, warnings, with_files, with_shell
from runyard.drivers.docker_settings import DockerSettings, Pull, parse_docker_settings
from runyard.drivers.docker_state import observed
from runyard.drivers.docker_stream import Frames

GOLDEN = Path(__file__).parent / "golden" / "container_request.json"
HOST = EngineHost(
    DockerSettings(
        networks=("train",),
        devices=("/dev/fuse",),
        user=True,
        env_passthrough=("HF_HOME",),
    ),
    {"HF_HOME": "/cache", "AGENT_KEY": "the-agents-own"},
    "0123456789ab",
    secrets="/secrets/att-1",
)
FULL = Workload(
    "att-1",
    entry_point=("python", "train.py"),
    args=("--lr", "0.1; rm -rf / $(id)\n"),
    env={"WANDB_PROJECT": "digits", "A": "overridden"},
    secrets={"WANDB_API_KEY": "s3cret-word"},
    image="registry.example/digits@sha256:" + "0" * 64,
    config={
        "env": ["A=1", "B=two words", "HF_HOME"], "gpus": 2, "shm_size": "1g", "m": "4g",
        "memory-swap": -1, "cpus": "1.5", "cpuset-cpus": "0-3", "pids-limit": 256,
        "ulimit": ["nofile=1024:2048"], "name": "digits", "platform": "linux/amd64",
        "network": "train", "device": ["/dev/fuse"], "user": "1000:1000",
    },
    mounts=(
        Mount("data", "/srv/data", "/data", read_only=True),
        Mount("out", "/srv/out", "/out", env=("OUT_DIR",)),
    ),
    directory="/var/lib/runyard/jobs/att-1",
    working_dir="src",
    gpus=("0", "3"),
    labels={"io.runyard.run": "r1"},
)  # fmt: skip
SMALL = Workload("att-2", image="alpine")


def test_the_request_is_the_golden_one() -> None:
    """Set GOLDEN=1 to write the file anew, and review the difference."""
    rendered = json.dumps(shown_request(FULL, HOST), indent=2) + "\n"
    if os.environ.get("GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(rendered)
    assert rendered == GOLDEN.read_text()


def test_T14_no_secret_is_in_what_the_engine_is_told() -> None:
    request = container_request(FULL, HOST)
    assert "s3cret-word" not in json.dumps(request) + json.dumps(shown_request(FULL, HOST))
    assert "s3cret-word" not in repr(FULL)
    assert request["HostConfig"]["Mounts"][-1] == {
        "Type": "bind", "Source": "/secrets/att-1", "Target": PLACE, "ReadOnly": True,
    }  # fmt: skip
    assert "Mounts" not in container_request(SMALL, HOST)["HostConfig"]
    assert shown_request(SMALL, HOST) == container_request(SMALL, HOST)


@pytest.mark.parametrize(
    ("request_", "image", "program"),
    [
        ({"Entrypoint": ["a"], "Cmd": ["b"]}, {"Entrypoint": ["x"], "Cmd": ["y"]}, ["a", "b"]),
        ({"Entrypoint": ["a"]}, {"Entrypoint": ["x"], "Cmd": ["y"]}, ["a"]),
        ({"Cmd": ["b"]}, {"Entrypoint": ["x"], "Cmd": ["y"]}, ["x", "b"]),
        ({}, {"Entrypoint": ["x"], "Cmd": ["y"]}, ["x", "y"]),
        ({}, {"Entrypoint": None, "Cmd": ["y"]}, ["y"]),
    ],
)
def test_behind_the_shell_runs_what_the_engine_would_have_run(
    request_: dict[str, Any], image: dict[str, Any], program: list[str]
) -> None:
    wrapped = with_shell({"Image": "i", **request_}, image)
    assert wrapped["Entrypoint"] == ["/bin/sh", "-c", WRAPPER, "runyard"]
    assert wrapped["Cmd"] == program


def test_a_command_that_nobody_names_is_missed_before_a_container_is_made() -> None:
    with pytest.raises(Rejected, match="names no command"):
        with_shell({"Image": "i"}, {"Entrypoint": None, "Cmd": []})


def test_without_a_shell_variables_say_where_the_files_are() -> None:
    made = with_files({"Env": ["A=1"], "Labels": {"l": "1"}}, ["TOKEN"])
    assert made["Env"] == ["A=1", f"TOKEN_FILE={PLACE}/TOKEN"]
    assert warnings({"Config": {"Labels": made["Labels"]}})
    assert warnings(None) == warnings({"Config": {"Labels": None}}) == ()


def test_T7_the_shell_gives_each_value_to_the_program_as_it_is(tmp_path: Path) -> None:
    nasty = {
        "PLAIN": "word", "SPACES": "  two  words\t", "SHELL_": "$(id); `id` \"'\\n' && exit 3",
        "LINES": "a\n\nb\\\n", "ENDS": "a\n\n", "DASH": "-n", "STARS": "*", "UNI": "\u00e4\u20ac",
    }  # fmt: skip
    for name, value in nasty.items():
        (tmp_path / name).write_text(value)
    script = WRAPPER.replace(PLACE, str(tmp_path))
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    argv = ["/bin/sh", "-c", script, "runyard", sys.executable, "-c", show]
    env = {"_ry_text": "the job's own", "PATH": os.environ["PATH"]}
    seen = json.loads(subprocess.run(argv, env=env, check=True, capture_output=True).stdout)
    assert {name: seen.get(name) for name in nasty} == nasty
    assert not [name for name in seen if name.startswith("_ry")]


def test_a_secret_that_cannot_be_read_keeps_the_program_from_starting(tmp_path: Path) -> None:
    script = WRAPPER.replace(PLACE, str(tmp_path / "nothing-there"))
    argv = ["/bin/sh", "-c", script, "runyard", "echo", "started"]
    done = subprocess.run(argv, check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (126, b"")


def test_an_entry_point_replaces_the_images_and_args_are_its_arguments() -> None:
    request = container_request(replace(SMALL, entry_point=("echo", "a b"), args=("c",)), HOST)
    assert request["Entrypoint"] == ["echo", "a b"]
    assert request["Cmd"] == ["c"]


def test_without_one_the_image_keeps_its_own() -> None:
    assert not {"Entrypoint", "Cmd"} & container_request(SMALL, HOST).keys()
    given = container_request(replace(SMALL, args=("--fast",)), HOST)
    assert "Entrypoint" not in given
    assert given["Cmd"] == ["--fast"]


def test_a_container_gains_no_privilege_and_is_not_restarted() -> None:
    settings = container_request(SMALL, HOST)["HostConfig"]
    assert settings["SecurityOpt"] == ["no-new-privileges"]
    assert settings["RestartPolicy"] == {"Name": "no"}
    assert not {"Privileged", "CapAdd", "PidMode", "IpcMode", "Binds"} & settings.keys()


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1:8080/x"])
def test_a_server_on_loopback_is_reached_through_the_hosts_network(url: str) -> None:
    workload = replace(SMALL, env={"WANDB_BASE_URL": url})
    request = container_request(workload, HOST)
    assert request["HostConfig"]["NetworkMode"] == "host"
    assert f"WANDB_BASE_URL={url}" in request["Env"]
    chosen = container_request(replace(workload, config={"network": "train"}), HOST)
    assert chosen["HostConfig"]["NetworkMode"] == "train"


def test_T8_a_queue_cannot_talk_itself_into_the_hosts_network() -> None:
    sneaky = {"env": ["WANDB_BASE_URL=http://localhost"]}
    request = container_request(replace(SMALL, config=sneaky), HOST)
    assert "NetworkMode" not in request["HostConfig"]


def test_where_that_is_not_allowed_or_possible_the_address_becomes_the_gateways() -> None:
    workload = replace(SMALL, env={"WANDB_BASE_URL": "http://localhost:8080/api"})
    for host in (
        replace(HOST, is_linux=False),
        replace(HOST, settings=DockerSettings(host_network=False)),
    ):
        request = container_request(workload, host)
        assert "WANDB_BASE_URL=http://host.docker.internal:8080/api" in request["Env"]
        assert "NetworkMode" not in request["HostConfig"]


@pytest.mark.parametrize(
    ("gpus", "config", "request_"),
    [
        (("1",), {"gpus": 1}, {"DeviceIDs": ["1"]}),
        ((), {"gpus": "all"}, {"Count": -1}),
        ((), {"gpus": 2}, {"Count": 2}),
        ((), {"gpus": "device=GPU-ab"}, {"DeviceIDs": ["GPU-ab"]}),
    ],
)
def test_the_devices_that_the_agent_gave_out_are_asked_for(
    gpus: tuple[str, ...], config: dict[str, Any], request_: dict[str, Any]
) -> None:
    rendered = container_request(replace(SMALL, gpus=gpus, config=config), HOST)
    (devices,) = rendered["HostConfig"]["DeviceRequests"]
    assert request_.items() <= devices.items()
    assert devices["Capabilities"] == [["gpu"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mounts": (Mount("x", "/srv/x", "/run"),)}, "would hide"),
        ({"mounts": (Mount("x", "/srv/x", "/run/runyard/secrets/y"),)}, "would hide"),
        ({"mounts": (Mount("x", "/srv/x", "/mnt"),)}, "would hide"),
        ({"config": {"volume": "secret:/x"}}, "cpuset-cpus"),
        ({"config": {"network": "host"}}, "train"),
        ({"config": {"network": "container.other"}}, "train"),
        ({"config": {"device": ["/dev/sda"]}}, "/dev/fuse"),
        ({"config": {"env": ["AGENT_KEY"]}}, "HF_HOME"),
        ({"config": {"privileged": True}}, "cpuset-cpus"),
        ({"working_dir": "../../etc"}, "leaves"),
        ({"working_dir": "/etc"}, "leaves"),
        ({"args": ("a\0b",)}, "NUL"),
        ({"env": {"A B": "1"}}, "A B"),
        ({"env": {"A": "1\0"}}, "NUL"),
        ({"secrets": {"LD=x": "s3cret-word"}}, "LD=x"),
        ({"image": None}, "image"),
    ],
    ids=str,
)
def test_T7_T8_what_the_agent_does_not_allow_is_rejected_and_says_what_is(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(Rejected) as caught:
        container_request(replace(SMALL, **change), HOST)
    assert words in caught.value.message
    assert "s3cret-word" not in caught.value.message


def test_a_volumes_place_is_told_unless_the_queue_tells_it_otherwise() -> None:
    mounts = (Mount("pip", "/srv/pip", "/cache", env=("PIP_CACHE_DIR",)),)
    request = container_request(replace(SMALL, mounts=mounts), HOST)
    assert "PIP_CACHE_DIR=/cache" in request["Env"]
    config = {"env": ["PIP_CACHE_DIR=/cache/mine"]}
    request = container_request(replace(SMALL, mounts=mounts, config=config), HOST)
    assert "PIP_CACHE_DIR=/cache/mine" in request["Env"]


def test_settings_are_read_and_every_fault_is_named() -> None:
    settings = parse_docker_settings(
        {"pull": "missing", "devices": ["/dev/fuse"], "user": True, "networks": ["n"]}
    )
    assert settings.pull is Pull.MISSING
    assert settings.granted == {"device", "user", "network"}
    with pytest.raises(Invalid) as caught:
        parse_docker_settings({"pull": "often", "networks": "n", "hots": 1, "host": "x"})
    assert [v.path for v in caught.value.violations] == [
        "pull", "networks", "hots", "host",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ({"Status": "created"}, Observation(Phase.QUEUED)),
        ({"Status": "paused"}, Observation(Phase.RUNNING)),
        ({"Status": "exited", "ExitCode": 0}, Observation(Phase.EXITED, 0)),
        ({"Status": "exited", "ExitCode": 137, "OOMKilled": True},
         Observation(Phase.EXITED, 137, "out of memory (limit 64 MiB)")),
        ({"Status": "exited", "ExitCode": 127, "Error": "no such file"},
         Observation(Phase.EXITED, 127, "no such file")),
        ({"Status": "stopped", "ExitCode": 137},
         Observation(Phase.EXITED, 137, "killed, perhaps out of memory (limit 64 MiB)")),
    ],
)  # fmt: skip
def test_what_the_engine_says_is_what_is_observed(state: dict[str, Any], seen: Observation) -> None:
    assert observed({"State": state, "HostConfig": {"Memory": 64 * 2**20}}) == seen


def test_only_the_engines_own_word_makes_a_container_gone() -> None:
    assert observed(None).phase is Phase.GONE


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 1000])
@pytest.mark.parametrize("skip", [0, 1, 4, 9, 10, 99])
def test_frames_may_be_cut_anywhere(size: int, skip: int) -> None:
    frames = [(1, b"one\n"), (2, b""), (2, b"two\xff\n"), (1, b"x")]
    sent = b"".join(
        bytes([kind, 0, 0, 0]) + len(body).to_bytes(4, "big") + body for kind, body in frames
    )
    reader = Frames(skip=skip)
    got = b"".join(reader.feed(sent[at : at + size]) for at in range(0, len(sent), size))
    assert got == b"one\ntwo\xff\nx"[skip:]
