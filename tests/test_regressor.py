import copy
import io
import pickle
import re
import tracemalloc
from contextlib import contextmanager

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import d2_pinball_score, r2_score
from skorch.callbacks import Callback, EpochScoring
from skorch.exceptions import DeviceWarning

from sklstm import StackedLSTMRegressor, load, save
from sklstm.data.sequences import Sequences
from sklstm.exceptions import SequenceDataWarning
from sklstm.training.batches import Batches, SequenceDataset
from sklstm.training.net import PinballLoss


def small(**params):
    return StackedLSTMRegressor(
        **{
            "n_layers": 2,
            "units": 8,
            "linear_steps": None,
            "max_epochs": 3,
            "random_state": 0,
            **params,
        }
    )


def ragged(n_samples, longest=40):
    """Sequences of 1 to `longest` steps of 3 features."""
    rng = np.random.default_rng(1)
    return [rng.normal(size=(n, 3)) for n in rng.integers(1, longest + 1, size=n_samples)]


class AtEpoch(Callback):
    """Do something to the net at the end of an epoch."""

    def __init__(self, epoch, act):
        self.epoch = epoch
        self.act = act

    def on_epoch_end(self, net, **kwargs):
        if net.history[-1]["epoch"] == self.epoch:
            self.act(net)


def interrupt(_net):
    raise KeyboardInterrupt


def spoil_weights(net):
    with torch.no_grad():
        next(net.module_.parameters()).fill_(float("nan"))


# learning


def test_it_learns(sequences):
    X, y = sequences
    model = small(max_epochs=60, lr=0.02).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.loss_curve_[-1] < 0.1 < model.loss_curve_[0]


def middle_half(y):
    """Range of the middle half of y, as a part of that of a normal distribution."""
    centres = (np.arange(len(y)) + 0.5) / len(y)
    return np.diff(np.interp([0.25, 0.75], centres, np.sort(y)))[0] / 1.349


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile"])
def test_large_targets_do_not_move_a_robust_loss(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5, 2))
    y = X[:, -2:, 0].sum(axis=1)
    spoiled = y.copy()
    spoiled[rng.choice(300, 3, replace=False)] = 1e3
    model = StackedLSTMRegressor(loss=loss, units=8, random_state=0)
    assert r2_score(y[300:], model.fit(X[:300], spoiled[:300]).predict(X[300:])) > 0.95


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


def test_one_cycle_ends_at_30_percent_of_lr(sequences):
    model = small(max_epochs=10, lr=0.02, batch_size=10).fit(*sequences)
    rates = [row["lr"] for row in model.history_]
    assert np.argmax(rates) in (2, 3)
    assert max(rates) == pytest.approx(0.02, rel=0.05)
    assert rates[-1] == pytest.approx(0.006)


class Trace(Callback):
    """Copy the weights when training begins and after each step."""

    def initialize(self):
        self.weights = []
        return self

    def on_train_begin(self, net, **kwargs):
        self._copy(net)

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self._copy(net)

    def _copy(self, net):
        self.weights.append(torch.cat([p.detach().flatten() for p in net.module_.parameters()]))


def traced(X, y, **params):
    model = small(callbacks=[("trace", Trace())], max_epochs=5, batch_size=6, **params).fit(X, y)
    kept = torch.cat([p.detach().flatten() for p in model.module_.parameters()])
    return dict(model.net_.callbacks_)["trace"].weights, kept


def test_one_cycle_keeps_an_average_of_the_weights(sequences):
    weights, kept = traced(*sequences)
    assert len(weights) == 51
    average = weights[0]
    for step, now in enumerate(weights[1:], start=1):
        average = average + max(1 / 10, 9 / (10 + step)) * (now - average)
    torch.testing.assert_close(kept, average)
    assert not torch.allclose(kept, weights[-1], atol=1e-3)


def test_constant_schedule_keeps_the_last_weights(sequences):
    weights, kept = traced(*sequences, lr_schedule="constant")
    assert torch.equal(kept, weights[-1])


@pytest.mark.parametrize(("n_samples", "lr"), [(60, 0.03), (1000, 0.02), (4000, 0.01)])
def test_auto_lr_is_higher_for_fewer_samples(n_samples, lr):
    X = np.random.default_rng(0).normal(size=(n_samples, 2, 1))
    assert small(max_epochs=0).fit(X, X[:, -1, 0]).net_.lr == pytest.approx(lr)


def test_partial_fit_takes_the_lowest_auto_lr(sequences):
    assert small().partial_fit(*sequences).net_.lr == 0.01


@pytest.mark.parametrize(("optimizer", "decay"), [("adamw", 0.08), ("adam", 0.0), ("sgd", 0.0)])
def test_auto_weight_decay_is_for_adamw_alone(optimizer, decay, sequences):
    model = small(optimizer=optimizer, max_epochs=0).fit(*sequences)
    assert model.net_.optimizer_.param_groups[0]["weight_decay"] == decay


def test_outliers_neither_flatten_the_rest_nor_reach_the_layers(sequences):
    X, y = sequences
    wild = X.copy()
    wild[::9, 2, 1] = 1e6
    params = {"max_epochs": 60, "lr": 0.02}
    model = small(**params).fit(wild, y)
    assert model.score(X, y) > 0.9
    assert model.score(wild, y) > 0.9
    wild[0, -1, 0] = -1e30
    assert np.abs(model.predict(wild)).max() < 2 * np.abs(y).max()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_the_target_does_not_matter(scale, sequences):
    X, y = sequences
    expected = scale * StackedLSTMRegressor(units=8, random_state=0).fit(X, y).predict(X)
    model = StackedLSTMRegressor(units=8, random_state=0).fit(X, scale * y)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-3, atol=1e-3 * scale)


def test_default_parameters_answer_sensibly_when_there_is_little_to_learn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 5, 2))
    model = StackedLSTMRegressor(units=8, random_state=0)
    assert np.allclose(model.fit(X, np.full(30, 7.0)).predict(X), 7.0)
    noise = rng.normal(size=30)
    flat = np.ones((30, 5, 2))
    assert np.allclose(model.fit(flat, noise).predict(flat), noise.mean(), atol=0.2)
    assert np.abs(model.fit(X[:1], noise[:1]).predict(X) - noise[0]).max() < 1
    assert np.abs(model.fit(X[:2], noise[:2]).predict(X)).max() < 2 * np.abs(noise[:2]).max()


