"""The OpenAPI document: FastAPI's, and beside it the hot routes that bypass FastAPI."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from runyard import __version__
from runyard.server.submissions import Submit
from runyard.wire import agent as wire
from runyard.wire import health, rest

_TYPES: Final = (
    Submit, wire.Register, wire.Registered, wire.Poll, wire.Polled, wire.Moves, wire.MovesDone,
    wire.Logs, wire.LogsDone, wire.AskDoomed, wire.DoomedImages, health.Checks, health.Checked,
)  # fmt: skip
_REF: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = (
    "Everything that the command line does goes through these routes. Send an API key as "
    "`Authorization: Bearer KEY`. Errors are `application/problem+json` with a stable `code`."
)


def install(app: FastAPI) -> None:
    """Have `app.openapi()` describe all routes; it is made when first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title="Runyard", version=__version__, description=_DESCRIPTION, routes=app.routes
    )
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_REF)
    components = made.setdefault("components", {})
    components["schemas"] = {
        **schemas,
        **rest.SubmitOut.model_json_schema(ref_template="#/components/schemas/{model}").pop(
            "$defs", {}
        ),
        **components.get("schemas", {}),
        "SubmitOut": _without_defs(rest.SubmitOut.model_json_schema(ref_template=_PYDANTIC_REF)),
        "Problem": rest.Problem.model_json_schema(),
    }
    components["schemas"].pop("HTTPValidationError", None)
    components["schemas"].pop("ValidationError", None)
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic", "description": "any user, key as password"},
    }
    made["security"] = [{"key": []}, {"basic": []}]
    for path, operations in _hot().items():
        made["paths"].setdefault(path, {}).update(operations)
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _finish(path, operation)
    return made


_PYDANTIC_REF: Final = "#/components/schemas/{model}"
_PUBLIC: Final = (
    "/healthz", "/readyz", "/api/v1/invitations/redeem", "/api/v1/login/",
)  # fmt: skip


def _without_defs(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "$defs"}


def _finish(path: str, operation: dict[str, Any]) -> None:
    """Every route answers errors alike; the public ones need no key."""
    problem = {"$ref": "#/components/schemas/Problem"}
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = {
        "description": "A problem",
        "content": {"application/problem+json": {"schema": problem}},
    }
    if path.startswith(_PUBLIC):
        operation["security"] = []


def _ref(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _in_path(*names: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _in_query(name: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "schema": {"type": kind},
        "description": description,
    }


def _operation(
    name: str,
    tag: str,
    summary: str,
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: str | None = None,
    answer: str | None = None,
    media: str = "application/json",
    status: str = "200",
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {status: {"description": "Done"}},
    }
    if parameters:
        made["parameters"] = parameters
    if body:
        made["requestBody"] = {"required": True, "content": {media: _ref(body)}}
    if answer:
        made["responses"][status]["content"] = {media: _ref(answer)}
    return made


def _hot() -> dict[str, dict[str, Any]]:
    agent = _in_path("agent_id")
    submit = _operation(
        "submit", "items", "Queue one item for each launch spec, or none of them",
        parameters=[
            *_in_path("entity", "queue"),
            _in_query("dry_run", "boolean", "Check and resolve, and leave nothing."),
            _in_query("minimal", "boolean", "Leave the resolved specs out of the answer."),
            _in_query("agent", "string", "Only the agent of this name may take the items."),
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"},
             "description": "Sent again with the same key, the request acts once."},
        ],
        body="Submit", answer="SubmitOut", status="201",
    )  # fmt: skip
    submit["responses"]["200"] = {
        "description": "A dry run",
        "content": {"application/json": _ref("SubmitOut")},
    }
    blob = _operation(
        "agent_blob", "agents", "An upload of an item that the agent holds",
        parameters=_in_path("agent_id", "item_id", "digest"),
    )  # fmt: skip
    blob["responses"]["200"]["content"] = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    return {
        "/api/v1/queues/{entity}/{queue}/items": {"post": submit},
        "/api/v1/agents": {
            "post": _operation(
                "register_agent", "agents", "Become the process that counts under a name",
                body="Register", answer="Registered",
            )
        },
        "/api/v1/agents/{agent_id}/poll": {
            "post": _operation(
                "poll", "agents", "Renew what is held, and wait for something to do",
                parameters=agent, body="Poll", answer="Polled",
            )
        },
        "/api/v1/agents/{agent_id}/moves": {
            "post": _operation(
                "move", "agents", "Moves of many items in one transaction, answered one by one",
                parameters=agent, body="Moves", answer="MovesDone",
            )
        },
        "/api/v1/agents/{agent_id}/logs": {
            "post": _operation(
                "log", "agents", "Output by offset; the answer is how much is here",
                parameters=agent, body="Logs", answer="LogsDone", media="application/msgpack",
            )
        },
        "/api/v1/agents/{agent_id}/check": {
            "post": _operation(
                "check_agent", "agents", "What an agent that was set aside found of its host",
                parameters=agent, body="Checks", answer="Checked",
            )
        },
        "/api/v1/agents/{agent_id}/doomed-images": {
            "post": _operation(
                "doomed_images", "agents", "Which images the agent has deleted, and is to delete",
                parameters=agent, body="AskDoomed", answer="DoomedImages",
            )
        },
        "/api/v1/agents/{agent_id}/blobs/{item_id}/{digest}": {"get": blob},
        "/api/v1/agents/{agent_id}": {
            "delete": _operation(
                "leave", "agents", "The agent leaves, or a person asks it to",
                parameters=agent, status="204",
            )
        },
    }  # fmt: skip
