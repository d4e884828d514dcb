"""How far an encoder's training has come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from lis_spark.alignment.plans import RESULT_FILE
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
    """Losses of all steps so far (nats, of the whole batch), the evaluations, and seconds spent on steps.

    ``keeps_last``: mean recall neither chooses a state nor stops. Of a control, whose targets say nothing of the items
    that are looked for, it is noise: one of the first states would be kept, of an encoder hardly trained.
    """

    fingerprint: str
    keeps_last: bool = False
    losses: list[float] = field(default_factory=list)
    curve: list[Evaluated] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    @property
    def kept(self) -> Evaluated:
        """Of the state that is kept: the first with the highest mean recall, or the last."""
        return self.curve[-1] if self.keeps_last else max(self.curve, key=lambda one: one.mean_recall)

    @property
    def is_kept_now(self) -> bool:
        """Whether the state of the last evaluation is the one to keep."""
        return self.kept is self.curve[-1]

    def has_stopped(self, patience: int | None) -> bool:
        """Whether so many evaluations after the best one were no better."""
        return patience is not None and len(self.curve) - 1 - self.curve.index(self.kept) >= patience

    def leads_to(self, steps: int, patience: int | None, every: int) -> bool:
        """Whether a training to so many steps, with such a patience and such evaluations, has this state on its way."""
        on_the_way = all(one.step % every == 0 or one.step == steps for one in self.curve)
        before = replace(self, curve=self.curve[:-1])
        stopped = bool(before.curve) and before.has_stopped(patience)
        return self.step <= steps and on_the_way and not stopped

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
    def result_in(cls, folder: str | Path) -> Progress:
        """How far the training whose encoder lies in a folder had come."""
        return cls.parse((Path(folder) / RESULT_FILE).read_bytes())

    @classmethod
    def parse(cls, text: str | bytes) -> Progress:
        """The inverse of :meth:`json`."""
        return TypeAdapter(Progress).validate_json(text)
