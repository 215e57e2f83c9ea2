"""A platform as code against real servers: twice, exported, pruned, broken off, at random."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runyard.client.api import Api
from runyard.domain.access import BUILT_IN, Action
from runyard.domain.errors import Conflict
from runyard.domain.hooks import Event
from runyard.sdk import platform
from runyard.sdk.platform.document import read_text
from runyard.sdk.platform.exporting import export, to_yaml
from runyard.sdk.platform.things import Key, Plan, Platform, Verb
from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.store.db import Database
from runyard.wire.rest import JobIn, QueuePatch
from tests.http.conftest import Clock, World, on_a_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "platform" / "platform.yaml"
HEAD = "apiVersion: runyard/v1\n"
QUEUE = "resource: local-process"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_the-value-of-the-token")
    monkeypatch.setenv("CHAT_URL", "https://93.184.216.34/services/T0/B0/opens-the-chat")


@pytest.fixture
def api(live: World) -> Iterator[Api]:
    with api_of(live) as api:
        yield api


@pytest.fixture
def empty(sqlite_template: Path, tmp_path: Path) -> Iterator[Api]:
    """Another server, on which there is nothing yet."""
    shutil.copy(sqlite_template, tmp_path / "other.db")
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    own = ServerSettings(home=tmp_path / "other", sweep_interval_s=60)
    server = create_app(own, database=database, clock=Clock(), say=lambda _: None)
    with (
        on_a_port(server, own) as url,
        httpx2.Client(base_url=url) as http,
        api_of(World(server, http, Clock())) as api,
    ):
        yield api
    database.close()


def api_of(world: World, key: str | None = None) -> Api:
    return Api(str(world.http.base_url).rstrip("/"), key or world.admin.key or "")


def planned(api: Api, wanted: Platform, **more: Any) -> Plan:
    return platform.plan(wanted, platform.read_state(api, wanted), **more)


def apply(api: Api, text: str, **more: Any) -> Plan:
    wanted = read_text(HEAD + text)
    plan = planned(api, wanted, **more)
    platform.apply(api, plan)
    return plan


def test_the_example_applied_twice_changes_nothing_the_second_time(api: Api) -> None:
    wanted = platform.read_files([EXAMPLE])
    first = planned(api, wanted, prune=True)
    assert first.count(Verb.CREATE) == len(wanted.things)
    platform.apply(api, first)
    second = planned(api, wanted, prune=True)
    assert (second.steps, second.missing) == ((), ())
    assert set(second.unchanged) == set(wanted.things)
    assert {key.kind for key in wanted.things} == {
        "user", "team", "role", "member", "service account", "secret", "queue", "hook", "job",
    }  # fmt: skip


def test_an_export_applied_to_an_empty_server_is_exported_equal(api: Api, empty: Api) -> None:
    platform.apply(api, planned(api, platform.read_files([EXAMPLE])))
    exported = to_yaml(export(api, jobs=True))
    assert "hf_the-value-of-the-token" not in exported
    assert "opens-the-chat" not in exported
    assert "exists: true" in exported
    # Applied where it comes from, it changes nothing.
    assert not planned(api, read_text(exported), prune=True).differs

    # Elsewhere, what nobody but their owners knows has to be said first.
    wanted = read_text(
        exported.replace("url:\n          exists: true", "url:\n          from_env: CHAT_URL")
    )
    plan = planned(empty, wanted)
    assert {key.kind for key in plan.missing} == {"secret"}
    with pytest.raises(platform.Stopped, match="secret"):
        platform.apply(empty, plan)  # a queue that needs it cannot be made yet
    for key in plan.missing:
        there = api.secret(key.owner, key.name)
        empty.set_secret(
            key.owner, key.name, "value", description=there.description, for_jobs=there.for_jobs
        )
    platform.apply(empty, planned(empty, wanted))
    assert to_yaml(export(empty, jobs=True)) == exported


def test_what_changed_on_either_side_is_put_right(api: Api) -> None:
    apply(api, f"teams: {{vision: {{queues: {{cpu: {{{QUEUE}, policy: {{max_running: 2}}}}}}}}}}")
    api.edit_queue("vision", "cpu", QueuePatch(policy={"max_running": 9, "max_requeues": 1}))
    plan = apply(
        api, f"teams: {{vision: {{queues: {{cpu: {{{QUEUE}, policy: {{max_running: 2}}}}}}}}}}"
    )
    (step,) = plan.steps
    assert {(c.path, c.was, c.becomes) for c in step.changes} == {
        ("policy.max_running", 9, 2), ("policy.max_requeues", 1, 5),
    }  # fmt: skip
    assert api.queue("vision", "cpu").policy["max_running"] == 2


def test_pruning_deletes_in_an_order_that_works_and_leaves_users_and_teams(
    api: Api, live: World
) -> None:
    platform.apply(api, planned(api, platform.read_files([EXAMPLE])))
    before = export(api)
    bare = "teams:\n"
    for name, team in before["teams"].items():
        sections = "".join(f", {section}: {{}}" for section in team if section != "members")
        bare += f"  {name}: {{members: {{admin: admin}}{sections}}}\n"
    plan = apply(api, bare, prune=True)
    assert plan.pruned
    after = export(api)
    assert after["users"].keys() == before["users"].keys()
    assert after["teams"].keys() == before["teams"].keys()
    assert all(not team["queues"] and not team["roles"] for team in after["teams"].values())


def test_at_an_error_it_stops_says_where_and_goes_on_when_run_again(api: Api, live: World) -> None:
    queues = ", ".join(f"{name}: {{{QUEUE}}}" for name in "abc")
    wanted = read_text(HEAD + f"teams: {{vision: {{queues: {{{queues}}}}}}}")
    plan = planned(api, wanted)
    live.admin.ok("POST", "/teams", json={"name": "vision"})  # somebody was faster
    with pytest.raises(platform.Stopped) as caught:
        platform.apply(api, plan)
    assert str(caught.value.step) == "create team vision"
    assert (caught.value.done, len(caught.value.left)) == ([], 3)

    plan = planned(api, wanted)
    live.queue("b", entity="vision")
    with pytest.raises(platform.Stopped) as caught:
        platform.apply(api, plan)
    assert [str(s) for s in caught.value.done] == ["create queue vision/a"]
    assert [str(s) for s in caught.value.left] == ["create queue vision/c"]

    live.admin.ok("DELETE", "/queues/vision/b")
    assert [str(s) for s in planned(api, wanted).steps] == [
        "create queue vision/b", "create queue vision/c",
    ]  # fmt: skip
    platform.apply(api, planned(api, wanted))
    assert not planned(api, wanted).differs


def test_a_member_is_refused_by_the_server_and_an_admin_of_the_team_is_not(
    api: Api, live: World
) -> None:
    ada, bob = live.user("ada"), live.user("bob")
    apply(api, "teams: {vision: {members: {ada: admin, bob: member}}}")
    text = f"teams: {{vision: {{queues: {{cpu: {{{QUEUE}}}}}}}}}"
    with api_of(live, bob.key) as as_bob, pytest.raises(platform.Stopped, match="your role"):
        apply(as_bob, text)
    with api_of(live, ada.key) as as_ada:
        assert [str(step) for step in apply(as_ada, text).steps] == ["create queue vision/cpu"]
        # Who may not list users still sees that a member is one.
        assert not apply(
            as_ada, "users: {bob: {}}\nteams: {vision: {members: {bob: member}}}"
        ).differs
        with pytest.raises(platform.Stopped, match="create users"):
            apply(as_ada, "users: {bob: {email: b@example.org}, eve: {}}")
        document = export(as_ada)
        assert list(document["teams"]["vision"]["queues"]) == ["cpu"]
        assert list(document["users"]) == ["ada"]


def test_what_the_caller_may_not_see_is_left_out_of_an_export_and_never_pruned(
    api: Api, live: World
) -> None:
    bob = live.user("bob")
    apply(
        api,
        "teams: {vision: {members: {admin: admin, bob: member}, "
        "hooks: {h: {emails: [a@example.org], events: [item.failed]}}}}",
    )
    said: list[str] = []
    with api_of(live, bob.key) as as_bob:
        document = export(as_bob, ["vision"], told=said.append)
        assert "hooks" not in document["teams"]["vision"]
        assert any("hooks left out" in line for line in said)
        with pytest.raises(Conflict, match="does not fit"):
            planned(as_bob, read_text(HEAD + "teams: {vision: {hooks: {}}}"), prune=True)


def test_of_users_what_is_said_is_made_so_and_the_rest_stays(api: Api) -> None:
    apply(api, "users: {bob: {email: b@example.org, disabled: true}, eve: {admin: true}, al: {}}")
    bob, eve = api.user("bob"), api.user("eve")
    assert (bob.email, bob.disabled_at is not None, eve.is_admin) == ("b@example.org", True, True)
    plan = apply(api, "users: {bob: {disabled: false}, eve: {email: e@example.org}, al: {}}")
    assert [str(step) for step in plan.steps] == ["update user bob", "update user eve"]
    bob, eve = api.user("bob"), api.user("eve")
    assert (bob.email, bob.disabled_at, eve.is_admin) == ("b@example.org", None, True)
    apply(api, "users: {bob: {email: ''}, eve: {admin: false}}")
    assert (api.user("bob").email, api.user("eve").is_admin) == (None, False)


def test_a_role_may_be_one_that_the_server_has_or_the_document_makes(api: Api, live: World) -> None:
    live.user("bob")
    apply(
        api,
        "teams: {vision: {roles: {keeper: {permissions: [submit, operate]}}, "
        "members: {admin: admin, bob: keeper}}}",
    )
    assert not apply(api, "teams: {vision: {members: {bob: keeper}}}").differs
    with pytest.raises(Conflict) as caught:
        apply(api, "teams: {vision: {members: {bob: keepr}}}")
    assert "no role 'keepr'; did you mean keeper?" in str(caught.value.violations[0])


def test_notifications_of_ones_own_are_no_part_of_a_platform(api: Api, live: World) -> None:
    bob = live.user("bob")
    apply(api, "users: {bob: {email: bob@example.org}}\nteams: {vision: {members: {bob: member}}}")
    own = {"name": "mine", "events": ["item.failed"], "mine": True}
    bob.ok("POST", "/hooks/vision", json=own)
    said: list[str] = []
    assert export(api, ["vision"], told=said.append)["teams"]["vision"]["hooks"] == {}
    assert said == ["vision: 1 of hooks left out: they are people's own"]
    assert not apply(api, "teams: {vision: {hooks: {}}}", prune=True).differs


def test_T14_a_secret_goes_in_by_reference_and_is_in_no_plan(api: Api, tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("from-a-file")
    file = tmp_path / "p.yaml"
    file.write_text(
        HEAD + "teams: {vision: {secrets: {a: {from_env: HF_TOKEN}, b: {from_file: key.txt}}}}"
    )
    wanted = platform.read_files([file])
    plan = planned(api, wanted)
    platform.apply(api, plan)
    assert "hf_the-value" not in repr(plan)
    assert [api.secret("vision", name).version for name in "ab"] == [1, 1]
    assert not planned(api, wanted).differs
    again = planned(api, wanted, rewrite_secrets=True)
    assert [step.key.name for step in again.steps] == ["a", "b"]
    platform.apply(api, again)
    assert [api.secret("vision", name).version for name in "ab"] == [2, 2]


def test_secrets_without_a_value_stop_everything_before_it_begins(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    text = (
        "teams: {vision: {secrets: {a: {from_env: HF_TOKEN}, b: {from_file: /none}, "
        "c: {from_env: CHAT_URL}, d: {from_env: EMPTY}}}}"
    )
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(Exception, match="secrets have no value") as caught:
        apply(api, text)
    assert [one.message for one in caught.value.violations] == [
        "the environment variable HF_TOKEN is not set here",
        "the file /none cannot be read: No such file or directory",
        "the environment variable EMPTY is not set here",
    ]
    assert not list(api.teams())


def test_the_description_of_a_secret_changes_with_its_value(api: Api) -> None:
    apply(api, "teams: {vision: {secrets: {a: {from_env: HF_TOKEN}}}}")
    plan = apply(api, "teams: {vision: {secrets: {a: {from_env: HF_TOKEN, description: new}}}}")
    assert [c.path for c in plan.steps[0].changes] == ["description", "value"]
    assert api.secret("vision", "a").description == "new"
    # What only has to exist is nobody's to compare.
    assert not apply(api, "teams: {vision: {secrets: {a: {exists: true}}}}").differs


def test_a_webhooks_signing_secret_is_told_once_and_its_address_is_compared_by_host(
    api: Api,
) -> None:
    told: list[str | None] = []
    text = "teams: {vision: {hooks: {h: {url: %s, events: [item.failed]}}}}"
    wanted = read_text(HEAD + text % "https://93.184.216.34/a")
    platform.apply(api, planned(api, wanted), told=lambda step, shown: told.append(shown))
    assert [bool(one) for one in told] == [False, True]
    assert not apply(api, text % "https://93.184.216.34/b").differs  # nobody can see that
    plan = apply(api, text % "https://93.184.216.35/b")
    assert [str(c.becomes) for c in plan.steps[0].changes] == ["(as written in the document)"]
    (hook,) = api.hooks("vision")
    assert hook.url == "https://93.184.216.35/…"


def test_another_source_is_another_version_and_uploads_are_left_out(api: Api) -> None:
    text = (
        "teams: {vision: {jobs: {demo/hello: {source: {kind: image, image: 'python:%s', "
        "entry_point: [python, -V]}, aliases: [%s]}}}}"
    )
    apply(api, text % ("3.11", "prod"))
    assert not apply(api, text % ("3.11", "prod")).differs
    (step,) = apply(api, text % ("3.12", "prod")).steps
    assert [c.path for c in step.changes] == ["source.image"]
    newest = api.job_version("vision", "demo", "hello", "prod")
    assert (newest.version, newest.source["image"]) == (1, "python:3.12")
    described = text.replace("aliases: [%s]", "description: %s") % ("3.12", "words")
    assert [c.path for c in apply(api, described).steps[0].changes] == ["description"]
    assert not apply(api, text % ("3.12", "prod")).differs  # what is left out stays
    assert not apply(api, "teams: {vision: {jobs: {}}}", prune=True).differs

    digest = f"sha256:{hashlib.sha256(b'x').hexdigest()}"
    api.put_blob("vision", digest, [b"x"], 1)
    api.save_job("vision", "demo", "code", JobIn(source={"kind": "code", "archive": digest}))
    said: list[str] = []
    document = export(api, ["vision"], jobs=True, told=said.append)
    assert list(document["teams"]["vision"]["jobs"]) == ["demo/hello"]
    assert said == ["vision: 1 of jobs left out: an uploaded directory cannot be written down"]
    assert "jobs" not in export(api, ["vision"])["teams"]["vision"]


# -- at random ---------------------------------------------------------------------------

PEOPLE = ("ada", "bob", "eve")
ROLES = ("launcher", "keeper")
QUEUES = ("cpu", "gpu", "big.one")
ACCOUNTS = ("rig", "robot")


def some(names: tuple[str, ...], each: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(names), each, max_size=len(names))


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


WORDS = st.text("ab: #'\"{}\n-é", max_size=6)
POLICY = maybe(
    priorities=st.booleans(),
    max_running=st.integers(0, 5),
    fair_share=st.booleans(),
    requeue_place=st.sampled_from(["end", "front"]),
    images=st.lists(st.sampled_from(["a/*", "b"]), max_size=2),
    retry=st.lists(
        maybe(at_most=st.integers(1, 3), exit_codes=st.lists(st.integers(1, 9))), max_size=2
    ),
)
A_QUEUE, A_TEMPLATE = (
    st.builds(
        lambda policy, rest: {"resource": "local-process", "policy": policy, **rest},
        POLICY,
        maybe(
            description=WORDS,
            config=maybe(env=st.lists(st.sampled_from(["A=1", "B=2"]), max_size=2)),
            links=st.lists(
                st.fixed_dictionaries(
                    {"label": st.sampled_from(["docs", "x"]), "url": st.just("https://x.org/")}
                ),
                max_size=1,
            ),
        ),
    ),
    st.builds(
        lambda top: {
            "resource": "local-container",
            "config": {"memory": "{{memory}}"},
            "variables": {"memory": {"type": "string", "enum": ["1g", "2g"][:top]}},
        },
        st.integers(1, 2),
    ),
)
PERMISSIONS = st.lists(st.sampled_from([a.permission for a in Action]), max_size=3)
A_ROLE = st.builds(
    lambda p, rest: {"permissions": p, **rest}, PERMISSIONS, maybe(description=WORDS)
)
A_HOOK = st.builds(
    lambda events, rest: {"emails": ["a@example.org"], "events": events, **rest},
    st.lists(st.sampled_from([event.value for event in Event]), min_size=1, max_size=2),
    maybe(wait_s=st.integers(30, 99), enabled=st.booleans()),
)


@st.composite
def teams(draw: st.DrawFn, accounts: tuple[str, ...]) -> dict[str, Any]:
    roles = draw(some(ROLES, A_ROLE))
    known = st.sampled_from([*BUILT_IN, *roles])
    return {
        "roles": roles,
        "members": {"admin": "admin", **draw(some(PEOPLE, known))},
        "service_accounts": draw(
            some(
                accounts,
                st.builds(
                    lambda role, rest: {"role": role, **rest},
                    known,
                    maybe(queues=st.lists(st.sampled_from(QUEUES)), disabled=st.booleans()),
                ),
            )
        ),
        "queues": {**draw(some(("cpu", "big.one"), A_QUEUE)), **draw(some(("gpu",), A_TEMPLATE))},
        "hooks": draw(some(("one", "two"), A_HOOK)),
    }


DOCUMENTS = st.fixed_dictionaries(
    {
        "apiVersion": st.just("runyard/v1"),
        "users": st.fixed_dictionaries(
            {name: maybe(email=st.sampled_from(["", f"{name}@example.org"])) for name in PEOPLE}
        ),
        "teams": st.fixed_dictionaries(
            {"vision": teams(("rig-v", "bot-v")), "speech": teams(("rig-s", "bot-s"))}
        ),
    }
)


@settings(
    max_examples=25,
    deadline=None,
    # An example depends on what those before it left: a smaller one is another story.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(document=DOCUMENTS)
def test_after_any_platform_nothing_is_left_to_do_and_it_is_exported_as_it_is(
    api: Api, document: dict[str, Any]
) -> None:
    # One server after another document: each example begins where the last has ended.
    wanted = read_text(to_yaml(document))
    platform.apply(api, planned(api, wanted, prune=True))
    assert not planned(api, wanted, prune=True).differs
    exported = read_text(to_yaml(export(api)))
    for key in [*wanted.things, *exported.things]:
        if key.kind in ("user", "team"):
            continue
        assert exported.things[key].fields == wanted.things[key].fields, key
    assert Key("team", "", "vision") in exported.things
