"""Turns the machinery on a feature table that somebody believes honest: which columns know what came after."""
