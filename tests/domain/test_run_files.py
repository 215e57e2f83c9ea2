import pytest

from runyard.domain.errors import Invalid
from runyard.domain.run_files import MOST, good, normal


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a b.txt", "a b.txt"),
        ("./a b.txt", "a b.txt"),
        ("media//x/./y.png", "media/x/y.png"),
        ("...", "..."),
        ("a..b/..c", "a..b/..c"),
        ("C:%2e%2e.txt", "C:%2e%2e.txt"),
        ("ü☃/日本", "ü☃/日本"),
        ("x" * 1024, "x" * 1024),
    ],
)
def test_a_name_is_kept_in_one_form(name, kept):
    assert normal(name) == kept
    assert normal(kept) == kept


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "./", "a/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a\\..\\..\\x",
        "\\x", "a\0b", "a\nb", "a\x7f", "a\x85b", "a\u2028b", "\ud800", "x" * 1025, "☃" * 342,
    ],
)  # fmt: skip
def test_T11_a_name_that_leads_out_or_is_none_is_refused(name):
    with pytest.raises(Invalid):
        normal(name)


def test_one_bad_name_does_not_keep_the_others_from_being_uploaded():
    assert good(["./a", "../b", "c"]) == {"./a": "a", "c": "c"}
    assert good([]) == {}
    with pytest.raises(Invalid, match="leads out"):
        good(["../b"])
    with pytest.raises(Invalid, match="at once"):
        good(["a"] * (MOST + 1))
