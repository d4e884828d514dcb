"""Forgetting in a small lake: rejected rows of a user, unreadable ones, and what must stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lis_spark import cli, forget
from lis_spark.config import parse_config
from lis_spark.lake import Lake
from lis_spark.sources import ingest

CSV = """person,item,time,click
7,a,1651500000,1
77,a,1651500060,0
7,b,1651500120,5
77,b,1651500180,5
7,c,1651500240,1,surplus
77,c,1651500300,1,surplus
8,7,1651500360,9
it's,7,1651500420,0
"""


def test_rejected_rows_of_the_user_go_and_no_others(spark: Any, config_data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(CSV, encoding="utf-8")
    columns = {"user_id": "person", "item_id": "item", "time": "time", "labels": {"click": "click"}}
    config_data["source"] = {
        "kind": "table",
        "path": str(tmp_path / "rows.csv"),
        "format": "csv",
        "columns": columns,
        "time_format": "epoch_seconds",
    }
    config_data["ingest"] = {"quarantine_share_limit": 1}
    config = parse_config(config_data)
    ingest.run(spark, config)
    lake = Lake(spark, config)
    assert lake.read("quarantine").count() == 5 and lake.read("impressions").count() == 3
    assert forget.run(spark, config, "7", None, False) == {"quarantine": 2, "impressions": 1}
    left = [row["row_json"] for row in Lake(spark, config).read("quarantine").collect()]
    assert len(left) == 3 and sum('"77"' in row or "77," in row for row in left) == 2
    assert any('"item":"7"' in row and '"person":"8"' in row for row in left), "an item of that name is no user"
    assert {row["user_id"] for row in Lake(spark, config).read("impressions").collect()} == {"77", "it's"}
    forget.run(spark, config, "it's", None, False)
    assert {row["user_id"] for row in Lake(spark, config).read("impressions").collect()} == {"77"}


def test_it_is_told_what_to_forget(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["forget", "--config", "conf/kuairand_small.yaml"]) == 2
    assert "--user ID, or --leaked-before" in capsys.readouterr().err
