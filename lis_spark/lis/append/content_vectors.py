"""What content predicts of the vectors of a leak, for the arms of LIS_content (method 1.8).

An item's target is the mean of its vectors over the window: for users of fold f of those that know nothing of the fold,
or, where a leak does not come by fold, of the other users' impressions. A regressor is fitted on a sample of items on
the driver (items x width, never impressions); every item is predicted by the one that has not seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import ContentConfig
from lis_spark.errors import InputError
from lis_spark.folds import NO_FOLD
from lis_spark.lake import Lake
from lis_spark.leaks.content import Regressor, content_features, fit
from lis_spark.lis.append.wrong_order import in_the_wrong_order
from lis_spark.lis.plan.append_feature import AppendFeature
from lis_spark.ranker.plans import file_url
from lis_spark.vectors import BYTES_PER_VALUE, pack, unpack

# Columns of items that say what an item is; attributes of the source beside them.
DESCRIBING = ("tags", "author_id", "title", "image")
_MEANS = pa.schema([("place", pa.int32()), ("group", pa.int32()), ("item_id", pa.string()), ("vector", pa.binary())])
_MEANS_DDL = "place int, group int, item_id string, vector binary"
_PREDICTED = pa.schema(
    [
        ("place", pa.int32()),
        ("group", pa.int32()),
        ("seed", pa.int32()),
        ("draw", pa.int32()),
        ("item_id", pa.string()),
        ("made", pa.string()),
        ("vector", pa.binary()),
    ]
)
_PREDICTED_DDL = "place int, group int, seed int, draw int, item_id string, made string, vector binary"
# Place, training seed, draw and ``made`` of an arm that is given predictions.
_Given = tuple[int, int | None, int, str]
# Pieces that the rows of one leak and fold are averaged in.
PIECES = 8


def content_vectors(
    lake: Lake,
    rows: DataFrame,
    owners: DataFrame,
    features: Sequence[AppendFeature],
    content: ContentConfig,
    folder: Path,
) -> DataFrame:
    """date, impression_id, place, vector of the arms that are made from content.

    Args:
        lake: with ``items`` and ``impressions``.
        rows: item_id, fold, held_out_fold, place, vector: what is predicted, under the place of the arm ``content``.
        owners: date, impression_id, item_id, fold: the impressions that are given predictions.
        features: all arms, by place.
        content: see :class:`lis_spark.config.ContentConfig`.
        folder: for features and regressors, where every worker can open it.

    Raises:
        InputError: items show nothing.
    """
    shown_content(lake, content).write.parquet(file_url(folder / "features"))
    shown = lake.spark.read.parquet(file_url(folder / "features"))
    count = shown.count()
    if not count:
        raise InputError(
            "no item shows anything, so content predicts nothing",
            table="items",
            found="no item with a value",
            expected=f"values of {', '.join((*(content.columns or DESCRIBING), *content.context))}",
            remedy="leave append.content out, or give the source a table of items",
        )
    folds = lake.config.evaluation.folds
    means = _means(rows, folds)
    item_fold = F.pmod(F.xxhash64(F.lit("content fold"), "item_id"), F.lit(content.folds)).cast("int")
    listed = shown.withColumn("item_fold", item_fold)
    limit = 1_000_000 * content.sampled_items / count
    drawn = F.pmod(F.xxhash64(F.lit("content sample"), "item_id"), F.lit(1_000_000)) < limit
    # what the regressors learn from: sorted, so that the same rows give the same bits; features once for all vectors
    sample = listed.where(drawn).orderBy("item_id").toArrow().combine_chunks()
    sampled = means.join(F.broadcast(listed.where(drawn).select("item_id")), "item_id")
    everything = unpack(sample["features"], 2 * content.projections)
    for place, group, part in _parts(sampled.orderBy("place", "group", "item_id").toArrow()):
        items = pc.index_in(part["item_id"], sample["item_id"]).to_numpy()
        inputs, item_folds = everything[items], sample["item_fold"].to_numpy()[items]
        width = len(part["vector"][0].as_py()) // BYTES_PER_VALUE
        fitted = fit(inputs, unpack(part["vector"], width), item_folds, content.folds)
        np.save(folder / f"{place}-{group}.npy", fitted.standardised(inputs, item_folds).maps)
    predicted = listed.mapInArrow(_predict(str(folder), content, _given(features)), _PREDICTED_DDL)
    anywhere = F.lit(None).cast("date")
    keyed = predicted.withColumns({"key": F.xxhash64("item_id"), "shuffled_within": anywhere})
    given = in_the_wrong_order(keyed.withColumnRenamed("group", "held_out_fold"))
    return owners.join(given.withColumnRenamed("held_out_fold", "fold"), ["item_id", "fold"]).select(
        "date", "impression_id", "place", "vector"
    )


def shown_content(lake: Lake, content: ContentConfig) -> DataFrame:
    """Features of all items: what the table of items says, and context that belongs to an item."""
    items = lake.read("items")
    if content.columns is None:
        chosen = [name for name in items.columns if name in DESCRIBING or name.startswith("attribute_")]
    else:
        chosen = [name for name in items.columns if name in content.columns]
    frame = items.select("item_id", *chosen)
    if content.context:
        said = [F.min(f"context_{name}").alias(f"context_{name}") for name in content.context]
        frame = frame.join(lake.read("impressions").groupBy("item_id").agg(*said), "item_id", "left")
    return content_features(frame, content)


def _given(features: Sequence[AppendFeature]) -> dict[int, list[_Given]]:
    """Place of what is predicted -> the arms that are given the predictions: its own, and those of its shuffles."""
    return {
        place: [
            (number, other.seed, other.draw, "as_is" if number == place else "row_shuffled")
            for number, other in enumerate(features)
            if number == place or (other.made == "content_shuffled" and _same(other, content))
        ]
        for place, content in enumerate(features)
        if content.made == "content"
    }


def _same(feature: AppendFeature, content: AppendFeature) -> bool:
    own = (content.leak, content.horizon_days, content.beside, content.seed)
    return (feature.leak, feature.horizon_days, feature.beside, feature.seed) == own


def _parts(sample: pa.Table) -> Iterator[tuple[int, int, pa.Table]]:
    places, groups = sample["place"].to_numpy(), sample["group"].to_numpy()
    for place, group in sorted(set(zip(places.tolist(), groups.tolist(), strict=True))):
        yield place, group, sample.filter(pa.array((places == place) & (groups == group))).combine_chunks()


def _means(rows: DataFrame, folds: int) -> DataFrame:
    """place, group (the fold that is predicted for), item_id, vector: means, for every fold."""
    group = F.explode(F.sequence(F.lit(0), F.lit(folds - 1))).alias("group")
    for_group = rows.select("place", "item_id", "fold", "held_out_fold", "vector", group)
    by_fold = F.col("held_out_fold") != NO_FOLD
    wanted = (by_fold & (F.col("held_out_fold") == F.col("group"))) | (~by_fold & (F.col("fold") != F.col("group")))
    piece = F.pmod(F.xxhash64("item_id"), F.lit(PIECES))
    chosen = for_group.where(wanted).select("place", "group", "item_id", "vector", piece.alias("piece"))
    return chosen.groupBy("place", "group", "piece").applyInArrow(_mean_by_item, _MEANS_DDL)


def _mean_by_item(table: pa.Table) -> pa.Table:
    width = len(table["vector"][0].as_py()) // BYTES_PER_VALUE
    ordered = table.sort_by([("item_id", "ascending"), ("vector", "ascending")]).combine_chunks()
    vectors = unpack(ordered["vector"], width).astype(np.float64)
    encoded = ordered["item_id"].combine_chunks().dictionary_encode()
    numbers = encoded.indices.to_numpy()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    sums = np.add.reduceat(vectors, starts, axis=0)
    means = sums / np.diff(np.append(starts, len(vectors)))[:, None]
    count = len(starts)
    place, group = (pa.array(np.full(count, table[name][0].as_py(), np.int32)) for name in ("place", "group"))
    return pa.Table.from_arrays(
        [place, group, encoded.dictionary.take(pa.array(numbers[starts])), pack(means.astype(np.float32))],
        schema=_MEANS,
    )


def _predict(
    folder: str, content: ContentConfig, given: Mapping[int, Sequence[_Given]]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Items -> their predictions by every regressor, under the place of the arm and under those of its shuffles."""

    def predict(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        regressors = {
            tuple(map(int, file.stem.split("-"))): Regressor(np.load(file))
            for file in sorted(Path(folder).glob("*.npy"))
        }
        for batch in batches:
            features = unpack(batch["features"], 2 * content.projections)
            folds = batch["item_fold"].to_numpy()
            for (place, group), regressor in regressors.items():
                vectors = pack(regressor.predict(features, folds))
                for number, seed, draw, made in given[place]:
                    integers = [pa.scalar(value, pa.int32()) for value in (number, group, seed, draw)]
                    repeated = [pa.repeat(value, len(features)) for value in integers]
                    columns = [*repeated, batch["item_id"], pa.repeat(made, len(features)), vectors]
                    yield pa.RecordBatch.from_arrays(columns, schema=_PREDICTED)

    return predict
