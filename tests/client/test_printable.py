"""T25: what a job prints cannot steer the terminal of whoever reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.client.printable import Printable, clean

PIECES = st.sampled_from(
    [b"text", b"\n", b"\r", b"\r\n", b"\x1b", b"[", b"31", b"m", b"]0;t", b"\x07", b"\x1b\\",
     b"\x9b", b"\xc2\x9b", "é".encode(), b"\xc3", b"\x00", b"\x08", "\u202e".encode(), b"P", b";"]
)  # fmt: skip


def shown(data: bytes) -> str:
    plain = Printable()
    return plain.feed(data) + plain.rest()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        ("Grüße 漢字 🙂\n".encode(), "Grüße 漢字 🙂\n"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b[2J\x1b[H\x1b[?25lgone", "gone"),
        (b"\x1b]0;title\x07x", "x"),
        (b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b]52;c;ZXZpbA==\x07", ""),
        (b"\x1bP+q544e\x1b\\x", "x"),
        (b"\x1bc\x1b7\x1b(Bx", "x"),
        (b"\xc2\x9b31mred", "red"),
        (b"10%\r20%\r\ndone\r", "10%\n20%\ndone\n"),
        (b"a\x08\x08bc\x00\x7f", "abc"),
        ("a\u202eb\u2066c".encode(), "abc"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"open\x1b[31", "open[31"),
    ],
)
def test_T25_only_text_passes(data: bytes, text: str) -> None:
    assert shown(data) == text


@given(st.lists(PIECES, max_size=30), st.data())
def test_T25_however_it_is_cut_nothing_that_steers_comes_out(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    plain, text, at = Printable(), "", 0
    while at < len(whole):
        step = data.draw(st.integers(1, len(whole) - at))
        text += plain.feed(whole[at : at + step])
        at += step
    text += plain.rest()
    assert text == shown(whole)
    assert all(c in "\n\t" or (c.isprintable() or c == "\ufffd") for c in text)


def test_T25_a_sequence_that_never_ends_holds_back_no_more_than_a_little() -> None:
    plain = Printable()
    text = plain.feed(b"\x1b]0;" + b"x" * 10_000)
    assert len(text) > 9_000
    assert "\x1b" not in text


def test_messages_of_servers_are_cleaned_too() -> None:
    assert clean("no \x1b[31mqueue\x1b]0;t\x07") == "no queue"
