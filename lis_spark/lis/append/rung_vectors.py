"""What the ports of the nested ladder's rungs read: the ID vector of T, what the rung is named after, noise (method 6).

All rungs have the same columns. What is narrower than the widest of them is filled up with Gaussian draws, of which the
lowest rung is made altogether: a rung is above another for what it says, not for how many numbers it has.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import Representation
from lis_spark.config.leaks import HONEST
from lis_spark.keyed_random import normals, salt
from lis_spark.lake import Lake
from lis_spark.lis.append.looked_up import seed_of_chain
from lis_spark.lis.append.representation_source import vector_width
from lis_spark.lis.plan.append_feature import AppendFeature, gaussian_stream
from lis_spark.vectors import pack, unpack

_SCHEMA = pa.schema(
    [("date", pa.date32()), ("impression_id", pa.string()), ("place", pa.int32()), ("vector", pa.binary())]
)
_SCHEMA_DDL = "date date, impression_id string, place int, vector binary"


@dataclass(frozen=True)
class RungParts:
    """How many numbers a rung's vector has of which kind; ``draw`` is that of the lowest rung, all noise."""

    own: int
    named: int
    noise: int
    draw: int | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the parts that it has."""
        return tuple(width for width in (self.own, self.named, self.noise) if width)


def rung_parts(lake: Lake, features: Sequence[AppendFeature]) -> dict[int, RungParts]:
    """By place, of the features that stand beside an ID vector."""
    rungs = {place: feature for place, feature in enumerate(features) if feature.beside is not None}
    own = lake.config.ranker.dimension
    named = {
        place: vector_width(lake, feature.leak) if isinstance(feature.leak, Representation) else own
        for place, feature in rungs.items()
        if feature.made != "gaussian"
    }
    widest = max(named.values(), default=0)
    return {
        place: RungParts(own, named[place], widest - named[place])
        if place in named
        else RungParts(own, 0, widest, feature.draw)
        for place, feature in rungs.items()
    }


def with_rungs(
    lake: Lake, date: dt.date, vectors: DataFrame, features: Sequence[AppendFeature], owners: DataFrame
) -> DataFrame:
    """date, impression_id, place, vector: those of rungs made of the parts that :func:`rung_parts` gives them.

    Args:
        lake: with ``control_features``, which hold the ID vector of T by each seed's chain of the user's fold.
        date: T.
        vectors: date, impression_id, place, vector of all features, where there are any.
        features: by place.
        owners: the impressions that stand for all of their item, see :func:`lis_spark.lis.append.looked_up.owners_of`.
    """
    parts = rung_parts(lake, features)
    if not parts:
        return vectors
    (table,) = {feature.beside for feature in features if feature.beside is not None}
    own = lake.read("control_features").where(
        (F.col("evaluated_date") == F.lit(date))
        & (F.col("leak") == table)
        & (F.col("variant") == HONEST)
        & (F.col("horizon_days") == 0)
    )
    own = own.withColumn("seed", seed_of_chain()).join(
        owners.select("date", "impression_id"), ["date", "impression_id"], "left_semi"
    )
    places = lake.spark.createDataFrame([(place, features[place].seed) for place in parts], "place int, seed int")
    every = own.select(
        *("date", "impression_id", "seed", F.xxhash64("item_id").alias("key"), F.col("control_vector").alias("own"))
    ).join(F.broadcast(places), "seed")
    is_rung = F.col("place").isin(list(parts))
    joined = every.join(vectors.where(is_rung), ["date", "impression_id", "place"], "left")
    rungs = joined.select("date", "impression_id", "place", "key", "own", "vector").mapInArrow(
        _joined_parts(parts, {place: seed for place in parts if (seed := features[place].seed) is not None}),
        _SCHEMA_DDL,
    )
    return vectors.where(~is_rung).unionByName(rungs)


def _joined_parts(
    parts: Mapping[int, RungParts],
    seeds: Mapping[int, int],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The parts one after another; zeros stand where there is no ID vector, or nothing that the rung is named after."""

    def join(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            places = batch["place"].to_numpy()
            for place in np.unique(places):
                part, rung = batch.filter(pa.array(places == place)), parts[int(place)]
                present = ~np.asarray(part["vector"].is_null())
                columns = [_or_zeros(part["own"], rung.own)]
                if rung.named:
                    columns.append(_or_zeros(part["vector"], rung.named))
                plain = salt("beside a rung")
                stream = plain if rung.draw is None else gaussian_stream(seeds[int(place)], rung.draw)
                noise = normals(stream, part["key"].to_numpy(), rung.noise).T * present[:, None]
                vectors = pack(np.concatenate([*columns, noise.astype(np.float32)], axis=1))
                kept = [part[name] for name in _SCHEMA.names[:-1]]
                yield pa.RecordBatch.from_arrays([*kept, vectors], schema=_SCHEMA)

    return join


def _or_zeros(packed: pa.Array, width: int) -> np.ndarray:
    """float32 [rows, width]."""
    vectors = np.zeros((len(packed), width), np.float32)
    present = ~np.asarray(packed.is_null())
    vectors[present] = unpack(packed.drop_null(), width)
    return vectors
