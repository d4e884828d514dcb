"""Sections on what is measured (method 1.1, 1.2, 1.6, 1.7)."""

from __future__ import annotations

import datetime as dt
import math
from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from lis_spark.config.section import Section

Variant = Literal[
    "naive",
    "naive_matched",
    "honest",
    "skip_own_t",
    "skip_t",
    "label_shuffled",
    "replay",
    "backward",
    "row_permuted",
]
SwapScope = Literal["both", "target", "history"]
LeakChains = Literal["continued", "retrained"]
Align = Literal["none", "procrustes"]
MOST_FOLDS = 100


class RefitConfig(Section):
    """swap+refit: the dense part fine-tuned on the days before T with the substituted table frozen."""

    horizons: tuple[int, ...] | None = Field(None, description="the longest of evaluation.horizons where absent")
    window_days: int = Field(1, ge=1, description="w: refitted on D_{T-w} .. D_{T-1}")
    steps: int = Field(10, ge=1, description="k gradient steps of ranker.batch_size")


class SigmaSeed(Section):
    """Standard deviations over training seeds, in AUC, from an earlier run."""

    lis: float = Field(ge=0, description="of the LIS: column sigma_seed of lis_results")
    within_user: float = Field(ge=0, description="of the LIS within users, over the seeds of the same rows")


class EvaluationConfig(Section):
    """What is measured (method 1.1, 1.2, 1.6, 1.7)."""

    dates: tuple[dt.date, ...] = Field(min_length=1)
    horizons: tuple[int, ...] = (0, 1, 3, 5, 7)
    backward_horizons: tuple[int, ...] = (1, 3)
    folds: int = Field(5, ge=2, le=MOST_FOLDS, description="of users: the honest score withholds one at a time")
    folds_sensitivity: tuple[int, ...] = Field(
        (),
        description="numbers of folds, [2, 5, 10] say, under which the honest score of the longest horizon is measured "
        "as well, and extrapolated to a table that lacks nobody's events",
    )
    slot: str = "item"
    user_share: float = Field(
        1.0,
        ge=1e-6,
        le=1,
        description="share of the users, by hash, whose impressions of T are scored and ranked: their number decides "
        "how wide intervals are, and training is whole in any case",
    )
    variants: tuple[Variant, ...] = get_args(Variant)
    scopes: tuple[SwapScope, ...] = ("both", "target", "history")
    swap_refit: bool = Field(
        False, description="also with the dense part refitted: its arms are trained, so give three seeds or more"
    )
    whole: bool = True
    slots: bool = Field(True, description="permutation importance of each feature: which table is worth swapping")
    baselines: bool = Field(
        True,
        description="item rate, user rate and a gradient boosting on both beside the ranker, which is not judged where "
        "it is below one of them; they need user and item among the counted features",
    )
    baseline_days: int = Field(30, ge=1, description="before T, on whose rows the gradient boosting is fitted")
    refit: RefitConfig = RefitConfig()
    leak_chains: LeakChains = Field(
        "continued", description="retrained: leaked tables of models that were trained anew, from other cold rows"
    )
    align: Align = Field(
        "none", description="procrustes: each leaked table is mapped orthogonally onto E_T; for snapshots of a retrain"
    )
    align_minimum_updates: int = Field(100, ge=0, description="the map is fitted on rows with more updates in both")
    label: str | None = Field(None, description="the label that is scored; the first of `labels` where absent")
    update_count_edges: tuple[int, ...] = (10, 30, 100, 300)
    item_age_edges: tuple[int, ...] = (3, 7, 14)
    decision_threshold: float = Field(0.0010, gt=0)
    sigma_seed: SigmaSeed | None = Field(
        None,
        description="how much scores scatter over training seeds, where an earlier run of this ranker and leak has "
        "measured it: with it arms that are trained under one seed are judged",
    )
    layout: Literal["packed", "reference"] = "packed"

    @property
    def other_folds(self) -> tuple[int, ...]:
        """Numbers of folds that are measured beside ``folds``, ascending."""
        return tuple(sorted(set(self.folds_sensitivity) - {self.folds}))

    @property
    def buckets(self) -> int:
        """Into how many parts users are hashed: each fold of every number of folds is made of whole parts."""
        return math.lcm(self.folds, *self.other_folds)

    @property
    def refit_horizons(self) -> tuple[int, ...]:
        """Horizons of swap+refit; none where it is switched off."""
        if not self.swap_refit:
            return ()
        return (max(self.horizons),) if self.refit.horizons is None else self.refit.horizons

    @field_validator("horizons")
    @classmethod
    def _horizons(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(h < 0 for h in value):
            raise ValueError("horizons are days after T; backward ones belong to backward_horizons")
        if 0 not in value:
            raise ValueError("horizon 0 is the identity control and cannot be left out")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _folds_fit_together(self) -> EvaluationConfig:
        wrong = [folds for folds in self.folds_sensitivity if not 2 <= folds <= MOST_FOLDS]
        if wrong:
            raise ValueError(f"folds_sensitivity holds {wrong[0]}: users are split into 2 to {MOST_FOLDS} folds")
        if self.other_folds and ("honest" not in self.variants or max(self.horizons) == 0):
            raise ValueError(
                "folds_sensitivity measures the honest score: it needs variant honest and a horizon above 0"
            )
        if self.buckets > MOST_FOLDS:
            numbers = ", ".join(map(str, (self.folds, *self.other_folds)))
            raise ValueError(
                f"folds of {numbers} cut users into {self.buckets} parts, and {MOST_FOLDS} is the most: choose numbers "
                "that share factors, 2, 5 and 10 for instance"
            )
        return self