@pytest.mark.parametrize("shape", [(40, 1, 2), (12, 2000, 1), (40, 6, 500)])
def test_default_parameters_take_one_step_many_steps_and_many_features(shape):
    X = np.random.default_rng(0).normal(size=shape)
    y = X[:, -1, 0]
    model = StackedLSTMRegressor(units=8, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8


def test_constant_schedule_keeps_lr(sequences):
    model = small(lr_schedule="constant", lr=0.02).fit(*sequences)
    assert [row["lr"] for row in model.history_] == [0.02] * 3


def test_scaling_of_features_and_target_does_not_matter_when_standardizing(sequences):
    X, y = sequences
    model = small(max_epochs=5).fit(X, y)
    other = small(max_epochs=5).fit(X * [1, 1e3, 1e-3] + 5, y * 1e6 - 3)
    np.testing.assert_allclose(
        (other.predict(X * [1, 1e3, 1e-3] + 5) + 3) / 1e6, model.predict(X), atol=1e-5
    )


def test_without_standardization_nothing_is_scaled(sequences):
    X, y = sequences
    model = small(standardize=False).fit(X, y)
    assert model.module_.input_scaler is None
    expected = model.module_.eval()(torch.from_numpy(X)).detach().numpy().ravel()
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("n_samples", "batch_size", "max_epochs"),
    [(60, 32, 28), (1280, 40, 28), (6400, 64, 17), (20_000, 64, 10)],
)
def test_auto_means_larger_batches_and_fewer_epochs_for_more_data(
    n_samples, batch_size, max_epochs
):
    class NoTraining(Callback):
        def on_train_begin(self, net, **kwargs):
            net.max_epochs, self.max_epochs_ = 0, net.max_epochs

    X = np.zeros((n_samples, 2, 1))
    model = small(max_epochs="auto", callbacks=[NoTraining()]).fit(X, X[:, 0, 0])
    assert model.net_.batch_size == batch_size
    assert dict(model.net_.callbacks_)["NoTraining"].max_epochs_ == max_epochs


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", torch.optim.NAdam])
def test_optimizers_lower_the_loss(optimizer, sequences):
    model = small(optimizer=optimizer, max_epochs=10).fit(*sequences)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_weight_decay_shrinks_the_weights(sequences):
    def norm(model):
        return sum(float(weights.detach().square().sum()) for weights in model.module_.parameters())

    plain = small(lr_schedule="constant").fit(*sequences)
    assert norm(small(lr_schedule="constant", weight_decay=1.0).fit(*sequences)) < norm(plain)


def test_clip_norm_bounds_the_gradient(sequences):
    class GradientNorm(Callback):
        def on_train_begin(self, net, **kwargs):
            self.norms_ = []

        def on_grad_computed(self, net, named_parameters, **kwargs):
            squares = [float(weights.grad.square().sum()) for _, weights in named_parameters]
            self.norms_.append(sum(squares) ** 0.5)

    def norms(clip_norm):
        model = small(clip_norm=clip_norm, callbacks=[GradientNorm()]).fit(*sequences)
        return dict(model.net_.callbacks_)["GradientNorm"].norms_

    assert max(norms(None)) > 0.02
    assert max(norms(0.01)) < 0.0101


# early stopping


def test_early_stopping_holds_out_the_tail(sequences):
    X, y = sequences
    y = y.copy()
    y[-15:] += 1000 * y.std()
    model = small(early_stopping=True, validation_fraction=0.25, standardize=False).fit(X, y)
    assert min(model.validation_loss_curve_) > 1e3 * max(model.loss_curve_)


def test_early_stopping_restores_the_best_epoch(sequences):
    X, y = sequences
    rng = np.random.default_rng(0)
    model = small(early_stopping=True, max_epochs=80, n_iter_no_change=5, lr=0.05)
    model.fit(X, rng.permutation(y))
    assert model.n_iter_ < 80
    assert model.n_iter_ - model.best_epoch_ <= 5
    losses = model.validation_loss_curve_
    assert model.best_epoch_ == 1 + np.argmin(losses)
    stopped = small(early_stopping=True, max_epochs=80, n_iter_no_change=5, lr=0.05)
    stopped.set_params(callbacks=[AtEpoch(model.best_epoch_, interrupt)])
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        stopped.fit(X, np.random.default_rng(0).permutation(y))
    assert np.array_equal(stopped.predict(X), model.predict(X))


def test_tol_is_the_improvement_that_counts(sequences):
    model = small(early_stopping=True, max_epochs=30, n_iter_no_change=4, tol=1e6)
    assert model.fit(*sequences).n_iter_ == 5


def test_without_early_stopping_every_epoch_is_run_on_all_samples(sequences):
    model = small(max_epochs=7).fit(*sequences)
    assert model.n_iter_ == len(model.loss_curve_) == 7
    assert model.validation_loss_curve_ == []


def test_early_stopping_needs_a_sample_to_train_on(sequences):
    X, y = sequences
    with pytest.raises(ValueError, match=r"validation_fraction=0.1.*n_samples=1"):
        small(early_stopping=True).fit(X[:1], y[:1])


@pytest.fixture
def many():
    """Like `sequences`, and enough of them to trust the loss on a third."""
    X = np.random.default_rng(0).normal(size=(120, 7, 3))
    return X, X[:, -2:, 0].sum(axis=1)


def falling(**params):
    """A model whose validation loss falls from epoch to epoch."""
    steady = {"lr": 0.005, "lr_schedule": "constant", "max_epochs": 10, "batch_size": 10}
    held_out = {"early_stopping": True, "validation_fraction": 0.3}
    return small(**{**held_out, **steady, **params})


def test_a_validation_loss_that_still_falls_at_the_end_is_told(many):
    with pytest.warns(ConvergenceWarning, match="still falling") as caught:
        model = falling().fit(*many)
    curve = model.validation_loss_curve_
    assert len(caught) == 1
    assert str(caught[0].message) == (
        "The validation loss was still falling when training ended after max_epochs=10 epochs "
        f"(from {min(curve[:8]):.3g} to {min(curve[8:]):.3g} in the last fifth of them). "
        "Raise max_epochs."
    )
    assert model.best_epoch_ == 10


@pytest.mark.parametrize(
    "params",
    [
        {"lr": 1e-6},
        {"max_epochs": 4},
        {"validation_fraction": 0.2},
        {"tol": 1.0},
        {"tol": 1.0, "n_iter_no_change": 6},
        {"early_stopping": False},
        {"max_epochs": 0},
    ],
    ids=str,
)
def test_a_loss_that_hardly_falls_or_of_too_little_is_not_told(params, many):
    falling(**params).fit(*many)


def test_a_fit_that_goes_on_does_not_tell_that_the_loss_still_falls(many):
    X, y = many
    model = falling(max_epochs=4, warm_start=True).fit(X, y)
    model.set_params(max_epochs=10).fit(X, y)
    curve = model.validation_loss_curve_
    assert min(curve[-2:]) < 0.95 * min(curve[:-2])
    model.set_params(max_epochs=10, n_layers=3).fit(X, y).partial_fit(X, y)


