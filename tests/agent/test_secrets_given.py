"""From a claim to a workload: who gets which secret, and what happens without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runyard.agent.config import AgentConfig
from runyard.agent.main import _passed
from runyard.agent.rendering import Grants, completed, draft
from runyard.domain.errors import Rejected
from runyard.domain.workloads import Handle, Workload
from runyard.drivers.base import Capabilities
from runyard.testing.scripted import Stage, ends
from runyard.wire.agent import Claim, Held, Moved
from tests.agent.double import RUN_TOKEN, Double, spec
from tests.agent.test_attempt import Yard, run

pytestmark = pytest.mark.anyio
REFS = {"HF": {"entity": "ann", "name": "hf"}, "HOST": {"agent_env": "HOST_TOKEN"}}
VALUE = "s3cret value/of\na test"


def drafted(refs: dict[str, Any], passed: tuple[str, ...] = ("HOST_TOKEN",), **changes: Any) -> Any:
    asked = {**spec(**changes), "secrets": refs}
    held = Held(item_id="i1", token="t", key="ry-i1-1", attempt=1, requeues=0, spec=asked)
    environment = {"HOST_TOKEN": "s3cret-of-host", "AGENT_KEY": "s3cret-of-agent"}
    grants = Grants(environment, passed={asked["resource"]: passed})
    return draft(held, Capabilities(needs_image=False), grants, base_url="http://s")


def test_a_workload_has_its_secrets_beside_its_variables() -> None:
    made = completed(drafted(REFS), run_token=RUN_TOKEN, given={"HF": VALUE})
    assert made.secrets == {"HF": VALUE, "HOST": "s3cret-of-host", "WANDB_API_KEY": RUN_TOKEN}
    assert "s3cret" not in repr(made) + repr(made.env)


def test_T15_no_secret_takes_the_place_of_the_runs_own_key() -> None:
    refs = {"WANDB_API_KEY": {"entity": "ann", "name": "hf"}}  # no server lets it through
    made = completed(drafted(refs), run_token=RUN_TOKEN, given={"WANDB_API_KEY": "other"})
    assert made.secrets == {"WANDB_API_KEY": RUN_TOKEN}


def test_T14_an_agent_gives_of_its_environment_what_its_file_allows() -> None:
    with pytest.raises(Rejected, match="env_passthrough"):
        drafted(REFS, passed=())
    with pytest.raises(Rejected, match="AGENT_KEY may not"):
        drafted({"A": {"agent_env": "AGENT_KEY"}})
    config = AgentConfig(
        name="a",
        env_passthrough=["A"],
        resources={"local-container": {"env_passthrough": ["B"]}},
    )
    assert _passed(config) == {"local-process": {"A"}, "local-container": {"B"}}
    assert _passed(AgentConfig(name="a")) == {}


def test_a_server_that_gives_less_than_the_item_needs_starts_nothing() -> None:
    for given in (None, {}, {"OTHER": "x"}):
        with pytest.raises(Rejected, match="did not hand out the secret 'hf'"):
            completed(drafted(REFS), run_token=RUN_TOKEN, given=given)


def test_the_drivers_never_see_the_reserved_key() -> None:
    made = drafted({}, config={"env": [], "secrets": {"HF": "hf"}})
    assert made.workload.config == {"env": []}


# -- a whole attempt ---------------------------------------------------------------------


class Giving(Double):
    """A server whose claims bring something."""

    brings: Moved = Moved()

    def _move(self, m: Any) -> Moved:
        answer = super()._move(m)
        return self.brings if isinstance(m, Claim) and not answer.code else answer


@pytest.fixture
def double() -> Giving:
    return Giving(i1={**spec(), "secrets": {"HF": REFS["HF"]}})


async def test_T14_what_a_claim_brought_is_given_and_masked(tmp_path: Any, double: Giving) -> None:
    double.brings = Moved(run_token=RUN_TOKEN, secrets={"HF": VALUE})
    stage = Stage(lambda w: ends(0, f"{w.secrets['HF']}|{w.secrets['HF']!r}|".encode()))
    await run(Yard(tmp_path, double, stage))
    assert b"s3cret" not in double.items["i1"].log
    assert double.items["i1"].log.count(b"|") == 2


async def test_a_claim_without_its_secrets_fails_the_item_in_the_servers_words(
    tmp_path: Any, double: Giving
) -> None:
    double.brings = Moved(code="rejected", message="secret 'hf' of ann was deleted")
    stage = Stage()
    await run(Yard(tmp_path, double, stage))
    failure = double.items["i1"].failure
    assert (failure.stage, failure.message) == ("agent", "secret 'hf' of ann was deleted")
    assert not failure.host
    assert stage.started == []


async def test_what_a_driver_warns_of_is_told(
    tmp_path: Any, double: Giving, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.brings = Moved(run_token=RUN_TOKEN, secrets={"HF": VALUE})
    yard = Yard(tmp_path, double, Stage())
    submit = yard.driver.submit

    async def warns(workload: Workload) -> Handle:
        return replace(await submit(workload), warnings=("no shell for s3cret value/of\na test",))

    monkeypatch.setattr(yard.driver, "submit", warns)
    await run(yard)
    assert "warn:i1" in double.calls
