"""Alerts that programs raise, and the charts that they define."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from runyard.server.graphql.context import Area, Info, context_of
from runyard.services.tracking import alerts, charts

Source = dict[str, Any]


def notify(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    context = context_of(info)
    call, nanoseconds = context.call, input.get("waitDuration")
    run = alerts.find(call, input["entityName"], input["projectName"], input["runName"])
    told = alerts.notify(
        call,
        run,
        title=input["title"],
        body=input["text"],
        level=input.get("severity") or "INFO",
        wait=None if nanoseconds is None else timedelta(microseconds=nanoseconds // 1000),
        url=context.base_url,
    )
    return {"success": told}


def create_custom_chart(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    chart = charts.save(
        context_of(info).call,
        input["entity"],
        input["name"],
        display_name=input["displayName"],
        kind=input["type"],
        access=input["access"],
        spec=input["spec"],
    )
    return {"chart": {"id": chart}}


AREA = Area(
    {
        "Mutation": {
            "notifyScriptableRunAlert": notify,
            "createCustomChart": create_custom_chart,
        }
    }
)
