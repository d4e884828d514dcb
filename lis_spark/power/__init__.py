"""Before a run: how much its data could show, and how much more would show what counts (method 2.5)."""
