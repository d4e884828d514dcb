"""The arms of an evaluation: which dense part sees which table on which impressions (method 1.1, 1.2, 1.6)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lis_spark.config import EvaluationConfig
from lis_spark.folds import NO_FOLD, Served
from lis_spark.leaks.id_embedding import LEAK, FeatureRequest
from lis_spark.lis.plan.chains import (
    ONE_DAY,
    OTHER_FOLDS,
    SKIP_OWN_T,
    backward_horizons,
    base_name,
    fork_name,
    leak_base_name,
    other_folds_name,
)

Protocol = Literal["swap", "swap+refit", "whole", "truth", "baseline", "append"]
CONTROL = "control"
SLOT_PERMUTED = "slot_permuted"
# Scored by p* of the simulated world: no ranker gets further.
TRUTH = "truth"
# The truth, ranked as the scores of folds are.
TRUTH_BY_FOLD = "truth_by_fold"
# Scores that know counts before T alone, beside the ranker's: simple baselines, and what knows nothing.
BASELINE: Literal["baseline"] = "baseline"
ITEM_RATE, USER_RATE, ITEM_AND_USER, CHANCE = "item_rate", "user_rate", "item_and_user", "chance"
# Behind the name of a baseline: compared with chance, not with the ranker, which gives its AUC an interval.
OVER_CHANCE = "_over_chance"
# A retrained arm that is given what an encoder says of items, or preference data: AIS.
REPRESENTATION = "representation"
# Before the name of a rung of the nested ladder.
RUNG = "rung_"
# Variants whose scores come from one model for each fold.
BY_FOLD = ("honest", "naive_matched", SKIP_OWN_T, TRUTH_BY_FOLD, OTHER_FOLDS)


def is_by_fold(protocol: str, variant: str) -> bool:
    """Whether scores come from one model for each fold; a retrained arm is one model for all of them."""
    return protocol != "append" and variant in BY_FOLD


@dataclass(frozen=True)
class Arm:
    """One way to score the impressions of day T.

    ``chain`` and ``snapshot_date`` name the table that is put in (None: the ranker keeps its own, as the control
    does); ``served`` says which impressions it scores, relative to ``held_out_fold`` of ``folds``. ``compared_with``
    names its control, or several draws of it whose mean counts; ``also_compared`` other arms, and the variant that each
    of these comparisons is called. ``against_own_order``: the control is the same leak, its vectors in the wrong order.
    """

    protocol: Protocol
    variant: str
    horizon_days: int
    scope: str
    evaluated_date: dt.date
    chain: str | None
    snapshot_date: dt.date | None
    held_out_fold: int = NO_FOLD
    served: Served = "all"
    leak: str = LEAK
    folds: int = 1
    compared_with: tuple[str, ...] | None = None
    also_compared: tuple[tuple[str, str], ...] = ()
    against_own_order: bool = False

    @property
    def name(self) -> str:
        """Key of the arm in ``scores``."""
        fold = f"{self.held_out_fold} of {self.folds}" if self.variant == OTHER_FOLDS else str(self.held_out_fold)
        parts = (self.protocol, self.variant, str(self.horizon_days), self.scope, fold)
        return "|".join(parts if self.leak == LEAK else (*parts, self.leak))

    @property
    def is_control(self) -> bool:
        """Whether other arms are compared with it, and it with none."""
        return self.variant.startswith(CONTROL)

    @property
    def is_scored_by_ranker(self) -> bool:
        """Whether the ranker scores it: the truth and baselines need none."""
        return self.protocol not in (TRUTH, BASELINE)

    @property
    def ranks_folds(self) -> bool:
        """Whether it is ranked fold by fold: scores of different models are never pooled (method 1.2)."""
        both_ways = self.protocol != "append" and self.variant in (CONTROL, TRUTH)
        return both_ways or is_by_fold(self.protocol, self.variant)

    @property
    def ranks_all(self) -> bool:
        """Whether it is ranked over all users: its control and the truth are ranked both ways."""
        return not is_by_fold(self.protocol, self.variant)

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the arms that it is compared with: the same ranker, refitted where this arm is."""
        if self.compared_with is not None:
            return self.compared_with
        return (control_arm(self.evaluated_date, "swap+refit" if self.protocol == "swap+refit" else "swap").name,)

    @property
    def is_identity(self) -> bool:
        """Whether it puts in the ranker's own table: n = 0."""
        return self.protocol == "swap" and self.chain is not None and self.horizon_days == 0


def control_arm(date: dt.date, protocol: Protocol = "swap") -> Arm:
    """``M_T`` with its own table; in ``swap+refit`` with its dense part refitted."""
    return Arm(protocol, CONTROL, 0, "none", date, None, None)


def baseline_arms(date: dt.date) -> list[Arm]:
    """Simple baselines and chance, each compared with the ranker of day T; baselines with chance, too."""
    chance = Arm(BASELINE, CHANCE, 0, "none", date, None, None)
    simple = [
        Arm(BASELINE, name, 0, "none", date, None, None, also_compared=((f"{name}{OVER_CHANCE}", chance.name),))
        for name in (ITEM_RATE, USER_RATE, ITEM_AND_USER)
    ]
    return [chance, *simple]


