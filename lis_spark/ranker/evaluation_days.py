"""The days of one evaluation of protocol ``append`` on one rank: read once for all arms, as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence

from lis_spark.ranker.arm_vectors import VectorReader, numbers_of
from lis_spark.ranker.day_reader import DayReader, DayRows, check_count
from lis_spark.ranker.plans import AppendEvaluationSpec, AppendPlan, DaySpec, PortSpec
from lis_spark.ranker.processes import Rank


class EvaluationDays:
    """This rank's share of the days that the arms of an evaluation are trained and scored on.

    Every arm goes through the days in the same order, so those that came first are kept: what does not fit beside them
    is read again by every arm, and no day pushes another out before it is needed again.

    Args:
        plan: the ranker, and how much is kept.
        evaluation: whose arms read the days.
        rank: whose share it is.
    """

    def __init__(self, plan: AppendPlan, evaluation: AppendEvaluationSpec, rank: Rank) -> None:
        self.evaluation, self.rank = evaluation, rank
        self.numbers = numbers_of([arm.port for arm in evaluation.arms])
        self.limit = plan.launch.cache_megabytes * 1_000_000
        self.kept: dict[DaySpec, DayRows] = {}
        self.readers = {
            with_ids: DayReader(
                plan.ranker,
                rank.place,
                rank.group_size,
                0,
                with_ids,
                measurement=True,
                numbers=self.numbers,
            )
            for with_ids in (False, True)
        }

    def rows(self, day: DaySpec) -> DayRows:
        """The rows of a day, with ids where it is the scored one.

        Raises:
            StepFailed: rows were lost or doubled.
        """
        rows = self.kept.get(day)
        if rows is None:
            rows = self.readers[day == self.evaluation.day].load(day)
            if sum(other.nbytes() for other in self.kept.values()) + rows.nbytes() <= self.limit:
                self.kept[day] = rows
        check_count(day, sum(int(count) for count in self.rank.gathered(len(rows))))  # type: ignore[call-overload]
        return rows

    def vectors(self, ports: Sequence[PortSpec | None]) -> VectorReader:
        """What reads the vectors of some of the arms."""
        return VectorReader(ports, self.numbers, self.rank)
