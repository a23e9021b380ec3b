"""Callbacks that a user gives, of skorch and of scikit-learn."""

import copy
import importlib.util
import pickle
import sys
import threading

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, EpochTimer, LRScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from sklstm import StackedLSTMRegressor, _compat
from sklstm.training.callbacks import EpochTasks


def small(**params):
    return StackedLSTMRegressor(
        **{"units": 4, "linear_steps": None, "max_epochs": 3, "random_state": 0, **params}
    )


# callbacks that scikit-learn cannot clone


class KeepsLosses(Callback):
    """Sets an attribute that is no parameter."""

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(net.history[-1, "train_loss"])


class TakesAnything(KeepsLosses):
    """Has parameters without names."""

    def __init__(self, **options):
        self.options = options
        self.seen = []


class HoldsLock(Callback):
    """Holds what cannot be copied, as a SummaryWriter, a file or a database does."""

    def __init__(self, lock, seen):
        self.lock = lock
        self.seen = seen

    def on_epoch_end(self, net, **kwargs):
        with self.lock:
            self.seen.append(net.history[-1, "train_loss"])


class HidesTrial(KeepsLosses):
    """Keeps its parameter under another name, as Optuna's callback does."""

    def __init__(self, trial):
        self._trial = trial
        self.seen = []


UNCLONABLE = {
    "attribute": KeepsLosses,
    "options": lambda: TakesAnything(a=1),
    "lock": lambda: HoldsLock(threading.Lock(), []),
    "hidden": lambda: HidesTrial(object()),
}


@pytest.mark.parametrize("kind", UNCLONABLE)
@pytest.mark.parametrize("named", [False, True])
def test_a_callback_that_cannot_be_cloned_runs_itself(kind, named, sequences):
    callback = UNCLONABLE[kind]()
    model = small(callbacks=[("mine", callback) if named else callback]).fit(*sequences)
    assert callback.seen == model.loss_curve_
    model.partial_fit(*sequences)
    assert callback.seen == model.loss_curve_


@pytest.mark.parametrize("kind", UNCLONABLE)
def test_a_callback_that_cannot_be_cloned_is_shared_by_clones_and_searches(kind, sequences):
    callback = UNCLONABLE[kind]()
    model = small(callbacks=(callback, EpochTimer()))
    copied = clone(model)
    assert type(copied.callbacks) is tuple
    assert copied.callbacks[0] is callback
    assert copied.callbacks[1] is not model.callbacks[1]
    search = GridSearchCV(make_pipeline(FunctionTransformer(), model), {}, cv=2)
    search.fit(*sequences)
    assert len(callback.seen) == 9
    assert callback.seen[-3:] == search.best_estimator_[-1].loss_curve_


def test_a_clone_is_unfitted_and_keeps_what_was_asked_of_metadata(sequences):
    with config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True).fit(*sequences)
        copied = clone(model)
        assert copied.get_metadata_routing().fit.requests["sample_weight"] is True
    assert not hasattr(copied, "net_")
    assert copied.get_params() == model.get_params()


def test_a_callback_that_is_none_is_named_with_its_place(sequences):
    with pytest.raises(TypeError, match=r"got callbacks\[1\]=3"):
        small(callbacks=[EpochTimer(), 3]).fit(*sequences)


# callbacks that need a validation loss


