"""From a submission to an agent in secure mode: what changed is in the item, and refused there."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.agent.rendering import Draft, Grants, draft
from runyard.domain.errors import Rejected
from runyard.drivers.base import Capabilities
from runyard.services import queues

from .conftest import Yard

CONTAINER = Capabilities(needs_image=True, takes_gpus=True, takes_volumes=True)


def started(yard: Yard, *, secure: bool = True, **spec: Any) -> Draft:
    who = yard.register()
    yard.submit("r", **spec)
    (held,) = yard.lease(who)
    return draft(held, CONTAINER, Grants({}, secure=secure), base_url="http://s")


def own(yard: Yard, **config: Any) -> None:
    queues.edit(yard.call(), "ann", "q", config=config, policy=None)


def args(**settings: Any) -> dict[str, Any]:
    return {"local-container": settings}


def test_what_the_queue_says_itself_passes(yard: Yard) -> None:
    own(yard, memory="1g", command="true")
    made = started(yard, resource_args=args(memory="1g"), overrides={"run_config": {"lr": 1}})
    assert made.workload.config == {"memory": "1g", "command": "true"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"resource_args": args(memory="2g")}, "local-container.memory: is not as the queue"),
        ({"resource_args": args(**{"--MEMORY-swap": -1})}, "--MEMORY-swap: is not as the queue"),
        ({"resource_args": args(env=["A=1"])}, "local-container.env"),
        ({"resource_args": args(command="sh")}, "local-container.command"),
        ({"overrides": {"entry_point": ["sh"]}}, "overrides.entry_point: replaces the job's own"),
        ({"overrides": {"entrypoint": ["sh"]}}, "overrides.entry_point"),
        ({"overrides": {"args": ["sh"]}}, "overrides.args"),
        ({"overrides": {"working_dir": "x"}}, "overrides.working_dir"),
    ],
)
def test_T8_what_a_submission_changes_is_refused_and_named(
    yard: Yard, spec: Any, told: str
) -> None:
    own(yard, memory="1g")
    with pytest.raises(Rejected) as raised:
        started(yard, **spec)
    assert "secure mode" in raised.value.message
    assert told in raised.value.message
    assert "admin" in raised.value.hint


def test_without_secure_mode_it_may(yard: Yard) -> None:
    own(yard, memory="1g")
    made = started(yard, secure=False, resource_args=args(memory="2g"))
    assert made.workload.config == {"memory": "2g"}
