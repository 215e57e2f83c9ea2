"""The server's keys: a file of them, rotated while servers run, or wrapped by a KMS."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.errors import Conflict, Rejected, RunyardError, Unavailable
from runyard.server import rotating
from runyard.server.sealing import KeyFile, sealer, warm
from runyard.server.settings import ServerSettings
from runyard.services.sealing import Sealed, about
from runyard.store import backup
from runyard.store import tables as t
from tests import amazon

from .conftest import World

WORDS = about("secret", "e", "n", 1)
VALUE = b"s3cret-value"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "home" / "secrets.key")


def test_the_first_seal_makes_a_key_that_its_owner_alone_reads(keys: KeyFile) -> None:
    assert not keys.has_key
    sealed = keys.seal(VALUE, WORDS)
    assert keys.path.stat().st_mode & 0o777 == 0o600
    assert keys.has_key
    assert KeyFile(keys.path).open(sealed, WORDS) == VALUE
    assert VALUE not in sealed.data
    assert keys.seal(VALUE, WORDS).data != sealed.data  # equal values look different


def test_T14_a_value_opens_for_what_it_was_sealed_for_alone(keys: KeyFile) -> None:
    sealed = keys.seal(VALUE, WORDS)
    for other in (about("secret", "e", "n", 2), about("hook", "e", "n", 1), b""):
        with pytest.raises(Rejected, match="was changed"):
            keys.open(sealed, other)
    for data in (sealed.data[:-1] + bytes([sealed.data[-1] ^ 1]), b"", b"short"):
        with pytest.raises(Rejected, match="was changed"):
            keys.open(Sealed(sealed.key_id, data), WORDS)


def test_what_a_value_is_bound_to_cannot_be_shifted() -> None:
    assert about("a", "bc") != about("ab", "c")
    assert about("a", 'b", "c') != about("a", "b", "c")


def test_older_keys_open_and_the_newest_seals(keys: KeyFile) -> None:
    sealed = keys.seal(VALUE, WORDS)
    running = KeyFile(keys.path)
    assert running.open(sealed, WORDS) == VALUE
    new = keys.add_key()
    assert running.key_id == new  # a server that runs notices
    assert running.seal(VALUE, WORDS).key_id == new
    assert running.open(sealed, WORDS) == VALUE
    keys.remove([sealed.key_id])
    with pytest.raises(Rejected, match=sealed.key_id):
        running.open(sealed, WORDS)


def test_servers_that_need_the_first_key_at_once_agree_on_one(tmp_path: Path) -> None:
    files = [KeyFile(tmp_path / "secrets.key") for _ in range(8)]
    threads = [threading.Thread(target=file.seal, args=(VALUE, WORDS)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({file.key_id for file in files}) == 1
    assert len(files[0].key_ids) == 1


def test_rotations_at_the_same_time_lose_no_key(keys: KeyFile) -> None:
    threads = [threading.Thread(target=KeyFile(keys.path).add_key) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys.key_ids)) == 8


def test_T17_a_key_file_that_others_read_is_refused(keys: KeyFile) -> None:
    keys.add_key()
    keys.path.chmod(0o644)
    with pytest.raises(Rejected, match="everybody"):
        keys.seal(VALUE, WORDS)
    keys.path.chmod(0o640)
    keys.seal(VALUE, WORDS)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can take a file away from its owner")
def test_a_rotation_by_root_leaves_the_file_to_the_servers_user(keys: KeyFile) -> None:
    keys.path.parent.mkdir()
    os.chown(keys.path.parent, 1234, 1234)
    keys.add_key()
    assert keys.path.stat().st_uid == 1234
    keys.path.chmod(0o640)
    keys.add_key()
    found = keys.path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 1234, 0o640)


def test_T14_a_broken_key_file_is_named_and_not_quoted(keys: KeyFile) -> None:
    keys.add_key()
    key = keys.path.read_text().split()[-1]
    for text in (
        f"k1 plain {key[:-5]}",
        f"k1 plain !{key}",
        key,
        "k1 other " + key,
        "k1 plain AAAA",
    ):
        keys.path.write_text(text)
        with pytest.raises(Rejected) as caught:
            keys.seal(VALUE, WORDS)
        assert key[:20] not in str(caught.value)
    assert warm(keys) is None  # the server starts nevertheless


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Rejected, match="cannot be"):
        KeyFile(tmp_path / "file" / "secrets.key").seal(VALUE, WORDS)


def test_keys_are_not_shown_by_accident(keys: KeyFile) -> None:
    keys.add_key()
    key = keys.path.read_text().split()[-1]
    assert key not in repr(vars(keys)) + repr(keys.seal(VALUE, WORDS))


# -- rotation by an operator -------------------------------------------------------------


def put(world: World, name: str, value: str) -> Any:
    return world.admin.ok("PUT", f"/secrets/admin/{name}", json={"value": value})


def test_a_rotation_while_the_server_runs_and_the_old_key_goes(world: World) -> None:
    settings, database = world.server.settings, world.server.database
    for n in range(3):
        put(world, f"s{n}", f"s3cret-{n}")
    keys = sealer(settings)
    old = keys.key_id
    assert rotating.unused(settings, database) == []
    rotated = rotating.rotate(settings, database)
    assert (rotated.done, rotated.lost) == (3, [])
    assert keys.key_ids == [rotated.key_id, old]
    assert put(world, "s9", "s3cret-9")["version"] == 1
    assert rotating.unused(settings, database) == [old]
    rotating.forget(settings, database, [old])
    assert keys.key_ids == [rotated.key_id]
    with pytest.raises(Conflict):
        rotating.forget(settings, database, [rotated.key_id])
    noted = [e["action"] for e in world.admin.ok("GET", "/audit")["data"]]
    assert {"secrets.rotate", "secrets.forget_key"} <= set(noted)


def test_a_rotation_seals_the_keys_of_notifications_anew(world: World) -> None:
    settings, database, keys = world.server.settings, world.server.database, sealer
    sealed = keys(settings).seal(VALUE, about("hook", "h1"))
    with database.begin() as tx:
        owner = tx.scalar(t.entities.select().limit(1))
        row = {"id": "h1", "entity_id": owner, "name": "h", "kind": "webhook", "created_at": 0}
        tx.run(t.hooks.insert(), {**row, "secret": sealed.data, "key_id": sealed.key_id})
    rotated = rotating.rotate(settings, database)
    assert (rotated.done, rotated.lost) == (1, [])
    rotating.forget(settings, database, [sealed.key_id])
    row = database.read(lambda tx: tx.one(t.hooks.select()))
    now = Sealed(row["key_id"], bytes(row["secret"]))
    assert keys(settings).open(now, about("hook", "h1")) == VALUE


def test_T14_a_backup_has_sealed_values_and_no_key(world: World, tmp_path: Path) -> None:
    put(world, "s", "s3cret-value")
    key = world.server.sealer.path.read_text().split()[-1]
    out = tmp_path / "backup.tar"
    backup.backup(world.server.database, tmp_path / "no-files", out)
    assert b"s3cret-value" not in out.read_bytes()
    assert key.encode() not in out.read_bytes()


# -- AWS KMS -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """A KMS of moto's, over HTTP; boto3 is the real one."""
    with amazon.serving() as url:
        yield url


