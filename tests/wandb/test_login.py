"""Logging in with the tracking client."""

from __future__ import annotations

from .conftest import Client, on_sqlite

WRONG = "ry_" + "x" * 44


def test_a_key_of_ours_is_a_key_of_the_client(client: Client) -> None:
    told = client.python(
        """
        import wandb
        assert wandb.login(verify=True)
        api = wandb.Api()
        me = api.viewer
        assert (me.username, me.admin, me.teams) == ("admin", True, ["admin"]), me._attrs
        assert all(api.api_key.startswith(name) for name in me.api_keys[-1:]), me.api_keys
        assert me.user_api.viewer.username == "admin"
        print("entity", api.default_entity)
        """
    )
    assert "entity admin" in told


@on_sqlite
def test_the_commands_log_in_and_tell_a_wrong_key(client: Client) -> None:
    none = {"WANDB_API_KEY": ""}
    key = client.world.admin.key or ""
    told = client.wandb("login", "--verify", "--host", client.url, key, env=none)
    assert "Currently logged in as: admin" in told
    assert key in (client.directory / "home" / ".netrc").read_text()
    assert "Currently logged in as: admin" in client.wandb("login", env=none)
    told = client.wandb("login", "--verify", "--relogin", WRONG, env=none, ok=False)
    assert "the key is not known" in told, told
    assert "(wandb login --relogin)" in told, told
    assert "Currently logged in as" not in told


def test_people_and_teams_through_the_public_api(client: Client) -> None:
    client.world.user("bob")
    client.python(
        """
        import wandb
        api = wandb.Api()
        team = api.create_team("vision")
        assert team.invite("bob") and not team.invite("bob") and not team.invite("nobody")
        assert not team.invite("carol@example.org")
        service = team.create_service_account("CI of vision")
        assert (service.name, service.account_type) == ("ci-of-vision", "SERVICE")
        team = api.team("vision")
        assert [m.username for m in team.members] == ["admin", "bob", "ci-of-vision"]
        assert all(m.delete() for m in team.members[1:])
        assert [m.username for m in api.team("vision").members] == ["admin"]
        (alone,) = api.team("admin").members
        assert (alone.username, alone.account_type) == ("admin", "USER")

        user = api.create_user("eve@example.org")
        assert (user.username, user.email) == ("eve", "eve@example.org")
        assert api.user("eve@example.org").username == "eve"
        assert [u.username for u in api.users("@example.org")] == ["eve"]
        assert api.user("nobody") is None

        me = api.viewer
        secret = me.generate_api_key("for a test")
        assert len(secret) >= 40
        other = wandb.Api(api_key=secret)
        assert other.viewer.username == "admin"
        api = wandb.Api()
        name = next(n for n in api.viewer.api_keys if secret.startswith(n))
        assert api.viewer.delete_api_key(name)
        """
    )
