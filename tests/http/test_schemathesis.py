"""Every route of the OpenAPI document, asked with what a generator makes of its schemas."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from runyard.server.app import create_app, create_openapi
from runyard.server.settings import ServerSettings
from runyard.store.db import Database

from .conftest import Clock, World, on_a_port

# What streams without an end is tested elsewhere.
schema = schemathesis.openapi.from_dict(create_openapi()).exclude(path="/api/v1/events")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/msgpack")
def _msgpack(_: object, value: object) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # an integer that JSON can say and msgpack cannot
        return b"\xc1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    chosen = ServerSettings(home=tmp_path_factory.mktemp("schemathesis"), sweep_interval_s=60)
    database = Database(chosen.database_url)
    app = create_app(chosen, database=database, say=lambda _: None)
    with on_a_port(app, chosen) as url, httpx2.Client(base_url=url, timeout=10) as http:
        yield World(app, http, Clock())
    database.close()


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_surprises_the_server(case: schemathesis.Case, server: World) -> None:
    answer = case.call(
        base_url=str(server.http.base_url),
        headers={"Authorization": f"Bearer {server.admin.key}"},
    )
    case.validate_response(answer, checks=CHECKS)
