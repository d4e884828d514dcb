"""The answer of each case: the words of the verdict, what stands beside it, and what is said where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lis_spark.lis.results.decision import VERDICTS
from lis_spark.report import ReportContext, Unavailable, print_results
from lis_spark.report.answer import answers_of
from lis_spark.report.measurements import clean
from tests.report_rows import DATES, a_leak, plausible_context, plausible_row, plausible_rows, printed, read

CONTEXT = ReportContext(run_name="run", source="rows")
SHUFFLED = "; with shuffled labels by 0.0000 (−0.0002 to +0.0002)."
TOLD = (
    ": with 7 days of future the ranker changes by +0.0024 AUC honestly (95 % CI +0.0018 to +0.0029; 0.0010 counts, "
    f"5 folds) over 3 dates, above 0 on each{SHUFFLED}"
)
# The share of day T stands in the sentence where the gain is shown.
WITH_DAY = TOLD.replace(" on each;", " on each, 34 % of it from day T;")
PAIRS = " (0.04 % of the pairs that are ranked, 95 % CI 0.03 % to 0.04 %)"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """What answers are made of: no strata, one protocol and scope."""
    place = ("swap", "both", "all")
    return [row for row in plausible_rows() if (row["protocol"], row["swap_scope"], row["stratum"]) == place]


@pytest.fixture(scope="module")
def context() -> ReportContext:
    return plausible_context()


def honest_changed(rows: list[dict[str, Any]], **by_date: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows with the honest rows of n = 7 changed; keys are dates with underscores, ``pooled``, or ``every``."""
    result = []
    for row in rows:
        if row["variant"] == "honest" and row["horizon_days"] == 7 and row["stratum"] == "all":
            name = "d" + row["evaluated_date"].replace("-", "_") if row["evaluated_date"] else "pooled"
            row = {**row, **by_date.get("every", {}), **by_date.get(name, {})}
        result.append(row)
    return result


def without_interval(*names: str) -> dict[str, None]:
    return {f"{name}_{side}": None for name in names for side in ("low", "high")}


def test_subject_answer_of_useful_data_has_interval_order_first_day_and_control(rows, context, tmp_path):
    reader = read(rows, context, tmp_path)
    # .32 x .0027 + .33 x .0024 + .35 x .0020 and 1.96 x .0003 either side.
    assert reader.headings == ["The item-ID table is useful preference data" + WITH_DAY]
    assert reader.beside == [
        f"Within users{PAIRS} the change is +0.0009 (95 % CI +0.0004 to +0.0014); what the user alone explains is "
        "+0.0014 (95 % CI +0.0010 to +0.0018); what is left to the item +0.0008 (95 % CI +0.0005 to +0.0011) (over the "
        "81 % of impressions whose user has several). "
        "Day T itself, seen through other users, is 34 % (95 % CI 24 % to 44 %) of the gain: a ranker that is trained "
        "every day lacks that day, one that is trained as events come in lacks little of it. Of the naive score, "
        "+0.0110, the labels that are scored give +0.0081 (95 % CI +0.0079 to +0.0083), later events of the same users "
        "+0.0006 (95 % CI +0.0004 to +0.0008), everybody else +0.0024 (95 % CI +0.0018 to +0.0029)."
    ]


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ("clearly useful", "The item-ID table is clearly useful preference data"),
        ("useful", "The item-ID table is useful preference data"),
        ("tells users apart", "The item-ID table tells users apart and does not order one user's items"),
        ("order not resolved", "The item-ID table gains, but what it orders is not resolved"),
        ("negligible", "The item-ID table is negligible as preference data"),
        ("harmful", "The item-ID table is harmful as preference data"),
        ("conflicting", "The evaluated dates are conflicting about the item-ID table"),
        ("not shown", "The item-ID table is not shown to be useful preference data"),
        ("not measurable", "The item-ID table is not measurable here, for too few impressions have it"),
        ("too few", "The item-ID table was measured on too few users or impressions"),
        ("one seed: not judged", "The item-ID table is not judged, for its arms were trained under one seed"),
        (None, "The item-ID table is not judged, for its score came without a verdict"),
        ("as never heard of", "The item-ID table is not judged, for its score came without a verdict"),
    ],
)
def test_subject_answer_of_each_verdict_says_it_in_one_sentence(rows, verdict, sentence, context, tmp_path):
    reader = read(honest_changed(rows, every={"verdict": verdict}), context, tmp_path)
    assert reader.headings == [sentence + WITH_DAY]
    assert len(reader.headings[0]) < 300
    kind = (verdict or "").replace(":", "").replace(" ", "-") if verdict in VERDICTS else "unavailable"
    assert ("class", f"answer {kind}") in reader.attributes
    assert sentence.count("useful") == reader.headings[0].count("useful")


