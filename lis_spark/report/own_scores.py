"""``lis-spark measure --scores``: measures a table of somebody's own scores, and writes and prints its report."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from lis_spark.lis.results.own_scores import measure_scores
from lis_spark.report.context import ReportContext
from lis_spark.report.files import write_whole
from lis_spark.report.page import write_report
from lis_spark.report.terminal import print_results
from lis_spark.session import get_session


def report_own_scores(table: str, columns: dict[str, str], threshold: float, output: str, command: str) -> None:
    """Writes ``report.html`` and ``lis_results.json``, and prints the results.

    Args:
        table: a Delta or Parquet path, or catalog.schema.table.
        columns: see :func:`lis_spark.lis.results.own_scores.measure_scores`.
        threshold: absolute AUC that counts.
        output: folder of both files.
        command: line that measures again.
    """
    spark = get_session(app_name="lis_spark measure")
    rows = [row.plain() for row in measure_scores(spark, table, columns, threshold)]
    folder = Path(output)
    results = write_whole(folder / "lis_results.json", json.dumps(rows, indent=1))
    context = ReportContext(run_name="own scores", source=table, rerun_commands=[command], decision_threshold=threshold)
    report = write_report(rows, context, folder / "report.html")
    print_results(Console(width=120), rows, context)
    print(f"{report}\n{results}")
