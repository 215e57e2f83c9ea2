"""What this server tells clients it has, by the names that they know. Unknown ones are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runyard import __version__

_ON: Final = (
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "FILESTREAM_GZIP",
    "LARGE_FILENAMES",
    "MARK_RUN_FILES_UPLOADED",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "STRUCTURED_CONSOLE_LOGS",
    "SWEEPS_LOCAL_SCHEDULER",
    "SWEEPS_QUERY_FILTERING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "UPDATE_RUN_STATE",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)
# Named, so that what is missing is a decision: registries, automations, newer ways of what the
# client does in its old ones here.
_OFF: Final = (
    "ARTIFACT_DIGEST_ALGORITHM",
    "ARTIFACT_REGISTRY_SEARCH",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "AUTOMATIONS_ON_ORGANIZATION",
    "AUTOMATIONS_ON_USER",
    "AUTOMATION_ACTION_ARIA",
    "AUTOMATION_ACTION_NO_OP",
    "AUTOMATION_ACTION_PUSH_NOTIFICATION",
    "AUTOMATION_EVENT_ADD_ARTIFACT_TAG",
    "AUTOMATION_EVENT_ADD_COLLECTION_TAG",
    "AUTOMATION_EVENT_REMOVE_ARTIFACT_TAG",
    "AUTOMATION_EVENT_REMOVE_COLLECTION_TAG",
    "AUTOMATION_EVENT_RUN_METRIC",
    "AUTOMATION_EVENT_RUN_METRIC_CHANGE",
    "AUTOMATION_EVENT_RUN_METRIC_ZSCORE",
    "AUTOMATION_EVENT_RUN_STATE",
    "AUTOMATION_EVENT_UNLINK_ARTIFACT",
    "AUTOMATION_LAST_EXECUTED_AT",
    "AUTOMATION_SCOPE_ENTITY",
    "EVAL_TABLES_CES",
    "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "QUERY_AUTOMATIONS_ON_ENTITY",
)
FEATURES: Final[Mapping[str, bool]] = dict.fromkeys(_ON, True) | dict.fromkeys(_OFF, False)
_OLDEST_CLIENT: Final = "0.29.0"
_NEWEST_CLIENT: Final = "0.31.99"  # the client warns its user when it is newer than this


def server_info() -> dict[str, Any]:
    return {
        "cliVersionInfo": {"min_cli_version": _OLDEST_CLIENT, "max_cli_version": _NEWEST_CLIENT},
        "latestLocalVersionInfo": {
            "outOfDate": False,
            "latestVersionString": __version__,
            "versionOnThisInstanceString": __version__,
        },
        "features": [{"name": name, "isEnabled": on} for name, on in FEATURES.items()],
    }