@pytest.mark.parametrize(
    ("callback", "name"),
    [
        (EarlyStopping(patience=2), r"callbacks\[0\]=EarlyStopping monitors 'valid_loss'"),
        (Checkpoint(), r"callbacks\[0\]=Checkpoint monitors 'valid_loss_best'"),
        (LRScheduler(ReduceLROnPlateau, monitor="valid_loss"), "callbacks: one monitors"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_callback_without_the_loss_that_it_monitors_says_how_to_get_it(
    callback, name, method, sequences
):
    model = small(callbacks=[callback], lr_schedule="constant")
    with pytest.raises(ValueError, match=rf"{name}.*set early_stopping=True, pass validation_data"):
        getattr(model, method)(*sequences)
    assert not hasattr(model, "net_")


class ReadsMissing(Callback):
    def __init__(self, name):
        self.name = name

    def on_epoch_end(self, net, **kwargs):
        net.history[-1, self.name]


def test_any_callback_that_reads_a_missing_validation_loss_is_explained(sequences):
    with pytest.raises(ValueError, match=r"valid_loss.*set early_stopping=True"):
        small(callbacks=[ReadsMissing("valid_loss")]).fit(*sequences)
    with pytest.raises(KeyError, match="recall"):
        small(callbacks=[ReadsMissing("recall")]).fit(*sequences)


@pytest.mark.parametrize("held_out", [{"early_stopping": True}, {}])
def test_skorchs_early_stopping_works_beside_a_validation_loss(held_out, sequences):
    X, y = sequences
    stops = EarlyStopping(patience=2, threshold=0.99, sink=len)
    model = small(callbacks=[stops], max_epochs=10, **held_out)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3"):
        model.fit(X, y, validation_data=None if held_out else (X, y))
    assert model.n_iter_ == 3


# a schedule beside the schedule


def halving():
    return LRScheduler(StepLR, step_size=1, gamma=0.5)


@pytest.mark.parametrize("callback", [halving(), ("halve", halving()), LRScheduler])
def test_a_second_schedule_of_the_learning_rate_is_refused(callback, sequences):
    model = small(callbacks=[callback])
    with pytest.raises(ValueError, match=r"callbacks\[0\]=LRScheduler.*lr_schedule='constant'"):
        model.fit(*sequences)


def test_a_schedule_turns_a_constant_rate(sequences):
    model = small(callbacks=[halving()], lr=0.1, lr_schedule="constant").fit(*sequences)
    assert model.history_[:, "lr"] == [0.1, 0.05, 0.025]


def test_a_schedule_goes_with_partial_fit_whose_rate_is_constant(sequences):
    assert small(callbacks=[halving()], lr=0.1).partial_fit(*sequences).history_[:, "lr"] == [0.1]


# callbacks of scikit-learn


@pytest.fixture
def skl():
    return pytest.importorskip("sklearn.callback")


class Notes:
    """Note the tasks of a fit, in the protocol of scikit-learn's callbacks."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.noted = []
        self.scores = []
        self.n_open = 0

    def setup(self, estimator, context):
        self.n_open += 1

    def teardown(self, estimator, context):
        self.n_open -= 1

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.noted.append(("begin", context.task_name, context.task_id, len(X), metadata))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.noted.append(("end", context.task_name, context.task_id))
        self.scores.append(fitted_estimator.score(X, y))
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


@pytest.mark.usefixtures("skl")
def test_epochs_are_tasks_of_the_fit(sequences):
    X, y = sequences
    notes, weight = Notes(), np.ones(len(X))
    model = small(max_epochs=2).set_callbacks(notes).fit(X, y, sample_weight=weight)
    assert [note[:3] for note in notes.noted] == [
        ("begin", "fit", 0),
        ("begin", "epoch", 0),
        ("end", "epoch", 0),
        ("begin", "epoch", 1),
        ("end", "epoch", 1),
        ("end", "fit", 0),
    ]
    assert notes.noted[0][3:] == (60, {"sample_weight": weight})
    assert notes.n_open == 0
    assert notes.scores[-1] == notes.scores[-2] == model.score(X, y)


@pytest.mark.usefixtures("skl")
@pytest.mark.parametrize("params", [{}, {"lr_schedule": "constant"}, {"early_stopping": True}])
def test_callbacks_of_scikit_learn_change_no_bit_and_see_what_a_stopped_fit_keeps(
    params, sequences
):
    X, y = sequences
    notes = Notes()
    model = small(dropout=0.2, **params).set_callbacks(notes).fit(X, y)
    plain = small(dropout=0.2, **params).fit(X, y)
    assert np.array_equal(model.predict(X), plain.predict(X))
    assert model.loss_curve_ == plain.loss_curve_
    stopped = Notes(stop_after=2)
    model = small(dropout=0.2, **params).set_callbacks(stopped).fit(X, y)
    assert model.n_iter_ == 2
    assert stopped.scores == [*notes.scores[:2], notes.scores[1]]
    assert model.score(X, y) == notes.scores[1]


@pytest.mark.usefixtures("skl")
def test_a_fitted_model_keeps_nothing_of_the_tasks(sequences):
    notes = Notes()
    model = small().set_callbacks(notes).fit(*sequences)
    (task,) = [callback for _, callback in model.net_.callbacks_ if type(callback) is EpochTasks]
    assert task.task is None
    assert not hasattr(model, "_callback_fit_ctx")
    notes.noted.clear()
    model.net_.partial_fit(sequences[0], sequences[1])
    assert notes.noted == []
    assert pickle.loads(pickle.dumps(model)).n_iter_ == 6
    assert copy.deepcopy(model.net_).history == model.history_


@pytest.mark.usefixtures("skl")
@pytest.mark.parametrize("n_fits", [0, 1])
def test_callbacks_are_torn_down_after_a_fit_that_fails(n_fits, sequences):
    X, y = sequences
    notes, model = Notes(), small()
    for _ in range(n_fits):
        model.fit(X, y)
    model.set_callbacks(notes).set_params(callbacks=[ReadsMissing("recall")])
    before = dict(vars(model))
    with pytest.raises(KeyError, match="recall"):
        model.fit(X, y)
    assert notes.n_open == 0
    assert vars(model) == before


def test_progress_bars_reach_the_epochs_of_a_search(skl, sequences, capsys):
    pytest.importorskip("rich")
    bar = skl.ProgressBar(max_propagation_depth=None)
    GridSearchCV(small(), {"units": [2, 3]}, cv=2).set_callbacks(bar).fit(*sequences)
    shown = capsys.readouterr().out
    assert "GridSearchCV" in shown
    assert "StackedLSTMRegressor" in shown


@pytest.mark.usefixtures("skl")
def test_callbacks_of_a_search_see_candidates_folds_and_epochs(sequences):
    class Depths(Notes):
        max_propagation_depth = None

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            path = []
            while context is not None:
                path.append(context.task_name)
                context = context.parent
            self.noted.append(tuple(reversed(path)))

    notes = Depths()
    search = GridSearchCV(small(max_epochs=2), {"units": [2, 3]}, cv=2).set_callbacks(notes)
    search.fit(*sequences)
    epochs = [path for path in notes.noted if path[-1] == "epoch"]
    assert len(epochs) == (2 * 2 + 1) * 2


def test_scores_are_monitored_epoch_by_epoch(skl, sequences):
    monitor = skl.ScoringMonitor(scoring="r2")
    model = small().set_callbacks(monitor).fit(*sequences)
    rows = monitor.get_logs().data
    scores = [row["r2"] for row in rows if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] == model.score(*sequences)


def test_a_scikit_learn_without_callbacks_changes_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    spec = importlib.util.spec_from_file_location("before_1_9", _compat.__file__)
    compat = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compat)

    class Model(compat.CallbackSupportMixin, RegressorMixin, BaseEstimator):
        @compat.with_callbacks
        def fit(self):
            return self

    model = Model()
    assert model.fit() is model
    assert not compat.has_callbacks(model)
    assert not hasattr(model, "set_callbacks")


@pytest.mark.usefixtures("skl")
def test_a_checkpoint_has_the_stop_of_a_callback_of_scikit_learn(sequences, tmp_path):
    model = small(checkpoint=tmp_path / "fit").set_callbacks(Notes(stop_after=2)).fit(*sequences)
    again = small(checkpoint=tmp_path / "fit").set_callbacks(Notes()).fit(*sequences)
    assert again.n_iter_ == model.n_iter_ == 2
    assert np.array_equal(again.predict(sequences[0]), model.predict(sequences[0]))


class Pickling(Notes):
    """Pickle the estimator of each epoch."""

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.scores.append(pickle.loads(pickle.dumps(fitted_estimator)).score(X, y))


@pytest.mark.usefixtures("skl")
def test_the_estimator_of_an_epoch_can_be_pickled(sequences):
    notes = Pickling()
    model = small(batch_size=60, units=40, verbose=1).set_callbacks(notes).fit(*sequences)
    assert notes.scores[-1] == model.score(*sequences)
