"""What a run prints at its end: the answer, and one line per evaluated date and horizon, at most 110 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.lis.plan.chains import SKIP_OWN_T
from lis_spark.report.answer import answers_of
from lis_spark.report.baseline_table import baseline_lines, best_baseline
from lis_spark.report.context import ReportContext
from lis_spark.report.format import ascii_text, half_interval, plain, signed, verdict_style
from lis_spark.report.leak_table import print_leaks, swapped_beside
from lis_spark.report.measurements import (
    Row,
    Subject,
    clean,
    date_text,
    is_over_dates,
    may_contain_own_labels,
    of_all_seeds,
    split_subjects,
)


def print_results(console: Console, rows: Sequence[dict[str, Any]], context: ReportContext) -> None:
    """Prints the answer with why, and below it the table where there is a day of future in it.

    Where leaks are compared the comparison is the one answer, and each leak's rows stand below it.

    Args:
        console: at least 120 columns wide.
        rows: rows of lis_results.
        context: thresholds, leaks compared, and what could not be measured.
    """
    if context.leaks:
        print_leaks(console, context.leaks, context.decision_threshold)
        for beside in swapped_beside(context.leaks, rows):
            console.print(Text(ascii_text(beside)))
    for answer in () if context.leaks else answers_of([clean(row) for row in rows], context):
        console.print(Text(ascii_text(answer.sentence), "bold"))
        if answer.beside:
            console.print(Text(ascii_text(answer.beside)))
        if answer.why:
            console.print(Text(ascii_text(f"Why: {answer.why}.")))
    for sentence in best_baseline(baseline_lines(of_all_seeds([clean(row) for row in rows]))):
        console.print(Text(ascii_text(sentence)))
    table = results_table(rows, context.decision_threshold)
    if table.row_count:
        console.print(table)


def results_table(rows: Sequence[dict[str, Any]], threshold: float = 0.0010) -> Table:
    """Builds the table from the rows of lis_results.

    The columns are scores of scope ``both`` on all impressions. Scores of one's own stand below, marked where they may
    contain the evaluated labels. On simulated worlds the truth bound stands where "own T" (skip_own_t) does on others:
    the page has both.

    Args:
        rows: rows of lis_results.
        threshold: absolute AUC that counts.
    """
    cleaned = [clean(row) for row in rows]
    bounded = any(row.get("truth_bound") is not None for row in cleaned)
    own_t = any(row.get("variant") == SKIP_OWN_T for row in cleaned) and not bounded
    table = Table(
        title="LIS = AUC with the future's table minus AUC with today's",
        caption=f"± half of the 95 % interval, clustered by user{_folds(cleaned)}; {plain(threshold)} counts"
        + "; own T: naive without day T of the users that are scored" * own_t,
    )
    # As wide as a date: a long name of a leak is folded, and so is a verdict, rather than that figures are cut.
    table.add_column("date", width=10, overflow="fold")
    bound = "bound" if bounded else "own T"
    for name in ("n", "honest", "within users", "by user", "by item", "naive", bound, "shuffled"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=11, overflow="fold")
    subjects = split_subjects(cleaned)
    for subject in subjects:
        if len(subjects) > 1:
            table.add_section()
            table.add_row(Text(_distinction(subject, subjects), "bold"))
        _add_subject(table, subject, bounded)
    scores = [row for row in cleaned if row.get("protocol") == "scores" and (row.get("stratum") or "all") == "all"]
    if scores:
        table.add_section()
    for row in sorted(scores, key=lambda one: (is_over_dates(one), date_text(one))):
        labelled = may_contain_own_labels(row)
        value = half_interval(row, "lis", "ci")
        table.add_row(
            Text(date_text(row) if row.get("evaluated_date") or is_over_dates(row) else "scores"),
            "",
            "" if labelled else value,
            half_interval(row, "lis_within_user"),
            _score(row, "lis_user_part"),
            _score(row, "lis_item_part"),
            value if labelled else "",
            "",
            "",
            _verdict(row),
        )
    return table


def _folds(rows: Sequence[Row]) -> str:
    """Of how many user folds the honest scores are: they withhold one user in so many."""
    folds = sorted({row["folds"] for row in rows if row.get("variant") == "honest" and row.get("folds")})
    return f"; honest: {', '.join(map(str, folds))} user folds" if folds else ""


def _distinction(subject: Subject, subjects: Sequence[Subject]) -> str:
    for part in ("scenario", "leak", "slot"):
        if len({getattr(other, part) for other in subjects}) > 1:
            return str(getattr(subject, part))
    return subject.label


def _add_subject(table: Table, subject: Subject, bounded: bool) -> None:
    for day in (*subject.dates, *([None] if len(subject.dates) > 1 else [])):
        table.add_section()
        for horizon in subject.horizons:
            naive, honest, skipped, shuffled = (
                subject.find(variant, day, horizon) for variant in ("naive", "honest", SKIP_OWN_T, "label_shuffled")
            )
            main = honest or naive
            if main is None:
                continue
            table.add_row(
                Text(date_text(main)),
                str(horizon),
                half_interval(honest, "lis", "ci") if honest else "-",
                half_interval(main, "lis_within_user"),
                _score(main, "lis_user_part"),
                _score(main, "lis_item_part"),
                _score(naive),
                _score(main, "truth_bound") if bounded else _score(skipped),
                _score(shuffled),
                _verdict(honest),
            )


def _score(row: Row | None, name: str = "lis") -> str:
    return ascii_text(signed(row.get(name))) if row and row.get(name) is not None else "-"


def _verdict(row: Row | None) -> Text:
    verdict = str((row or {}).get("verdict") or "-")
    return Text(verdict, verdict_style(verdict))
