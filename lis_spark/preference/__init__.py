"""Which items an encoder is aligned on: eligibility, curation, split and targets (method 4)."""
