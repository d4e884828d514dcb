"""The ranker: TorchRec tables, attention over the last clicks and skips, DCN-v2 cross, MLP, one head a label.

Embedding tables: TorchRec ``EmbeddingCollection``, sharded by row, row-wise Adagrad fused into the backward pass, so a
row that no gradient touches keeps its bits (method 1.1, invariant 1). Cross layers: Wang et al., DCN V2, WWW 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed import _remote_device
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise, table_wise
from torchrec.distributed.types import EmbeddingModuleShardingPlan, ShardingEnv, ShardingPlan
from torchrec.modules.embedding_configs import EmbeddingConfig
from torchrec.modules.embedding_modules import EmbeddingCollection
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from lis_spark.ranker.counts import NUMBERS_A_FEATURE, scaled_counts
from lis_spark.ranker.day_reader import DayRows
from lis_spark.ranker.plans import ITEM_FEATURE, USER_FEATURE, RankerSpec, TableSpec
from lis_spark.ranker.port import DcnPort, FmPort

HISTORY = "history"
# Row 0 of every table stands for "missing" and for the empty places of a history; key r of a vocabulary is row r + 1.
SHIFT = 1


@dataclass
class Inputs:
    """Looked-up vectors of a batch: features [B, F, d], clicks and skips [B, K, d], and which places are filled.

    ``numbers`` [B, 1 + 3 C] are those of the counted features, C = 0 where there are none, see
    :func:`lis_spark.ranker.counts.scaled_counts`; ``vectors`` [B, v] the frozen ones of a port, v = 0 where there is
    none.
    """

    features: Tensor
    clicks: Tensor
    skips: Tensor
    click_mask: Tensor
    skip_mask: Tensor
    numbers: Tensor
    vectors: Tensor
    vector_mask: Tensor

    def __getitem__(self, index: slice | Tensor) -> Inputs:
        return Inputs(*[getattr(self, name)[index] for name in self.__dataclass_fields__])


def of_arm(name: str, arm: int) -> str:
    """Name of one arm's table or feature, where several arms have tables of their own: the first arm's are plain."""
    return f"{name}#{arm}" if arm else name


class Tables(nn.Module):
    """The embedding tables of so many arms, before they are sharded."""

    def __init__(self, spec: RankerSpec, device: torch.device, arms: int) -> None:
        super().__init__()
        configs = []
        for arm in range(arms):
            for table in spec.tables:
                config = EmbeddingConfig(
                    name=of_arm(table.name, arm),
                    num_embeddings=table.rows + SHIFT,
                    embedding_dim=spec.dimension,
                    feature_names=[of_arm(key, arm) for key in _keys_of(spec, table)],
                )
                configs.append(config)
        self.collection = EmbeddingCollection(tables=configs, device=device)

    def forward(self, keyed: KeyedJaggedTensor) -> dict[str, Tensor]:
        """Values of each feature, in the order of the input."""
        return {name: jagged.values() for name, jagged in self.collection(keyed).items()}


def sharded_tables(
    spec: RankerSpec, process_group: torch.distributed.ProcessGroup, device: torch.device, arms: int = 1
) -> DistributedModelParallel:
    """The tables sharded by row over the ranks of a chain, with the fused optimizer.

    Several arms' tables lie beside each other in one collection, not below each other in one table: their gradients
    are sorted by row a table at a time, which is three times slower in a table of sixteen arms.
    """
    tables = Tables(spec, device, arms)
    names = [of_arm(table.name, arm) for arm in range(arms) for table in spec.tables]
    for name, table in zip(names, arms * spec.tables, strict=True):
        weights = tables.collection.embeddings[name].parameters()
        apply_optimizer_in_backward(RowWiseAdagrad, weights, {"lr": table.learning_rate, "eps": 1e-8})
    environment = ShardingEnv.from_process_group(process_group)
    sharder = EmbeddingCollectionSharder(fused_params={})
    ranks = torch.distributed.get_world_size(process_group)
    # One rank has whole tables: keys need not be dealt out to shards, nor vectors put back into their order.
    divided = row_wise(compute_kernel="fused") if ranks > 1 else table_wise(rank=0, compute_kernel="fused")
    plan = construct_module_sharding_plan(
        tables.collection,
        dict.fromkeys(names, divided),
        sharder=sharder,
        local_size=ranks,
        world_size=ranks,
        device_type=device.type,
    )
    _place_on(plan, torch.distributed.get_process_group_ranks(process_group), device)
    return DistributedModelParallel(
        tables,
        env=environment,
        device=device,
        plan=ShardingPlan(plan={"collection": plan}),
        sharders=[sharder],
        init_data_parallel=False,
    )


def _place_on(plan: EmbeddingModuleShardingPlan, ranks: list[int], device: torch.device) -> None:
    """The plan counts ranks within the group, from 0; where its shards lie, they are those of the whole launch."""
    for sharding in plan.values():
        for rank, shard in zip(ranks, sharding.sharding_spec.shards, strict=True):  # type: ignore[union-attr]
            where = f"rank:{rank}/{device.type}"
            shard.placement = _remote_device(where if device.type == "cpu" else f"{where}:{device.index}")


def feature_keys(spec: RankerSpec) -> list[str]:
    """Names of the looked-up features, in the order of the tables."""
    return [key for table in spec.tables for key in _keys_of(spec, table)]


def _keys_of(spec: RankerSpec, table: TableSpec) -> list[str]:
    names = [feature.name for feature in spec.features if feature.table == table.name]
    return names + ([HISTORY] if table.name == spec.history_table else [])


def keyed_rows(
    spec: RankerSpec, batch: DayRows, only: tuple[str, ...] | None = None, arms: int = 1, room: int = 1
) -> KeyedJaggedTensor:
    """The rows to look up, the same for each of the first ``arms`` of ``room``; features not in ``only`` are empty."""
    index = {feature.name: position for position, feature in enumerate(spec.features)}
    values: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    size, keys = len(batch), feature_keys(spec)
    for key in keys:
        if only is not None and key not in only:
            lengths.append(np.zeros(size, np.int64))
        elif key == HISTORY:
            both = np.concatenate([batch.clicks, batch.skips], axis=1)
            values.append(both.reshape(-1).astype(np.int64) + SHIFT)
            lengths.append(np.full(size, both.shape[1], np.int64))
        else:
            values.append(batch.rows[:, index[key]].astype(np.int64) + SHIFT)
            lengths.append(np.ones(size, np.int64))
    lengths = arms * lengths + (room - arms) * len(keys) * [np.zeros(size, np.int64)]
    return KeyedJaggedTensor(
        keys=[of_arm(key, arm) for arm in range(room) for key in keys],
        values=torch.from_numpy(np.concatenate(arms * values)),
        lengths=torch.from_numpy(np.concatenate(lengths)),
    )


def assemble(
    spec: RankerSpec, batch: DayRows, looked_up: dict[str, Tensor], vectors: tuple[Tensor, Tensor] | None = None
) -> Inputs:
    """Vectors by feature -> the dense part's inputs; ``vectors`` are those of a port and their mask."""
    size, width, length = len(batch), spec.dimension, spec.history_length
    features = torch.stack([looked_up[feature.name].view(size, width) for feature in spec.features], dim=1)
    if HISTORY in looked_up:
        history = looked_up[HISTORY].view(size, 2 * length, width)
    else:
        length, history = 0, features.new_empty(size, 0, width)
    return Inputs(
        features,
        history[:, :length],
        history[:, length:],
        torch.from_numpy(batch.clicks >= 0).to(features.device),
        torch.from_numpy(batch.skips >= 0).to(features.device),
        _numbers(spec, batch).to(features.device),
        *(vectors or (features.new_empty(size, 0), features.new_empty(size))),
    )


