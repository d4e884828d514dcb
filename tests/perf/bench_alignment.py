"""Samples a second of aligning an encoder and items a second of representing, beside a plain PyTorch loop; exits with 1
where a median is below .9.

    python tests/perf/bench_alignment.py --repeats 3 --items 6000

The loops have the same model, batches, loss and optimizer, on one thread each, and everything in memory. Training: both
in this process, by turns, one rank, evaluations and states on disk aside. Representing: Spark on --cores cores beside
as many processes that each run a plain loop over their part of the items; the first repeat, in which the workers of
Spark start and load the model, is told and not counted. Titles, images and targets are made up: the figures
are about time only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from lis_spark.alignment.encoder import InternVLEncoder, load_encoder
from lis_spark.alignment.inputs import ItemProcessor
from lis_spark.alignment.objective import Objective, same_items
from lis_spark.alignment.represent import SavedEncoder, encoded, items_at_once
from lis_spark.alignment.training import Training, batch_rows
from lis_spark.config import parse_config
from lis_spark.ranker.processes import Rank
from lis_spark.session import get_session
from tests.encoder_worlds import encoder_spec, shown

LEAST = 0.9
MODEL = {"width": 64, "image_pixels": 64, "vocabulary": 2000}


def ours(folder: Path, steps: int, batch: int) -> tuple[float, Training]:
    """Samples a second of the step's own training loop."""
    spec = encoder_spec(
        folder, train=1024, steps=steps, batch_size=batch, evaluate_every=10**6, embedded=MODEL, dimension=32
    )
    (folder / "trained").mkdir(exist_ok=True)
    training = Training(Rank(0, 1, dist.group.WORLD, 0, 1, 0, 1, torch.device("cpu")), spec)  # type: ignore[arg-type]
    training.run()
    return steps * batch / training.progress.seconds, training


def plain(training: Training, steps: int, batch: int) -> float:
    """Samples a second of a loop as one would write it in a notebook."""
    spec = training.spec
    assert spec.start is not None
    encoder = InternVLEncoder(spec.start, 32)
    objective = Objective("contrastive", 6, 32, temperature=0.07, cosine_weight=0, gram_weight=0, seed=17)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=1e-3, weight_decay=0.01)
    examples = training.examples
    rows = [batch_rows(step, 1024, batch, 17) for step in range(steps)]
    ready = [(examples.inputs(one), torch.from_numpy(examples.targets[one]), torch.from_numpy(one)) for one in rows]
    begun = time.perf_counter()
    for inputs, targets, items in ready:
        optimizer.zero_grad()
        loss = objective(encoder(*inputs), targets, same_items(targets, items, items, 0.95))
        loss.backward()
        optimizer.step()
        loss.item()
    return steps * batch / (time.perf_counter() - begun)


def loop_over_items(path: str, titles: list[str | None], images: list[bytes | None]) -> float:
    """Seconds of a plain loop over some items: processor, model, vectors; the model is loaded before."""
    torch.set_num_threads(1)
    encoder, processor = load_encoder(Path(path)), ItemProcessor(path, 12, True)
    begun = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(titles), 256):
            made = processor.inputs(titles[start : start + 256], images[start : start + 256])
            torch.nn.functional.normalize(encoder(torch.from_numpy(made.tokens), torch.from_numpy(made.pixels)), dim=1)
    return time.perf_counter() - begun


def main() -> None:
    """Prints pairs and their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--items", type=int, default=6_000)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("gloo")
    with tempfile.TemporaryDirectory() as place:
        ratios = []
        for repeat in range(options.repeats):
            rate, training = ours(Path(place) / f"train-{repeat}", options.steps, options.batch)
            bare = plain(training, options.steps, options.batch)
            ratios.append(rate / bare)
            print(f"training: {rate:.0f} samples/s, plain loop {bare:.0f}, ratio {rate / bare:.2f}", flush=True)
        medians = {"training": statistics.median(ratios)}
        print(f"training: median ratio {medians['training']:.2f}")
        titles, images = shown(np.random.default_rng(3).normal(size=(options.items, 4)))
        titles = [title or "bado" for title in titles]
        model = str(Path(place) / "train-0" / "trained" / "model")
        config = parse_config(
            {
                "run_name": "bench",
                "preference": {"tail_share": 0.5},
                "encoders": [{"name": "bench"}],
                "source": {"kind": "kuairand", "path": "data/kuairand_pure"},
                "features": [{"name": "user", "column": "user_id"}, {"name": "item", "column": "item_id"}],
                "evaluation": {"dates": ["2022-05-01"]},
            }
        )
        settings = {"spark.master": f"local[{options.cores}]", "spark.ui.enabled": "false"}
        spark = get_session({**config.session_settings, **settings})
        items = spark.createDataFrame(
            [(str(n), *one, n) for n, one in enumerate(zip(titles, images, strict=True))],
            "item_id string, title string, image binary, content_hash bigint",
        )
        items = items.repartition(8 * options.cores).persist()
        items.count()
        saved = SavedEncoder("bench", model, "", 32)
        print(f"{items_at_once(saved, config.launch.inference_megabytes)} items at once")
        parts = [(model, titles[n :: options.cores], images[n :: options.cores]) for n in range(options.cores)]
        ratios = []
        with multiprocessing.get_context("spawn").Pool(options.cores) as pool:
            for repeat in range(options.repeats + 1):
                begun = time.perf_counter()
                encoded(items, saved, config).write.format("noop").mode("overwrite").save()
                rate = options.items / (time.perf_counter() - begun)
                bare = options.items / max(pool.starmap(loop_over_items, parts))
                told = "representing" if repeat else "representing, workers start"
                print(f"{told}: {rate:.0f} items/s, plain loops {bare:.0f}, ratio {rate / bare:.2f}", flush=True)
                ratios += [rate / bare] if repeat else []
        medians["representing"] = statistics.median(ratios)
        print(f"representing: median ratio {medians['representing']:.2f}")
        spark.stop()
    sys.exit(1 if min(medians.values()) < LEAST else 0)


if __name__ == "__main__":
    main()
