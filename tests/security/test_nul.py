"""A NUL character where text is expected: PostgreSQL holds none, and no answer is a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.errors import Invalid
from runyard.services import accounts
from runyard.store.db import Database, Tx
from tests.http.conftest import World
from tests.services.conftest import Yard

from .matrix import RULES, Rule


def _with_nul(value: Any) -> Any:
    """Return a body with a NUL at the end of each of its texts."""
    match value:
        case str():
            return f"{value}\0"
        case dict():
            return {name: _with_nul(v) for name, v in value.items()}
        case list():
            return [_with_nul(v) for v in value]
    return value


class _Anything(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "x"


def _asked(world: World, rule: Rule, place: str) -> tuple[int, str]:
    names = _Anything(entity="admin", queue="q", agent_id="x")
    nul = _Anything(dict.fromkeys(("entity", "team", "user", "queue", "item_id"), "x%00"))
    path = rule.path.format_map(names)
    more: dict[str, Any] = {"params": dict.fromkeys(rule.query, "x")}
    if place == "path":
        path = rule.path.replace("}", "}%00").format_map(names)
    elif place == "query":
        more["params"] = dict.fromkeys(("entity", "user", "queue", "author", "project"), "x\0")
        more["params"] |= dict.fromkeys(rule.query, "x\0")
    body = rule.json(nul if place == "body" else names) if rule.json else None
    if body is not None:
        more["json"] = _with_nul(body) if place == "body" else body
    if rule.content is not None:
        more["content"] = rule.content
    answer = world.admin(rule.method, path, **more)
    return answer.status_code, answer.text


def _endless(rule: Rule) -> bool:
    return rule.path.endswith("/events")  # `test_a_stream…` asks for those


@pytest.mark.parametrize("place", ["path", "query", "body"])
def test_T11_T20_a_nul_anywhere_is_refused_or_not_found_and_never_a_mistake(
    world: World, place: str
) -> None:
    world.queue()
    wrong = []
    for rule in RULES:
        if _endless(rule) or rule.path.startswith("/api/v1/agents/{agent_id}/"):
            continue
        status, text = _asked(world, rule, place)
        if status >= 500:
            wrong.append(f"{rule.route}: {status} {text}")
    assert not wrong, "\n".join(wrong)


def test_T20_a_stream_of_a_queue_with_a_nul_is_refused(world: World) -> None:
    for path in ("/events?entity=admin%00", "/events?entity=admin&queue=q%00",
                 "/runs/admin/default/x%00/events"):  # fmt: skip
        assert world.admin("GET", path).status_code in (404, 422)


def test_what_an_agent_says_of_a_failure_may_hold_a_nul(world: World) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    held = agent.claim()
    said = {"stage": "run", "message": "no such file: a\0b", "detail": "x\0y"}
    for kind in ("warn", "fail"):
        more = said if kind == "fail" else {k: v for k, v in said.items() if k != "detail"}
        (answer,) = agent.move(agent.to(kind, held, **more))
        assert answer["code"] == "", kind
    item = world.admin.ok("GET", f"/items/{held['item_id']}")
    assert item["state"] == "FAILED"
    assert item["failure"]["message"].startswith("no such file: a")


def test_output_may_hold_nuls(world: World) -> None:
    world.queue()
    agent = world.agent()
    (made,) = world.submit()
    held = agent.claim()
    data = b"a\0b\xff\0"
    assert agent.log(held, 0, data).size == len(data)
    path = f"/runs/admin/default/{made['run']['run_id']}/logs"
    assert world.admin("GET", path).content == data


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_T14_what_the_database_cannot_hold_is_not_quoted(database: Database) -> None:
    def ask(tx: Tx) -> None:
        yard = Yard(tx)
        accounts.edit_user(yard.call(), "bob\0secret", {"disabled": True})

    with pytest.raises(Invalid) as refused:
        database.write(ask)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