def _numbers(spec: RankerSpec, batch: DayRows) -> Tensor:
    if spec.counts is None:
        return torch.empty(len(batch), 0)
    return torch.from_numpy(scaled_counts(batch.counts, spec.counts.prior))


class Attention(nn.Module):
    """Softmax attention of the target over a history; an empty history gives zeros.

    The length of the history is not an input: it is a count of the user's activity in disguise (worth .004 of AUC on
    KuaiRand-Pure) and would make LIS depend on how long the log is.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, target: Tensor, history: Tensor, mask: Tensor) -> Tensor:
        """target [B, d], history [B, K, d], mask [B, K] -> [B, d]."""
        # (key h)·(query t) = h·(key' query t): one matrix product a row, not one a place
        asked = self.query(target) @ self.key.weight
        weights = (history * asked.unsqueeze(1)).sum(2) * history.shape[2] ** -0.5
        weights = torch.softmax(weights.masked_fill(~mask, -1e9), dim=1) * mask
        return (weights.unsqueeze(2) * history).sum(1)


class CrossLayer(nn.Module):
    """x_{l+1} = x_0 * (W x_l + b) + x_l; what a port has ``beside`` x is added to W x_l + b."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, first: Tensor, current: Tensor, beside: Tensor | None = None) -> Tensor:
        inner = self.linear(current)
        return first * (inner if beside is None else inner + beside) + current


