"""Rows as text: what was measured, beside the floor and the target."""

from __future__ import annotations

from collections.abc import Sequence

from harness.results import Row

_HEAD = ("what", "unit", "n", "median", "p95", "floor", "x floor", "target", "reached", "ms*")


def render(rows: Sequence[Row]) -> str:
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(_HEAD))]
    lines = ["  ".join(_placed(c, w, i) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
             for line in cells]  # fmt: skip
    lines.insert(1, "  ".join("-" * w for w in widths))
    notes = [f"- {row.name}: {row.note}" for row in rows if row.note]
    floors = {row.floor_name for row in rows if row.floor_name}
    return "\n".join(
        [
            *(line.rstrip() for line in lines),
            "",
            "x floor: how many times more than the bare machine, measured in this run:",
            *(f"- {name}" for name in sorted(floors)),
            "ms*: a bare interpreter's start when the row was taken; compare rows of like values.",
            *notes,
        ]
    )


def _cells(row: Row) -> tuple[str, ...]:
    spread = row.spread
    # The bad end: the slow one of times, the low one of rates.
    p95 = spread.min if row.more_is_better else spread.p95
    reached = {None: "", True: "yes", False: "no"}[row.reached]
    return (
        row.name, row.unit, str(spread.n), _number(spread.median),
        ("min " if row.more_is_better else "") + _number(p95), _number(row.floor),
        _number(row.ratio), _number(row.target), reached, _number(row.calibration_ms),
    )  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _placed(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)
