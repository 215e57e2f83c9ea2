import base64
import json
import shlex
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.agent.masking import SHORTEST, Mask, spellings

# Few letters and secrets that begin with each other's ends: what a splitter gets wrong.
SECRETS = st.lists(st.text("ab", min_size=6, max_size=12), max_size=4)


def masked_by_hand(text: bytes, secrets: list[str]) -> bytes:
    hidden = set()
    for secret in (secret.encode() for secret in secrets):
        for at in range(len(text)):
            if text.startswith(secret, at):
                hidden |= set(range(at, at + len(secret)))
    return bytes(ord("*") if at in hidden else byte for at, byte in enumerate(text))


@given(SECRETS, st.lists(st.text("abc", max_size=20)))
def test_T14_any_cutting_into_chunks_gives_what_masking_the_whole_gives(
    secrets: list[str], chunks: list[str]
) -> None:
    mask = Mask(secrets)
    shown = b"".join(mask.feed(chunk.encode()) for chunk in chunks) + mask.flush()
    assert shown == masked_by_hand("".join(chunks).encode(), secrets)


def test_T14_a_secret_in_two_pieces_is_hidden_and_offsets_stay() -> None:
    mask = Mask(["s3cr3t-token"])
    first = mask.feed(b"key=s3cr3t")
    assert first == b"key="
    assert mask.feed(b"-token end\n") == b"*" * 12 + b" end\n"
    assert mask.flush() == b""


def test_what_cannot_begin_a_secret_is_shown_at_once() -> None:
    mask = Mask(["s3cr3t-token"])
    assert mask.feed(b"epoch 1\n") == b"epoch 1\n"
    assert mask.feed(b"almost s3cr3t") == b"almost "
    assert mask.flush() == b"s3cr3t"


def test_short_secrets_are_words_and_stay() -> None:
    mask = Mask(["true", ""])
    assert mask.feed(b"true") == b"true"
    assert mask.lookback == 0


def test_starting_in_the_middle_needs_no_more_than_the_lookback() -> None:
    text, secret = b"x" * 50 + b"s3cr3t-token" + b"y" * 50, "s3cr3t-token"
    whole = masked_by_hand(text, [secret])
    for offset in range(len(text)):
        mask = Mask([secret])
        start = max(0, offset - mask.lookback)
        shown = mask.feed(text[start:]) + mask.flush()
        assert shown[offset - start :] == whole[offset:]


NASTY = 'pass/word+of a "user"\n\u00e4\u20ac$(id)\\ end'
PEM = "-----BEGIN KEY-----\n" + "\n".join(["MIIEvQIBADAN" * 5] * 5) + "\n-----END KEY-----\n"


@pytest.mark.parametrize("secret", ["s3cr3t-token", NASTY, PEM, "x" * 200])
@pytest.mark.parametrize(
    "spell",
    [
        str,
        repr,
        json.dumps,
        lambda s: json.dumps(s, ensure_ascii=False),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
        lambda s: base64.encodebytes(s.encode()).decode(),
        lambda s: base64.b64encode(s.encode() + b"\n").decode()[: len(s.encode()) // 3 * 4],
        urllib.parse.quote,
        urllib.parse.quote_plus,
        lambda s: urllib.parse.quote(s, safe=""),
        lambda s: s.encode().hex(),
        lambda s: "\n".join(f"| {line}" for line in s.splitlines()),
        lambda s: shlex.quote(s).splitlines()[-1],
    ],
)
def test_T14_a_secret_is_hidden_however_a_program_spells_it(secret: str, spell: object) -> None:
    text = spell(secret)  # type: ignore[operator]
    mask = Mask(spellings([secret]))
    shown = (mask.feed(f"<{text}>".encode()) + mask.flush()).decode(errors="replace")
    left = shown.replace("*", "")
    assert all(
        line not in left for line in text.splitlines() if len(line) >= SHORTEST + 4
    ), left  # fmt: skip
    assert len(left) <= len("<>" + 6 * "|  \n''")


def test_spellings_begin_with_the_secret_and_do_not_repeat() -> None:
    found = spellings(["s3cr3t-token", "s3cr3t-token"])
    assert found[0] == "s3cr3t-token"
    assert len(found) == len(set(found))


def test_T20_the_largest_secret_does_not_stop_the_output() -> None:
    lines = "".join(f"line {n} of a file of keys\n" for n in range(2300))
    mask = Mask(spellings([lines[: 64 << 10]]))
    begun = time.perf_counter()
    for _ in range(4):
        assert len(mask.feed(b"some output of a job\n" * 3000)) <= 63_000
    assert time.perf_counter() - begun < 10
