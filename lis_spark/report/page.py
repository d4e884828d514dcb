"""Writes the report: one self-contained HTML file, the same bytes for the same rows and context."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lis_spark.lis.results.rows import TRAINED
from lis_spark.power.options import PARTS_OF_THRESHOLD
from lis_spark.report.answer import OWN_SCORES_LABEL, answers_of
from lis_spark.report.baseline_table import baseline_lines
from lis_spark.report.context import ReportContext, Unavailable
from lis_spark.report.files import write_whole
from lis_spark.report.ladder_table import IN_USE, THROUGH_STRONGER
from lis_spark.report.leak_table import cost, leaks_answer, ranks, swapped_beside
from lis_spark.report.measurements import (
    VARIANT_NAMES,
    Row,
    Subject,
    clean,
    date_text,
    is_over_dates,
    may_contain_own_labels,
    of_all_seeds,
    split_subjects,
    stratum_order,
)
from lis_spark.report.outcome_table import SCORES, draw_outcomes
from lis_spark.report.power_table import expectation_cells, option_lines
from lis_spark.report.representation_table import representation_answers
from lis_spark.report.smallest_effects import smallest_effects
from lis_spark.report.step_figure import draw_ladder
from lis_spark.report.templating import templates
from lis_spark.report.view import STRATUM_TITLES, subject_view


def write_report(rows: list[dict[str, Any]], context: ReportContext, path: Path) -> Path:
    """Writes the report of a run.

    Args:
        rows: rows of lis_results as plain data (dates as ISO text or dates, ``table_versions`` as JSON or dict).
        context: what is said beside them.
        path: the HTML file; its folder is made.

    Returns:
        ``path``.
    """
    return write_whole(path, render(rows, context))


def render(rows: list[dict[str, Any]], context: ReportContext) -> str:
    """The report as text; see :func:`write_report`."""
    cleaned = [clean(row) for row in rows]
    subjects = split_subjects(cleaned)
    scores = sorted(
        (row for row in cleaned if row.get("protocol") == "scores"),
        key=lambda row: (is_over_dates(row), date_text(row), stratum_order(row.get("stratum") or "all")),
    )
    views = [subject_view(subject, context, number) for number, subject in enumerate(subjects)]
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            context=context,
            views=views,
            answers=answers_of(cleaned, context),
            leaks_answer=leaks_answer(context.leaks),
            swapped_beside=swapped_beside(context.leaks, cleaned),
            ranks=ranks,
            cost=cost,
            date_text=date_text,
            outcome_figures=draw_outcomes(context.outcomes) if context.outcomes else [],
            score_names=SCORES,
            ladder_figures=[draw_ladder(view, f"ladder-{number}") for number, view in enumerate(context.ladders)],
            through_stronger=THROUGH_STRONGER,
            in_use=IN_USE,
            representation_answers=representation_answers(context.representations),
            scores=scores,
            may_contain_own_labels=may_contain_own_labels,
            own_scores_label=OWN_SCORES_LABEL,
            unavailable=_unavailable(cleaned, context),
            warnings=[
                *(alarm for view in views for alarm in view.alarms),
                *context.warnings,
                *_seed_warnings(subjects),
            ],
            baseline=_baseline(subjects),
            baseline_lines=baseline_lines(of_all_seeds(cleaned)),
            smallest_effects=smallest_effects(cleaned, context.decision_threshold),
            wanted_error=context.decision_threshold / PARTS_OF_THRESHOLD,
            plan_options=option_lines(context.plan) if context.plan else [],
            plan_expectations=list(map(expectation_cells, context.plan["expectations"])) if context.plan else [],
            bounded=any(row.get("truth_bound") is not None for row in cleaned),
            versions=_versions(cleaned, context),
            is_one_seed=_is_one_seed(cleaned),
            variant_names=VARIANT_NAMES,
            stratum_titles=STRATUM_TITLES,
            rows=sorted(cleaned, key=_row_order),
            measured_at=max((str(row["created_ts"]) for row in cleaned if row.get("created_ts")), default=None),
        )
    )


def _is_one_seed(rows: Sequence[Row]) -> bool:
    """Whether arms were trained under one seed, and nothing is known of how far another would move their scores."""
    trained = [row for row in rows if row.get("protocol") in TRAINED]
    return len({str(row.get("seed")) for row in trained}) == 1 and all(row.get("sigma_seed") is None for row in trained)


def _baseline(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    several = len({subject.scenario for subject in subjects}) > 1
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for subject in subjects:
        for day in subject.dates:
            row = subject.baseline(day)
            if row is None:
                continue
            scenario = subject.scenario if several else ""
            line = lines.setdefault((scenario, day), {"scenario": scenario, "date": day, "auc": row["auc_control"]})
            line.setdefault("row", row)
    return [lines[key] for key in sorted(lines)]


def _versions(rows: Sequence[Row], context: ReportContext) -> list[tuple[str, str, str]]:
    """(by whom, table, versions): what the scores were measured from, then what each step before read."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for table, version in (row.get("table_versions") or {}).items():
            found.setdefault(str(table), set()).add(str(version))
    measured = [("these scores", table, ", ".join(sorted(versions))) for table, versions in sorted(found.items())]
    steps = [(step, read) for step, read in context.read_by.items() if step not in ("measure", "report")]
    return measured + [(step, table, str(version)) for step, read in steps for table, version in sorted(read.items())]


def _unavailable(rows: Sequence[Row], context: ReportContext) -> list[Unavailable]:
    from_rows = [
        Unavailable(
            VARIANT_NAMES.get(str(row.get("variant")), str(row.get("variant"))),
            str(row.get("note") or "no reason was given"),
            row.get("evaluated_date"),
            row.get("horizon_days"),
        )
        for row in rows
        if row.get("lis") is None and (row.get("stratum") or "all") == "all"
    ]
    return list(dict.fromkeys([*context.unavailable, *from_rows]))


def _seed_warnings(subjects: Sequence[Subject]) -> list[str]:
    warnings = []
    for subject in subjects:
        if seeds := subject.unmerged_seeds:
            warnings.append(
                f"{subject.name}: seeds {', '.join(seeds)} came without their mean; the figures are of the first, the "
                "others stand in the list of all measurements."
            )
    return warnings


def _row_order(row: Row) -> tuple[Any, ...]:
    return (
        *(str(row.get(name) or "") for name in ("scenario", "leak", "slot", "label", "protocol", "swap_scope")),
        row.get("evaluated_date") or "",
        list(VARIANT_NAMES).index(row["variant"]) if row.get("variant") in VARIANT_NAMES else len(VARIANT_NAMES),
        row.get("horizon_days") or 0,
        (row.get("stratum") or "all") != "all",
        stratum_order(row.get("stratum") or "all"),
        str(row.get("seed")),
        json.dumps(row, sort_keys=True, default=str),
    )
