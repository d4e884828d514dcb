"""Which graphs an evaluation needs: as of which day, from which clicks, without whom (method 1.5, 3)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from lis_spark.config import GraphConfig, RunConfig
from lis_spark.folds import NO_FOLD

ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class GraphRequest:
    """One graph: the clicks of ``first_date`` .. the day before ``as_of``.

    Of users in ``held_out_fold`` only the clicks before ``held_out_from`` go in: who is scored on that day does not
    know of his own later clicks.
    """

    graph: GraphConfig
    first_date: dt.date
    as_of: dt.date
    held_out_fold: int = NO_FOLD
    held_out_from: dt.date | None = None

    @property
    def name(self) -> str:
        """Value of ``item_graph.graph``."""
        without = "" if self.held_out_from is None else f"-without-fold-{self.held_out_fold}-from-{self.held_out_from}"
        return f"{self.graph.name}-since-{self.first_date}{without}"

    @property
    def key(self) -> tuple[str, str]:
        """Partition of ``item_graph``."""
        return self.name, self.as_of.isoformat()

    @property
    def days(self) -> list[dt.date]:
        """The days whose clicks go in."""
        return [self.first_date + ONE_DAY * offset for offset in range((self.as_of - self.first_date).days)]


def graph_requests(config: RunConfig) -> list[GraphRequest]:
    """The graphs of all evaluated days, each once."""
    requests: dict[tuple[str, str], GraphRequest] = {}
    for graph in config.graphs:
        for date in config.evaluation.dates:
            requests |= {request.key: request for request in graph_requests_of(config, graph, date)}
    return list(requests.values())


def graph_requests_of(config: RunConfig, graph: GraphConfig, date: dt.date) -> list[GraphRequest]:
    """For an evaluated day T the graph as of T (the control), as of T + n, and as of T + n without each fold.

    All begin w days before T: the leaked graph is the control's with the clicks of n more days.
    """
    first = date - ONE_DAY * graph.window_days
    requests = [GraphRequest(graph, first, date)]
    for horizon in sorted({*config.evaluation.horizons, *config.append_horizons} - {0}):
        later = date + ONE_DAY * horizon
        requests.append(GraphRequest(graph, first, later))
        requests += [GraphRequest(graph, first, later, fold, date) for fold in range(config.evaluation.folds)]
    return requests
