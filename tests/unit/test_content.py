"""The regressor of LIS_content: cross-fitted over items, against scikit-learn; what it must not learn."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from lis_spark.leaks.content import PENALTIES, colours, fit

COUNT = 5


def world(items: int = 400, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(items, 12))
    targets = signal * features @ rng.normal(size=(12, 3)) + rng.normal(size=(items, 3)) + 7
    return features, targets, rng.integers(0, COUNT, items)


def test_each_item_is_predicted_by_a_ridge_that_has_not_seen_it() -> None:
    """scikit-learn's, with cosines made smaller so that they cost more; the best on the fold after the item's."""
    features, targets, folds = world()
    found = fit(features, targets, folds, COUNT).predict(features, folds)
    chosen = set()
    for fold in range(COUNT):
        inner = (fold + 1) % COUNT

        def predicted(known: np.ndarray, wanted: np.ndarray, penalty: float, cosines: float) -> np.ndarray:
            scale = np.repeat([1.0, 1 / np.sqrt(cosines)], features.shape[1] // 2)
            model = Ridge(alpha=penalty * known.sum()).fit(features[known] * scale, targets[known])
            return model.predict(features[wanted] * scale)

        known = (folds != fold) & (folds != inner)
        errors = [((predicted(known, folds == inner, *one) - targets[folds == inner]) ** 2).sum() for one in PENALTIES]
        best = PENALTIES[int(np.argmin(errors))]
        chosen.add(best)
        expected = predicted(folds != fold, folds == fold, *best)
        np.testing.assert_allclose(found[folds == fold], expected, rtol=1e-4, atol=1e-4)
    assert chosen == {(0.01, 1.0)}, "all features carry what is predicted"


def test_cosines_cost_more_where_only_projections_tell() -> None:
    rng = np.random.default_rng(8)
    projections = rng.normal(size=(300, 40))
    features = np.concatenate([projections, np.sqrt(2) * np.cos(projections)], axis=1)
    truth = projections @ rng.normal(size=(40, 3))
    targets, folds = truth + 4 * rng.normal(size=truth.shape), rng.integers(0, COUNT, len(truth))
    found = fit(features, targets, folds, COUNT).predict(features, folds)
    cheap = np.empty_like(found)
    for fold in range(COUNT):
        known = folds != fold
        models = [Ridge(alpha=penalty * known.sum()).fit(features[known], targets[known]) for penalty, _ in PENALTIES]
        own = [model.predict(features[~known]) for model in models]
        cheap[~known] = min(own, key=lambda one: ((one - truth[~known]) ** 2).sum())
    assert ((found - truth) ** 2).sum() < 0.97 * ((cheap - truth) ** 2).sum(), "than the best with one penalty for all"


def test_targets_that_content_does_not_carry_are_not_predicted() -> None:
    features, targets, folds = world(signal=0.0)
    found = fit(features, targets, folds, COUNT).predict(features, folds)
    correlation = [np.corrcoef(found[:, d], targets[:, d])[0, 1] for d in range(3)]
    assert max(correlation) < 0.15
    features, targets, folds = world()
    found = fit(features, targets, folds, COUNT).predict(features, folds)
    assert min(np.corrcoef(found[:, d], targets[:, d])[0, 1] for d in range(3)) > 0.9


def test_standardised_predictions_tell_items_apart_as_the_predictions_do() -> None:
    features, targets, folds = world(signal=0.05)
    targets[:, 2] = 4.0
    fitted = fit(features, targets, folds, COUNT)
    raw, found = fitted.predict(features, folds), fitted.standardised(features, folds).predict(features, folds)
    np.testing.assert_allclose(found[:, :2].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found[:, :2].std(axis=0), 1, rtol=1e-3)
    for column in range(2):
        assert np.corrcoef(raw[:, column], found[:, column])[0, 1] > 0.9999
    assert np.abs(found[:, 2]).max() < 1e-3, "a constant says nothing"


def test_colours_are_means_of_a_grid() -> None:
    import io

    from PIL import Image

    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:8, :8] = (255, 128, 0)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    found = colours(data.getvalue()).reshape(8, 8, 3)
    np.testing.assert_allclose(found[0, 0], [(255 - 128) / 64, 0, -2])
    assert (found.reshape(-1, 3)[1:] == -2).all()
