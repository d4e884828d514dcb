"""Rows of ``lis_results``: each measurement, means over seeds and dates, verdicts that hold together (method 1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lis_spark.config import fingerprint
from lis_spark.config.leaks import HONEST, NAIVE
from lis_spark.inference import errors_with_seeds, holm, simultaneous_intervals
from lis_spark.inference.students_t import upper_chance
from lis_spark.lis.plan.append_feature import PORT
from lis_spark.lis.plan.arms import BASELINE, ITEM_AND_USER, ITEM_RATE, SLOT_PERMUTED, USER_RATE
from lis_spark.lis.plan.chains import OTHER_FOLDS, SKIP_OWN_T
from lis_spark.lis.plan.comparisons import Measurement
from lis_spark.lis.plan.strata import ALL, SEEN, UNSEEN
from lis_spark.lis.results.decision import BaselineGap, Evidence, Score, judge
from lis_spark.lis.results.estimates import TRAINED
from lis_spark.lis.results.pools import Pool, over_dates, over_seeds, single, with_checks
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.metrics import LIS, WITHIN_USER, JointErrors

# Variants whose scores say something of the preference data; the others are controls.
JUDGED = (NAIVE, "naive_matched", HONEST)
# Variants that are pooled over dates: what stands in the first lines of a report.
POOLED = (*JUDGED, OTHER_FOLDS, SKIP_OWN_T, "skip_t", "label_shuffled", "replay", "representation", "row_shuffled")
ONE_TRAINING = "one training seed: what another training would change is in no interval"
HOLDS_OWN_LABELS = "holds memorised own labels: the decision is made on the honest score"
# Variants of simple baselines -> what they are called.
BASELINE_NAMES = {
    ITEM_RATE: "the rate of the item before T",
    USER_RATE: "the rate of the user before T",
    ITEM_AND_USER: "a gradient boosting on rates and counts of user and item before T",
}
# Value of ``seed`` in the rows that stand for all training seeds.
MEAN = "mean"


def pools_of(measurements: Sequence[Measurement], seeds: Sequence[int]) -> list[Pool]:
    """All rows that are written, as pools: each measurement, its mean over seeds, and over dates where it is told."""
    dates = len({one.evaluated_date for one in measurements})
    told = [one for one in measurements if _is_told(one)]
    return with_checks(
        [
            *map(single, measurements),
            *over_seeds(measurements, seeds),
            *(over_dates(told, seeds, dates) if dates > 1 else ()),
        ]
    )


def _is_told(one: Measurement) -> bool:
    """Whether it is pooled over dates: a headline, what each feature is worth, or unseen items beside AIS."""
    if one.variant == SLOT_PERMUTED or one.protocol == BASELINE:
        return one.stratum == ALL
    return one.variant in POOLED and (one.is_headline or (one.is_of_whole_table and one.stratum in (SEEN, UNSEEN)))


def pool_id(pool: Pool, ids: Mapping[str, str]) -> str:
    """Identity of a row: of a measurement its own, of a pool that of its members.

    Args:
        pool: what the row is of.
        ids: comparison_id of each measurement -> its identity.
    """
    members = [ids[one.comparison_id] for one in pool.members]
    return members[0] if len(members) == 1 else fingerprint("pool", sorted(members))


@dataclass
class ResultSet:
    """All rows of one configuration and the pools that they are of, in one order."""

    rows: list[ResultRow] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)

    def families(self) -> dict[str, list[int]]:
        """The judged rows that are read together: of all dates, and date by date; positions in ``rows``.

        With several seeds their mean is judged, not each seed.
        """
        most = max((row.training_seeds for row in self.rows), default=1)
        found: dict[str, list[int]] = {"by date": [], "all dates": []}
        for place, (row, pool) in enumerate(zip(self.rows, self.pools, strict=True)):
            if is_judged(row) and row.training_seeds == most and row.standard_error is not None:
                found["all dates" if pool.dates > 1 else "by date"].append(place)
        return {name: places for name, places in found.items() if places}

    def add_simultaneous(self, places: Sequence[int], joint: Mapping[str, JointErrors]) -> None:
        """Writes the intervals that hold for all rows of a family together, and p after Holm.

        Args:
            places: of the family, in the order of the errors.
            joint: see :func:`lis_spark.metrics.joint_errors`.
        """
        rows = [self.rows[place] for place in places]
        values = [row.lis or 0.0 for row in rows]
        of_users = [row.cluster_standard_error or 0.0 for row in rows]
        plain = [row.standard_error or 0.0 for row in rows]
        seed_degrees = [row.seed_degrees_of_freedom or 0.0 for row in rows]
        errors, degrees = errors_together(plain, of_users, [row.users or 2 for row in rows], seed_degrees)
        covariance = shared_covariance(joint[LIS].correlation, of_users, errors)
        found = simultaneous_intervals(values, covariance, degrees)
        p_values = [
            2 * upper_chance(abs(value) / error, df) if error else float(value == 0)
            for value, error, df in zip(values, errors, degrees, strict=True)
        ]
        for place, (row, p_value) in enumerate(zip(rows, holm(p_values), strict=True)):
            row.simultaneous_low, row.simultaneous_high = float(found.low[place]), float(found.high[place])
            row.p_holm = p_value
        _add_within_user(rows, joint[WITHIN_USER].correlation)

    def judge(self, threshold: float) -> None:
        """Writes verdicts, reasons and drift penalties; controls and strata carry none, nor does one seed of several.

        Args:
            threshold: absolute AUC that counts.
        """
        drift = {_date_and_place(row): row.lis for row in self.rows if row.variant == "label_shuffled"}
        several = any(row.seed == MEAN for row in self.rows)
        for row in self.rows:
            if row.variant not in JUDGED or not row.is_of_everything or not row.horizon_days or row.lis is None:
                continue
            row.drift_penalty = drift.get((row.seed, row.evaluated_date, row.protocol, row.leak, row.horizon_days))
            if several and row.seed != MEAN:
                continue
            if row.variant != HONEST:
                row.note = row.note or HOLDS_OWN_LABELS
            elif is_judged(row):
                self.decide(row, threshold)

    def decide(self, row: ResultRow, threshold: float) -> None:
        """Writes the verdict of one row, which looks at the same score on each date; see :func:`judge`."""
        is_trained_once = row.protocol in TRAINED and row.training_seeds == 1 and row.sigma_seed is None
        same = [
            other
            for other in self.rows
            if other.place == row.place and other.seed == row.seed and other.evaluated_dates == 1
        ]
        days = [day for day in same if row.evaluated_dates > 1 or day.evaluated_date == row.evaluated_date]
        by_date = [score for score in map(simultaneous_score, days) if score is not None]
        verdict = judge(
            Evidence(
                lis=simultaneous_score(row),
                within_user=within_user_score(row),
                by_date=by_date,
                small_dates=[day.lis for day in days if simultaneous_score(day) is None and day.lis is not None],
                users=row.users or 0,
                positives=row.positives or 0,
                negatives=row.negatives or 0,
                coverage=row.coverage,
                is_trained_once=is_trained_once,
                threshold=threshold,
                baselines=self._baselines(row),
            )
        )
        row.verdict, row.reason = verdict.name, verdict.reason
        if is_trained_once:
            row.note = ONE_TRAINING

    def _baselines(self, row: ResultRow) -> list[BaselineGap]:
        """What simple baselines have beyond the ranker of the same dates and seeds, where that has an interval."""
        return [
            BaselineGap(
                name=BASELINE_NAMES[other.variant],
                baseline_auc=other.auc_leaked or 0.0,
                ranker_auc=other.auc_control or 0.0,
                value=other.lis or 0.0,
                low=other.ci_low,
                high=other.ci_high,
            )
            for other in self.rows
            if other.protocol == BASELINE
            and other.variant in BASELINE_NAMES
            and (other.seed, other.evaluated_date, other.evaluated_dates)
            == (row.seed, row.evaluated_date, row.evaluated_dates)
            and other.ci_low is not None
            and other.ci_high is not None
        ]


def is_judged(row: ResultRow) -> bool:
    """Whether a verdict is made on the row: an honest score of a day of future over all impressions."""
    scopes = (None, PORT, "both")
    return row.variant == HONEST and row.is_of_everything and bool(row.horizon_days) and row.swap_scope in scopes


def simultaneous_score(row: ResultRow) -> Score | None:
    """The LIS of a row with the interval that holds together with those of its family."""
    if row.lis is None or row.standard_error is None or row.simultaneous_low is None or row.simultaneous_high is None:
        return None
    degrees = row.degrees_of_freedom or 1.0
    return Score(
        value=row.lis,
        standard_error=row.standard_error,
        degrees_of_freedom=degrees,
        low=row.simultaneous_low,
        high=row.simultaneous_high,
        clusters=row.users or 0,
        cluster_standard_error=row.cluster_standard_error or row.standard_error,
    )


def within_user_score(row: ResultRow) -> Score | None:
    """The same of the AUC within users."""
    value, error = row.lis_within_user, row.lis_within_user_standard_error
    low, high = row.lis_within_user_simultaneous_low, row.lis_within_user_simultaneous_high
    if value is None or error is None or low is None or high is None:
        return None
    degrees = row.lis_within_user_degrees_of_freedom or 1.0
    of_users = row.lis_within_user_cluster_standard_error or error
    return Score(value, error, degrees, low, high, row.within_user_users or 0, of_users)


def _add_within_user(rows: Sequence[ResultRow], correlation: np.ndarray) -> None:
    known = [place for place, row in enumerate(rows) if row.lis_within_user_standard_error is not None]
    if not known:
        return
    chosen = [rows[place] for place in known]
    of_users = [row.lis_within_user_cluster_standard_error or 0.0 for row in chosen]
    plain = [row.lis_within_user_standard_error or 0.0 for row in chosen]
    seed_degrees = [row.seed_degrees_of_freedom or 0.0 for row in chosen]
    users = [row.within_user_effective_users or 2 for row in chosen]
    errors, degrees = errors_together(plain, of_users, users, seed_degrees)
    values = [row.lis_within_user or 0.0 for row in chosen]
    covariance = shared_covariance(correlation[np.ix_(known, known)], of_users, errors)
    found = simultaneous_intervals(values, covariance, degrees)
    for place, row in enumerate(chosen):
        row.lis_within_user_simultaneous_low = float(found.low[place])
        row.lis_within_user_simultaneous_high = float(found.high[place])


def errors_together(
    plain: Sequence[float], of_users: Sequence[float], clusters: Sequence[float], seed_degrees: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors and degrees of freedom of scores that are read together, from each one's own.

    Args:
        plain: [k] standard errors with all that is in them.
        of_users: [k] those over users alone.
        clusters: [k] users, or effective users where they weigh unequally.
        seed_degrees: [k] degrees of freedom of what seeds add; 0 with one seed.
    """
    variances = np.square(of_users)
    return errors_with_seeds(variances, np.maximum(np.square(plain) - variances, 0.0), clusters, seed_degrees)


def shared_covariance(correlation: np.ndarray, of_users: Sequence[float], errors: npt.ArrayLike) -> np.ndarray:
    """Of errors that are correlated over users; what draws and seeds add to an error is of each score alone."""
    covariance = correlation * np.outer(of_users, of_users)
    covariance[np.diag_indices_from(covariance)] = np.square(errors)
    return np.asarray(covariance)


def _date_and_place(row: ResultRow) -> tuple[object, ...]:
    return row.seed, row.evaluated_date, row.protocol, row.leak, row.horizon_days