def test_an_interrupted_fit_tells_of_the_interrupt_alone(many):
    with pytest.warns(ConvergenceWarning) as caught:
        falling(callbacks=[AtEpoch(10, interrupt)]).fit(*many)
    assert ["interrupted" in str(warning.message) for warning in caught] == [True]


# reproducibility


@pytest.mark.bits
@pytest.mark.parametrize("params", [{}, {"dropout": 0.3}, {"bidirectional": True}])
def test_equal_seeds_give_equal_bits_and_others_do_not(params, sequences):
    X, y = sequences
    first, second = (small(**params).fit(X, y).predict(X) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, small(**params, random_state=1).fit(X, y).predict(X))


def test_a_random_state_instance_gives_another_fit_each_time(sequences):
    X, y = sequences
    rng = np.random.RandomState(0)
    model = small(random_state=rng)
    first, second = (model.fit(X, y).predict(X) for _ in range(2))
    assert not np.array_equal(first, second)
    again = small(random_state=np.random.RandomState(0)).fit(X, y).predict(X)
    assert np.array_equal(first, again)


def test_global_state_is_left_as_it_was(sequences):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    small(dropout=0.5).fit(*sequences).predict(sequences[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]
    assert torch.is_grad_enabled()


def test_without_a_seed_numpy_s_global_state_decides(sequences):
    X, y = sequences
    np.random.seed(3)
    first = small(random_state=None).fit(X, y).predict(X)
    second = small(random_state=None).fit(X, y).predict(X)
    np.random.seed(3)
    assert np.array_equal(small(random_state=None).fit(X, y).predict(X), first)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_layers": 1},
        {"n_layers": 3, "units": (33, 7, 5)},
        {"bidirectional": True},
        {"head_units": (33,), "units": 7},
        {"standardize": False},
        {"pooling": "mean"},
        {"pooling": "max"},
        {"pooling": "concat", "bidirectional": True},
        {"loss": "quantile", "quantile": (0.1, 0.9)},
    ],
)
@pytest.mark.parametrize("n_outputs", [1, 5])
def test_predictions_do_not_depend_on_the_batch(params, n_outputs):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 6, 3)), rng.normal(size=(1000, n_outputs))
    model = small(**params, max_epochs=0).fit(X, y)
    whole = model.predict(X)
    for rows in (slice(0, 1), slice(999, 1000), slice(5, 8), slice(37, 292), slice(1, 1000)):
        assert np.array_equal(model.predict(X[rows]), whole[rows])


@pytest.mark.bits
@pytest.mark.parametrize(
    "params",
    [
        {"n_layers": 1},
        {"n_layers": 2},
        {"n_layers": 3},
        {"pooling": "mean"},
        {"pooling": "max"},
        {"pooling": "concat"},
        {"return_sequences": True},
        {"return_sequences": True, "head_units": (5,)},
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_predictions_do_not_depend_on_padding_or_batch(params, bidirectional):
    X = ragged(600)
    y = [x[:, 0] for x in X] if "return_sequences" in params else [x[-1, 0] for x in X]
    model = small(**params, bidirectional=bidirectional, max_epochs=1).fit(X[:50], y[:50])
    whole = model.predict(X)
    for rows in (slice(0, 1), slice(599, 600), slice(5, 8), slice(37, 292), slice(1, 600)):
        assert all(map(np.array_equal, model.predict(X[rows]), whole[rows]))
    longest = max(X, key=len)
    for i in (0, 1, 2, 3):
        pair = model.predict([X[i], np.repeat(longest, 3, axis=0)])
        assert np.array_equal(pair[0], whole[i])


@pytest.mark.bits
@pytest.mark.parametrize(
    "params",
    [
        {"units": 8},
        {"units": 40},
        {"units": 40, "batch_size": 50, "precision": "float64"},
        {"units": (16, 33), "bidirectional": True, "head_units": (20,), "early_stopping": True},
        {"units": 33, "return_sequences": True, "batch_size": 60},
    ],
)
def test_bits_do_not_depend_on_the_number_of_threads(sequences, params):
    X, y = sequences
    y = X[:, :, 0] if "return_sequences" in params else y
    before = torch.get_num_threads()
    predictions = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        predictions.append(small(dropout=0.2, **params).fit(X, y).predict(X))
    torch.set_num_threads(before)
    assert np.array_equal(predictions[0], predictions[1])
    assert np.array_equal(predictions[0], predictions[2])


# going on


def test_warm_start_goes_on_from_the_fitted_weights(sequences):
    X, y = sequences
    model = small(warm_start=True, lr=0.02, max_epochs=15).fit(X, y)
    first = model.loss_curve_[-1]
    model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 30
    assert model.loss_curve_[15] < 1.5 * first
    assert [row["epoch"] for row in model.history_] == list(range(1, 31))


def test_warm_start_keeps_the_statistics(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    mean = model.module_.input_scaler.mean.clone()
    with pytest.warns(SequenceDataWarning, match=r"100% of the values of feature 0 .* 10 standard"):
        assert torch.equal(model.fit(X + 100, y).module_.input_scaler.mean, mean)


@pytest.mark.parametrize("call", ["predict", "score", "partial_fit"])
def test_data_far_from_the_first_fit_are_told(call, sequences):
    X, y = sequences
    model = small().fit(X, y)
    targets = () if call == "predict" else (y,)
    far = X + np.array([0, 30, 0])
    with pytest.warns(SequenceDataWarning, match="feature 1 .* units of the first fit"):
        getattr(model, call)(far, *targets)


@pytest.mark.parametrize("going_on", ["fit", "partial_fit"])
def test_targets_far_from_the_first_fit_are_told(going_on, sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    with pytest.warns(SequenceDataWarning, match="100% of the values of output 0 .* now 99"):
        getattr(model, going_on)(X, y + 100)


def test_a_sequence_of_the_training_set_is_not_told():
    X = np.random.default_rng(0).normal(size=(500, 5, 2))
    X[:, :, 1] = 0
    X[7, :, 1] = 1  # a rare event
    model = small().fit(X, X[:, 0, 0])
    model.predict(X[7:8])
    with pytest.warns(SequenceDataWarning, match="more than 100 standard deviations"):
        model.predict(1000 * X[7:8])


def test_a_feature_that_was_constant_is_told_so():
    X = np.random.default_rng(0).normal(size=(60, 5, 2))
    X[:, :, 1] = 2023
    model = small().fit(X, X[:, 0, 0])
    X[:, :, 1] = 2060
    with pytest.warns(SequenceDataWarning, match="now 2.06e[+]03 in the middle, then .*, constant"):
        model.predict(X)


@pytest.mark.filterwarnings("ignore:.* standard deviations from the mean")
def test_a_further_partial_fit_that_fails_leaves_the_model_as_it_was(sequences):
    X, y = sequences
    model = small(dropout=0.2).partial_fit(X, y).partial_fit(X, y)
    twin, before = copy.deepcopy(model), model.predict(X)
    with pytest.raises(ValueError, match="diverged"):
        model.partial_fit(X, y * 1e37)
    assert np.array_equal(model.predict(X), before)
    assert (model.n_iter_, model.best_epoch_) == (twin.n_iter_, twin.best_epoch_)
    assert np.array_equal(model.partial_fit(X, y).predict(X), twin.partial_fit(X, y).predict(X))


@pytest.mark.parametrize("wrong", [{"clip_norm": -1}, {"lr": "high"}, {"batch_size": 0}])
def test_partial_fit_checks_parameters_in_further_calls_too(wrong, sequences):
    model = small().partial_fit(*sequences).set_params(**wrong)
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}'"):
        model.partial_fit(*sequences)


def test_a_few_values_far_out_are_not_told(sequences):
    X, y = sequences
    model = small().fit(X, y)
    far = X.copy()
    far[:25] += 100
    model.predict(far)


def test_columns_far_from_the_first_fit_are_told_by_name():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
    model = small(n_timesteps=1).fit(table, table["a"])
    with pytest.warns(SequenceDataWarning, match="of 'b' are more than 10"):
        model.predict(table.assign(b=table["b"] * 1e4))


def test_columns_of_a_table_that_differ_have_scales_of_their_own():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(500, 4))
    y = np.sin(2 * Z[:, 0]) + Z[:, 1] * Z[:, 2]
    model = StackedLSTMRegressor(units=16, random_state=0)
    X = Z * [1, 1, 5, 1] + [0, 10, 0, 1000]
    assert model.fit(X[:400], y[:400]).score(X[400:], y[400:]) > 0.9
    assert model.module_.input_scaler.mean.shape == (4, 1)
    np.testing.assert_allclose(model.module_.input_scaler.mean[:, 0], X[:400].mean(axis=0))


def test_lags_of_one_series_share_their_scale():
    walk = np.random.default_rng(0).normal(size=200).cumsum() + np.arange(200)
    X = np.lib.stride_tricks.sliding_window_view(walk, 12)[:-1]
    assert small().fit(X, walk[12:]).module_.input_scaler.mean.shape == (1,)


def test_scales_of_columns_are_kept_by_a_warm_start_and_by_a_file(tmp_path, sequences):
    X = sequences[0][:, :, 0] + np.arange(7) * 100
    model = small(warm_start=True).fit(X, sequences[1])
    scale = model.module_.input_scaler.scale.clone()
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert np.array_equal(loaded.predict(X), model.predict(X))
    model.fit(X + 1, sequences[1])
    assert torch.equal(model.module_.input_scaler.scale, scale)


def test_long_sequences_with_a_label_at_each_step_train_longer_in_smaller_batches():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length, 1)) for length in rng.integers(500, 700, size=8)]
    y = [x[:, 0].cumsum() for x in X]
    short, long = (small(return_sequences=True, max_epochs="auto") for _ in range(2))
    long.fit(X, y)
    short.fit([x[:20] for x in X], [x[:20] for x in y])
    assert (long.batch_size_, long.max_epochs_) == (8, 112)
    assert (short.batch_size_, short.max_epochs_) == (32, 28)


