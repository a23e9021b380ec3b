"""The skorch net: callbacks, history and what it prints."""

import inspect

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, EpochScoring, TrainEndCheckpoint
from small_models import small

from sklstm.training.net import StackedLSTMNet
from sklstm.training.runtime import Workers


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


def test_few_methods_of_skorch_are_overridden_and_none_that_is_private():
    own = {name for name, member in vars(StackedLSTMNet).items() if inspect.isfunction(member)}
    methods = {name for name in own if hasattr(NeuralNetRegressor, name)} - {"__init__"}
    assert "fit_loop" in methods
    assert len(methods) <= 8
    assert not [name for name in methods if name.startswith("_")]


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
        early_stopping=True, max_epochs=30, n_iter_no_change=2, lr=1e-30, verbose=2
    ).set_params(callbacks=[Notes()])
    model.fit(*sequences)
    assert [row["noted"] for row in model.history_] == [1, 1, 1]
    assert capsys.readouterr().out.strip().splitlines()[-1].split()[0] == "3"


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


def test_training_the_net_itself_is_a_fit_of_its_own(sequences):
    X, y = sequences
    model = small().fit(X, y)
    first = [row["lr"] for row in model.history_]
    model.net_.partial_fit(X.astype("float32"), y.astype("float32")[:, np.newaxis])
    assert [row["lr"] for row in model.history_] == first * 2
    model.net_.set_params(lr=1e30)
    with pytest.raises(ValueError, match="Training diverged"):
        model.net_.partial_fit(X.astype("float32"), y.astype("float32")[:, np.newaxis])


def test_early_stopping_of_the_net_itself_begins_anew(sequences):
    X, y = sequences
    model = small(early_stopping=True, n_iter_no_change=2, max_epochs=30, lr=1e-30).fit(X, y)
    assert model.n_iter_ == 3
    model.net_.partial_fit(X, y[:, np.newaxis])
    assert model.n_iter_ == 6


def test_callbacks_that_read_the_last_batch_at_the_end_work(sequences, tmp_path):
    model = small(callbacks=[TrainEndCheckpoint(dirname=tmp_path)]).fit(*sequences)
    assert (tmp_path / "train_end_params.pt").exists()
    assert [len(row["batches"]) > 0 for row in model.history_] == [False, False, True]


def test_an_interrupt_while_threads_are_set_up_is_an_interrupt(sequences, monkeypatch):
    class Interrupted(Workers):
        def __enter__(self):
            raise KeyboardInterrupt

    monkeypatch.setattr("sklstm.training.net.Workers", Interrupted)
    with pytest.warns(ConvergenceWarning, match="no epoch was finished"):
        small().fit(*sequences)


@pytest.mark.parametrize(("first", "then"), [("float32", "float64"), ("float64", "float32")])
def test_the_state_of_the_optimizer_follows_the_precision(first, then, sequences):
    model = small(precision=first).partial_fit(*sequences)
    model.set_params(precision=then).partial_fit(*sequences)
    assert np.isfinite(model.predict(sequences[0])).all()
