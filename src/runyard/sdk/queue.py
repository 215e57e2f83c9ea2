"""A queue, to be made, looked at, edited and deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from runyard.client.api import Api
from runyard.wire.rest import ItemOut, QueueIn, QueueOut, QueuePatch
from runyard.wire.rest_operating import ExplainedOut

if TYPE_CHECKING:
    from runyard.sdk.client import Client


class Queue:
    """A queue: what it runs on, its settings, what is in it.

    Example:
        gpu = client.queue("gpu")
        gpu.edit(config={"gpus": 2})
        print([item.status for item in gpu.items(limit=10)])
    """

    def __init__(self, api: Api, data: QueueOut) -> None:
        self._api = api
        self.data = data

    def __repr__(self) -> str:
        return f"Queue({self.entity}/{self.name}, {self.resource})"

    @classmethod
    def create(
        cls,
        name: str,
        resource: str,
        *,
        config: Mapping[str, Any] | None = None,
        variables: Mapping[str, Mapping[str, Any]] | None = None,
        policy: Mapping[str, Any] | None = None,
        entity: str | None = None,
        client: Client | None = None,
    ) -> Queue:
        """Make a queue. Raises Conflict if there is one of that name."""
        api = (client or _configured()).api
        made = api.create_queue(
            QueueIn(
                entity=entity,
                name=name,
                resource=resource,
                config=dict(config or {}),
                variables={name: dict(schema) for name, schema in (variables or {}).items()},
                policy=dict(policy or {}),
            )
        )
        return cls(api, made)

    @classmethod
    def get(cls, name: str, *, entity: str | None = None, client: Client | None = None) -> Queue:
        """Return a queue. Raises NotFound, with the nearest names."""
        client = client or _configured()
        return cls(client.api, client.api.queue(entity or client.entity, name))

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def entity(self) -> str:
        return self.data.entity

    @property
    def resource(self) -> str:
        return self.data.resource

    @property
    def config(self) -> dict[str, Any]:
        return self.data.config

    def refresh(self) -> Queue:
        """Ask the server for the queue as it is now."""
        return Queue(self._api, self._api.queue(self.entity, self.name))

    def items(self, *, state: str | None = None, limit: int | None = None) -> Iterator[ItemOut]:
        """Yield the queue's items, the newest first."""
        return self._api.items(
            entity=self.entity,
            queue=self.name,
            state=state.upper() if state else None,
            limit=limit,
        )

    def edit(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        variables: Mapping[str, Mapping[str, Any]] | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> Queue:
        """Replace settings, variables, rules, or several; return the queue as it is then."""
        patch = QueuePatch(
            config=None if config is None else dict(config),
            variables=None if variables is None else {n: dict(v) for n, v in variables.items()},
            policy=None if policy is None else dict(policy),
        )
        return Queue(self._api, self._api.edit_queue(self.entity, self.name, patch))

    def pause(self, reason: str = "") -> Queue:
        """Hand out nothing of the queue until `resume`."""
        return Queue(self._api, self._api.pause_queue(self.entity, self.name, reason))

    def drain(self, reason: str = "") -> Queue:
        """Take no submissions until `resume`; what waits and runs goes on."""
        return Queue(self._api, self._api.drain_queue(self.entity, self.name, reason))

    def resume(self) -> Queue:
        return Queue(self._api, self._api.resume_queue(self.entity, self.name))

    def explain(self) -> ExplainedOut:
        """Tell how the queue stands: rules, limits, agents, users and who is next."""
        return self._api.explain_queue(self.entity, self.name)

    def delete(self) -> None:
        """Delete the queue and cancel what waits in it."""
        self._api.delete_queue(self.entity, self.name)


def _configured() -> Client:
    from runyard.sdk.client import Client

    return Client()
