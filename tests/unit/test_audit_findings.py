"""Verdicts of an audit: what accuses, what only makes suspect, and in which order columns are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lis_spark.audit.findings import Finding, ranked
from lis_spark.audit.movement import Estimate
from lis_spark.report.audit_table import audit_answer, print_audit
from tests.report_rows import printed

NOTHING = Estimate(0.0, 0.01, 39)
HONEST = Finding("honest", "user", 1.0, 0.0, 0.6, {"request": NOTHING, "day": NOTHING}, {"7 days": NOTHING}, 100)
STRONG = Estimate(0.05, 0.005, 39)


def test_each_kind_of_evidence_accuses_by_itself() -> None:
    assert HONEST.judged(0.001) == ("no sign", [])
    for change, words in (
        ({"dated_after": 0.0004}, "less than 0.1 % of its impressions"),
        (
            {"added": {"request": STRONG, "day": NOTHING}},
            "AUC +0.0500 (+0.0399 to +0.0601) above the user's next request",
        ),
        ({"excess": {"7 days": NOTHING, "24 hours": STRONG}}, "can be known (24 hours): 5 % of their variance"),
    ):
        verdict, reasons = replace(HONEST, **change).judged(0.001)
        assert verdict == "leak" and len(reasons) == 1 and words in reasons[0]


def test_what_chance_brings_among_many_tests_accuses_nobody() -> None:
    lucky = Estimate(0.03, 0.01, 39)  # three standard errors
    assert replace(HONEST, added={"request": lucky, "day": NOTHING}).judged(0.001)[0] == "no sign"
    assert replace(HONEST, added={"request": lucky, "day": NOTHING}, tests=2).judged(0.001)[0] == "leak"
    small = Estimate(0.0005, 0.00001, 39)  # certain, and beneath what counts
    assert replace(HONEST, added={"request": small, "day": NOTHING}).judged(0.001)[0] == "no sign"
    unmoved = Estimate(0.0, 0.0, 1)
    assert replace(HONEST, added={"request": unmoved}, excess={"7 days": unmoved}).judged(0.001)[0] == "no sign"


def test_an_outcome_is_suspect_and_the_accused_come_first() -> None:
    outcome = replace(HONEST, column="seconds watched", auc_alone=0.05)
    weak = replace(HONEST, column="weak", added={"request": Estimate(0.02, 0.001, 39)})
    strong = replace(HONEST, column="strong", added={"request": STRONG})
    dated = replace(HONEST, column="dated", dated_after=1.0)
    assert outcome.judged(0.001)[0] == "suspect"
    order = ranked([HONEST, outcome, dated, weak, strong], 0.001)
    assert [finding.column for finding in order] == ["strong", "weak", "dated", "seconds watched", "honest"]
    rows = [{"audited_column": one.column, "verdict": one.judged(0.001)[0]} for one in order]
    answer = audit_answer(rows)
    assert answer.startswith("3 of 5 columns know what came after the impression: strong, weak, dated.")
    assert answer.endswith("Suspect: seconds watched.")
    assert audit_answer(rows[-1:]).startswith("None of 1 columns")


@pytest.mark.parametrize("name", ["next_click", "[/bold]", ":warning:"])
def test_print_audit_of_any_column_prints_it_as_it_is(name: str) -> None:
    row = {"place": 1, "audited_table": name, "audited_column": name, "key": name, "coverage": 0.97, "auc_alone": None}
    for score in ("added_by_request", "added_by_day"):
        row |= {score: 0.034, f"{score}_ci_low": 0.03, f"{score}_ci_high": 0.038}
    row |= {"excess": 0.01, "excess_ci_low": None, "excess_ci_high": None, "verdict": "leak", "reasons": [name]}
    shown = printed(lambda console: print_audit(console, [row]))
    assert "+0.0340±0.0040" in shown and "+0.0100 " in shown and shown.count(name) >= 6
