"""Training and validation items: apart in time, and no two that look the same on both sides (method 4)."""

from __future__ import annotations

from pyspark.ml.feature import HashingTF, MinHashLSH
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.errors import InputError, StepFailed

# Tables of minima: two items that share half of their tokens agree in none of them once in 2^10 times.
TABLES = 10
# Tokens are told apart by their hash in so many places.
PLACES = 1 << 20
# Each round a group's smallest id goes one pair further, or as far as another has come: 2^20 items in a row at most.
ROUNDS = 20


def near_duplicates(looks: DataFrame, similarity: float) -> DataFrame:
    """first, second: pairs of items of which every part that both show is alike; first < second.

    Parts are alike that share so much of their tokens (Jaccard). Pairs are found by the words of the title, and those
    of items without a title by their colours.

    Args:
        looks: item_id, words, colours, see :func:`lis_spark.preference.shown.looks`.
        similarity: in (0, 1]: shared tokens over all tokens of both.
    """
    # what shows the very same is one point, or a thousand copies were a million pairs
    same = [F.min("item_id").alias("item_id"), F.collect_list("item_id").alias("same")]
    points = looks.groupBy("words", "colours").agg(*same).persist()
    try:
        if points.isEmpty():  # a hash cannot be fitted on nothing
            return looks.sparkSession.createDataFrame([], "first string, second string")
        titled = F.size("words") > 0
        listed = points.select(
            "item_id",
            "colours",
            F.when(titled, F.col("words")).otherwise(F.col("colours").cast("array<string>")).alias("tokens"),
        )
        places = HashingTF(inputCol="tokens", outputCol="places", numFeatures=PLACES, binary=True).transform(listed)
        model = MinHashLSH(inputCol="places", outputCol="minima", numHashTables=TABLES, seed=0).fit(places)
        slim = places.select("item_id", "colours", "places")
        found = model.approxSimilarityJoin(slim, slim, 1 - similarity + 1e-9, "distance")
        one, other = F.col("datasetA.colours"), F.col("datasetB.colours")
        common = F.size(F.array_intersect(one, other))
        share = common / (F.size(one) + F.size(other) - common)
        alike = (F.size(one) == 0) | (F.size(other) == 0) | (share >= similarity - 1e-9)
        pairs = found.where(alike).select(
            F.col("datasetA.item_id").alias("first"), F.col("datasetB.item_id").alias("second")
        )
        copies = points.select(F.col("item_id").alias("first"), F.explode("same").alias("second"))
        return pairs.unionByName(copies).where("first < second").distinct().localCheckpoint()
    finally:
        points.unpersist()


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
