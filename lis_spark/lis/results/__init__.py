"""From scores to what is told: rankings, intervals, verdicts, comparisons of leaks, scores of one's own."""
