"""Logging in with the tracking client."""

from __future__ import annotations

from .conftest import Client


def test_a_key_of_ours_is_a_key_of_the_client(client: Client) -> None:
    told = client.python(
        """
        import wandb
        assert wandb.login(verify=True)
        print("entity", wandb.Api().default_entity)
        """
    )
    assert "entity admin" in told
