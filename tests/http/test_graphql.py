"""The engine of /graphql: documents, their bounds, errors and what they become."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import build_client_schema, get_introspection_query, print_schema
from structlog.testing import capture_logs

from runyard.domain.errors import Forbidden, Unavailable
from runyard.server.graphql import documents, execution
from runyard.server.graphql.areas import AREAS
from runyard.server.graphql.context import Area, context_of
from runyard.services import accounts
from runyard.store.db import Duplicate
from tests.http.conftest import Caller, World


def ask(who: Caller, query: str, **variables: Any) -> Any:
    return post(who, {"query": query, "variables": variables})


def post(who: Caller, body: Any, **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {who.key}", **more.pop("headers", {})}
    return who.http.request("POST", "/graphql", json=body, headers=headers, **more)


def told(answer: Any, status: int = 400) -> str:
    """Return the first message of an answer that must be an error."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["data"] is None or set(body["data"].values()) == {None}
    return str(body["errors"][0]["message"])


CREATE = 'mutation { upsertModel(input: {name: "made", entityName: "admin"}) { inserted } }'
MADE = '{ project(name: "made", entityName: "admin") { name } }'


def bound(world: World, monkeypatch: pytest.MonkeyPatch, field: str, resolver: Any) -> None:
    """Give a field of Mutation or Query another resolver."""
    schema = documents.load_schema()
    kind = "Mutation" if field in schema.type_map["Mutation"].fields else "Query"  # type: ignore[attr-defined]
    found = schema.type_map[kind].fields[field]  # type: ignore[attr-defined]
    monkeypatch.setattr(found, "resolve", found.resolve)
    execution._bind(schema, Area({kind: {field: resolver}}))


def test_introspection_tells_the_whole_schema(world: World) -> None:
    answer = ask(world.admin, get_introspection_query(input_value_deprecation=True))
    described = build_client_schema(answer.json()["data"])
    assert print_schema(described) == print_schema(documents.load_schema())


def test_what_the_schema_lacks_is_told_in_the_words_that_the_client_looks_for(world: World) -> None:
    message = told(ask(world.admin, "{ viewer { nmae } }"))
    assert message == 'Cannot query field "nmae" on type "User".'
    message = told(ask(world.admin, '{ viewer { id(x: "a") } }'))
    assert message == 'Unknown argument "x" on field "User.id".'


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ viewer { id }", "Syntax Error"),
        ("", "Syntax Error"),
        ("fragment F on User { id }", "never used"),
        ("query A { viewer { id } } query B { viewer { id } }", "document contains several"),
        ("{" + "a: viewer { id } " * 17 + "}", "at the top"),
        ("{ viewer { " + " ".join(f"a{n}: id" for n in range(1001)) + " } }", "More than 1000"),
        ("{ viewer { " + "teams { edges { node { user { " * 7 + "id" + "} } } } " * 7 + "} }",
         "deeper than 24"),
        ("{ viewer { id } } #" + "x" * documents.LONGEST, "longer than"),
        ("{ viewer { id } } " + "fragment F on User { id } " * 1000, "tokens"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "Cannot spread"),
        ("{ __schema { types" + " { fields { type" * 5 + " { name }" + " } }" * 5 + "} }",
         "introspection depth"),
        ("subscription { viewer { id } }", "subscription"),
        ("{" * 5000 + "a" + "}" * 5000, "Syntax Error"),
    ],
)  # fmt: skip
def test_documents_are_bounded_and_checked(world: World, query: str, message: str) -> None:
    assert message in told(ask(world.admin, query))


def test_fragments_that_double_again_and_again_are_counted_spread_out(world: World) -> None:
    chain = " ".join(
        f"fragment F{n} on User {{ a: teams {{ edges {{ node {{ user {{ ...F{n + 1} }} }} }} }} "
        f"b: teams {{ edges {{ node {{ user {{ ...F{n + 1} }} }} }} }} }}"
        for n in range(20)
    )
    query = "{ viewer { ...F0 } } " + chain + " fragment F20 on User { id }"
    assert "deeper than" in told(ask(world.admin, query)) or "More than" in told(
        ask(world.admin, query)
    )


