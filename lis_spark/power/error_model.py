"""Expected standard errors of a LIS and of its part within users, for any number of users, days and seeds (2.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import ndtri

from lis_spark.inference.seeds import KNOWN_DEGREES, satterthwaite
from lis_spark.inference.students_t import critical_value
from lis_spark.lis.results.decision import FEWEST_USERS, POWER, is_too_few
from lis_spark.metrics.spread import ErrorWeights, Spread
from lis_spark.power.sizes import EvaluatedSizes, SampleSize


@dataclass(frozen=True, kw_only=True)
class ExpectedError:
    """A standard error in AUC, and its degrees of freedom."""

    value: float
    degrees_of_freedom: float

    @property
    def half_interval(self) -> float:
        """Half of the 95 % interval by Student's t."""
        return critical_value(self.degrees_of_freedom, 0.05) * self.value


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Of the LIS, and of its part within users; None where there are too few users or impressions for one."""

    lis: ExpectedError | None
    within_user: ExpectedError | None


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """What trainings add to a squared error, in squared AUC: ``fixed`` + ``by_seed`` / R.

    ``fixed`` is of a leak that is compared with its own vectors in the wrong order: it is one order itself, whatever R.
    """

    fixed: float = 0.0
    by_seed: float = 0.0

    def variance(self, seeds: int) -> float:
        """Of the mean over so many training seeds."""
        return self.fixed + self.by_seed / seeds

    def seeds_for(self, error: float) -> int | None:
        """The fewest training seeds that leave half of a squared error to users; None where none do."""
        left = error**2 / 2 - self.fixed
        return max(1, math.ceil(self.by_seed / left)) if left > 0 else None


@dataclass(frozen=True, kw_only=True)
class ScoreModel:
    """What one figure of one score scatters by: over users, and over training seeds."""

    spread: Spread
    seeds: SeedSpread = SeedSpread()

    def factor_for(self, weights: ErrorWeights, seeds: int, error: float) -> float | None:
        """How many times as many users give a standard error; None where no number does: seeds scatter too much.

        Args:
            weights: of the users that there are.
            seeds: training seeds.
            error: the standard error that is wanted, in AUC.
        """
        left = error**2 - self.seeds.variance(seeds)
        of_users = self.spread.error(weights) ** 2
        return of_users / left if left > 0 and of_users > 0 else None

    def dates_for(self, on_one_date: ErrorWeights, on_two: ErrorWeights, seeds: int, error: float) -> int | None:
        """How many dates give a standard error; None where no number does.

        Users who return are the same users: what they share falls with no number of dates.

        Args:
            on_one_date: weights of one date like those that there are.
            on_two: of two of them.
            seeds: training seeds.
            error: the standard error that is wanted, in AUC.
        """
        one, two = (self.spread.error(weights) ** 2 for weights in (on_one_date, on_two))
        slope = 2 * (one - two)  # the squared error over users is constant + slope / dates
        left = error**2 - self.seeds.variance(seeds) - (one - slope)
        return max(1, math.ceil(slope / left)) if left > 0 and slope > 0 else None

    def expected(self, weights: ErrorWeights, clusters: float, seeds: int, factor: float) -> ExpectedError:
        """The error of so many times the users.

        Args:
            weights: of the users that there are.
            clusters: how many they are, or effective users where they weigh unequally.
            seeds: training seeds.
            factor: how many times as many users of the same kind.
        """
        of_users, of_seeds = self.spread.error(weights) ** 2 / factor, self.seeds.variance(seeds)
        known = max(clusters * factor - 1, 1.0)
        if not of_users + of_seeds:
            return ExpectedError(value=0.0, degrees_of_freedom=known)
        degrees = satterthwaite((of_users, of_seeds), (known, seeds - 1.0 if seeds > 1 else KNOWN_DEGREES))
        return ExpectedError(value=math.sqrt(of_users + of_seeds), degrees_of_freedom=degrees)


@dataclass(frozen=True, kw_only=True)
class ErrorModel:
    """What one score of one data set scatters by; ``basis`` says where that is from.

    ``within_user`` is None where a run has had too few users with impressions of both classes to know.
    """

    basis: str
    lis: ScoreModel
    within_user: ScoreModel | None

    def errors(self, size: SampleSize, seeds: int, *, factor: float = 1.0) -> Errors:
        """The expected standard errors.

        Args:
            size: of what is evaluated.
            seeds: training seeds, R.
            factor: how many times as many users of the same kind; below 1 for a share of them.
        """
        scaled = size.scaled(factor)
        if is_too_few(scaled.users, scaled.positives, scaled.negatives):
            return Errors(lis=None, within_user=None)
        within = None
        if self.within_user is not None and scaled.users_of_both >= FEWEST_USERS:
            effective = 1 / size.within_user.users  # (sum of pairs)^2 / sum of squared pairs of a user
            within = self.within_user.expected(size.within_user, effective, seeds, factor)
        return Errors(lis=self.lis.expected(size.lis, size.users, seeds, factor), within_user=within)

    def figure(self, size: SampleSize, *, within_user: bool) -> tuple[ScoreModel | None, ErrorWeights]:
        """One of the two figures, and what the users weigh in it."""
        return (self.within_user, size.within_user) if within_user else (self.lis, size.lis)

    def with_sigma(self, lis: float, within_user: float) -> ErrorModel:
        """The same with standard deviations over training seeds that an earlier run has measured, in AUC."""
        within = self.within_user
        return replace(
            self,
            lis=replace(self.lis, seeds=SeedSpread(by_seed=lis**2)),
            within_user=within and replace(within, seeds=SeedSpread(by_seed=within_user**2)),
        )


def dates_for(model: ErrorModel, sizes: EvaluatedSizes, seeds: int, error: float, *, within_user: bool) -> int | None:
    """How many dates like those that there are give a standard error; see :meth:`ScoreModel.dates_for`."""
    figure, on_one = model.figure(sizes.on_dates(1), within_user=within_user)
    _, on_two = model.figure(sizes.on_dates(2), within_user=within_user)
    return figure.dates_for(on_one, on_two, seeds, error) if figure else None


def error_bounds(models: Sequence[ErrorModel], size: SampleSize, seeds: int, factor: float) -> tuple[Errors, Errors]:
    """The smallest and the largest errors that models expect; see :meth:`ErrorModel.errors`."""
    found = [model.errors(size, seeds, factor=factor) for model in models]

    def ends(values: Sequence[ExpectedError | None]) -> tuple[ExpectedError | None, ExpectedError | None]:
        known = sorted((value for value in values if value is not None), key=lambda one: one.half_interval)
        return (known[0], known[-1]) if known else (None, None)

    lis, within = ends([one.lis for one in found]), ends([one.within_user for one in found])
    return Errors(lis=lis[0], within_user=within[0]), Errors(lis=lis[1], within_user=within[1])


def resolving_error(threshold: float) -> float:
    """The standard error with which a gain of the threshold has its 95 % interval above 0 with a power of 80 %."""
    return threshold / float(ndtri(0.975) + ndtri(POWER))
