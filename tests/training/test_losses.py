"""What each loss measures, quantiles included."""

import numpy as np
import pytest
import torch
from sklearn.metrics import d2_pinball_score, r2_score
from small_models import middle_half, small

from sklstm import StackedLSTMRegressor, load, save
from sklstm.training.losses import LOSSES, PinballLoss


@pytest.mark.parametrize("name", LOSSES)
class TestRegistry:
    """What each loss of the registry has to do, whoever adds it."""

    def test_it_is_documented(self, name):
        listed, _, rest = StackedLSTMRegressor.__doc__.partition("    loss : {")[2].partition("}")
        assert f'"{name}"' in listed
        assert all(f"\n    {parameter} : " in rest for parameter in LOSSES[name].params)

    def test_its_parameters_are_those_of_the_estimator(self, name):
        assert set(LOSSES[name].params) <= set(StackedLSTMRegressor().get_params())

    def test_it_is_a_loss_of_each_label_and_least_where_the_prediction_is_right(self, name):
        loss, defaults = LOSSES[name], StackedLSTMRegressor().get_params()
        params = {key: defaults[key] for key in loss.params} or {"reduction": "none"}
        criterion = loss.criterion(**params)
        labels = torch.linspace(-3, 3, 6).reshape(3, 2)
        right, wrong = criterion(labels, labels), criterion(labels + 1, labels)
        assert right.shape == labels.shape
        assert (right == 0).all()
        assert (wrong > 0).all()

    def test_a_fit_lowers_it_and_the_score_tells(self, name, sequences):
        X, y = sequences
        before, after = small(loss=name, max_epochs=0), small(loss=name, max_epochs=30)
        before.fit(X, y)
        after.fit(X, y)
        assert after.loss_curve_[-1] < after.loss_curve_[0]
        assert before.score(X, y) < after.score(X, y) <= 1

    def test_a_loaded_model_continues_to_train_with_it(self, name, sequences, tmp_path):
        model = small(loss=name).fit(*sequences)
        save(model, tmp_path / "model")
        loaded = load(tmp_path / "model").set_params(warm_start=True)
        again = model.set_params(warm_start=True).fit(*sequences).predict(sequences[0])
        assert np.array_equal(loaded.fit(*sequences).predict(sequences[0]), again)

    def test_it_is_as_robust_as_it_says(self, name):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(400, 5, 2))
        y = X[:, -2:, 0].sum(axis=1)
        spoiled = y.copy()
        spoiled[rng.choice(300, 3, replace=False)] = 1e3
        model = StackedLSTMRegressor(loss=name, units=8, random_state=0)
        predicted = model.fit(X[:300], spoiled[:300]).predict(X[300:])
        assert (r2_score(y[300:], predicted) > 0.95) == LOSSES[name].is_robust


def test_a_robust_scale_of_mostly_equal_targets_is_that_of_the_others(sequences):
    X, _ = sequences
    y = np.r_[np.zeros(40), np.linspace(1, 20, 20)]
    scale = small(loss="huber").fit(X, y).module_.output_scaler.scale
    assert 4 < float(scale) < 8


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_losses_are_those_of_the_standardized_target(loss, sequences):
    X, y = sequences
    model = small(loss=loss, max_epochs=1, lr=1e-12, batch_size=60, clip_norm=None).fit(X, y)
    spread = y.std() if loss == "squared_error" else middle_half(y)
    error = np.abs(model.predict(X) - y) / spread
    losses = {
        "squared_error": error**2,
        "absolute_error": error,
        "huber": np.where(error < 1, error**2 / 2, error - 0.5),
    }
    assert model.loss_curve_ == pytest.approx([losses[loss].mean()], rel=1e-5)


