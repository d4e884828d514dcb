"""A table with users in it is one that `lis-spark forget` knows."""

from __future__ import annotations

import re
from pathlib import Path

from lis_spark.forget import BY_IMPRESSION, BY_USER

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
# Written again, found by rules of their own, or last of all.
OTHERWISE = {"training_rows", "quarantine", "impressions"}


def test_no_table_with_users_is_left_out() -> None:
    with_users = {file.stem for file in SCHEMAS.glob("*.sql") if re.search(r"^  user_id ", file.read_text(), re.M)}
    assert {"scores", "experiment_users"} <= with_users
    assert with_users <= {*BY_USER, *BY_IMPRESSION, *OTHERWISE}
    assert not set(BY_USER) - with_users
