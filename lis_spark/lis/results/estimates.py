"""From comparisons to the estimates of a row: users, draws and training seeds in one error (method 1.7)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lis_spark.inference import Estimate, combine_orders, combine_seeds
from lis_spark.lis.plan.strata import SEVERAL_ROWS
from lis_spark.lis.results.decision import FEWEST_USERS, is_too_few
from lis_spark.lis.results.pools import Pool
from lis_spark.lis.results.result_row import ResultRow
from lis_spark.metrics import ITEM_PART, LIS, USER_PART, WITHIN_USER, Comparison, Gain

# With fewer users in a ranking the weights of the rankings are uncertain, too: leaving out one user at a time sees it.
FEW_USERS = 50
# Protocols whose arms are trained for the measurement: another training moves their scores (method 1.7).
TRAINED = ("swap+refit", "append")


@dataclass(frozen=True)
class Found:
    """All comparisons by name, and the errors by leaving out users where a ranking has few: name -> kind -> error.

    ``known_sigma``: kind -> standard deviation over training seeds that an earlier run has measured.
    """

    comparisons: Mapping[str, Comparison]
    jackknife: Mapping[str, Mapping[str, float | None]]
    known_sigma: Mapping[str, float] = field(default_factory=dict)

    def estimate(
        self, pool: Pool, kind: Callable[[Comparison], Gain | None], name: str = "", sigma: float | None = None
    ) -> Estimate | None:
        """The mean over the replicates of a pool: its training seeds, or the draws of its control.

        Args:
            pool: of one measurement or of several.
            kind: which gain of a comparison.
            name: :data:`LIS` or :data:`WITHIN_USER`, whose errors are also known by leaving out users.
            sigma: standard deviation over training seeds that an earlier run has measured; used where there is one.
        """
        joint = self.comparisons.get(pool.name)
        gain = kind(joint) if joint else None
        if joint is None or gain is None or gain.standard_error is None:
            return None
        error = self.cluster_error(pool, gain, name)
        replicates = [kind(one) for one in map(self.comparisons.get, pool.replicates or pool.draws) if one]
        values = [one.value for one in replicates if one is not None]
        if len(values) < 2:
            own = sigma if len(pool.seeds) == 1 else None
            if own is not None and pool.against_own_order:  # its own order is a draw, as the control's is
                own *= math.sqrt(2.0)
            return combine_seeds([gain.value], error**2, gain.effective_clusters, own)
        if pool.against_own_order:
            checks = [kind(one) for one in map(self.comparisons.get, pool.checks) if one]
            known = [one.value for one in checks if one is not None]
            return replace(combine_orders(values, known, error**2, gain.effective_clusters), value=gain.value)
        found = replace(combine_seeds(values, error**2, gain.effective_clusters), value=gain.value)
        return found if pool.replicates else replace(found, sigma_seed=None)

    def cluster_error(self, pool: Pool, gain: Gain, name: str) -> float:
        """The standard error over users alone.

        GAUC and the order within requests are sums over users, too: their error is wider by as much as that of the AUC
        within users.
        """
        error = self.jackknife.get(pool.name, {}).get(name)
        if error is not None:
            return error
        return (gain.standard_error or 0.0) * (1.0 if name else self.widening([pool.name], WITHIN_USER))

    def pair_share(self, pool: Pool) -> Estimate | None:
        """The share of pairs that are of one user: seeds and draws rank the same pairs, so its error is over users.

        Users weigh as they do within users: so do its degrees of freedom, and what leaving out users adds.
        """
        comparison = self.comparisons[pool.name]
        share, within_user = comparison.within_pair_share, comparison.within_user
        if share.standard_error is None or within_user is None:
            return None
        error = share.standard_error * self.widening([pool.name], WITHIN_USER)
        return combine_seeds([share.value], error**2, within_user.effective_clusters)

    def widening(self, names: Iterable[str], kind: str = LIS) -> float:
        """By how much leaving out users widens the error of a sum of comparisons, at most: the widest among them.

        1 where every ranking has many users.
        """
        factors = [1.0]
        for name in names:
            comparison, error = self.comparisons.get(name), self.jackknife.get(name, {}).get(kind)
            gain = comparison and (comparison.auc if kind == LIS else comparison.within_user)
            if gain and gain.standard_error and error is not None:
                factors.append(error / gain.standard_error)
        return max(factors)


def with_few_users(comparisons: Mapping[str, Comparison]) -> list[Comparison]:
    """Those in which a ranking has so few users that their errors are made by leaving out users."""
    return [one for one in comparisons.values() if one.smallest_fold_users < FEW_USERS]


def fill_row(row: ResultRow, pool: Pool, found: Found) -> None:
    """Writes the figures of a pool into its row; no interval where too few users or rows of a class stand behind it."""
    comparison, known_sigma = found.comparisons[pool.name], found.known_sigma if row.protocol in TRAINED else {}
    _fill_counts(row, pool, comparison)
    lis = found.estimate(pool, lambda one: one.auc, LIS, known_sigma.get(LIS))
    if lis is None or is_too_few(comparison.users, row.positives or 0, row.negatives or 0):
        row.lis, lis = comparison.lis, None
    else:
        row.lis, row.standard_error, row.sigma_seed = lis.value, lis.standard_error, lis.sigma_seed
        row.degrees_of_freedom, row.seed_degrees_of_freedom = lis.degrees_of_freedom, lis.seed_degrees
        row.cluster_standard_error = found.cluster_error(pool, comparison.auc, LIS)
        row.ci_low, row.ci_high = lis.interval()
    for name, (of, kind, error) in _gains(pool).items():
        sigma = known_sigma.get(WITHIN_USER) if error == WITHIN_USER else None
        estimate, own = found.estimate(of, kind, error, sigma), found.comparisons.get(of.name)
        gain = kind(own) if own else None
        if estimate is None or gain is None:
            continue
        if lis is None or gain.clusters < FEWEST_USERS:
            setattr(row, name, estimate.value)
            continue
        row.fill(name, estimate)
        if error == WITHIN_USER:
            row.fill("within_pair_share", found.pair_share(of))
            row.lis_within_user_cluster_standard_error = found.cluster_error(of, gain, error)
            row.lis_within_user_degrees_of_freedom = estimate.degrees_of_freedom


def _fill_counts(row: ResultRow, pool: Pool, comparison: Comparison) -> None:
    seeds = len(pool.seeds)
    row.training_seeds, row.evaluated_dates = seeds, pool.dates
    # the same impressions stand there once for each training seed
    row.positives, row.negatives = comparison.positives // seeds, comparison.negatives // seeds
    row.users = comparison.users
    if seeds == 1:
        row.u2_control, row.u2_leaked = str(comparison.u2_control), str(comparison.u2_leaked)
    row.auc_control, row.auc_leaked = comparison.auc.control, comparison.auc.leaked
    row.gauc_coverage, row.within_pair_share = comparison.gauc_coverage, comparison.within_pair_share.value
    if comparison.gauc:
        row.gauc_control, row.gauc_leaked = comparison.gauc.control, comparison.gauc.leaked
    if comparison.within_user:
        row.within_user_control = comparison.within_user.control
        row.within_user_leaked = comparison.within_user.leaked
        row.within_user_users = comparison.within_user.clusters
        row.within_user_effective_users = comparison.within_user.effective_clusters
    for name in ("log_loss_control", "log_loss_leaked", "pcoc_control", "pcoc_leaked"):
        setattr(row, name, getattr(comparison, name))


def _gains(pool: Pool) -> dict[str, tuple[Pool, Callable[[Comparison], Gain | None], str]]:
    """Column -> the comparison that it is of, which of its gains it is, and the name of its errors (may be empty).

    User part, item part, and the order within requests are those of users with several impressions.
    """
    return {
        "lis_gauc": (pool, lambda one: one.gauc, ""),
        "lis_within_user": (pool, lambda one: one.within_user, WITHIN_USER),
        **{f"lis_{part}": (pool.part(part), lambda one: one.auc, LIS) for part in (USER_PART, ITEM_PART)},
        "lis_within_request": (pool.part(SEVERAL_ROWS), lambda one: one.within_request, ""),
    }


def fill_several_rows(row: ResultRow, pool: Pool, comparisons: Mapping[str, Comparison]) -> None:
    """Writes the LIS over users with several impressions, and their share of all impressions."""
    several, everything = comparisons.get(pool.part(SEVERAL_ROWS).name), comparisons[pool.name]
    if several is None:
        return
    row.lis_several_rows = several.lis
    rows = everything.positives + everything.negatives
    row.several_rows_share = (several.positives + several.negatives) / rows
    if several.within_request is not None:
        row.request_pair_share = several.request_pair_share * several.pairs / everything.pairs
