"""The doubles of registries, held to what the specifications say: asked without our client."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from typing import Any

from tests.clouds.doubles import DIGEST, KIND, MANIFEST, NOBODY, serving, token_of


def ask(
    method: str, url: str, form: dict[str, str] | None = None, **headers: str
) -> tuple[int, Any, bytes]:
    data = urllib.parse.urlencode(form).encode() if form else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with closing(urllib.request.urlopen(request, timeout=30)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def test_a_manifest_is_found_by_tag_and_digest_if_its_kind_is_accepted() -> None:
    with serving() as service:
        service.push("a/b", "v1")
        for reference in ("v1", DIGEST):
            url = f"{service.url}/v2/a/b/manifests/{reference}"
            status, headers, body = ask("HEAD", url, Accept=KIND)
            assert (status, headers["Docker-Content-Digest"], body) == (200, DIGEST, b"")
            assert ask("GET", url, Accept=KIND)[2] == MANIFEST
            assert ask("HEAD", url)[0] == 404


def test_a_token_is_good_for_its_scope_alone() -> None:
    with serving(auth="token", users={"ann": "p"}) as service:
        service.push("a/b", "v1")
        service.push("a/c", "v1")
        status, headers, _ = ask("GET", f"{service.url}/v2/a/b/manifests/v1", Accept=KIND)
        told = headers["WWW-Authenticate"]
        assert status == 401
        assert told.startswith(f'Bearer realm="{service.url}/token",service="{service.host}"')
        asked = f"{service.url}/token?service=x&scope=repository:a/b:pull"
        assert ask("GET", asked)[0] == 401
        assert ask("GET", asked, Authorization=basic("ann", "wrong"))[0] == 401
        unscoped = f"{service.url}/token?service=x"
        assert ask("GET", unscoped, Authorization=basic("ann", "p"))[0] == 400
        token = json.loads(ask("GET", asked, Authorization=basic("ann", "p"))[2])["token"]
        given = {"Accept": KIND, "Authorization": f"Bearer {token}"}
        assert ask("GET", f"{service.url}/v2/a/b/manifests/v1", **given)[0] == 200
        assert ask("GET", f"{service.url}/v2/a/c/manifests/v1", **given)[0] == 401
        assert ask("DELETE", f"{service.url}/v2/a/b/manifests/{DIGEST}", **given)[0] == 401
        given["Authorization"] = "Bearer made-up"
        assert ask("GET", f"{service.url}/v2/a/b/manifests/v1", **given)[0] == 401


def test_a_password_is_checked() -> None:
    with serving(auth="basic", users={"ann": "p"}) as service:
        url = f"{service.url}/v2/"
        assert ask("GET", url)[1]["WWW-Authenticate"] == 'Basic realm="a registry"'
        found = [ask("GET", url, Authorization=basic("ann", word))[0] for word in ("p", "x")]
        assert found == [200, 401]


def test_googles_registry_keeps_what_has_a_tag() -> None:
    with serving(deletes="untagged") as service:
        service.push("a/b", "v1")
        url = f"{service.url}/v2/a/b/manifests"
        assert ask("DELETE", f"{url}/{DIGEST}")[0] == 400
        assert ask("DELETE", f"{url}/v1")[0] == 202
        assert ask("DELETE", f"{url}/{DIGEST}")[0] == 202
        assert ask("DELETE", f"{url}/{DIGEST}")[0] == 404


def test_azures_registry_exchanges_the_right_token_alone() -> None:
    entra = token_of({"tid": "t"})
    with serving(auth="token", entra=entra) as service:
        url = f"{service.url}/oauth2/exchange"
        form = {"grant_type": "access_token", "service": service.host, "access_token": entra}
        for wrong in ("grant_type", "service", "access_token"):
            assert ask("POST", url, {**form, wrong: "x"})[0] == 401
        refresh = json.loads(ask("POST", url, form)[2])["refresh_token"]
        asked = f"{service.url}/oauth2/token?service=x&scope=repository:a/b:pull"
        status, _, body = ask("GET", asked, Authorization=basic(NOBODY, refresh))
        assert (status, list(json.loads(body))) == (200, ["access_token", "expires_in"])
        assert ask("GET", asked, Authorization=basic(NOBODY, entra))[0] == 401
