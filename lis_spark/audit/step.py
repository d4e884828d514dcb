"""``lis-spark audit TABLE``: which columns of a feature table carry information from after the impression."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lis_spark.audit.evidence import findings
from lis_spark.audit.findings import ranked
from lis_spark.audit.movement import Estimate
from lis_spark.config import RunConfig, fingerprint
from lis_spark.errors import ConfigError, InputError
from lis_spark.lake import Lake
from lis_spark.sources.state import table_state

STEP_VERSION = 5


def run(spark: SparkSession, config: RunConfig, *, run_id: str = "") -> list[dict[str, Any]]:
    """Audits the table of the section ``audit``; one row for each column, the accused first.

    The table ``audits`` keeps the rows; an audit of the same state of both tables is told from there. Where only rows
    could tell the state (a view), the table is audited anew.

    Raises:
        ConfigError: no table is named.
        InputError: the table cannot be audited as it is, or none of its keys is that of an impression.
    """
    audit = config.audit
    if audit is None or audit.path is None:
        raise ConfigError(
            "which table?",
            expected="lis-spark audit TABLE --config FILE, or audit: {path: ...} in the configuration",
            remedy="name the table to look through",
        )
    lake = Lake(spark, config, run_id=run_id, step="audit", measurement=True)
    lake.pin("impressions")
    lake.create("audits")
    state = table_state(spark, audit.path, audit.format, audit.version)
    if state is None and audit.format == "delta":
        raise InputError(
            "there is no Delta table",
            table=audit.path,
            remedy="check the path, or say audit.format=parquet, csv or json",
        )
    if isinstance(state, tuple):  # of Delta: one version is read throughout
        audit = audit.model_copy(update={"version": state[1]})
    now, threshold = dt.datetime.now(dt.UTC), config.evaluation.decision_threshold
    chosen = (audit, config.label, config.scenario, config.time_zone, threshold)
    audit_id = fingerprint("audit", STEP_VERSION, *chosen, lake.pinned["impressions"], state or now.isoformat())
    known = _stored(lake, audit_id)
    if known:
        return known
    rows = []
    for place, finding in enumerate(ranked(findings(lake, audit), threshold), 1):
        verdict, reasons = finding.judged(threshold)
        rows.append(
            {
                "row_id": f"{audit_id}-{place}",
                "run_name": config.run_name,
                "audited_table": audit.path,
                "audited_version": audit.version,
                "impressions_version": lake.pinned["impressions"],
                "audited_column": finding.column,
                "place": place,
                "verdict": verdict,
                "reasons": json.dumps(reasons),
                "key": finding.key,
                "coverage": finding.coverage,
                "dated_after": finding.dated_after,
                "auc_alone": finding.auc_alone,
                **_columns("added_by_request", finding.added.get("request")),
                **_columns("added_by_day", finding.added.get("day")),
                **_columns("excess", finding.excess.get(finding.worst_window)),
                "excess_window": finding.worst_window,
                "tests": finding.tests,
                "created_ts": now,
            }
        )
    schema = lake.read("audits").schema
    lake.merge("audits", spark.createDataFrame([tuple(row[c] for c in schema.names) for row in rows], schema), "row_id")
    return _stored(lake, audit_id)


def _stored(lake: Lake, audit_id: str) -> list[dict[str, Any]]:
    rows = lake.read("audits").where(F.col("row_id").startswith(audit_id)).orderBy("place").collect()
    return [{**row.asDict(), "reasons": json.loads(row["reasons"])} for row in rows]


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return dict.fromkeys((name, f"{name}_ci_low", f"{name}_ci_high"))
    low, high = estimate.interval() if estimate.freedom > 1 else (estimate.value, estimate.value)
    return {name: estimate.value, f"{name}_ci_low": low, f"{name}_ci_high": high}
