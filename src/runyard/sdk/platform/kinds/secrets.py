"""Secrets: where their values come from, never the values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runyard.client.api import Api
from runyard.sdk.platform.kinds.base import Kind, Wish, without
from runyard.sdk.platform.things import Fields, Found, Key


class Secret(Kind):
    """A secret of the server's store. Its value goes in when it is missing, and stays.

    What only `exists` belongs to somebody else: nothing of it is compared.
    """

    name, section, rank = "secret", "secrets", 4
    sealed = frozenset({"value"})
    whole = True
    missing = "write its value: runyard secret set {name} -e {owner}"

    def wanted(self, part: Any) -> dict[str, Any]:
        source = part.source()
        if "exists" in source:
            return {"value": source}
        return {"value": source, "description": part.description, "for_jobs": part.for_jobs}

    def written(self, fields: Fields) -> Any:
        return {**fields["value"], **without({n: v for n, v in fields.items() if n != "value"},
                                             {"description": "", "for_jobs": False})}  # fmt: skip

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        for secret in api.secrets(entity=owner):
            fields = {"description": secret.description, "for_jobs": secret.for_jobs}
            yield secret.name, Found({"value": {"exists": True}, **fields})

    def create(self, api: Api, key: Key, wish: Wish) -> None:
        api.set_secret(
            key.owner,
            key.name,
            wish.values["value"],
            description=wish.fields["description"],
            for_jobs=wish.fields["for_jobs"],
        )

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        self.create(api, key, wish)

    def delete(self, api: Api, key: Key) -> None:
        api.delete_secret(key.owner, key.name)
