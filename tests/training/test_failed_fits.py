"""Fits that diverge, fail or are interrupted."""

import copy

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from small_models import AtEpoch, interrupt, small


def spoil_weights(net):
    with torch.no_grad():
        next(net.module_.parameters()).fill_(float("nan"))


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
    with pytest.warns(ConvergenceWarning, match="the weights from before are kept"):
        model.fit(X, y)
    assert np.array_equal(model.predict(X), before)
    assert model.n_iter_ == len(model.loss_curve_) == 3


def test_an_interrupt_after_the_last_epoch_keeps_the_fit(sequences):
    X, y = sequences

    class AtTheEnd(Callback):
        def on_train_end(self, net, **kwargs):
            raise KeyboardInterrupt

    model = small(callbacks=[AtTheEnd()])
    with pytest.warns(ConvergenceWarning, match="interrupted after its last epoch"):
        model.fit(X, y)
    assert np.array_equal(model.predict(X), small().fit(X, y).predict(X))


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


def test_partial_fit_refuses_another_number_of_outputs(sequences):
    X, y = sequences
    model = small().partial_fit(X, y)
    with pytest.raises(ValueError, match="n_outputs=2, but the model"):
        model.partial_fit(X, np.column_stack([y, y]))
    assert model.predict(X).shape == y.shape


def test_partial_fit_hears_of_changed_callbacks(sequences):
    counted = []

    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            counted.append(len(net.history))

    model = small(callbacks=[Count()]).partial_fit(*sequences)
    model.set_params(callbacks=None).partial_fit(*sequences).partial_fit(*sequences)
    assert counted == [1]
