"""`runyard whoami`."""

from __future__ import annotations

from runyard.cli.options import Json
from runyard.cli.tree import examples, leaf

app = leaf()


@app.command(**examples("runyard whoami", "runyard whoami --json | jq -r .entity"))
def whoami(as_json: Json = False) -> None:
    """Show which server is used, as whom, and the teams you are in."""
    from runyard.cli.output import print_fields, print_model
    from runyard.cli.session import connect

    with connect() as api:
        me = api.me()
        if as_json:
            print_model(me)
            return
        print_fields(
            {
                "Server": f"{api.base_url} (version {me.server_version})",
                "Name": me.name,
                "Kind": me.kind,
                "Email": me.email,
                "Entity": me.entity,
                "Admin": me.is_admin,
                "Queues": me.queues,
                "Teams": [f"{one.team} ({one.role})" for one in me.teams],
            }
        )
