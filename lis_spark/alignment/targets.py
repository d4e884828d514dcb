"""What encoders are aligned to: the ID vectors of preference items, or what a leak said of them then (method 1.8, 4).

A leak stands for a preference data set. Its LIS says, now and with the ranker alone, what the data of the future would
be worth; an encoder aligned on the same data as it was months ago says what becomes of it. Between such encoders
only the targets differ, and which items have one: what the leak says nothing of is left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import EncoderConfig, IdTableLeak, SqlLeak, TableLeak
from lis_spark.errors import InputError
from lis_spark.lake import Lake
from lis_spark.lis.append.features import source_of
from lis_spark.lis.append.own_leak_source import item_values
from lis_spark.lis.plan.chains import base_name
from lis_spark.lis.plan.evaluation import resolve
from lis_spark.lis.swap.features import snapshot_tables
from lis_spark.preference.whitening import summed_moments, whitened, whitening
from lis_spark.vectors import width_of


def target_leak(lake: Lake, encoder: EncoderConfig) -> IdTableLeak | TableLeak | SqlLeak | None:
    """The leak whose vectors are the targets of an encoder; None where they are those of its preference items."""
    if encoder.leak is None:
        return None
    assert lake.config.append is not None
    leak = next(leak for leak in lake.config.append.future_leaks if leak.name == encoder.leak)
    assert isinstance(leak, IdTableLeak | TableLeak | SqlLeak)
    return leak


def targets_state(lake: Lake, encoder: EncoderConfig) -> list[object]:
    """What decides what the targets are, beside the preference items.

    Raises:
        InputError: there is no ID table of that day.
    """
    leak, date = target_leak(lake, encoder), lake.config.targets_date(encoder)
    if leak is None:
        return []
    if isinstance(leak, IdTableLeak):
        chain = base_name(lake.config.seeds[0])
        snapshots = lake.fingerprints("model_snapshots") if lake.exists("model_snapshots") else {}
        found = snapshots.get((chain, date.isoformat()))
        if found is None:
            raise InputError(
                "there is no table of that day",
                table="model_snapshots",
                partition=f"{chain}, {date}",
                expected="a day of the chain, for preference.as_of and encoders.leak_days",
                remedy="run lis-spark train, or change encoders.leak_days",
            )
        return [found]
    return [date, *source_of(lake, resolve(lake), leak, date).state()]


@contextmanager
def targets_of(lake: Lake, encoder: EncoderConfig, chosen: DataFrame) -> Iterator[DataFrame]:
    """item_id, is_validation, target of the preference items that have one; inside the block only.

    Args:
        lake: with the leak's tables.
        encoder: which targets.
        chosen: item_id, is_validation, target, update_count of preference items.

    Raises:
        InputError: the leak says nothing of the items, or the same of all.
    """
    leak, date = target_leak(lake, encoder), lake.config.targets_date(encoder)
    if leak is None:
        yield chosen.select("item_id", "is_validation", "target")
        return
    preference = lake.config.preference
    assert preference is not None
    items = chosen.drop("target")
    with _said(lake, leak, date, items) as said:
        known = items.join(said, "item_id").localCheckpoint()
        row = known.agg(
            F.max(width_of("vector")).alias("width"),
            F.count_if(~F.col("is_validation")).alias("train"),
            F.count_if("is_validation").alias("validation"),
        ).first()
        if row is None or not row["train"] or not row["validation"]:
            raise InputError(
                f"the leak {leak.name} says nothing of the items that encoder {encoder.name} is aligned on",
                table="preference_items",
                partition=preference.name,
                found=f"vectors as of {date} of {row['train'] if row else 0:,} items to train on, "
                f"{row['validation'] if row else 0:,} to validate",
                expected="some of each",
                remedy="look at the ids and dates of the leak, or set encoders.leak_days",
            )
        white = whitening(
            summed_moments(known.where("NOT is_validation"), row["width"]), preference.popularity_correlation
        )
        if not white.directions.shape[1]:
            raise InputError(
                f"the leak {leak.name} has no direction to align encoder {encoder.name} with",
                table="preference_items",
                partition=preference.name,
                found="the same for all items, but for what is popularity",
                remedy="raise preference.popularity_correlation, or leave the encoder out",
            )
        targets = whitened(known, white, row["width"])
        yield items.select("item_id", "is_validation").join(targets, "item_id")


@contextmanager
def _said(lake: Lake, leak: IdTableLeak | TableLeak | SqlLeak, date: dt.date, items: DataFrame) -> Iterator[DataFrame]:
    """item_id, vector as known on a day, of all users: what is aligned has to hold nobody out."""
    if isinstance(leak, IdTableLeak):
        table = snapshot_tables(lake, resolve(lake), {(base_name(lake.config.seeds[0]), date)})
        yield table.where("update_count > 0").select("item_id", "vector")
    else:
        with item_values(lake, leak, date, items) as found:
            yield found
