"""Validation data: given, or held out."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklstm import DepthSearchCV, LagWindows, LossCurveDisplay, StackedLSTMRegressor, load, save
from sklstm.training.batches import SequenceDataset, TailSplit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 6, 2))
Y = X[:, -2:, 0].sum(axis=1)
X_VAL = RNG.normal(size=(40, 6, 2))
Y_VAL = X_VAL[:, -2:, 0].sum(axis=1)
VALIDATION = (X_VAL, Y_VAL)


def small(**params):
    return StackedLSTMRegressor(
        **{"units": 4, "linear_steps": 2, "max_epochs": 3, "random_state": 0, **params}
    )


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def same(model, other):
    return all(
        np.array_equal(weights, others)
        for weights, others in zip(
            model.module_.state_dict().values(), other.module_.state_dict().values(), strict=True
        )
    )


# given


def test_without_early_stopping_the_loss_on_validation_data_is_only_recorded():
    model, plain = small().fit(X, Y, validation_data=VALIDATION), small().fit(X, Y)
    assert same(model, plain)
    assert model.loss_curve_ == plain.loss_curve_
    assert (len(model.validation_loss_curve_), plain.validation_loss_curve_) == (3, [])
    error = model.predict(X_VAL) - Y_VAL
    scale = float(model.module_.output_scaler.scale[0])
    assert model.validation_loss_curve_[-1] == pytest.approx(np.mean((error / scale) ** 2))
    pytest.importorskip("matplotlib")
    assert len(LossCurveDisplay.from_estimator(model).lines_) == 2


@pytest.mark.parametrize("linear_steps", [2, None])
def test_with_early_stopping_validation_data_take_the_place_of_the_held_out_tail(linear_steps):
    params = {"max_epochs": 30, "n_iter_no_change": 1, "lr": 0.05, "linear_steps": linear_steps}
    model = small(early_stopping=True, **params).fit(X, Y, validation_data=VALIDATION)
    assert model.n_iter_ == len(model.validation_loss_curve_) < 30
    assert model.best_epoch_ == 1 + np.argmin(model.validation_loss_curve_)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        first = small(**params, callbacks=[Interrupt()]).fit(X, Y)
    assert model.loss_curve_[0] == first.loss_curve_[0]
    assert np.array_equal(
        model.module_.input_scaler.mean, small(max_epochs=0).fit(X, Y).module_.input_scaler.mean
    )


def test_validation_data_equal_to_the_held_out_tail_give_the_same_losses():
    params = {"early_stopping": True, "standardize": False, "linear_steps": None}
    held_out = small(validation_fraction=30, **params).fit(X, Y)
    given = small(**params).fit(X[:60], Y[:60], validation_data=(X[60:], Y[60:]))
    assert held_out.validation_loss_curve_ == given.validation_loss_curve_
    assert same(held_out, given)


def test_the_linear_path_is_decided_on_all_of_the_training_data():
    many = np.concatenate([X, X_VAL, X, X_VAL])
    target = many[:, -2:, 0].sum(axis=1)
    params = {"linear_steps": "auto", "max_epochs": 2, "validation_fraction": 0.9}
    model = small(early_stopping=True, **params).fit(many, target, validation_data=VALIDATION)
    assert model.linear_steps_ == small(**params).fit(many, target).linear_steps_ == 6


def test_weights_of_validation_data_count_in_their_loss_alone():
    weight = np.where(np.arange(40) < 10, 2.0, 0.0)
    weighted = small().fit(X, Y, validation_data=(X_VAL, Y_VAL, weight))
    part = small().fit(X, Y, validation_data=[X_VAL[:10], Y_VAL[:10]])
    assert weighted.validation_loss_curve_ == pytest.approx(part.validation_loss_curve_)
    assert same(weighted, part)


def test_validation_data_take_the_forms_of_X_and_y():
    lists, targets = [x[2:] for x in X_VAL], [np.zeros(4)] * 40
    model = small(return_sequences=True).fit(X, np.zeros((90, 6)), validation_data=(lists, targets))
    assert len(model.validation_loss_curve_) == 3
    model = small().fit(
        X[:, :, 0], np.c_[Y, Y], validation_data=(X_VAL[:, :, 0], np.c_[Y_VAL, Y_VAL])
    )
    assert len(model.validation_loss_curve_) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X_VAL, r"must be \(X, y\) or \(X, y, sample_weight\), got ndarray"),
        ((X_VAL,), "got 1 of them"),
        ((X_VAL, Y_VAL, None, None), "got 4 of them"),
        ("ab", "got str"),
        ((X_VAL[:, :, :1], Y_VAL), "validation_data: .*1 features"),
        ((X_VAL, Y_VAL[:5]), "validation_data: .*inconsistent"),
        ((X_VAL, np.c_[Y_VAL, Y_VAL]), "validation_data: y has 2 outputs.* 1"),
        ((X_VAL, np.full(40, np.nan)), "validation_data: y has no label"),
        ((X_VAL * np.inf, Y_VAL), "validation_data: Input X contains"),
        ((X_VAL, Y_VAL, -np.ones(40)), "validation_data: .*[Nn]egative"),
        ((X_VAL, None), "validation_data: .*y"),
        ((X_VAL, "ab"), "validation_data: .*y"),
    ],
)
def test_bad_validation_data_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        small().fit(X, Y, validation_data=given)


def test_bad_validation_data_leave_a_fitted_model_as_it_was():
    model = small().fit(X, Y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="validation_data"):
        model.fit(X[:, :, :1], Y, validation_data=VALIDATION)
    assert vars(model) == before


# with the rest


def test_validation_data_go_with_a_warm_start():
    model = small(warm_start=True).fit(X, Y).fit(X, Y, validation_data=VALIDATION)
    assert ["valid_loss" in row for row in model.history_] == [False] * 3 + [True] * 3
    assert same(model, small(warm_start=True).fit(X, Y).fit(X, Y))


def test_a_checkpoint_knows_its_validation_data(tmp_path):
    def checkpointed():
        return small(checkpoint=tmp_path / "fit", early_stopping=True)

    whole = small(early_stopping=True).fit(X, Y, validation_data=VALIDATION)
    first = checkpointed().fit(X, Y, validation_data=VALIDATION)
    again = checkpointed().fit(X, Y, validation_data=VALIDATION)
    assert same(whole, first)
    assert same(whole, again)
    assert again.validation_loss_curve_ == whole.validation_loss_curve_
    for other in (None, (X_VAL, Y_VAL + 1), (X_VAL, Y_VAL, np.arange(40) + 1)):
        with pytest.raises(ValueError, match="of a fit to other data"):
            checkpointed().fit(X, Y, validation_data=other)


def test_a_model_keeps_no_validation_data_and_its_net_goes_on_without(tmp_path):
    model = small(early_stopping=True).fit(X, Y, validation_data=VALIDATION)
    save(model, tmp_path / "model")
    for net in (model.net_, load(tmp_path / "model").net_):
        assert net.train_split(SequenceDataset(X, Y))[1].validation is None
        assert len(net.partial_fit(X, Y).history) == 6


def test_validation_data_pass_a_pipeline_as_they_are():
    series = RNG.normal(size=(80, 2))
    scaler, windows = StandardScaler().fit(series), LagWindows(length=4)
    later = RNG.normal(size=(30, 2))
    validation = windows.fit_transform(scaler.transform(later)), later[:, 0]
    pipeline = make_pipeline(StandardScaler(), LagWindows(length=4), small())
    pipeline.fit(series, series[:, 0], stackedlstmregressor__validation_data=validation)
    plain = small().fit(
        windows.fit_transform(scaler.transform(series)), series[:, 0], validation_data=validation
    )
    assert same(pipeline[-1], plain)
    assert pipeline[-1].validation_loss_curve_ == plain.validation_loss_curve_


def test_validation_data_are_the_same_in_each_fold_of_a_search():
    search = GridSearchCV(small(), {"units": [2]}, cv=2).fit(X, Y, validation_data=VALIDATION)
    assert len(search.best_estimator_.validation_loss_curve_) == 3
    search = DepthSearchCV(small(), (1,), cv=2).fit(X, Y, validation_data=VALIDATION)
    assert len(search.best_estimator_.validation_loss_curve_) == 3


def test_validation_data_are_routed():
    with config_context(enable_metadata_routing=True):
        model = small().set_fit_request(validation_data=True)
        results = cross_validate(
            model, X, Y, cv=2, params={"validation_data": VALIDATION}, return_estimator=True
        )
    assert [len(fitted.validation_loss_curve_) for fitted in results["estimator"]] == [3, 3]


# held out


@pytest.mark.parametrize(
    ("validation_fraction", "n_samples", "n_held_out"),
    [(30 / 79, 79, 30), (0.1, 91, 10), (0.1, 90, 9), (1e-9, 90, 1), (30, 90, 30), (1, 2, 1)],
)
def test_a_fraction_or_a_number_of_samples_is_held_out(validation_fraction, n_samples, n_held_out):
    data = SequenceDataset(np.zeros((n_samples, 1, 1)), np.zeros(n_samples))
    train, held_out = TailSplit(validation_fraction)(data)
    assert (len(train), len(held_out)) == (n_samples - n_held_out, n_held_out)


def test_every_whole_number_of_samples_can_be_given_as_a_fraction():
    for n_samples in (79, 360, 1000):
        data = SequenceDataset(np.zeros((n_samples, 1, 1)), np.zeros(n_samples))
        for n_held_out in range(1, n_samples):
            assert len(TailSplit(n_held_out / n_samples)(data)[1]) == n_held_out


def test_a_number_of_samples_is_what_its_fraction_is():
    number = small(early_stopping=True, validation_fraction=np.int64(9)).fit(X, Y)
    assert same(number, small(early_stopping=True, validation_fraction=0.1).fit(X, Y))


@pytest.mark.parametrize("validation_fraction", [90, 100, 0.999])
def test_holding_out_all_samples_is_named(validation_fraction):
    with pytest.raises(ValueError, match=rf"validation_fraction={validation_fraction}.*=90"):
        small(early_stopping=True, validation_fraction=validation_fraction).fit(X, Y)


@pytest.mark.parametrize("validation_fraction", [np.float32(1.5), np.float32(-0.5), 1.0, 0, -3])
def test_what_is_neither_a_fraction_nor_a_number_is_named(validation_fraction):
    with pytest.raises(ValueError, match="validation_fraction"):
        small(early_stopping=True, validation_fraction=validation_fraction).fit(X, Y)
