"""The listener on loopback takes one answer, of its own login, from a browser."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import httpx2
import pytest

from runyard.client.sso import Attempt, Listener
from runyard.domain.errors import Unauthenticated, Unavailable
from runyard.domain.oidc import challenge_of, check_return, meets


def told(listener: Listener, **query: str) -> httpx2.Response:
    return httpx2.get(listener.redirect_uri, params=query, trust_env=False)


def test_the_listener_is_one_that_a_server_leads_back_to() -> None:
    with Listener(Attempt()) as listener:
        check_return(listener.redirect_uri, "https://runyard.example.org")
        assert urlsplit(listener.redirect_uri).hostname == "127.0.0.1"


def test_T18_only_the_answer_of_this_login_counts() -> None:
    attempt = Attempt()
    with Listener(attempt) as listener:
        for state in ("", "x", attempt.state + "x", "é"):
            assert told(listener, code="evil", state=state).status_code == 404
        other = listener.redirect_uri.removesuffix("/callback")
        assert httpx2.get(f"{other}/favicon.ico", trust_env=False).status_code == 404
        assert told(listener, code="good", state=attempt.state).status_code == 200
        assert told(listener, code="late", state=attempt.state).status_code == 409
        assert listener.wait(5) == "good"


def test_a_refusal_is_told_and_its_text_is_only_text() -> None:
    attempt = Attempt()
    said = "no\x1b[31m <b>entry</b>"
    with Listener(attempt) as listener:
        page = told(listener, error="login_failed", error_description=said, state=attempt.state)
        assert "<b>" not in page.text
        with pytest.raises(Unauthenticated, match="entry") as refused:
            listener.wait(5)
    assert "\x1b" not in refused.value.message  # T25


def test_nobody_coming_back_is_an_error_with_a_way_on() -> None:
    with Listener(Attempt()) as listener, pytest.raises(Unavailable) as missing:
        listener.wait(0.05)
    assert "--no-browser" in missing.value.hint


def test_nothing_stays_behind() -> None:
    before = threading.active_count()
    with Listener(Attempt()) as listener:
        address = listener.redirect_uri
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(address, trust_env=False)
    assert threading.active_count() == before


def test_an_attempt_hides_what_it_proves_itself_with() -> None:
    attempt = Attempt()
    page = attempt.address("https://runyard.example.org/api/v1/login/oidc")
    assert attempt.verifier not in page
    assert attempt.verifier not in repr(attempt)
    assert challenge_of(attempt.verifier) in page
    assert meets(attempt.verifier, challenge_of(attempt.verifier))
    assert Attempt().verifier != attempt.verifier
