"""A matcher whose time is bounded finds what the standard one finds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import Invalid
from runyard.domain.safe_regex import SafeRegex

PATTERNS = [
    "", "a", "^a", "a$", "^a$", "a.c", "a*b", "a+b?", "(ab)+", "(?:ab|ba)*$", "a|b|", "[abc]+c",
    "[^ab]", "[a-c]{2}", "a{2,}b", "a{1,2}$", r"\d+", r"\w\s\w", r"\.", r"\bab\b", r"\Bb", "a{b",
    "[]a]", "[a-]", "(a|b)(c|)", "^(a|ab)(c|bcd)$", "a*?b", r"[\d.]+", r"\D", "((a))", "x*",
]  # fmt: skip


@given(st.sampled_from(PATTERNS), st.text("abcd1. -_\n", max_size=8))
def test_it_finds_what_the_standard_matcher_finds(pattern: str, text: str) -> None:
    standard = re.compile(pattern.replace("$", r"\Z"))
    assert SafeRegex.parse(pattern).finds(text) == (standard.search(text) is not None)


@given(st.sampled_from(PATTERNS), st.text("abCD1. -_", max_size=8))
def test_case_may_be_ignored(pattern: str, text: str) -> None:
    found = re.compile(pattern.replace("$", r"\Z"), re.IGNORECASE).search(text) is not None
    assert SafeRegex.parse(pattern, ignore_case=True).finds(text) == found
    assert SafeRegex.parse("(?i)" + pattern).finds(text) == found


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[", "[a", "*", "a**", r"(a)\1", "(?=a)", "(?P<n>a)", "a{3,2}", "a{900}", "\\",
     "(" * 30 + ")" * 30, "a" * 501, "((a{99}){99}){99}", "(((((){99}){99}){99}){99}){99}",
     "[z-a]", r"\q"],
)  # fmt: skip
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid):
        SafeRegex.parse(pattern)


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+$", ".*.*.*.*x", "(a?){50}a{50}"])
def test_no_pattern_is_a_catastrophe(pattern: str) -> None:
    assert not SafeRegex.parse(pattern).finds("a" * 40 + "!")
