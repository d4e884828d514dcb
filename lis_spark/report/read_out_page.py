"""The read-out as one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lis_spark.config.experiment import Budgets
from lis_spark.report.files import write_whole
from lis_spark.report.forest_plot import Row, draw_days, draw_forest
from lis_spark.report.read_out_table import blind_spots, headlines, of_paper, read_out_answers
from lis_spark.report.templating import templates


def write_read_out(rows: Sequence[Row], budgets: Budgets, config_yaml: str, command: str, path: Path) -> Path:
    """Writes the page.

    Args:
        rows: of ``experiment_results``, one experiment.
        budgets: whether advertisers' money is one for both arms.
        config_yaml: what was asked for.
        command: how to run it again.
        path: the HTML file; its folder is made.
    """
    chosen = headlines(rows)
    plain = {(row["arm"], row["metric"]): row for row in rows if row["date"] is None and not row["adjusted"]}
    arms = list(dict.fromkeys(row["arm"] for row in chosen))
    forests, days = [], []
    for number, arm in enumerate(arms):
        own = [row for row in chosen if row["arm"] == arm and row["lift"] is not None]
        without = {metric: row for (name, metric), row in plain.items() if name == arm and row["lift"] is not None}
        if own:
            forests.append(draw_forest(own, without, f"forest-{number}"))
        panels = []
        for place, row in enumerate(own):
            of_days = [
                one for one in rows if one["date"] is not None and (one["arm"], one["metric"]) == (arm, row["metric"])
            ]
            if len(of_days) > 1 and any(one["value_control"] > 0 for one in of_days):
                panels.append(draw_days(sorted(of_days, key=lambda one: one["date"]), f"days-{number}-{place}"))
        days.append((arm, panels))
    page = (
        templates()
        .get_template("read_out.html.j2")
        .render(
            first=rows[0],
            answers=read_out_answers(rows),
            lines=[(row, plain[row["arm"], row["metric"]], of_paper(row)) for row in chosen],
            forests=forests,
            days=days,
            tables=json.loads(rows[0]["tables"]),
            blind_spots=blind_spots(budgets),
            config_yaml=config_yaml,
            command=command,
        )
    )
    return write_whole(path, page)
