"""The controls of method 1.6 as a table: what is expected, what was seen, and whether it needs attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lis_spark.lis.results.misleading import NOT_RESOLVED, UNLIKE, wrong_order
from lis_spark.report.context import ReportContext
from lis_spark.report.format import plain
from lis_spark.report.measurements import VARIANT_NAMES, Row, Subject, is_exact_zero

# Every one swaps in the table of day T itself at n = 0; a permuted table is another table at any n.
IDENTICAL_AT_ZERO = frozenset(VARIANT_NAMES) - {"row_permuted", "truth", "truth_by_fold"}

# What a control without information may do: it is told, and is no reason to doubt the scores.
_COSTS = "costs"
_NOT_RESOLVED = "is not resolved"
Judge = Callable[[Sequence[Row], ReportContext], str]


@dataclass(frozen=True)
class ControlLine:
    """One control on one date.

    Attributes:
        cells: horizon in days (absolute) -> row; empty where ``summary`` says it in words.
        finding: what is wrong, empty where the control behaves as expected.
        attention: whether the finding is a reason to doubt the scores.
    """

    control: str
    evaluated_date: str
    expected: str
    cells: dict[int, Row]
    summary: str
    finding: str
    attention: bool


def control_lines(subject: Subject, context: ReportContext) -> list[ControlLine]:
    """The controls of a substitution, or of a leak that is one more feature, date by date."""
    lines = [_identity(subject, day) for day in subject.dates]
    lines = [line for line in lines if line is not None]
    for variant, expected, judge in (
        ("label_shuffled", f"no gain above {plain(context.shuffled_tolerance)}", _without_information),
        ("replay", f"no gain above {plain(context.shuffled_tolerance)}", _without_information),
        ("backward", "below 0, falling with |n|", _backward),
        ("row_permuted", "strongly below 0", _permuted),
        ("row_shuffled", f"within {plain(context.decision_threshold)} of 0", _wrong_order),
    ):
        for day in subject.dates:
            cells = {
                abs(row["horizon_days"]): row
                for row in subject.chosen
                if row.get("variant") == variant
                and row.get("protocol") == subject.protocol
                and (row.get("swap_scope") or "both") == "both"
                and (row.get("stratum") or "all") == "all"
                and row.get("evaluated_date") == day
                and row.get("lis") is not None
                and row.get("horizon_days")
            }
            if not cells:
                continue
            ordered = [cells[n] for n in sorted(cells)]
            finding = judge(ordered, context)
            attention = bool(finding) and not finding.startswith((_COSTS, _NOT_RESOLVED))
            lines.append(ControlLine(VARIANT_NAMES[variant], day, expected, cells, "", finding, attention))
    lines += [line for day in subject.dates if (line := _bound(subject, day)) is not None]
    return lines  # type: ignore[return-value]


def _bound(subject: Subject, day: str) -> ControlLine | None:
    """On simulated worlds: no honest score is above AUC(p*) - AUC(M_T). It catches gross errors, not own labels."""
    found = [subject.find("honest", day, horizon) for horizon in subject.horizons]
    rows = [row for row in found if row is not None and row.get("truth_bound") is not None]
    if not rows:
        return None
    above = [row for row in rows if row.get("lis") is not None and row["lis"] > row["truth_bound"]]
    summary = f"{plain(rows[0]['truth_bound'])} would be the gain of the truth itself"
    finding = f"the honest score is above the gain of the truth {_places(above)}" if above else ""
    return ControlLine("truth bound", day, "no honest score above it", {}, summary, finding, bool(above))


def control_horizons(lines: Sequence[ControlLine]) -> list[int]:
    """The columns of the control table."""
    return sorted({n for line in lines for n in line.cells})


def _identity(subject: Subject, day: str) -> ControlLine | None:
    rows = [row for row in subject.rows if row.get("horizon_days") == 0 and row.get("evaluated_date") == day]
    rows = [row for row in rows if row.get("variant") in IDENTICAL_AT_ZERO and row.get("lis") is not None]
    if not rows:
        return None
    exact = sum(is_exact_zero(row) for row in rows)
    finding = "" if exact == len(rows) else f"is not exactly 0 in {len(rows) - exact} of {len(rows)} measurements"
    summary = f"exactly 0 in {exact} of {len(rows)} measurements"
    return ControlLine(
        "n = 0", day, "exactly 0, the integers U2 of both arms are equal", {}, summary, finding, bool(finding)
    )


def _without_information(rows: Sequence[Row], context: ReportContext) -> str:
    """A table that moves and knows nothing may cost AUC, and is told beside the verdict; it must not gain."""
    tolerance = context.shuffled_tolerance
    above = [row for row in rows if (row["lis"] if row.get("ci_low") is None else row["ci_low"]) > tolerance]
    if above:
        return f"gains {_places(above)}, though it holds no information of later days"
    below = [row for row in rows if row["lis"] < -tolerance]
    if below:
        return f"{_COSTS} {_places(below)}: a table that moves without information loses so much"
    return ""


def _backward(rows: Sequence[Row], context: ReportContext) -> str:
    findings = []
    not_below = [row for row in rows if row["lis"] >= 0]
    if not_below:
        findings.append(f"is not below 0 {_places(not_below)}")
    if any(later["lis"] >= earlier["lis"] for earlier, later in pairwise(rows)):
        findings.append("does not fall with |n|")
    return ", ".join(findings)


def _permuted(rows: Sequence[Row], context: ReportContext) -> str:
    weak = [
        row
        for row in rows
        if (row["lis"] if row.get("ci_high") is None else row["ci_high"]) > -context.decision_threshold
    ]
    return f"is not strongly below 0 {_places(weak)}" if weak else ""


def _wrong_order(rows: Sequence[Row], context: ReportContext) -> str:
    """Both arms without what their order knows: they differ by no more than what counts."""
    judged = [(row, wrong_order(row["lis"], row, "ci", context.decision_threshold)) for row in rows]
    unlike = [row for row, said in judged if said == UNLIKE]
    open_ = [row for row, said in judged if said == NOT_RESOLVED]
    if unlike:
        return f"differs from its control without its order {_places(unlike)}: the two do not have the same capacity"
    return f"{_NOT_RESOLVED} {_places(open_)}: its interval is too wide" if open_ else ""


def _places(rows: Sequence[Row]) -> str:
    return "at n = " + ", ".join(str(row["horizon_days"]).replace("-", "−") for row in rows)
