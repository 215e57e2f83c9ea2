from pathlib import Path
from typing import Any

import pytest

from runyard.agent.config import AgentConfig, default_name
from runyard.agent.loading import default_file, load
from runyard.domain.errors import Invalid


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return path


def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def refused(call: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        call()
    return str(caught.value).splitlines()


def test_without_a_file_there_are_defaults(tmp_path: Path) -> None:
    config = load(home(tmp_path))
    assert (config.queues, config.max_jobs, config.name) == (["default"], 1, default_name())
    assert config.macros == config.env_passthrough == []


def test_later_wins_defaults_file_environment_flags(tmp_path: Path) -> None:
    path = file(tmp_path, "max_jobs: 2\nqueues: [file]\nverbosity: 1\nentity: team\n")
    environ = {"RUNYARD_AGENT_MAX_JOBS": "3", "RUNYARD_AGENT_QUEUES": "env, other"}
    config = load(environ, file=path, flags={"max_jobs": 4})

    assert (config.entity, config.verbosity) == ("team", 1)
    assert (config.queues, config.max_jobs) == (["env", "other"], 4)


def test_the_default_file_is_read_where_it_is(tmp_path: Path) -> None:
    path = default_file(home(tmp_path))
    path.parent.mkdir()
    path.write_text("max_jobs: -1")
    assert load(home(tmp_path)).max_jobs == -1
    assert default_file({}).as_posix().endswith("/.config/runyard/agent.yaml")


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    assert refused(lambda: load({}, file=tmp_path / "no.yaml")) == [
        f"agent config {tmp_path / 'no.yaml'}: there is no such file"
    ]


def test_every_bad_field_is_named_with_what_was_given(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        "max_jobs: '4'\nqueus: [a]\ngpus: 3\nname: -x\ngit: {depth: 1}\nverbosity: 7\n"
        "macros: [A-B]\nenv_passthrough: HOME\nmax_schedulers: 0\n",
    )
    lines = refused(lambda: load({}, file=path))
    named = {line.split("field ")[1].partition(":")[0] for line in lines}

    assert named == {
        "max_jobs", "queus", "gpus", "name", "git.depth", "verbosity", "macros",
        "env_passthrough", "max_schedulers",
    }  # fmt: skip
    assert all(line.startswith(f"agent config {path}: field ") for line in lines)
    assert any("did you mean queues?" in line for line in lines)
    assert any("'4'" in line for line in lines)


def test_a_misspelt_key_of_a_section_is_told_its_nearest(tmp_path: Path) -> None:
    path = file(tmp_path, "builder: {base_imag: a, accelerator: {base_imagee: a}}\n")
    lines = refused(lambda: load({}, file=path))
    assert [line.partition("field ")[2] for line in lines] == [
        "builder.accelerator.base_imagee: unknown; did you mean base_image?",
        "builder.base_imag: unknown; did you mean base_image?",
    ]


def test_a_bad_variable_and_a_bad_flag_are_named_as_such() -> None:
    (line,) = refused(lambda: load({"RUNYARD_AGENT_MAX_JOBS": "many", "XDG_CONFIG_HOME": "/no"}))
    assert line.startswith("variable RUNYARD_AGENT_MAX_JOBS: field max_jobs:")
    (line,) = refused(lambda: load({"XDG_CONFIG_HOME": "/no"}, flags={"max_jobs": -2}))
    assert line.startswith("command line: field max_jobs:")


def test_a_variable_that_nobody_knows_is_refused() -> None:
    (line,) = refused(lambda: load({"RUNYARD_AGENT_MAXJOBS": "1", "XDG_CONFIG_HOME": "/no"}))
    assert "RUNYARD_AGENT_MAXJOBS" in line or "maxjobs" in line


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\x00", "1: 2"])
def test_what_is_no_mapping_of_fields_is_refused(tmp_path: Path, text: str) -> None:
    assert refused(lambda: load({}, file=file(tmp_path, text)))[0].startswith("agent config")


def test_T10_a_file_makes_no_objects(tmp_path: Path) -> None:
    path = file(tmp_path, f"name: !!python/object/apply:os.mknod [{tmp_path / 'made'}]\n")
    refused(lambda: load({}, file=path))
    refused(lambda: load({"RUNYARD_AGENT_MAX_JOBS": f"!!python/name:os.mknod {tmp_path}"}))
    assert not (tmp_path / "made").exists()


def test_one_queue_may_be_called_queue_as_the_peer_does(tmp_path: Path) -> None:
    assert load({}, file=file(tmp_path, "queue: a")).queues == ["a"]
    assert load({}, file=file(tmp_path, "queue: a\nqueues: [b, a]")).queues == ["b", "a"]


def test_words_in_variables_stay_words() -> None:
    environ = {"RUNYARD_AGENT_NAME": "007", "RUNYARD_AGENT_ENTITY": "1e5", "XDG_CONFIG_HOME": "/no"}
    config = load(environ)
    assert (config.name, config.entity) == ("007", "1e5")


def test_T14_the_key_is_shown_nowhere() -> None:
    config = load({"RUNYARD_API_KEY": "ry-secret-key", "XDG_CONFIG_HOME": "/no"})
    assert config.api_key is not None
    assert config.api_key.get_secret_value() == "ry-secret-key"
    assert "ry-secret-key" not in repr(config) + str(config.shown())
    (line,) = refused(lambda: load({"XDG_CONFIG_HOME": "/no"}, flags={"api_key": 12345678}))
    assert "12345678" not in line


def test_each_agent_has_a_directory_of_its_own() -> None:
    assert AgentConfig(name="a", work_dir="/w").root == Path("/w/a")


def test_every_field_is_described_with_an_example() -> None:
    for name, field in AgentConfig.model_fields.items():
        assert field.description, name
        assert field.examples, name
