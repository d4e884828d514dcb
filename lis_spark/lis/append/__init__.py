"""Arms that are retrained with one more feature: leaks, representations and the rungs of the ladder."""
