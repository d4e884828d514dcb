"""Entries, curation and split on small frames, against loops over the items."""

from __future__ import annotations

import datetime as dt
import io
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lis_spark.config import PreferenceConfig
from lis_spark.errors import InputError
from lis_spark.preference.curation import keep_thresholds, t_of_budget
from lis_spark.preference.entries import NOTHING, entries_of
from lis_spark.preference.shown import colour_tokens, content_points, looks
from lis_spark.preference.split import groups, near_duplicates, split_by_birth
from lis_spark.preference.whitening import moments, summed_moments, whitened, whitening
from lis_spark.vectors import unpack

DAY = dt.date(2026, 1, 1)
ITEMS = "item_id string, title string, image binary, tags string"


def picture(seed: int, moved: float = 0.0) -> bytes:
    """Smooth colours that differ by seed, and a little noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, 32), np.linspace(0, 1, 32))
    waves = sum(np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in rng.uniform(-3, 3, (4, 3)))
    waves = waves + moved * np.random.default_rng(seed + 1).normal(size=waves.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(128 + 30 * waves, 0, 255).astype(np.uint8)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def test_items_are_counted_under_tags_phrases_or_a_cluster(spark: Any) -> None:
    rows = [
        ("a", "Red Fox, red fox", None, "x, Y,,"),
        ("b", "Füchse in Ä", None, None),
        ("c", None, None, " "),
        ("d", "Русская лиса", picture(1), None),
        ("e", None, picture(1), None),
    ]
    items = spark.createDataFrame(rows, ITEMS)
    chosen = PreferenceConfig(min_updates=0, tail_share=0.5, title_words=2)
    found = entries_of(items, content_points(items), chosen).toPandas()
    assert not found.duplicated().any()
    of = found.groupby("item_id")["entry"].apply(set).to_dict()
    assert of["a"] == {"tags=x", "tags=y", "title=red", "title=fox", "title=red fox", "title=fox red"}
    assert of["b"] == {"title=füchse", "title=in", "title=ä", "title=füchse in", "title=in ä"}
    assert of["c"] == {NOTHING}
    assert of["d"] == {"title=русская", "title=лиса", "title=русская лиса"}
    assert of["e"] == {NOTHING}, "alone among those without an entry, it is no cluster"
    many = spark.createDataFrame([(f"i{n}", None, picture(n % 3), None) for n in range(30)], ITEMS)
    chosen = PreferenceConfig(min_updates=0, tail_share=0.5, clusters=3)
    clustered = entries_of(many, content_points(many), chosen).toPandas().set_index("item_id")["entry"]
    by_picture = [{clustered[f"i{n}"] for n in range(30) if n % 3 == kind} for kind in range(3)]
    assert all(len(names) == 1 for names in by_picture) and len(set.union(*by_picture)) == 3
    again = entries_of(many.repartition(5), content_points(many.repartition(7)), chosen).toPandas()
    assert again.set_index("item_id")["entry"].to_dict() == clustered.to_dict()


def test_what_is_kept_is_what_a_loop_keeps_and_a_budget_is_met(spark: Any) -> None:
    rng = np.random.default_rng(2)
    pairs = {(f"i{item}", f"e{int(entry)}") for item in range(3000) for entry in rng.zipf(1.5, 3) if entry < 500}
    frame = spark.createDataFrame(sorted(pairs), "item_id string, entry string")
    kept = keep_thresholds(frame, 7)
    found = kept.toPandas().set_index("item_id")["threshold"]
    counts = pd.Series([entry for _, entry in pairs]).value_counts()
    hashed = frame.select("item_id").distinct().selectExpr("item_id", "xxhash64(7, item_id) AS h").toPandas()
    uniform = {row.item_id: (int(row.h) % 2**53) / 2**53 for row in hashed.itertuples()}
    of: dict[str, list[int]] = {}
    for item, entry in pairs:
        of.setdefault(item, []).append(int(counts[entry]))
    assert set(found.index) == set(of)
    for t in (3.0, 40.0):
        expected = {i for i, own in of.items() if uniform[i] < 1 - math.prod(1 - min(1.0, t / c) for c in own)}
        assert set(found[found < t].index) == expected
    for budget in (1, 500, len(of)):
        assert (found < t_of_budget(kept, budget)).sum() == budget
    assert t_of_budget(kept, len(of) + 1) == math.inf


def test_near_duplicates_share_most_of_what_they_show(spark: Any) -> None:
    rng = np.random.default_rng(5)
    words = [f"w{n}" for n in range(400)]
    rows, copies = [], {}
    for n in range(200):
        title = list(rng.choice(words, 8, replace=False))
        rows.append((f"o{n:03}", " ".join(title), picture(n)))
        if n % 10 == 0:
            title[3] = "other"
            rows.append((f"z{n:03}", " ".join(title), picture(n, 0.02)))
            copies[f"z{n:03}"] = f"o{n:03}"
    rows += [("t1", "only words here", None), ("t2", "only words here", None), ("n", None, None)]
    # the same title over another image is another item; images alone are told apart by their colours
    rows += [("s1", "one title", picture(901)), ("s2", "one title", picture(902))]
    rows += [("u1", None, picture(903)), ("u2", None, picture(903, 0.02)), ("u3", None, picture(904))]
    # an image alone is alike to the same image with a title; a title alone to the same title with an image
    rows += [("v1", "words that nobody else has", picture(904, 0.02)), ("v2", "words that nobody else has", None)]
    items = spark.createDataFrame(rows, "item_id string, title string, image binary")
    pairs = near_duplicates(looks(items), 0.5)
    found = {(row["first"], row["second"]) for row in pairs.collect()}
    assert found == {(original, copy) for copy, original in copies.items()} | {
        *(("t1", "t2"), ("u1", "u2"), ("u3", "v1"), ("v1", "v2"))
    }
    assert near_duplicates(looks(items.repartition(3)), 0.5).count() == len(found)
    assert set(colour_tokens(picture(1))) & set(colour_tokens(picture(1, 0.02)))


def test_groups_are_those_that_pairs_lead_to(spark: Any) -> None:
    names = [f"i{n:03}" for n in range(60)]
    row_of_forty = [(names[n], names[n + 1]) for n in range(5, 44)]
    pairs = spark.createDataFrame([*row_of_forty, ("i002", "i050")], "first string, second string")
    items = spark.createDataFrame([(name,) for name in names], "item_id string")
    found = groups(items, pairs).toPandas().set_index("item_id")["duplicate_of"]
    assert len(found) == 60
    for n, name in enumerate(names):
        expected = "i005" if 5 <= n <= 44 else "i002" if n == 50 else name
        assert found[name] == expected
    none = groups(items, pairs.limit(0)).toPandas()
    assert (none["item_id"] == none["duplicate_of"]).all()


def test_validation_items_are_the_youngest_and_copies_are_on_no_side(spark: Any) -> None:
    rows = [(f"i{n:02}", DAY + dt.timedelta(days=n // 4), f"i{n:02}") for n in range(40)]
    rows[38] = ("i38", rows[38][1], "i03")  # young, and a copy of an old item
    rows[37] = ("i37", rows[37][1], "i36")  # young, and a copy of a young one
    items = spark.createDataFrame(rows, "item_id string, born_date date, duplicate_of string")
    found = split_by_birth(items, 0.1).toPandas().set_index("item_id")
    split = found["split"].to_dict()
    assert {item for item, name in split.items() if name == "left_out"} == {"i38"}
    assert {item for item, name in split.items() if name == "validation"} == {
        f"i{n}" for n in (32, 33, 34, 35, 36, 37, 39)
    }
    trained, held = (found[found["split"] == name] for name in ("train", "validation"))
    assert trained["born_date"].max() < held["born_date"].min()
    assert not set(trained["duplicate_of"]) & set(held["duplicate_of"])
    with pytest.raises(InputError, match="cannot be split by time") as error:
        split_by_birth(items.where(f"born_date = DATE'{DAY}'"), 0.1)
    assert "one day of birth" in str(error.value) and "born_date" in str(error.value)


def test_targets_of_a_table_are_those_of_its_matrix(spark: Any) -> None:
    rng = np.random.default_rng(1)
    vectors, counts = rng.normal(size=(500, 4)).astype(np.float32), rng.integers(1, 99, 500)
    rows = [(f"i{n}", vectors[n].tobytes(), int(counts[n])) for n in range(500)]
    table = spark.createDataFrame(rows, "item_id string, vector binary, update_count bigint").repartition(3)
    summed = summed_moments(table, 4)
    np.testing.assert_allclose(summed, moments(vectors, counts), rtol=1e-12)
    white = whitening(summed, 1.0)
    targets = whitened(table, white, 4).toPandas().set_index("item_id")["target"]
    expected = white.applied(vectors)
    assert all((np.frombuffer(targets[f"i{n}"], "<f4") == expected[n]).all() for n in range(500))
    assert unpack(whitened(table, white, 4).toArrow()["target"], 4).shape == (500, 4)
