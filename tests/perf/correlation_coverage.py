"""How often the interval of a correlation holds that of the true scores, over simulated data sets.

python -m tests.perf.correlation_coverage --worlds 150 --sets 10
"""

from __future__ import annotations

import argparse

import numpy as np

from lis_spark.lis.results.agreement import pearson
from lis_spark.lis.results.true_scores import true_scores

TRUE = (0.0, 0.5, 0.7, 0.9, 0.97)
# Of errors, in units of the spread of the true scores.
ERRORS = (0.15, 0.3, 0.6)


def main() -> None:
    """Prints a line for each true correlation and size of errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=150)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    for correlation in TRUE:
        for error in ERRORS:
            random, held, widths = np.random.default_rng(7), 0, []
            for world in range(options.worlds):
                true = random.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], options.sets).T
                measured = true + error * random.standard_normal(true.shape)
                drawn = true_scores(measured, error**2 * np.eye(true.size), world, options.draws)
                low, high = np.quantile([pearson(*one) for one in drawn], [0.025, 0.975])
                held += low <= pearson(*true) <= high
                widths.append(high - low)
            print(
                f"correlation {correlation:.2f}, errors {error:.2f} of the spread: {held / options.worlds:.0%} of "
                f"{options.worlds} intervals hold it, {np.mean(widths):.2f} wide",
                flush=True,
            )


if __name__ == "__main__":
    main()
