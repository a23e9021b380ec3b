import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut, TimeSeriesSplit
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


# what it does in a fold


def test_scores_are_those_of_models_grown_on_the_training_part(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1, 3), cv=KFold(2)).fit(X, y)
    for fold, (train, test) in enumerate(KFold(2).split(X)):
        model = small(warm_start=True, n_layers=1).fit(X[train], y[train])
        assert search.cv_results_[f"split{fold}_test_score"][0] == model.score(X[test], y[test])
        model.set_params(n_layers=3, max_epochs=1, lr=0.015).fit(X[train], y[train])
        assert search.cv_results_[f"split{fold}_test_score"][1] == model.score(X[test], y[test])


def test_the_test_part_has_no_influence_on_the_fit(sequences):
    X, y = sequences
    fold = [(np.arange(40), np.arange(40, 60))]
    spoilt = np.where(np.arange(60) < 40, y, y + 1000)
    score = make_scorer(lambda y_true, y_pred: float(y_pred.sum()))
    curves = [
        scores(DepthSearchCV(small(early_stopping=True), cv=fold, scoring=score).fit(X, target))
        for target in (y, spoilt)
    ]
    assert np.array_equal(*curves)


def test_earlier_steps_of_a_pipeline_are_fitted_once_a_fold(sequences):
    X, y = sequences
    fitted_on = []

    class Counts(StandardScaler):
        def fit(self, X, y=None, sample_weight=None):
            fitted_on.append(len(X))
            return super().fit(X, y, sample_weight)

    pipeline = make_pipeline(Counts(), small())
    DepthSearchCV(pipeline, (1, 2, 3), cv=3).fit(X[:, :, 0], y)
    assert fitted_on == [40, 40, 40, 60]


def test_later_depths_train_for_a_fifth_of_the_epochs(sequences):
    X, y = sequences
    search = DepthSearchCV(small(max_epochs=10), (1, 2, 4), cv=2).fit(X, y)
    assert search.cv_results_["mean_fit_epochs"].tolist() == [10, 2, 2]
    assert len(final_step(search.best_estimator_).loss_curve_) in (10, 12, 14)


def test_depths_of_a_pipeline_are_scored_one_by_one(sequences):
    X, y = sequences
    scaled = DepthSearchCV(small(), (1, 2, 3), cv=2, scoring="r2").fit(X / 2, y)
    pipeline = make_pipeline(FunctionTransformer(halved), small())
    whole = DepthSearchCV(pipeline, (1, 2, 3), cv=2, scoring="r2").fit(X, y)
    assert np.array_equal(scores(whole), scores(scaled))
    assert len(set(scores(whole))) == 3


def halved(X):
    return X / 2


@pytest.mark.parametrize(("epochs", "expected"), [(0, [0, 0, 0]), (1, [1, 1, 1]), (12, [12, 3, 3])])
def test_later_depths_never_train_for_longer_than_the_first(epochs, expected, sequences):
    X, y = sequences
    search = DepthSearchCV(small(max_epochs=epochs), (1, 2, 3), cv=2, refit=False).fit(X, y)
    assert search.cv_results_["mean_fit_epochs"].tolist() == expected


def test_stopping_early_shortens_no_later_stage(sequences):
    X, y = sequences
    model = small(max_epochs=20, early_stopping=True, n_iter_no_change=1, lr=1e-30)
    search = DepthSearchCV(model, (1, 2), cv=[(np.arange(40), np.arange(40, 60))], refit=False).fit(
        X, y
    )
    assert search.cv_results_["mean_fit_epochs"][0] == 2

    search.set_params(estimator__n_iter_no_change=10).fit(X, y)
    assert search.cv_results_["mean_fit_epochs"].tolist() == [11, 4]


# what it leaves


def test_results_have_the_columns_of_a_grid_search(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1, 2), cv=3).fit(X, y)
    grid = GridSearchCV(small(), {"n_layers": [1, 2]}, cv=3).fit(X, y)
    assert set(search.cv_results_) - set(grid.cv_results_) == {
        "mean_cumulative_fit_time",
        "std_cumulative_fit_time",
        "mean_fit_epochs",
        "std_fit_epochs",
        "n_parameters",
    }
    assert set(grid.cv_results_) <= set(search.cv_results_)
    assert search.cv_results_["params"] == grid.cv_results_["params"]
    assert search.cv_results_["param_n_layers"].tolist() == [1, 2]
    assert search.cv_results_["split1_test_score"][0] == grid.cv_results_["split1_test_score"][0]
    assert search.cv_results_["n_parameters"].tolist() == [
        clone(small()).set_params(n_layers=depth).fit(X, y).n_parameters_ for depth in (1, 2)
    ]
    assert pd.DataFrame(search.cv_results_).shape[0] == 2


