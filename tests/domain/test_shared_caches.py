"""What a job gets of the caches that all share: its team's own, and not over its queue's."""

from __future__ import annotations

import pytest

from runyard.domain.volumes import PRESETS, Shared, shared_of, team_folder
from runyard.domain.workloads import Mount

SHARED = Shared("/cache", ("pip", "wandb-artifacts"))


def test_a_container_finds_them_where_the_presets_are() -> None:
    assert SHARED.mounts("red", (), container=True) == (
        Mount("shared/red/pip", "/cache/red/pip", "/mnt/cache/pip", env=("PIP_CACHE_DIR",)),
        Mount("shared/red/wandb-artifacts", "/cache/red/wandb-artifacts", "/mnt/cache/wandb",
              env=("WANDB_CACHE_DIR",)),
    )  # fmt: skip


def test_a_process_finds_them_by_their_variables() -> None:
    assert [(m.path, m.env) for m in SHARED.mounts("red", (), container=False)] == [
        ("", ("PIP_CACHE_DIR",)),
        ("", ("WANDB_CACHE_DIR",)),
    ]


@pytest.mark.parametrize(
    ("mount", "left"),
    [
        (Mount("mine", "/x", "/elsewhere", env=("PIP_CACHE_DIR",)), ["shared/red/wandb-artifacts"]),
        (Mount("mine", "/x", "/mnt/cache/pip"), ["shared/red/wandb-artifacts"]),
        (Mount("mine", "/x", "/mnt/./cache"), []),
        (Mount("mine", "/x", "/mnt/cache/wandb/artifacts"), ["shared/red/pip"]),
        (Mount("mine", "/x", "/mnt/cache/pip2"), ["shared/red/pip", "shared/red/wandb-artifacts"]),
    ],
)
def test_what_a_queue_names_itself_is_left_alone(mount: Mount, left: list[str]) -> None:
    assert [each.name for each in SHARED.mounts("red", (mount,), container=True)] == left


@pytest.mark.parametrize(
    "team", ["..", ".", "", "a/b", "/etc", "_" + "0" * 40, "x" * 65, "ü", "a\n"]
)
def test_T21_no_name_of_a_team_leads_elsewhere(team: str) -> None:
    folder = team_folder(team)
    assert folder.startswith("_")
    assert len(folder) == 41
    assert "/" not in folder
    assert folder != team


def test_teams_never_meet() -> None:
    teams = ["red", "Red", "re/d", "red/", "../red"]
    assert len({team_folder(team) for team in teams}) == len(teams)


def test_a_mount_says_whose_it_is() -> None:
    for kind in PRESETS:
        (mount,) = Shared("/cache", (kind,)).mounts("red", (), container=True)
        assert shared_of(mount.name) == ("red", kind)
    assert shared_of("pip") is None
    assert shared_of("shared/red/conda") is None
    assert Shared().mounts("red", (), container=True) == ()
