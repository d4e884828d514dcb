"""One row of ``lis_results``: a measurement with its intervals, its parts, its versions and its verdict."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lis_spark.config import RunConfig
from lis_spark.inference import Estimate
from lis_spark.lis.plan.append_feature import PORT
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.strata import ALL

# Columns NAME, NAME_standard_error, NAME_ci_low, NAME_ci_high of estimates beside the LIS itself.
ESTIMATES = ("lis_gauc", "lis_within_user", "lis_within_request", "lis_user_part", "lis_item_part")


@dataclass
class ResultRow:
    """One row of ``lis_results``; the columns are explained in ``schemas/lis_results.sql``."""

    measurement_id: str
    run_name: str
    scenario: str
    protocol: str
    leak: str
    variant: str
    slot: str | None
    swap_scope: str | None
    label: str
    evaluated_date: dt.date | None
    horizon_days: int | None
    stratum: str
    seed: str
    config_fingerprint: str
    created_ts: dt.datetime
    evaluated_dates: int = 1
    folds: int | None = None
    training_seeds: int = 1
    user_share: float | None = None
    positives: int | None = None
    negatives: int | None = None
    users: int | None = None
    u2_control: str | None = None
    u2_leaked: str | None = None
    auc_control: float | None = None
    auc_leaked: float | None = None
    lis: float | None = None
    standard_error: float | None = None
    cluster_standard_error: float | None = None
    degrees_of_freedom: float | None = None
    seed_degrees_of_freedom: float | None = None
    sigma_seed: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    simultaneous_low: float | None = None
    simultaneous_high: float | None = None
    p_holm: float | None = None
    gauc_control: float | None = None
    gauc_leaked: float | None = None
    lis_gauc: float | None = None
    lis_gauc_standard_error: float | None = None
    lis_gauc_ci_low: float | None = None
    lis_gauc_ci_high: float | None = None
    gauc_coverage: float | None = None
    within_user_control: float | None = None
    within_user_leaked: float | None = None
    lis_within_user: float | None = None
    lis_within_user_standard_error: float | None = None
    lis_within_user_ci_low: float | None = None
    lis_within_user_ci_high: float | None = None
    lis_within_user_cluster_standard_error: float | None = None
    lis_within_user_degrees_of_freedom: float | None = None
    lis_within_user_simultaneous_low: float | None = None
    lis_within_user_simultaneous_high: float | None = None
    within_user_users: int | None = None
    within_user_effective_users: float | None = None
    within_pair_share: float | None = None
    within_pair_share_standard_error: float | None = None
    within_pair_share_ci_low: float | None = None
    within_pair_share_ci_high: float | None = None
    lis_within_request: float | None = None
    lis_within_request_standard_error: float | None = None
    lis_within_request_ci_low: float | None = None
    lis_within_request_ci_high: float | None = None
    request_pair_share: float | None = None
    lis_user_part: float | None = None
    lis_user_part_standard_error: float | None = None
    lis_user_part_ci_low: float | None = None
    lis_user_part_ci_high: float | None = None
    lis_item_part: float | None = None
    lis_item_part_standard_error: float | None = None
    lis_item_part_ci_low: float | None = None
    lis_item_part_ci_high: float | None = None
    lis_several_rows: float | None = None
    several_rows_share: float | None = None
    log_loss_control: float | None = None
    log_loss_leaked: float | None = None
    pcoc_control: float | None = None
    pcoc_leaked: float | None = None
    coverage: float | None = None
    dead_item_share: float | None = None
    own_label_share: float | None = None
    own_label_share_ci_low: float | None = None
    own_label_share_ci_high: float | None = None
    evaluated_labels: float | None = None
    evaluated_labels_ci_low: float | None = None
    evaluated_labels_ci_high: float | None = None
    later_events: float | None = None
    later_events_ci_low: float | None = None
    later_events_ci_high: float | None = None
    first_day_share: float | None = None
    first_day_share_ci_low: float | None = None
    first_day_share_ci_high: float | None = None
    lis_all_data: float | None = None
    lis_all_data_standard_error: float | None = None
    lis_all_data_ci_low: float | None = None
    lis_all_data_ci_high: float | None = None
    drift_penalty: float | None = None
    truth_bound: float | None = None
    share_of_impressions: float | None = None
    verdict: str | None = None
    reason: str | None = None
    note: str | None = None
    table_versions: str | None = None

    @classmethod
    def of(
        cls, config: RunConfig, measurement: Measurement, measurement_id: str, versions: Mapping[str, int]
    ) -> ResultRow:
        """A row that names what is measured and holds no figure yet."""
        return cls(
            measurement_id=measurement_id,
            run_name=config.run_name,
            scenario=config.scenario,
            protocol=measurement.protocol,
            leak=measurement.leak,
            variant=measurement.variant,
            slot=config.evaluation.slot,
            swap_scope=None if measurement.scope == PORT else measurement.scope,
            label=config.label,
            evaluated_date=measurement.evaluated_date,
            horizon_days=measurement.horizon_days,
            stratum=measurement.stratum,
            seed=str(measurement.seed),
            config_fingerprint=config.fingerprint,
            created_ts=dt.datetime.now(dt.UTC),
            folds=measurement.other_folds or config.evaluation.folds,
            user_share=config.evaluation.user_share,
            table_versions=json.dumps(dict(versions), sort_keys=True),
        )

    def plain(self) -> dict[str, Any]:
        """The row as JSON data: dates as ISO text, versions as an object."""
        data = asdict(self)
        data["evaluated_date"] = self.evaluated_date.isoformat() if self.evaluated_date else None
        data["created_ts"] = self.created_ts.isoformat()
        data["table_versions"] = json.loads(self.table_versions) if self.table_versions else {}
        return data

    @property
    def place(self) -> tuple[object, ...]:
        """What the row is of, without its date and its seed."""
        return self.protocol, self.leak, self.variant, self.swap_scope, self.horizon_days, self.stratum, self.folds

    @property
    def is_of_everything(self) -> bool:
        """Whether it is over all impressions, not over a stratum."""
        return self.stratum == ALL

    def fill(self, name: str, estimate: Estimate | None) -> None:
        """Writes an estimate beside the LIS, see :data:`ESTIMATES`."""
        if estimate is None:
            return
        low, high = estimate.interval()
        figures = (estimate.value, estimate.standard_error, low, high)
        for suffix, value in zip(("", "_standard_error", "_ci_low", "_ci_high"), figures, strict=True):
            setattr(self, name + suffix, value)