def test_no_epochs_change_nothing(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    before = model.predict(X)
    model.set_params(max_epochs=0).fit(X, y)
    assert np.array_equal(model.predict(X), before)
    assert small(max_epochs=0).fit(X, y).n_iter_ == 0


def test_without_warm_start_fit_starts_afresh(sequences):
    X, y = sequences
    model = small().fit(X, y)
    first = model.predict(X)
    assert np.array_equal(model.fit(X, y).predict(X), first)
    assert model.n_iter_ == 3


def test_the_same_units_may_be_given_layer_by_layer(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    assert model.set_params(units=(8, 8)).fit(X, y).n_iter_ == 6


def test_huge_weights_are_as_good_as_any(sequences):
    X, y = sequences
    plain = small().fit(X, y, np.ones(60)).predict(X)
    assert np.array_equal(small().fit(X, y, np.full(60, 1e308)).predict(X), plain)


@pytest.mark.parametrize(
    "changed",
    [
        {"n_layers": 1},
        {"units": 9},
        {"skip": None},
        {"bidirectional": True},
        {"head_units": (4,)},
        {"pooling": "mean"},
    ],
)
def test_warm_start_refuses_another_architecture(changed, sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    before = model.predict(X)
    (name,) = changed
    with pytest.raises(ValueError, match=f"{name}=.*fitted with {name}="):
        model.set_params(**changed).fit(X, y)
    assert np.array_equal(model.predict(X), before)


def test_warm_start_takes_new_training_parameters(sequences):
    X, y = sequences
    model = small(warm_start=True, units=np.array([8, 4])).fit(X, y)
    model.set_params(lr=0.5, dropout=0.4, max_epochs=1, optimizer="sgd", batch_size=60).fit(X, y)
    assert model.n_iter_ == 4
    assert model.module_.dropouts[0].p == 0.4
    assert isinstance(model.net_.optimizer_, torch.optim.SGD)


def test_warm_start_refuses_another_number_of_targets(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"n_outputs=2.*n_outputs=1"):
        model.fit(X, np.column_stack([y, y]))


def test_partial_fit_learns_an_epoch_a_call(sequences):
    X, y = sequences
    model = small(lr=0.02)
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.n_iter_ == 60
    assert model.score(X, y) > 0.8


def test_partial_fit_keeps_the_optimizer(sequences):
    X, y = sequences
    model = small().partial_fit(X, y).partial_fit(X, y)
    steps = {int(state["step"]) for state in model.net_.optimizer_.state.values()}
    assert steps == {2 * 2}


def test_partial_fit_after_fit_trains_at_the_full_rate(sequences):
    X, y = sequences
    model = small(lr=0.02).fit(X, y).partial_fit(X, y)
    assert model.history_[-1]["lr"] == 0.02


def test_partial_fit_and_fit_shuffle_each_epoch_anew(sequences):
    X, y = sequences
    once = small(lr=0.01, lr_schedule="constant", max_epochs=2).fit(X, y)
    twice = small().partial_fit(X, y).partial_fit(X, y)
    assert np.array_equal(once.predict(X), twice.predict(X))


def test_a_failing_partial_fit_leaves_the_optimizer_as_it_was(sequences):
    X, y = sequences

    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("from a callback")

    model = small().partial_fit(X, y)
    untouched = copy.deepcopy(model)
    with pytest.raises(RuntimeError, match="from a callback"):
        model.set_params(callbacks=[Fails()]).partial_fit(X, y)
    model.set_params(callbacks=None).partial_fit(X, y)
    assert np.array_equal(model.predict(X), untouched.partial_fit(X, y).predict(X))


def test_predictions_take_the_form_of_the_last_y(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    assert model.fit(X, y[:, None]).predict(X).shape == (60, 1)
    assert model.partial_fit(X, y).predict(X).shape == (60,)


def test_one_step_of_one_cycle_is_a_step(sequences):
    X, y = sequences
    model = small(max_epochs=0).fit(X, y)
    start = model.predict(X)
    model.set_params(max_epochs=1, batch_size=60, warm_start=True).fit(X, y)
    assert np.abs(model.predict(X) - start).max() > 1e-3


def test_another_n_timesteps_after_fit_is_refused(sequences):
    X, y = sequences
    model = small(n_timesteps=7).fit(X.reshape(60, 21), y)
    with pytest.raises(ValueError, match=r"n_timesteps=3 makes 7 features.*fitted with 3"):
        model.set_params(n_timesteps=3).predict(X.reshape(60, 21))


# copies


@pytest.mark.bits
@pytest.mark.parametrize(
    "through",
    [
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: cloudpickle.loads(cloudpickle.dumps(model)),
        lambda model: joblib.load(dumped(model)),
        copy.deepcopy,
    ],
    ids=["pickle", "cloudpickle", "joblib", "deepcopy"],
)
def test_copies_predict_and_go_on_with_the_same_bits(through, sequences):
    X, y = sequences
    model = small(dropout=0.2, early_stopping=True, callbacks=[EpochScoring("r2")]).fit(X, y)
    copied = through(model)
    assert np.array_equal(copied.predict(X), model.predict(X))
    assert copied.loss_curve_ == model.loss_curve_
    assert np.array_equal(copied.partial_fit(X, y).predict(X), model.partial_fit(X, y).predict(X))
    assert repr(through(small())) == repr(small())


def dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return file


def test_a_clone_is_unfitted_and_fits_to_the_same_bits(sequences):
    X, y = sequences
    model = small().fit(X, y)
    cloned = clone(model)
    with pytest.raises(NotFittedError):
        cloned.predict(X)
    assert np.array_equal(cloned.fit(X, y).predict(X), model.predict(X))


def test_a_fitted_model_does_not_hold_the_data(sequences):
    X, y = sequences
    size = len(pickle.dumps(small(early_stopping=True).fit(X, y)))
    many = np.repeat(X, 50, axis=0), np.repeat(y, 50)
    assert len(pickle.dumps(small(early_stopping=True).fit(*many))) < size + 50_000


# trouble


def test_divergence_in_the_first_epoch_names_epoch_and_learning_rate(sequences):
    X, y = sequences
    model = small(lr=1e38, lr_schedule="constant", optimizer="sgd", clip_norm=None)
    with pytest.raises(ValueError, match=r"epoch 1.*not finite.*lr=1e\+38"):
        model.fit(X, y)
    assert not hasattr(model, "net_")


def test_divergence_later_returns_to_the_best_epoch(sequences):
    X, y = sequences
    best = small(lr_schedule="constant", max_epochs=4).fit(X, y)
    model = small(lr_schedule="constant", max_epochs=9, callbacks=[AtEpoch(4, spoil_weights)])
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch 5 .*weights of epoch 4"):
        model.fit(X, y)
    assert model.best_epoch_ == 4
    assert np.array_equal(model.predict(X), best.predict(X))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_model_that_diverged_can_go_on(optimizer, sequences):
    X, y = sequences
    params = {"lr_schedule": "constant", "max_epochs": 9, "optimizer": optimizer}
    model = small(**params, callbacks=[AtEpoch(4, spoil_weights)])
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model.fit(X, y)
    model.set_params(callbacks=None).partial_fit(X, y)
    assert np.isfinite(model.loss_curve_[-1])


def test_a_failing_fit_leaves_the_estimator_as_it_was(sequences):
    X, y = sequences

    def fail(_net):
        raise RuntimeError("from a callback")

    model = small().fit(X, y)
    before = model.predict(X)
    model.set_params(callbacks=[AtEpoch(2, fail)])
    with pytest.raises(RuntimeError, match="from a callback"):
        model.fit(X[:, :, :2], np.column_stack([y, y]))
    assert model.n_features_in_ == 3
    assert np.array_equal(model.predict(X), before)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupted_fit_keeps_the_best_weights_so_far(early_stopping, sequences):
    X, y = sequences
    params = {"lr_schedule": "constant", "early_stopping": early_stopping}
    model = small(**params, max_epochs=50, callbacks=[AtEpoch(3, interrupt)])
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3.*weights of epoch"):
        model.fit(X, y)
    best = small(**params, max_epochs=model.best_epoch_).fit(X, y)
    assert np.array_equal(model.predict(X), best.predict(X))
    assert model.n_iter_ == 3


def test_an_interrupt_in_the_middle_of_the_first_epoch_leaves_a_fitted_model(sequences):
    X, y = sequences

    class AtOnce(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    model = small(callbacks=[AtOnce()])
    with pytest.warns(ConvergenceWarning, match="no epoch was finished"):
        model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert model.loss_curve_ == []
    assert model.best_epoch_ is None


def test_an_interrupted_warm_start_returns_to_where_it_started(sequences):
    X, y = sequences

    class AtOnce(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history[-1]["batches"]) == 2:
                raise KeyboardInterrupt

    model = small(warm_start=True).fit(X, y)
    before = model.predict(X)
    model.set_params(callbacks=[AtOnce()], lr=0.5)
    with pytest.warns(ConvergenceWarning, match="went on from"):
        model.fit(X, y)
    assert np.array_equal(model.predict(X), before)
    assert model.n_iter_ == len(model.loss_curve_) == 3


def test_an_interrupt_after_the_last_epoch_keeps_the_fit(sequences):
    X, y = sequences

    class AtTheEnd(Callback):
        def on_train_end(self, net, **kwargs):
            raise KeyboardInterrupt

    model = small(callbacks=[AtTheEnd()])
    with pytest.warns(ConvergenceWarning, match="interrupted before or after its epochs"):
        model.fit(X, y)
    assert np.array_equal(model.predict(X), small().fit(X, y).predict(X))


@contextmanager
def without_onednn():
    """Turn oneDNN off in words that every torch knows: `flags` takes other arguments in each."""
    enabled, *_ = torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(enabled)


def test_predictions_are_never_nan():
    X = np.random.default_rng(0).normal(size=(8, 3, 500))
    model = small(standardize=False, max_epochs=0).fit(X, np.zeros(8))
    X[2] = 3e38 * np.sign(X[2])
    assert np.isfinite(model.predict(X)).all()
    with (
        without_onednn(),
        pytest.raises(ValueError, match="too extreme for a finite prediction at sample 2"),
    ):
        model.predict(X)


@pytest.mark.parametrize("y", [np.zeros(20), np.full(20, 1e12), np.full(20, 1e-12)])
def test_a_constant_target_is_predicted(y):
    X = np.random.default_rng(0).normal(size=(20, 3, 2))
    np.testing.assert_allclose(small().fit(X, y).predict(X), y, rtol=1e-6, atol=1)


def test_fit_in_inference_mode_is_the_same_fit(sequences):
    X, y = sequences
    with torch.inference_mode():
        inside = small().fit(X, y).predict(X)
    assert np.array_equal(inside, small().fit(X, y).predict(X))


def test_fits_in_threads_are_the_fits_of_one_thread(sequences):
    X, y = sequences
    before = torch.get_rng_state()
    scores = [
        joblib.Parallel(n_jobs=n_jobs, backend="threading")(
            joblib.delayed(lambda units: small(units=units, dropout=0.3).fit(X, y).score(X, y))(u)
            for u in (4, 5, 6, 7)
        )
        for n_jobs in (1, 4)
    ]
    assert scores[0] == scores[1]
    assert torch.equal(torch.get_rng_state(), before)


# weights


def test_weights_equal_repetitions_in_float64_and_full_batches(sequences):
    X, y = sequences
    weight = np.random.default_rng(0).integers(0, 4, size=60)
    params = {"precision": "float64", "batch_size": 1000, "max_epochs": 10}
    weighted = small(**params).fit(X, y, sample_weight=weight)
    repeated = small(**params).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7, atol=1e-9)
    assert weighted.loss_curve_ == pytest.approx(repeated.loss_curve_, rel=1e-9)


def test_only_ratios_of_weights_matter(sequences):
    X, y = sequences
    weight = np.linspace(1, 2, 60)
    first, second = (small().fit(X, y, w).predict(X) for w in (weight, 4 * weight))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("params", [{}, {"return_sequences": True}])
def test_weights_equal_repetitions_for_sequences_of_unequal_length(params):
    X = ragged(40, longest=9)
    y = [x.cumsum(axis=0) for x in X] if "return_sequences" in params else [x[-1] for x in X]
    weight = np.tile([1, 2, 0, 1, 3], 8)
    index = np.repeat(np.arange(40), weight)
    params = {"precision": "float64", "batch_size": 1000, "max_epochs": 10, **params}
    weighted = small(**params).fit(X, y, sample_weight=weight)
    repeated = small(**params).fit([X[i] for i in index], [y[i] for i in index])
    for first, second in zip(weighted.predict(X), repeated.predict(X), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-7, atol=1e-9)
    assert weighted.loss_curve_ == pytest.approx(repeated.loss_curve_, rel=1e-9)
    assert weighted.score(X, y, sample_weight=weight) == pytest.approx(
        repeated.score([X[i] for i in index], [y[i] for i in index]), rel=1e-9
    )


def test_early_stopping_weighs_the_held_out_tail():
    X = ragged(40, longest=9)
    y = np.array([x[-1, 0] for x in X])
    weight = np.where(np.arange(40) < 30, 1, np.arange(40) % 2 + 1)
    params = {"early_stopping": True, "validation_fraction": 0.25, "precision": "float64"}
    weighted = small(**params).fit(X, y, sample_weight=weight)
    errors = (weighted.predict(X[30:]) - y[30:]) / weighted.module_.output_scaler.scale.item()
    expected = np.average(errors**2, weights=weight[30:])
    assert min(weighted.validation_loss_curve_) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("params", [{}, {"return_sequences": True}, {"early_stopping": True}])
def test_weight_zero_equals_leaving_out(method, params):
    X = ragged(40)
    y = [x[:, 0] for x in X] if "return_sequences" in params else [x[-1, 0] for x in X]
    weight = np.tile([1.0, 0.0, 2.0, 0.5], 10)
    kept = np.flatnonzero(weight)
    fits = [(X, y, weight), ([X[i] for i in kept], [y[i] for i in kept], weight[kept])]
    models = [getattr(small(**params), method)(*data) for data in fits]
    assert all(map(np.array_equal, *(model.predict(X) for model in models)))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(60), "zero"),
        (np.full(60, -1.0), "Negative values"),
        (np.full(60, np.nan), "NaN"),
        (np.ones(59), "sample_weight.shape"),
    ],
)
def test_bad_weights_are_refused(weight, message, sequences):
    X, y = sequences
    with pytest.raises(ValueError, match=message):
        small().fit(X, y, sample_weight=weight)


# sequences of unequal length


@pytest.mark.bits
def test_a_list_of_equal_lengths_fits_to_the_bits_of_the_array(sequences):
    X, y = sequences
    assert np.array_equal(small().fit(list(X), y).predict(X), small().fit(X, y).predict(X))


def test_batches_hold_sequences_of_like_length():
    lengths = np.random.default_rng(0).integers(10, 101, size=1000)
    dataset = SequenceDataset(Sequences.joined([np.full((n, 1), n) for n in lengths]))
    batches = Batches(dataset, batch_size=32, shuffle=True)
    torch.manual_seed(0)
    epochs = [[inputs["x"] for inputs, _ in batches] for _ in range(8)]
    smallest = []
    for epoch in epochs:
        assert sorted(len(x) for x in epoch) == [8, *[32] * 31]
        seen = np.concatenate([x[:, 0, 0] for x in epoch])
        assert np.array_equal(np.sort(seen), np.sort(lengths))
        assert sum(x.numel() for x in epoch) < 1.05 * lengths.sum()
        assert len({x.shape[1] for x in epoch[:8]}) > 4
        smallest.append(min(epoch, key=len).shape[1])
    assert len(set(smallest)) > 4
    assert not torch.equal(epochs[0][0], epochs[1][0])
    torch.manual_seed(0)
    again = [inputs["x"] for inputs, _ in batches]
    assert all(map(torch.equal, again, epochs[0]))


def test_a_batch_is_one_of_a_pool_of_batches(monkeypatch):
    monkeypatch.setattr("sklstm.training.batches.POOL", 2)
    dataset = SequenceDataset(Sequences.joined([np.zeros((n, 1)) for n in range(1, 1001)]))
    torch.manual_seed(0)
    widths = [inputs["x"].shape[1] for inputs, _ in Batches(dataset, 20, shuffle=True)]
    assert np.median(widths) > 700


def test_held_out_sequences_are_in_the_order_of_their_lengths():
    X = Sequences.joined(ragged(40))
    head, tail = SequenceDataset(X, np.arange(40.0)).split(30)
    assert np.array_equal(head.X.lengths, X.lengths[:30])
    assert np.array_equal(tail.X.lengths, np.sort(X.lengths[30:]))
    assert np.array_equal(X.lengths[tail.y.steps()[:, 0].astype(int)], tail.X.lengths)


def test_batches_of_predictions_are_smaller_where_sequences_are_long(monkeypatch):
    monkeypatch.setattr("sklstm.training.batches.BLOCK", 1000)
    lengths = [1] * 300 + [100] * 20
    dataset = SequenceDataset(Sequences.joined([np.zeros((n, 1)) for n in lengths]))
    batches = [inputs["x"] for inputs, _ in Batches(dataset, batch_size=256)]
    assert [len(x) for x in batches] == [256, *[10] * 6, 4]


def test_early_stopping_holds_out_the_tail_of_sequences():
    X = ragged(40)
    y = np.array([x[-1, 0] for x in X])
    model = small(early_stopping=True, validation_fraction=0.25).fit(X, y)
    errors = (model.predict(X[30:]) - y[30:]) / model.module_.output_scaler.scale.item()
    best = model.validation_loss_curve_[model.best_epoch_ - 1]
    assert best == pytest.approx(np.square(errors).mean(), rel=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_learns_from_sequences_of_unequal_length(pooling, bidirectional):
    X = ragged(400, longest=12)
    y = np.array([x[-1, 0] + x[:, 1].mean() + x[:, 2].max() for x in X])
    model = small(pooling=pooling, bidirectional=bidirectional, max_epochs=40, lr=0.03)
    assert model.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.6


def test_it_learns_a_target_at_each_step():
    X = ragged(200, longest=12)
    y = [np.cumsum(x[:, 0]) for x in X]
    model = small(return_sequences=True, max_epochs=30, lr=0.03).fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.9


def test_partial_fit_takes_chunks_of_sequences():
    X = ragged(90)
    y = [x[:, 0] for x in X]
    model = small(return_sequences=True)
    for start in (0, 30, 60):
        model.partial_fit(X[start : start + 30], y[start : start + 30])
    assert model.n_iter_ == 3
    assert model.loss_curve_[2] < model.loss_curve_[0]


def test_partial_fit_takes_a_chunk_in_which_an_output_has_no_label():
    X = ragged(20)
    y = [x[:, :2] for x in X]
    model = small(return_sequences=True).partial_fit(X, y)
    model.partial_fit(X, [row * [1, np.nan] for row in y])
    assert np.isfinite(model.score(X, y))


# quantiles


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


def test_pinball_loss_reduces_as_the_losses_of_torch_do():
    quantiles, y_pred, y_true = (0.1, 0.9), torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.ones(2)
    each = PinballLoss(quantiles, reduction="none")(y_pred, y_true)
    torch.testing.assert_close(each, torch.tensor([0.05, 0.55]))
    torch.testing.assert_close(PinballLoss(quantiles)(y_pred, y_true), each.mean())
    torch.testing.assert_close(PinballLoss(quantiles, "sum")(y_pred, y_true), each.sum())
    torch.testing.assert_close(PinballLoss(0.9)(y_pred[:, 0], y_true), torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"reduction must be one of .* got 'average'"):
        PinballLoss(0.5, reduction="average")


@pytest.mark.parametrize(
    "quantile",
    [(0.9, 0.1), (0.5, 0.5), (), (0.0, 0.5), (0.5, np.nan), ("a",), (0.1, None), [[0.1, 0.9]]],
)
def test_bad_quantiles_are_refused(quantile, sequences):
    with pytest.raises(ValueError, match=re.escape(f"quantile={quantile!r}")):
        small(loss="quantile", quantile=quantile).fit(*sequences)


# the skorch net


def test_net_is_a_usable_skorch_net(sequences, tmp_path):
    X, y = sequences
    model = small().fit(X, y)
    assert model.net_.history[:, "train_loss"] == model.loss_curve_
    assert np.array_equal(model.net_.predict(X).ravel(), model.predict(X))
    model.net_.save_params(f_params=tmp_path / "weights.pt")
    other = small(random_state=1).fit(X, y)
    other.net_.load_params(f_params=tmp_path / "weights.pt")
    assert np.array_equal(other.predict(X), model.predict(X))
    other.net_.partial_fit(X, y)
    assert not np.array_equal(other.predict(X), model.predict(X))


def test_callbacks_see_the_units_of_the_target(sequences):
    X, y = sequences
    scoring = EpochScoring("neg_mean_absolute_error", lower_is_better=False, name="mae")
    model = small(early_stopping=True, callbacks=[scoring], max_epochs=2).fit(X, 1000 * y)
    assert model.history_[-1]["mae"] < -100
    assert not hasattr(scoring, "best_score_")


@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 1.5, 60)], ids=["plain", "weighted"])
@pytest.mark.parametrize("on_train", [False, True])
def test_scoring_callbacks_work(on_train, weight, sequences):
    X, y = sequences
    scoring = EpochScoring("neg_mean_absolute_error", on_train=on_train, name="mae")
    model = small(early_stopping=True, callbacks=[scoring]).fit(X, y, sample_weight=weight)
    assert all(np.isfinite(row["mae"]) for row in model.history_)


