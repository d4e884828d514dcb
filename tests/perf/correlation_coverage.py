"""How often the intervals of LIS against AIS hold what is true of the true scores, over simulated data sets: shares of
resolvable pairs in the same order, correlations, and how much better one of two predictions is.

Errors of one data set's scores are correlated, as those of one set of users are.

python -m tests.perf.correlation_coverage --worlds 150 --sets 10
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np

from lis_spark.inference.students_t import critical_value
from lis_spark.lis.results.agreement import CONCORDANCE, PEARSON, SPEARMAN, Outcomes, agreement, pearson, spearman

TRUE = (0.0, 0.5, 0.7, 0.9, 0.97)
# Of errors, in units of the spread of the true scores.
ERRORS = (0.15, 0.3, 0.6)
# Between the errors of AIS and of both predictions of one data set.
SHARED = 0.3
PREDICTIONS = ("lis", "content")


def in_order(ais: np.ndarray, score: np.ndarray, resolved: np.ndarray) -> float:
    """Share of the pairs that both put in one order."""
    first, second = np.triu_indices(len(ais), 1)
    same = np.sign(ais[first] - ais[second]) == np.sign(score[first] - score[second])
    return float(np.mean(same[resolved])) if resolved.any() else np.nan


def main() -> None:
    """Prints a line for each true correlation and size of errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=150)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    sets, scores = options.sets, 1 + len(PREDICTIONS)
    first, second = np.triu_indices(sets, 1)
    for correlation in TRUE:
        for error in ERRORS:
            random, held = np.random.default_rng(7), defaultdict(list)
            of_true = np.full((scores, scores), correlation) + (1 - correlation) * np.eye(scores)
            of_errors = error**2 * (np.full((scores, scores), SHARED) + (1 - SHARED) * np.eye(scores))
            for world in range(options.worlds):
                true = random.multivariate_normal(np.zeros(scores), of_true, sets).T
                measured = true + random.multivariate_normal(np.zeros(scores), of_errors, sets).T
                predictions = dict(zip(PREDICTIONS, measured[1:], strict=True))
                none = np.zeros(sets, bool)
                covariance = np.kron(of_errors, np.eye(sets))
                outcomes = Outcomes(tuple(map(str, range(sets))), none, measured[0], predictions, covariance)
                resolved = np.abs(measured[0][first] - measured[0][second]) > critical_value(
                    np.inf, 0.05
                ) * error * np.sqrt(2)
                truth = {
                    CONCORDANCE: [in_order(true[0], one, resolved) for one in true[1:]],
                    SPEARMAN: [spearman(true[0], one) for one in true[1:]],
                    PEARSON: [pearson(true[0], one) for one in true[1:]],
                }
                for told in agreement(outcomes, world, options.draws):
                    if told.measure not in truth or told.ci_low is None or told.ci_high is None:
                        continue
                    own = truth[told.measure]
                    values = {"lis": own[0], "content": own[1], "content - lis": own[1] - own[0]}
                    kind = "difference" if " - " in told.score else "itself"
                    held[told.measure, kind].append(told.ci_low <= values[told.score] <= told.ci_high)
            shares = [f"{measure} {kind} {np.mean(found):.0%}" for (measure, kind), found in sorted(held.items())]
            print(f"correlation {correlation:.2f}, errors {error:.2f}: {', '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
