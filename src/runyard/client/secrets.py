"""Secrets of users and teams: written and listed. No call returns a value."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.client.parts import Calls, path
from runyard.wire import rest_secrets


class SecretsApi(Calls):
    """What a connection can do with secrets."""

    def secrets(self, *, entity: str | None = None) -> Iterator[rest_secrets.SecretOut]:
        return self._pages("/secrets", rest_secrets.SecretOut, {"entity": entity})

    def secret(self, entity: str, name: str) -> rest_secrets.SecretOut:
        return self._get(path("secrets", entity, name), rest_secrets.SecretOut)

    def set_secret(
        self,
        entity: str,
        name: str,
        value: str,
        *,
        description: str | None = None,
        for_jobs: bool | None = None,
    ) -> rest_secrets.SecretOut:
        """Write a secret, or its next version; what is None stays as it was.

        `for_jobs` lets jobs ask for it by name, not only queues of the entity.
        """
        body = {"value": value, "description": description, "for_jobs": for_jobs}
        answer = self.transport.call("PUT", path("secrets", entity, name), body=body)
        return self._read(rest_secrets.SecretOut, answer)

    def edit_secret(
        self,
        entity: str,
        name: str,
        *,
        description: str | None = None,
        for_jobs: bool | None = None,
    ) -> rest_secrets.SecretOut:
        """Change what is said of a secret, and not its value; what is None stays."""
        body = {"description": description, "for_jobs": for_jobs}
        answer = self.transport.call("PATCH", path("secrets", entity, name), body=body)
        return self._read(rest_secrets.SecretOut, answer)

    def delete_secret(self, entity: str, name: str, *, force: bool = False) -> None:
        """Delete a secret; with `force` even while queues name it."""
        params = {"force": force or None}
        self.transport.call("DELETE", path("secrets", entity, name), params=params)
