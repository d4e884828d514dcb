"""The read-out as a person meets it: read, printed, and written as a page and as plain rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import SparkSession
from rich.console import Console

from lis_spark.config import ReadOutConfig
from lis_spark.experiment import read_out
from lis_spark.report.files import write_whole
from lis_spark.report.read_out_page import write_read_out
from lis_spark.report.read_out_table import print_read_out


def run(spark: SparkSession, config: ReadOutConfig, force: bool = False) -> list[dict[str, Any]]:
    """Writes ``read_out.html``, ``experiment_results.json`` and ``config.yaml`` to ``output_path``."""
    rows = read_out.run(spark, config, force)
    folder = Path(config.output_path)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    command = f"lis-spark read-out --config {folder / 'config.yaml'}"
    results = write_whole(folder / "experiment_results.json", json.dumps(rows, indent=1, default=str))
    write_whole(folder / "config.yaml", f"# {command}\n{text}")
    page = write_read_out(rows, config.experiment.budgets, text, command, folder / "read_out.html")
    print_read_out(Console(width=140), rows)  # eight figures a line
    print(f"{page}\n{results}")
    return rows
