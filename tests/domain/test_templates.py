"""Templates: what fills them, what does not, and that nothing gets past a bound (T9)."""

import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.domain.configs import template_faults
from runyard.domain.errors import Invalid
from runyard.domain.queues import Queue, Resource
from runyard.domain.specs import LaunchSpec, check_template_of, resolve, settle
from runyard.domain.templates import Variable, check_template, chosen, fill, parse_variables

T0 = datetime(2030, 1, 1, tzinfo=UTC)

VARIABLES = parse_variables(
    {
        "gpus": {"type": "integer", "default": 1, "minimum": 0, "maximum": 4},
        "cpus": {"type": "number", "default": 1, "minimum": 0.5, "maximum": 8},
        "mem": {"type": "string", "enum": ["8g", "16g"], "default": "8g"},
        "debug": {"type": "boolean", "default": False},
        "note": {"type": "string", "default": ""},
    }
)
CONFIG = {
    "gpus": "{{gpus}}",
    "cpus": "{{ cpus }}",
    "memory": "{{mem}}",
    "env": ["DEBUG={{debug}}", "NOTE={{note}}", "FIXED=1"],
    "pids-limit": 100,
}
QUEUE = Queue("q", "e", "lab", "gpu", Resource.LOCAL_CONTAINER, T0, CONFIG, VARIABLES)
IMAGE = {"docker": {"docker_image": "busybox"}}


def filled(**spec):
    return settle(LaunchSpec.parse({**IMAGE, **spec}), QUEUE, may_change=False).filled


def refused(**spec):
    with pytest.raises(Invalid) as error:
        filled(**spec)
    return {v.path: v.message for v in error.value.violations}


def test_a_whole_value_takes_the_variables_type_and_a_part_is_written_into_the_text():
    found = filled(template_variables={"gpus": 2, "cpus": 1.5, "debug": True, "note": "a b"})
    assert found == {
        "gpus": 2, "cpus": 1.5, "memory": "8g", "pids-limit": 100,
        "env": ["DEBUG=true", "NOTE=a b", "FIXED=1"],
    }  # fmt: skip


def test_defaults_fill_what_is_not_said():
    assert filled()["gpus"] == 1
    assert filled(template_variables={"gpus": None})["gpus"] == 1


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("gpus", 5, "above the maximum of 4"),
        ("gpus", -1, "below the minimum of 0"),
        ("gpus", "2", "not a whole number"),
        ("gpus", True, "true is not a whole number"),
        ("gpus", 2.5, "not a whole number"),
        ("gpus", [2], "not a whole number"),
        ("cpus", float("nan"), "not a number"),
        ("cpus", float("inf"), "not a number"),
        ("cpus", 0.4, "below"),
        ("mem", "64g", "none of '8g', '16g'"),
        ("debug", 1, "not true or false"),
        ("debug", "true", "not true or false"),
        ("note", "{{gpus}}", "may not contain '{{'"),
        ("note", "}}", "may not contain"),
        ("note", "${AWS_SECRET_ACCESS_KEY}", "may not contain '${'"),
        ("note", "x" * 5000, "4096 at most"),
        ("note", "a\0b", "NUL"),
        ("gpu", 1, "did you mean gpus?"),
        ("GPUS", 1, "not of this queue"),
        ("ｇpus", 1, "not of this queue"),
    ],
)
def test_T9_a_value_outside_of_its_bounds_is_refused(name, value, told):
    assert told in refused(template_variables={name: value})[f"template_variables.{name}"]


@pytest.mark.parametrize(
    "args",
    [
        {"local-container": {"gpus": 8}},
        {"local-container": {"--GPUS": "all"}},
        {"local-container": {"privileged": True}},
        {"local-container": {"memory": None}},
        {"local-container": {"env": []}},
        {"local-container": {"": 1}},
        {"local-container": {"unknown": {}}},
        {"local_container": {"gpus": 8}},
        {"vertex": {"gpus": 8}},
    ],
)
def test_T9_nothing_but_the_variables_can_be_changed_in_any_spelling(args):
    assert refused(resource_args=args)


