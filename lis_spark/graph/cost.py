"""What graphs would cost, told from the clicks before any graph is made (``lis-spark analyze``)."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lis_spark.config import RunConfig
from lis_spark.graph.blocks import cost_of_items
from lis_spark.graph.requests import GraphRequest, graph_requests_of
from lis_spark.graph.step import tagged
from lis_spark.graph.user_items import source_pairs, user_items


@dataclass(frozen=True)
class GraphCost:
    """All graphs of one configuration.

    ``clicks`` that they read and ``cost`` in steps of the kernel, of all together: each as much as the largest of its
    evaluated day. ``largest`` and ``entries``: steps, and lengths of all lists of all users of all items, of the
    largest of all.
    """

    name: str
    graphs: int
    clicks: int
    cost: int
    largest: int
    entries: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.graphs} graphs of {self.clicks:,} clicks, at most {self.cost:.2g} steps; the largest "
            f"{self.largest:.2g} steps over {self.entries:,} list entries"
        )


def graph_costs(impressions: DataFrame, config: RunConfig) -> list[GraphCost]:
    """The costs of each configured graph; two shuffles of the clicks of each evaluated day's longest window.

    The other graphs of an evaluated day hold some of the clicks of the largest one.

    Args:
        impressions: the columns of the table ``impressions``.
        config: graphs, evaluated days, horizons.
    """
    costs = []
    for graph in config.graphs:
        of_dates = [graph_requests_of(config, graph, date) for date in config.evaluation.dates]
        largest = [max(requests, key=_whole_window) for requests in of_dates]
        clicks = tagged(impressions, config, largest).persist()
        counts = {row["request"]: row["count"] for row in clicks.groupBy("request").count().collect()}
        sources = source_pairs(user_items(clicks, graph), graph).select("request", "item_id", "user_items")
        cost = (
            cost_of_items(sources, "item_id")
            .groupBy("request")
            .agg(F.sum("cost").alias("c"), F.sum("entries").alias("e"))
        )
        found = {row["request"]: (int(row["c"]), int(row["e"])) for row in cost.collect()}
        clicks.unpersist()
        numbers = range(len(largest))
        costs.append(
            GraphCost(
                name=graph.name,
                graphs=len({request.key for requests in of_dates for request in requests}),
                clicks=sum(counts.get(n, 0) * len(of_dates[n]) for n in numbers),
                cost=sum(found.get(n, (0, 0))[0] * len(of_dates[n]) for n in numbers),
                largest=max((found.get(n, (0, 0))[0] for n in numbers), default=0),
                entries=max((found.get(n, (0, 0))[1] for n in numbers), default=0),
            )
        )
    return costs


def _whole_window(request: GraphRequest) -> tuple[int, bool]:
    return len(request.days), request.held_out_from is None
