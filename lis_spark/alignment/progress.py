"""How far an encoder's training has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import TypeAdapter

from lis_spark.alignment.recall import Recall


@dataclass(frozen=True)
class Evaluated:
    """Validation after so many steps; ``loss`` is the mean since the last one, null before the first step."""

    step: int
    loss: float | None
    mean_recall: float
    content_to_id: tuple[float, ...]
    id_to_content: tuple[float, ...]
    gallery: int
    chance: float
    temperature: float | None

    @classmethod
    def of(cls, progress: Progress, found: Recall, temperature: float | None) -> Evaluated:
        """As of the progress."""
        since = progress.losses[progress.curve[-1].step if progress.curve else 0 :]
        return cls(
            progress.step,
            sum(since) / len(since) if since else None,
            found.mean,
            found.content_to_id,
            found.id_to_content,
            found.gallery,
            found.chance,
            temperature,
        )


@dataclass
class Progress:
    """Losses of all steps so far (nats, of the whole batch), the evaluations, and seconds spent on steps."""

    fingerprint: str
    losses: list[float] = field(default_factory=list)
    curve: list[Evaluated] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    @property
    def best(self) -> Evaluated:
        """The first with the highest mean recall."""
        return max(self.curve, key=lambda one: one.mean_recall)

    @property
    def is_best_now(self) -> bool:
        """Whether the last evaluation is better than all before."""
        return self.best is self.curve[-1]

    def has_stopped(self, patience: int | None) -> bool:
        """Whether so many evaluations after the best one were no better."""
        return patience is not None and len(self.curve) - 1 - self.curve.index(self.best) >= patience

    def learned(self, loss: float, seconds: float) -> None:
        """One more step."""
        self.losses.append(loss)
        self.seconds += seconds

    def evaluated(self, found: Evaluated) -> None:
        """One more evaluation."""
        self.curve.append(found)

    def json(self) -> str:
        """For :meth:`parse`."""
        return TypeAdapter(Progress).dump_json(self).decode()

    @classmethod
    def parse(cls, text: str | bytes) -> Progress:
        """The inverse of :meth:`json`."""
        return TypeAdapter(Progress).validate_json(text)
