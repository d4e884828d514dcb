"""The metrics by their definitions (method 2): all pairs of a ranking side by side, and loops over users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Numbers = npt.NDArray[np.float64]
Pairs = Sequence[Mapping[str, Any]]

DATES = ("2022-05-01", "2022-05-02")
GROUPS = ("evaluated_date", "arm", "fold")
ARMS = ("a", "a2", "a3", "b", "c")
SCHEMA = (
    "evaluated_date string, fold int, user_id string, impression_id string, label tinyint, request bigint, "
    "arm string, logit double"
)


def impressions(users: int = 150, seed: int = 5) -> pd.DataFrame:
    """One row an impression, one column an arm; most users come on both days, some show one row or one class.

    Labels depend on the user, on the item and on the rest, so that there is something to tell apart.

    Logits are multiples of 1/16, so that ties are many and a sum of two is exact. Numbers of requests are shared by
    users and by days, and one row in seven has none.
    """
    random = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), random.geometric(1 / 12, users))
    rows = len(user)
    taste, gain = random.normal(size=users)[user], random.normal(0.3, 0.5, users)[user]
    item, appeal = random.integers(0, 40, rows), random.normal(size=40)
    truth = -0.9 + taste + appeal[item] + random.normal(size=rows)
    label = (random.random(rows) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    base = 0.5 * truth + random.normal(size=rows)
    logits = {
        "a": base,
        "a2": base + 0.4 * random.normal(size=rows),
        "a3": base + 0.8 * random.normal(size=rows),
        "b": base + gain * (label - 0.3),
        "c": base + 0.4 * label + 0.3 * random.normal(size=rows),
    }
    frame = pd.DataFrame(
        {
            "evaluated_date": np.array(DATES)[random.integers(0, 2, rows)],
            "fold": user % 2,
            "user_id": [f"u{number}" for number in user],
            "impression_id": [f"i{number}" for number in range(rows)],
            "item": item,
            "appeal": np.round(16 * appeal[item]) / 16,
            "label": label,
            "request": pd.array(random.integers(-1, 2, rows), dtype="Int64"),
        }
    )
    frame.loc[random.random(rows) < 1 / 7, "request"] = pd.NA
    return frame.assign(**{arm: np.round(16 * values) / 16 for arm, values in logits.items()})


def as_scores(spark: Any, wide: pd.DataFrame, arms: Sequence[str] = ARMS) -> Any:
    """One row for each impression and arm, as ``influence`` reads them."""
    keys = ["evaluated_date", "fold", "user_id", "impression_id", "label", "request"]
    long = wide.melt(keys, list(arms), "arm", "logit")
    rows = [
        tuple(None if value is pd.NA else value for value in row)
        for row in long[[field.split()[0] for field in SCHEMA.split(", ")]].astype(object).itertuples(index=False)
    ]
    return spark.createDataFrame(rows, SCHEMA)


def pair(name: str, leaked: str, date: str = DATES[0], fold: int = 0, control: str = "a") -> dict[str, Any]:
    return {
        "comparison_id": name, "evaluated_date": date, "fold": fold, "control_arm": control, "leaked_arm": leaked,
    }  # fmt: skip


def over_all(name: str, leaked: str, control: str = "a") -> list[dict[str, Any]]:
    return [pair(name, leaked, date, fold, control) for date in DATES for fold in (0, 1)]


def same(up: pd.Series, down: pd.Series) -> npt.NDArray[np.bool_]:
    """Which pairs agree; what is not known agrees with nothing, as NaN does not."""
    return up.to_numpy(np.float64, na_value=np.nan)[:, None] == down.to_numpy(np.float64, na_value=np.nan)[None, :]


# Two draws of the control in each fold, not the same two; two leaked arms beside one control, which differ by the day.
CONTROLS = [
    pair("controls", "b", fold=fold, control=control)
    for fold, own in ((0, ("a", "a2")), (1, ("a", "a3")))
    for control in own
]
REPLICATES = [pair("replicates", arm, DATES[0]) for arm in ("b", "c")] + [pair("replicates", "c", DATES[1])]
COMPARISONS = {
    "days": over_all("days", "b"),
    "one": [pair("one", "c")],
    "other fold": [pair("other fold", "b", fold=1)],
    "controls": CONTROLS,
    "replicates": REPLICATES,
}
ALL_PAIRS = [row for rows in COMPARISONS.values() for row in rows]


class Ranking:
    """All pairs of one ranking: positives down, negatives across; a side is the mean over the arms of its rows."""

    def __init__(self, rows: pd.DataFrame, pairs: Pairs) -> None:
        up, down = rows[rows["label"] == 1], rows[rows["label"] == 0]

        def wins(arm: str) -> Numbers:
            above, below = up[arm].to_numpy()[:, None], down[arm].to_numpy()[None, :]
            return (above > below) + 0.5 * (above == below)

        self.control, self.leaked = (
            np.mean([wins(row[side]) for row in pairs], axis=0) for side in ("control_arm", "leaked_arm")
        )
        self.up, self.down = up["user_id"].to_numpy(object), down["user_id"].to_numpy(object)
        self.users = set(rows["user_id"])
        self.same_request = same(up["request"], down["request"])

    def psi(self) -> pd.Series:
        gain = self.leaked - self.control
        above = pd.Series((gain.mean(1) - gain.mean()) / gain.shape[0], index=self.up)
        below = pd.Series((gain.mean(0) - gain.mean()) / gain.shape[1], index=self.down)
        return pd.concat([above, below]).groupby(level=0).sum()


def rankings_of(wide: pd.DataFrame, pairs: Pairs) -> list[Ranking]:
    def cell(row: Mapping[str, Any]) -> tuple[str, int]:
        return row["evaluated_date"], row["fold"]

    return [
        Ranking(wide[(wide["evaluated_date"] == date) & (wide["fold"] == fold)], list(rows))
        for (date, fold), rows in groupby(sorted(pairs, key=cell), key=cell)
    ]


def aucs(rankings: Sequence[Ranking]) -> tuple[float, float]:
    """Of the control and of the leaked arm, over rankings that are never pooled."""
    pairs = sum(ranking.control.size for ranking in rankings)
    control, leaked = (sum(getattr(one, side).sum() for one in rankings) for side in ("control", "leaked"))
    return control / pairs, leaked / pairs


def influence_on_lis(rankings: Sequence[Ranking]) -> pd.Series:
    pairs = sum(ranking.control.size for ranking in rankings)
    shares = [ranking.control.size / pairs * ranking.psi() for ranking in rankings]
    return pd.concat(shares).groupby(level=0).sum()


def own_pairs(rankings: Sequence[Ranking], of_request: bool = False) -> pd.DataFrame:
    """User -> ordered pairs of its own rows under both arms, and pairs; users without a pair are left out."""
    found = {}
    for user in sorted(set().union(*[ranking.users for ranking in rankings])):
        control = leaked = pairs = 0.0
        for ranking in rankings:
            own = (ranking.up == user)[:, None] & (ranking.down == user)[None, :]
            if of_request:
                own &= ranking.same_request
            control += ranking.control[own].sum()
            leaked += ranking.leaked[own].sum()
            pairs += own.sum()
        if pairs:
            found[user] = (control, leaked, pairs)
    return pd.DataFrame.from_dict(found, orient="index", columns=["control", "leaked", "pairs"])


def gain_of(own: pd.DataFrame) -> float:
    return float((own["leaked"] - own["control"]).sum() / own["pairs"].sum())


def influence_on_gain(own: pd.DataFrame) -> pd.Series:
    return (own["leaked"] - own["control"] - gain_of(own) * own["pairs"]) / own["pairs"].sum()


def own_share(rankings: Sequence[Ranking], weights: Mapping[str, float]) -> float:
    """Share of pairs that are of one user, where each user stands so often."""
    own = pairs = 0.0
    for ranking in rankings:
        up, down = (np.array([weights[user] for user in side]) for side in (ranking.up, ranking.down))
        own += (up[:, None] * (ranking.up[:, None] == ranking.down[None, :])).sum()
        pairs += up.sum() * down.sum()
    return own / pairs


def error_of_own_share(rankings: Sequence[Ranking], step: float = 1e-4) -> float:
    """By giving each user a little more and a little less weight; the mean of what that changes is taken off."""
    users = sorted(set().union(*[ranking.users for ranking in rankings]))
    once = dict.fromkeys(users, 1.0)
    psi = [
        (own_share(rankings, once | {user: 1 + step}) - own_share(rankings, once | {user: 1 - step})) / (2 * step)
        for user in users
    ]
    return clustered(pd.Series(psi) - np.mean(psi))


def clustered(psi: pd.Series) -> float:
    return float(np.sqrt(len(psi) / (len(psi) - 1) * (psi**2).sum()))


def jackknife(without: Sequence[float]) -> float:
    """From the estimate without each user."""
    values = np.array(without)
    return float(np.sqrt((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum()))


def jackknife_of_lis(rankings: Sequence[Ranking]) -> float:
    """Each user's rows are taken away and every ranking is counted anew."""
    without = []
    for user in set().union(*[ranking.users for ranking in rankings]):
        gained = pairs = 0.0
        for ranking in rankings:
            left = np.ix_(ranking.up != user, ranking.down != user)
            gained += (ranking.leaked - ranking.control)[left].sum()
            pairs += ranking.control[left].size
        without.append(gained / pairs)
    return jackknife(without)


def jackknife_of_gain(own: pd.DataFrame) -> float:
    return jackknife([gain_of(own.drop(index=user)) for user in own.index])
