"""Where the rows of one's own leak come from: a query over the lake, a dated table, or the truth of a world."""

from __future__ import annotations

import datetime as dt

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import TimestampType

from lis_spark.config import SqlLeak, TableLeak
from lis_spark.errors import InputError
from lis_spark.folds import user_fold
from lis_spark.lake import Lake
from lis_spark.leaks.own_values import ID_COLUMN, ValueUse
from lis_spark.sources.columns import column_of
from lis_spark.sources.table import open_table
from lis_spark.sources.times import local_date


def query_rows(lake: Lake, leak: SqlLeak, use: ValueUse, held_out_from: dt.date, is_control: bool) -> DataFrame:
    """The answer to a query as of a day, without a fold of users.

    The tables stand in a session of their own, at the versions that this step reads: names of the caller's session
    are neither seen nor touched.

    Raises:
        InputError: Spark refuses the query.
    """
    query = leak.parsed_control if is_control else leak.parsed
    own = Lake(lake.spark.newSession(), lake.config, run_id=lake.run_id, step=lake.step, measurement=True)
    for name in query.tables:
        frame = own.read(name, lake.pin(name))
        if name == "impressions":
            frame = frame.where(F.col("scenario") == lake.config.scenario)
            frame = frame.withColumn("fold", user_fold(lake.config.evaluation.folds))
        frame.createOrReplaceTempView(name)
    values = {"as_of": use.as_of, "excluded_fold": use.held_out_fold, "held_out_from": held_out_from}
    asked = {name: value for name, value in values.items() if name in query.parameters}
    try:
        return own.spark.sql(query.text, args=asked)
    except PySparkException as error:
        raise InputError(
            "Spark refuses the query of a leak",
            table=leak.name,
            found=str(error).splitlines()[0][:500],
            expected=f"columns of {', '.join(query.tables) or 'the lake'}",
            remedy="correct the query; DESCRIBE TABLE shows what a table of the lake holds",
        ) from error


def dated_rows(lake: Lake, leak: TableLeak, use: ValueUse) -> DataFrame:
    """What a table of one's own said of each key on the last day before ``as_of``.

    Raises:
        InputError: the table cannot be opened, or has no such column.
    """
    frame = open_table(lake.spark, leak.path, leak.format, leak.version)
    by_fold = [leak.excluded_fold_column] if leak.excluded_fold_column else []
    missing = [c for c in (leak.key_column, leak.date_column, *leak.columns, *by_fold) if c not in frame.columns]
    if missing:
        raise InputError(
            f"column {missing[0]!r} of the leak {leak.name} is missing",
            table=leak.path,
            found=", ".join(frame.columns),
            expected=", ".join(missing),
            remedy="correct append.leaks",
        )
    day = column_of(leak.date_column)
    if isinstance(frame.schema[leak.date_column].dataType, TimestampType):  # an instant is of another day elsewhere
        day = local_date(day, lake.config.time_zone)
    day = day.cast("date")
    known = frame.where(day < F.lit(use.as_of))
    if leak.excluded_fold_column:
        known = known.where(column_of(leak.excluded_fold_column) == use.held_out_fold)
    key = column_of(leak.key_column).cast("string").alias(ID_COLUMN[leak.key])
    values = F.struct(*[column_of(name).alias(name) for name in leak.columns])
    if leak.key == "impression":  # it has one row, of its own day
        return known.select(key, *leak.columns)
    # a key that stands twice on its last day is left twice, to be refused by name
    dated = known.select(key, day.alias("day"), values.alias("values"))
    last = dated.groupBy(ID_COLUMN[leak.key]).agg(F.max("day").alias("day"))
    return dated.join(last, [ID_COLUMN[leak.key], "day"]).select(ID_COLUMN[leak.key], "values.*")


def planted_rows(lake: Lake) -> DataFrame:
    """The log odds of p* of each impression."""
    p = F.col("click_probability")
    return lake.read("truth").select("impression_id", F.log(p / (1 - p)).alias("log_odds"))
