"""Which arms are compared with which, on which folds and strata (method 1.2, 1.7)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lis_spark.config import EvaluationConfig
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.folds import NO_FOLD
from lis_spark.lis.plan.append_feature import PORT
from lis_spark.lis.plan.arms import CONTROL, REPRESENTATION, RUNG, TRUTH, TRUTH_BY_FOLD, Arm, is_by_fold
from lis_spark.lis.plan.chains import OTHER_FOLDS
from lis_spark.lis.plan.strata import ALL, SEVERAL_ROWS, bucket_names
from lis_spark.metrics import ITEM_PART, USER_PART, part_arm

# Of a split measurement: the user part and the item part of its change of logits, and all of it on the same rows.
SPLIT_COMPARISONS = (USER_PART, ITEM_PART, SEVERAL_ROWS)


@dataclass(frozen=True)
class Measurement:
    """One comparison: all arms of one variant, horizon and scope on one day, under one training seed.

    ``arms`` are the leaked arms; within a fold several of them are replicates whose mean counts (naive_matched).
    ``other_folds``: into how many folds users are split where it is not the evaluation's own number.
    """

    seed: int
    evaluated_date: dt.date
    protocol: str
    leak: str
    variant: str
    scope: str
    horizon_days: int
    stratum: str
    arms: tuple[Arm, ...]
    other_folds: int | None = None

    @property
    def comparison_id(self) -> str:
        """Key within one evaluation."""
        parts = (
            self.seed,
            self.evaluated_date,
            self.protocol,
            self.leak,
            self.variant,
            self.scope,
            self.horizon_days,
            self.stratum,
            *(() if self.other_folds is None else (f"{self.other_folds} folds",)),
        )
        return "|".join(map(str, parts))

    @property
    def place(self) -> tuple[object, ...]:
        """What it shares with the same measurement under other seeds."""
        return (
            *(self.evaluated_date, self.protocol, self.leak, self.variant, self.scope),
            *(self.horizon_days, self.stratum, self.other_folds),
        )

    @property
    def controls(self) -> tuple[str, ...]:
        """The control; several draws of it where their mean counts."""
        return self.arms[0].controls

    @property
    def draws(self) -> dict[str, str]:
        """Control arm -> key of the comparison with it alone, where there are several: they scatter."""
        several = self.controls if len(self.controls) > 1 else ()
        return {control: f"{self.comparison_id}|{control}" for control in several}

    @property
    def is_split(self) -> bool:
        """Whether its change of logits is split into a user part and an item part."""
        return self.is_headline and self.variant in (NAIVE, HONEST, REPRESENTATION)

    @property
    def ranked_among(self) -> str:
        """Value of ``influence.stratum``: its stratum, or the rankings within folds of another number of folds."""
        return self.stratum if self.other_folds is None else ranked_within(self.other_folds)

    @property
    def is_headline(self) -> bool:
        """Whether it is over all impressions, of the whole table, and its arms can differ (n = 0 is the identity)."""
        return self.stratum == ALL and self.is_of_whole_table

    @property
    def is_of_whole_table(self) -> bool:
        """Whether its arms can differ in the whole table: n = 0 is the identity."""
        return self.scope in ("both", PORT) and (self.horizon_days > 0 or self.variant == REPRESENTATION)

    def pairs(self, folds: int) -> Iterator[dict[str, object]]:
        """The rows that the metrics compare: control arm, leaked arm, seed, date, fold, stratum."""
        for pair in self._pairs(folds):
            yield {"comparison_id": self.comparison_id, **pair}
            if self.draws:
                yield {"comparison_id": self.draws[str(pair["control_arm"])], **pair}

    def split_pairs(self, folds: int) -> Iterator[dict[str, object]]:
        """The rows for the parts of its change of logits, and for all of it over the same impressions."""
        for pair in self._pairs(folds) if self.is_split else ():
            control, leaked = str(pair["control_arm"]), str(pair["leaked_arm"])
            for part in SPLIT_COMPARISONS:
                arm = leaked if part == SEVERAL_ROWS else part_arm(part, leaked, control)
                key = f"{self.comparison_id}|{part}"
                yield {"comparison_id": key, **pair, "stratum": SEVERAL_ROWS, "leaked_arm": arm}

    def _pairs(self, folds: int) -> Iterator[dict[str, object]]:
        folds = self.other_folds or folds
        by_fold = is_by_fold(self.protocol, self.variant)
        for arm in self.arms:
            if not by_fold or arm.held_out_fold == NO_FOLD:
                served = range(folds) if by_fold else [NO_FOLD]
            elif arm.served == "own":
                served = [arm.held_out_fold]
            else:
                served = [fold for fold in range(folds) if fold != arm.held_out_fold]
            for fold in served:
                for control in self.controls:
                    yield {
                        "seed": self.seed,
                        "date": self.evaluated_date,
                        "fold": fold,
                        "stratum": self.ranked_among,
                        "control_arm": control,
                        "leaked_arm": arm.name,
                    }


def ranked_within(folds: int) -> str:
    """Value of ``influence.stratum`` of rankings within folds that are not the evaluation's own."""
    return f"{folds} folds"


def is_stratified(arm: Arm, longest_horizon: int) -> bool:
    """Whether an arm is also ranked within each stratum: naive and honest in scope ``both``, and their control.

    Of retrained arms the honest ones, representations, rungs and all controls.

    naive_matched, F - 1 arms for one of naive, at the longest horizon only: where the own-label share is read.
    """
    if arm.protocol == "append":  # where the gain lies: on cold rows or everywhere
        is_honest = arm.variant == "honest" and arm.horizon_days > 0
        return arm.is_control or is_honest or arm.variant == REPRESENTATION or arm.variant.startswith(RUNG)
    of_leak = arm.variant in ("naive", "honest") and arm.scope == "both" and arm.horizon_days > 0
    of_share = arm.variant == "naive_matched" and arm.horizon_days == longest_horizon
    return arm.protocol == "swap" and (of_leak or of_share or arm.variant == CONTROL)


def plan_measurements(
    evaluation: EvaluationConfig, seed: int, date: dt.date, arms: list[Arm], strata_of_items: Sequence[str] = ()
) -> list[Measurement]:
    """All measurements of one evaluated day; strata for naive and honest in scope ``both``, and ``strata_of_items``."""
    groups: dict[tuple[str, str, str, str, int, int | None], list[Arm]] = {}
    for arm in arms:
        other_folds = arm.folds if arm.variant == OTHER_FOLDS else None
        if not arm.is_control:
            key = (arm.protocol, arm.leak, arm.variant, arm.scope, arm.horizon_days, other_folds)
            groups.setdefault(key, []).append(arm)
        if arm.variant == TRUTH:  # the bound of scores that are ranked fold by fold
            groups[arm.protocol, arm.leak, TRUTH_BY_FOLD, arm.scope, arm.horizon_days, None] = [arm]
        for variant, other in arm.also_compared:
            key = (arm.protocol, arm.leak, variant, arm.scope, arm.horizon_days, None)
            groups.setdefault(key, []).append(replace(arm, compared_with=(other,)))
    strata = [
        *bucket_names("update_count", evaluation.update_count_edges),
        *bucket_names("item_age", evaluation.item_age_edges),
        *strata_of_items,
    ]
    measurements = []
    for (protocol, leak, variant, scope, horizon, other_folds), members in groups.items():
        for stratum in (ALL, *(strata if is_stratified(members[0], max(evaluation.horizons)) else ())):
            measurements.append(
                Measurement(seed, date, protocol, leak, variant, scope, horizon, stratum, tuple(members), other_folds)
            )
    return measurements