def test_all_violations_are_told_at_once():
    found = refused(
        template_variables={"gpus": 9, "mem": "1t", "typo": 1},
        resource_args={"local-container": {"privileged": True, "cpus": 64}},
    )
    assert set(found) == {
        "template_variables.gpus", "template_variables.mem", "template_variables.typo",
        "resource_args.local-container.privileged", "resource_args.local-container.cpus",
    }  # fmt: skip


def test_an_admin_may_lay_settings_over_a_template():
    spec = LaunchSpec.parse({**IMAGE, "resource_args": {"local-container": {"cpus": 64}}})
    settled = settle(spec, QUEUE, may_change=True)
    assert settled.filled["cpus"] == 64
    assert settled.laid_over == {"cpus": 64}


def test_a_queue_without_variables_explains_that_it_has_none():
    plain = Queue("q", "e", "lab", "plain", Resource.LOCAL_CONTAINER, T0, {"cpus": 1})
    spec = LaunchSpec.parse({**IMAGE, "template_variables": {"gpus": 1}})
    with pytest.raises(Invalid) as error:
        settle(spec, plain, may_change=False)
    assert "it has none" in str(error.value.violations[0])


def resolved(**spec):
    read = LaunchSpec.parse({**IMAGE, **spec})
    return resolve(
        read, QUEUE, None, entity="lab", project="p", run_name="r", author="a",
        config=settle(read, QUEUE, may_change=True),
    )  # fmt: skip


def test_the_agent_comes_to_the_same_configuration():
    check_template_of(resolved(template_variables={"gpus": 3}))
    check_template_of(
        resolved(template_variables={"gpus": 3}, resource_args={"local-container": {"cpus": 64}})
    )
    check_template_of({"resource": "local-container", "resource_args": {}})


def test_T9_the_agent_refuses_what_a_template_did_not_make():
    spec = resolved(template_variables={"gpus": 3})
    spec["resource_args"]["local-container"]["privileged"] = True
    with pytest.raises(Invalid, match="template"):
        check_template_of(spec)
    spec = resolved()
    spec["template"]["values"]["gpus"] = 99
    spec["resource_args"]["local-container"]["gpus"] = 99
    with pytest.raises(Invalid) as error:
        check_template_of(spec)
    assert "above the maximum" in str(error.value.violations[0])


# -- declaring -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "object"}, "variables.x.type"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, "variables.x.minimum"),
        ({"type": "integer", "default": 9, "maximum": 4}, "variables.x.default"),
        ({"type": "integer", "enum": ["a"]}, "variables.x.enum.0"),
        ({"type": "string", "enum": []}, "variables.x.enum"),
        ({"type": "string", "minimum": 1}, "variables.x.minimum"),
        ({"type": "integer", "maxmum": 4}, "variables.x.maxmum"),
        ({"type": "string", "default": "${HOME}"}, "variables.x.default"),
        ([], "variables.x"),
    ],
)
def test_a_wrong_variable_is_named(schema, path):
    with pytest.raises(Invalid) as error:
        parse_variables({"x": schema})
    assert [v.path for v in error.value.violations] == [path]


def test_a_variable_is_written_as_it_was_read():
    for variable in VARIABLES.values():
        assert parse_variables({"x": variable.to_json()})["x"] == variable
    assert parse_variables({"x": {"type": "float"}})["x"].type == "number"  # the peer's word


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"a": "{{gpu}}"}, "did you mean gpus?"),
        ({"a": ["{{gpus"]}, "without its other half"),
        ({"a": "{{gpus}} }}"}, "without its other half"),
        ({"{{gpus}}": 1}, "not in a key"),
        ({"a": {"b": "{{}}"}}, "not among the variables"),
        ({"a": 1}, "the config has no {{gpus}}"),
    ],
)
def test_a_wrong_placeholder_is_named(config, told):
    wrong = check_template(config, {"gpus": Variable("integer")})
    assert any(told in v.message for v in wrong), wrong


