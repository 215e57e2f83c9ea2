"""Any registry of images: what is asked, what the answers mean, and where a login may go."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from runyard.clouds import oci_access, web
from runyard.clouds.docker_config import IDENTITY_TOKEN
from runyard.clouds.oci import OciRegistry, docker_registry
from runyard.clouds.oci_access import Access
from runyard.clouds.web import Answer, Web
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.images import ImageRef, Login
from tests.clouds.doubles import DIGEST, MANIFEST, Service, serving

T = TypeVar("T")
SECRET = "s3cret-pass"
TOKEN = "refresh-t0ken"


def using(registry: OciRegistry, use: Callable[[OciRegistry], Awaitable[T]]) -> T:
    async def all_of_it() -> T:
        try:
            return await use(registry)
        finally:
            await registry.close()

    return asyncio.run(all_of_it())


def registry(
    service: Service, *, name: str = "ann", password: str = SECRET, insecure: tuple[str, ...] = ()
) -> OciRegistry:
    async def login() -> Login | None:
        return Login(service.host, name, password) if name else None

    return OciRegistry(service.host, login, insecure=frozenset(insecure))


def jobs(service: Service, tag: str = "v1", digest: str = "") -> ImageRef:
    return ImageRef(f"{service.host}/ml/jobs", tag, digest)


def test_a_tag_that_is_there_has_its_digest_and_another_one_none() -> None:
    with serving() as service:
        service.push("ml/jobs", "v1")

        async def both(it: OciRegistry) -> tuple[str | None, str | None]:
            return await it.digest(jobs(service)), await it.digest(jobs(service, "v2"))

        assert using(registry(service), both) == (DIGEST, None)
    assert service.methods("/v2/ml/jobs") == ["HEAD", "HEAD"]  # nothing is downloaded


def test_a_registry_that_says_no_digest_is_asked_for_the_content() -> None:
    with serving(says_digest=False) as service:
        service.push("ml/jobs", "v1")
        assert using(registry(service), lambda it: it.digest(jobs(service))) == DIGEST


def test_a_password_is_given_to_a_registry_that_asks_for_it() -> None:
    with serving(auth="basic", users={"ann": SECRET}) as service:
        service.push("ml/jobs", "v1")

        async def twice(it: OciRegistry) -> tuple[str | None, str | None]:
            return await it.digest(jobs(service)), await it.digest(jobs(service))

        assert using(registry(service), twice) == (DIGEST, DIGEST)
    given = [bool(each.headers["Authorization"]) for each in service.asked]
    assert given == [False, False, True, True]  # looks which scheme it is; is asked; knows


@pytest.mark.parametrize("name", ["ann", ""])
def test_a_refused_login_and_a_missing_one_say_what_to_do(name: str) -> None:
    with serving(auth="basic", users={"ann": "another"}) as service:
        with pytest.raises(Rejected) as told:
            using(registry(service, name=name), lambda it: it.digest(jobs(service)))
        assert f"docker login {service.host}" in told.value.hint
        assert SECRET not in str(told.value) + told.value.hint


def test_a_token_is_fetched_once_for_a_repository_and_kept() -> None:
    with serving(auth="token", users={"ann": SECRET}) as service:
        service.push("ml/jobs", "v1")

        async def twice(it: OciRegistry) -> tuple[str | None, str | None]:
            return await it.digest(jobs(service)), await it.digest(jobs(service))

        assert using(registry(service), twice) == (DIGEST, DIGEST)
    (asked,) = [each for each in service.asked if each.path == "/token"]
    assert asked.query == {"service": [service.host], "scope": ["repository:ml/jobs:pull"]}
    assert SECRET not in "".join(str(a.headers) for a in service.asked)  # only as Basic, at /token


def test_a_token_that_the_registry_takes_no_more_is_renewed() -> None:
    with serving(auth="token", users={"ann": SECRET}) as service:
        service.push("ml/jobs", "v1")

        async def revoked(it: OciRegistry) -> str | None:
            await it.digest(jobs(service))
            service.shared.clear()
            return await it.digest(jobs(service))

        assert using(registry(service), revoked) == DIGEST
    assert service.methods("/token") == ["GET", "GET"]


@pytest.mark.parametrize(("expires_in", "kept"), [(300, 290), (30, 50), (None, 50)])
def test_a_token_is_used_until_shortly_before_it_expires(
    expires_in: int | None, kept: float
) -> None:
    clock = [1000.0]
    with serving(auth="token", users={"ann": SECRET}, expires_in=expires_in) as service:

        async def login() -> Login:
            return Login(service.host, "ann", SECRET)

        async def ask() -> None:
            web = Web(service.host)
            access = Access(web, login, lambda _: True, seconds=lambda: clock[0])
            told = f'Bearer realm="{service.url}/token",service="x"'
            header = await access.answer(Answer(401, {"WWW-Authenticate": told}), "scope")
            clock[0] += kept - 1
            assert access.header("scope") == header
            assert access.header("another") is None
            clock[0] += 2
            assert access.header("scope") is None
            await web.close()

        asyncio.run(ask())


def test_without_a_login_a_token_for_everybody_is_asked_for() -> None:
    with serving(auth="token", anonymous=True) as service:
        service.push("ml/jobs", "v1")
        public = registry(service, name="")
        assert using(public, lambda it: it.digest(jobs(service))) == DIGEST
    assert "Authorization: Basic" not in service.heard()


def test_an_identity_token_is_exchanged_by_post() -> None:
    with serving(auth="token", users={"": TOKEN}) as service:
        service.push("ml/jobs", "v1")
        holder = registry(service, name=IDENTITY_TOKEN, password=TOKEN)
        assert using(holder, lambda it: it.digest(jobs(service))) == DIGEST
    assert service.methods("/token") == ["POST"]


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "", "https://user@"])
def test_a_token_service_without_https_gets_no_login(scheme: str) -> None:
    with serving(users={"ann": SECRET}) as elsewhere:
        realm = (
            f"{scheme}{elsewhere.host}" if "@" in scheme else f"{scheme}://{elsewhere.host}/token"
        )
        with serving(auth="token", realm=realm) as service:
            with pytest.raises(Rejected, match="not by https") as told:
                using(registry(service), lambda it: it.digest(jobs(service)))
            assert "insecure_registries" in told.value.hint
        assert elsewhere.asked == []
        assert "Authorization" not in service.heard()


def test_a_token_service_over_http_that_an_operator_allows_is_used() -> None:
    with serving(users={"ann": SECRET}) as elsewhere:
        tokens = elsewhere.shared
        realm = f"{elsewhere.url}/token"
        with serving(auth="token", realm=realm, shared=tokens) as service:
            service.push("ml/jobs", "v1")
            allowed = registry(service, insecure=(elsewhere.host,))
            assert using(allowed, lambda it: it.digest(jobs(service))) == DIGEST
        assert "Basic" not in service.heard()


def test_a_redirect_takes_no_login_along_and_never_leaves_https(
    certified: ssl.SSLContext,
) -> None:
    for tls, followed in ((certified, True), (None, False)):
        with serving(tls) as elsewhere, serving(auth="basic", users={"ann": SECRET}) as service:
            elsewhere.push("ml/jobs", "v1")
            place = f"{elsewhere.url}/v2/ml/jobs/manifests/v1"
            service.answers["/v2/ml/jobs/manifests/v1"] = (307, {"Location": place})
            service.push("ml/other", "v1")

            async def both(it: OciRegistry, of: Service = service) -> str | None:
                await it.digest(ImageRef(f"{of.host}/ml/other", "v1"))  # the login is known now
                return await it.digest(jobs(of))

            if followed:
                assert using(registry(service), both) == DIGEST
                assert elsewhere.methods("/v2/ml") == ["HEAD"]
                assert "Authorization" not in elsewhere.heard()
            else:
                with pytest.raises(Rejected, match="307"):
                    using(registry(service), both)
                assert elsewhere.asked == []


def test_on_this_machine_a_registry_is_https_or_http_as_it_speaks(
    certified: ssl.SSLContext,
) -> None:
    with serving(certified) as service:
        service.push("ml/jobs", "v1")
        assert using(registry(service), lambda it: it.digest(jobs(service))) == DIGEST


def test_elsewhere_a_registry_is_https_unless_it_is_listed(
    certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard.clouds.oci.is_loopback", lambda _: False)
    with serving() as service:
        service.push("ml/jobs", "v1")
        with pytest.raises(Rejected, match="does not speak https") as told:
            using(registry(service), lambda it: it.digest(jobs(service)))
        assert "insecure_registries" in told.value.hint
        assert service.asked == []
        listed = registry(service, insecure=(service.host,))
        assert using(listed, lambda it: it.digest(jobs(service))) == DIGEST


def test_a_certificate_that_nobody_vouches_for_is_refused(
    certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with (
        serving(certified, auth="basic") as service,
        pytest.raises(Rejected, match="certificate") as told,
    ):
        using(registry(service), lambda it: it.digest(jobs(service)))
    assert "SSL_CERT_FILE" in told.value.hint
    assert service.asked == []


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "30"}, 30),
        (503, {"Retry-After": "999999"}, 3600),
        (500, {"Retry-After": "soon"}, 2),
        (502, {}, 2),
    ],
)
def test_a_registry_that_cannot_answer_now_is_asked_again_later(
    status: int, headers: dict[str, str], wait: int
) -> None:
    with serving() as service:
        service.answers["/v2/ml/jobs/manifests/v1"] = (status, headers)
        with pytest.raises(Unavailable, match=str(status)) as told:
            using(registry(service), lambda it: it.digest(jobs(service)))
    assert told.value.retry_after == timedelta(seconds=wait)


def test_a_registry_that_nobody_hears_is_unavailable_and_not_empty() -> None:
    with serving() as service:
        pass
    with pytest.raises(Unavailable, match="cannot be reached: no connection"):
        using(registry(service), lambda it: it.digest(jobs(service)))


@pytest.mark.parametrize(
    ("status", "advice"), [(403, "lacks a permission"), (400, "no such repository")]
)
def test_another_answer_is_never_taken_for_not_there(status: int, advice: str) -> None:
    with serving() as service:
        service.answers["/v2/ml/jobs/manifests/v1"] = (status, {})
        with pytest.raises(Rejected, match=f"status {status}") as told:
            using(registry(service), lambda it: it.digest(jobs(service)))
    assert advice in told.value.hint


def test_a_digest_of_a_kind_that_images_are_not_named_by_is_refused() -> None:
    with serving() as service:
        answer = (200, {"Docker-Content-Digest": "sha512:ab"})
        service.answers["/v2/ml/jobs/manifests/v1"] = answer
        with pytest.raises(Rejected, match="sha512:ab"):
            using(registry(service), lambda it: it.digest(jobs(service)))


def test_an_answer_without_an_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LARGEST", 10)
    with serving(says_digest=False) as service:
        service.push("ml/jobs", "v1", MANIFEST)
        with pytest.raises(Unavailable, match="more than 10 bytes"):
            using(registry(service), lambda it: it.digest(jobs(service)))


def test_a_repository_that_the_first_push_will_make_passes_the_check_and_a_closed_one_not() -> None:
    with serving(auth="basic", users={"ann": SECRET}) as service:
        name = f"{service.host}/ml/jobs"
        using(registry(service), lambda it: it.check(name))
        with pytest.raises(Rejected):
            using(registry(service, password="x"), lambda it: it.check(name))


def test_an_image_is_deleted_by_its_digest_and_can_be_again() -> None:
    with serving(auth="token", users={"ann": SECRET}) as service:
        image = jobs(service, digest=service.push("ml/jobs", "v1"))

        async def twice(it: OciRegistry) -> str | None:
            await it.delete(image)
            await it.delete(image)
            return await it.digest(jobs(service))

        assert using(registry(service), twice) is None
    deleted = [each.path for each in service.asked if each.method == "DELETE"]
    assert set(deleted) == {f"/v2/ml/jobs/manifests/{DIGEST}"}
    scopes = [each.query["scope"] for each in service.asked if each.path == "/token"]
    assert scopes[0] == ["repository:ml/jobs:delete,pull"]


@pytest.mark.parametrize("how", ["never", "no such route"])
def test_a_registry_that_does_not_delete_is_told(how: str) -> None:
    with serving(deletes=how) as service:
        image = jobs(service, digest=service.push("ml/jobs", "v1"))
        with pytest.raises(Rejected, match="does not delete") as told:
            using(registry(service), lambda it: it.delete(image))
        assert "REGISTRY_STORAGE_DELETE_ENABLED" in told.value.hint


def test_no_secret_comes_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(auth="token", users={"ann": SECRET}) as service:
        service.push("ml/jobs", "v1")
        using(registry(service), lambda it: it.digest(jobs(service)))
        given = list(service.shared)
    encoded = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    assert given
    for secret in (SECRET, encoded, *given):
        assert secret not in caplog.text
    assert SECRET not in repr(Login(service.host, "ann", SECRET))


def test_a_login_that_docker_kept_is_for_its_own_registry_alone(tmp_path: Path) -> None:
    with serving(auth="basic", users={"ann": SECRET}) as service, serving(auth="basic") as other:
        service.push("ml/jobs", "v1")
        auth = base64.b64encode(f"ann:{SECRET}".encode()).decode()
        config = {"auths": {service.host: {"auth": auth}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        env = {"DOCKER_CONFIG": str(tmp_path)}
        mine = docker_registry(service.host, env=env)
        assert using(mine, lambda it: it.digest(jobs(service))) == DIGEST
        assert using(mine, lambda it: it.login()) == Login(service.host, "ann", SECRET)
        with pytest.raises(Rejected, match="has none"):
            using(docker_registry(other.host, env=env), lambda it: it.digest(jobs(other)))
        assert "Authorization" not in other.heard()


def test_docker_hub_has_one_name_and_the_login_that_docker_keeps_for_it(tmp_path: Path) -> None:
    auth = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    config = {"auths": {"https://index.docker.io/v1/": {"auth": auth}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        hub = docker_registry(name, env={"DOCKER_CONFIG": str(tmp_path)})
        assert using(hub, lambda it: it.login()) == Login("docker.io", "ann", SECRET)
        assert using(hub, lambda it: it._address()) == "https://registry-1.docker.io"


def test_what_is_kept_of_many_repositories_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci_access, "_MOST", 3)

    async def login() -> Login:
        return Login("host", "ann", SECRET)

    async def ask() -> list[bool]:
        access = Access(Web("host"), login, lambda _: True)
        refusal = Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
        for n in range(5):
            await access.answer(refusal, f"scope {n}")
        return [access.header(f"scope {n}") is not None for n in range(5)]

    assert asyncio.run(ask()) == [False, False, True, True, True]
