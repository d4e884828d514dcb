"""``lis-spark replay``: days without an experiment divided at random many times, so that whatever is found is false.

Users are divided in halves, by the hash of the assignment and another salt each time. If p is not uniform over them,
the read-out's statistics do not hold for these metrics: heavy tails, or few users. That users depend on each other, a
replay cannot see: divided one by one, their p is uniform all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from scipy.stats import kstest

from lis_spark.config import ReadOutConfig
from lis_spark.errors import ConfigError, InputError
from lis_spark.experiment.assigned import Assigned
from lis_spark.experiment.assignment import buckets_of, user_key
from lis_spark.experiment.effects import detectable_lift, effect_of
from lis_spark.experiment.moments import Moments, Quantity
from lis_spark.experiment.read_out import outcome_table, quantities
from lis_spark.experiment.user_days import everybody, totals_of_users, user_columns
from lis_spark.lake import Lake
from lis_spark.progress import described

UNIFORM_ABOVE = 0.01
_USERS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Replay:
    """Of one metric: ``p_values`` [salts], and what an experiment of as many days would see.

    ``users`` that were there; ``variation`` and ``plain_variation``: coefficients of variation over them, with the
    covariate and without; ``arms``: users of the smallest arm and of the control, in the planned shares.
    """

    metric: str
    p_values: npt.NDArray[np.float64]
    users: int
    variation: float
    plain_variation: float
    arms: tuple[float, float]

    @property
    def detectable_lift(self) -> float:
        """The smallest lift that the planned shares of these users find with 80 % power."""
        return detectable_lift(self.variation * math.sqrt(sum(1.0 / users for users in self.arms)))

    @property
    def uniform_p(self) -> float:
        """Of Kolmogorov and Smirnov: below .01, the read-out's p cannot be believed."""
        return float(kstest(self.p_values, "uniform").pvalue)

    @property
    def false_findings(self) -> float:
        """Share of divisions that would have been called an effect."""
        return float((self.p_values < 0.05).mean())


def run(spark: SparkSession, config: ReadOutConfig) -> list[Replay]:
    """p of every metric under every division of the users that were there.

    Raises:
        ConfigError: no days are named.
        InputError: the outcomes cannot be used as they are, or fewer than four users were there.
    """
    replayed = config.experiment.replay
    if replayed is None:
        raise ConfigError(
            "which days are to be replayed?",
            expected="experiment: {replay: {start_date: ..., end_date: ...}}",
            remedy="give the days in the configuration, or on the command line",
        )
    # every user enters on the first day, and all are in one arm until they are divided
    experiment = config.experiment.model_copy(
        update={"start_date": replayed.start_date, "end_date": replayed.end_date, "enrolled_until": None}
    )
    names, salts = user_columns(experiment), [f"replay/{number}" for number in range(replayed.salts)]
    table = outcome_table(Lake(spark, config, step="replay"), experiment)
    with described(spark, f"replay: {len(salts):,} divisions of the users of {experiment.name}"):
        users = everybody(spark, experiment, table)
        totals, scales = totals_of_users(spark, experiment, Assigned(users, ("everybody",), {}, 0), table)
        keyed = totals.withColumn("key", user_key("user_id")).repartition("key").sortWithinPartitions("key")
        scaled = [(F.col(name) / scale).cast("double").alias(name) for name, scale in zip(names, scales, strict=True)]
        sums = keyed.select("key", *scaled).mapInArrow(
            _divided(salts, len(names)), "part int, division int, sums array<double>"
        )
        rows = sums.collect()
    total, treated = _added(rows, len(salts))
    if total[0] < 4:
        raise InputError(
            "nobody was there",
            table=table.path,
            found=f"{int(total[0])} users from {replayed.start_date} to {replayed.end_date}",
            remedy="correct experiment.replay",
        )
    pooled = _moments(names, total)
    arms = [(_moments(names, total - own), _moments(names, own)) for own in treated]
    found = []
    for metric in experiment.metrics:
        quantity, before = quantities(metric)
        covariate = before if metric.covariate and experiment.covariate_days else None
        p_values = [effect_of(control, own, pooled, quantity, covariate).p_value for control, own in arms]
        planned = [pooled.users * experiment.planned_shares[arm] for arm in experiment.treatments]
        found.append(
            Replay(
                metric=metric.name,
                p_values=np.array(p_values),
                users=pooled.users,
                variation=_variation(pooled, quantity, covariate),
                plain_variation=_variation(pooled, quantity, None),
                arms=(pooled.users * experiment.planned_shares[experiment.control], min(planned)),
            )
        )
    return found


def _variation(pooled: Moments, quantity: Quantity, before: Quantity | None) -> float:
    """Standard deviation of a user's share over the quantity, what the covariate tells taken off."""
    variance, value = pooled.variance(quantity), pooled.value(quantity)
    known = pooled.variance(before) if before is not None else 0.0
    if before is not None and known > 0:
        variance -= pooled.covariance(quantity, before) ** 2 / known
    return math.sqrt(max(variance, 0.0)) / value if value > 0 else math.inf


def _divided(salts: Sequence[str], columns: int) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Sums of 1, of the columns and of their products, over the half of the users that each salt draws.

    Division 0 is everybody. Rows come in one order, so that the sums are the same each time.
    """
    left, right = np.triu_indices(columns)

    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        part = context.partitionId() if context else 0
        total = np.zeros((len(salts) + 1, 1 + columns + len(left)))
        for batch in batches:
            keys = batch.column(0).to_numpy()
            for start in range(0, len(keys), _USERS_AT_ONCE):
                chosen = slice(start, start + _USERS_AT_ONCE)
                values = np.stack([batch.column(1 + place).to_numpy()[chosen] for place in range(columns)], axis=1)
                ones = np.ones((len(values), 1))
                products = np.concatenate([ones, values, values[:, left] * values[:, right]], axis=1)
                halves = np.stack([buckets_of(salt, keys[chosen], 2) for salt in salts]).astype(np.float64)
                total += np.concatenate([ones.T, halves]) @ products
        if total[0, 0]:
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array([part] * len(total), pa.int32()),
                    pa.array(range(len(total)), pa.int32()),
                    pa.array(list(total), pa.list_(pa.float64())),
                ],
                names=["part", "division", "sums"],
            )

    return sums


def _added(rows: Sequence, salts: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(sums of everybody, [salts, sums] of each half), added in the order of the partitions."""
    size = len(rows[0]["sums"]) if rows else 1
    total = np.zeros((salts + 1, size))
    for row in sorted(rows, key=lambda row: (row["part"], row["division"])):
        total[row["division"]] += np.array(row["sums"])
    return total[0], total[1:]


def _moments(names: tuple[str, ...], sums: npt.NDArray[np.float64]) -> Moments:
    users, size = float(sums[0]), len(names)
    means = sums[1 : 1 + size] / users
    products = np.zeros((size, size))
    products[np.triu_indices(size)] = sums[1 + size :]
    products = products + np.triu(products, 1).T
    return Moments(names, round(users), means, (products - users * np.outer(means, means)) / (users - 1.0))
