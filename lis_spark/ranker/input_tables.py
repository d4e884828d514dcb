"""The tables that training rows are made of."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame


@dataclass(frozen=True, kw_only=True)
class InputTables:
    """Tables as a step reads them.

    Args:
        impressions: of one scenario.
        items: where a feature comes from them.
        vocabularies: every slot of the features.
        counts: see :func:`lis_spark.ranker.running_counts.counts_before`; None: no counts are looked up.
    """

    impressions: DataFrame
    items: DataFrame | None
    vocabularies: DataFrame
    counts: DataFrame | None = None
