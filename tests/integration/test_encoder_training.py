"""Encoders trained by real processes on items whose titles and images tell their targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lis_spark.alignment.encoder import InternVLEncoder, load_encoder
from lis_spark.alignment.example_files import Examples
from lis_spark.alignment.progress import Progress
from tests.encoder_worlds import encoder_spec, killed, trained


def test_two_ranks_and_four_parts_learn_what_one_rank_learns_at_once(tmp_path: Path) -> None:
    """The same losses for 20 steps within 1e-4: negatives of all ranks, and the gradient of the whole batch."""
    settings = {"steps": 20, "evaluate_every": 20, "cosine_weight": 0.2, "gram_weight": 0.2}
    alone = encoder_spec(tmp_path / "alone", **settings)
    parts = encoder_spec(tmp_path / "parts", **settings, accumulation=4)
    adapters = {"steps": 20, "evaluate_every": 20, "tuning": "lora", "freeze_vision": True}
    one, four, adapted = trained(alone, parts, encoder_spec(tmp_path / "lora", **adapters))
    two, adapted_by_two = trained(
        encoder_spec(tmp_path / "two", **settings, accumulation=2),
        encoder_spec(tmp_path / "lora-2", **adapters),
        ranks=2,
    )
    assert len(one.losses) == 20 and one.losses[-1] < one.losses[0] - 0.1
    for other in (four, two):
        np.testing.assert_allclose(other.losses, one.losses, atol=1e-4)
        assert other.kept.mean_recall == pytest.approx(one.kept.mean_recall, abs=0.02)
    np.testing.assert_allclose(adapted_by_two.losses, adapted.losses, atol=1e-4)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Progress]]:
    """Encoders of every kind, in one launch."""
    folder = tmp_path_factory.mktemp("encoders")
    long = {"steps": 150, "evaluate_every": 25, "patience": None}
    specs = {
        "aligned": encoder_spec(folder / "aligned", **long),
        "random": encoder_spec(folder / "random", **{**long, "patience": 1}, targets="random"),
        "as_long": encoder_spec(folder / "as_long", **long, targets="random", steps_of=folder / "aligned"),
        "unaligned": encoder_spec(folder / "unaligned", objective="none"),
        "cosine": encoder_spec(folder / "cosine", **long, objective="cosine"),
        "mse": encoder_spec(folder / "mse", **long, objective="mse"),
        "frozen": encoder_spec(folder / "frozen", **long, kind="frozen"),
        "lora": encoder_spec(folder / "lora", **long, tuning="lora", freeze_vision=True),
        "without_vision": encoder_spec(folder / "without_vision", steps=5, evaluate_every=5, freeze_vision=True),
        "bfloat16": encoder_spec(folder / "bfloat16", steps=60, evaluate_every=20, precision="bfloat16"),
    }
    return folder, dict(zip(specs, trained(*specs.values()), strict=True))


def test_aligned_encoders_find_unseen_items_and_others_do_not(aligned: tuple[Path, dict[str, Progress]]) -> None:
    _, found = aligned
    recalls = {name: progress.kept.mean_recall for name, progress in found.items()}
    chance = found["aligned"].kept.chance
    assert found["aligned"].kept.gallery == 100 and chance == pytest.approx(np.mean([0.01, 0.05, 0.1]))
    for name in ("aligned", "cosine", "mse", "frozen"):
        assert recalls[name] > 5 * chance, name
    assert recalls["random"] < 2 * chance
    assert found["random"].kept.step == 150, "its mean recall neither chooses a state nor stops it"
    assert found["as_long"].kept.step == found["as_long"].step == found["aligned"].kept.step > 0
    assert found["as_long"].losses == found["random"].losses[: found["as_long"].step]
    assert recalls["aligned"] > recalls["unaligned"] and recalls["aligned"] > recalls["lora"] > 2 * chance
    assert found["aligned"].curve[0].mean_recall < 2 * chance, "before the first step"
    # the same draws and batches in 8 bits of mantissa: near the same losses, and not the same
    first, rounded = found["aligned"].losses[:20], found["bfloat16"].losses[:20]
    assert recalls["bfloat16"] > 2 * chance
    assert np.allclose(first, rounded, atol=0.05) and not np.allclose(first, rounded, atol=1e-5)
    assert found["unaligned"].step == 0 and len(found["unaligned"].curve) == 1


def test_the_encoder_that_is_written_gives_the_recall_of_its_best_step(
    aligned: tuple[Path, dict[str, Progress]],
) -> None:
    """Read back and applied to the validation items, with the map of targets that stands in the state."""
    folder, found = aligned
    examples = Examples(encoder_spec(folder / "aligned").examples, folder / "aligned" / "trained" / "arrays")
    rows = np.arange(256, 356)
    state = load_file(folder / "aligned" / "trained" / "kept.safetensors")
    mapped = examples.targets[rows] @ state["objective.target_map.weight"].numpy().T
    with torch.inference_mode():
        z = load_encoder(folder / "aligned" / "trained" / "model")(*examples.inputs(rows)).numpy()
    z, t = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (z, mapped))
    near = z @ t.T
    ranks = [(near >= near.diagonal()[:, None]).sum(1), (near.diagonal()[:, None] <= near.T).sum(1)]
    expected = np.mean([(one <= cut).mean() for one in ranks for cut in (1, 5, 10)])
    assert found["aligned"].kept.mean_recall == pytest.approx(expected, abs=1e-9)


def test_adapters_are_part_of_the_weights_and_the_vision_tower_is_as_it_was(
    aligned: tuple[Path, dict[str, Progress]],
) -> None:
    folder, _ = aligned
    changed = _changed(folder / "lora")
    assert changed and all("language_model" in name and "_proj." in name for name in changed)
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    parts = {"vision_tower", "language_model", "multi_modal_projector"}
    for name, moved in (("without_vision", parts - {"vision_tower"}), ("aligned", parts)):
        found = {part for part in parts if any(part in one for one in _changed(folder / name))}
        assert found == moved, name


def _changed(folder: Path) -> set[str]:
    """Weights that are others than before the first step."""
    encoder = load_encoder(folder / "trained" / "model")
    assert isinstance(encoder, InternVLEncoder)
    start = InternVLEncoder(str(folder / "start"), 8).backbone.state_dict()
    return {name for name, one in encoder.backbone.state_dict().items() if not torch.equal(one, start[name])}


def test_a_training_that_was_cut_off_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    """More steps go on from the last state; other settings start anew."""
    whole = encoder_spec(tmp_path / "whole", steps=16, evaluate_every=4)
    first = encoder_spec(tmp_path / "cut", steps=8, evaluate_every=4)
    (straight, half) = trained(whole, first)
    assert half.losses == straight.losses[:8]
    (on,) = trained(encoder_spec(tmp_path / "cut", steps=16, evaluate_every=4))
    assert on.losses == straight.losses
    assert [one.mean_recall for one in on.curve] == [one.mean_recall for one in straight.curve]
    (other,) = trained(encoder_spec(tmp_path / "cut", steps=4, evaluate_every=4, learning_rate=1e-3))
    assert other.step == 4 and other.losses[0] == straight.losses[0] and other.losses[-1] != straight.losses[3]


def test_what_was_trained_further_before_is_not_what_fewer_steps_give(tmp_path: Path) -> None:
    """Nor what less patience gives, nor more steps after an evaluation that they would not have had."""
    settings = {"noise": 1.5, "evaluate_every": 4}
    trained(encoder_spec(tmp_path / "one", **settings, steps=22, patience=None))
    for changed in ({"steps": 8}, {"steps": 40, "patience": 1}, {"steps": 30, "patience": None}):
        (again,) = trained(encoder_spec(tmp_path / "one", **settings, **changed))
        (straight,) = trained(encoder_spec(tmp_path / f"straight-{changed['steps']}", **settings, **changed))
        assert again.losses == straight.losses and again.kept.step == straight.kept.step, changed
        assert [one.step for one in again.curve] == [one.step for one in straight.curve], changed
        trained(encoder_spec(tmp_path / "one", **settings, steps=22, patience=None))


def test_the_last_state_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    """After all steps, whatever mean recall says; and the one that is written."""
    settings = {"noise": 1.5, "steps": 60, "evaluate_every": 5, "patience": 1}
    best, last = trained(
        encoder_spec(tmp_path / "best", **settings), encoder_spec(tmp_path / "last", **settings, keeps="last")
    )
    assert best.step < 60 and last.step == last.kept.step == 60 and best.losses == last.losses[: best.step]
    folders = {name: tmp_path / name / "trained" for name in ("best", "last")}
    states = {name: load_file(folder / "kept.safetensors") for name, folder in folders.items()}
    ends = {name: load_file(folder / "last.safetensors") for name, folder in folders.items()}
    same = {name: all(torch.equal(one, ends[name][key]) for key, one in states[name].items()) for name in folders}
    assert same == {"best": False, "last": True}


def test_a_training_that_is_killed_goes_on_from_its_last_state(tmp_path: Path) -> None:
    """Between two states: what was done since the last is done again, to the same losses."""
    done, state = killed(encoder_spec(tmp_path / "killed", steps=5000, evaluate_every=8), 20)
    assert 0 < state.step <= done and state.step % 8 == 0
    ends = {"steps": done + 8, "evaluate_every": 8}
    (on,) = trained(encoder_spec(tmp_path / "killed", **ends))
    (straight,) = trained(encoder_spec(tmp_path / "straight", **ends))
    assert on.losses == straight.losses and on.losses[: state.step] == state.losses
    assert [one.mean_recall for one in on.curve] == [one.mean_recall for one in straight.curve]


def test_it_stops_when_mean_recall_no_longer_rises_and_keeps_the_best(tmp_path: Path) -> None:
    """Noise is soon known by heart: trained on, it finds unseen ones less well."""
    early = encoder_spec(tmp_path / "early", noise=1.5, steps=600, evaluate_every=10, patience=3)
    late = encoder_spec(tmp_path / "late", noise=1.5, steps=300, evaluate_every=10, patience=None)
    # where the peak lies, by draws of its own: the highest of many evaluations is above the last ones by chance alone
    other = encoder_spec(tmp_path / "other", noise=1.5, steps=300, evaluate_every=10, patience=None, seed=18)
    stopped, went_on, elsewhere = trained(early, late, other)
    best = stopped.curve.index(stopped.kept)
    assert stopped.step < 600 and len(stopped.curve) == best + 4
    assert all(one.mean_recall <= stopped.kept.mean_recall for one in stopped.curve[best:])
    assert went_on.step == 300
    recalls = [np.array([one.mean_recall for one in found.curve]) for found in (elsewhere, went_on)]
    peak = 2 + int(np.argmax(np.convolve(recalls[0], np.ones(5), "valid")))
    assert recalls[1][-5:].mean() < recalls[1][peak - 2 : peak + 3].mean() - 0.02
