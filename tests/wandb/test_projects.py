"""Projects, alerts and charts through the real client."""

from __future__ import annotations

from .conftest import Client


def test_projects_alerts_and_charts(client: Client) -> None:
    client.python(
        """
        import wandb
        api = wandb.Api()
        api.create_project("one", "admin")
        api.create_project("one", "admin")
        api.create_project("two", "admin")
        assert [p.name for p in api.projects(per_page=1)] == ["two", "one"]
        project = api.project("one")
        assert project.id and project.owner.username == "admin"
        assert project.url.endswith("/admin/one/workspace")
        assert list(api.reports("admin/one")) == []
        try:
            api.projects("nobody")[0]
        except ValueError:
            pass
        else:
            raise AssertionError("a foreign entity has projects")
        spec = {"mark": "bar"}
        chart = api.create_custom_chart("admin", "bars", "Bars", "vega2", "private", spec)
        assert chart == "admin/bars", chart
        run = wandb.init(project="one", settings=wandb.Settings(console="off"))
        run.alert("low", "accuracy is low", level=wandb.AlertLevel.WARN, wait_duration=300)
        run.finish()
        """
    )
    (run,) = client.world.admin.ok("GET", "/runs?project=one")["data"]
    assert run["state"] == "finished"


def test_addresses_that_the_client_prints_say_what_to_do(client: Client) -> None:
    for path, command in (
        ("/authorize", "runyard key create NAME"),
        ("/admin/one", "runyard run list -e admin -p one"),
        ("/admin/one/workspace", "runyard run list -e admin -p one"),
        ("/admin/one/jobs", "runyard job list -e admin -p one"),
        ("/admin/one/runs/abc", "runyard run metrics admin/one/abc"),
        ("/admin/one/sweeps/s", "runyard sweep show admin/one/s"),
        ("/admin/one/artifacts/dataset/d/v3", "runyard artifact show admin/one/d:v3"),
        ("/admin/one/runs/$(reboot)", "runyard run list -e ENTITY -p PROJECT"),
    ):
        answer = client.world.http.get(path)
        assert answer.status_code == 200
        assert f"    {command}\n" in answer.text, answer.text
    assert client.world.http.get("/api/one").status_code == 401
    assert client.world.http.get("/ready").status_code == 200
    for path in ("/sdk/otel/v1/metrics", "/sdk/otel/v1/logs", "/oidc/token"):
        assert client.world.http.post(path).status_code == 404