def test_a_template_is_tried_with_every_value_it_allows():
    variables = parse_variables({"m": {"type": "string", "enum": ["8g", "lots"], "default": "8g"}})
    found = template_faults(Resource.LOCAL_CONTAINER, {"memory": "{{m}}"}, variables)
    assert [v.path for v in found] == ["memory"]
    assert "m = 'lots'" in found[0].message
    variables = parse_variables({"n": {"type": "integer", "minimum": 0, "default": 1}})
    found = template_faults(Resource.LOCAL_CONTAINER, {"pids-limit": "{{n}}"}, variables)
    assert "n = 0" in found[0].message


def test_what_was_filled_in_is_not_looked_at_again():
    assert fill({"a": "{{x}}"}, {"x": "{{y}}", "y": "no"}) == {"a": "{{y}}"}


# -- no way past -----------------------------------------------------------------------------

_ODD = [
    None, True, False, 0, 1, 4, 5, -1, 4.0, 4.5, 1e308, -0.0, 10**30, "", "4", "all", "8g", "16g",
    " 8g", "8g\n", "{{gpus}}", "${HOME}", "{ {gpus} }", "}}", "\u200b8g", "８g", [], [1], {},
    {"gpus": 9}, "x" * 5000, "\0", "$", "{", "privileged",
]  # fmt: skip
_NAMES = [*VARIABLES, "gpu", "GPUS", "gpus ", " gpus", "ｇpus", "__class__", "", "*", "gpus.x",
          "env", "privileged"]  # fmt: skip
_KEYS = ["gpus", "GPUS", "--gpus", "cpus", "env", "privileged", "memory", "m", "user", "volume",
         "secrets", "builder", "", "__proto__"]  # fmt: skip
_RESOURCES = ["local-container", "local_container", "LOCAL-CONTAINER", "docker", "vertex",
              "kubernetes", "local-process", "", " local-container"]  # fmt: skip


def _random_submission(rng):
    spec = dict(IMAGE)
    if rng.random() < 0.9:
        spec["template_variables"] = {
            rng.choice(_NAMES): rng.choice(_ODD) for _ in range(rng.randrange(4))
        }
    if rng.random() < 0.4:
        spec["resource_args"] = {
            rng.choice(_RESOURCES): {
                rng.choice(_KEYS): rng.choice(_ODD) for _ in range(rng.randrange(3))
            }
            for _ in range(rng.randrange(1, 3))
        }
    if rng.random() < 0.1:
        spec["resource"] = rng.choice(_RESOURCES)
    return spec


def _is_within_bounds(config):
    gpus, cpus, mem = config["gpus"], config["cpus"], config["memory"]
    return (
        set(config) == set(CONFIG)
        and type(gpus) is int and 0 <= gpus <= 4
        and type(cpus) in (int, float) and 0.5 <= cpus <= 8
        and mem in ("8g", "16g")
        and config["pids-limit"] == 100
        and len(config["env"]) == 3
        and config["env"][0] in ("DEBUG=true", "DEBUG=false")
        and config["env"][1].startswith("NOTE=")
        and not any(bad in config["env"][1] for bad in ("{{", "}}", "${", "\0"))
        and config["env"][2] == "FIXED=1"
    )  # fmt: skip


def test_T9_twenty_thousand_random_submissions_find_no_way_past_a_bound():
    rng = random.Random(20_000)
    taken = 0
    for n in range(20_000):
        data = json.loads(json.dumps(_random_submission(rng)))  # as it comes over the wire
        try:
            config = settle(LaunchSpec.parse(data), QUEUE, may_change=False).filled
        except Invalid:
            continue
        taken += 1
        assert _is_within_bounds(config), (n, data, config)
    assert taken > 2000  # the way within the bounds is open


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(given=st.dictionaries(st.sampled_from(sorted(VARIABLES)), _values, max_size=5))
@settings(max_examples=500, deadline=None)
def test_T9_whatever_is_given_the_result_is_within_bounds_or_refused(given):
    try:
        values = chosen(VARIABLES, given)
    except Invalid:
        return
    assert _is_within_bounds(fill(CONFIG, values))
