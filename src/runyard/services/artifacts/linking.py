"""
Portfolios: collections of versions that were born elsewhere. Each is numbered anew in there.

Who links a version into a project lets those who see the project read it.
"""

from __future__ import annotations

from collections.abc import Sequence

from runyard.domain import artifacts as rules
from runyard.domain.access import Action
from runyard.domain.artifacts import LATEST
from runyard.domain.errors import Invalid, NotFound
from runyard.services import audit
from runyard.services.artifacts import aliases, reach
from runyard.services.artifacts.finding import Member
from runyard.services.artifacts.reach import Version
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.services.tracking.places import Place
from runyard.store.artifacts import collections, reading, writing
from runyard.store.artifacts.collections import PORTFOLIO
from runyard.store.db import Row


def link(
    call: Call,
    artifact_id: int,
    *,
    entity: str | None,
    project: str | None,
    name: str,
    names: Sequence[str] = (),
) -> Member:
    """Link a version into a portfolio, made if it is new; return its place there.

    Linked again it stays what it is, and gets the aliases.

    Raises:
        NotFound, Forbidden. Conflict: it is not committed. Invalid: a name, or the portfolio is
            something else.
    """
    rules.check_collection(name)
    given = rules.check_aliases(names)
    version = reach.to_read(call, artifact_id)
    _need_own(call, version)
    reach.need_state(version, writing.COMMITTED)
    place = places.need(call, entity, project, Action.TRACK)
    portfolio = _portfolio(call, place, name, version)
    return _join(call, portfolio, version, given)


def link_into(call: Call, artifact_id: int, portfolio_id: str, names: Sequence[str] = ()) -> Member:
    """Link a version into a portfolio that is there.

    Raises:
        NotFound, Forbidden, Conflict, Invalid.
    """
    given = rules.check_aliases(names)
    version = reach.to_read(call, artifact_id)
    _need_own(call, version)
    reach.need_state(version, writing.COMMITTED)
    row = collections.held(call.tx, portfolio_id)
    if row is None:
        raise NotFound("no collection of artifacts that you may see")
    places.by_id(call, row["project_id"], "collection of artifacts", Action.TRACK)
    _need_same(row, version)
    return _join(call, row, version, given)


def unlink(call: Call, artifact_id: int, portfolio_id: str) -> None:
    """Take a version out of a portfolio, with its aliases there; it stays where it was born.

    Raises:
        NotFound: it is not in there. Forbidden. Invalid: it was born there.
    """
    row = collections.held(call.tx, portfolio_id)
    if row is None:
        raise NotFound("no collection of artifacts that you may see")
    place = places.by_id(call, row["project_id"], "collection of artifacts", Action.TRACK)
    version = reach.to_read(call, artifact_id)
    _need_own(call, version)
    if row["kind"] != PORTFOLIO:
        raise Invalid(f"artifact {version.name} was born in {row['name']}; delete it instead")
    if not collections.remove_member(call.tx, portfolio_id, artifact_id):
        raise NotFound(f"artifact {version.name} is not in {place.name}/{row['name']}")
    aliases.follow_newest(call, portfolio_id)
    audit.note(
        call, "artifact.unlink", version.name, entity_id=place.entity_id,
        before={"portfolio": f"{place.name}/{row['name']}"},
    )  # fmt: skip


def _join(call: Call, portfolio: Row, version: Version, given: Sequence[str]) -> Member:
    member = collections.member(call.tx, portfolio["id"], version.id)
    if member is None:
        number = collections.next_version(call.tx, portfolio, call.now)
        collections.add_member(
            call.tx, call.new_id(), portfolio["id"], version.id, number, call.now
        )
        given = [LATEST, *given]
    else:
        number = member["version"]
    aliases.give(call, portfolio["id"], version.id, dict.fromkeys(given))
    row = reading.numbered(call.tx, portfolio["id"], number)
    assert row is not None
    return Member(row, version.row)


def _portfolio(call: Call, place: Place, name: str, version: Version) -> Row:
    row = collections.named(call.tx, place.id, name)
    if row is None:
        type_id = collections.type_id(
            call.tx, call.new_id(), place.id, version.row["type"], "", call.now
        )
        collections.add(
            call.tx, call.new_id(), place.id, type_id, PORTFOLIO, name, call.actor.user_id,
            call.now,
        )  # fmt: skip
        row = collections.named(call.tx, place.id, name)
        assert row is not None
    _need_same(row, version)
    return row


def _need_same(portfolio: Row, version: Version) -> None:
    if portfolio["kind"] != PORTFOLIO:
        raise Invalid(
            f"{portfolio['name']} is where versions are logged, not a collection of links",
            hint="link to another name",
        )
    if portfolio["type"] != version.row["type"]:
        raise Invalid(
            f"{portfolio['name']} collects artifacts of the type {portfolio['type']!r}; "
            f"{version.name} is of the type {version.row['type']!r}"
        )


def _need_own(call: Call, version: Version) -> None:
    places.need_run(call, version.row["run_id"] or "", f"artifact {version.name}")
