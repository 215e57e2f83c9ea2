from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import Rejected
from runyard.domain.macros import BUILT_IN, fill

MACROS = dict.fromkeys(BUILT_IN, "built-in")
ENV = {"HOME": "/home/me", "AWS_SECRET": "s3cr3t", "run_id": "shadow"}


def test_built_in_macros_are_filled_in_values_at_any_depth_and_never_in_keys():
    value = {"${run_id}": ["a-${run_id}", {"b": "${image_uri}"}], "n": 3, "t": True}
    assert fill(value, MACROS, {}, ()) == {
        "${run_id}": ["a-built-in", {"b": "built-in"}],
        "n": 3,
        "t": True,
    }


def test_the_environment_cannot_shadow_a_built_in_macro():
    assert fill("${run_id}", MACROS, ENV, ["run_id"]) == "built-in"


def test_what_nobody_knows_stays():
    assert fill("${nobody} $HOME ${}", MACROS, ENV, ()) == "${nobody} $HOME ${}"


def test_an_allowed_variable_is_read():
    assert fill("${HOME}/x", MACROS, ENV, ["HOME"]) == "/home/me/x"


def test_a_variable_outside_the_allow_list_is_refused_and_its_value_not_told():
    with pytest.raises(Rejected, match="AWS_SECRET") as raised:
        fill({"a": ["${AWS_SECRET}"]}, MACROS, ENV, ["HOME"])
    assert "s3cr3t" not in str(raised.value) + raised.value.hint


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_nothing_of_the_environment_comes_through_without_being_allowed(text, env):
    with suppress(Rejected):
        assert fill(text, {}, env, ()) == text


def test_a_filled_value_is_not_read_again():
    assert fill("${run_name}", {"run_name": "${HOME}"}, ENV, ["HOME"]) == "${HOME}"
