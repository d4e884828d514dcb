"""Configured features as vocabulary keys: which column, from which table, and the text that is looked up.

Shared by the vocabularies and the training rows, so that a key is always computed in one way.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from lis_spark.config import FeatureConfig, RunConfig
from lis_spark.errors import ConfigError
from lis_spark.sources.times import local_hour

_PREFIX = {"impressions": "context_", "items": "attribute_"}


def column_name(feature: FeatureConfig, columns: Sequence[str]) -> str:
    """The column of a feature: its name as it stands, or with the prefix of context and attribute columns.

    Raises:
        ConfigError: there is no such column, or it is an outcome of the impression.
    """
    for name in (feature.column, f"{_PREFIX[feature.origin]}{feature.column}"):
        if name.startswith("label_") or name.startswith("leaked_"):
            raise ConfigError(
                f"feature {feature.name!r} is an outcome of the same impression",
                found=f"column {name!r}",
                expected="something that is known before the request",
                remedy="remove the feature; outcomes are labels",
            )
        if name in columns:
            return name
    near = difflib.get_close_matches(feature.column, columns, 1)
    raise ConfigError(
        f"feature {feature.name!r}: no column {feature.column!r} in {feature.origin}",
        table=feature.origin,
        found=", ".join(columns),
        remedy=f"did you mean {near[0]!r}?" if near else "correct the key `column` of the feature",
    )


def key_of(feature: FeatureConfig, columns: Sequence[str], config: RunConfig) -> Column:
    """The text that is looked up in the feature's vocabulary; null where the value is missing.

    Args:
        feature: the feature.
        columns: columns of the table that it comes from.
        config: for its time zone.
    """
    column = F.col(column_name(feature, columns))
    if feature.transform == "hour":
        return local_hour(column, config.time_zone).cast("string")
    if feature.transform == "log2_bucket":
        # Counting binary digits is exact, where a floating-point log2 misses some powers of two.
        whole = F.floor(column.try_cast("double")).try_cast("bigint")
        return F.when(whole.between(0, 2**62), F.length(F.bin(whole + 1)) - 1).cast("string")
    text = F.trim(F.split_part(column, F.lit(","), F.lit(1))) if feature.transform == "first_token" else column
    return F.when(text.cast("string") != "", text.cast("string"))


def of_origin(config: RunConfig, origin: str) -> tuple[FeatureConfig, ...]:
    """The features of one table."""
    return tuple(feature for feature in config.features if feature.origin == origin)
