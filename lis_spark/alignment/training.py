"""One encoder trained by all ranks together; runs in the training processes (method 5).

Every rank encodes its part of a batch and knows the vectors of all parts, so it works out the loss of the whole batch,
and the gradient with respect to its own vectors goes back through its encoder. A batch that is encoded in several
parts (``accumulation``) has therefore the same gradient as one that is encoded at once: each part is encoded twice,
first for its vectors, then for its gradient (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under
Memory Limited Setup").
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.nn.parallel import DistributedDataParallel

from lis_spark.alignment.encoder import (
    Encoder,
    EncoderNote,
    FrozenHead,
    InternVLEncoder,
    prepare_for_tuning,
    save_encoder,
)
from lis_spark.alignment.example_files import Examples, Rows, write_arrays
from lis_spark.alignment.objective import Objective, same_items
from lis_spark.alignment.plans import MODEL_FOLDER, RESULT_FILE, AlignPlan, EncoderSpec
from lis_spark.alignment.progress import Evaluated, Progress
from lis_spark.alignment.recall import Recall, recall
from lis_spark.alignment.states import read_state, write_state
from lis_spark.alignment.unaligned import project_on_components
from lis_spark.errors import StepFailed
from lis_spark.ranker.processes import Rank, join, report_progress

ENCODED_AT_ONCE = 256


def align_rank(plan_path: str) -> None:
    """Trains the encoders of a plan, one after the other."""
    plan = AlignPlan.model_validate_json(Path(plan_path).read_text(encoding="utf-8"))
    rank = join(plan.launch)
    for encoder in plan.encoders:
        Training(rank, encoder, plan_path).run()


class Training:
    """One encoder: from where its last state left off to its last step, or until mean recall no longer rises."""

    def __init__(self, rank: Rank, spec: EncoderSpec, plan_path: str = "") -> None:
        self.rank, self.spec, self.config, self.plan_path = rank, spec, spec.config, plan_path
        self.folder = Path(spec.folder)
        if rank.place == 0:
            write_arrays(spec.examples, self.folder / "arrays")
        dist.barrier(rank.group)
        self.examples = Examples(spec.examples, self.folder / "arrays")
        if self.config.targets == "random":
            self.examples.shuffle_targets(self.config.seed)
        torch.manual_seed(self.config.seed)
        width = spec.examples.target_width
        dimension = width if self.config.objective in ("cosine", "mse") else self.config.dimension
        self.encoder = self._new_encoder(dimension).to(rank.device)
        self.objective = Objective(
            self.config.objective,
            width,
            dimension,
            temperature=self.config.temperature,
            cosine_weight=self.config.cosine_weight,
            gram_weight=self.config.gram_weight,
            seed=self.config.seed,
        ).to(rank.device)
        self.dtype = dtype_of(self.config.precision, rank.device)
        self.progress = Progress(spec.state_fingerprint, keeps_last=self.config.keeps_last)
        self.steps = self.config.steps
        if spec.steps_of is not None:
            self.steps = Progress.result_in(spec.steps_of).kept.step

    def _new_encoder(self, dimension: int) -> Encoder:
        if self.config.kind == "frozen":
            assert self.examples.features is not None
            hidden = None if self.config.objective == "none" else self.config.head_width
            return FrozenHead(self.examples.features.shape[1], hidden, dimension)
        assert self.spec.start is not None
        encoder = InternVLEncoder(self.spec.start, dimension)
        prepare_for_tuning(encoder, self.config)
        return encoder

    def run(self) -> None:
        """Trains, keeps a state (:attr:`Progress.kept`), and writes the encoder that it makes."""
        if self.config.objective == "none":
            project_on_components(self.encoder, self._pooled(np.arange(self.examples.train_items)))
            self._evaluate()
        else:
            self._train()
        if self.rank.place == 0:
            save_encoder(self.encoder, self._note(), self.spec.start, self.folder / MODEL_FOLDER)
            (self.folder / RESULT_FILE).write_text(self.progress.json(), encoding="utf-8")
        dist.barrier(self.rank.group)

    def _note(self) -> EncoderNote:
        return EncoderNote(
            kind=self.config.kind,
            dimension=len(self.encoder.projection.weight),
            normalised=self.config.objective in ("contrastive", "cosine"),
            title_tokens=self.config.title_tokens,
            with_images=self.spec.with_images,
        )

    def _train(self) -> None:
        names = {**_named(self.encoder, "encoder"), **_named(self.objective, "objective")}
        optimizer = self._optimizer(list(names.values()))
        last = read_state(self.folder, "last", self._is_on_the_way, names, optimizer)
        if last is not None:
            self.progress = last
        else:
            self._evaluate()
            self._keep(names, optimizer)
        replicas = self._replicas()
        with ThreadPoolExecutor(1) as reader:  # the next batch is gathered while this one is learned from
            following: Future[tuple[Any, ...]] | None = None
            while self.progress.step < self.steps and not self.progress.has_stopped(self.config.patience):
                step = self.progress.step
                started = time.perf_counter()  # a wait for the batch is part of the step
                batch = following.result() if following else self._batch(step)
                following = reader.submit(self._batch, step + 1)
                for group in optimizer.param_groups:
                    group["lr"] = self.config.learning_rate * min(1.0, (step + 1) / (self.config.warmup_steps + 1))
                loss = self._learn(replicas, optimizer, *batch)
                if not math.isfinite(loss):
                    raise StepFailed(
                        f"the loss of encoder {self.config.name} is not a number",
                        found=f"{loss} after {step} steps",
                        expected="a finite loss",
                        remedy="lower encoders.learning_rate, or set precision: float32",
                    )
                self.progress.learned(loss, time.perf_counter() - started)
                if self.rank.place == 0 and self.plan_path:
                    report_progress(self.plan_path, self.rank.rank, f"{self.config.name} {step}")
                if self.progress.step % self.config.evaluate_every == 0 or self.progress.step == self.steps:
                    self._evaluate()
                    self._keep(names, optimizer)
        kept = read_state(self.folder, "kept", self._is_of_this_training, names, None)
        assert kept is not None

    def _is_of_this_training(self, found: Progress) -> bool:
        return found.fingerprint == self.spec.state_fingerprint

    def _is_on_the_way(self, found: Progress) -> bool:
        """Fewer steps, or less patience, than a training before: the same again, and not what that one became."""
        leads = found.leads_to(self.steps, self.config.patience, self.config.evaluate_every)
        return leads and self._is_of_this_training(found)

    def _optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """AdamW; biases, scales and tau do not decay."""
        decaying = [one for one in parameters if one.ndim > 1]
        others = [one for one in parameters if one.ndim <= 1]
        groups = [
            {"params": decaying, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, self.config.learning_rate)

    def _replicas(self) -> nn.Module:
        """The encoder, its gradients averaged over ranks."""
        if self.rank.group_size == 1:
            return self.encoder
        # a part of a batch may have no image at all: then the vision tower has no gradient on that rank
        unused = self.examples.some_show_no_image
        return DistributedDataParallel(self.encoder, process_group=self.rank.group, find_unused_parameters=unused)

    def _batch(self, step: int) -> tuple[list[tuple[Tensor, ...]], Tensor, Tensor, Tensor]:
        """Inputs of this rank's part of a step's batch, in ``accumulation`` parts; targets, content and numbers of the
        whole batch."""
        rows = batch_rows(step, self.examples.train_items, self.config.batch_size, self.config.seed)
        own = np.array_split(np.array_split(rows, self.rank.group_size)[self.rank.place], self.config.accumulation)
        parts = [self.examples.inputs(part) for part in own if len(part)]
        return (
            parts,
            torch.from_numpy(self.examples.targets[rows]),
            torch.from_numpy(self.examples.content[rows]),
            torch.from_numpy(rows),
        )

    def _learn(
        self,
        replicas: nn.Module,
        optimizer: torch.optim.Optimizer,
        parts: list[tuple[Tensor, ...]],
        targets: Tensor,
        content: Tensor,
        items: Tensor,
    ) -> float:
        """One step; returns the loss of the whole batch."""
        device, at_once = self.rank.device, len(parts) == 1
        optimizer.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(at_once):
            encoded = [self._encode(replicas if at_once else self.encoder, part) for part in parts]
        own = torch.cat([one.detach() for one in encoded]).requires_grad_()
        vectors = self._all_vectors(own, len(items))
        targets, content, items = (one.to(device) for one in (targets, content, items))
        same = same_items(targets, content, items, self.config.same_target_cosine)
        loss = self.objective(vectors, targets, same)
        loss.backward()
        assert own.grad is not None
        # replicas average gradients over ranks; of the loss of the whole batch it is their sum that is wanted
        gradients = (own.grad * self.rank.group_size).split([len(one) for one in encoded])
        for number, (part, gradient) in enumerate(zip(parts, gradients, strict=True)):
            is_last = number == len(parts) - 1
            waits = nullcontext() if is_last or self.rank.group_size == 1 else replicas.no_sync()  # type: ignore[operator]
            with waits:
                (encoded[number] if at_once else self._encode(replicas, part)).backward(gradient)
        optimizer.step()
        self.objective.clamp()
        return float(loss.detach())

    def _all_vectors(self, own: Tensor, items: int) -> Tensor:
        """Vectors of the whole batch, in its order; with a gradient where they are this rank's own."""
        if self.rank.group_size == 1:
            return own
        sizes = [len(part) for part in np.array_split(np.arange(items), self.rank.group_size)]
        longest = own.new_zeros(max(sizes), own.shape[1])
        longest[: len(own)] = own.detach()
        gathered = [torch.empty_like(longest) for _ in sizes]
        dist.all_gather(gathered, longest, group=self.rank.group)
        parts = [one[:size] for one, size in zip(gathered, sizes, strict=True)]
        parts[self.rank.place] = own
        return torch.cat(parts)

    def _encode(self, encoder: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        moved = [one.to(self.rank.device, non_blocking=True) for one in inputs]
        with torch.autocast(self.rank.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return encoder(*moved).float()

    def _evaluate(self) -> None:
        """Mean recall of the validation items as the encoder is now."""
        first = self.examples.train_items
        rows = np.arange(first, first + self.examples.validation_items)
        self.encoder.eval()
        vectors = self._encoded(rows)
        targets = torch.from_numpy(self.examples.targets[rows]).to(self.rank.device)
        with torch.inference_mode():
            if self.config.objective == "none":
                own = np.arange(first)
                fitted, *_ = np.linalg.lstsq(self.examples.targets[own], self._encoded(own), rcond=None)
                mapped = nnf.normalize(targets @ torch.from_numpy(fitted).to(targets), dim=1)
            else:
                mapped = self.objective.mapped(targets)
        self.encoder.train()
        unit = nnf.normalize(torch.from_numpy(vectors), dim=1).numpy()
        found: Recall = recall(unit, mapped.cpu().numpy())
        tau = self.objective.temperature
        self.progress.evaluated(Evaluated.of(self.progress, found, None if tau is None else tau.item()))

    def _keep(self, names: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        if self.rank.place == 0:
            if self.progress.is_kept_now:
                write_state(self.folder, "kept", names, None, self.progress)
            write_state(self.folder, "last", names, optimizer, self.progress)
        dist.barrier(self.rank.group)

    def _encoded(self, rows: Rows) -> np.ndarray:
        """Vectors of some items, of any length; each rank encodes a part of them."""
        return self._over_ranks(rows, lambda inputs: self._encode(self.encoder, inputs))

    def _pooled(self, rows: Rows) -> np.ndarray:
        """What the model says of some items before it is projected."""
        return self._over_ranks(rows, lambda inputs: self.encoder.pooled(*(one.to(self.rank.device) for one in inputs)))

    def _over_ranks(self, rows: Rows, function: Any) -> np.ndarray:
        own = np.array_split(rows, self.rank.group_size)[self.rank.place]
        with torch.inference_mode():
            found = [
                function(self.examples.inputs(own[start : start + ENCODED_AT_ONCE])).float().cpu().numpy()
                for start in range(0, len(own), ENCODED_AT_ONCE)
            ]
        parts = self.rank.gathered(np.concatenate(found) if found else None)
        return np.concatenate([part for part in parts if part is not None])


def batch_rows(step: int, items: int, batch_size: int, seed: int) -> Rows:
    """The items of a step: each pass over all of them has an order of its own, and leaves out what fills no batch."""
    size = min(batch_size, items)
    steps = items // size
    order = np.random.default_rng([seed, step // steps]).permutation(items)
    start = (step % steps) * size
    return order[start : start + size].astype(np.int64)


def _named(module: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    return {f"{prefix}.{name}": one for name, one in module.named_parameters() if one.requires_grad}


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """In what a model multiplies: of ``auto`` bfloat16 where the hardware has it."""
    if precision == "auto":
        # what only emulates it is slower with it
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
