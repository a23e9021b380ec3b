"""The linear shortcut: what it reads, what it learns, when it is there."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from skorch.callbacks import Callback
from threadpoolctl import threadpool_info

from sklstm import StackedLSTM, StackedLSTMRegressor
from sklstm.training.net import StackedLSTMNet


def small(**params):
    return StackedLSTMRegressor(
        **{"n_layers": 2, "units": 8, "max_epochs": 3, "random_state": 0, **params}
    )


def walk(n_samples, seed=0, level=0.0):
    """Windows of 6 steps of a random walk, and the step that follows."""
    steps = np.random.default_rng(seed).normal(size=n_samples + 6)
    series = level + np.cumsum(steps)
    windows = np.lib.stride_tricks.sliding_window_view(series, 6)
    return windows[:-1, :, np.newaxis], series[6:]


def bent(n_samples, seed=0):
    """A target without any linear part."""
    X = np.random.default_rng(seed).normal(size=(n_samples, 4, 2))
    return X, np.abs(X[:, -1, 0]) + np.abs(X[:, -1, 1])


def steps_read(model):
    linear = model.module_.linear
    assert model.linear_steps_ == (0 if linear is None else linear.n_steps)
    return model.linear_steps_


@pytest.mark.parametrize("n_steps", [1, 3, 6])
def test_untrained_shortcut_is_ridge_regression_on_the_last_steps(n_steps):
    X, y = walk(300)
    model = small(linear_steps=n_steps, max_epochs=0, precision="float64").fit(X, y)
    model.module_.linear.residual_scale.zero_()
    mean, scale = X.mean(), X.std()
    windows = ((X - mean) / scale)[:, -n_steps:, 0]
    alphas = np.logspace(-4, 2, 13) * 300 * windows.var(axis=0).mean()
    expected = RidgeCV(alphas).fit(windows, (y - y.mean()) / y.std()).predict(windows)
    np.testing.assert_allclose(model.predict(X), y.mean() + y.std() * expected, rtol=1e-9)


def test_a_series_that_leaves_its_range_is_followed():
    X, y = walk(400)
    X_far, y_far = walk(100, seed=1, level=np.abs(y).max() + 5 * y.std())
    error = {
        steps: np.abs(small(linear_steps=steps).fit(X, y).predict(X_far) - y_far).mean()
        for steps in (6, None)
    }
    assert error[6] < 2
    assert error[None] > 20


def test_stack_learns_what_the_shortcut_leaves():
    X, y = bent(400)
    y = y + 3 * X[:, 0, 0]
    path, both = (small(linear_steps=4, max_epochs=n, lr=0.03).fit(X, y) for n in (0, 40))
    path.module_.linear.residual_scale.zero_()
    assert path.score(X, y) < 0.95
    assert both.score(X, y) > 0.98


def test_auto_takes_the_shortcut_where_it_leads():
    assert steps_read(small().fit(*walk(400))) == 6


def test_auto_leaves_the_shortcut_out_where_the_stack_leads():
    assert steps_read(small(max_epochs=40, lr=0.03).fit(*bent(400))) == 0


def test_auto_reads_as_many_steps_as_a_shortcut_can_read():
    X = np.cumsum(np.random.default_rng(0).normal(size=(40, 30, 40)), axis=1)
    assert steps_read(small(max_epochs=1).fit(X, X[:, -1, 0])) == 512 // 40


def test_auto_reads_each_step_alone_for_a_target_at_each_step():
    X = np.cumsum(np.random.default_rng(0).normal(size=(40, 30, 2)), axis=1)
    model = small(max_epochs=1, return_sequences=True).fit(X, X[:, :, 0])
    assert steps_read(model) == 1


def test_with_few_samples_there_is_no_trial_fit(monkeypatch):
    train = Mock()
    monkeypatch.setattr(StackedLSTMNet, "train_to_the_end", train)
    assert steps_read(small().fit(*walk(199))) == 6
    assert not train.called


def test_a_trial_fit_that_diverges_does_not_win(monkeypatch):
    diverging = StackedLSTMNet.train_to_the_end
    monkeypatch.setattr(
        StackedLSTMNet,
        "train_to_the_end",
        lambda net, data: diverging(net.set_params(lr=1e30), data),
    )
    assert steps_read(small(lr_schedule="constant", clip_norm=None).fit(*bent(300))) == 4


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile"])
def test_with_few_samples_a_robust_loss_has_no_shortcut(loss):
    assert steps_read(small(loss=loss).fit(*walk(150))) == 0


def test_what_leads_is_decided_at_the_end_of_the_data():
    X, _ = bent(400)
    trend = np.linspace(0, 60, 400)
    X[:, :, 1] = trend[:, np.newaxis]
    assert steps_read(small(max_epochs=40, lr=0.03).fit(X, np.abs(X[:, -1, 0]) + trend)) == 4


def test_early_stopping_s_tail_does_not_decide(monkeypatch):
    seen = []
    train = StackedLSTMNet.train_to_the_end

    def spy(net, data):
        seen.append(len(data))
        train(net, data)

    monkeypatch.setattr(StackedLSTMNet, "train_to_the_end", spy)
    small(early_stopping=True, validation_fraction=0.25).fit(*walk(400))
    assert seen == [240]


def test_each_output_has_a_shortcut_of_its_own():
    X, _ = walk(400)
    rng = np.random.default_rng(0)
    y = np.column_stack([X[:, -1, 0], 100 * X[:, 0, 0], rng.normal(size=400)])
    model = small(linear_steps=6, max_epochs=0).fit(X, y)
    scale = model.module_.linear.residual_scale.numpy().copy()
    assert (scale[:2] < 0.01).all()
    assert scale[2] > 0.9
    model.module_.linear.residual_scale.zero_()
    np.testing.assert_allclose(model.predict(X)[:, :2], y[:, :2], atol=0.02 * np.abs(y[:, 1]).max())


def test_each_output_has_a_shortcut_from_the_rows_where_it_is_labelled():
    X = np.random.default_rng(0).normal(size=(60, 4, 2))
    y = X.copy()
    y[:, ::2, 1] = np.nan
    y[:, 1::2, 0] = np.nan
    model = small(return_sequences=True, linear_steps=2, max_epochs=0).fit(X, y)
    model.module_.linear.residual_scale.zero_()
    np.testing.assert_allclose(model.predict(X), X, atol=1e-3)


def test_an_output_may_be_labelled_at_the_end_alone():
    X = np.random.default_rng(0).normal(size=(250, 4, 2))
    y = X.copy()
    y[:220, :, 1] = np.nan
    assert steps_read(small(return_sequences=True).fit(X, y)) == 0


def test_without_standardization_the_shortcut_reads_values_as_they_are():
    X, y = walk(400, level=1000)
    model = small(linear_steps=6, standardize=False, max_epochs=0).fit(X, y)
    model.module_.linear.residual_scale.zero_()
    assert np.abs(model.predict(X) - y).mean() < 1


def test_outliers_are_cut_off_for_the_shortcut():
    X, y = walk(400)
    model = small(linear_steps=6, max_epochs=0).fit(X, y)
    model.module_.linear.residual_scale.zero_()
    far = X[:1].copy()
    far[0, -1] = X.mean() + 10.001 * X.std()
    further = far.copy()
    further[0, -1] = 1e6
    np.testing.assert_allclose(model.predict(further), model.predict(far))


def test_threads_of_the_matrix_library_are_left_as_they_were():
    before = [pool["num_threads"] for pool in threadpool_info()]
    small(linear_steps=6).fit(*walk(50))
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_a_user_s_callback_may_be_called_anything_but_the_estimator_s_own(sequences):
    trace = CountEpochs()
    trace.weights_ = [torch.zeros(1)]
    model = small(callbacks=[("average", trace)], lr_schedule="constant", linear_steps=None)
    assert model.fit(*sequences).n_iter_ == 3


def test_lengths_may_be_on_another_device():
    linear = StackedLSTM(2, linear_steps=3).linear
    x = torch.zeros(4, 5, 2, device="meta")
    assert linear.windows(x, torch.tensor([1, 2, 3, 5])).shape == (4, 6)


def test_of_many_samples_some_are_enough(monkeypatch):
    monkeypatch.setattr("sklstm.training.shortcut.ENOUGH_NUMBERS", 1)
    monkeypatch.setattr("sklstm.training.shortcut.ENOUGH_SAMPLES", 100)
    X, y = walk(2000)
    model = small(linear_steps=6, max_epochs=0).fit(X, y)
    model.module_.linear.residual_scale.zero_()
    assert model.score(X, y) > 0.99


def test_a_single_sample_has_no_shortcut():
    X, y = walk(1)
    assert steps_read(small().fit(X, y)) == 0
    explicit = small(linear_steps=2).fit(X, y)
    assert not explicit.module_.linear.weight.any()


def test_more_features_than_a_shortcut_can_read_have_no_shortcut():
    X = np.random.default_rng(0).normal(size=(20, 2, 600))
    assert steps_read(small(max_epochs=1).fit(X, X[:, -1, 0])) == 0


def test_sequences_shorter_than_the_shortcut_start_with_zeros():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 2)) for n in rng.integers(1, 9, size=60)]
    y = np.array([x[-1, 0] for x in X])
    model = small(linear_steps=5).fit(X, y)
    lengths = torch.tensor([2, 7])
    x = torch.arange(28.0).reshape(2, 7, 2) / 10
    windows = model.module_.linear.windows(x, lengths)
    assert windows[0].tolist() == [0.0] * 6 + x[0, :2].flatten().tolist()
    assert windows[1].tolist() == x[1, 2:].flatten().tolist()


def test_at_each_step_the_shortcut_reads_the_steps_up_to_it():
    x = torch.randn(3, 5, 2)
    linear = StackedLSTM(2, linear_steps=3).linear
    windows = StackedLSTM(2, linear_steps=3, return_sequences=True).linear.windows(x, None)
    for step in range(5):
        alone = linear.windows(x[:, : step + 1], None)
        assert torch.equal(windows[:, step], alone)


def test_a_shortcut_of_zeros_leaves_the_stack_alone():
    torch.manual_seed(0)
    alone = StackedLSTM(2, 3, units=4)
    beside = StackedLSTM(2, 3, units=4, linear_steps=2)
    beside.load_state_dict(alone.state_dict(), strict=False)
    x = torch.randn(4, 5, 2)
    assert torch.equal(alone(x), beside(x))


def test_without_a_shortcut_the_module_knows_nothing_of_it():
    model = small(linear_steps=None).fit(*walk(50))
    assert model.module_.linear is None
    assert not [name for name in model.module_.state_dict() if "linear" in name]


@pytest.mark.bits
def test_predictions_do_not_depend_on_batch():
    X, y = walk(300)
    model = small(linear_steps=6).fit(X, y)
    assert np.array_equal(model.predict(X)[:7], [model.predict(x[np.newaxis])[0] for x in X[:7]])


@pytest.mark.bits
def test_padding_changes_no_bit():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 2)) for n in rng.integers(1, 9, size=60)]
    padded = np.full((60, 8, 2), np.nan)
    for row, x in zip(padded, X, strict=True):
        row[: len(x)] = x
    y = np.array([x[-1, 0] for x in X])
    model = small(linear_steps=5)
    assert np.array_equal(model.fit(X, y).predict(X), model.fit(padded, y).predict(padded))


@pytest.mark.parametrize("linear_steps", ["auto", 3])
def test_a_ramp_of_six_windows_goes_on(linear_steps):
    ramp = np.arange(10.0, 100.0, 10.0)
    X = np.array([ramp[i : i + 3] for i in range(6)])
    model = small(linear_steps=linear_steps).fit(X, ramp[3:])
    assert model.predict([[70.0, 80.0, 90.0]])[0] == pytest.approx(100, rel=0.005)


def test_a_sum_of_two_ramps_goes_on():
    first, second = np.arange(10.0, 100.0, 10.0), np.arange(15.0, 105.0, 10.0)
    table = np.column_stack([first, second])
    X = np.array([table[i : i + 3] for i in range(7)])
    model = small().fit(X, (first + second)[2:])
    assert model.predict([[[80, 85], [90, 95], [100, 105]]])[0] == pytest.approx(205, rel=0.005)


def test_few_long_sequences_have_a_shortcut_only_where_it_leads():
    rng = np.random.default_rng(0)
    rate = rng.uniform(0.01, 0.1, 90)
    X = (rng.random((90, 300, 1)) < rate[:, np.newaxis, np.newaxis]).astype(float)
    y = X.sum(axis=(1, 2))
    model = StackedLSTMRegressor(units=8, random_state=0).fit(X[:50], y[:50])
    assert model.score(X[50:], y[50:]) > 0.85


@pytest.mark.parametrize("max_epochs", [1, 7, "auto"])
def test_whether_there_is_a_shortcut_does_not_depend_on_max_epochs(max_epochs):
    X = np.random.default_rng(0).normal(size=(300, 6, 2))
    y = np.abs(X[:, :, 0]).sum(axis=1)
    model = StackedLSTMRegressor(units=8, random_state=0, max_epochs=max_epochs)
    assert steps_read(model.fit(X, y)) == 0


def test_quantiles_lie_around_the_shortcut():
    X, y = walk(400)
    model = small(loss="quantile", quantile=(0.1, 0.5, 0.9), max_epochs=20, lr=0.03)
    low, middle, high = model.fit(X, y).predict(X).T
    assert steps_read(model) == 6
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert np.mean((low <= y) & (y <= high)) == pytest.approx(0.8, abs=0.07)


def test_targets_at_each_step_may_be_missing():
    X = np.cumsum(np.random.default_rng(0).normal(size=(60, 9, 2)), axis=1)
    y = X.sum(axis=2)
    y[::3, ::2] = np.nan
    model = small(return_sequences=True, linear_steps=2, max_epochs=0).fit(X, y)
    model.module_.linear.residual_scale.zero_()
    assert model.score(X, y) > 0.99


def test_samples_of_weight_zero_are_not_read():
    X, y = walk(100)
    weight = np.arange(100) % 3
    wild = np.where(weight == 0, 1e6, y)
    kept = small(linear_steps=6).fit(X[weight > 0], y[weight > 0], weight[weight > 0])
    assert np.array_equal(small(linear_steps=6).fit(X, wild, weight).predict(X), kept.predict(X))


def test_weights_weigh_in_the_shortcut():
    X = np.linspace(-1, 1, 200)[:, np.newaxis, np.newaxis]
    y = np.where(X[:, 0, 0] > 0, 5 * X[:, 0, 0], 0)
    model = small(linear_steps=1, max_epochs=0)
    slopes = [
        float(model.fit(X, y, weight).module_.linear.weight) / y.std()
        for weight in (None, np.where(X[:, 0, 0] > 0, 1, 1e-3))
    ]
    assert slopes[1] > slopes[0]


def test_early_stopping_keeps_the_tail_from_the_shortcut():
    X, y = walk(100)
    changed = np.concatenate([y[:80], y[:60:-1][:20]])
    paths = [
        small(linear_steps=6, early_stopping=True, validation_fraction=0.2, standardize=False)
        .fit(X, targets)
        .module_.linear.weight
        for targets in (y, changed)
    ]
    assert torch.equal(*paths)


def test_warm_start_keeps_the_shortcut():
    X, y = walk(300)
    model = small(warm_start=True).fit(X, y)
    path = model.module_.linear.weight.clone()
    model.set_params(n_layers=3, max_epochs=0)
    before = model.predict(X)
    assert np.array_equal(model.fit(*bent_like(X)).predict(X), before)
    assert torch.equal(model.module_.linear.weight, path)


def bent_like(X):
    return X, np.abs(X[:, -1, 0])


def test_warm_start_refuses_another_shortcut():
    X, y = walk(100)
    model = small(warm_start=True, linear_steps=6).fit(X, y)
    with pytest.raises(ValueError, match=r"linear_steps=3.*fitted with linear_steps=6"):
        model.set_params(linear_steps=3).fit(X, y)


def test_partial_fit_has_a_shortcut_only_where_it_is_asked_for():
    X, y = walk(100)
    assert steps_read(small().partial_fit(X, y)) == 0
    model = small(linear_steps=6).partial_fit(X, y)
    path = model.module_.linear.weight.clone()
    assert torch.equal(model.partial_fit(*bent_like(X)).module_.linear.weight, path)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "all"])
def test_bad_linear_steps_are_named(wrong):
    with pytest.raises(ValueError, match="linear_steps"):
        small(linear_steps=wrong).fit(*walk(20))


def test_a_shortcut_needs_a_head():
    with pytest.raises(ValueError, match=r"linear_steps=2.*n_outputs"):
        StackedLSTM(2, None, linear_steps=2)


def test_an_interrupted_trial_fit_interrupts_the_fit(monkeypatch):
    X, y = walk(300)
    model = small().fit(X, y)
    fitted = model.net_

    monkeypatch.setattr(StackedLSTMNet, "train_to_the_end", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.net_ is fitted


class CountEpochs(Callback):
    def initialize(self):
        self.n_epochs = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs += 1


def test_users_callbacks_and_the_progress_bar_see_nothing_of_the_trial_fit(capsys):
    model = small(callbacks=[("count", CountEpochs())], verbose=1, max_epochs=8)
    model.fit(*walk(300))
    assert dict(model.net_.callbacks_)["count"].n_epochs == 8
    shown = capsys.readouterr().err
    assert "/8" in shown
    assert "/2" not in shown


def test_the_trial_fit_does_not_change_the_seed_of_training():
    X, y = walk(300)
    auto, explicit = small(), small(linear_steps=6)
    assert np.array_equal(auto.fit(X, y).predict(X), explicit.fit(X, y).predict(X))
