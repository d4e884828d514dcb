"""The base of every section of a configuration, and fingerprints of them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every section: immutable, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def fingerprint(*parts: Any) -> str:
    """32 hex digits of SHA-256 over the canonical JSON of plain data and pydantic sections."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if isinstance(value, dt.date):
            return value.isoformat()
        raise TypeError(f"cannot fingerprint {type(value)}")

    text = json.dumps(parts, sort_keys=True, default=plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
