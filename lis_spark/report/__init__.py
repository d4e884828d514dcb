"""The report of a run: one HTML file for people and one table for the terminal, both from the rows of lis_results."""

from lis_spark.report.context import ReportContext, Unavailable
from lis_spark.report.page import write_report
from lis_spark.report.terminal import print_results

__all__ = ["ReportContext", "Unavailable", "print_results", "write_report"]
