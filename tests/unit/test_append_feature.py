"""What the arms of several training seeds read: once what they share, for each seed what is its own."""

from __future__ import annotations

import datetime as dt
from typing import Any

from lis_spark.config import parse_config
from lis_spark.lis.plan.append_arms import append_features
from lis_spark.lis.plan.append_feature import of_seeds

T = dt.date(2022, 5, 3)


def test_of_seeds_shares_only_what_reads_no_seed(config_data: dict[str, Any]) -> None:
    own = {"kind": "sql", "name": "own", "query": "SELECT item_id, 1.0 AS one FROM items", "horizon_days": 7}
    leaks = [{"kind": "id_table"}, {"kind": "next_click"}, {**own, "control": "shuffled"}]
    config = parse_config({**config_data, "append": {"leaks": leaks, "horizons": [7], "content": {}}})
    features = append_features(config, T)
    found = of_seeds(features, [17, 18])
    shared = [feature.arm.variant for feature in found if feature.leak.name == "own" and feature.seed is None]
    assert shared == ["honest"], "the leak as it is says the same under each seed, its wrong orders do not"
    assert all(feature.seed is not None for feature in found if feature.leak.name != "own")
    for seed in (17, 18):
        names = sorted(feature.arm.name for feature in found if feature.seed in (None, seed))
        assert names == sorted(feature.arm.name for feature in features), "each seed has each arm once"
