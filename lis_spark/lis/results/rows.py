"""Rows of ``lis_results``: a comparison with its interval, its control, its versions and its verdict (method 1.7)."""

from __future__ import annotations

import datetime as dt
import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lis_spark.config import RunConfig, fingerprint
from lis_spark.lis.plan.append_feature import PORT
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.strata import ALL
from lis_spark.lis.results.decision import HARMFUL, combine_seeds, interval, negligible, verdict
from lis_spark.metrics import Comparison

# Variants that say something of the preference data; the others are controls and carry no verdict.
JUDGED = ("naive", "naive_matched", "honest")
# Protocols whose arms are trained for the measurement: another training moves their scores (method 1.7).
TRAINED = ("swap+refit", "append")
ONE_SEED = "one training seed: what another training would change is in no interval"


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
    positives: int | None = None
    negatives: int | None = None
    users: int | None = None
    u2_control: str | None = None
    u2_leaked: str | None = None
    auc_control: float | None = None
    auc_leaked: float | None = None
    lis: float | None = None
    standard_error: float | None = None
    sigma_seed: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    gauc_control: float | None = None
    gauc_leaked: float | None = None
    lis_gauc: float | None = None
    lis_gauc_standard_error: float | None = None
    lis_gauc_ci_low: float | None = None
    lis_gauc_ci_high: float | None = None
    gauc_coverage: float | None = None
    log_loss_control: float | None = None
    log_loss_leaked: float | None = None
    pcoc_control: float | None = None
    pcoc_leaked: float | None = None
    coverage: float | None = None
    dead_item_share: float | None = None
    own_label_share: float | None = None
    own_label_share_ci_low: float | None = None
    own_label_share_ci_high: float | None = None
    drift_penalty: float | None = None
    truth_bound: float | None = None
    share_of_impressions: float | None = None
    verdict: str | None = None
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
            table_versions=json.dumps(dict(versions), sort_keys=True),
        )

    def plain(self) -> dict[str, Any]:
        """The row as JSON data: dates as ISO text, versions as an object."""
        data = asdict(self)
        data["evaluated_date"] = self.evaluated_date.isoformat() if self.evaluated_date else None
        data["created_ts"] = self.created_ts.isoformat()
        data["table_versions"] = json.loads(self.table_versions) if self.table_versions else {}
        return data

    def take(self, comparison: Comparison, draws: Sequence[float] = ()) -> None:
        """Fills in the figures of a comparison.

        Args:
            comparison: leaked against control; where there are ``draws``, their mean against the leaked arm.
            draws: of several controls, how far the AUC of each is from the leaked arm's: their scatter is part of the
                error (method 1.6).
        """
        for name in _FIGURES:
            setattr(self, name, getattr(comparison, name))
        self.u2_control, self.u2_leaked = str(comparison.u2_control), str(comparison.u2_leaked)
        if not draws:
            return
        for name in ("u2", "auc", "gauc", "log_loss", "pcoc"):
            control, leaked = getattr(self, f"{name}_control"), getattr(self, f"{name}_leaked")
            setattr(self, f"{name}_control", leaked)
            setattr(self, f"{name}_leaked", control)
        self.lis = -comparison.lis
        self.standard_error = math.sqrt(comparison.standard_error**2 + statistics.variance(draws) / len(draws))
        self.ci_low, self.ci_high = interval(self.lis, self.standard_error)
        if comparison.lis_gauc is not None:
            self.lis_gauc = -comparison.lis_gauc
        if comparison.lis_gauc_ci_low is not None and comparison.lis_gauc_ci_high is not None:
            self.lis_gauc_ci_low, self.lis_gauc_ci_high = -comparison.lis_gauc_ci_high, -comparison.lis_gauc_ci_low


_FIGURES = (
    "positives",
    "negatives",
    "users",
    "auc_control",
    "auc_leaked",
    "lis",
    "standard_error",
    "ci_low",
    "ci_high",
    "gauc_control",
    "gauc_leaked",
    "lis_gauc",
    "lis_gauc_standard_error",
    "lis_gauc_ci_low",
    "lis_gauc_ci_high",
    "gauc_coverage",
    "log_loss_control",
    "log_loss_leaked",
    "pcoc_control",
    "pcoc_leaked",
)
_AVERAGED = (
    "truth_bound",
    *(name for name in _FIGURES if name not in ("positives", "negatives", "users")),
    "coverage",
    "dead_item_share",
    "share_of_impressions",
)
# Value of ``seed`` in the rows that stand for all training seeds.
MEAN = "mean"


def mean_id(measurement_ids: Sequence[str]) -> str:
    """Identity of the mean of the same measurement over training seeds."""
    return fingerprint("mean", sorted(measurement_ids))


