"""A replay for the terminal and as plain rows: is p uniform where nothing happened, and what could be seen at all?"""

from __future__ import annotations

import json
from pathlib import Path

from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lis_spark.config import ReadOutConfig
from lis_spark.experiment import replay
from lis_spark.experiment.effects import users_needed
from lis_spark.experiment.replay import UNIFORM_ABOVE, Replay
from lis_spark.report.files import write_whole
from lis_spark.report.format import ascii_text, lift, percent
from lis_spark.report.read_out_table import PAPER


def run(spark: SparkSession, config: ReadOutConfig) -> list[Replay]:
    """Prints what was found and writes ``replay.json`` to ``output_path``."""
    found = replay.run(spark, config)
    rows = [
        {
            "metric": one.metric,
            "divisions": len(one.p_values),
            "uniform_p": one.uniform_p,
            "false_findings": one.false_findings,
            "users": one.users,
            "coefficient_of_variation": one.variation,
            "coefficient_of_variation_without_covariate": one.plain_variation,
            "detectable_lift": one.detectable_lift,
            "p_values": one.p_values.tolist(),
        }
        for one in found
    ]
    file = write_whole(Path(config.output_path) / "replay.json", json.dumps(rows, indent=1))
    console = Console(width=120)
    console.print(Text(ascii_text(replay_answer(found)), "bold"))
    arms = " and ".join(f"{users:,.0f}" for users in found[0].arms)
    table = Table(
        title=f"{len(found[0].p_values):,} divisions of {found[0].users:,} users on days without an experiment",
        caption=f"detectable with 80 % power in as many days with arms of {arms} users, the planned shares of these",
    )
    paper = PAPER.get(config.experiment.scenario or "", {})
    for name in (
        "metric",
        "p below .05",
        "uniform: p",
        "CV",
        "without covariate",
        "detectable",
        "for the paper's lift",
    ):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for one in found:
        needed = f"{users_needed(one.variation, paper[one.metric]):,} an arm" if one.metric in paper else "-"
        numbers = f"{one.variation:.3g}", f"{one.plain_variation:.3g}", ascii_text(lift(one.detectable_lift)[1:])
        table.add_row(one.metric, ascii_text(percent(one.false_findings)), f"{one.uniform_p:.3f}", *numbers, needed)
    console.print(table)
    print(file)
    return found


def replay_answer(found: list[Replay]) -> str:
    """The replay in a sentence."""
    wrong = [one.metric for one in found if one.uniform_p <= UNIFORM_ABOVE]
    if wrong:
        return f"p is not uniform on {', '.join(wrong)} where nothing happened: do not read these out like this."
    return f"p is uniform on all {len(found)} metrics where nothing happened: false effects are as rare as it says."
