"""The arms of protocol ``append``: the ranker retrained with a leak, and with its control (method 1.3, 1.4)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from lis_spark.config import IdTableLeak, Leak, RunConfig
from lis_spark.leaks.id_embedding import FeatureRequest
from lis_spark.lis.arms import CONTROL, Arm
from lis_spark.lis.chains import ONE_DAY, append_fork_name, base_name

# Value of ``scope``: the vector enters by the port, no table is swapped.
PORT = "port"


@dataclass(frozen=True)
class AppendFeature:
    """What the port of one arm reads: which rows of which feature table."""

    arm: Arm
    leak: Leak
    table: str
    variant: str
    horizon_days: int


def append_features(config: RunConfig, date: dt.date) -> list[AppendFeature]:
    """The arms of one evaluated day and what each reads, controls before what is compared with them.

    The ID table is measured naive, and honest: each row by chains that never saw the fold of its user from T - w on,
    in both arms. Next clicks are the user's own future: their own labels are kept out by the exclusions, so that they
    are honest as they are (method 1.2). The previous clicks reach back n days, so each n has a control of its own.
    """
    if config.append is None:
        return []
    features: list[AppendFeature] = []
    for leak in config.append.leaks:
        by_horizon = not isinstance(leak, IdTableLeak)
        for variant in ("honest",) if by_horizon else ("naive", "honest"):
            control: Arm | None = None
            for horizon in config.append_horizons:
                if control is None or by_horizon:
                    control = Arm(
                        "append", f"{CONTROL}_{variant}", horizon if by_horizon else 0, PORT, date, None, None
                    )
                    control = _of(leak, control)
                    features.append(AppendFeature(control, leak, "control_features", variant, control.horizon_days))
                leaked = _of(leak, Arm("append", variant, horizon, PORT, date, None, None), control.name)
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


def _of(leak: Leak, arm: Arm, compared_with: str | None = None) -> Arm:
    return replace(arm, leak=leak.name, compared_with=compared_with)
