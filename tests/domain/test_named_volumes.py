"""Volumes by name: what a queue may say, and what an agent makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.configs import faults
from runyard.domain.errors import Rejected
from runyard.domain.queues import Resource
from runyard.domain.volumes import PRESETS, Volume, Wanted, granted, taken_out
from runyard.domain.workloads import Mount

AGENT = {
    "data": Volume("data", "/srv/data", read_only=True),
    "pip": Volume("pip", "/var/pip"),
    "team-pip": Volume("team-pip", "/var/team-pip", queues=("team",), preset="pip"),
}


def wanted(given: Any, *, container: bool = True) -> tuple[Wanted, ...]:
    rest, found, wrong = taken_out({"volumes": given, "env": ["A=1"]}, container=container)
    assert not wrong, wrong
    assert rest == {"env": ["A=1"]}
    return found


def mounts(given: Any, *, queue: str = "q", container: bool = True) -> tuple[Mount, ...]:
    return granted(wanted(given, container=container), AGENT, queue, container=container)


def refused(given: Any, **more: Any) -> str:
    with pytest.raises(Rejected) as raised:
        mounts(given, **more)
    return raised.value.message


def test_short_and_long_forms_say_the_same() -> None:
    long = {"name": "data", "path": "/d", "read_only": True, "env": "DATA"}
    assert wanted([long]) == wanted(long) == (Wanted("data", "/d", True, ("DATA",)),)
    assert wanted("data:/d:ro") == (Wanted("data", "/d", read_only=True),)
    assert wanted(["data:/d", "pip"]) == (Wanted("data", "/d"), Wanted("pip"))
    assert wanted("out:sub/dir", container=False) == (Wanted("out", "sub/dir"),)


@pytest.mark.parametrize("spelling", ["volumes", "volume", "v", "--volume", "VOLUMES", "_v"])
def test_T8_every_spelling_is_the_same_key(spelling: str) -> None:
    rest, found, wrong = taken_out({spelling: ["data:/d"]}, container=True)
    assert (rest, found, wrong) == ({}, (Wanted("data", "/d"),), [])
    _, _, wrong = taken_out({spelling: ["data:/d"], "Volumes": ["pip:/p"]}, container=True)
    assert "twice" in wrong[0].message


@pytest.mark.parametrize(
    "value",
    ["/:/host", "/etc:/etc:ro", "../x:/y", "data:/a:/b", "data:relative", "data:/a/../b",
     "data:/x:rw,z", "data:/", "data:/mnt", "data:/mnt/wandb", "data:/x:", "", ":/x", "da ta:/x",
     {"data": "/x"}, {"name": "/etc", "path": "/x"}, {"name": "data", "source": "/etc"},
     {"name": "data", "path": 3}, {"name": "data", "path": "/x", "read_only": "no"},
     {"name": "data", "path": "/x", "env": "A=B"}, {"name": "data", "path": "/x", "env": [1]},
     ["data:/x", "/:/host"], ["data:/x", "pip:/x/"], [["data", "/x"]], 3, None, [], True,
     ["data:/x"] * 21],
    ids=str,
)  # fmt: skip
def test_T8_a_volume_is_a_name_and_never_a_path_of_the_host(value: Any) -> None:
    assert faults(Resource.LOCAL_CONTAINER, {"volumes": value})
    assert taken_out({"volumes": value}, container=True)[2]


@pytest.mark.parametrize("path", ["/abs", "..", "a/../../b", ".", "a:b", "a\0b"])
def test_T8_a_link_of_a_process_stays_in_the_jobs_directory(path: str) -> None:
    assert faults(Resource.LOCAL_PROCESS, {"volumes": [{"name": "data", "path": path}]})


@given(st.text(max_size=30), st.booleans())
def test_T8_whatever_is_written_the_source_is_the_operators(text: str, container: bool) -> None:
    _, found, wrong = taken_out({"volumes": text}, container=container)
    if wrong:
        return
    try:
        made = granted(found, AGENT, "team", container=container)
    except Rejected:
        return
    assert {mount.source for mount in made} <= {volume.path for volume in AGENT.values()}


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    assert refused("dta:/d") == "volumes: 'dta' is no volume of this agent; it has data, pip"
    assert "it has data, pip, team-pip" in refused("dta:/d", queue="team")
    assert "is not for this queue" in refused("team-pip")


def test_read_only_is_the_operators_word_and_the_queue_can_only_add_to_it() -> None:
    assert mounts("data:/d:rw")[0].read_only
    assert mounts([{"name": "data", "path": "/d", "read_only": False}])[0].read_only
    assert not mounts("pip")[0].read_only
    assert mounts("pip:/p:ro")[0].read_only


def test_presets_say_where_and_tell_the_tool() -> None:
    assert mounts("pip") == (Mount("pip", "/var/pip", "/mnt/cache/pip", env=("PIP_CACHE_DIR",)),)
    assert mounts("pip", container=False) == (Mount("pip", "/var/pip", env=("PIP_CACHE_DIR",)),)
    assert mounts("team-pip", queue="team")[0].env == ("PIP_CACHE_DIR",)
    assert mounts("pip:/elsewhere")[0] == Mount(
        "pip", "/var/pip", "/elsewhere", env=("PIP_CACHE_DIR",)
    )
    assert "say where" in refused("data")
    assert "say where" in refused("data", container=False)
    assert "given to two volumes" in refused(["pip", "team-pip:/other"], queue="team")
    assert len({preset.path for preset in PRESETS.values()}) == len(PRESETS)
