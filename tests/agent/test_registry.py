from pathlib import Path

import pytest

from runyard.agent import registry
from runyard.agent.registry import Drivers
from runyard.domain.errors import Rejected


def test_a_driver_is_made_once_in_a_directory_of_its_own(tmp_path: Path) -> None:
    drivers = Drivers(tmp_path, {})
    made = drivers.get("local-process")
    assert made.name == "local-process"
    assert drivers.get("local-process") is made


def test_an_unknown_resource_names_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"it has .*local-process"):
        Drivers(tmp_path, {}).get("quantum")


def test_wrong_settings_name_the_field_of_the_agents_file(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"field resources\.local-process"):
        Drivers(tmp_path, {"local-process": {"shell": True}}).get("local-process")


def test_a_missing_extra_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry:
        name = "local-container"

        def load(self) -> None:
            raise ModuleNotFoundError("No module named 'aiodocker'")

    class Found(dict[str, Entry]):
        names = ("local-container",)

    monkeypatch.setattr(registry, "entry_points", lambda **_: Found({"local-container": Entry()}))
    with pytest.raises(Rejected) as caught:
        Drivers(tmp_path, {}).get("local-container")
    assert caught.value.hint == "pip install 'runyard[docker]'"
