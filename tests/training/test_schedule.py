"""Learning rate, averaged weights, batches, epochs and optimizers."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from small_models import small


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


def test_constant_schedule_keeps_lr(sequences):
    model = small(lr_schedule="constant", lr=0.02).fit(*sequences)
    assert [row["lr"] for row in model.history_] == [0.02] * 3


def test_one_step_of_one_cycle_is_a_step(sequences):
    X, y = sequences
    model = small(max_epochs=0).fit(X, y)
    start = model.predict(X)
    model.set_params(max_epochs=1, batch_size=60, warm_start=True).fit(X, y)
    assert np.abs(model.predict(X) - start).max() > 1e-3


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


def test_long_sequences_with_a_label_at_each_step_train_longer_in_smaller_batches():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length, 1)) for length in rng.integers(500, 700, size=8)]
    y = [x[:, 0].cumsum() for x in X]
    short, long = (small(return_sequences=True, max_epochs="auto") for _ in range(2))
    long.fit(X, y)
    short.fit([x[:20] for x in X], [x[:20] for x in y])
    assert (long.batch_size_, long.max_epochs_) == (8, 112)
    assert (short.batch_size_, short.max_epochs_) == (32, 28)