def test_one_of_several_operations_is_chosen_by_name(world: World) -> None:
    query = "query A { viewer { id } } query B { viewer { name } }"
    answer = post(world.admin, {"query": query, "operationName": "B"})
    assert answer.json() == {"data": {"viewer": {"name": "admin"}}}
    unknown = post(world.admin, {"query": query, "operationName": "C"})
    assert told(unknown) == 'Unknown operation named "C".'


def test_variables_of_a_wrong_type_are_refused(world: World) -> None:
    query = "query($n: Int) { models(first: $n) { edges { cursor } } }"
    assert "$n" in told(ask(world.admin, query, n="many"))
    needed = 'query($n: String!) { project(name: $n, entityName: "admin") { id } }'
    assert "$n" in told(ask(world.admin, needed))
    assert "$n" in told(ask(world.admin, needed, n={"a": 1}))


@pytest.mark.parametrize("body", [[], "x", {"query": 1}, {"variables": {}}, None])
def test_a_body_that_is_no_request_is_refused_in_the_client_s_form(world: World, body: Any) -> None:
    assert "not a GraphQL request" in told(post(world.admin, body), 422)


def test_variables_nested_too_deep_are_refused(world: World) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    assert "nested deeper" in told(ask(world.admin, "{ viewer { id } }", x=deep), 422)


def test_a_variable_of_ten_megabytes_is_read(world: World) -> None:
    query = """query($d: String) { project(name: "p", entityName: "nobody") {
        run(name: "r", desc: $d) { id } } }"""
    assert ask(world.admin, query, d="x" * 10_000_000).json() == {"data": {"project": None}}