@pytest.fixture
def kms(aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    import boto3

    amazon.give_account(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", aws)
    return boto3.client("kms", region_name="eu-central-1")


def test_a_kms_wraps_the_key_and_a_copy_of_the_file_is_of_no_use(kms: Any, tmp_path: Path) -> None:
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    settings = ServerSettings(home=tmp_path, secrets_kms_key=arn)
    keys = sealer(settings)
    sealed = keys.seal(VALUE, WORDS)
    assert " aws-kms " in keys.path.read_text()
    assert sealer(settings).open(sealed, WORDS) == VALUE
    with pytest.raises(Rejected, match="not set up for it"):
        KeyFile(keys.path).open(sealed, WORDS)


def test_once_unwrapped_a_key_needs_the_kms_no_more(
    kms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    keys = sealer(ServerSettings(home=tmp_path, secrets_kms_key=arn))
    sealed = keys.seal(VALUE, WORDS)
    keys.load()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    assert keys.open(sealed, WORDS) == VALUE
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable):
        sealer(ServerSettings(home=tmp_path, secrets_kms_key=arn)).open(sealed, WORDS)


def test_a_wrapped_key_is_bound_to_its_name_in_the_file(kms: Any, tmp_path: Path) -> None:
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    settings = ServerSettings(home=tmp_path, secrets_kms_key=arn)
    keys = sealer(settings)
    sealed = keys.seal(VALUE, WORDS)
    keys.path.write_text(keys.path.read_text().replace(sealed.key_id, "kdifferent"))
    with pytest.raises(RunyardError):
        sealer(settings).open(Sealed("kdifferent", sealed.data), WORDS)


def test_without_its_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    keys = sealer(ServerSettings(home=tmp_path, secrets_kms_key="alias/runyard"))
    with pytest.raises(Rejected) as caught:
        keys.seal(VALUE, WORDS)
    assert "runyard[aws]" in caught.value.hint


def test_a_rotation_goes_from_a_plain_key_to_a_wrapped_one(
    kms: Any, world: World, tmp_path: Path
) -> None:
    put(world, "s", "s3cret")
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    settings = world.server.settings.model_copy(update={"secrets_kms_key": arn})
    old = sealer(settings).key_id
    assert rotating.rotate(settings, world.server.database).done == 1
    rotating.forget(settings, world.server.database, [old])
    assert " plain " not in sealer(settings).path.read_text()


def test_a_key_that_the_kms_does_not_know_is_said_in_its_words(kms: Any, tmp_path: Path) -> None:
    arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    keys = sealer(ServerSettings(home=tmp_path, secrets_kms_key=arn))
    with pytest.raises(Rejected, match="NotFoundException"):
        keys.seal(VALUE, WORDS)