def test_means_spreads_and_ranks_are_those_of_the_folds(sequences):
    X, y = sequences
    results = DepthSearchCV(small(), (1, 2, 3), cv=3).fit(X, y).cv_results_
    folds = np.array([results[f"split{fold}_test_score"] for fold in range(3)])
    assert results["mean_test_score"] == pytest.approx(folds.mean(axis=0))
    assert results["std_test_score"] == pytest.approx(folds.std(axis=0))
    assert np.array_equal(np.argsort(-folds.mean(axis=0)), np.argsort(results["rank_test_score"]))
    assert results["mean_cumulative_fit_time"] == pytest.approx(
        results["mean_fit_time"].cumsum(), rel=1e-9
    )


def test_the_best_model_is_grown_on_all_data(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1, 2), cv=3, scoring=Deeper()).fit(X, y)
    model = small(warm_start=True, n_layers=1).fit(X, y)
    model.set_params(n_layers=2, max_epochs=1, lr=0.015).fit(X, y)
    assert (search.best_depth_, search.best_params_) == (2, {"n_layers": 2})
    assert np.array_equal(search.predict(X), model.predict(X))


def test_the_best_estimator_has_the_parameters_it_was_given(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1, 2), cv=2, scoring=Deeper()).fit(X, y)
    assert search.best_estimator_.get_params() == small(n_layers=2).get_params()
    assert search.estimator.get_params() == small().get_params()
    assert not hasattr(search.estimator, "net_")


def test_the_steps_of_a_given_pipeline_are_not_fitted(sequences):
    X, y = sequences
    pipeline = make_pipeline(StandardScaler(), small(warm_start=True))
    search = DepthSearchCV(pipeline, (1, 2), cv=2).fit(X[:, :, 0], y)
    assert not hasattr(pipeline[0], "mean_")
    assert not hasattr(pipeline[1], "net_")
    assert search.best_estimator_[1].warm_start


def test_without_refit_there_is_a_curve_and_no_model(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1, 2), cv=2).fit(X, y)
    search.set_params(refit=False).fit(X, y)
    assert len(scores(search)) == 2
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "refit_time_")
    assert not hasattr(search, "n_features_in_")
    with pytest.raises(AttributeError, match="predict"):
        search.predict(X)


def test_a_failed_fit_leaves_the_search_as_it_was(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1, 2), cv=2).fit(X, y)
    before, curve = search.predict(X), scores(search)
    with pytest.raises(ValueError, match="y has no label"):
        search.fit(X, np.where(np.arange(60) < 30, np.nan, y))
    assert np.array_equal(search.predict(X), before)
    assert scores(search) is curve


def test_an_unfitted_search_says_so(sequences):
    with pytest.raises(NotFittedError):
        DepthSearchCV(small()).predict(sequences[0])


# choosing


class Deeper:
    """Scores a stack by its depth."""

    def __call__(self, estimator, X, y):
        return len(final_step(estimator).module_.layers)


class Table:
    """Scores a stack of one or more layers by a table of depth and fold."""

    def __init__(self, table):
        self.table = table

    def __call__(self, estimator, X, y):
        return self.table[len(final_step(estimator).module_.layers)][int(X[0, 0, 0] > 0)]