def test_callbacks_and_table_see_the_epoch_that_stops_the_fit(sequences, capsys):
    class Notes(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("noted", 1)

    model = small(
        early_stopping=True, max_epochs=30, n_iter_no_change=2, tol=1e6, verbose=2
    ).set_params(callbacks=[Notes()])
    model.fit(*sequences)
    assert [row["noted"] for row in model.history_] == [1, 1, 1]
    assert capsys.readouterr().out.strip().splitlines()[-1].split()[0] == "3"


def test_module_predicts_like_the_estimator(sequences):
    X, y = sequences
    model = small(skip=None).fit(X, y)
    with torch.no_grad():
        prediction = model.module_(torch.from_numpy(X)).numpy().ravel()
    np.testing.assert_allclose(prediction, model.predict(X), rtol=1e-6)
    assert model.n_parameters_ == 4 * 8 * (3 + 8 + 2) + 4 * 8 * (8 + 8 + 2) + 3 * 8 + 1


def test_verbose_1_shows_a_progress_bar(sequences, capsys):
    small(verbose=1, early_stopping=True).fit(*sequences)
    shown = capsys.readouterr()
    assert "3/3" in shown.err
    assert "train_loss" in shown.err
    assert "valid_loss" in shown.err
    assert shown.out == ""


def test_verbose_2_shows_skorch_s_table(sequences, capsys):
    small(verbose=2).fit(*sequences)
    shown = capsys.readouterr()
    assert "train_loss" in shown.out
    assert shown.err == ""


def test_verbose_0_is_silent(sequences, capsys):
    small(early_stopping=True).fit(*sequences)
    assert capsys.readouterr() == ("", "")


# parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_layers", 0),
        ("n_layers", 1.5),
        ("units", 0),
        ("units", (8, 0)),
        ("units", (8, 8, 8)),
        ("units", "8"),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", (0.1,)),
        ("dropout", (0.1, 2.0)),
        ("bidirectional", "yes"),
        ("pooling", "sum"),
        ("head_units", 8),
        ("head_units", (0,)),
        ("return_sequences", "yes"),
        ("n_timesteps", 0),
        ("standardize", None),
        ("loss", "poisson"),
        ("quantile", 1.0),
        ("quantile", "median"),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("batch_size", 0),
        ("batch_size", "many"),
        ("max_epochs", -1),
        ("optimizer", "lbfgs"),
        ("weight_decay", -1.0),
        ("clip_norm", 0.0),
        ("lr_schedule", "step"),
        ("early_stopping", 3),
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("tol", -1.0),
        ("warm_start", "no"),
        ("precision", "float16"),
        ("device", "tpu9"),
        ("device", "meta"),
        ("device", 3),
        ("callbacks", 3),
        ("callbacks", [print]),
        ("optimizer", torch.optim.LBFGS),
        ("random_state", "seed"),
        ("verbose", -1),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(name, value, sequences):
    with pytest.raises((ValueError, TypeError), match=f"{name}.*{_shown(value)}"):
        small(**{name: value}).fit(*sequences)


def _shown(value):
    bad = (
        next((entry for entry in value if entry in (0, 2.0)), None)
        if isinstance(value, tuple)
        else None
    )
    if value == [print]:
        return "built-in function print"
    return str(value if bad is None else bad).replace("(", r"\(").replace(")", r"\)")


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": int},
        {"optimizer": lambda lr, weight_decay: None},
        {"optimizer": torch.optim.Optimizer},
        {"callbacks": [()]},
        {"callbacks": [(3, EpochScoring("r2"))]},
        {"callbacks": [("best_epoch", EpochScoring("r2"))]},
        {"quantile": (0.9, 0.1), "loss": "huber"},
        {"weight_decay": 1e300, "lr_schedule": "constant"},
        {"units": 10**15},
        {"n_layers": 10**15},
        {"head_units": (10**15,)},
        {"linear_steps": 10**15},
        {"units": np.array(4)},
        {"dropout": np.array(0.1)},
        {"head_units": np.array(4)},
        {"units": 10**400},
        {"units": (4, 10**400)},
        {"n_layers": 10**400},
        {"head_units": (10**400,)},
        {"linear_steps": 10**400},
        {"max_epochs": 10**400},
        {"lr": 10**400},
        {"weight_decay": 10**400},
        {"clip_norm": 10**400},
        {"tol": 10**400},
    ],
    ids=lambda params: next(iter(params)),
)
def test_an_error_names_the_parameter_it_comes_from(params, sequences):
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        small(**params).fit(*sequences)


