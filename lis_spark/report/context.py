"""What the report says beside the measurements: the data, its versions, the settings, how to run it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lis_spark.power.answer import Plan
from lis_spark.report.ladder_table import LadderView
from lis_spark.report.outcome_table import OutcomeView
from lis_spark.report.representation_table import Represented


@dataclass(frozen=True)
class Unavailable:
    """A measurement that the method asks for and the data does not allow (method 1.6: listed with its reason).

    Attributes:
        what: the measurement in words, for instance ``backward``.
        reason: why it cannot be had.
        evaluated_date: T as ISO text, where it concerns one date.
        horizon_days: n, where it concerns one horizon (negative for backward snapshots).
    """

    what: str
    reason: str
    evaluated_date: str | None = None
    horizon_days: int | None = None


@dataclass(frozen=True)
class ReportContext:
    """Everything of a run that is not a row of lis_results.

    Attributes:
        run_name: the configuration's name.
        source: the data in words, for instance ``KuaiRand-Pure, 222,869 impressions``.
        content: what the titles and images of a simulated world tell, in words.
        licence: licence and attribution line of the data.
        config_yaml: the configuration as YAML text, printed as it is.
        rerun_commands: shell commands that make this report again.
        days: ISO dates of the data that was read.
        model: setting -> value, the ranker and its training in a few lines.
        timings: step -> seconds.
        read_by: step -> table or source -> version that it read when it last looked.
        slots: permutation importance, dicts with ``feature``, ``auc_drop``, ``ci_low``, ``ci_high``.
        leaks: rows of ``leak_comparison``, in reading order.
        representations: what encoders are worth, in reading order.
        outcomes: LIS against AIS, where several leaks have an encoder.
        ladders: how much of what the future would give an encoder gives, and where the rest is.
        plan: what ``lis-spark plan`` said of this configuration, as JSON data; None where it was not asked.
        unavailable: what could not be measured.
        warnings: what a reader must know before the figures.
        decision_threshold: absolute AUC gain that counts (paper: 0.0010).
        shuffled_tolerance: what a table without information may gain (method 1.6).
    """

    run_name: str
    source: str
    content: str = ""
    licence: str = ""
    config_yaml: str = ""
    rerun_commands: Sequence[str] = ()
    days: Sequence[str] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    read_by: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict)
    slots: Sequence[Mapping[str, Any]] = ()
    leaks: Sequence[Mapping[str, Any]] = ()
    representations: Sequence[Represented] = ()
    outcomes: OutcomeView | None = None
    ladders: Sequence[LadderView] = ()
    plan: Plan | None = None
    unavailable: Sequence[Unavailable] = ()
    warnings: Sequence[str] = ()
    decision_threshold: float = 0.0010
    shuffled_tolerance: float = 0.0005
