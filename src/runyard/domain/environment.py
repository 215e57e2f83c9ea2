"""
The environment variables that every launched program gets: the peer's names, as its
client reads them, rendered from an item's resolved spec. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runyard.domain.tracing import traceparent


def program_environment(
    spec: Mapping[str, Any],
    *,
    base_url: str,
    item_id: str,
    requeues: int,
    attempt: int = 1,
    image: str | None,
    longest: int,
) -> dict[str, str]:
    """Return the variables for one attempt; no secret is among them.

    `longest` is the resource's limit on one value, in characters: the JSON texts are cut into
    `NAME_0`, `NAME_1`, … when they exceed it.
    """
    over = spec["overrides"]
    env = {
        "WANDB_BASE_URL": base_url,
        "WANDB_PROJECT": spec["project"],
        "WANDB_ENTITY": spec["entity"],
        "WANDB_LAUNCH": "True",
        "WANDB_RUN_ID": spec["run_id"],
        "WANDB_USERNAME": spec["author"],
        "WANDB_LAUNCH_QUEUE_NAME": spec["queue"],
        "WANDB_LAUNCH_QUEUE_ENTITY": spec["queue_entity"],
        "WANDB_LAUNCH_TRACE_ID": item_id,
        "TRACEPARENT": traceparent(item_id, attempt),
    }
    if spec.get("name"):
        env["WANDB_NAME"] = spec["name"]
    if spec.get("sweep_id"):
        env["WANDB_SWEEP_ID"] = spec["sweep_id"]
    if requeues:
        env["WANDB_RESUME"] = "allow"
    if image:
        env["WANDB_DOCKER"] = image
    artifacts = {**({"_wandb_job": spec["job"]} if spec.get("job") else {}), **over["artifacts"]}
    env |= chunked("WANDB_CONFIG", over["run_config"], longest)
    if over["files"]:
        env |= chunked("WANDB_LAUNCH_FILE_OVERRIDES", over["files"], longest)
    env |= chunked("WANDB_ARTIFACTS", artifacts, longest)
    return env


def chunked(name: str, value: Mapping[str, Any], longest: int) -> dict[str, str]:
    """Return `value` as JSON under `name`, or in pieces of `longest` under `name_0…n`."""
    text = json.dumps(value)
    if len(text) <= longest:
        return {name: text}
    pieces = [text[at : at + longest] for at in range(0, len(text), longest)]
    return {f"{name}_{n}": piece for n, piece in enumerate(pieces)}
