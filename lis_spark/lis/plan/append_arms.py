"""The arms of protocol ``append``: the ranker retrained with a leak, and with its control (method 1.3, 1.4)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from lis_spark.config import (
    ContentConfig,
    IdTableLeak,
    Leak,
    NextClickLeak,
    Representation,
    RunConfig,
    SimilarItemsLeak,
)
from lis_spark.config.leaks import HONEST, NAIVE, OwnLeakKind
from lis_spark.leaks.id_embedding import FeatureRequest
from lis_spark.lis.plan.append_feature import CONTENT, PORT, ROW_SHUFFLED, AppendFeature, Made
from lis_spark.lis.plan.arms import CONTROL, REPRESENTATION, Arm
from lis_spark.lis.plan.chains import ONE_DAY, append_fork_name, base_name
from lis_spark.lis.plan.ladder import ladder_features

# Variants of similar items that are compared with the ranker without a graph.
KNOWN_GRAPH, SHUFFLED_GRAPH = "known_graph", "shuffled_graph"
# Before the name of another representation: what one is compared with beside its control.
ABOVE = "above_"


def append_features(config: RunConfig, date: dt.date) -> list[AppendFeature]:
    """The arms of one evaluated day and what each reads."""
    if config.append is None:
        return []
    features = []
    for leak in config.append.leaks:
        of_leak = _of_leak(config, leak, date)
        features += of_leak
        if isinstance(leak, Representation):  # it is no leak, and has its own vectors in the wrong order as its control
            continue
        features += _wrong_order(of_leak)
        if config.append.content is not None:
            features += _from_content(config.append.content, of_leak)
    return features + ladder_features(config.append, config.append_horizons, date)


def _of_leak(config: RunConfig, leak: Leak, date: dt.date) -> list[AppendFeature]:
    horizons = config.append_horizons
    if isinstance(leak, IdTableLeak):
        return _id_table(leak, horizons, date)
    if isinstance(leak, NextClickLeak):
        return _next_click(leak, horizons, date)
    if isinstance(leak, SimilarItemsLeak):
        return _similar_items(leak, horizons, date)
    if isinstance(leak, Representation):
        return _representation(leak, date)
    return _own(config, leak, date)


def _own(config: RunConfig, leak: OwnLeakKind, date: dt.date) -> list[AppendFeature]:
    """One's own leak against the same as of T, or against its own vectors in the wrong order."""
    features: list[AppendFeature] = []
    for horizon in leak.horizons_among(config.append_horizons):
        for variant in leak.variants:
            if leak.control_is_shuffled:
                name = f"{CONTROL}_{ROW_SHUFFLED}_{variant}"
                control = AppendFeature(
                    _arm(leak, name, horizon, date), leak, "leaked_features", variant, horizon, "row_shuffled"
                )
            else:
                control = AppendFeature(
                    _arm(leak, f"{CONTROL}_{variant}", 0, date), leak, "control_features", variant, 0
                )
            if control not in features:
                features.append(control)
            leaked = _arm(leak, variant, horizon, date, (control.arm.name,))
            leaked = replace(leaked, against_own_order=leak.control_is_shuffled)
            features.append(AppendFeature(leaked, leak, "leaked_features", variant, horizon))
    return features


def _decided_on(features: Sequence[AppendFeature]) -> AppendFeature:
    """The arm that a leak is judged by: honest where there is such a score, at the longest horizon."""
    judged = [feature for feature in features if feature.arm.variant in (NAIVE, HONEST)]
    return max(judged, key=lambda feature: (feature.horizon_days, feature.variant == HONEST))


def _from_content(content: ContentConfig, features: Sequence[AppendFeature]) -> list[AppendFeature]:
    """What content predicts of a leak's vectors, against the same predictions given to other items."""
    last = _decided_on(features)
    leak, horizon, date = last.leak, last.horizon_days, last.arm.evaluated_date
    controls = [_arm(leak, f"{CONTROL}_{CONTENT}_{draw}", horizon, date) for draw in range(content.shuffles)]
    arm = _arm(leak, CONTENT, horizon, date, tuple(control.name for control in controls))
    shuffled = [replace(last, arm=c, made="content_shuffled", draw=draw) for draw, c in enumerate(controls)]
    return [*shuffled, replace(last, arm=arm, made="content")]


