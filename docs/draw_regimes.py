"""Draws docs/regimes.svg and prints the table of docs/regimes.md from the results of the regimes' runs.

    python docs/draw_regimes.py --regime "many impressions an item" build/paper_4/lis_results.json ...
                                --regime "few impressions an item" build/sparse_4/lis_results.json ...

The first file of a regime is drawn, the table holds all of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lis_spark.report import figures
from lis_spark.report.figures import Panel, Point, Series, draw_panels
from lis_spark.report.format import plain, signed
from lis_spark.report.measurements import Subject, clean, split_subjects

FOLDER = Path(__file__).resolve().parent
CURVES = (("naive", "naive"), ("honest", "honest"), ("label_shuffled", "shuffled"))
CONTROLS = ("backward", "row_permuted")


def main() -> None:
    """Writes the figure and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regime", action="append", nargs="+", required=True, metavar=("NAME", "FILE"))
    options = parser.parse_args()
    regimes = {name: [subject_of(Path(file)) for file in files] for name, *files in options.regime}
    (FOLDER / "regimes.svg").write_text(drawing(regimes), encoding="utf-8")
    for line in table(regimes):
        print(line)


def subject_of(file: Path) -> Subject:
    """The one leak that a run of a world measures."""
    rows = [clean(row) for row in json.loads(file.read_text(encoding="utf-8"))]
    (subject,) = [one for one in split_subjects(rows) if one.find("honest", one.dates[0], one.horizons[0])]
    return subject


def drawing(regimes: dict[str, list[Subject]]) -> str:
    """Panels side by side on one vertical axis, as a file of its own."""
    panels = []
    for name, (subject, *_) in regimes.items():
        day = subject.dates[0]
        series = []
        for variant, label in CURVES:
            rows = [subject.find(variant, day, horizon) for horizon in [0, *subject.horizons]]
            points = (Point(r["horizon_days"], r["lis"], r["ci_low"], r["ci_high"]) for r in rows if r is not None)
            series.append(Series(variant, label, tuple(points)))
        control = subject.find("naive", day, 0)
        assert control is not None
        panels.append(Panel(name, f"LIS, on a baseline AUC of {plain(control['auc_control'])}", tuple(series)))
    style = (Path(figures.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    width, gap = figures.WIDTH, 20
    parts = [
        f'<g transform="translate({number * (width + gap)} 0)">{drawn}</g>'
        for number, drawn in enumerate(draw_panels(panels, None, "regime"))
    ]
    total = len(parts) * (width + gap) - gap
    size = f'width="{total}" height="{figures.HEIGHT}"'
    # a nested drawing has the size that it was made for, whatever the page's style says
    inside = "".join(parts).replace("<svg ", f'<svg width="{width}" height="{figures.HEIGHT}" style="max-width:none" ')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {total} {figures.HEIGHT}" '
        f'font-family="system-ui,sans-serif"><style>{style}</style>'
        f'<rect {size} fill="var(--paper)"/>{inside}</svg>\n'
    )


def table(regimes: dict[str, list[Subject]]) -> list[str]:
    """Rows of Markdown: a world each, all regimes."""
    lines = []
    for name, subjects in regimes.items():
        for subject in subjects:
            day, horizons = subject.dates[0], subject.horizons
            control = subject.find("naive", day, 0)
            assert control is not None
            cells = [name, subject.rows[0]["seed"], plain(control["auc_control"])]
            for variant, _ in CURVES:
                rows = [subject.find(variant, day, horizon) for horizon in horizons]
                cells.append(" ".join("–" if row is None else signed(row["lis"]) for row in rows))
            first = subject.find("honest", day, horizons[0])
            assert first is not None
            cells.append(f"{signed(first['ci_low'])} to {signed(first['ci_high'])}")
            for variant in CONTROLS:
                horizon = -7 if variant == "backward" else 7
                row = subject.find(variant, day, horizon)
                cells.append(signed(row["lis"]) if row is not None else "")
            cells.append(plain(first["truth_bound"]) if first.get("truth_bound") is not None else "")
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


if __name__ == "__main__":
    main()
