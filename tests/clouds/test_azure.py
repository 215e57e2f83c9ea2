"""Azure by doubles: the real library gets its token from the endpoint of a managed identity."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runyard.clouds.azure import USER, AcrRegistry, AzureBlobs, AzureIdentity
from runyard.domain.errors import Rejected
from runyard.domain.images import ImageRef
from tests.clouds.doubles import DIGEST, Service, serving, token_of
from tests.clouds.test_oci import using

CLAIMS = {"appid": "app-1", "oid": "object-1", "tid": "tenant-1"}
ENTRA = token_of(CLAIMS)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A machine whose managed identity gives out `ENTRA`."""
    for name in [n for n in os.environ if n.startswith(("AZURE_", "MSI_", "IDENTITY_"))]:
        monkeypatch.delenv(name)
    with serving(identity="header-secret", entra=ENTRA) as service:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{service.url}/identity")
        monkeypatch.setenv("IDENTITY_HEADER", "header-secret")
        yield service


def test_the_principal_is_what_the_token_says(identity: Service) -> None:
    told = asyncio.run(AzureIdentity().principal())
    assert told == "application app-1, object object-1, tenant tenant-1"
    assert identity.asked[0].query["resource"] == ["https://management.azure.com"]
    identity.entra = token_of({**CLAIMS, "upn": "ann@example.com"})
    assert asyncio.run(AzureIdentity().principal()).startswith("ann@example.com, object object-1")


def test_a_refused_identity_says_what_to_set(
    identity: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(Rejected, match="no credentials") as told:
        asyncio.run(AzureIdentity().principal())
    assert "az login" in told.value.hint
    assert ENTRA not in str(told.value)


def test_a_registry_exchanges_the_token_for_a_login_of_its_own(identity: Service) -> None:
    with serving(auth="token", entra=ENTRA) as service:
        service.push("ml/jobs", "v1")
        service.realm = f"{service.url}/oauth2/token"
        image = ImageRef(f"{service.host}/ml/jobs", "v1")

        async def ask(it: AcrRegistry) -> tuple[str | None, str | None, object]:
            return await it.digest(image), await it.digest(image), await it.login()

        first, second, login = using(AcrRegistry(service.host), ask)  # type: ignore[arg-type]
        assert (first, second) == (DIGEST, DIGEST)
        assert service.methods("/oauth2/exchange") == ["POST"]
        assert service.methods("/oauth2/token") == ["GET"]
        exchanged = service.asked[2].form
        assert exchanged["tenant"] == ["tenant-1"]
        assert (login.registry, login.username) == (service.host, USER)
        assert login.password == service.users[USER]
        assert login.expires_at == datetime.fromtimestamp(4_000_000_000, UTC)
        assert all(ENTRA not in str(each.headers) for each in service.asked)


def test_a_registry_that_gives_no_login_names_the_role(identity: Service) -> None:
    with serving(auth="token", entra="another") as service:
        image = ImageRef(f"{service.host}/ml/jobs", "v1")
        with pytest.raises(Rejected) as told:
            using(AcrRegistry(service.host), lambda it: it.digest(image))
    assert "AcrPush" in told.value.hint


def test_files_go_into_the_container_under_the_prefix(
    identity: Service, certified: ssl.SSLContext, tmp_path: Path
) -> None:
    source = tmp_path / "context.tgz"
    content = b"the context" * 300_000  # of several pieces
    source.write_bytes(content)
    with serving(certified, entra=ENTRA) as service:
        blobs = AzureBlobs(f"{service.url}/container/some/prefix/")
        address = asyncio.run(blobs.put(source, "a b.tgz"))
        assert address == f"{service.url}/container/some/prefix/a%20b.tgz"
        assert service.blobs == {"/container/some/prefix/a%20b.tgz": content}
        asyncio.run(blobs.delete("a b.tgz"))
        asyncio.run(blobs.delete("a b.tgz"))
        assert service.blobs == {}
        service.entra = "another"
        with pytest.raises(Rejected, match="403") as told:
            asyncio.run(blobs.put(source, "a b.tgz"))
    assert "Storage Blob Data Contributor" in told.value.hint.replace("\n", " ")
    assert identity.asked[0].query["resource"] == ["https://storage.azure.com"]


def test_no_secret_comes_into_a_log(identity: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(auth="token", entra=ENTRA) as service:
        service.push("ml/jobs", "v1")
        service.realm = f"{service.url}/oauth2/token"
        image = ImageRef(f"{service.host}/ml/jobs", "v1")
        assert using(AcrRegistry(service.host), lambda it: it.digest(image)) == DIGEST
    assert caplog.text
    for secret in (ENTRA, "header-secret", service.users[USER], *service.shared):
        assert secret not in caplog.text