@pytest.mark.parametrize(
    ("params", "n_inputs"),
    [
        ({}, 12),
        ({"bidirectional": True}, 24),
        ({"pooling": "last"}, 4),
        ({"return_sequences": True}, 4),
    ],
    ids=str,
)
def test_the_first_hidden_layer_is_counted_with_all_that_it_reads(params, n_inputs, monkeypatch):
    X = np.zeros((8, 5, 1))
    y = np.zeros((8, 5)) if params.get("return_sequences") else np.zeros(8)
    n_weights = n_inputs * 1000
    sizes = {"n_layers": 1, "units": 4, "head_units": (1000,), "max_epochs": 0}
    model = StackedLSTMRegressor(linear_steps=None, **sizes, **params)
    monkeypatch.setattr("sklstm.training.room.physical_memory", lambda: 4 * n_weights)
    with pytest.raises(ValueError, match=r"head_units=\(1000,\)"):
        model.fit(X, y)
    monkeypatch.setattr("sklstm.training.room.physical_memory", lambda: 4 * (n_weights + 1200))
    model.fit(X, y)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16])
def test_numpy_integers_are_integers(kind, sequences):
    X, y = sequences
    numbers = {"n_layers": 2, "units": 8, "linear_steps": 3, "batch_size": 7, "max_epochs": 20}
    models = [
        small(**{name: as_type(number) for name, number in numbers.items()}).fit(X, y)
        for as_type in (int, kind)
    ]
    assert np.array_equal(models[0].predict(X), models[1].predict(X))


