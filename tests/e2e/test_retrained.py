"""Leaked tables of a model that was trained anew: raw they ruin the ranker, aligned they say what they know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lis_spark.config import RunConfig
from lis_spark.lake import Lake
from lis_spark.lis.results.measure import results_of
from lis_spark.pipeline import run_steps
from tests.e2e.conftest import SmallRun, small_config
from tests.e2e.test_changes import COMPUTED

FEW_ARMS = (
    "evaluation.leak_chains=retrained",
    "evaluation.variants=[naive]",
    "evaluation.scopes=[both]",
    "evaluation.horizons=[0, 3]",
    "evaluation.swap_refit=false",
    "evaluation.whole=false",
    "evaluation.slots=false",
    "evaluation.update_count_edges=[]",
    "evaluation.item_age_edges=[]",
)


@pytest.mark.slow("trains a ranker anew")
def test_an_orthogonal_map_makes_a_retrained_table_comparable(
    spark: Any, small_run: SmallRun, copied: RunConfig, tmp_path: Path
) -> None:
    """Method 1.1: an independently initialised chain swapped in raw is below 0, mapped it is about the continued."""
    continued = {key(row): row["lis"] for row in results_of(Lake(spark, small_run.config))}
    found = {}
    for align in ("none", "procrustes"):
        config = small_config(tmp_path, tmp_path / "source", *FEW_ARMS, f"evaluation.align={align}")
        done = {result.step: result for result in run_steps(spark, config, COMPUTED)}
        assert (done["train"].partitions_written == 0) == (align == "procrustes"), "aligning trains nothing"
        assert done["features"].partitions_written > 0, "and the tables are made anew"
        found[align] = {key(row): row["lis"] for row in results_of(Lake(spark, config))}
    raw, mapped, own = (rows["naive", 3] for rows in (found["none"], found["procrustes"], continued))
    assert found["procrustes"]["naive", 0] == 0
    assert raw < 0 < mapped
    assert abs(mapped - own) < 0.25 * (own - raw), f"raw {raw}, mapped {mapped}, continued {own}"


def key(row: dict[str, Any]) -> tuple[str, int] | None:
    if (row["protocol"], row["swap_scope"], row["stratum"]) != ("swap", "both", "all"):
        return None
    return row["variant"], row["horizon_days"]
