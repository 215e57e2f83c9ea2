"""The allow-list of `docker run` options: what passes, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.docker_options import (
    GRANTABLE,
    Ulimit,
    check_docker_options,
    gpus_wanted,
    option_name,
    parse_docker_options,
)
from runyard.domain.errors import Invalid


def spellings(option: str) -> list[str]:
    return [
        option,
        f"--{option}",
        option.upper(),
        option.replace("-", "_"),
        f"--{option.title()}",
        f" {option} ",
        f"__{option}",
    ]


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        ({"memory": "1g"}, "memory", 2**30),
        ({"m": "512M"}, "memory", 512 * 2**20),
        ({"memory": "1.5GiB"}, "memory", 3 * 2**29),
        ({"memory": 1048576}, "memory", 2**20),
        ({"shm_size": "64mb"}, "shm_size", 64 * 2**20),
        ({"memory": "1g", "memory-swap": -1}, "memory_swap", -1),
        ({"cpus": 1.5}, "cpus", 1.5),
        ({"cpu": "2"}, "cpus", 2.0),
        ({"cpu-shares": "512"}, "cpu_shares", 512),
        ({"cpuset-cpus": "0-3,8"}, "cpuset_cpus", "0-3,8"),
        ({"pids-limit": -1}, "pids_limit", -1),
        ({"ulimit": ["nofile=1024:2048", "core=0"]}, "ulimit",
         (Ulimit("nofile", 1024, 2048), Ulimit("core", 0, 0))),
        ({"ulimit": "nofile=64"}, "ulimit", (Ulimit("nofile", 64, 64),)),
        ({"platform": "linux/arm64/v8"}, "platform", "linux/arm64/v8"),
        ({"w": "/srv"}, "workdir", "/srv"),
        ({"command": "python -c 'print(1)'"}, "command", ("python", "-c", "print(1)")),
        ({"name": "my_job"}, "name", "my_job"),
    ],
)  # fmt: skip
def test_an_option_is_read_as_docker_reads_it(
    config: dict[str, Any], name: str, value: Any
) -> None:
    assert getattr(parse_docker_options(config), name) == value


def test_an_env_list_sets_variables_and_asks_for_the_agents() -> None:
    env = parse_docker_options({"env": ["A=1", "B=x=y", "C="], "gpus": 1}).env
    assert env.values == {"A": "1", "B": "x=y", "C": ""}
    assert parse_docker_options({"e": "HF_TOKEN"}).env.passed == ("HF_TOKEN",)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("all", "all"),
        (2, 2),
        ("3", 3),
        (0, 0),
        ("device=0,2", ("0", "2")),
        ('"device=GPU-3a23c669"', ("GPU-3a23c669",)),
        (["0", "1"], ("0", "1")),
    ],
)
def test_gpus_may_be_counted_named_or_all(given: Any, wanted: Any) -> None:
    assert gpus_wanted({"GPUs": given, "privileged": "whatever"}) == wanted


def test_no_gpus_are_wanted_unless_somebody_asks() -> None:
    assert gpus_wanted({}) == 0


@pytest.mark.parametrize(
    "config",
    [
        {"memory": True}, {"memory": {"max": "1g"}}, {"memory": ["1g"]}, {"memory": "lots"},
        {"memory": 0}, {"memory": "-1"}, {"cpus": "0"}, {"cpus": "1e3"}, {"cpu-shares": 1.5},
        {"cpu-shares": "²"}, {"cpuset-cpus": "0;1"}, {"ulimit": []}, {"ulimit": ["nofile"]},
        {"env": []}, {"env": {"A": "1"}}, {"env": ["A B=1"]}, {"env": ["A=\0"]}, {"env": [1]},
        {"gpus": "some"}, {"gpus": True}, {"gpus": -1}, {"gpus": "device=../../x"},
        {"platform": "linux;id"}, {"workdir": "relative"}, {"name": "-v"}, {"command": "'open"},
        {"cpus": 1, "cpu-quota": 5000}, {"memory": "2g", "memory-swap": "1g"},
        {"memory-swap": "1g"}, {"shm-size": "1g", "shm_size": "2g"},
    ],
    ids=str,
)  # fmt: skip
def test_what_docker_would_misread_is_refused_with_what_is_allowed(
    config: dict[str, Any],
) -> None:
    (violation,) = check_docker_options(config)
    assert violation.path in config
    assert len(violation.message) > 15


def test_everything_that_is_wrong_is_said_at_once() -> None:
    config = {"memory": "lots", "privileged": True, "cpus": 2, "volume": "/:/host"}
    with pytest.raises(Invalid) as caught:
        parse_docker_options(config)
    assert [violation.path for violation in caught.value.violations] == [
        "memory", "privileged", "volume",
    ]  # fmt: skip
    assert "cpuset-cpus" in caught.value.message


HOST_REACHING = [
    "privileged", "pid", "ipc", "uts", "userns", "cgroupns", "cgroup-parent", "cap-add",
    "security-opt", "mount", "tmpfs", "volume", "volumes", "volumes-from", "volume-driver",
    "device-cgroup-rule",
    "device-read-bps", "group-add", "add-host", "dns", "link", "publish", "publish-all", "expose",
    "env-file", "entrypoint", "runtime", "sysctl", "oom-kill-disable", "oom-score-adj", "rm",
    "restart", "init", "label-file", "cidfile", "storage-opt", "isolation", "log-driver",
    "log-opt", "stop-signal", "hostname", "detach", "interactive", "tty", "attach", "pull",
    "annotation", "health-cmd", "network-alias", "cap-drop", "blkio-weight", "gpus-all",
]  # fmt: skip


@pytest.mark.parametrize("option", HOST_REACHING)
def test_T8_no_spelling_of_an_option_that_reaches_the_host_passes(option: str) -> None:
    for spelling in spellings(option):
        for value in (True, "host", ["x"], 1):
            (violation,) = check_docker_options({spelling: value}, granted=GRANTABLE)
            assert violation.path == spelling
            assert "memory" in violation.message  # what is allowed is said


@pytest.mark.parametrize("short", ["v", "u", "net", "p", "P", "h", "i", "t", "d", "l", "c"])
def test_T8_short_options_are_no_way_around_the_list(short: str) -> None:
    for spelling in (short, f"-{short}", f"--{short}"):
        assert check_docker_options({spelling: "/:/host"})


@pytest.mark.parametrize(
    "trick",
    ["privileged=true", "privileged ", "pri\u200bvileged", "ｐrivileged", "memory privileged",
     "memory\n--privileged", "memory\0", "", "-", "cap-add=ALL", "memory=1g --privileged"],
)  # fmt: skip
def test_T8_odd_characters_do_not_smuggle_an_option(trick: str) -> None:
    assert check_docker_options({trick: "1g"}, granted=GRANTABLE)


@pytest.mark.parametrize("option", sorted(GRANTABLE))
def test_T8_what_an_agent_can_grant_is_refused_until_it_does(option: str) -> None:
    values = {"network": "train", "device": ["/dev/fuse"], "user": "1000"}
    config = {option: values[option]}
    (violation,) = check_docker_options(config)
    assert "agent" in violation.message
    assert check_docker_options(config, granted=frozenset({option})) == ()


def test_T8_granting_what_cannot_be_granted_changes_nothing() -> None:
    granted = frozenset({"privileged", "pid"})
    assert check_docker_options({"privileged": True, "pid": "host"}, granted=granted)


def test_one_option_has_one_name() -> None:
    assert {option_name(each) for each in spellings("shm-size")} == {"shm-size"}
