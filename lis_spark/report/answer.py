"""The answer in one sentence, from the honest rows alone, with its intervals and its controls (method 1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lis_spark.lis.results.decision import CONFLICTING
from lis_spark.lis.results.misleading import between_users
from lis_spark.report.context import ReportContext
from lis_spark.report.format import (
    column_with_interval,
    confidence,
    interval,
    percent,
    plain,
    share_with_interval,
    signed,
    with_interval,
)
from lis_spark.report.measurements import Row, Subject, date_text, is_over_dates, may_contain_own_labels, split_subjects
from lis_spark.report.phrases import LEAK_NOT_JUDGED, OF_LEAK, OF_SCORES, SCORES_NOT_JUDGED

OWN_SCORES_LABEL = "naive: may contain the evaluated labels"
UNAVAILABLE = "unavailable"
NAIVE_INTERVALS = "Naive intervals hold users alone, not the items that are shown."
ON_FIRST_DAY = (
    "a ranker that is trained every day lacks that day, one that is trained as events come in lacks little of it."
)
# What the controls without information are called: their tables move and know nothing.
WITHOUT_INFORMATION = {
    "label_shuffled": "shuffled labels",
    "replay": "a replay of the days before T",
    "row_shuffled": "its vectors in the wrong order",
}


@dataclass(frozen=True)
class Answer:
    """A sentence with one emphasised part, and what a reader must hear next.

    Attributes:
        kind: the verdict, unavailable, or naive (scores of one's own).
        beside: sentences on the order within users and the first day; empty where there is none.
        why: the figures that the verdict rests on; empty where there is no verdict.
    """

    kind: str
    before: str
    emphasis: str
    after: str
    beside: str = ""
    why: str = ""

    @property
    def sentence(self) -> str:
        """The first sentence."""
        return f"{self.before}{self.emphasis}{self.after}"

    def __str__(self) -> str:
        return f"{self.sentence} {self.beside}".strip()


@dataclass(frozen=True)
class Figure:
    """A score over all evaluated dates with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The figure with its interval."""
        return with_interval(self.value, self.low, self.high)


def figure(row: Row | None, name: str = "lis", bounds: str = "ci") -> Figure:
    """One column of a row with its interval; all None where there is no row."""
    if row is None:
        return Figure(None, None, None)
    return Figure(row.get(name), row.get(f"{bounds}_low"), row.get(f"{bounds}_high"))


def answers_of(rows: Sequence[Row], context: ReportContext) -> list[Answer]:
    """One answer a subject, and one for scores of one's own.

    Args:
        rows: cleaned rows of lis_results.
        context: thresholds, and what could not be measured.
    """
    answers = [subject_answer(subject, context) for subject in split_subjects(rows)]
    scores = [row for row in rows if row.get("protocol") == "scores" and (row.get("stratum") or "all") == "all"]
    if scores:
        answers.append(scores_answer(scores, context))
    return answers


def subject_answer(subject: Subject, context: ReportContext) -> Answer:
    """The decision about one leak, from its honest row at the headline horizon, all dates together."""
    if not subject.horizons:
        return _baseline(subject)
    honest = subject.headline("honest")
    if honest is None:
        return _unavailable(subject, context)
    verdict = str(honest.get("verdict"))
    phrase = OF_LEAK.get(verdict, LEAK_NOT_JUDGED).about(subject.name)
    days = "1 day" if subject.headline_horizon == 1 else f"{subject.headline_horizon} days"
    gain = figure(honest)
    folds = f", {honest['folds']} folds" if honest.get("folds") else ""
    by_date = [subject.find("honest", day, subject.headline_horizon or 0) for day in subject.dates]
    told = (
        f": with {days} of future the ranker changes by {signed(gain.value)} AUC honestly "
        f"({confidence(gain.low, gain.high)}; {plain(context.decision_threshold)} counts{folds}) "
        f"{_on_dates(honest, by_date)}{_of_first_day(honest)}{_controls(subject)}."
    )
    told_beside = [_order(honest), *_mostly(honest), *_all_data(honest), *_first_day(honest), *_parts(subject, honest)]
    beside = [*_dates(verdict, by_date), *told_beside]
    return Answer(
        kind=verdict if verdict in OF_LEAK else UNAVAILABLE,
        before=phrase.before,
        emphasis=phrase.emphasis,
        after=phrase.after + told,
        beside=" ".join(beside),
        why=str(honest.get("reason") or ""),
    )


def scores_answer(rows: Sequence[Row], context: ReportContext) -> Answer:
    """The decision about somebody's own two columns of scores, all dates together (method 1.7)."""
    label = f" ({OWN_SCORES_LABEL})" if any(may_contain_own_labels(row) for row in rows) else ""
    row = max(rows, key=lambda one: one.get("evaluated_dates") or 1)
    by_date = sorted((one for one in rows if one.get("evaluated_date")), key=date_text)
    verdict = str(row.get("verdict")).removesuffix(" (naive)")
    name = "Taken naively, the leaked scores" if label else "The leaked scores"
    phrase = OF_SCORES.get(verdict, SCORES_NOT_JUDGED).about(name)
    where = f" on {date_text(row)}" if row.get("evaluated_date") else ""
    where = f" {_on_dates(row, by_date)}" if is_over_dates(row) else where
    told = f": against the control scores the LIS is {figure(row).text}{where}"
    return Answer(
        kind="naive" if label else verdict if verdict in OF_SCORES else UNAVAILABLE,
        before=phrase.before,
        emphasis=phrase.emphasis,
        after=f"{phrase.after}{label}{told}; {plain(context.decision_threshold)} counts.",
        beside=" ".join([*_dates(verdict, by_date), _order(row), *_mostly(row), *_naive_interval(row)]),
        why=str(row.get("reason") or ""),
    )


def _order(row: Row) -> str:
    """What the gain orders for one user and within a request, and what the user and the item of a row explain."""
    if row.get("lis_within_user") is None:
        some = "too few users have" if row.get("within_user_users") else "no user has"
        return f"What it orders for one user cannot be told: {some} impressions of both classes."
    pairs, within_user = of_pairs(row, "within_pair_share"), column_with_interval(row, "lis_within_user")
    told = [f"Within users{pairs} the change is {within_user}"]
    if row.get("lis_within_request") is not None:
        pairs = of_pairs(row, "request_pair_share")
        told.append(f"within requests{pairs} {column_with_interval(row, 'lis_within_request')}")
    if row.get("lis_user_part") is not None:
        told.append(f"what the user alone explains is {column_with_interval(row, 'lis_user_part')}")
    if row.get("lis_item_part") is not None:
        told.append(f"what is left to the item {column_with_interval(row, 'lis_item_part')}")
    if row.get("lis_user_part") is not None and row.get("several_rows_share") is not None:
        told[-1] += f" (over the {percent(row['several_rows_share'])} of impressions whose user has several)"
    return f"{'; '.join(told)}."


def of_pairs(row: Mapping[str, Any], name: str) -> str:
    """Which share of the ranked pairs a figure is of, in brackets, with its interval where there is one."""
    share, low, high = (row.get(f"{name}{suffix}") for suffix in ("", "_ci_low", "_ci_high"))
    if share is None:
        return ""
    bounds = "" if low is None or high is None else f", 95 % CI {percent(low)} to {percent(high)}"
    return f" ({percent(share)} of the pairs that are ranked{bounds})"


def _mostly(row: Row) -> list[str]:
    """Names the part that most of a gain is."""
    return [f"Mostly {part}." for part in between_users(row)] if (row.get("ci_low") or 0) > 0 else []


def _naive_interval(row: Row) -> list[str]:
    return [NAIVE_INTERVALS] if may_contain_own_labels(row) else []


def _parts(subject: Subject, honest: Row) -> list[str]:
    """What the naive score is made of, each part with its interval."""
    naive = subject.headline("naive")
    if naive is None or honest.get("evaluated_labels") is None:
        return []
    told = [f"the labels that are scored give {column_with_interval(honest, 'evaluated_labels')}"]
    if honest.get("later_events") is not None:
        told.append(f"later events of the same users {column_with_interval(honest, 'later_events')}")
    told.append(f"everybody else {figure(honest).text}")
    return [f"Of the naive score, {signed(naive.get('lis'))}, {', '.join(told)}."]


def _all_data(honest: Row) -> list[str]:
    """What the score would be of a table that lacks nobody's events, where several numbers of folds were measured."""
    found = figure(honest, "lis_all_data", "lis_all_data_ci")
    if found.value is None:
        return []
    return [
        f"The honest table lacks the events of one user in {honest['folds']}; extrapolated to one that lacks nobody's, "
        f"the gain is {found.text}."
    ]


def _of_first_day(honest: Row) -> str:
    """How much of the gain is day T itself, in the sentence of the verdict."""
    if (honest.get("ci_low") or 0) <= 0:
        return ""
    if honest.get("horizon_days") == 1:
        return ", all of it from day T"
    share = honest.get("first_day_share")
    return f", {percent(share)} of it from day T" if share is not None else ""


def _first_day(honest: Row) -> list[str]:
    """The same share with its interval, and what it decides: what the gain is worth to a ranker trained daily."""
    if (honest.get("ci_low") or 0) <= 0:
        return []
    if honest.get("horizon_days") == 1:
        return [f"All of it is day T itself, seen through other users: {ON_FIRST_DAY}"]
    share = first_day_share(honest)
    if share is None:
        return ["How much of it is day T itself is not known: n = 1 was not measured."]
    return [f"Day T itself, seen through other users, is {share} of the gain: {ON_FIRST_DAY}"]


def first_day_share(row: Mapping[str, Any]) -> str | None:
    """The share of the gain that is day T itself, with its interval; None where it is not known."""
    share = row.get("first_day_share")
    if share is None:
        return None
    return share_with_interval(share, row.get("first_day_share_ci_low"), row.get("first_day_share_ci_high"))


def _controls(subject: Subject) -> str:
    """What a table costs or gains that moves without information, in the sentence of the verdict."""
    found = []
    for variant, name in WITHOUT_INFORMATION.items():
        row = subject.headline(variant)
        if row is not None:
            gain = figure(row)
            found.append(f"with {name} by {signed(gain.value)} ({interval(gain.low, gain.high)})")
    return f"; {' and '.join(found)}" if found else ""


def _dates(verdict: str, by_date: Sequence[Row | None]) -> list[str]:
    """The scores of single dates where they are what the verdict is about."""
    scored = [row for row in by_date if row is not None and row.get("lis") is not None]
    if verdict != CONFLICTING or not scored:
        return []
    return [f"By date: {', '.join(f'{date_text(row)} {figure(row).text}' for row in scored)}."]


def _on_dates(row: Row, by_date: Sequence[Row | None]) -> str:
    """Over how many dates a score is, and on how many of them it is above 0."""
    if not is_over_dates(row):
        return f"on {date_text(row)}, the only evaluated date"
    dates = row["evaluated_dates"]
    values = [one["lis"] for one in by_date if one is not None and one.get("lis") is not None]
    above = sum(value > 0 for value in values)
    if not values:
        return f"over {dates} dates"
    if above == len(values):
        return f"over {dates} dates, above 0 on each"
    none = all(value < 0 for value in values)
    return f"over {dates} dates, " + ("below 0 on each" if none else f"above 0 on {above} of them")


def _baseline(subject: Subject) -> Answer:
    """Of a run that asked for no day of the future."""
    rows = [row for row in map(subject.baseline, subject.dates) if row is not None]
    auc = sum(row["auc_control"] for row in rows) / len(rows) if rows else None
    dates = f"on {rows[0]['evaluated_date']}" if len(rows) == 1 else f"on average over {len(rows)} dates"
    seeds = " (mean of the training seeds)" if any(str(row.get("seed")) == "mean" for row in rows) else ""
    return Answer(
        UNAVAILABLE,
        "The ranker of day T reaches an ",
        f"AUC of {plain(auc)}",
        f" on that day {dates}{seeds}; no day of future was asked for, so there is no LIS.",
    )


def _unavailable(subject: Subject, context: ReportContext) -> Answer:
    horizon = subject.headline_horizon or 0
    by_date = [subject.find("honest", day, horizon) for day in subject.dates]
    scored = sum(row is not None and row.get("lis") is not None for row in by_date)
    if scored:
        return Answer(
            UNAVAILABLE,
            "There is ",
            "no honest score over all dates",
            f" of the {subject.name}, so nothing is decided: at n = {horizon} there is one on {scored} of "
            f"{len(subject.dates)} evaluated dates, and they were not taken together.",
        )
    naive = figure(subject.headline("naive"))
    seen = f"the naive LIS, {naive.text}, may be nothing but memorised own labels" if naive.value is not None else ""
    reasons = [item.reason for item in context.unavailable if "honest" in item.what]
    tail = "; ".join([seen, *reasons] if seen else reasons) or "no honest chain was measured"
    return Answer(
        UNAVAILABLE,
        "There is ",
        "no honest score",
        f" of the {subject.name}, so nothing can be decided: {tail}.",
    )