def test_subject_answer_of_each_verdict_is_known():
    found = {str(answer.kind) for verdict in VERDICTS for answer in answers_with(verdict)}
    assert found == set(VERDICTS)


def answers_with(verdict: str) -> list[Any]:
    return answers_of([clean(plausible_row("honest", DATES[0], 7, 0.002, 0.0003, verdict=verdict))], CONTEXT)


def test_subject_answer_of_a_cost_says_that_it_is_below_zero(rows, context, tmp_path):
    every = {"lis": -0.0021, "ci_low": -0.0027, "ci_high": -0.0015, "verdict": "harmful", "first_day_share": None}
    reader = read(honest_changed(rows, every=every), context, tmp_path)
    assert "is harmful as preference data" in reader.headings[0]
    assert "−0.0021 AUC honestly (95 % CI −0.0027 to −0.0015; 0.0010 counts" in reader.headings[0]
    assert reader.headings[0].endswith("over 3 dates, below 0 on each" + SHUFFLED)
    assert "Day T itself" not in reader.beside[0]


def test_subject_answer_of_what_is_not_shown_says_why(rows, context, tmp_path):
    reason = "it is below the 0.0010 that counts and its interval reaches 0"
    every = {"lis": 0.0004, "ci_low": -0.0003, "ci_high": 0.0011, "verdict": "not shown", "reason": reason}
    changed = honest_changed(rows, every=every)
    reader = read(changed, context, tmp_path)
    assert reader.headings[0].startswith("The item-ID table is not shown to be useful preference data")
    assert "+0.0004 AUC honestly (95 % CI −0.0003 to +0.0011; 0.0010 counts" in reader.headings[0]
    assert f"Why this verdict: {reason}." in reader.text
    assert "Day T itself" not in reader.beside[0], "of what may be nothing there is no share"
    assert f"Why: {reason}." in " ".join(printed(lambda console: print_results(console, changed, context)).split())


def test_subject_answer_of_conflicting_dates_names_them(rows, context, tmp_path):
    low = {"lis": -0.0012, "ci_low": -0.0020, "ci_high": -0.0004, "verdict": "harmful"}
    changed = honest_changed(rows, pooled={"verdict": "conflicting"}, d2022_05_02=low)
    reader = read(changed, context, tmp_path)
    assert reader.headings[0].startswith("The evaluated dates are conflicting about the item-ID table: with 7 days")
    assert reader.headings[0].endswith("over 3 dates, above 0 on 2 of them, 34 % of it from day T" + SHUFFLED)
    assert reader.beside[0].startswith(
        "By date: 2022-04-30 +0.0027 (95 % CI +0.0021 to +0.0033), 2022-05-01 +0.0024 (95 % CI +0.0018 to +0.0030), "
        "2022-05-02 −0.0012 (95 % CI −0.0020 to −0.0004). Within users"
    )
    assert "n = 7 useful on 2, harmful on 1" in reader.text


def test_subject_answer_without_intervals_says_so(rows, context, tmp_path):
    lacking = without_interval("ci", "lis_within_user_ci", "lis_user_part_ci", "first_day_share_ci", "simultaneous")
    changed = [{**row, **lacking} for row in honest_changed(rows, every={"verdict": "too few"})]
    reader = read(changed, context, tmp_path)
    assert reader.headings[0] == (
        "The item-ID table was measured on too few users or impressions: with 7 days of future the ranker changes by "
        "+0.0024 AUC honestly (no interval; 0.0010 counts, 5 folds) over 3 dates, above 0 on each; with "
        "shuffled labels by 0.0000 (no interval)."
    )
    assert reader.beside[0] == (
        f"Within users{PAIRS} the change is +0.0009 (no interval); what the user alone explains is +0.0014 (no "
        "interval); what is left to the item +0.0008 (95 % CI +0.0005 to +0.0011) (over the 81 % of impressions whose "
        "user has several). Of the naive score, +0.0110, the "
        "labels that are scored give +0.0081 (95 % CI +0.0079 to +0.0083), later events of the same users +0.0006 (95 "
        "% CI +0.0004 to +0.0008), everybody else +0.0024 (no interval)."
    )