def test_absolute_error_predicts_the_median_and_squared_error_the_mean():
    X, y = np.zeros((101, 2, 1)), np.r_[np.zeros(60), np.full(41, 10.0)]
    params = {"max_epochs": 60, "batch_size": 101, "lr": 0.02}
    assert small(loss="absolute_error", **params).fit(X, y).predict(X)[0] < 0.5
    assert small(**params).fit(X, y).predict(X)[0] == pytest.approx(y.mean(), abs=0.5)


@pytest.fixture(scope="module")
def uneven():
    """Noise whose spread is the last step of the sequence."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.2, 2, size=(8000, 5, 1))
    return X, X[:, 0, 0] + X[:, -1, 0] * rng.normal(size=8000)


def test_quantiles_cover_what_they_say_and_never_cross(uneven):
    X, y = uneven
    model = small(loss="quantile", quantile=(0.1, 0.5, 0.9), units=16, max_epochs="auto")
    low, middle, high = model.fit(X[:4000], y[:4000]).predict(X[4000:]).T
    assert np.mean((low <= y[4000:]) & (y[4000:] <= high)) == pytest.approx(0.8, abs=0.03)
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert np.corrcoef(high - low, X[4000:, -1, 0])[0, 1] > 0.95


@pytest.mark.parametrize("quantile", [0.2, 0.9])
def test_a_single_quantile_has_no_axis_of_its_own(quantile, uneven):
    X, y = uneven
    model = small(loss="quantile", quantile=quantile, units=16, max_epochs=10)
    prediction = model.fit(X[:4000], y[:4000]).predict(X[4000:])
    assert prediction.shape == (4000,)
    assert np.mean(y[4000:] <= prediction) == pytest.approx(quantile, abs=0.03)


@pytest.mark.parametrize("quantile", [0.2, (0.2,), (0.1, 0.6)])
def test_score_of_quantiles_is_d2(quantile, sequences):
    X, y = sequences
    model = small(loss="quantile", quantile=quantile).fit(X, y)
    columns = model.predict(X).reshape(60, -1).T
    expected = np.mean(
        [
            d2_pinball_score(y, column, alpha=level)
            for level, column in zip(np.ravel(quantile), columns, strict=True)
        ]
    )
    model.set_params(loss="huber", quantile=0.5)
    assert model.score(X, y) == pytest.approx(expected, rel=1e-12)
    assert model.predict(X).shape == (60, *np.shape(quantile))


def test_quantiles_of_several_outputs_have_an_axis_of_their_own(sequences):
    X, y = sequences
    model = small(loss="quantile", quantile=(0.1, 0.9)).fit(X, np.stack([y, -y], axis=1))
    assert model.predict(X).shape == (60, 2, 2)
    assert model.n_outputs_ == 2


def test_quantile_loss_is_the_mean_pinball_loss(sequences):
    X, y = sequences
    params = {"loss": "quantile", "quantile": (0.2, 0.7), "precision": "float64"}
    untrained = small(**params, max_epochs=0).fit(X, y)
    errors = (y[:, np.newaxis] - untrained.predict(X)) / middle_half(y)
    levels = np.array([0.2, 0.7])
    expected = np.maximum(levels * errors, (levels - 1) * errors).mean()
    model = small(**params, max_epochs=1, lr=1e-12, batch_size=60).fit(X, y)
    assert model.loss_curve_[0] == pytest.approx(expected, rel=1e-9)


def test_pinball_loss_of_several_quantiles_is_their_mean():
    y_true, quantiles = torch.tensor([1.0, 2.0]), (0.1, 0.9)
    y_pred = torch.tensor([[0.0, 3.0], [2.0, 2.0]])
    single = [PinballLoss(q)(y_pred[:, i], y_true) for i, q in enumerate(quantiles)]
    torch.testing.assert_close(single[0], torch.tensor([0.1, 0.0]))
    torch.testing.assert_close(single[1], torch.tensor([0.2, 0.0]))
    torch.testing.assert_close(PinballLoss(quantiles)(y_pred, y_true), sum(single) / 2)