def _wrong_order(features: Sequence[AppendFeature]) -> list[AppendFeature]:
    """A leak's vectors given to other keys against its control's given to other keys: what the leak gains by its form.

    Where the control is the leak in the wrong order already, against another order of it.
    """
    last = _decided_on(features)
    (name,) = last.arm.controls
    own_control = next(feature for feature in features if feature.arm.name == name)
    leak, horizon, date = last.leak, last.horizon_days, last.arm.evaluated_date
    if own_control.made == "row_shuffled":
        arm = _arm(leak, ROW_SHUFFLED, horizon, date, (own_control.arm.name,))
        return [replace(last, arm=arm, made="row_shuffled", draw=1)]
    control = replace(own_control, arm=_arm(leak, f"{CONTROL}_{ROW_SHUFFLED}", horizon, date), made="row_shuffled")
    arm = _arm(leak, ROW_SHUFFLED, horizon, date, (control.arm.name,))
    return [control, replace(last, arm=arm, made="row_shuffled")]


def _id_table(leak: IdTableLeak, horizons: Sequence[int], date: dt.date) -> list[AppendFeature]:
    """Naive, and honest: each row by chains that never saw the fold of its user from T - w on, in both arms."""
    features = []
    for variant in (NAIVE, HONEST):
        control = _arm(leak, f"{CONTROL}_{variant}", 0, date)
        features.append(AppendFeature(control, leak, "control_features", variant, 0))
        for horizon in horizons:
            leaked = _arm(leak, variant, horizon, date, (control.name,))
            features.append(AppendFeature(leaked, leak, "leaked_features", variant, horizon))
    return features


def _next_click(leak: NextClickLeak, horizons: Sequence[int], date: dt.date) -> list[AppendFeature]:
    """Next clicks are the user's own future: the exclusions keep the own labels out, so they are honest (method 1.2).

    The previous clicks reach back n days, so each n has a control of its own.
    """
    features = []
    for horizon in horizons:
        control = _arm(leak, f"{CONTROL}_{HONEST}", horizon, date)
        leaked = _arm(leak, HONEST, horizon, date, (control.name,))
        features.append(AppendFeature(control, leak, "control_features", HONEST, horizon))
        features.append(AppendFeature(leaked, leak, "leaked_features", HONEST, horizon))
    return features


def _similar_items(leak: SimilarItemsLeak, horizons: Sequence[int], date: dt.date) -> list[AppendFeature]:
    """The graphs of T + n against that of T; that of T and a shuffled one against no graph at all (method 1.5)."""
    control, none = _arm(leak, f"{CONTROL}_graph", 0, date), _arm(leak, f"{CONTROL}_none", 0, date)
    known = _arm(leak, KNOWN_GRAPH, 0, date, (none.name,))
    shuffled = _arm(leak, SHUFFLED_GRAPH, max(horizons), date, (none.name,))
    features = [
        AppendFeature(none, leak),
        AppendFeature(control, leak, "control_features", NAIVE, 0),
        AppendFeature(known, leak, "control_features", NAIVE, 0),
        AppendFeature(shuffled, leak, "leaked_features", SHUFFLED_GRAPH, max(horizons)),
    ]
    for variant in (NAIVE, HONEST):
        for horizon in horizons:
            leaked = _arm(leak, variant, horizon, date, (control.name,))
            features.append(AppendFeature(leaked, leak, "leaked_features", variant, horizon))
    return features


def _representation(leak: Representation, date: dt.date) -> list[AppendFeature]:
    """What an encoder says against the same given to other items; preference data against no port (method 6)."""

    def reading(arm: Arm, made: Made = "as_is", draw: int = 0) -> AppendFeature:
        return AppendFeature(arm, leak, "control_features", REPRESENTATION, 0, made, draw)

    if leak.preference is not None:
        bare = _arm(leak, f"{CONTROL}_none", 0, date)
        features = [AppendFeature(bare, leak)]
    else:
        draws = [_arm(leak, f"{CONTROL}_{ROW_SHUFFLED}_{draw}", 0, date) for draw in range(leak.draws)]
        features = [reading(arm, "row_shuffled", draw) for draw, arm in enumerate(draws)]
    controls = tuple(feature.arm.name for feature in features)
    others = tuple(
        (f"{ABOVE}{name}", Arm("append", REPRESENTATION, 0, PORT, date, None, None, leak=name).name)
        for name in leak.above
    )
    arm = replace(_arm(leak, REPRESENTATION, 0, date, controls), also_compared=others)
    return [*features, reading(arm)]


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
        folds = config.evaluation.folds
        for fold in range(folds):
            chain = append_fork_name(date, window, seed, fold)
            requests.append(FeatureRequest(HONEST, horizon, chain, later, date, fold, "own", first, leak.name, folds))
    return requests


def _arm(leak: Leak, variant: str, horizon: int, date: dt.date, controls: tuple[str, ...] | None = None) -> Arm:
    return Arm("append", variant, horizon, PORT, date, None, None, leak=leak.name, compared_with=controls)
