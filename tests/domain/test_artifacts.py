"""Names, paths, digests and manifests of artifacts."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain import artifacts as rules
from runyard.domain import manifests
from runyard.domain.errors import Invalid, NotFound, TooMuch
from runyard.domain.manifests import Entry

MD5 = base64.b64encode(hashlib.md5(b"x").digest()).decode()


def manifest(contents: Any, **more: Any) -> bytes:
    return json.dumps(
        {"version": 1, "storagePolicyConfig": {"storageLayout": "V2"}, "contents": contents} | more
    ).encode()


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/etc/passwd", "../x", "a/../b", "a/..", "..\\x", "a\\..\\b", "\\x", "C:x",
     "c:\\x", "a\0b", "a\nb", "a\x7f", "x" * 1025, "é" * 513, "a\ud800"],
)  # fmt: skip
def test_T11_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        rules.check_path(path)
    with pytest.raises(Invalid):
        manifests.read(manifest({path: {"digest": MD5}}))


@pytest.mark.parametrize(
    "path", ["a", "a/b.txt", "..a", "a..", ".hidden", "a b", "50% of it", "x" * 1024, "ü/日本"]
)
def test_other_paths_pass(path: str) -> None:
    rules.check_path(path)
    assert list(manifests.read(manifest({path: {"digest": MD5}}))) == [path]


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "x" * 129, "a\n", "..", "."])
def test_names_that_could_not_be_written_in_a_path_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        rules.check_collection(name)


@pytest.mark.parametrize("alias", ["", "v0", "v12", "a/b", "a:b", "x" * 129])
def test_an_alias_is_no_version_and_no_path(alias: str) -> None:
    with pytest.raises(Invalid):
        rules.check_aliases(["good", alias])


def test_aliases_are_kept_once_in_their_order() -> None:
    assert rules.check_aliases(["b", "a", "b", "vv1", "v"]) == ("b", "a", "vv1", "v")
    with pytest.raises(Invalid):
        rules.check_aliases([f"a{n}" for n in range(101)])


@pytest.mark.parametrize("tag", ["", " a", "a ", "a/b", "a,b", "x" * 129])
def test_tags_are_words(tag: str) -> None:
    assert rules.check_tags(["a b-c", "a b-c", "d_e"]) == ("a b-c", "d_e")
    with pytest.raises(Invalid):
        rules.check_tags([tag])


def test_metadata_is_an_object_that_stays_as_it_came() -> None:
    text = '{"a": NaN, "b": [1e400, -Infinity], "a": 2}'
    assert rules.check_metadata(text) == text
    assert rules.check_metadata(None) == rules.check_metadata("null") == "{}"
    for wrong in ("[1]", "1", "{", "[" * 100_000):
        with pytest.raises(Invalid):
            rules.check_metadata(wrong)
    with pytest.raises(TooMuch):
        rules.check_metadata(json.dumps({"a": "x" * (5 << 20)}))


def test_an_unknown_region_is_named_in_the_refusal() -> None:
    rules.check_region("default")
    with pytest.raises(Invalid, match="mars-north-1"):
        rules.check_region("mars-north-1")


@pytest.mark.parametrize(
    "given", ["", "abc", MD5[:-2], MD5 + "=", "!" * 24, MD5.replace("=", "\n")]
)
def test_an_md5_is_sixteen_bytes_in_one_spelling(given: str) -> None:
    assert rules.md5_of(MD5) == hashlib.md5(b"x").hexdigest()
    assert rules.in_base64(rules.md5_of(MD5)) == MD5
    with pytest.raises(Invalid):
        rules.md5_of(given)


def test_where_content_lies_says_which_it_is() -> None:
    md5 = rules.md5_of(MD5)
    assert rules.md5_at(rules.storage_path(md5)) == md5
    for path in (md5, f"wandb_artifacts/zz/{md5}", f"wandb_artifacts/{md5[:2]}/../{md5}", ""):
        with pytest.raises(NotFound):
            rules.md5_at(path)


def test_the_digest_is_the_one_that_the_client_computes() -> None:
    """A header and a line for each path; `tests/wandb` compares it with the client's own."""
    told = {"b.txt": MD5, "a/ü.txt": "s3-etag-1", "z": "https://example.org/x"}
    lines = "wandb-artifact-manifest-v1\n" + "".join(
        f"{path}:{told[path]}\n" for path in ("a/ü.txt", "b.txt", "z")
    )
    assert rules.digest_of(told) == hashlib.md5(lines.encode()).hexdigest()


