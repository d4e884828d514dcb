"""The simulated world against what is known of it: distributions, lives, rhythms, rates; no row sees its batch."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from scipy.stats import kstest, spearmanr

from lis_spark.config import WorldSource
from lis_spark.errors import ConfigError
from lis_spark.world import candidates, catalogue, rendering
from lis_spark.world.calendar import BLOCK, Calendar, sessions_of
from lis_spark.world.clicks import intercept_of
from lis_spark.world.impressions import Impressions, concatenated, impressions_of
from lis_spark.world.people import tastes


def world(**changes: Any) -> WorldSource:
    """A small world; sections are given as dicts."""
    sections: dict[str, Any] = {"kind": "world", "seed": 5, "days": 12, "traffic": {"impressions_a_day": 4000}}
    return WorldSource.model_validate(sections | changes)


def made(world: WorldSource, first: int, end: int, zone: str = "UTC") -> Iterator[Impressions]:
    return impressions_of(world, Calendar.of(world, zone), first, end)


def day_of(world: WorldSource, day: int, zone: str = "UTC") -> Impressions:
    calendar = Calendar.of(world, zone)
    return concatenated(list(impressions_of(world, calendar, *map(int, calendar.first_request[day : day + 2]))))


@given(cuts=st.lists(st.integers(1, 2399), max_size=6, unique=True))
@settings(max_examples=25)
def test_rows_do_not_depend_on_how_requests_are_cut(cuts: list[int]) -> None:
    one = world(traffic={"impressions_a_day": 4000, "ads_share": 0.2}, people={"drift": 0.02, "bias_sigma": 0.5})
    whole = list(made(one, 0, 2400))
    edges = [0, *sorted(cuts), 2400]
    pieces = [piece for start, end in pairwise(edges) for piece in made(one, start, end)]
    for name in (field.name for field in fields(Impressions) if field.name != "date"):
        parts = [np.concatenate([getattr(p, name) for p in side], axis=-1) for side in (whole, pieces)]
        assert parts[0].tobytes() == parts[1].tobytes(), name


def test_a_day_does_not_depend_on_how_many_follow_and_a_request_looks_at_one_shelf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short, long = day_of(world(days=12), 3), day_of(world(days=40), 3)
    assert short.items.tobytes() == long.items.tobytes() and short.time_ms.tobytes() == long.time_ms.tobytes()
    monkeypatch.setattr(catalogue, "ITEMS_A_SHELF", 500)
    shelved = world(seed=6)
    assert catalogue.shelves(shelved) == 10
    rows = day_of(shelved, 3)
    assert len(rows) == 5 * np.diff(Calendar.of(shelved, "UTC").first_request)[3]
    by_request = rows.items.reshape(-1, 5) % 10
    assert (by_request == by_request[:, :1]).all(), "a request looks at one shelf"
    assert len(np.unique(by_request)) == 10


def test_requests_show_different_items_that_are_alive() -> None:
    one = world()
    for day in (0, 11):
        rows = day_of(one, day)
        shown = np.sort(rows.items.reshape(-1, 5), axis=1)
        assert (shown[:, 1:] != shown[:, :-1]).all()
        ages = day - catalogue.birth_days(one, rows.items)
        assert ages.min() == 0 and ages.max() == one.catalogue.life_days - 1
        assert (rows.positions.reshape(-1, 5) == np.arange(1, 6)).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", lambda age: np.ones_like(age)),
        ("hyperbolic", lambda age: 1 / (1 + age / 3)),
        ("exponential", lambda age: np.exp(-age / 3)),
    ],
)
def test_exposure_falls_with_age_and_follows_popularity(kind: str, expected: Any) -> None:
    one = world(
        catalogue={"age_weight": kind, "age_scale_days": 3, "life_days": 10, "popularity_sigma": 0.5},
        traffic={"impressions_a_day": 200_000},
    )
    rows = day_of(one, 4)
    ages = 4 - catalogue.birth_days(one, rows.items)
    weights = catalogue.popularity(one, np.arange(*catalogue.alive_range(one, 4)))
    per_age = weights.reshape(10, -1).sum(axis=1)[::-1]
    share = np.bincount(ages, minlength=10) / len(ages)
    wanted = per_age * expected(np.arange(10.0))
    assert share == pytest.approx(wanted / wanted.sum(), rel=0.05)
    youngest = ages == 0
    counts = np.bincount(rows.items[youngest] - rows.items[youngest].min())
    first = rows.items[youngest].min()
    popular = catalogue.popularity(one, np.arange(first, first + len(counts)))
    assert spearmanr(counts, popular).statistic > 0.8


@pytest.mark.parametrize(
    "changes",
    [
        {"catalogue": {"popularity": "power_law", "popularity_exponent": 1.2}},
        {"catalogue": {"new_items_a_day": 1, "life_days": 20, "age_weight": "exponential", "age_scale_days": 0.5}},
        {
            "catalogue": {"new_items_a_day": 10, "life_days": 20},
            "traffic": {"impressions_a_day": 4000, "ads_share": 0.1},
        },
    ],
    ids=["heavy tail", "one young item a day", "few advertisements"],
)
def test_requests_show_different_items_in_hard_worlds(changes: dict[str, Any]) -> None:
    one = world(**changes)
    for day in range(4):
        shown = np.sort(day_of(one, day).items.reshape(-1, 5), axis=1)
        assert (shown[:, 1:] != shown[:, :-1]).all()


def test_filling_a_request_follows_successive_sampling() -> None:
    """Two places, three items of weights 8, 1, 1: the second place is 1/2 : 1/2 after the heavy one."""
    shelf = catalogue.Shelf(np.arange(3), np.zeros((1, 3)), np.zeros(3), np.array([8.0, 9.0, 10.0]))
    random = np.random.default_rng(2).random((4000, 2, 1))
    filled = np.array([candidates._without_replacement(shelf, np.array([0, 0]), drawn) for drawn in random])
    assert (filled[:, 0] == 0).all() and (filled[:, 1] != 0).all()
    assert (filled[:, 1] == 1).mean() == pytest.approx(0.5, abs=0.03)


def test_a_request_that_keeps_drawing_one_item_is_filled_without_bias() -> None:
    """An item of weight 18 before two of weight 1: what is shown beside it is one of these as often as the other."""
    one = world(traffic={"impressions_a_request": 2})
    shelf = catalogue.Shelf(np.arange(3), np.zeros((1, 3)), np.zeros(3), np.array([18.0, 19.0, 20.0]))
    drawn = candidates._drawn_places(one, shelf, np.arange(40_000), 2)
    beside = drawn[drawn[:, 0] == 0, 1]
    assert len(beside) > 30_000 and (beside != 0).all()
    assert (beside == 1).mean() == pytest.approx(0.5, abs=0.012)


def test_a_world_that_cannot_fill_a_request_is_refused() -> None:
    aged = {"new_items_a_day": 1, "life_days": 300, "age_weight": "exponential", "age_scale_days": 0.1}
    with pytest.raises(ConfigError, match="too few items can be shown") as error:
        catalogue.shelf(world(catalogue=aged, traffic={"impressions_a_request": 50}), 0, 0, False)
    assert "of 300 alive" in str(error.value) and "new_items_a_day" in str(error.value)


def test_content_that_cannot_tell_the_dimensions_of_taste_is_refused() -> None:
    with pytest.raises(ConfigError, match="so few latents") as error:
        catalogue.content_signal(world(content={"latents": 1}, clicks={"latent_dimensions": 16}), np.arange(9))
    assert "content.latents: 1, clicks.latent_dimensions: 16" in str(error.value)


def dial_table() -> str:
    """The table of dials in Markdown, from the configuration alone."""
    lines = ["| key below `source` | default | range | what it is |", "|---|---|---|---|"]
    for section, part in WorldSource.model_fields.items():
        fields = getattr(part.annotation, "model_fields", None)
        for name, field in (fields or {section: part}).items():
            if name == "kind":
                continue
            limits = {key: getattr(bound, key) for bound in field.metadata for key in vars(type(bound))["__slots__"]}
            low = limits.get("ge", limits.get("gt"))
            high = limits.get("le", limits.get("lt"))
            written = [f"{'above ' if 'gt' in limits else ''}{low:,}" if low is not None else ""]
            written += [f"{'below ' if 'lt' in limits else ''}{high:,}" if high is not None else ""]
            span = " to ".join(part for part in written if part) if high is not None else f"from {written[0]}"
            choices = ", ".join(map(str, get_args(field.annotation))) if low is None else span
            bounded = choices if low is not None or get_origin(field.annotation) is Literal else "any"
            key = f"{section}.{name}" if fields else name
            default = f"{field.default:,}" if isinstance(field.default, int | float) else str(field.default)
            lines.append(f"| `{key}` | {default} | {bounded.replace('from above', 'above')} | {field.description} |")
    return "\n".join(lines)


def test_the_dials_are_documented_as_they_are_enforced() -> None:
    documented = (Path(__file__).resolve().parents[2] / "docs" / "world.md").read_text(encoding="utf-8")
    assert dial_table() in documented, f"docs/world.md needs this table:\n{dial_table()}"
    assert "None" not in re.sub(r"\| None \|", "", dial_table()), "a dial without a description"


def test_sparsity_is_impressions_an_item_and_day() -> None:
    one = world(catalogue={"new_items_a_day": 20, "life_days": 10}, traffic={"impressions_an_item_a_day": 30})
    assert np.diff(Calendar.of(one, "UTC").first_request).mean() * 5 == pytest.approx(200 * 30, rel=0.05)


def test_popularity_has_the_tail_that_is_asked_for() -> None:
    items = np.arange(100_000)
    one = world(catalogue={"popularity": "power_law", "popularity_exponent": 1.5})
    values = np.sort(catalogue.popularity(one, items))
    hill = 1 / np.mean(np.log(values[-5000:] / values[-5000]))
    assert hill == pytest.approx(1.5, rel=0.1)
    assert np.log(catalogue.popularity(world(), items)).std() == pytest.approx(0.7, rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_content_tells_its_share_of_the_factor(share: float) -> None:
    one = world(catalogue={"content_share": share})
    items = np.arange(20_000)
    factors, biases = catalogue.factors(one, items)
    signal = catalogue.content_signal(one, items)
    for told, value in zip(signal, [*factors, biases / one.catalogue.bias_sigma], strict=True):
        assert value.std() == pytest.approx(1, rel=0.05)
        assert np.corrcoef(told, value)[0, 1] == pytest.approx(np.sqrt(share), abs=0.03)
    assert np.abs(np.corrcoef(signal) - np.eye(len(signal))).max() < 0.03, "no direction is told more than another"


def test_click_rate_noise_and_positions() -> None:
    for rate, scale in ((0.05, 2.0), (0.35, 5.0)):
        rows = day_of(
            world(clicks={"click_rate": rate, "logit_scale": scale}, traffic={"impressions_a_day": 50_000}), 1
        )
        assert rows.probability.mean() == pytest.approx(rate, rel=0.1)
        assert rows.labels[0].mean() == pytest.approx(rows.probability.mean(), abs=0.01)
        edges = np.quantile(rows.probability, np.linspace(0, 1, 11))
        for low, high in pairwise(edges):
            inside = (rows.probability >= low) & (rows.probability < high)
            assert rows.labels[0][inside].mean() == pytest.approx(rows.probability[inside].mean(), abs=0.03)
        assert (rows.labels[0] >= rows.labels[1]).all() and (rows.labels[1] >= rows.labels[2]).all()
        assert np.median(rows.seconds[rows.labels[0]]) > 10 * np.median(rows.seconds[~rows.labels[0]])
    steep = day_of(world(clicks={"logit_scale": 20.0}, traffic={"impressions_a_day": 100_000}), 1)
    assert steep.probability.min() > 0 and steep.probability.max() < 1
    assert np.isfinite(np.log(steep.probability) - np.log1p(-steep.probability)).all()
    rare = day_of(world(clicks={"logit_scale": 20.0, "click_rate": 0.002}, traffic={"impressions_a_day": 300_000}), 1)
    assert rare.probability.mean() == pytest.approx(0.002, rel=0.3), "far out on the scale the rate is still found"
    noisy = day_of(world(clicks={"noise": 0.5, "logit_scale": 8.0}), 1)
    assert noisy.probability.min() > 0.5 * 0.25 * 0.999 and noisy.probability.max() < 0.5 + 0.5 * 0.25 + 1e-9
    places = day_of(world(clicks={"position_effect": 0.5}, traffic={"impressions_a_day": 50_000}), 1)
    means = [places.probability[places.positions == place].mean() for place in range(1, 6)]
    assert means[0] == pytest.approx(0.25, rel=0.05) and (np.diff(means) < -0.01).all()


def test_the_intercept_is_that_of_the_click_rate() -> None:
    """One dimension and no bias: the mean of sigmoid(intercept + scale u v) over two normals, by quadrature."""
    one = world(clicks={"latent_dimensions": 1, "logit_scale": 3.0, "click_rate": 0.2}, catalogue={"bias_sigma": 0.0})
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    density = weights / weights.sum()
    grid = intercept_of(one) + 3.0 * nodes[:, None] * nodes[None, :]
    assert (density[:, None] * density[None, :] / (1 + np.exp(-grid))).sum() == pytest.approx(0.2, abs=0.003)


def test_sessions_are_of_one_two_and_three_requests_of_one_user_in_a_row() -> None:
    one = world()
    rows = day_of(one, 2)
    users, times = rows.users.reshape(-1, 5)[:, 0], rows.time_ms.reshape(-1, 5)[:, 0]
    calendar = Calendar.of(one, "UTC")
    first = int(calendar.first_request[2])
    sessions, places = sessions_of(one, 2, first, first + np.arange(len(users)))
    whole = len(users) // BLOCK * BLOCK
    sizes = np.unique(sessions[:whole], return_counts=True)[1]
    assert sorted(np.unique(sizes, return_counts=True)[1]) == [whole // BLOCK] * 3 and set(sizes) == {1, 2, 3}
    for session in np.unique(sessions)[:200]:
        members = np.flatnonzero(sessions == session)
        assert len(set(users[members])) == 1
        assert (places[members] == np.arange(len(members))).all()
        gaps = np.diff(times[members])
        assert (gaps >= 20_000).all() and (gaps <= 600_000).all()


def test_days_and_hours_have_their_rhythm() -> None:
    one = world(days=28, traffic={"impressions_a_day": 20_000, "weekly_amplitude": 0.4, "daily_amplitude": 0.8})
    counts = np.diff(Calendar.of(one, "UTC").first_request).reshape(4, 7)
    weekday = [(one.first_date + dt.timedelta(days=day)).weekday() for day in range(7)]
    means = dict(zip(weekday, counts.mean(axis=0), strict=True))
    assert min(means[5], means[6]) > 1.3 * max(means[1], means[2]) and counts.sum() == pytest.approx(
        4000 * 28, rel=0.01
    )
    rows = day_of(one, 1)
    hours = (rows.time_ms - Calendar.of(one, "UTC").start_ms[1]) // 3_600_000
    per_hour = np.bincount(hours, minlength=24)
    assert len(per_hour) == 24 and per_hour[18:22].mean() > 2.5 * per_hour[6:10].mean()


def test_every_time_lies_in_its_day_also_when_clocks_change() -> None:
    one = world(first_date=dt.date(2026, 3, 28), days=3, traffic={"impressions_a_day": 20_000, "daily_amplitude": 0.9})
    calendar = Calendar.of(one, "Europe/Berlin")
    assert list(calendar.length_ms // 3_600_000) == [24, 23, 24]
    for day in range(3):
        times = day_of(one, day, "Europe/Berlin").time_ms
        assert times.min() >= calendar.start_ms[day] and times.max() < calendar.start_ms[day] + calendar.length_ms[day]


def test_activity_is_skewed_and_new_users_come() -> None:
    one = world(
        people={"users": 1000, "new_users_a_day": 100, "activity_skew": 3}, traffic={"impressions_a_day": 50_000}
    )
    rows = day_of(one, 5)
    assert rows.users.max() < 1500 and (rows.users >= 1400).any()
    share = (rows.users < 15).mean()
    assert share == pytest.approx((15 / 1500) ** (1 / 3), abs=0.03)
    even = day_of(world(people={"users": 1000}, traffic={"impressions_a_day": 50_000}), 5)
    assert kstest(even.users[::30] / 1000, "uniform").pvalue > 0.001, "a session's users are drawn alike"


def test_tastes_turn_by_the_drift_and_keep_their_spread() -> None:
    one = world(people={"drift": 0.05}, clicks={"latent_dimensions": 8})
    users = np.arange(5000)
    start = tastes(one, users, 0)[0]
    for day in (1, 10, 20):
        later = tastes(one, users, day)[0]
        assert later.std() == pytest.approx(1, rel=0.02)
        assert np.corrcoef(start.ravel(), later.ravel())[0, 1] == pytest.approx(np.cos(0.05 * day), abs=0.02)
    still = world(clicks={"latent_dimensions": 8})
    assert (tastes(still, users, 20)[0] == tastes(still, users, 0)[0]).all()


def test_ads_are_shown_in_their_own_scenario_and_pay_by_click() -> None:
    one = world(traffic={"impressions_a_day": 50_000, "ads_share": 0.2})
    rows = day_of(one, 1)
    assert rows.ads.mean() == pytest.approx(0.2, abs=0.02)
    assert (catalogue.is_ad(one, rows.items) == rows.ads).all()
    assert (rows.bids[rows.ads] > 0).all() and (rows.bids[~rows.ads] == 0).all()


def test_near_duplicates_copy_content_and_not_factors() -> None:
    one = world(catalogue={"near_duplicate_share": 0.2})
    items = np.arange(4000)
    copied = catalogue.duplicate_of(one, items)
    copies = items[copied >= 0]
    assert len(copies) / len(items) == pytest.approx(0.2, abs=0.02)
    originals = copied[copies]
    assert (originals < copies).all() and (catalogue.duplicate_of(one, originals) == -1).all()
    assert (catalogue.content_latents(one, copies) == catalogue.content_latents(one, originals)).all()
    assert (catalogue.factors(one, copies)[0] != catalogue.factors(one, originals)[0]).all()
    titles = zip(rendering.titles(one, copies[:50]), rendering.titles(one, originals[:50]), strict=True)
    for copy, original in titles:
        assert sum(a != b for a, b in zip(copy.split(), original.split(), strict=True)) <= 1
    near = rendering.traits(one, copies) - rendering.traits(one, originals)
    far = rendering.traits(one, copies) - rendering.traits(one, originals[::-1])
    assert 0 < np.abs(near).mean() < 0.1 * np.abs(far).mean()


def test_images_are_png_of_the_size_and_nuisance_is_their_larger_part() -> None:
    one = world(content={"image_pixels": 32})
    items = np.arange(300)
    first = rendering.images(one, items[:3])
    assert [Image.open(io.BytesIO(data)).size for data in first] == [(32, 32)] * 3
    assert rendering.images(one, items[1:2]) == first[1:2], "the same bytes, whatever is drawn beside"
    shown = rendering.shown(one, items, "trait", 14)

    def explained(columns: np.ndarray) -> float:
        fitted = columns.T @ np.linalg.lstsq(columns.T, shown.T, rcond=None)[0]
        return float(fitted.var() / shown.var())

    meaning, nuisance = catalogue.content_latents(one, items), catalogue.nuisances(one, items)
    assert explained(nuisance) > 2.5 * explained(meaning)
    assert explained(np.concatenate([meaning, nuisance])) == pytest.approx(1, abs=1e-9)


def test_words_are_all_different_and_titles_have_their_length() -> None:
    words = rendering.vocabulary(20_000)
    assert len(set(words)) == 20_000
    assert all(len(title.split()) == 7 for title in rendering.titles(world(content={"words": 7}), np.arange(20)))


@pytest.mark.parametrize(
    "changes",
    [
        {"catalogue": {"content_share": 1.5}},
        {"people": {"drift": -0.1}},
        {"traffic": {"ads_share": 1.0}},
        {"catalogue": {"new_items_a_day": 1, "life_days": 3}},
    ],
)
def test_dials_have_ranges(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        world(**changes)
