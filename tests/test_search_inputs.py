"""What DepthSearchCV takes: pipelines, transformers of targets, forms of X, metadata."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, TimeSeriesSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.parallel import Parallel

from sklstm import (
    DepthSearchCV,
    LagWindows,
    LossCurveDisplay,
    StackedLSTMRegressor,
    step_scorer,
)
from sklstm.inspection import architecture, depth_cost, gradient_flow, layer_timescales
from sklstm.pipelines import final_step


def small(**params):
    return StackedLSTMRegressor(**{"units": 4, "max_epochs": 5, "random_state": 0, **params})


def scores(search):
    return search.cv_results_["mean_test_score"]


def windows():
    table = np.random.default_rng(0).normal(size=(60, 2))
    return table, np.convolve(table[:, 0], [1, 1, 1])[:60]


@pytest.mark.parametrize(
    "pipeline",
    [
        make_pipeline(StandardScaler(), LagWindows(5), small()),
        Pipeline([("window", LagWindows(5)), ("model", Pipeline([("lstm", small())]))]),
    ],
)
def test_it_takes_pipelines(pipeline):
    table, y = windows()
    search = DepthSearchCV(pipeline, (1, 2), cv=TimeSeriesSplit(2), scoring="r2").fit(table, y)
    (name,) = search.best_params_
    assert pipeline.get_params()[name] == "auto"
    assert search.best_estimator_.get_params()[name] == search.best_depth_
    assert search.predict(table).shape == (60,)
    assert search.score(table, y) == search.best_estimator_.score(table, y)
    assert clone(search.best_estimator_).get_params()[name] == search.best_depth_


def test_it_takes_sequences_in_every_form(sequences):
    X, y = sequences
    rng = np.random.default_rng(0)
    ragged = [x[: rng.integers(2, 8)] for x in X]
    labels = [np.cumsum(x[:, 0]) for x in ragged]
    for given in (X, X[:, :, 0], ragged):
        assert DepthSearchCV(small(), (1, 2), cv=2).fit(given, y).predict(given).shape == (60,)
    search = DepthSearchCV(
        small(return_sequences=True),
        (1, 2),
        cv=2,
        scoring=step_scorer("neg_mean_absolute_error"),
    ).fit(ragged, labels)
    assert [len(p) for p in search.predict(ragged)] == [len(x) for x in ragged]


def test_it_keeps_the_names_of_columns():
    table, y = windows()
    frame = pd.DataFrame(table, columns=["demand", "temperature"])
    pipeline = make_pipeline(LagWindows(5), small())
    search = DepthSearchCV(pipeline, (1,), cv=2).fit(frame, y)
    assert search.feature_names_in_.tolist() == ["demand", "temperature"]
    assert not hasattr(search.fit(table, y), "feature_names_in_")


@pytest.mark.bits
def test_jobs_change_no_bit(sequences):
    X, y = sequences
    one, two = (DepthSearchCV(small(), (1, 2), cv=2, n_jobs=n).fit(X, y) for n in (None, 2))
    assert np.array_equal(scores(one), scores(two))
    assert np.array_equal(one.predict(X), two.predict(X))


def test_folds_are_handed_to_joblib(sequences, monkeypatch):
    X, y = sequences
    given = {}

    class Recorded(Parallel):
        def __init__(self, **params):
            given.update(params)
            super().__init__(**{**params, "n_jobs": 1, "verbose": 0})

    monkeypatch.setattr("sklstm.search.Parallel", Recorded)
    DepthSearchCV(small(), (1,), cv=2, n_jobs=3, verbose=5).fit(X, y)
    assert given == {"n_jobs": 3, "verbose": 5}


def test_groups_reach_the_splitter(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1,), cv=LeaveOneGroupOut(), refit=False)
    assert search.fit(X, y, groups=np.arange(60) // 20).n_splits_ == 3


def test_sample_weight_is_split_with_X(sequences):
    X, y = sequences
    # Fewer columns than rows of a fold: no trial fit decides about the ridge regression.
    X = X[:, :, :2]
    weight = np.where(np.arange(60) % 2, 1.0, 0.0)
    odd = weight > 0
    fold = [(np.arange(40), np.arange(40, 60))]
    params = {"batch_size": 8, "max_epochs": 1}
    weighted = DepthSearchCV(small(**params), (1, 2), cv=fold, scoring="r2")
    weighted.fit(X, y, sample_weight=weight)
    model = small(n_layers=1, **params).fit(X[:40][odd[:40]], y[:40][odd[:40]])
    assert weighted.cv_results_["split0_test_score"][0] == model.score(X[40:], y[40:])
    weighted.set_params(depths=(1,)).fit(X, y, sample_weight=weight)
    refitted = small(n_layers=1, **params).fit(X[odd], y[odd])
    np.testing.assert_allclose(weighted.predict(X), refitted.predict(X), rtol=1e-5)


def test_metadata_is_routed(sequences):
    X, y = sequences
    weight = np.random.default_rng(0).random(60)
    fold = [(np.arange(40), np.arange(40, 60))]
    with config_context(enable_metadata_routing=True):
        score = make_scorer(mean_absolute_error).set_score_request(sample_weight=True)
        model = small(max_epochs=1).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), model)
        search = DepthSearchCV(pipeline, (1,), cv=fold, scoring=score)
        search.fit(X, y, sample_weight=weight)
        fitted = small(n_layers=1, max_epochs=1).fit(X[:40], y[:40], weight[:40])
        expected = mean_absolute_error(y[40:], fitted.predict(X[40:]), sample_weight=weight[40:])
        assert search.best_score_ == pytest.approx(expected, rel=1e-12)
        assert search.score(X, y, sample_weight=weight) == pytest.approx(
            mean_absolute_error(y, search.predict(X), sample_weight=weight)
        )
    with pytest.raises(ValueError, match="sample_weight"):
        search.score(X, y, sample_weight=weight)


def test_a_scorer_may_be_named(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1,), cv=2, scoring="neg_mean_absolute_error").fit(X, y)
    assert search.score(X, y) == -mean_absolute_error(y, search.predict(X))


# estimators around the regressor


def squares(regressor):
    return TransformedTargetRegressor(regressor, func=np.sqrt, inverse_func=np.square)


@pytest.mark.parametrize(
    ("around", "prefix"),
    [
        (lambda model: squares(model), "regressor__"),
        (
            lambda model: squares(make_pipeline(StandardScaler(), model)),
            "regressor__stackedlstmregressor__",
        ),
        (
            lambda model: make_pipeline(StandardScaler(), squares(model)),
            "transformedtargetregressor__regressor__",
        ),
    ],
)
def test_transformed_targets_are_seen_through(around, prefix, sequences):
    X, y = sequences
    X, y = X[:, :, 0], (y - y.min() + 1) ** 2
    search = DepthSearchCV(around(small()), (1, 2), cv=2).fit(X, y)
    assert search.best_params_ == {f"{prefix}n_layers": search.best_depth_}
    fitted = final_step(search.best_estimator_)
    assert fitted.n_layers_ == search.best_depth_
    assert search.best_estimator_.get_params()[f"{prefix}n_layers"] == search.best_depth_
    direct = DepthSearchCV(small(), (1, 2), cv=2)
    by_hand = StandardScaler().fit_transform(X) if "stacked" in prefix or "t__" in prefix else X
    direct.fit(by_hand, np.sqrt(y))
    if search.best_depth_ == direct.best_depth_:
        expected = np.square(direct.predict(by_hand))
        assert search.predict(X) == pytest.approx(expected, rel=1e-4)
    again = clone(search.best_estimator_).fit(X, y)
    assert final_step(again).n_layers_ == search.best_depth_


def test_a_fitted_transformer_of_targets_is_searched_by_its_parameters(sequences):
    X, y = sequences
    estimator = squares(small(units=(4, 4))).fit(X, (y - y.min()) ** 2)
    estimator.set_params(regressor__units=3)
    search = DepthSearchCV(estimator, (1, 2), cv=2).fit(X, (y - y.min()) ** 2)
    assert final_step(search.best_estimator_).units == 3
    assert final_step(estimator).units == (4, 4)


def test_other_regressors_behind_transformed_targets_are_named(sequences):
    with pytest.raises(TypeError, match="got a TransformedTargetRegressor of Ridge"):
        DepthSearchCV(squares(Ridge())).fit(*sequences)


def test_numbers_may_be_those_of_numpy(sequences):
    search = DepthSearchCV(small(max_epochs=1), np.arange(1, 3), cv=np.int64(2), n_jobs=np.int64(1))
    search.set_params(n_repeats=np.int64(2), error_score=np.float32(0)).fit(*sequences)
    assert search.best_depth_ in (1, 2)
    assert type(search.best_depth_) is int


# depth by sizes


def test_a_search_over_tuples_of_units_is_a_search_over_depths(sequences):
    grid = {"units": [(4,), (4, 2), (4, 2, 2)]}
    search = GridSearchCV(small(max_epochs=1), grid, cv=2, error_score="raise").fit(*sequences)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.n_layers_ == len(search.best_params_["units"])


def test_fitted_transformed_targets_are_inspected_and_drawn(sequences):
    pytest.importorskip("matplotlib")
    X, y = sequences
    y = (y - y.min()) ** 2
    estimator = squares(make_pipeline(StandardScaler(), small(n_layers=3)))
    estimator.fit(X[:, :, 0], y)
    assert len(layer_timescales(estimator, X[:, :, 0]).half_life) == 3
    flow = gradient_flow(estimator, X[:, :, 0], y)
    direct = gradient_flow(estimator.regressor_, X[:, :, 0], np.sqrt(y))
    assert np.array_equal(flow.weights, direct.weights)
    assert len(depth_cost(estimator, X[:, :, 0], y, depths=(1,), n_epochs=1).memory) == 1
    assert architecture(estimator).n_parameters == final_step(estimator).n_parameters_
    display = LossCurveDisplay.from_estimator(estimator)
    assert display.loss.tolist() == final_step(estimator).loss_curve_
