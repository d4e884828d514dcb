"""Training and validation items: apart in time, and no two that look the same on both sides (method 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import InputError, StepFailed
from lis_spark.keyed_random import mixed, salt

# Two items that are just alike enough are missed so often.
MISSED = 1e-3
# An item stands in the join once a band.
MOST_BANDS, MOST_ROWS = 64, 8
# Each round a group's smallest id goes one pair further, or as far as another has come: 2^20 items in a row at most.
ROUNDS = 20


def near_duplicates(looks: DataFrame, similarity: float) -> DataFrame:
    """first, second: pairs of items of which every part that both show is alike; first < second.

    Parts are alike that share so much of their tokens (Jaccard). Pairs are found by the words of the title, and those
    with an item without a title by their colours.

    Args:
        looks: item_id, words, colours, see :func:`lis_spark.preference.shown.looks`.
        similarity: in (0, 1]: shared tokens over all tokens of both.
    """
    # what shows the very same is one point, or a thousand copies were a million pairs
    same = [F.min("item_id").alias("item_id"), F.collect_list("item_id").alias("same")]
    points = looks.groupBy("words", "colours").agg(*same).localCheckpoint()
    words = F.transform("words", lambda word: F.xxhash64(word))
    tokens = points.select("item_id", words.alias("words"), F.col("colours").cast("array<bigint>").alias("colours"))
    titled, coloured = F.size("words") > 0, F.size("colours") > 0
    by_words = _keys(tokens.where(titled), "words", similarity)
    met = _met(by_words, by_words)
    untitled = tokens.where(~titled)
    if not untitled.isEmpty():
        met = met.unionByName(
            _met(_keys(untitled, "colours", similarity), _keys(tokens.where(coloured), "colours", similarity))
        )
    first = tokens.toDF("first", "first_words", "first_colours")
    second = tokens.toDF("second", "second_words", "second_colours")
    both = met.distinct().join(first, "first").join(second, "second")
    pairs = both.where(_alike("words", similarity) & _alike("colours", similarity)).select("first", "second")
    copies = points.select(F.col("item_id").alias("first"), F.explode("same").alias("second"))
    return pairs.unionByName(copies).where("first < second").distinct().localCheckpoint()


def _keys(tokens: DataFrame, part: str, similarity: float) -> DataFrame:
    """item_id, key: see :func:`_band_keys`."""
    listed = tokens.select("item_id", F.col(part).alias("tokens"))
    return listed.mapInArrow(_band_keys(similarity), "item_id string, key bigint")


def _met(one: DataFrame, other: DataFrame) -> DataFrame:
    """first < second: items that share a key."""
    pairs = one.withColumnRenamed("item_id", "one").join(other.withColumnRenamed("item_id", "other"), "key")
    return pairs.where("one != other").select(
        F.least("one", "other").alias("first"), F.greatest("one", "other").alias("second")
    )


def _alike(part: str, similarity: float) -> Column:
    """Whether one of two items does not show this part, or both show nearly the same there (Jaccard)."""
    one, other = f"first_{part}", f"second_{part}"  # arrays whose values are all different
    common = F.size(F.array_intersect(one, other))
    shared = common / F.nullif(F.size(one) + F.size(other) - common, F.lit(0))
    return (F.size(one) == 0) | (F.size(other) == 0) | (shared >= similarity - 1e-9)


def _band_keys(similarity: float) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """One key for each item and band of minima (Broder 1997); items that share one are looked at."""
    bands, rows = bands_of(similarity)

    def keys(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            ids, lists = batch["item_id"], batch["tokens"]
            starts = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())[:-1]])
            tokens = pc.list_flatten(lists).to_numpy().view(np.uint64)
            for band in range(bands):
                key = np.full(len(ids), band, np.uint64)
                for row in range(rows):
                    hashed = mixed(tokens ^ salt("minimum", band, row))
                    key = mixed(key ^ np.minimum.reduceat(hashed, starts))
                yield pa.RecordBatch.from_arrays([ids, pa.array(key.view(np.int64))], names=["item_id", "key"])

    return keys


def bands_of(similarity: float) -> tuple[int, int]:
    """How many bands of how many minima: as long as they may be for two items that share so much to be missed once in
    a thousand. Items of one vocabulary share some words each, and with bands of one nearly all of them would meet."""
    for rows in range(MOST_ROWS, 1, -1):
        met = similarity**rows  # that two agree in a whole band
        bands = 1 if met >= 1 else math.ceil(math.log(MISSED) / math.log1p(-met))
        if bands <= MOST_BANDS:
            return bands, rows
    return max(1, math.ceil(math.log(MISSED) / math.log1p(-min(similarity, 1 - 1e-9)))), 1


def groups(items: DataFrame, pairs: DataFrame) -> DataFrame:
    """item_id, duplicate_of: the smallest item_id that pairs lead to; its own where there is none.

    Args:
        items: item_id.
        pairs: first, second.

    Raises:
        StepFailed: pairs hang together in longer rows than can be followed.
    """
    both = pairs.unionByName(pairs.select(F.col("second").alias("first"), F.col("first").alias("second")))
    both = both.localCheckpoint()
    labels = both.select(F.col("first").alias("item_id")).distinct().withColumn("label", F.col("item_id"))
    for _ in range(ROUNDS):
        seen = both.join(labels.withColumnRenamed("item_id", "second"), "second")
        smallest = seen.groupBy(F.col("first").alias("item_id")).agg(F.min("label").alias("near"))
        nearer = labels.join(smallest, "item_id").select("item_id", "label", F.least("label", "near").alias("next"))
        # and what the label itself is labelled with: rows of a thousand end after ten rounds
        of_label = labels.select(F.col("item_id").alias("next"), F.col("label").alias("further"))
        moved = nearer.join(of_label, "next").select("item_id", "label", F.least("next", "further").alias("next"))
        moved = moved.localCheckpoint()
        labels = moved.select("item_id", F.col("next").alias("label"))
        if moved.where("label != next").isEmpty():
            found = items.join(labels, "item_id", "left")
            return found.select("item_id", F.coalesce("label", "item_id").alias("duplicate_of"))
    raise StepFailed(
        "near-duplicates hang together in rows without an end",
        found=f"groups still grow after {ROUNDS} rounds",
        expected="groups of items that look the same",
        remedy="raise preference.near_duplicate_similarity",
    )


def split_by_birth(items: DataFrame, share: float) -> DataFrame:
    """The items with ``split``: validation items are the youngest, and older than none that is trained on.

    A near-duplicate of a training item that was born as late as validation items is in neither.

    Args:
        items: item_id, born_date, duplicate_of.
        share: of the items, at least, for validation.

    Raises:
        InputError: all items were born on one day.
    """
    first_born = items.groupBy("duplicate_of").agg(F.min("born_date").alias("group_born"))
    known = items.join(first_born, "duplicate_of")
    days = {row["group_born"]: row["count"] for row in known.groupBy("group_born").count().collect()}
    total, later = sum(days.values()), 0
    first_day = None
    for day in sorted(days, reverse=True)[:-1]:
        first_day, later = day, later + days[day]
        if later >= share * total:
            break
    if first_day is None:
        raise InputError(
            "items cannot be split by time",
            table="items",
            found="one day of birth of all kept items" if days else "no item is kept",
            expected="validation items that are born after the training items",
            remedy="lower preference.min_updates, or give the source items with born_date",
        )
    late = F.col("born_date") >= F.lit(first_day)
    split = F.when(F.col("group_born") >= F.lit(first_day), "validation").when(late, "left_out").otherwise("train")
    return known.withColumn("split", split).drop("group_born")
