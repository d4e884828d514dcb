"""Expected standard errors of a LIS and of its part within users, for any number of users, days and seeds (2.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import ndtri

from lis_spark.inference.students_t import critical_value
from lis_spark.lis.results.decision import FEWEST_USERS, POWER, is_too_few
from lis_spark.metrics.spread import Spread
from lis_spark.power.sizes import EvaluatedSizes, SampleSize


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Standard errors in AUC; None where there are too few users or impressions for one."""

    lis: float | None
    within_user: float | None


@dataclass(frozen=True, kw_only=True)
class ErrorModel:
    """What one score of one data set scatters by.

    ``basis`` says where it is from. ``sigma_seed`` and ``sigma_seed_within`` are standard deviations over training
    seeds, in AUC; 0 where nobody has measured them.
    """

    basis: str
    lis: Spread
    within_user: Spread
    sigma_seed: float = 0.0
    sigma_seed_within: float = 0.0

    def errors(self, size: SampleSize, seeds: int, *, factor: float = 1.0) -> Errors:
        """The expected standard errors.

        Args:
            size: of what is evaluated.
            seeds: training seeds, R; what they scatter by is divided by R.
            factor: how many times as many users of the same kind; below 1 for a share of them.
        """
        if is_below_floor(size, factor):
            return Errors(lis=None, within_user=None)
        has_within = size.has_pairs_of_users and size.users_of_both * factor >= FEWEST_USERS
        lis, within = (self._parts(size, seeds, within_user=within_user) for within_user in (False, True))
        return Errors(
            lis=math.sqrt(lis[0] / factor + lis[1]),
            within_user=math.sqrt(within[0] / factor + within[1]) if has_within else None,
        )

    def without_seeds(self) -> ErrorModel:
        """The same, of users alone."""
        return replace(self, sigma_seed=0.0, sigma_seed_within=0.0)

    def _parts(self, size: SampleSize, seeds: int, *, within_user: bool) -> tuple[float, float]:
        """Squared errors, over users and over training seeds."""
        if within_user:
            return self.within_user.error(size.within_user) ** 2, self.sigma_seed_within**2 / seeds
        return self.lis.error(size.lis) ** 2, self.sigma_seed**2 / seeds

    def factor_for(self, size: SampleSize, seeds: int, error: float, *, within_user: bool) -> float | None:
        """How many times as many users give a standard error; None where no number does: seeds scatter too much.

        Args:
            size: of what there is.
            seeds: training seeds.
            error: the standard error that is wanted, in AUC.
            within_user: whether it is that of the part within users.
        """
        of_users, of_seeds = self._parts(size, seeds, within_user=within_user)
        left = error**2 - of_seeds
        return of_users / left if left > 0 and of_users > 0 else None

    def dates_for(self, sizes: EvaluatedSizes, seeds: int, error: float, *, within_user: bool) -> int | None:
        """How many dates like those that there are give a standard error; None where no number does.

        Users who return are the same users: what they share falls with no number of dates.

        Args:
            sizes: of the dates that there are.
            seeds: training seeds.
            error: the standard error that is wanted, in AUC.
            within_user: whether it is that of the part within users.
        """
        one, of_seeds = self._parts(sizes.on_dates(1), seeds, within_user=within_user)
        two, _ = self._parts(sizes.on_dates(2), seeds, within_user=within_user)
        # the squared error over users is constant + slope / dates
        slope = 2 * (one - two)
        left = error**2 - of_seeds - (one - slope)
        return max(1, math.ceil(slope / left)) if left > 0 and slope > 0 else None

    def seeds_for(self, error: float, *, within_user: bool) -> int:
        """The fewest training seeds that leave half of the squared error to users."""
        sigma = self.sigma_seed_within if within_user else self.sigma_seed
        return max(1, math.ceil(2 * sigma**2 / error**2))


@dataclass(frozen=True, kw_only=True)
class Range:
    """Models of several data sets, where there is no pilot: between which errors one's own are to be expected."""

    models: Sequence[ErrorModel]

    def bounds(self, size: SampleSize, seeds: int, *, factor: float = 1.0) -> tuple[Errors, Errors]:
        """The smallest and the largest expected errors; see :meth:`ErrorModel.errors`."""
        found = [model.errors(size, seeds, factor=factor) for model in self.models]

        def ends(name: str) -> tuple[float | None, float | None]:
            values = [value for value in (getattr(one, name) for one in found) if value is not None]
            return (min(values), max(values)) if values else (None, None)

        low, high = zip(ends("lis"), ends("within_user"), strict=True)
        return Errors(lis=low[0], within_user=low[1]), Errors(lis=high[0], within_user=high[1])


def is_below_floor(size: SampleSize, factor: float = 1.0) -> bool:
    """Whether so many times as many users would still be too few for an interval."""
    counts = (size.users, size.positives, size.negatives)
    return is_too_few(*[math.floor(count * factor) for count in counts])


def half_interval(error: float, clusters: int) -> float:
    """Half of the expected 95 % interval by Student's t, in the unit of the error."""
    return critical_value(max(clusters - 1, 1), 0.05) * error


def resolving_error(threshold: float) -> float:
    """The standard error with which a gain of the threshold has its 95 % interval above 0 with a power of 80 %."""
    return threshold / float(ndtri(0.975) + ndtri(POWER))