def test_a_warm_start_that_reads_rows_otherwise_is_refused_by_name(sequences):
    X, y = sequences
    rows = X[:, :6, 0]
    model = small(n_timesteps=3, warm_start=True).fit(rows, y)
    with pytest.raises(ValueError, match="n_timesteps=2 makes 3 features at each step"):
        model.set_params(n_timesteps=2).fit(rows, y)


def test_a_prediction_that_is_not_finite_blames_the_rate_too(sequences):
    X, y = sequences
    model = small(standardize=False).fit(X, y)
    with torch.no_grad():
        model.module_.head[0].weight.fill_(3e38)
    with pytest.raises(ValueError, match="lr or weight_decay was too high in training"):
        model.predict(X)


def test_cuda_is_refused_where_there_is_none(monkeypatch, sequences):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert small(device="auto").fit(*sequences).net_.device == "cpu"
    if not torch.backends.cuda.is_built():
        with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
            small(device="cuda").fit(*sequences)


def test_predict_before_fit_is_refused(sequences):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        small().predict(sequences[0])


def test_a_model_trained_on_cuda_unpickles_without_it(monkeypatch, sequences):
    X, y = sequences
    model = small().fit(X, y)
    expected = model.predict(X)
    model.net_.device = "cuda"
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        pickled = pickle.dumps(model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert b"cuda:0" in pickled
    with pytest.warns(DeviceWarning):
        restored = pickle.loads(pickled)
    assert torch.device(restored.net_.device).type == "cpu"
    assert np.array_equal(restored.predict(X), expected)


def test_fit_and_predict_do_not_copy_x():
    X = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 100, 2)), (80_000, 100, 2))
    small(max_epochs=0).fit(X[:10], np.arange(10.0)).predict(X[:10])
    tracemalloc.start()
    model = small(max_epochs=0).fit(X, np.arange(80_000.0))
    model.predict(X[:2000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2


@pytest.mark.parametrize(
    ("units", "expected"), [(1, [608]), (200, [320, 288]), (600, [96] * 6 + [24])]
)
def test_predictions_are_made_in_blocks_that_stay_in_the_cache(sequences, units, expected):
    X, y = sequences
    model = small(max_epochs=0, units=units).fit(X, y)
    sizes = []
    model.module_.register_forward_pre_hook(
        lambda _, args, inputs: sizes.append(len(inputs["x"])), with_kwargs=True
    )
    model.predict(np.repeat(X, 10, axis=0))
    assert sizes == expected
