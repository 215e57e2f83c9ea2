"""Files of runs: who may write which, and what is listed."""

import pytest

from runyard.domain.errors import Forbidden, Invalid, NotFound
from runyard.services import accounts
from runyard.services.tracking import files, runs
from runyard.store.objects.base import Stat
from runyard.store.tracking import files as rows
from tests.services.conftest import T0, Yard


@pytest.fixture
def run(yard: Yard):
    yard.submit("r1", "r2")
    return runs.find(yard.call(), "ann", "default", "r1")["pk"]


def announce(yard, *names, run="r1", actor=None):
    return files.announce(yard.call(actor), "ann", "default", run, names)


def note(yard, run, name, size=3):
    return rows.note(yard.tx, run, name, size=size, md5="0" * 32, now=yard.now)


def listed(yard, run, pattern=None, after="", limit=100):
    found = files.page(yard.call(), run, pattern=pattern, after=after, limit=limit)
    return [row["name"] for row in found]


def test_a_file_is_there_once_its_bytes_are(yard, run):
    row, kept = announce(yard, "./b.txt", "a.txt", "../c", "b.txt")
    assert row["pk"] == run
    assert kept == {"./b.txt": "b.txt", "a.txt": "a.txt", "b.txt": "b.txt"}
    assert listed(yard, run) == []
    assert files.count(yard.call(), run) == 0
    assert note(yard, run, "b.txt")
    assert listed(yard, run) == ["b.txt"]
    assert files.count(yard.call(), run) == 1
    assert not note(yard, run, "never announced")
    announce(yard, "b.txt")  # it is to be replaced; until then it is there as it was
    assert listed(yard, run) == ["b.txt"]


def test_names_that_are_asked_for_come_back_in_their_one_form_there_or_not(yard, run):
    announce(yard, "a b.txt")
    note(yard, run, "a b.txt", 7)
    found = files.named(yard.call(), run, ["x", "./a b.txt", "a b.txt"])
    assert [each.name for each in found] == ["x", "a b.txt", "a b.txt"]
    assert [each.row and each.row["size"] for each in found] == [None, 7, 7]
    with pytest.raises(Invalid):
        files.named(yard.call(), run, ["../x"])


def test_pages_follow_each_other_and_patterns_are_those_of_sql(yard, run):
    names = ["a.json", "A_x.JSON", "b.txt", "media/a_1.png", "media/ab1.png", "100%.txt", "ü.txt"]
    announce(yard, *names, "not there.json")
    for name in names:
        note(yard, run, name)
    everything = listed(yard, run)
    assert sorted(everything) == sorted(names)
    paged, after = [], ""
    while page := listed(yard, run, after=after, limit=2):
        paged += page
        after = page[-1]
    assert paged == everything
    for pattern, expected in {
        "%.json": {"a.json", "A_x.JSON"},
        "media/a\\_%": {"media/a_1.png"},
        "media/a_1.png": {"media/a_1.png", "media/ab1.png"},
        "100\\%.txt": {"100%.txt"},
        "*.json": set(),
        "%": set(names),
        "": set(),
    }.items():
        assert set(listed(yard, run, pattern)) == expected, pattern
    with pytest.raises(Invalid):
        listed(yard, run, "%" * 300)


def test_an_outside_store_is_asked_only_of_what_was_announced(yard, run):
    announce(yard, "a", "b/c")
    known = files.note_uploaded(yard.call(), run, ["./a", "b/c", "../x", "d"])
    assert known == ["a", "b/c"]
    files.note_measured(yard.call(), run, {"a": Stat(5, "1" * 32, T0), "d": Stat(1, None, T0)})
    assert listed(yard, run) == ["a"]


def test_deleting_forgets_a_file_and_again_is_no_error(yard, run):
    announce(yard, "a", "b")
    note(yard, run, "a")
    note(yard, run, "b")
    for _ in range(2):
        files.delete(yard.call(), [(run, "a")])
        assert listed(yard, run) == ["b"]


def test_strangers_find_no_run_and_viewers_may_not_write(yard, run):
    eve = yard.new_user("eve")
    accounts.create_team(yard.call(), "lab")
    accounts.set_member(yard.call(), "lab", "eve", "viewer")
    viewer = yard.user("eve")
    with pytest.raises(NotFound):
        announce(yard, "x", actor=eve)
    with pytest.raises(NotFound):
        files.delete(yard.call(eve), [(run, "x")])
    yard.tx.run(
        runs.rows.t.projects.insert(),
        {"id": "p", "entity_id": yard.team_id("lab"), "name": "p", "created_at": 0},
    )
    yard.tx.run(
        runs.rows.t.runs.insert(),
        {"id": "lr", "project_id": "p", "name": "lr", "state": "running", "created_at": 0,
         "author_id": yard.admin.user_id},
    )  # fmt: skip
    assert runs.find(yard.call(viewer), "lab", "p", "lr")["pk"] == "lr"
    with pytest.raises(Forbidden):
        files.announce(yard.call(viewer), "lab", "p", "lr", ["x"])
    with pytest.raises(Forbidden):
        files.delete(yard.call(viewer), [("lr", "x")])


def test_T15_a_runs_token_writes_the_files_of_its_own_run(yard, run):
    agent = yard.register()
    held = yard.claimed(agent)
    token = accounts.authenticate(yard.tx, held.run_token, yard.now)
    announce(yard, "x", actor=token)
    with pytest.raises(Forbidden, match="another run"):
        announce(yard, "x", run="r2", actor=token)
    other = runs.find(yard.call(), "ann", "default", "r2")["pk"]
    with pytest.raises(Forbidden):
        files.delete(yard.call(token), [(other, "x")])