def test_a_request_larger_than_the_limit_is_413(world: World) -> None:
    size = world.server.settings.max_protocol_bytes
    assert "larger than" in told(ask(world.admin, "{ viewer { id } }", d="x" * size), 413)
    chunks = (b"x" * (1 << 20) for _ in range(size // (1 << 20) + 2))  # without a length
    headers = {"Authorization": f"Bearer {world.admin.key}"}
    answer = world.http.request("POST", "/graphql", content=chunks, headers=headers)
    assert "larger than" in told(answer, 413)


def test_fields_are_left_out_as_their_directives_say(world: World) -> None:
    query = """query($a: Boolean!) { viewer { id @include(if: $a) name @skip(if: $a) } }"""
    assert set(ask(world.admin, query, a=True).json()["data"]["viewer"]) == {"id"}
    assert set(ask(world.admin, query, a=False).json()["data"]["viewer"]) == {"name"}


def test_a_key_that_is_none_is_told_in_the_client_s_form(world: World) -> None:
    assert told(ask(world.caller("ry_" + "x" * 44), "{ viewer { id } }"), 401)
    answer = world.http.request("POST", "/graphql", json={"query": "{ viewer { id } }"})
    assert told(answer, 401)
    assert told(ask(world.agent().caller, "{ viewer { id } }"), 403)


def test_a_host_that_is_none_of_ours_is_told_so_that_the_client_gives_up(world: World) -> None:
    wrong = {"Host": "elsewhere.example"}
    assert "elsewhere" in told(post(world.admin, {"query": "{ viewer { id } }"}, headers=wrong))
    assert world.admin("GET", "/me", headers=wrong).status_code == 421


def test_a_mutation_is_done_as_a_whole_or_not_at_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: None, _info: Any, **_arguments: Any) -> None:
        raise Forbidden("no", hint="ask")

    bound(world, monkeypatch, "deleteModel", refuse)
    both = CREATE.replace(
        "mutation {", 'mutation { b: deleteModel(input: {id: "x"}) { success } a:'
    )
    assert told(ask(world.admin, both), 403) == "no (ask)"
    after = CREATE.rstrip("} ") + '} b: deleteModel(input: {id: "x"}) { success } }'
    assert told(ask(world.admin, after), 403) == "no (ask)"
    assert ask(world.admin, MADE).json() == {"data": {"project": None}}
    assert ask(world.admin, CREATE).json() == {"data": {"upsertModel": {"inserted": True}}}
    assert ask(world.admin, MADE).json() == {"data": {"project": {"name": "made"}}}


def test_a_mistake_of_ours_is_final_logged_and_not_quoted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret words")

    bound(world, monkeypatch, "deleteModel", fail)
    bound(world, monkeypatch, "serverInfo", fail)
    for query in ('mutation { deleteModel(input: {id: "x"}) { success } }',
                  "{ serverInfo { features { name } } }"):  # fmt: skip
        with capture_logs() as logged:
            answer = ask(world.admin, query)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["extensions"]["code"] == "internal"
        assert "secret" not in answer.text
        assert any(isinstance(e.get("exc_info"), ZeroDivisionError) for e in logged)


def test_what_only_the_database_refuses_is_told_as_what_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(_: None, info: Any, **__: Any) -> None:
        call = context_of(info).call
        for _n in range(2):
            accounts.accounts.add_entity(call.tx, call.new_id(), "same", "team", call.now)

    def busy(*_: Any, **__: Any) -> None:
        raise Unavailable("busy")

    bound(world, monkeypatch, "deleteModel", twice)
    delete = 'deleteModel(input: {id: "x"}) { success }'
    query = f"mutation {{ {delete} again: {delete} }}"
    assert told(ask(world.admin, query), 409) == str(Duplicate("there is one of that name already"))
    bound(world, monkeypatch, "deleteModel", busy)
    assert told(ask(world.admin, query), 503) == "busy"


def test_a_transaction_that_lost_a_race_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not world.server.database.is_postgres:
        pytest.skip("SQLite has one writer")
    tries = []

    def lose(_: None, info: Any, **__: Any) -> dict[str, Any]:
        tries.append(1)
        if len(tries) == 1:
            context_of(info).call.tx.connection.exec_driver_sql(
                "DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$"
            )
        return {"success": True}

    bound(world, monkeypatch, "deleteModel", lose)
    answer = ask(world.admin, 'mutation { deleteModel(input: {id: "x"}) { success } }')
    assert answer.json() == {"data": {"deleteModel": {"success": True}}}
    assert len(tries) == 2


def test_a_nul_is_refused_or_not_found_and_never_a_mistake(world: World) -> None:
    query = "query($p: String, $e: String) { project(name: $p, entityName: $e) { id } }"
    for names in ({"p": "a\0b", "e": "admin"}, {"p": "p", "e": "ad\0min"}):
        answer = ask(world.admin, query, **names)
        assert answer.status_code in (200, 422), answer.text
        assert "internal" not in answer.text
    answer = ask(world.admin, CREATE.replace('"made"', '"a\\u0000b"'))
    assert "internal" not in told(answer, 422)


def test_what_takes_too_long_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_LONGEST_S", -1.0)
    message = told(ask(world.admin, "{ viewer { id } }"), 413)
    assert "smaller pages" in message


def test_half_a_character_is_told_as_it_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bound(world, monkeypatch, "viewer", lambda *_: {"id": "1", "name": "a\ud800"})
    answer = ask(world.admin, "{ viewer { name } }")
    assert answer.status_code == 200
    assert answer.json()["data"]["viewer"]["name"] == "a\ud800"


@pytest.mark.parametrize("kind", ["Query", "Mutation"])
def test_every_operation_of_the_schema_has_a_resolver(kind: str) -> None:
    fields = set(documents.load_schema().type_map[kind].fields)  # type: ignore[attr-defined]
    answered = [name for area in AREAS for name in area.resolvers.get(kind, {})]
    assert fields == set(answered)
    assert len(answered) == len(set(answered)), "two areas answer the same"
