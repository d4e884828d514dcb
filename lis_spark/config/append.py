"""Section on protocol ``append``: which leaks, through which port, over which days (method 1.3 to 1.6)."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from lis_spark.config.leaks import IdTableLeak, Leak, OwnLeak, PlantedLeak, Representation
from lis_spark.config.section import Section

# Of the columns of items.
SEEN_BY_ENCODERS = frozenset({"title", "image"})


class ContentConfig(Section):
    """LIS_content: the part of a leak that cheap, frozen content features predict (method 1.8)."""

    columns: tuple[str, ...] | None = Field(
        None, description="of items; where absent tags, author_id, title, image and the attributes of the source"
    )
    context: tuple[str, ...] = Field((), description="context columns that say something of the item: its duration")
    projections: int = Field(256, ge=16, le=4096, description="random projections of the features, and their cosines")
    sampled_items: int = Field(20_000, ge=100, description="items that the regressor is fitted on")
    folds: int = Field(5, ge=2, description="of items: none is predicted by a regressor that has seen it")
    shuffles: int = Field(1, ge=1, description="wrong orders of a training seed, whose mean is the control")


class LadderConfig(Section):
    """What is reached of what the future would give, rung by rung, all beside the same ID vector (method 6)."""

    unaligned: str = Field(description="a representation that is not aligned")
    aligned: str = Field(description="the representation that is looked into")
    others: tuple[str, ...] = Field((), description="further representations, which the aligned one is compared with")
    id_table: str = Field("id_table", description="name of the leak of kind id_table")
    noise_draws: int = Field(5, ge=2, le=100, description="Gaussian draws, whose mean is the lowest rung")
    stronger_port: int | None = Field(
        64, ge=2, le=1024, description="the aligned vector also enters through a hidden layer of so many: lost in use"
    )


class AppendConfig(Section):
    """Both arms trained on from M_{T-w} with the leak, or its control, as one more feature of every impression."""

    leaks: tuple[Leak, ...] = Field(min_length=1)
    window_days: int = Field(3, ge=1, description="w: trained on D_{T-w} .. D_{T-1}")
    horizons: tuple[int, ...] | None = Field(None, description="n; those of evaluation above 0 where absent")
    port_columns: int = Field(32, ge=1, le=256, description="the vector enters the interaction layers as so many")
    content: ContentConfig | None = Field(None, description="also measure what content predicts of each leak")
    ladder: LadderConfig | None = Field(None, description="also measure the nested ladder; needs content")

    @property
    def future_leaks(self) -> tuple[Leak, ...]:
        """Those that hold something of after T."""
        return tuple(leak for leak in self.leaks if not isinstance(leak, Representation))

    @property
    def noise(self) -> set[str]:
        """Names of the leaks that are known to say nothing."""
        return {leak.name for leak in self.future_leaks if isinstance(leak, OwnLeak) and leak.is_noise}

    @property
    def without_data(self) -> set[str]:
        """Names of the leaks that are no preference data: noise, and the planted truth of a simulated world."""
        return self.noise | {leak.name for leak in self.future_leaks if isinstance(leak, PlantedLeak)}

    @property
    def representations(self) -> tuple[Representation, ...]:
        """What encoders say, and preference data: measured beside leaks."""
        return tuple(leak for leak in self.leaks if isinstance(leak, Representation))

    @field_validator("horizons")
    @classmethod
    def _horizons(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and any(h < 1 for h in value):
            raise ValueError("a leak of n days needs n of at least 1")
        return None if value is None else tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _names(self) -> AppendConfig:
        names = [leak.name for leak in self.leaks]
        if len(set(names)) < len(names):
            raise ValueError("leaks: two leaks have the same name")
        represented = {leak.name for leak in self.representations}
        for leak in self.representations:
            unknown = sorted(set(leak.above) - (represented - {leak.name}))
            if unknown:
                raise ValueError(f"leaks: {leak.name} is to be above {unknown[0]}, which is no other representation")
        if self.ladder is not None:
            tables = [leak.name for leak in self.leaks if isinstance(leak, IdTableLeak)]
            named = (self.ladder.unaligned, self.ladder.aligned, *self.ladder.others)
            if len(set(named)) < len(named):
                raise ValueError(f"ladder: each representation stands on it once, found {', '.join(named)}")
            for wanted, known in (
                (self.ladder.unaligned, represented),
                (self.ladder.aligned, represented),
                *((name, represented) for name in self.ladder.others),
                (self.ladder.id_table, set(tables)),
            ):
                if wanted not in known:
                    raise ValueError(f"ladder: it wants {wanted!r}, leaks has {sorted(known)}")
            if self.content is None:
                raise ValueError("ladder: what content predicts of the future is a rung; give append.content")
            if self.content.context or not set(self.content.columns or ("everything",)) <= SEEN_BY_ENCODERS:
                raise ValueError(
                    "ladder: what encoders are not shown is not left to their training; give append.content: "
                    "{columns: [title, image]}, without context"
                )
        if "id_embedding" in names or "ladder" in names:
            raise ValueError("leaks: the names id_embedding and ladder are taken")
        return self
