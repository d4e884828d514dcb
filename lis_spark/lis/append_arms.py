"""The arms of protocol ``append``: the ranker retrained with a leak, and with its control (method 1.3, 1.4)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from lis_spark.config import IdTableLeak, Leak, NextClickLeak, RunConfig, SimilarItemsLeak
from lis_spark.leaks.id_embedding import FeatureRequest
from lis_spark.lis.arms import CONTROL, Arm
from lis_spark.lis.chains import ONE_DAY, append_fork_name, base_name

# Value of ``scope``: the vector enters by the port, no table is swapped.
PORT = "port"
# Variants of similar items that are compared with the ranker without a graph.
KNOWN_GRAPH, SHUFFLED_GRAPH = "known_graph", "shuffled_graph"


@dataclass(frozen=True)
class AppendFeature:
    """What the port of one arm reads: which rows of which feature table; without a table it has no port."""

    arm: Arm
    leak: Leak
    table: str | None = None
    variant: str = ""
    horizon_days: int = 0


def append_features(config: RunConfig, date: dt.date) -> list[AppendFeature]:
    """The arms of one evaluated day and what each reads."""
    if config.append is None:
        return []
    of_kind = {IdTableLeak: _id_table, NextClickLeak: _next_click, SimilarItemsLeak: _similar_items}
    horizons = config.append_horizons
    return [feature for leak in config.append.leaks for feature in of_kind[type(leak)](leak, horizons, date)]


def _id_table(leak: Leak, horizons: Sequence[int], date: dt.date) -> list[AppendFeature]:
    """Naive, and honest: each row by chains that never saw the fold of its user from T - w on, in both arms."""
    features = []
    for variant in ("naive", "honest"):
        control = _arm(leak, f"{CONTROL}_{variant}", 0, date)
        features.append(AppendFeature(control, leak, "control_features", variant, 0))
        for horizon in horizons:
            leaked = _arm(leak, variant, horizon, date, control)
            features.append(AppendFeature(leaked, leak, "leaked_features", variant, horizon))
    return features


def _next_click(leak: Leak, horizons: Sequence[int], date: dt.date) -> list[AppendFeature]:
    """Next clicks are the user's own future: the exclusions keep the own labels out, so they are honest (method 1.2).

    The previous clicks reach back n days, so each n has a control of its own.
    """
    features = []
    for horizon in horizons:
        control = _arm(leak, f"{CONTROL}_honest", horizon, date)
        leaked = _arm(leak, "honest", horizon, date, control)
        features.append(AppendFeature(control, leak, "control_features", "honest", horizon))
        features.append(AppendFeature(leaked, leak, "leaked_features", "honest", horizon))
    return features


def _similar_items(leak: Leak, horizons: Sequence[int], date: dt.date) -> list[AppendFeature]:
    """The graphs of T + n against that of T; that of T and a shuffled one against no graph at all (method 1.5)."""
    control, none = _arm(leak, f"{CONTROL}_graph", 0, date), _arm(leak, f"{CONTROL}_none", 0, date)
    known = _arm(leak, KNOWN_GRAPH, 0, date, none)
    shuffled = _arm(leak, SHUFFLED_GRAPH, max(horizons), date, none)
    features = [
        AppendFeature(none, leak),
        AppendFeature(control, leak, "control_features", "naive", 0),
        AppendFeature(known, leak, "control_features", "naive", 0),
        AppendFeature(shuffled, leak, "leaked_features", SHUFFLED_GRAPH, max(horizons)),
    ]
    for variant in ("naive", "honest"):
        for horizon in horizons:
            leaked = _arm(leak, variant, horizon, date, control)
            features.append(AppendFeature(leaked, leak, "leaked_features", variant, horizon))
    return features


def append_arms(config: RunConfig, date: dt.date) -> list[Arm]:
    """The arms of :func:`append_features`."""
    return [feature.arm for feature in append_features(config, date)]


def table_requests(config: RunConfig, leak: IdTableLeak, seed: int, date: dt.date) -> list[FeatureRequest]:
    """The snapshots that the impressions of T - w .. T are joined to: those of T + n, and of T for the control."""
    assert config.append is not None
    window = config.append.window_days
    first = date - ONE_DAY * window
    requests = []
    for horizon in (0, *config.append_horizons):
        later = date + ONE_DAY * horizon
        requests.append(
            FeatureRequest("naive", horizon, base_name(seed), later, date, first_date=first, leak=leak.name)
        )
        for fold in range(config.evaluation.folds):
            chain = append_fork_name(date, window, seed, fold)
            requests.append(FeatureRequest("honest", horizon, chain, later, date, fold, "own", first, leak.name))
    return requests


def _arm(leak: Leak, variant: str, horizon: int, date: dt.date, control: Arm | None = None) -> Arm:
    compared_with = control.name if control else None
    return Arm("append", variant, horizon, PORT, date, None, None, leak=leak.name, compared_with=compared_with)