@pytest.mark.parametrize(
    ("users", "told"),
    [
        (0, "What it orders for one user cannot be told: no user has impressions of both classes."),
        (3, "What it orders for one user cannot be told: too few users have impressions of both classes."),
    ],
)
def test_subject_answer_without_an_order_says_what_is_missing(rows, users, told, context, tmp_path):
    every = {"lis_within_user": None, "within_user_users": users, "lis_user_part": None}
    every |= without_interval("lis_within_user_ci", "lis_user_part_ci")
    reader = read(honest_changed(rows, every=every), context, tmp_path)
    assert reader.beside[0].startswith(told)
    assert told.partition(": ")[2].partition(" impressions of ")[0] in reader.text


def test_subject_answer_names_both_tables_that_move_without_information(rows, context, tmp_path):
    replays = [plausible_row("replay", day, 7, -0.0003, 0.0001) for day in (*DATES, None)]
    reader = read([*rows, *replays], context, tmp_path)
    assert reader.headings[0].endswith(
        "; with shuffled labels by 0.0000 (−0.0002 to +0.0002) and with a replay of the days before T by −0.0003 "
        "(−0.0005 to −0.0001)."
    )
    assert "A replay of the days before T" in reader.text


def test_without_honest_rows_nothing_is_decided(rows, context, tmp_path):
    naive_only = [row for row in rows if row["variant"] != "honest"]
    reader = read(naive_only, context, tmp_path)
    assert reader.headings[0].startswith("There is no honest score of the item-ID table, so nothing can be decided")
    assert "may be nothing but memorised own labels" in reader.headings[0]
    absent = Unavailable("honest", "nobody was given a fold", "2022-04-30", 7)
    said = read(naive_only, ReportContext(run_name="r", source="s", unavailable=[absent]), tmp_path).headings[0]
    assert said.endswith("nobody was given a fold.")


def test_subject_answer_of_dates_that_were_not_pooled_does_not_deny_their_scores(rows, context, tmp_path):
    apart = [row for row in rows if row["evaluated_date"]]
    assert read(apart, context, tmp_path).headings == [
        "There is no honest score over all dates of the item-ID table, so nothing is decided: at n = 7 there is one on "
        "3 of 3 evaluated dates, and they were not taken together."
    ]


def test_one_date_says_so(rows, context, tmp_path):
    heading = read([r for r in rows if r["evaluated_date"] == "2022-05-01"], context, tmp_path).headings[0]
    assert "on 2022-05-01, the only evaluated date" in heading and "average" not in heading


@pytest.mark.parametrize(
    ("changes", "labelled"),
    [
        ({"evaluated_date": None, "note": None, "variant": "naive"}, True),
        (
            {"evaluated_date": None, "note": "naive: may contain the evaluated labels", "variant": "naive"},
            True,
        ),
        ({"note": None, "variant": "naive"}, True),
        ({"note": "fold and evaluated_date came with the scores", "variant": "naive"}, False),
        ({"note": None, "variant": "honest"}, False),
    ],
)
def test_scores_of_ones_own(changes, labelled, context, tmp_path):
    row = plausible_row(
        "naive", "2022-05-01", 0, 0.0031, 0.0004, protocol="scores", leak="user_scores", verdict="useful"
    )
    row |= {"horizon_days": None, "slot": None, "swap_scope": None, **changes}
    reader = read([row], context, tmp_path)
    assert "he leaked scores are useful" in reader.headings[0]
    assert reader.headings[0].startswith("Taken naively") is labelled
    assert "+0.0031 (95 % CI +0.0023 to +0.0039)" in reader.headings[0]
    assert ("naive: may contain the evaluated labels" in reader.headings[0]) is labelled
    assert ("! naive: may contain the evaluated labels" in reader.text) is labelled


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ("clearly useful", "are clearly useful"),
        ("useful", "are useful"),
        ("tells users apart", "tell users apart and do not order one user's items"),
        ("order not resolved", "gain, but what they order is not resolved"),
        ("negligible", "are negligible"),
        ("harmful", "are harmful"),
        ("conflicting", "are conflicting over the evaluated dates"),
        ("not shown", "are not shown to be useful"),
        ("too few", "are of too few users or impressions"),
        (None, "are not judged, for they came without a verdict"),
    ],
)
@pytest.mark.parametrize("is_naive", [False, True])
def test_scores_answer_of_each_verdict_says_it_of_scores(verdict, sentence, is_naive, tmp_path):
    variant, suffix = ("naive", " (naive)") if is_naive else ("honest", "")
    row = plausible_row(variant, "2022-05-01", 1, 0.0031, 0.0004, protocol="scores", leak="user_scores")
    row["verdict"] = verdict and verdict + suffix
    (heading,) = read([row], CONTEXT, tmp_path).headings
    who = "Taken naively, the leaked scores" if is_naive else "The leaked scores"
    label = " (naive: may contain the evaluated labels)" if is_naive else ""
    assert heading == (
        f"{who} {sentence}{label}: against the control scores the LIS is +0.0031 (95 % CI +0.0023 to +0.0039) on "
        "2022-05-01; 0.0010 counts."
    )


