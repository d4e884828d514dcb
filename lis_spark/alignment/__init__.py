"""An encoder of items, aligned with their ID vectors, and what it says of every item (method 5)."""
