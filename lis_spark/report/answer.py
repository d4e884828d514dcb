"""The answer in one sentence, from the honest rows alone, with its interval and its control (method 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lis_spark.report.context import ReportContext
from lis_spark.report.format import MISSING, interval, percent, plain, signed, with_interval
from lis_spark.report.measurements import Row, Subject, may_contain_own_labels, split_subjects

# Verdict of the rows whose training noise drowns the threshold (method 1.7).
UNUSABLE = "threshold not usable"
OWN_SCORES_LABEL = "naive: may contain the evaluated labels"


@dataclass(frozen=True)
class Answer:
    """A sentence with one emphasised part.

    Attributes:
        kind: useful, harmful, negligible, not measurable, not shown, conflicting, no decision, unavailable, or naive
            (scores of one's own).
    """

    kind: str
    before: str
    emphasis: str
    after: str

    def __str__(self) -> str:
        return f"{self.before}{self.emphasis}{self.after}"


@dataclass(frozen=True)
class Figure:
    """A mean over dates. ``low`` and ``high`` are means of the bounds: users return on other days, and the mean of
    the bounds is an interval that holds whatever the correlation between the days.
    """

    value: float | None
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The figure with its interval."""
        return with_interval(self.value, self.low, self.high)


def mean_over_dates(rows: Sequence[Row], value: str = "lis", bounds: str = "ci") -> Figure:
    """The mean of one column and of its interval's bounds; None where a date lacks it."""

    def mean(key: str) -> float | None:
        found = [row.get(key) for row in rows]
        return sum(found) / len(found) if found and None not in found else None  # type: ignore[arg-type]

    return Figure(mean(value), mean(f"{bounds}_low"), mean(f"{bounds}_high"))


def own_label_range(rows: Sequence[Row]) -> str:
    """The own-label share over the dates, ``74 to 80 %``; a dash where the data does not give it on every date."""
    shares = [row.get("own_label_share") for row in rows]
    known = sorted(share for share in shares if share is not None)
    if not known or len(known) < len(shares):
        return MISSING
    low, high = percent(known[0]), percent(known[-1])
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def sigma_seed(rows: Sequence[Row]) -> float | None:
    """The largest standard deviation over training seeds, or None with one seed."""
    return max((row["sigma_seed"] for row in rows if row.get("sigma_seed") is not None), default=None)


def answers_of(rows: Sequence[Row], context: ReportContext) -> list[Answer]:
    """One answer a subject, and one for scores of one's own.

    Args:
        rows: cleaned rows of lis_results.
        context: thresholds, and what could not be measured.
    """
    answers = [subject_answer(subject, context) for subject in split_subjects(rows)]
    scores = [row for row in rows if row.get("protocol") == "scores" and (row.get("stratum") or "all") == "all"]
    if scores:
        answers.append(scores_answer(sorted(scores, key=lambda row: row.get("evaluated_date") or ""), context))
    return answers


def subject_answer(subject: Subject, context: ReportContext) -> Answer:
    """The decision about one leak, from its honest rows at the headline horizon."""
    honest = subject.headline("honest")
    name = subject.name
    days = _days(subject.headline_horizon)
    if not subject.horizons:
        return _baseline(subject)
    if not honest:
        return _unavailable(subject, context)
    gain = mean_over_dates(honest)
    assert gain.value is not None
    beside = _beside(subject)
    noise = sigma_seed(honest)
    threshold = plain(context.decision_threshold)
    verdicts = [str(row.get("verdict") or "unavailable") for row in honest]
    if noise is not None and (noise > context.sigma_seed_limit or UNUSABLE in verdicts):
        return Answer(
            "no decision",
            "There is ",
            "no decision",
            f" about the {name}: from one training seed to another the honest LIS with {days} of future moves by "
            f"{plain(noise)} (sigma_seed, above {plain(context.sigma_seed_limit)}), so the threshold of {threshold} "
            f"is not usable; the mean over seeds is {gain.text}{beside}.",
        )
    where = _on_dates(honest)
    if set(verdicts) == {"useful"}:
        return Answer(
            "useful",
            f"The {name} is ",
            "useful",
            f" preference data: with {days} of future the ranker gains {signed(gain.value)} AUC honestly "
            f"(95 % CI {interval(gain.low, gain.high)}; {threshold} counts) {where}{beside}.",
        )
    if set(verdicts) == {"harmful"}:
        return Answer(
            "harmful",
            f"The {name} is ",
            "harmful",
            f" as preference data: with {days} of future the honest score of the ranker changes by "
            f"{signed(gain.value)} AUC (95 % CI {interval(gain.low, gain.high)}) {where}{beside}.",
        )
    if set(verdicts) == {"negligible"}:
        return Answer(
            "negligible",
            f"The {name} is ",
            "negligible",
            f" as preference data: with {days} of future the honest LIS is {gain.text} {where}, and its 90 % CI lies "
            f"inside +-{threshold} (two one-sided tests){beside}.",
        )
    if set(verdicts) == {"not measurable"}:
        return Answer(
            "not measurable",
            f"The {name} is ",
            "not measurable",
            f" here: only {percent(min(row.get('coverage') or 0.0 for row in honest))} of the impressions have it; "
            f"with {days} of future the honest LIS is {gain.text} {where}{beside}.",
        )
    if set(verdicts) <= {"not shown", "unavailable"}:
        return Answer(
            "not shown",
            "It is ",
            "not shown",
            f" that the {name} is useful preference data: with {days} of future the honest LIS is {gain.text} "
            f"{where}, and {_why_not(honest, context)}{beside}.",
        )
    said = _by_date(honest)
    return Answer(
        "conflicting",
        "The evaluated dates are ",
        "conflicting",
        f" about the {name} at {days} of future: {said}{beside}.",
    )


def scores_answer(rows: Sequence[Row], context: ReportContext) -> Answer:
    """The decision about somebody's own two columns of scores, a row per evaluated date (method 1.7)."""
    verdicts = {str(row.get("verdict") or "unavailable") for row in rows}
    label = f" ({OWN_SCORES_LABEL})" if any(may_contain_own_labels(row) for row in rows) else ""
    scored = [row for row in rows if row.get("lis") is not None]
    if len(verdicts) > 1 or not scored:
        said = _by_date(rows)
        return Answer(
            "conflicting", "The evaluated dates are ", "conflicting", f" about the leaked scores{label}: {said}."
        )
    verdict = verdicts.pop()
    emphasis = {"useful": "useful", "harmful": "harmful", "not shown": "not shown to be useful"}.get(
        verdict, "not judged"
    )
    day = scored[0].get("evaluated_date")
    where = (
        f", on average over {len(scored)} dates, {_signs(scored)}" if len(scored) > 1 else f" on {day}" if day else ""
    )
    return Answer(
        "naive" if label else verdict,
        "Taken naively, the leaked scores are " if label else "The leaked scores are ",
        emphasis,
        f"{label}: against the control scores the LIS is {mean_over_dates(scored).text}{where}; "
        f"{plain(context.decision_threshold)} counts.",
    )


def _by_date(rows: Sequence[Row]) -> str:
    return "; ".join(
        f"{row.get('evaluated_date')} says {row.get('verdict') or 'unavailable'}, "
        f"{with_interval(row.get('lis'), row.get('ci_low'), row.get('ci_high'))}"
        for row in rows
    )


def _days(horizon_days: int | None) -> str:
    return "1 day" if horizon_days == 1 else f"{horizon_days} days"


def _on_dates(rows: Sequence[Row]) -> str:
    if len(rows) == 1:
        return f"on {rows[0]['evaluated_date']}, the only evaluated date"
    return f"on average over {len(rows)} dates, {_signs(rows)}"


def _signs(rows: Sequence[Row]) -> str:
    above = sum(row["lis"] > 0 for row in rows)
    if above == len(rows):
        return "above 0 on every one"
    return "below 0 on every one" if all(row["lis"] < 0 for row in rows) else f"above 0 on {above} of them"


def _why_not(rows: Sequence[Row], context: ReportContext) -> str:
    reasons = []
    if any(row["lis"] < context.decision_threshold for row in rows):
        below = sum(row["lis"] < context.decision_threshold for row in rows)
        dates = "" if len(rows) == 1 else f" on {below} of {len(rows)} dates"
        reasons.append(f"it is below the {plain(context.decision_threshold)} that counts{dates}")
    if any(row.get("ci_low") is not None and row["ci_low"] <= 0 for row in rows):
        reasons.append("its interval reaches 0")
    return " and ".join(reasons) or "no honest verdict came with it"


def _beside(subject: Subject) -> str:
    """The control and the own-label share, so that no number comes alone."""
    parts = []
    shuffled = mean_over_dates(subject.headline("label_shuffled"))
    if shuffled.value is not None:
        parts.append(f"shuffled labels give {shuffled.text}")
    share = own_label_range(subject.headline("honest"))
    if share != MISSING:
        parts.append(f"{share} of the matched naive gain is memorised own labels")
    return "; " + ", and ".join(parts) if parts else ""


def _baseline(subject: Subject) -> Answer:
    """Of a run that asked for no day of the future."""
    rows = [row for row in map(subject.baseline, subject.dates) if row is not None]
    auc = sum(row["auc_control"] for row in rows) / len(rows) if rows else None
    dates = f"on {rows[0]['evaluated_date']}" if len(rows) == 1 else f"on average over {len(rows)} dates"
    seeds = " (mean of the training seeds)" if any(str(row.get("seed")) == "mean" for row in rows) else ""
    return Answer(
        "unavailable",
        "The ranker of day T reaches an ",
        f"AUC of {plain(auc)}",
        f" on that day {dates}{seeds}; no day of future was asked for, so there is no LIS.",
    )


def _unavailable(subject: Subject, context: ReportContext) -> Answer:
    naive = mean_over_dates(subject.headline("naive"))
    seen = f"the naive LIS, {naive.text}, may be nothing but memorised own labels" if naive.value is not None else ""
    reasons = [item.reason for item in context.unavailable if "honest" in item.what]
    tail = "; ".join([seen, *reasons] if seen else reasons) or "no honest chain was measured"
    return Answer(
        "unavailable",
        "There is ",
        "no honest score",
        f" of the {subject.name}, so nothing can be decided: {tail}.",
    )
