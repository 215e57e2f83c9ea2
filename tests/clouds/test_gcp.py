"""Google by doubles: the libraries are the real ones, with a service account made for the test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runyard.clouds.gcp import GcpIdentity, GcpRegistry, GcsBlobs
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.images import ImageRef
from tests.clouds.doubles import DIGEST, serving
from tests.clouds.test_oci import using
from tests.store import google as double_of_google
from tests.store.google import BUCKET, Google


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Google]:
    """Google's token endpoint and Cloud Storage, and a key of a service account there."""
    from google.auth import credentials

    # It would ask Google itself, in the background, where the account may be used.
    boundary = getattr(credentials, "CredentialsWithRegionalAccessBoundary", None)
    if boundary is not None:
        monkeypatch.setattr(
            boundary, "_maybe_start_regional_access_boundary_refresh", lambda *_: None
        )
    with double_of_google.serving() as double:
        double.write_account(tmp_path / "account.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        yield double


def test_the_principal_is_the_service_account(google: Google) -> None:
    assert asyncio.run(GcpIdentity().principal()) == "ry@p.example"
    assert google.calls == ["POST /token"]  # which shows that the key is a good one


def test_without_credentials_the_agent_is_told_what_to_set(
    google: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(Rejected, match="no credentials for Google") as told:
        asyncio.run(GcpIdentity().principal())
    assert "gcloud auth" in told.value.hint


def test_a_token_endpoint_that_is_away_is_no_refusal(
    google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.url = "http://127.0.0.1:1"
    google.write_account(tmp_path / "account.json")
    # The library waits between its tries.
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(Unavailable, match="Google could not be asked"):
        asyncio.run(GcpIdentity().principal())


def test_a_registry_takes_the_token_for_a_password(google: Google) -> None:
    with serving(auth="token", users={"oauth2accesstoken": "t"}) as service:
        service.push("p/r/jobs", "v1")
        image = ImageRef(f"{service.host}/p/r/jobs", "v1")
        assert using(GcpRegistry(service.host), lambda it: it.digest(image)) == DIGEST
        login = using(GcpRegistry(service.host), lambda it: it.login())
    assert login is not None
    assert (login.registry, login.username) == (service.host, "oauth2accesstoken")
    assert login.expires_at is not None
    assert timedelta(minutes=50) < login.expires_at - datetime.now(UTC) <= timedelta(hours=1)


def test_an_image_loses_its_tag_before_it_is_deleted(google: Google) -> None:
    users = {"oauth2accesstoken": "t"}
    with serving(auth="token", users=users, deletes="untagged") as service:
        image = ImageRef(f"{service.host}/p/r/jobs", "v1", service.push("p/r/jobs", "v1"))

        async def twice(it: GcpRegistry) -> str | None:
            await it.delete(image)
            await it.delete(image)
            return await it.digest(image)

        assert using(GcpRegistry(service.host), twice) is None  # type: ignore[arg-type]
        shared = image.pinned(service.push("p/r/jobs", "v1"))
        service.push("p/r/jobs", "another")
        with pytest.raises(Rejected, match="does not delete") as told:
            using(GcpRegistry(service.host), lambda it: it.delete(shared))
    assert "another tag" in told.value.hint


def test_files_go_into_the_bucket_under_the_prefix(google: Google, tmp_path: Path) -> None:
    source = tmp_path / "context.tgz"
    source.write_bytes(b"the context")
    blobs = GcsBlobs(f"gs://{BUCKET}/some/prefix/", endpoint=google.url)

    async def ask() -> str:
        await blobs.put(source, "a/b.tgz")
        source.write_bytes(b"another context")
        return await blobs.put(source, "a/b.tgz")

    assert asyncio.run(ask()) == f"gs://{BUCKET}/some/prefix/a/b.tgz"
    assert google.objects == {"some/prefix/a/b.tgz": (b"another context", False)}

    async def delete() -> None:
        await blobs.delete("a/b.tgz")
        await blobs.delete("a/b.tgz")

    asyncio.run(delete())
    assert google.objects == {}
    google.broken = 403
    with pytest.raises(Rejected, match="403"):
        asyncio.run(blobs.put(source, "a/b.tgz"))


def test_no_secret_comes_into_a_log(google: Google, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(auth="token", users={"oauth2accesstoken": "t"}) as service:
        service.push("p/r/jobs", "v1")
        image = ImageRef(f"{service.host}/p/r/jobs", "v1")
        assert using(GcpRegistry(service.host), lambda it: it.digest(image)) == DIGEST
    assert caplog.text
    for secret in ("b2F1dGgyYWNjZXNzdG9rZW46dA==", "PRIVATE KEY", *service.shared):
        assert secret not in caplog.text
