"""`runyard usage`: what it asks for, and what it prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from runyard.cli.usage import when
from runyard.domain.errors import Invalid
from tests.cli.conftest import Cli
from tests.cli.double import Double

NOW = datetime(2030, 3, 31, 12, tzinfo=UTC)
FIGURES = {"runs": 2, "attempts": 3, "hours": 4.5, "running_hours": 4.0, "gpu_hours": 9.0}


def answer(*lines: dict[str, Any], group: tuple[str, ...] = ("user", "queue")) -> bytes:
    body = {
        "since": "2030-01-01T00:00:00Z", "until": "2030-02-01T00:00:00Z", "group": group,
        "interval": None, "lines": lines, "total": FIGURES,
    }  # fmt: skip
    return json.dumps(body).encode()


def test_a_table_has_a_line_of_totals(logged_in: Double, cli: Cli) -> None:
    line = {"period": None, "by": {"user": "ada", "queue": "ada/gpu"}, **FIGURES}
    logged_in.answers.append((200, answer(line)))
    done = cli("usage", "--by", "user,queue", "--since", "2026-01-31", "-e", "ada")
    assert done.code == 0, done.err
    assert [row.split() for row in done.out.splitlines()] == [
        ["USER", "QUEUE", "RUNS", "ATTEMPTS", "HOURS", "RUNNING", "GPU", "HOURS"],
        ["ada", "ada/gpu", "2", "3", "4.50", "4.00", "9.00"],
        ["total", "2", "3", "4.50", "4.00", "9.00"],
    ]
    (asked,) = logged_in.seen("GET", "/usage")
    assert asked.query["group"] == "user,queue"
    assert asked.query["since"] == "2026-01-31T00:00:00+00:00"
    assert asked.query["entity"] == "ada"


def test_nothing_used_is_said_so(logged_in: Double, cli: Cli) -> None:
    logged_in.answers.append((200, answer()))
    done = cli("usage")
    assert (done.code, done.out) == (0, "")
    assert "Nothing was used" in done.err


def test_csv_is_printed_as_the_server_gives_it(logged_in: Double, cli: Cli) -> None:
    logged_in.answers.append((200, b"user,runs\r\nada,1\r\n"))
    done = cli("usage", "--csv")
    assert done.out == "user,runs\nada,1\n"
    (asked,) = logged_in.seen("GET", "/usage")
    assert asked.query["format"] == "csv"


def test_json_is_what_the_server_said(logged_in: Double, cli: Cli) -> None:
    logged_in.answers.append((200, answer(group=())))
    assert json.loads(cli("usage", "--by", "", "--json").out)["total"] == FIGURES


def test_csv_and_json_at_once_are_refused(logged_in: Double, cli: Cli) -> None:
    assert cli("usage", "--csv", "--json").code != 0
    assert logged_in.requests == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("12h", datetime(2030, 3, 31, tzinfo=UTC)),
        ("30d", datetime(2030, 3, 1, 12, tzinfo=UTC)),
        ("1w", datetime(2030, 3, 24, 12, tzinfo=UTC)),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
        ("2030-01-31T06:00", datetime(2030, 1, 31, 6, tzinfo=UTC)),
        ("2030-01-31T06:00+02:00", datetime(2030, 1, 31, 4, tzinfo=UTC)),
    ],
)
def test_times_are_written_as_ago_or_as_dates(text: str, meant: datetime) -> None:
    assert when(text, NOW, "--since") == meant


@pytest.mark.parametrize("text", ["", "soon", "5", "999999w", "30 d", "2030-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="--since"):
        when(text, NOW, "--since")
