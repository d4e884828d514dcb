"""What an item is counted under: its tags, authors, categories, phrases of its title, or a cluster of its content."""

from __future__ import annotations

from functools import reduce

from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import NGram, RegexTokenizer
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import PreferenceConfig
from lis_spark.preference.shown import GAPS

# Of items that have no entry and show nothing.
NOTHING = "(nothing)"
# Items that clusters are learned from: one partition of them is read again and again.
SAMPLE = 100_000


def entries_of(items: DataFrame, points: DataFrame, preference: PreferenceConfig) -> DataFrame:
    """item_id, entry, each pair once; every item has one at least.

    Args:
        items: item_id, title and the columns that the configuration names.
        points: see :func:`lis_spark.preference.shown.content_points`.
        preference: which entries there are.
    """
    parts = [_values(items, column) for column in preference.entry_columns]
    parts += [_phrases(items, words) for words in range(1, preference.title_words + 1)]
    everything = items.select("item_id")
    if not parts:
        return _clusters(everything, points, preference)
    named = reduce(DataFrame.unionByName, parts).distinct()
    left = everything.join(named.select("item_id").distinct(), "item_id", "left_anti")
    return named.unionByName(_clusters(left, points, preference))


def _values(items: DataFrame, column: str) -> DataFrame:
    listed = items.select("item_id", F.explode(F.split(F.lower(F.col(column).cast("string")), ",")).alias("value"))
    value = F.trim("value")
    return listed.where(value != "").select("item_id", F.concat(F.lit(f"{column}="), value).alias("entry"))


def _phrases(items: DataFrame, words: int) -> DataFrame:
    # not a filter: Spark may split a title before it asks whether there is one
    titled = items.select("item_id", F.coalesce("title", F.lit("")).alias("title"))
    split = RegexTokenizer(inputCol="title", outputCol="words", pattern=GAPS).transform(titled)
    phrases = NGram(n=words, inputCol="words", outputCol="phrases").transform(split)
    listed = phrases.select("item_id", F.explode("phrases").alias("phrase"))
    return listed.select("item_id", F.concat(F.lit("title="), "phrase").alias("entry"))


def _clusters(items: DataFrame, points: DataFrame, preference: PreferenceConfig) -> DataFrame:
    """Of items without an entry: the cluster of what they show; those that show nothing are one entry of their own."""
    points = points.join(items, "item_id")
    number = points.count()
    few = min(number, preference.clusters)
    if few < 2:  # one item is no cluster
        return items.select("item_id", F.lit(NOTHING).alias("entry"))
    share = F.lit(int(1_000_000 * min(SAMPLE / number, 1.0)))
    sample = points.where(F.pmod(F.xxhash64(F.lit("cluster sample"), "item_id"), F.lit(1_000_000)) < share)
    # one partition in one order, because the first centres are drawn by place
    model = KMeans(k=few, seed=preference.seed).fit(sample.repartition(1).sortWithinPartitions("item_id"))
    found = model.transform(points).select("item_id", F.concat(F.lit("cluster="), "prediction").alias("entry"))
    return items.join(found, "item_id", "left").select("item_id", F.coalesce("entry", F.lit(NOTHING)).alias("entry"))