class CountFields(nn.Module):
    """Numbers of counted features [B, 1 + 3 C] as fields of their own [B, C, d], and a linear part.

    The linear part starts as naive Bayes: the log odds of all, and how far those of the user's and the item's rates are
    from them, are added up (other rates tell much of the same, and start at 0). The ranker then begins where counts
    alone lead to, and what it learns goes beyond them, however few steps a day has.
    """

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        shape = (len(spec.counted), NUMBERS_A_FEATURE, spec.dimension)
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0], spec.dimension))
        self.linear = nn.Linear(1 + shape[0] * NUMBERS_A_FEATURE, len(spec.labels), bias=False)
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[:, 0] = 1.0
            for place, name in enumerate(spec.counted):
                if name in (USER_FEATURE, ITEM_FEATURE):
                    self.linear.weight[:, 1 + place * NUMBERS_A_FEATURE] = 1.0

    def forward(self, numbers: Tensor) -> Tensor:
        """The fields."""
        by_feature = numbers[:, 1:].view(len(numbers), *self.weight.shape[:2])
        return (by_feature.unsqueeze(3) * self.weight).sum(2) + self.bias


class HistoryDcn(nn.Module):
    """The default dense part."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        width = spec.dimension
        self.click_attention, self.skip_attention = Attention(width), Attention(width)
        self.target = [feature.name for feature in spec.features].index(spec.item_feature.name)
        total = width * (spec.fields + 4)
        self.cross = nn.ModuleList(CrossLayer(total) for _ in range(spec.cross_layers))
        self.deep = _mlp(total, spec.hidden)
        self.heads = nn.Linear(total + spec.hidden[-1], len(spec.labels))
        self.counts = CountFields(spec) if spec.counts else None

    def forward(self, inputs: Inputs, port: DcnPort | None = None) -> Tensor:
        """Logits [B, labels]; what a port adds is added to what the bare layers give."""
        logits = self._logits(inputs, port)
        return logits if self.counts is None else logits + self.counts.linear(inputs.numbers)

    def _logits(self, inputs: Inputs, port: DcnPort | None) -> Tensor:
        target = inputs.features[:, self.target]
        first = torch.cat(
            [
                _fields(inputs, self.counts).flatten(1),
                self.click_attention(target, inputs.clicks, inputs.click_mask),
                self.skip_attention(target, inputs.skips, inputs.skip_mask),
                _mean(inputs.clicks, inputs.click_mask),
                _mean(inputs.skips, inputs.skip_mask),
            ],
            dim=1,
        )
        if port is None:
            current = first
            for layer in self.cross:
                current = layer(first, current)
            return self.heads(torch.cat([current, self.deep(first)], dim=1))
        own_first = port.columns(inputs.vectors, inputs.vector_mask)
        current, own = first, own_first
        for number, layer in enumerate(self.cross):
            wider = layer(first, current, port.into[number](own))
            current, own = wider, port.next(number, own_first, current, own)
        deep = self.deep[1:](self.deep[0](first) + port.deep(own_first))
        return self.heads(torch.cat([current, deep], dim=1)) + port.heads(own)


class Fm(nn.Module):
    """Factorisation machine: products of all pairs of features, and a linear part; of user and item it is bilinear."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.dimension * spec.fields, len(spec.labels))
        self.counts = CountFields(spec) if spec.counts else None

    def forward(self, inputs: Inputs, port: FmPort | None = None) -> Tensor:
        """Logits [B, labels]."""
        fields = _fields(inputs, self.counts)
        flat, total = fields.flatten(1), fields.sum(1)
        pairs = 0.5 * (total.square().sum(1, keepdim=True) - flat.square().sum(1, keepdim=True))
        logits = self.linear(flat) + pairs
        if self.counts is not None:
            logits = logits + self.counts.linear(inputs.numbers)
        return logits if port is None else logits + port.logits(total, inputs.vectors, inputs.vector_mask)


class FmMlp(Fm):
    """Factorisation machine + MLP without histories: the baseline that the ranker has to beat."""

    def __init__(self, spec: RankerSpec) -> None:
        super().__init__(spec)
        self.deep = _mlp(spec.dimension * spec.fields, spec.hidden)
        self.heads = nn.Linear(spec.hidden[-1], len(spec.labels))

    def forward(self, inputs: Inputs, port: FmPort | None = None) -> Tensor:
        """Logits [B, labels]; a port is a field of the factorisation machine alone."""
        return super().forward(inputs, port) + self.heads(self.deep(_fields(inputs, self.counts).flatten(1)))


def _fields(inputs: Inputs, counts: CountFields | None) -> Tensor:
    """[B, F + C, d]: the looked-up features, then those of counts."""
    return inputs.features if counts is None else torch.cat([inputs.features, counts(inputs.numbers)], dim=1)


def dense_part(spec: RankerSpec, seed: int) -> nn.Module:
    """The dense part, initialised from ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {"history_dcn": HistoryDcn, "fm_mlp": FmMlp, "fm": Fm}[spec.architecture](spec)


def _mlp(width: int, hidden: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers)


def _mean(history: Tensor, mask: Tensor) -> Tensor:
    filled = mask.unsqueeze(2)
    return (history * filled).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