@pytest.mark.parametrize(
    ("select", "table", "depth"),
    [
        ("best", {1: (0, 0), 2: (5, 5), 3: (4, 4)}, 2),
        ("best", {1: (5, 5), 2: (5, 5), 3: (4, 4)}, 1),
        ("best", {1: (np.nan, np.nan), 2: (3, 3), 3: (4, 4)}, 3),
        ("one_standard_error", {1: (0, 0), 2: (0.1, 0.1), 3: (0.05, 0.05)}, 2),
        ("one_standard_error", {1: (0, 0), 2: (4, 4), 3: (5.5, 3.5)}, 2),
        ("one_standard_error", {1: (0, 0), 2: (3.4, 3.4), 3: (5.5, 3.5)}, 3),
        ("one_standard_error", {1: (3.6, 3.6), 2: (4, 4), 3: (5.5, 3.5)}, 1),
    ],
)
def test_depth_is_chosen_by_rule(select, table, depth):
    X, y = np.repeat([-1.0, 1.0], 10)[:, None, None] * np.ones((1, 3, 1)), np.arange(20.0)
    search = DepthSearchCV(small(max_epochs=1), (1, 2, 3), cv=KFold(2), scoring=Table(table))
    search.set_params(select=select, refit=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        search.fit(X, y)
    assert search.best_depth_ == depth
    assert search.best_score_ == np.mean(table[depth])
    assert search.cv_results_["rank_test_score"][search.best_index_] <= 3


def test_an_undefined_score_ranks_last():
    X, y = np.repeat([-1.0, 1.0], 10)[:, None, None] * np.ones((1, 3, 1)), np.arange(20.0)
    table = Table({1: (np.nan, 1), 2: (3, 3), 3: (4, 4)})
    search = DepthSearchCV(small(max_epochs=1), (1, 2, 3), cv=KFold(2), scoring=table, refit=False)
    with pytest.warns(UserWarning, match="not finite"):
        search.fit(X, y)
    assert search.cv_results_["rank_test_score"].tolist() == [3, 2, 1]


def test_the_best_of_tied_folds_is_within_one_standard_error_of_itself(sequences):
    table = {1: 0.0, 2: 0.1, 3: 0.05}
    search = DepthSearchCV(small(max_epochs=0), (1, 2, 3), cv=10, refit=False)
    search.set_params(select="one_standard_error", scoring=lambda m, X, y: table[m.n_layers])
    assert search.fit(*sequences).best_depth_ == 2


def test_with_one_fold_only_the_best_is_within_one_standard_error(sequences):
    table = {1: 0.9, 2: 1.0, 3: 0.95}
    search = DepthSearchCV(small(max_epochs=0), (1, 2, 3), cv=[(np.arange(40), np.arange(40, 60))])
    search.set_params(select="one_standard_error", scoring=lambda m, X, y: table[m.n_layers])
    assert search.fit(*sequences).best_depth_ == 2


@pytest.mark.parametrize("score", [None, {"r2": 1.0}, [1.0]])
def test_a_score_that_is_no_number_is_named(score, sequences):
    with pytest.raises(ValueError, match="scoring must return one number"):
        DepthSearchCV(small(max_epochs=0), scoring=lambda m, X, y: score).fit(*sequences)


# what it takes


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
    weighted = DepthSearchCV(small(batch_size=8), (1, 2), cv=fold, scoring="r2")
    weighted.fit(X, y, sample_weight=weight)
    model = small(n_layers=1, batch_size=8).fit(X[:40][odd[:40]], y[:40][odd[:40]])
    assert weighted.cv_results_["split0_test_score"][0] == model.score(X[40:], y[40:])
    weighted.set_params(depths=(1,)).fit(X, y, sample_weight=weight)
    refitted = small(n_layers=1, batch_size=8).fit(X[odd], y[odd])
    np.testing.assert_allclose(weighted.predict(X), refitted.predict(X), rtol=1e-5)


def test_metadata_is_routed(sequences):
    X, y = sequences
    weight = np.random.default_rng(0).random(60)
    fold = [(np.arange(40), np.arange(40, 60))]
    with config_context(enable_metadata_routing=True):
        score = make_scorer(mean_absolute_error).set_score_request(sample_weight=True)
        model = small().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), model)
        search = DepthSearchCV(pipeline, (1,), cv=fold, scoring=score)
        search.fit(X, y, sample_weight=weight)
        fitted = small(n_layers=1).fit(X[:40], y[:40], weight[:40])
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


# bad input


@pytest.mark.parametrize(
    "depths", [(), (0, 1), (1, 1), (2, 1), (1, 2.5), "12", 3, (1, "2"), ((1, 2),)]
)
def test_bad_depths_are_named(depths, sequences):
    with pytest.raises((ValueError, TypeError), match="depths"):
        DepthSearchCV(small(), depths).fit(*sequences)


@pytest.mark.parametrize(
    "estimator", [Ridge(), make_pipeline(StandardScaler(), Ridge()), Pipeline([])]
)
def test_other_estimators_are_refused(estimator, sequences):
    with pytest.raises(TypeError, match=r"StackedLSTMRegressor or a Pipeline.*(Ridge|Pipeline)"):
        DepthSearchCV(estimator).fit(*sequences)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"skip": None}, r"skip=None.*cannot grow"),
        ({"checkpoint": "fit"}, r"checkpoint='fit'.*one file"),
        ({"units": (8, 4)}, r"units=\(8, 4\).*one number"),
        ({"dropout": (0.1, 0.2)}, r"dropout=\(0.1, 0.2\).*one number"),
    ],
)
def test_estimators_that_cannot_grow_are_refused(params, message, sequences):
    with pytest.raises(ValueError, match=message):
        DepthSearchCV(small(**params)).fit(*sequences)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scoring", "no such scorer"),
        ("scoring", ["r2", "max_error"]),
        ("n_jobs", "all"),
        ("refit", "r2"),
        ("select", "worst"),
        ("cv", "five"),
        ("estimator", 3),
    ],
)
def test_bad_parameters_are_named(name, value, sequences):
    search = DepthSearchCV(small()).set_params(**{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        search.fit(*sequences)


def test_a_splitter_without_splits_is_named(sequences):
    with pytest.raises(ValueError, match=r"cv=.*no split"):
        DepthSearchCV(small(), cv=[]).fit(*sequences)


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


def test_the_number_of_jobs_may_be_a_numpy_integer(sequences):
    search = DepthSearchCV(small(max_epochs=1), (1,), cv=2, n_jobs=np.int64(1))
    assert search.fit(*sequences).best_depth_ == 1


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
