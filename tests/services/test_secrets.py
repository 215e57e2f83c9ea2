"""Secrets in the store, and on their way to the agent that claimed an item."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from runyard.domain.access import Action
from runyard.domain.building import secrets_named
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, RunyardError
from runyard.domain.secrets import Stored, merged
from runyard.server.sealing import KeyFile
from runyard.services import queues, resealing, secret_store, secrets
from runyard.store import secrets as rows
from runyard.store import tables as t
from runyard.wire import agent as wire

from .conftest import Yard

VALUE = "s3cret-value-of-a-test"


@pytest.fixture
def keys(yard: Yard, tmp_path: Path) -> KeyFile:
    yard.seal = keys = KeyFile(tmp_path / "secrets.key")
    return keys


def spec(**variables: str) -> dict[str, Any]:
    return {
        "secrets": {v: {"entity": "ann", "name": name} for v, name in variables.items()},
        "run_id": "r",
    }


def entity_id(yard: Yard, name: str = "ann") -> str:
    return yard.call().entity(name, Action.SEE)["id"]  # type: ignore[no-any-return]


def stored(yard: Yard) -> list[Any]:
    return [dict(row) for row in yard.tx.all(t.secrets.select())]


def test_a_secret_is_written_in_versions_and_kept_sealed(yard: Yard, keys: KeyFile) -> None:
    first = secret_store.put(yard.call(), "ann", "hf", VALUE, description="d", for_jobs=True)
    second = secret_store.put(yard.call(), "ann", "hf", VALUE + "2")
    assert (first["version"], second["version"]) == (1, 2)
    assert (second["description"], second["for_jobs"]) == ("d", True)
    (row,) = stored(yard)
    assert VALUE.encode() not in bytes(row["sealed"])
    assert secrets.values_for(yard.call(), [spec(A="hf")]) == [{"A": VALUE + "2"}]


def test_T14_who_may_not_write_secrets_may_not(yard: Yard, keys: KeyFile) -> None:
    yard.new_user("bob")
    yard.team("vision", bob="member")
    bob, eve = yard.user("bob"), yard.new_user("eve")
    with pytest.raises(Forbidden):
        secret_store.put(yard.call(bob), "vision", "hf", VALUE)
    with pytest.raises(NotFound):
        secret_store.put(yard.call(eve), "vision", "hf", VALUE)
    secret_store.put(yard.call(), "vision", "hf", VALUE)
    with pytest.raises(Forbidden):
        secret_store.delete(yard.call(bob), "vision", "hf")
    with pytest.raises(NotFound):
        secret_store.get(yard.call(eve), "vision", "hf")
    assert [r["name"] for r in secret_store.page(yard.call(bob), None, after="", limit=9)] == ["hf"]
    assert list(secret_store.page(yard.call(eve), None, after="", limit=9)) == []
    assert secret_store.put(yard.call(eve), None, "own", VALUE)["version"] == 1  # one's own


def test_T14_neither_answers_nor_the_audit_log_have_a_value(yard: Yard, keys: KeyFile) -> None:
    made = secret_store.put(yard.call(), "ann", "hf", VALUE)
    secret_store.put(yard.call(), "ann", "hf", VALUE + "x", description="d")
    secret_store.delete(yard.call(), "ann", "hf")
    noted = yard.tx.all(t.audit.select().order_by(t.audit.c.seq))
    told = [dict(row) for row in noted if row["action"].startswith("secret.")]
    assert [row["action"] for row in told] == ["secret.set", "secret.set", "secret.delete"]
    assert "s3cret" not in json.dumps([dict(made), told], default=str)
    assert "sealed" not in dict(made)


@pytest.mark.parametrize("field", ["name", "version", "entity_id", "sealed"])
def test_T14_a_row_in_the_place_of_another_opens_nothing(
    yard: Yard, keys: KeyFile, field: str
) -> None:
    yard.new_user("bob")
    secret_store.put(yard.call(), "ann", "mine", VALUE)
    secret_store.put(yard.call(), "bob", "theirs", "another-value")
    mine = next(row for row in stored(yard) if row["name"] == "mine")
    theirs = next(row for row in stored(yard) if row["name"] == "theirs")
    change = {
        "name": {"name": "renamed"}, "version": {"version": 7},
        "entity_id": {"entity_id": theirs["entity_id"]}, "sealed": {"sealed": theirs["sealed"]},
    }[field]  # fmt: skip
    yard.tx.run(update(t.secrets).where(t.secrets.c.id == mine["id"]).values(**change))
    owner = "bob" if field == "entity_id" else "ann"
    name = "renamed" if field == "name" else "mine"
    asked = {"secrets": {"A": {"entity": owner, "name": name}}}
    (given,) = secrets.values_for(yard.call(), [asked])
    assert isinstance(given, RunyardError)
    assert "database was changed" in given.message
    assert VALUE not in str(given)


def test_one_items_missing_secret_is_no_matter_of_the_others(yard: Yard, keys: KeyFile) -> None:
    secret_store.put(yard.call(), "ann", "hf", VALUE)
    given = secrets.values_for(yard.call(), [spec(A="hf"), spec(A="hf", B="gone"), {}])
    assert given[0] == {"A": VALUE}
    assert isinstance(given[1], RunyardError)
    assert "'gone' of ann was deleted" in given[1].message
    assert given[2] is None


def test_a_job_gets_only_what_is_for_jobs_at_that_time(yard: Yard, keys: KeyFile) -> None:
    with pytest.raises(Invalid) as caught:
        secrets.check_job(yard.call(), entity_id(yard), "ann", {"A": "hf", "B": "none"})
    assert len(caught.value.violations) == 2
    secret_store.put(yard.call(), "ann", "hf", VALUE)
    with pytest.raises(Invalid, match="may not ask"):
        secrets.check_job(yard.call(), entity_id(yard), "ann", {"A": "hf"})
    secret_store.put(yard.call(), "ann", "hf", VALUE, for_jobs=True)
    secrets.check_job(yard.call(), entity_id(yard), "ann", {"A": "hf"})
    item = {"secrets": merged({}, {"A": "hf"}, queue_entity="ann", run_entity="ann")}
    assert secrets.values_for(yard.call(), [item]) == [{"A": VALUE}]
    secret_store.put(yard.call(), "ann", "hf", VALUE, for_jobs=False)
    (given,) = secrets.values_for(yard.call(), [item])
    assert isinstance(given, RunyardError)


def test_a_queue_names_secrets_that_exist_and_its_editor_may_write(
    yard: Yard, keys: KeyFile
) -> None:
    yard.new_user("bob")
    yard.team("vision", bob="member")
    bob = yard.user("bob")
    owner = entity_id(yard, "vision")
    secret_store.put(yard.call(), "vision", "hf-token", VALUE)
    secrets.check_queue(yard.call(), owner, "vision", {"A": Stored("hf-token")})
    with pytest.raises(Invalid, match=r"did you mean 'hf-token'"):
        secrets.check_queue(yard.call(), owner, "vision", {"A": Stored("hf-tokn")})
    refs = {"A": Stored("hf-token")}
    with pytest.raises(Forbidden):
        secrets.check_queue(yard.call(bob), owner, "vision", refs)
    secrets.check_queue(yard.call(bob), owner, "vision", refs, before=refs)  # as it was


def test_a_secret_that_queues_name_is_deleted_by_force_alone(yard: Yard, keys: KeyFile) -> None:
    secret_store.put(yard.call(), "ann", "hf", VALUE)
    queues.create(
        yard.call(), entity="ann", name="uses", resource="local-process",
        config={"secrets": {"A": "hf"}}, policy={},
    )  # fmt: skip
    with pytest.raises(Conflict, match="uses"):
        secret_store.delete(yard.call(), "ann", "hf")
    secret_store.delete(yard.call(), "ann", "hf", force=True)
    with pytest.raises(NotFound):
        secret_store.get(yard.call(), "ann", "hf")


# -- to the agent ------------------------------------------------------------------------


@pytest.fixture
def submit(yard: Yard, keys: KeyFile) -> Callable[[], str]:
    secret_store.put(yard.call(), "ann", "hf", VALUE)
    queues.edit(yard.call(), "ann", "q", config={"secrets": {"A": "hf"}}, policy=None)
    return lambda: yard.submit("r")[0]


def test_a_claim_brings_the_secrets_and_a_lease_does_not(
    yard: Yard, submit: Callable[[], str]
) -> None:
    submit()
    who = yard.register()
    (held,) = yard.lease(who)
    assert held.secrets is None
    assert VALUE not in json.dumps(held.spec)
    (answer,) = yard.move(who, wire.Claim(item_id=held.item_id, token=held.token))
    assert answer.secrets == {"A": VALUE}
    (again,) = yard.move(who, wire.Claim(item_id=held.item_id, token=held.token))
    assert again.secrets == {"A": VALUE}  # the first answer may have been lost
    (adopted,) = yard.register().held
    assert adopted.secrets == {"A": VALUE}


def test_an_item_without_its_secrets_is_claimed_and_fails(
    yard: Yard, submit: Callable[[], str]
) -> None:
    item = submit()
    secret_store.delete(yard.call(), "ann", "hf", force=True)
    who = yard.register()
    (held,) = yard.lease(who)
    (answer,) = yard.move(who, wire.Claim(item_id=held.item_id, token=held.token))
    assert (answer.code, answer.run_token, answer.secrets) == ("rejected", None, None)
    assert "was deleted" in answer.message
    fail = wire.Fail(item_id=item, token=held.token, stage="agent", message=answer.message)
    assert yard.move(who, fail)[0].code == ""
    assert yard.states(item)[0] == "FAILED"


def test_a_key_that_is_lost_is_said_when_a_secret_is_used(
    yard: Yard, submit: Callable[[], str], tmp_path: Path
) -> None:
    """As after a restore without the key file."""
    submit()
    yard.seal = KeyFile(tmp_path / "elsewhere" / "secrets.key")
    who = yard.register()
    (held,) = yard.lease(who)
    (answer,) = yard.move(who, wire.Claim(item_id=held.item_id, token=held.token))
    assert "not in" in answer.message
    assert "secrets.key" in answer.message
    with pytest.raises(Conflict, match="keys are not on this server"):
        secret_store.put(yard.call(), "ann", "new", VALUE)
    assert yard.register().held[0].secrets is None


# -- of builds ---------------------------------------------------------------------------


BUILD = {"builder": {"secrets": {"pip.conf": "hf", "netrc": {"agent_env": "NETRC"}}}}


def test_T14_a_build_gets_its_queues_secrets_apart_from_the_variables(
    yard: Yard, keys: KeyFile
) -> None:
    secret_store.put(yard.call(), "ann", "hf", VALUE)
    queues.edit(yard.call(), "ann", "q", config={**BUILD, "secrets": {"netrc": "hf"}}, policy=None)
    yard.submit("r")
    who = yard.register()
    (held,) = yard.lease(who)
    assert VALUE not in json.dumps(held.spec)
    assert held.spec["build_secrets"] == {
        "pip.conf": {"entity": "ann", "name": "hf"}, "netrc": {"agent_env": "NETRC"},
    }  # fmt: skip
    (answer,) = yard.move(who, wire.Claim(item_id=held.item_id, token=held.token))
    assert answer.secrets == {"netrc": VALUE, "build:pip.conf": VALUE}


def test_a_claim_brings_the_secrets_of_a_build_alone(yard: Yard, keys: KeyFile) -> None:
    secret_store.put(yard.call(), "ann", "hf", VALUE)
    queues.edit(yard.call(), "ann", "q", config=BUILD, policy=None)
    yard.submit("r")
    who = yard.register()
    (held,) = yard.lease(who)
    (answer,) = yard.move(who, wire.Claim(item_id=held.item_id, token=held.token))
    assert answer.secrets == {"build:pip.conf": VALUE}


def test_T14_secrets_of_builds_are_named_as_those_of_jobs_are(yard: Yard, keys: KeyFile) -> None:
    yard.team("vision")
    queues.create(
        yard.call(), entity="vision", name="q", resource="local-container", config={}, policy={}
    )
    with pytest.raises(Invalid) as caught:
        queues.edit(yard.call(), "vision", "q", config=BUILD)
    assert [v.path for v in caught.value.violations] == ["builder.secrets.pip.conf"]
    secret_store.put(yard.call(), "vision", "hf", VALUE)
    queues.edit(yard.call(), "vision", "q", config=BUILD)
    with pytest.raises(Conflict, match="named by 1 queues: q"):
        secret_store.delete(yard.call(), "vision", "hf")


def test_T14_who_may_not_write_secrets_names_none_for_builds(yard: Yard, keys: KeyFile) -> None:
    yard.new_user("bob")
    yard.team("vision", bob="member")
    secret_store.put(yard.call(), "vision", "hf", VALUE)
    owner = entity_id(yard, "vision")
    refs = secrets_named(BUILD)
    with pytest.raises(Forbidden):
        secrets.check_queue(yard.call(yard.user("bob")), owner, "vision", refs)
    secrets.check_queue(yard.call(yard.user("bob")), owner, "vision", refs, before=refs)


# -- rotation ----------------------------------------------------------------------------


def test_all_rows_are_sealed_anew_in_bounded_batches(yard: Yard, keys: KeyFile) -> None:
    for n in range(7):
        secret_store.put(yard.call(), "ann", f"s{n}", VALUE + str(n))
    old, new = keys.key_id, keys.add_key()
    assert rows.key_ids(yard.tx) == {old}
    after, batches = "", []
    while True:
        after, done, lost = resealing.reseal(yard.call(), after=after, limit=3)
        batches.append(done)
        assert lost == []
        if not after:
            break
    assert batches == [3, 3, 1]
    assert rows.key_ids(yard.tx) == {new}
    keys.remove([old])
    given = secrets.values_for(yard.call(), [spec(**{f"A{n}": f"s{n}" for n in range(7)})])
    assert given == [{f"A{n}": VALUE + str(n) for n in range(7)}]


def test_what_no_key_opens_is_named_and_stays(yard: Yard, keys: KeyFile) -> None:
    secret_store.put(yard.call(), "ann", "lost", VALUE)
    old = keys.key_id
    keys.add_key()
    keys.remove([old])
    _, done, lost = resealing.reseal(yard.call(), after="", limit=9)
    assert (done, [name.split("/")[1] for name in lost]) == (0, ["lost"])
    assert rows.key_ids(yard.tx) == {old}
