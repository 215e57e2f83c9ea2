"""
The threats that Runyard is held against, and that each of them that applies has a test.

Each is a class of holes that was found in programs like this one. A test that is about one of them
carries its number in its name.
"""

from __future__ import annotations

import ast
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from runyard.domain.errors import RunyardError
from runyard.store.db import Database, Tx
from tests.http.conftest import World

ROOT = Path(__file__).parents[2]
THREATS = {
    1: "a route that asks for no login",
    2: "an exemption from login that a path can be spelled like",
    3: "a stream without login, or of another tenant",
    4: "pages of other sites that ask a local server",
    5: "options and transports smuggled to git",
    6: "code that runs by being cloned",
    7: "shell words in the fields of a job",
    8: "options that reach the host",
    9: "templates that are evaluated, and bounds that are not",
    10: "objects made from data",
    11: "paths that lead out",
    12: "files served without a look at who asks",
    13: "markup and scripts in names and logs",
    14: "secrets that the wrong ones can read",
    15: "tokens that open more than their own",
    16: "a server sent to where its users cannot go",
    17: "default credentials",
    18: "tokens of login providers that are believed too easily",
    19: "rights handed on by those who lack them",
    20: "too much of anything",
    21: "builds that run or keep what a tenant wrote",
    22: "an agent that lies",
    23: "writes of a worker that was replaced",
    24: "arguments that are expanded as files or addresses",
    25: "terminals and logs steered by output",
    26: "our own install",
}
# What there is nothing of yet; whoever builds it, takes its line out and writes its tests.
WAITING: dict[int, str] = {}

_NUMBERS = re.compile(r"T(\d+)(?=_)")


def numbered() -> Iterator[tuple[int, str]]:
    """Yield the numbers in the names of all tests."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test_T"
            ):
                for number in _NUMBERS.findall(node.name):
                    yield int(number), node.name


def test_each_threat_that_applies_has_a_test_with_its_number() -> None:
    tested = {number for number, _ in numbered()}
    assert tested <= set(THREATS)
    missing = {f"T{n}: {what}" for n, what in THREATS.items() if n not in tested | set(WAITING)}
    assert not missing
    assert not tested & set(WAITING), "these no longer wait: take them out of WAITING"


def test_T12_uploads_are_for_those_alone_who_may_see_their_team(world: World) -> None:
    digest = f"sha256:{hashlib.sha256(b'data').hexdigest()}"
    world.admin.ok("POST", "/teams", json={"name": "lab"})
    world.admin.ok("PUT", f"/blobs/lab/{digest}", content=b"data")
    path = f"/blobs/lab/{digest}"
    eve, vic = world.user("eve"), world.user("vic")
    world.admin.ok("PUT", "/teams/lab/members/vic", json={"role": "viewer"})
    assert vic("HEAD", path).status_code == 200
    assert vic("PUT", path, content=b"data").status_code == 403
    assert vic("GET", path).status_code == 405  # content goes to agents that hold its item
    for method in ("HEAD", "PUT"):
        assert eve(method, path, content=b"data").status_code == 404
        assert world.caller(None)(method, path, content=b"data").status_code == 401


MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def test_T13_markup_in_what_people_write_is_never_a_page(world: World) -> None:
    world.queue()
    spec = {"docker": {"docker_image": "busybox"}, "run_id": "r", "name": MARKUP}
    world.admin.ok("POST", "/queues/admin/q/items", json={"items": [spec]})
    agent = world.agent()
    held = agent.claim()
    agent.log(held, 0, MARKUP.encode())
    agent.finish(held)
    world.admin.ok("PATCH", "/queues/admin/q", json={"description": MARKUP})
    shown = 0
    for path in (f"/items/{held['item_id']}", "/items", "/queues/admin/q", "/runs/admin/default/r",
                 "/runs/admin/default/r/logs", "/runs/admin/default/r/events", "/usage?format=csv",
                 "/audit", "/audit/export?format=csv", f"/nothing/{MARKUP}",
                 f"/queues/admin/{MARKUP}", "/metrics", f"/login/oidc?state={MARKUP}"):  # fmt: skip
        answer = world.admin("GET", path)
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in {
            "application/json", "application/problem+json", "text/plain", "text/csv",
            "text/event-stream",
        }, path  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        shown += MARKUP in answer.text
    assert shown >= 4, "the markup was not even there"


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/me"])
def test_T13_no_answer_may_be_framed(world: World, path: str) -> None:
    headers = world.admin("GET", path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_T14_an_error_of_the_database_does_not_show_the_values(database: Database) -> None:
    def work(tx: Tx) -> None:
        tx.one(text("SELECT nothing FROM users WHERE email = :email"), {"email": "some-secret"})

    with pytest.raises((RunyardError, DBAPIError)) as error:
        database.write(work)
    chain = [error.value, error.value.__cause__]
    assert "SELECT nothing" in "".join(map(str, chain))
    assert not [e for e in chain if "some-secret" in str(e)]


def test_T17_nobody_is_there_before_the_first_start_made_a_random_admin(world: World) -> None:
    for key in ("admin", "password", "runyard", "local", "changeme", "x" * 43, "ry_" + "0" * 43):
        assert world.caller(key)("GET", "/me").status_code == 401
    for user, password in (("admin", "admin"), ("admin", ""), ("api", "admin"), ("root", "root")):
        assert world.caller(None)("GET", "/me", auth=(user, password)).status_code == 401


def test_T26_every_library_is_locked_by_version_and_hash() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = wanted["optional-dependencies"].values()
    names = {_name(line) for line in [*wanted["dependencies"], *(d for e in extras for d in e)]}
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        locked = _locked(file.read_text())
        assert not [name for name, rest in locked.items() if "--hash=sha256:" not in rest], file
        assert not [n for n, rest in locked.items() if not re.match(r"[\w.+!-]+\s", rest)], file
    assert names <= set(_locked((ROOT / "requirements/runtime.txt").read_text()))


def test_T26_only_the_index_is_installed_from() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        locked = file.read_text()
        assert not re.search(r"(?m)^(-e|--index|--extra-index|--find-links|git\+)|://|@ ", locked)


def test_T26_the_framework_that_broke_others_has_an_upper_bound() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = {_name(line): line for line in wanted}
    for name in ("fastapi", "starlette", "pydantic", "sqlalchemy"):
        assert "<" in bounds[name], bounds[name]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _locked(text: str) -> dict[str, str]:
    """Return what follows `name==` of each entry of a lock file."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    found = {}
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, equals, rest = line.partition("==")
        assert equals, line
        found[_name(name)] = rest + " "
    return found
