"""What is kept of the output of a program that builds."""

from __future__ import annotations

from runyard.builders.programs import Tail


def test_of_much_output_the_end_is_kept() -> None:
    tail = Tail()
    for number in range(100_000):
        tail.feed(f"layer {number}: pushed\n")
    tail.feed("denied: not for you\n")
    assert len(tail.text) < 1 << 20
    assert tail.last_line == "denied: not for you"
    assert tail.text.endswith("layer 99999: pushed\ndenied: not for you\n")
