from hypothesis import given
from hypothesis import strategies as st

from runyard.agent.masking import Mask

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
