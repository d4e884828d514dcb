"""Models of several arms on one rank, trained and scored side by side: one set of tables, a dense part and a port each.

A step looks the batch's rows up for all arms at once and sends their gradients back at once, and Adam takes one pass
over all arms; of many small operations that leaves the dense parts', which are run arm by arm. Batched over the arms,
the matrix products and the tails of vectorised loops would give an arm other bits with every other number of arms
beside it: as it is, they see nothing of each other. Row-wise Adagrad is a matter of each row alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lis_spark.ranker.arm_scoring import CHUNK_ROWS, bucket_batches
from lis_spark.ranker.arm_vectors import ArmVectors, no_vectors
from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.flat_parameters import flat_state, flatten
from lis_spark.ranker.model_state import load_state, local_rows
from lis_spark.ranker.network import assemble, dense_part, feature_keys, keyed_rows, of_arm, sharded_tables
from lis_spark.ranker.one_pass import average_gradients, batches, new_optimizer, nothing
from lis_spark.ranker.plans import PortSpec, RankerSpec, StateSpec
from lis_spark.ranker.port import Port, new_port
from lis_spark.ranker.processes import Rank


class StackedArms:
    """The models of up to so many arms on one rank.

    Args:
        spec: the ranker of all of them.
        rank: of the group that trains them.
        arms: how many there is room for.
        columns: of a port, see :func:`new_port`.
    """

    def __init__(self, spec: RankerSpec, rank: Rank, arms: int, columns: int) -> None:
        self.spec, self.rank, self.columns = spec, rank, columns
        self.room, self.tables = arms, sharded_tables(spec, rank.group, rank.device, arms)
        rows = local_rows(self.tables)
        self.rows = [{table.name: rows[of_arm(table.name, arm)] for table in spec.tables} for arm in range(arms)]
        self.models: list[tuple[nn.Module, Port | None]] = []

    def start(self, state: StateSpec, seed: int, ports: Sequence[PortSpec | None]) -> None:
        """Puts an arm for each port into a state: its tables, dense part and optimizers, and a port without training.

        Raises:
            StaleError: see :func:`load_state`.
        """
        dense = dense_part(self.spec, 0).to(self.rank.device)
        optimizer = new_optimizer(self.spec, dense.parameters())
        load_state(state, self.spec, seed, self.rows[: len(ports)], dense, optimizer)
        self.models = []
        flat: list[nn.Parameter] = []
        known: dict[nn.Parameter, dict[str, Tensor]] = {}
        for spec in ports:
            own, port = copy.deepcopy(dense), None
            flat.append(flatten(own))
            known[flat[-1]] = flat_state(dense, optimizer)
            if spec is not None:
                port = new_port(self.spec, spec, self.columns, seed).to(self.rank.device)
                flat.append(flatten(port))
            self.models.append((own, port))
        self.flat, self.optimizer = flat, new_optimizer(self.spec, flat)
        self.optimizer.state.update({parameter: values for parameter, values in known.items() if values})

    def one_pass(self, rows: DayRows, vectors: Sequence[ArmVectors | None]) -> None:
        """One pass of all arms over a day, in order.

        Args:
            rows: this rank's share of the day.
            vectors: of each arm's port for these rows.
        """
        for batch in batches(self.spec, self.rank, rows):
            labels = torch.from_numpy(batch.rows.labels).to(self.rank.device)
            looked_up = self._looked_up(batch.rows)
            received: list[tuple[Tensor, Tensor]] = []
            self.optimizer.zero_grad(set_to_none=False)
            for (dense, port), values, own in zip(self.models, looked_up, vectors, strict=True):
                leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
                inputs = assemble(self.spec, batch.rows, leaves, _vectors(own, batch.places))
                loss = binary_cross_entropy_with_logits(dense(inputs, port), labels, reduction="sum")
                (loss * batch.scale).backward()
                received += [(values[name], leaf.grad) for name, leaf in leaves.items() if leaf.grad is not None]
            torch.autograd.backward([value for value, _ in received], [gradient for _, gradient in received])
            for parameter in self.flat:
                average_gradients([parameter], self.rank)
            self.optimizer.step()

    def scored(self, rows: DayRows, vectors: Sequence[ArmVectors | None], label: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of rows [n] and the logits of one label [arms, n], in the batches of :func:`bucket_batches`."""
        served = [
            start + index
            for start in range(0, len(rows), CHUNK_ROWS)
            for _, index in bucket_batches(rows.buckets[start : start + CHUNK_ROWS])
        ]
        parts: list[Tensor] = [torch.empty(len(self.models), 0)]
        # every rank of a group takes part in every lookup
        lookups = max(int(count) for count in self.rank.gathered(len(served)))  # type: ignore[call-overload]
        with torch.no_grad():
            for number in range(lookups):
                if number >= len(served):
                    self._looked_up(nothing(self.spec))
                    continue
                batch, logits = rows[served[number]], []
                for (dense, port), values, own in zip(self.models, self._looked_up(batch), vectors, strict=True):
                    inputs = assemble(self.spec, batch, values, _vectors(own, served[number]))
                    logits.append(dense(inputs, port)[:, label])
                parts.append(torch.stack(logits).cpu())
        return np.concatenate([np.empty(0, np.int64), *served]), torch.cat(parts, dim=1).numpy()

    def _looked_up(self, batch: DayRows) -> list[dict[str, Tensor]]:
        """Of each arm: feature -> vectors [lookups, d] of its own tables."""
        arms, keys = len(self.models), feature_keys(self.spec)
        found = self.tables(keyed_rows(self.spec, batch, arms=arms, room=self.room).to(self.rank.device))
        return [{key: found[of_arm(key, arm)] for key in keys} for arm in range(arms)]


def _vectors(vectors: ArmVectors | None, places: slice | np.ndarray) -> tuple[Tensor, Tensor] | None:
    """Vectors and their mask of some rows; of none, those of :func:`nothing`; None without a port."""
    if vectors is None:
        return None
    if len(vectors.places[places]):
        return vectors.of(places)
    return no_vectors(vectors.table.shape[1], 1, vectors.table.device).of(slice(None))