def test_scores_of_several_dates_give_one_sentence(context, tmp_path):
    own = {"protocol": "scores", "leak": "user_scores", "note": "held out by fold"}
    rows = [
        plausible_row("honest", day, 1, lis, 0.0004, **own)
        for day, lis in (("2022-05-01", 0.0031), ("2022-05-02", 0.0021))
    ]
    rows.append(plausible_row("honest", None, 1, 0.0026, 0.0003, **own, evaluated_dates=2))
    reader = read(rows, context, tmp_path)
    assert reader.headings == [
        "The leaked scores are useful: against the control scores the LIS is +0.0026 (95 % CI +0.0020 to +0.0032) over "
        "2 dates, above 0 on each; 0.0010 counts."
    ]
    assert "! naive" not in reader.text and reader.text.index("2022-05-02") < reader.text.index("all dates")
    rows[1] |= {"verdict": "not shown", "lis": -0.0001}
    rows[2]["verdict"] = "conflicting"
    reader = read(rows, context, tmp_path)
    assert reader.headings[0].startswith("The leaked scores are conflicting over the evaluated dates")
    assert "above 0 on 1 of them" in reader.headings[0]
    assert reader.beside[0].startswith("By date: 2022-05-01 +0.0031 (95 % CI +0.0023 to +0.0039), 2022-05-02 −0.0001")


def test_print_results_says_sentence_order_and_reason_above_the_table(rows, context, tmp_path: Path):
    first, rest = printed(lambda console: print_results(console, rows, context)).split("LIS = AUC", 1)
    said = " ".join(first.split())
    assert said.startswith("The item-ID table is useful preference data: with 7 days of future")
    assert f"Within users{PAIRS} the change is +0.0009" in said and "Why: the honest LIS is +0.0024" in said
    assert "2022-05-01" in rest and "all dates" in rest
    assert max(map(len, (first + rest).splitlines())) <= 120


def test_subject_answer_within_requests_and_mostly_between_users_are_told(rows, context, tmp_path):
    of_requests = {"lis_within_request": 0.0004, "request_pair_share": 0.0001}
    of_requests |= {"lis_within_request_ci_low": -0.0003, "lis_within_request_ci_high": 0.0011}
    every = {**of_requests, "lis_user_part": 0.0022, "lis_several_rows": 0.0024}
    reader = read(honest_changed(rows, every=every), context, tmp_path)
    requests = (
        "within requests (0.01 % of the pairs that are ranked) +0.0004 (95 % CI −0.0003 to +0.0011); what the user"
    )
    assert requests in reader.beside[0]
    assert (
        "Mostly between users: what a row's user explains without the row itself gives +0.0022, 92 %"
        in reader.beside[0]
    )
    assert "Within requests" in reader.text and "Within requests" not in read(rows, context, tmp_path).text


def test_print_results_of_leaks_compared_gives_one_answer_first(rows, context):
    compared = replace(context, leaks=[a_leak("table", 0.0087, "useful", kind="id_table")])
    said = " ".join(printed(lambda console: print_results(console, rows, compared)).split())
    assert said.startswith("Of 1 leaks one is useful (table) as one more feature of the retrained ranker (protocol app")
    assert said.index("Leaks compared") < said.index("LIS = AUC with the future's table")
    assert "The item-ID table is useful" not in said and "Why:" not in said
