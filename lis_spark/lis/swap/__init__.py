"""Arms that take the ranker as it is and swap a table: chains are trained, features made, arms scored."""
