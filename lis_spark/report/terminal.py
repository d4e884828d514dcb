"""What a run prints at its end: the answer, and one line per evaluated date and horizon, at most 110 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.report.answer import answers_of
from lis_spark.report.context import ReportContext
from lis_spark.report.format import ascii_text, percent, signed
from lis_spark.report.measurements import Row, Subject, clean, may_contain_own_labels, split_subjects

VERDICT_STYLES = {"useful": "bold green", "harmful": "bold red", "not shown": "yellow", "unavailable": "dim"}


def print_results(console: Console, rows: Sequence[dict[str, Any]], context: ReportContext) -> None:
    """Prints the answers, and below them the table where there is a day of future in it.

    Args:
        console: at least 110 columns wide.
        rows: rows of lis_results.
        context: thresholds, and what could not be measured.
    """
    for answer in answers_of([clean(row) for row in rows], context):
        console.print(Text(ascii_text(str(answer)), "bold"))
    table = results_table(rows)
    if table.row_count:
        console.print(table)


def results_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Builds the table from the rows of lis_results.

    The columns are the LIS of scope ``both`` on all impressions; the interval of the honest score is 1.96 times the
    standard error beside it. Scores of one's own stand below, marked where they may contain the evaluated labels.
    """
    cleaned = [clean(row) for row in rows]
    table = Table(
        title="LIS = AUC with the future's table minus AUC with today's",
        caption="honest ± standard error (clustered by user); 0.0010 counts; own = memorised own labels",
    )
    table.add_column("date", no_wrap=True)
    bounded = any(row.get("truth_bound") is not None for row in cleaned)  # of simulated worlds only
    names = ("n", "naive", "matched", "honest ± SE", *(["bound"] if bounded else []), "skip-T", "shuffled", "own")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    subjects = split_subjects(cleaned)
    for subject in subjects:
        if len(subjects) > 1:
            table.add_section()
            # The date's column has 16 places to spare, so a long name is cut rather than the figures.
            table.add_row(Text(_distinction(subject, subjects)[:16], "bold"))
        _add_subject(table, subject, bounded)
    scores = [row for row in cleaned if row.get("protocol") == "scores" and (row.get("stratum") or "all") == "all"]
    if scores:
        table.add_section()
    for row in scores:
        labelled = may_contain_own_labels(row)
        value = _with_error(row)
        table.add_row(
            row.get("evaluated_date") or "scores",
            "",
            value if labelled else "",
            "",
            "" if labelled else value,
            *([""] if bounded else []),
            "",
            "",
            "",
            _verdict(row),
        )
    return table


def _distinction(subject: Subject, subjects: Sequence[Subject]) -> str:
    for part in ("scenario", "leak", "slot"):
        if len({getattr(other, part) for other in subjects}) > 1:
            return str(getattr(subject, part))
    return subject.label


def _add_subject(table: Table, subject: Subject, bounded: bool) -> None:
    for day in subject.dates:
        table.add_section()
        for horizon in subject.horizons:
            found = {
                variant: subject.find(variant, day, horizon)
                for variant in ("naive", "naive_matched", "honest", "skip_t", "label_shuffled")
            }
            if not any(found.values()):
                continue
            honest = found["honest"]
            table.add_row(
                day,
                str(horizon),
                _score(found["naive"]),
                _score(found["naive_matched"]),
                _with_error(honest),
                *([ascii_text(signed((honest or found["naive"] or {}).get("truth_bound")))] if bounded else []),
                _score(found["skip_t"]),
                _score(found["label_shuffled"]),
                ascii_text(percent(honest.get("own_label_share"))) if honest else "-",
                _verdict(honest),
            )


def _score(row: Row | None) -> str:
    return ascii_text(signed(row.get("lis"))) if row else "-"


def _with_error(row: Row | None) -> str:
    if row is None or row.get("lis") is None:
        return "-"
    error = row.get("standard_error")
    return _score(row) if error is None else f"{_score(row)} ± {error:.4f}"


def _verdict(row: Row | None) -> Text:
    verdict = str((row or {}).get("verdict") or "-")
    return Text(verdict, VERDICT_STYLES.get(verdict, ""))
