"""MovieTweetings (MIT, Simon Dooms): ratings 0-10 with time stamps; a high rating is the label.

These are ratings, not impressions: nobody was shown what they did not rate. Good for tests and for a second scale.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lis_spark.config import MovieTweetingsSource, RunConfig
from lis_spark.errors import ConfigError
from lis_spark.sources.columns import candidate_rows, identifier, text_or_null
from lis_spark.sources.files import read_lines
from lis_spark.sources.source import SourceData

LARGEST_RATING = 10


def read(spark: SparkSession, config: RunConfig) -> SourceData:
    """Reads ``ratings.dat`` and ``movies.dat``; the one configured label is ``rating >= positive_rating``.

    Raises:
        ConfigError: more than one label is configured.
        InputError: a file is missing.
    """
    assert isinstance(config.source, MovieTweetingsSource)
    if len(config.labels) != 1:
        raise ConfigError(
            "the source has one label, the rating",
            found=", ".join(config.labels),
            expected="one name",
            remedy="give labels one name",
        )
    folder = config.source.path.rstrip("/")
    frame = read_lines(spark, f"{folder}/ratings.dat", ("user_id", "movie_id", "rating", "epoch_seconds"))
    impressions = candidate_rows(
        frame,
        user_id="user_id",
        item_id="movie_id",
        time="epoch_seconds",
        time_format="epoch_seconds",
        time_zone=config.time_zone,
        labels={config.labels[0]: _high(F.col("rating").try_cast("double"), config.source.positive_rating)},
        scenario=F.lit(config.scenario),
        context={},
    )
    return SourceData(
        name=f"movietweetings:{config.source.path}",
        impressions=impressions,
        items=_items(spark, folder),
        has_impression_id=False,
        notes=(
            "rows are ratings, not impressions",
            "impression ids are derived from (user, movie, time, ordinal)",
            "request ids are derived from (user, minute)",
        ),
    )


def _high(rating: Column, positive_rating: int) -> Column:
    return F.when(rating.between(0, LARGEST_RATING), (rating >= positive_rating).cast("double"))


def _items(spark: SparkSession, folder: str) -> DataFrame:
    frame = read_lines(spark, f"{folder}/movies.dat", ("movie_id", "title", "genres"))
    year = F.regexp_extract("title", r"\((\d{4})\)\s*$", 1)
    return frame.select(
        F.struct("*").alias("raw"),
        identifier("movie_id").alias("item_id"),
        F.lit(None).cast("date").alias("born_date"),
        text_or_null("title").alias("title"),
        F.lit(None).cast("binary").alias("image"),
        F.translate(text_or_null("genres"), "|", ",").alias("tags"),
        F.lit(None).cast("string").alias("author_id"),
        F.when(year != "", year).alias("attribute_year"),
    )
