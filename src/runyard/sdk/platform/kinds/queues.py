"""Queues: resource, configuration, variables, policy, links. Compared as the server reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar

from runyard.client.api import Api
from runyard.domain.configs import template_faults
from runyard.domain.errors import Invalid, Violation
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import Resource, parse_links
from runyard.domain.retries import RetryRule
from runyard.domain.templates import check_template, parse_variables
from runyard.sdk.platform.kinds.base import Kind, Wish, without
from runyard.sdk.platform.things import Fields, Found, Key
from runyard.wire.rest import QueueIn, QueueOut, QueuePatch

T = TypeVar("T")
_EMPTY: Final[Mapping[str, Any]] = {
    "description": "", "config": {}, "variables": {}, "policy": {}, "links": [],
}  # fmt: skip


class Queue(Kind):
    """A queue. Deleting one cancels what waits in it."""

    name, section, rank = "queue", "queues", 5
    fixed = frozenset({"resource"})

    def check(self, fields: Fields) -> Iterable[Violation]:
        wrong: list[Violation] = []
        resource = _tried(Resource.named, fields["resource"], "resource", wrong)
        variables = _tried(parse_variables, fields["variables"], "variables", wrong)
        _tried(QueuePolicy.parse, fields["policy"], "policy", wrong)
        _tried(parse_links, fields["links"], "links", wrong)
        if resource is not None and variables is not None:
            wrong += template_faults(resource, fields["config"], variables)
        elif variables is not None:
            wrong += check_template(fields["config"], variables)
        return wrong

    def wanted(self, part: Any) -> dict[str, Any]:
        return _normal(
            {
                "resource": part.resource,
                "description": part.description,
                "config": part.config,
                "variables": part.variables,
                "policy": part.policy,
                "links": [link.model_dump() for link in part.links],
            }
        )

    def written(self, fields: Fields) -> Any:
        policy = without(fields["policy"], QueuePolicy().to_json())
        if "retry" in policy:
            rule = asdict(RetryRule())
            policy["retry"] = [without(one, rule) for one in policy["retry"]]
        return without({**fields, "policy": policy}, _EMPTY)

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        for queue in api.queues(entity=owner):
            yield queue.name, Found(_fields(queue), waiting=queue.pending)

    def create(self, api: Api, key: Key, wish: Wish) -> None:
        api.create_queue(QueueIn(entity=key.owner, name=key.name, **wish.fields))

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        change = QueuePatch(**{name: wish.fields[name] for name in wish.changed})
        api.edit_queue(key.owner, key.name, change)

    def delete(self, api: Api, key: Key) -> None:
        api.delete_queue(key.owner, key.name)


def _tried(read: Callable[[Any], T], value: Any, name: str, wrong: list[Violation]) -> T | None:
    try:
        return read(value)
    except Invalid as error:
        wrong += error.violations or [Violation(name, error.message.removeprefix(f"{name}: "))]
        return None


def _fields(queue: QueueOut) -> dict[str, Any]:
    data = queue.model_dump(mode="json")
    return _normal({"resource": queue.resource, **{n: data.get(n, _EMPTY[n]) for n in _EMPTY}})


def _normal(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as the server would tell them. What it would refuse stays as it is."""
    normal = dict(fields)
    try:
        normal["resource"] = Resource.named(fields["resource"]).value
        normal["variables"] = {
            name: variable.to_json()
            for name, variable in parse_variables(fields["variables"]).items()
        }
    except Invalid:
        pass
    try:
        normal["policy"] = QueuePolicy.parse(fields["policy"]).to_json()
    except Invalid:
        # A newer server may have rules that are not known here; compare them as they are.
        normal["policy"] = {**QueuePolicy().to_json(), **fields["policy"]}
    return normal