@pytest.mark.parametrize(
    "wrong",
    [
        b"{", b"[]", b"null", b'{"version": 1}', b"\xff", b"[" * 100_000,
        manifest([]), manifest({}, version=2), manifest({}, storagePolicyConfig=[1]),
        manifest({}, storagePolicyConfig={"storageLayout": "V1"}),
        manifest({"a": None}), manifest({"a": {}}), manifest({"a": {"digest": 1}}),
        manifest({"a": {"digest": "not base64"}}), manifest({"a": {"digest": MD5, "size": -1}}),
        manifest({"a": {"digest": MD5, "size": True}}),
        manifest({"a": {"digest": MD5, "size": 1.5}}),
        manifest({"a": {"digest": MD5, "size": 2**63}}), manifest({"a": {"digest": MD5, "ref": 1}}),
        manifest({"a": {"digest": "x", "ref": "http://a\r\nSet-Cookie: b"}}),
        manifest({"a": {"digest": MD5, "extra": []}}),
        manifest({"a": {"digest": MD5, "extra": {"alg": "XXH128"}}}),
        manifest({"a": {"digest": MD5, "extra": {"x": "y" * 70_000}}}),
        manifest({"a": {"digest": MD5, "birthArtifactID": 7}}),
        manifest({"a": {"digest": MD5, "birthArtifactID": "x" * 300}}),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(wrong: bytes) -> None:
    with pytest.raises(Invalid):
        manifests.read(wrong)


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MOST_ENTRIES", 2)
    one, two = ({path: Entry(MD5, "0" * 32, 1) for path in paths} for paths in ("ab", "bc"))
    assert len(manifests.read(manifest({p: {"digest": MD5} for p in "ab"}))) == 2
    with pytest.raises(TooMuch):
        manifests.read(manifest({p: {"digest": MD5} for p in "abc"}))
    with pytest.raises(TooMuch):
        manifests.merged([one, two])


_paths = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\:"),
                 min_size=1, max_size=20).filter(lambda p: p not in (".", ".."))  # fmt: skip
_json = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                     lambda inner: st.lists(inner, max_size=2), max_leaves=4)  # fmt: skip


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    size = draw(st.none() | st.integers(0, 2**62))
    birth = draw(st.sampled_from(["", "QXJ0aWZhY3Q6MQ=="]))
    extra = draw(st.none() | st.dictionaries(st.sampled_from("xyz"), _json, max_size=2))
    kept = json.dumps(extra) if extra else ""
    if draw(st.booleans()):
        md5 = hashlib.md5(draw(st.binary(max_size=3))).hexdigest()
        return Entry(rules.in_base64(md5), md5, size, None, kept, birth)
    address = draw(st.sampled_from(["s3://b/k", "https://e.org/x?y=1", "file:///a b"]))
    return Entry(draw(st.sampled_from(["etag-1", address])), None, size, address, kept, birth)


_layers = st.dictionaries(_paths, _entries(), max_size=6)


@given(_layers)
def test_what_is_written_reads_back_the_same(entries: dict[str, Entry]) -> None:
    assert manifests.read(manifests.write(entries)) == entries


@given(st.lists(_layers, max_size=4))
def test_merging_keeps_the_last_word_on_every_path(layers: list[dict[str, Entry]]) -> None:
    total = manifests.merged(layers)
    assert set(total) == {path for layer in layers for path in layer}
    for path, entry in total.items():
        assert entry == next(layer[path] for layer in reversed(layers) if path in layer)
    again = manifests.merged([manifests.merged(layers[:2]), *layers[2:]])
    assert again == total
    assert manifests.digest(again) == manifests.digest(total)


@given(_layers, st.randoms())
def test_the_digest_knows_no_order_and_every_change(entries: dict[str, Entry], dice: Any) -> None:
    mixed = list(entries.items())
    dice.shuffle(mixed)
    assert manifests.digest(dict(mixed)) == manifests.digest(entries)
    for path in entries:
        assert manifests.digest({p: e for p, e in mixed if p != path}) != manifests.digest(entries)
