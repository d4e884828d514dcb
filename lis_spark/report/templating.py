"""The environment that pages are rendered in: inline templates, escaped, and an undefined name is an error."""

from __future__ import annotations

import re
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lis_spark.report import format as formats


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Templates of ``report/templates``, with the filters that print numbers."""
    environment = Environment(
        loader=PackageLoader("lis_spark.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        signed=formats.signed,
        plain=formats.plain,
        percent=formats.percent,
        count=formats.count,
        seconds=formats.seconds,
        interval=lambda row, low="ci_low", high="ci_high": formats.short_interval(row.get(low), row.get(high)),
        tie=_tie,
        lift=formats.lift,
        digits=formats.digits,
        lifts=formats.lifts,
        p_value=formats.p_value,
    )
    return environment


def _tie(text: str) -> Markup:
    """Keeps dates, intervals, and numbers with their units on one line, and writes a minus where one is meant."""
    tied = re.sub(r"(?<![^\s(])-(?=\d)", "−", str(escape(text))).replace(" % CI ", " %\N{NO-BREAK SPACE}CI ")
    tied = re.sub(r"(\d) ?%", "\\1\N{NO-BREAK SPACE}%", tied)
    tied = re.sub(r"([\d.]+) to ([+−]?[\d.])", "\\1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}\\2", tied)
    return Markup(re.sub(r"(\d{4}-\d\d-\d\d)", r'<span class="nowrap">\1</span>', tied))
