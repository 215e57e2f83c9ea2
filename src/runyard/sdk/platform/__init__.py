"""
A platform as code: teams, roles, members, service accounts, secrets, queues and hooks in YAML.

    from runyard.sdk import platform

    wanted = platform.read_files(["platform.yaml"])
    plan = platform.plan(wanted, platform.read_state(api, wanted))
    platform.apply(api, plan)

`reading` turns text into values that know their lines, `document` checks them, `planning`
compares them with what the server has (pure), `applying` and `exporting` talk to it. What there
is to compare is in `kinds`, one small class each. Applying again changes nothing. The server
alone decides who may do what: all of this uses the REST API as anybody could.
"""

from runyard.sdk.platform.applying import Stopped, apply, check_sources, read_state
from runyard.sdk.platform.document import json_schema, read_files
from runyard.sdk.platform.exporting import export
from runyard.sdk.platform.planning import plan
from runyard.sdk.platform.things import Change, Key, Plan, Platform, Step, Verb

__all__ = [
    "Change", "Key", "Plan", "Platform", "Step", "Stopped", "Verb", "apply", "check_sources",
    "export", "json_schema", "plan", "read_files", "read_state",
]  # fmt: skip