@dataclass
class ResultSet:
    """All rows of one configuration, and how a variant's rows refer to each other."""

    rows: list[ResultRow] = field(default_factory=list)

    def add_seed_means(self, seeds: Sequence[int]) -> None:
        """Adds a row ``seed = mean`` for every measurement that all seeds have made, with ``sigma_seed``."""
        if len(seeds) < 2:
            return
        groups: dict[tuple[Any, ...], list[ResultRow]] = {}
        for row in self.rows:
            groups.setdefault(_key(row), []).append(row)
        for members in groups.values():
            values = [row.lis for row in members if row.lis is not None]
            errors = [row.standard_error for row in members if row.standard_error is not None]
            if len(members) != len(seeds) or len(values) != len(seeds) or len(errors) != len(seeds):
                continue
            mean = ResultRow(**{**asdict(members[0]), "seed": MEAN})
            mean.measurement_id = mean_id([row.measurement_id for row in members])
            for name in _AVERAGED:
                numbers = [getattr(row, name) for row in members]
                setattr(mean, name, None if None in numbers else sum(numbers) / len(numbers))
            mean.u2_control = mean.u2_leaked = None
            mean.own_label_share = mean.own_label_share_ci_low = mean.own_label_share_ci_high = None
            mean.lis, mean.standard_error, mean.sigma_seed = combine_seeds(values, errors)
            mean.ci_low, mean.ci_high = interval(mean.lis, mean.standard_error)
            _mean_of_gauc(mean, members)
            mean.note = f"mean over {len(seeds)} training seeds"
            self.rows.append(mean)
        self._share_of_means()

    def _share_of_means(self) -> None:
        """1 - mean honest / mean matched, where the interval of the mean keeps off 0; its own interval is not known."""
        means = {_key(row): row for row in self.rows if row.seed == MEAN}
        for row in means.values():
            if row.variant != "honest" or row.swap_scope != "both" or not row.horizon_days:
                continue
            matched = means.get(_key(replace(row, variant="naive_matched")))
            if matched and matched.lis and row.lis is not None and matched.ci_low is not None and matched.ci_low > 0:
                row.own_label_share = 1 - row.lis / matched.lis

    def judge(self, threshold: float, claimed_negligible: Collection[str] = ()) -> None:
        """Writes verdicts and drift penalties; controls and strata carry none, nor does one seed among several.

        Args:
            threshold: absolute AUC that counts.
            claimed_negligible: leaks whose effect is said to be none, which takes a test of its own.
        """
        several = any(row.seed == MEAN for row in self.rows)
        drift = {_place(row): row.lis for row in self.rows if row.variant == "label_shuffled" and row.stratum == ALL}
        for row in self.rows:
            if row.stratum != ALL or row.variant not in JUDGED or not row.horizon_days or row.lis is None:
                continue
            row.drift_penalty = drift.get(_place(row))
            if several and row.seed != MEAN:
                continue
            assert row.ci_low is not None and row.ci_high is not None
            if row.variant != "honest":
                if row.ci_high < 0:
                    row.verdict = HARMFUL
                row.note = row.note or "holds memorised own labels: the decision is made on the honest score"
                continue
            others = [other.lis for other in self.rows if _key(other)[1:] == _key(row)[1:] and other.seed == row.seed]
            values = [value for value in others if value is not None]
            row.verdict = verdict(row.lis, row.ci_low, row.ci_high, values, threshold, row.sigma_seed)
            if row.protocol in TRAINED and row.sigma_seed is None:
                row.note = ONE_SEED
            if row.leak in claimed_negligible and row.standard_error is not None and row.positives is not None:
                rows = row.positives + (row.negatives or 0)
                tested, told = negligible(row.lis, row.standard_error, row.coverage, rows, threshold)
                row.note = "; ".join(note for note in (row.note, told) if note)
                row.verdict = tested or row.verdict


def _mean_of_gauc(mean: ResultRow, members: Sequence[ResultRow]) -> None:
    """The mean of seeds on GAUC, with the scatter of its own."""
    values = [row.lis_gauc for row in members if row.lis_gauc is not None]
    errors = [row.lis_gauc_standard_error for row in members if row.lis_gauc_standard_error is not None]
    if len(values) == len(errors) == len(members):
        mean.lis_gauc, mean.lis_gauc_standard_error, _ = combine_seeds(values, errors)
        mean.lis_gauc_ci_low, mean.lis_gauc_ci_high = interval(mean.lis_gauc, mean.lis_gauc_standard_error)


def _key(row: ResultRow) -> tuple[Any, ...]:
    return (row.evaluated_date, row.protocol, row.leak, row.variant, row.swap_scope, row.horizon_days, row.stratum)


def _place(row: ResultRow) -> tuple[Any, ...]:
    return row.seed, row.evaluated_date, row.protocol, row.leak, row.swap_scope, row.horizon_days
