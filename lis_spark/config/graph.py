"""Sections on graphs of similar items (method 3)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lis_spark.config.section import Section

GraphKind = Literal["swing", "cosine"]
SwingPreset = Literal["flink", "alink", "sqrt"]

# preset -> (alpha, a1, beta) of w_u = 1 / (a1 + |I_u|)^beta. Public systems differ even in the sign of beta: Alink's
# favours heavy users, Flink ML's light ones.
SWING_PRESETS: dict[SwingPreset, tuple[float, float, float]] = {
    "flink": (0.0, 15.0, 0.3),
    "alink": (1.0, 5.0, -0.35),
    "sqrt": (1.0, 0.0, 0.5),
}


class GraphConfig(Section):
    """One graph of similar items: from which clicks, how similar, how many neighbours."""

    name: str = Field("swing", pattern=r"^[a-z][a-z0-9_]*$")
    kind: GraphKind = Field("swing", description="cosine: ItemCF, for comparison")
    preset: SwingPreset = Field("flink", description="weights of swing")
    alpha: float | None = Field(None, ge=0, description="added to |I_u & I_v|; the preset's where absent")
    user_weight_offset: float | None = Field(None, ge=0, description="a1 of w_u = 1 / (a1 + |I_u|)^beta")
    user_weight_exponent: float | None = Field(None, description="beta")
    window_days: int = Field(7, ge=1, description="w: the graph of T holds the clicks of D_{T-w} .. D_{T-1}")
    min_user_items: int = Field(10, ge=1, description="users with fewer items are left out")
    max_user_items: int = Field(1000, ge=2, description="of users with more, the most recent items count")
    max_item_users: int = Field(1000, ge=2, description="users of an item: those of the smallest hashes")
    min_common_users: int = Field(1, ge=1, description="neighbours with fewer common users are left out")
    neighbours: int = Field(5, ge=1, le=1000)
    seed: int = 0
    blocks: int | None = Field(None, ge=1, description="of items; from the cost and the cores where absent")

    @property
    def swing_weights(self) -> tuple[float, float, float]:
        """(alpha, a1, beta): the preset's, with what is given beside it."""
        given = (self.alpha, self.user_weight_offset, self.user_weight_exponent)
        preset = SWING_PRESETS[self.preset]
        alpha, offset, exponent = (p if g is None else g for g, p in zip(given, preset, strict=True))
        return alpha, offset, exponent
