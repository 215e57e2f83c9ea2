import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from runyard.client.agent_api import AgentApi
from runyard.domain import errors
from runyard.wire.agent import Claim, LogChunk, Poll, Register
from tests.agent.double import Double

pytestmark = pytest.mark.anyio
REGISTER = Register(name="box", hostname="h", version="1", queues=["default"])


def answering(response: httpx2.Response | Exception) -> AgentApi:
    def handle(_: httpx2.Request) -> httpx2.Response:
        if isinstance(response, Exception):
            raise response
        return response

    return AgentApi("http://double", "key", transport=httpx2.MockTransport(handle))


async def test_every_call_goes_over_http_with_the_token_that_registering_brought(
    tmp_path: Path,
) -> None:
    double = Double()
    double.submit("i1")
    double.blobs["sha256:x"] = b"archive"
    api = AgentApi("http://double", "key", transport=double.transport())
    with pytest.raises(errors.Unauthenticated):
        await api.poll(Poll(slots=1))
    await api.register(REGISTER)
    (held,) = (await api.poll(Poll(slots=1))).leased
    (moved,) = await api.move([Claim(item_id="i1", token=held.token)])
    assert moved.run_token
    chunk = LogChunk(item_id="i1", token=held.token, offset=0, data=b"\xff\x00")
    assert (await api.log([chunk]))[0].size == 2
    assert double.items["i1"].log == b"\xff\x00"
    await api.blob("i1", "sha256:x", tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == b"archive"
    await api.retire()
    assert double.retired
    await api.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx2.Response(409, json={"code": "stale_epoch", "detail": "x"}), errors.StaleEpoch),
        (httpx2.Response(401, json={"code": "unauthenticated"}), errors.Unauthenticated),
        (httpx2.Response(422, json={"code": "invalid"}), errors.Invalid),
        (httpx2.Response(500, text="Internal Server Error"), errors.Unavailable),
        (httpx2.Response(502, text="<html>"), errors.Unavailable),
        (httpx2.Response(503, json={"code": "unavailable"}), errors.Unavailable),
        (httpx2.Response(429, text="slow down"), errors.Unavailable),
        (httpx2.Response(200, text="<html>a captive portal</html>"), errors.Unavailable),
        (httpx2.Response(200, json={"leased": 3}), errors.Unavailable),
        (httpx2.ReadTimeout("slow"), errors.Unavailable),
        (httpx2.RemoteProtocolError("cut off"), errors.Unavailable),
    ],
)
async def test_an_answer_is_taken_for_what_it_is_and_never_for_another(
    answer: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        await answering(answer).poll(Poll(slots=1))
    assert type(caught.value) is kind


async def test_a_redirect_is_no_outage_to_be_sat_out() -> None:
    with pytest.raises(errors.RunyardError) as caught:
        await answering(httpx2.Response(301, headers={"location": "/"})).register(REGISTER)
    assert not isinstance(caught.value, errors.Unavailable)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        api = AgentApi(f"http://127.0.0.1:{probe.getsockname()[1]}", "key")
        with pytest.raises(errors.Unavailable, match="cannot reach the server"):
            await api.register(REGISTER)
        await api.close()


async def test_a_blob_that_is_not_there_leaves_no_file(tmp_path: Path) -> None:
    api = answering(httpx2.Response(404, json={"code": "not_found", "detail": "no such blob"}))
    with pytest.raises(errors.NotFound):
        await api.blob("i1", "sha256:x", tmp_path / "blob")
    assert not (tmp_path / "blob").exists()