def feature_requests(
    evaluation: EvaluationConfig, seed: int, date: dt.date, first_full_day: dt.date
) -> list[FeatureRequest]:
    """Which snapshots the impressions of one day are joined to, for ``leaked_features`` and ``control_features``."""
    base, kind = base_name(seed), evaluation.leak_chains
    leak_base = leak_base_name(kind, seed)
    horizons = [horizon for horizon in evaluation.horizons if horizon > 0]
    variants = set(evaluation.variants)
    requests, folds = [FeatureRequest("naive", 0, base, date, date)], evaluation.folds
    if "honest" in variants:  # at its fork a chain is the base chain
        requests += [FeatureRequest("honest", 0, base, date, date, fold, "own", folds=folds) for fold in range(folds)]
    for horizon in horizons:
        later = date + ONE_DAY * horizon
        if "naive" in variants:
            requests.append(FeatureRequest("naive", horizon, leak_base, later, date))
        for fold in range(folds):
            chain = fork_name(kind, "honest", date, seed, fold)
            if "honest" in variants:
                requests.append(FeatureRequest("honest", horizon, chain, later, date, fold, "own", folds=folds))
            if "naive_matched" in variants:
                requests.append(
                    FeatureRequest("naive_matched", horizon, chain, later, date, fold, "others", folds=folds)
                )
            if SKIP_OWN_T in variants and horizon > 1:
                chain = fork_name(kind, SKIP_OWN_T, date, seed, fold)
                requests.append(FeatureRequest(SKIP_OWN_T, horizon, chain, later, date, fold, "own", folds=folds))
        if "skip_t" in variants and horizon > 1:
            chain = fork_name(kind, "skip_t", date, seed)
            requests.append(FeatureRequest("skip_t", horizon, chain, later, date))
        for variant in ("label_shuffled", "replay"):
            if variant in variants:
                requests.append(FeatureRequest(variant, horizon, fork_name(kind, variant, date, seed), later, date))
    requests += _other_folds(evaluation, seed, date)
    usable, _ = backward_horizons(evaluation, date, first_full_day)
    requests += [FeatureRequest("backward", -days, leak_base, date - ONE_DAY * days, date) for days in usable]
    return requests


def _other_folds(evaluation: EvaluationConfig, seed: int, date: dt.date) -> list[FeatureRequest]:
    horizon = max(evaluation.horizons)
    later = date + ONE_DAY * horizon
    requests = []
    for folds in evaluation.other_folds:
        for fold in range(folds):
            chain = other_folds_name(evaluation.leak_chains, date, seed, fold, folds)
            requests.append(FeatureRequest(OTHER_FOLDS, horizon, chain, later, date, fold, "own", folds=folds))
    return requests


def plan_arms(
    evaluation: EvaluationConfig,
    requests: Sequence[FeatureRequest],
    date: dt.date,
    features: Sequence[str] = (),
    truth: bool = False,
    baselines: bool = False,
) -> list[Arm]:
    """All arms of one evaluated day; naive and honest take the configured scopes, controls only ``both``.

    Each name in ``features`` adds an arm of the control ranker that reads that feature from another impression of the
    day: its AUC drop is the feature's permutation importance (``lis-spark slots``). ``truth`` adds an arm that is
    scored by the truth of a simulated world, ``baselines`` those of :func:`baseline_arms`.
    """
    arms = [control_arm(date)]
    arms += [Arm("swap", SLOT_PERMUTED, 0, feature, date, None, None) for feature in features]
    for request in requests:
        scopes = evaluation.scopes if request.variant in ("naive", "honest") else ("both",)
        arms += [_arm("swap", request, scope) for scope in scopes]
        if request.variant == "naive" and request.horizon_days > 0 and "row_permuted" in evaluation.variants:
            arms.append(_arm("swap", request, "both", "row_permuted"))
        if request.variant == "naive" and request.horizon_days > 0 and evaluation.whole:
            arms.append(_arm("whole", request, "both", "whole"))
    if truth:
        arms.append(Arm("truth", TRUTH, 0, "none", date, None, None))
    if baselines:
        arms += baseline_arms(date)
    refitted = set(evaluation.refit_horizons)
    if refitted:
        arms.append(control_arm(date, "swap+refit"))
        arms += [
            _arm("swap+refit", request, "both")
            for request in requests
            if request.horizon_days in refitted and request.variant in ("naive", "honest")
        ]
    return arms


def _arm(protocol: Protocol, request: FeatureRequest, scope: str, variant: str | None = None) -> Arm:
    return Arm(
        protocol,
        variant or request.variant,
        request.horizon_days,
        scope,
        request.evaluated_date,
        request.chain,
        request.snapshot_date,
        request.held_out_fold,
        request.served,
        folds=request.folds,
    )
