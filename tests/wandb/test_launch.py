"""Queues and submissions of the tracking client: `wandb launch`, and its API."""

from __future__ import annotations

import json

from .conftest import Client, on_sqlite


def test_queues_are_made_read_and_written_anew(client: Client) -> None:
    client.python(
        """
        import wandb

        api = wandb.Api()
        made = api.create_run_queue(
            "boxes", "local-container", prioritization_mode="V0",
            config={"cpus": "{{cpus}}", "memory": "1g"},
            template_variables={"cpus": {"schema": {"type": "integer", "minimum": 1,
                                                    "maximum": 4}}},
        )
        assert made.template_variables == [
            {"name": "cpus", "schema": '{"type":"integer","minimum":1,"maximum":4}'}
        ], made.template_variables

        queue = api.run_queue("admin", "boxes")
        assert queue.prioritization_mode == "V0"
        assert queue.access == "PROJECT"
        assert queue.type == "local-container"
        assert queue.default_resource_config == {
            "resource_args": {"local-container": {"cpus": "{{cpus}}", "memory": "1g"}}
        }, queue.default_resource_config
        assert queue.id == made.id
        assert queue.items == []

        try:
            api.create_run_queue("boxes", "local-container")
        except Exception as error:
            assert "there is a queue 'boxes' in admin already" in str(error), error
        else:
            raise AssertionError("two of one name")

        api.upsert_run_queue("boxes", {"memory": "2g"}, "local-container",
                             external_links={"wiki": "https://wiki.example"})
        again = api.run_queue("admin", "boxes")
        assert again.prioritization_mode == "DISABLED"
        assert again.external_links == {"links": [{"label": "wiki", "url": "https://wiki.example"}]}
        assert again.template_variables == []
        api.upsert_run_queue("new", {"memry": "2g"}, "local-container")

        again.delete()
        try:
            api.run_queue("admin", "boxes").id
        except Exception:
            pass
        else:
            raise AssertionError("it is still there")
        """
    )
    assert [q["name"] for q in client.world.admin.ok("GET", "/queues?entity=admin")["data"]] == [
        "new"
    ]


def test_items_are_pushed_looked_at_and_deleted(client: Client) -> None:
    client.world.queue()
    told = client.wandb("launch", "-d", "busybox", "-q", "q", "-p", "P1", "-E", "echo hello",
                        "-c", json.dumps({"overrides": {"run_config": {"lr": 0.1}}}),
                        "--name", "nice")  # fmt: skip
    assert "Added run to queue q." in told
    (item,) = client.world.admin.ok("GET", "/items?queue=q&entity=admin")["data"]
    whole = client.world.admin.ok("GET", f"/items/{item['id']}")
    spec = whole["spec"]
    assert spec["overrides"]["entry_point"] == ["echo", "hello"]
    assert (spec["overrides"]["run_config"], spec["name"]) == ({"lr": 0.1}, "nice")
    client.python(
        f"""
        import wandb
        from wandb.sdk.launch import launch_add

        queued = launch_add(docker_image="busybox", project="P1", entity="admin", queue_name="q",
                            config={{"overrides": {{"args": ["a"]}}}})
        assert queued.state == "pending"
        queue = wandb.Api().run_queue("admin", "q")
        ids = [one.id for one in queue.items]
        assert ids == [queued.id, {item["id"]!r}], ids
        assert {{one.state for one in queue.items}} == {{"pending"}}
        queued.delete()
        assert queued.state == "cancelled"
        queued.delete()  # what has ended is out of the queue
        """
    )


@on_sqlite
def test_refusals_reach_the_user(client: Client) -> None:
    client.world.queue()
    words = ("launch", "-d", "busybox", "-p", "P1", "-E", "true")
    told = client.wandb(*words, "-q", "missing", ok=False)
    assert "Unable to push to run queue missing. Queue not found." in told
    config = json.dumps({"resource_args": {"local-container": {"privilegd": True}}})
    told = client.wandb(*words, "-q", "q", "-c", config, ok=False)
    assert "privilegd" in told
    told = client.wandb(*words, "-q", "q", "-P", "high", ok=False)
    assert "Error adding run to queue" in told
    assert client.world.admin.ok("GET", "/items?queue=q&entity=admin")["data"] == []


@on_sqlite
def test_variables_and_priorities(client: Client) -> None:
    client.world.admin.ok(
        "POST", "/queues",
        json={
            "name": "t", "resource": "local-container", "config": {"cpus": "{{cpus}}"},
            "variables": {"cpus": {"type": "integer", "maximum": 4}},
            "policy": {"priorities": True},
        },
    )  # fmt: skip
    words = ("launch", "-d", "busybox", "-p", "P1", "-E", "true", "-q", "t", "-e", "admin")
    client.wandb(*words, "--set-var", "cpus=3", "-P", "high")
    (item,) = client.world.admin.ok("GET", "/items?queue=t&entity=admin")["data"]
    assert item["priority"] == 1
    whole = client.world.admin.ok("GET", f"/items/{item['id']}")
    assert whole["spec"]["resource_args"]["local-container"] == {"cpus": 3}
    told = client.wandb(*words, "--set-var", "cpus=9", ok=False)
    assert "above the maximum of 4" in told
