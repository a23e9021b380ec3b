import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.metrics import get_scorer, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    learning_curve,
    validation_curve,
)
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklstm import LagWindows, StackedLSTMRegressor

N_SAMPLES = 120
TABLE = np.random.default_rng(0).normal(size=(N_SAMPLES, 8))
TARGET = TABLE[:, -2:].sum(axis=1)
FORMS = {"2-D": TABLE, "3-D": TABLE.reshape(N_SAMPLES, 4, 2)}

either_form = pytest.mark.parametrize("X", FORMS.values(), ids=FORMS.keys())


def model(**parameters):
    defaults = {
        "n_layers": 1,
        "units": 8,
        "lr": 0.05,
        "batch_size": 16,
        "max_epochs": 15,
        "random_state": 0,
    }
    return StackedLSTMRegressor(**{**defaults, **parameters})


@either_form
def test_grid_search_scores_do_not_depend_on_n_jobs(X):
    searches = [
        GridSearchCV(model(), {"n_layers": [1, 2]}, cv=2, n_jobs=n_jobs).fit(X, TARGET)
        for n_jobs in (1, 2)
    ]
    for name in ("split0_test_score", "split1_test_score", "rank_test_score"):
        np.testing.assert_array_equal(*(search.cv_results_[name] for search in searches))
    np.testing.assert_array_equal(*(search.predict(X) for search in searches))
    assert searches[0].cv_results_["mean_test_score"].min() > 0.5
    assert len(set(searches[0].cv_results_["mean_test_score"])) == 2


def test_grid_search_refits_the_depth_that_scored_best():
    search = GridSearchCV(model(), {"n_layers": [1, 2]}, cv=2).fit(TABLE, TARGET)
    best = search.best_params_["n_layers"]
    assert search.best_index_ == np.argmax(search.cv_results_["mean_test_score"])
    assert len(search.best_estimator_.module_.layers) == best
    expected = model(n_layers=best).fit(TABLE, TARGET).predict(TABLE)
    np.testing.assert_array_equal(search.predict(TABLE), expected)


def test_grid_search_tunes_units_given_layer_by_layer():
    grid = {"units": [(4, 8), (8, 4)], "head_units": [(), (4,)]}
    search = GridSearchCV(model(n_layers=2), grid, cv=2).fit(TABLE, TARGET)
    tried = [candidate["units"] for candidate in search.cv_results_["params"]]
    assert tried == [(4, 8), (8, 4), (4, 8), (8, 4)]
    assert search.best_score_ > 0.5
    layers = search.best_estimator_.module_.layers
    assert tuple(layer.hidden_size for layer in layers) == search.best_params_["units"]


@either_form
def test_randomized_search_finds_a_trained_model_and_repeats_itself(X):
    choices = {"n_layers": [1, 2], "max_epochs": [1, 15], "lr": [0.02, 0.05]}
    searches = [
        RandomizedSearchCV(model(), choices, n_iter=4, cv=2, random_state=3).fit(X, TARGET)
        for _ in range(2)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)
    assert {p["max_epochs"] for p in searches[0].cv_results_["params"]} == {1, 15}
    assert searches[0].best_params_["max_epochs"] == 15
    assert searches[0].best_score_ > 0.5


@either_form
def test_halving_search_spends_epochs_as_its_resource(X):
    search = HalvingGridSearchCV(
        model(),
        {"lr": [1e-4, 1e-3, 0.02, 0.05]},
        resource="max_epochs",
        min_resources=4,
        max_resources=16,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(X, TARGET)
    assert search.n_resources_ == [4, 8, 16]
    assert search.n_candidates_ == [4, 2, 1]
    assert search.best_estimator_.n_iter_ == 16
    assert search.best_params_["lr"] >= 0.02
    assert search.best_score_ > 0.5


@either_form
def test_cross_val_predict_gives_the_predictions_of_each_fold(X):
    folds = KFold(2)
    predictions = cross_val_predict(model(), X, TARGET, cv=folds)
    for train, test in folds.split(X):
        expected = model().fit(X[train], TARGET[train]).predict(X[test])
        np.testing.assert_array_equal(predictions[test], expected)
    assert r2_score(TARGET, predictions) > 0.5


@either_form
def test_cross_val_score_gives_the_scores_of_each_fold(X):
    folds = KFold(2)
    scores = cross_val_score(model(), X, TARGET, cv=folds)
    expected = [
        model().fit(X[train], TARGET[train]).score(X[test], TARGET[test])
        for train, test in folds.split(X)
    ]
    np.testing.assert_array_equal(scores, expected)
    assert scores.min() > 0.5


@either_form
def test_learning_curve_rises_with_the_samples(X):
    sizes, train_scores, test_scores = learning_curve(
        model(), X, TARGET, train_sizes=[10, 60], cv=2
    )
    assert sizes.tolist() == [10, 60]
    assert train_scores.shape == test_scores.shape == (2, 2)
    assert (test_scores[1] > test_scores[0]).all()
    assert test_scores[1].min() > 0.5


@either_form
def test_validation_curve_rises_with_the_epochs(X):
    train_scores, test_scores = validation_curve(
        model(), X, TARGET, param_name="max_epochs", param_range=[0, 2, 15], cv=2
    )
    for scores in (train_scores.mean(axis=1), test_scores.mean(axis=1)):
        assert (np.diff(scores) > 0).all()
        assert scores[-1] > 0.5


@either_form
def test_transformed_target_is_learnt_and_transformed_back(X):
    positive = np.exp(TARGET)
    regressor = TransformedTargetRegressor(model(), func=np.log, inverse_func=np.exp)
    predictions = regressor.fit(X, positive).predict(X)
    expected = np.exp(model().fit(X, np.log(positive)).predict(X))
    np.testing.assert_array_equal(predictions, expected)
    assert r2_score(TARGET, np.log(predictions)) > 0.5


@either_form
def test_two_transformed_targets_keep_their_columns(X):
    targets = np.column_stack([TARGET, 100 - TARGET])
    regressor = TransformedTargetRegressor(model(), transformer=StandardScaler())
    predictions = regressor.fit(X, targets).predict(X)
    assert r2_score(targets, predictions, multioutput="raw_values").min() > 0.5


@either_form
def test_multi_output_regressor_fits_a_model_for_each_target(X):
    targets = np.column_stack([TARGET, TABLE[:, -1]])
    predictions = MultiOutputRegressor(model()).fit(X, targets).predict(X)
    assert predictions.shape == (N_SAMPLES, 2)
    for column, target in zip(predictions.T, targets.T, strict=True):
        np.testing.assert_array_equal(column, model().fit(X, target).predict(X))
        assert r2_score(target, column) > 0.5


def test_regressor_chain_hands_targets_down_as_further_columns():
    targets = np.column_stack([TARGET, 2 * TARGET + TABLE[:, 0]])
    predictions = RegressorChain(model()).fit(TABLE, targets).predict(TABLE)
    first = model().fit(TABLE, targets[:, 0]).predict(TABLE)
    second = model().fit(np.column_stack([TABLE, targets[:, 0]]), targets[:, 1])
    np.testing.assert_array_equal(predictions[:, 0], first)
    expected = second.predict(np.column_stack([TABLE, first]))
    np.testing.assert_array_equal(predictions[:, 1], expected)
    assert r2_score(targets, predictions) > 0.5


def test_bagging_averages_models_of_different_seeds_and_samples():
    bagging = BaggingRegressor(model(), n_estimators=3, random_state=0).fit(TABLE, TARGET)
    members = [member.predict(TABLE) for member in bagging.estimators_]
    assert not np.array_equal(members[0], members[1])
    np.testing.assert_allclose(bagging.predict(TABLE), np.mean(members, axis=0), rtol=1e-12)
    assert bagging.score(TABLE, TARGET) > 0.5


@either_form
def test_boosting_answers_with_the_predictions_of_its_members(X):
    boosting = AdaBoostRegressor(model(), n_estimators=3, random_state=0).fit(X, TARGET)
    members = np.array([member.predict(X) for member in boosting.estimators_])
    assert len(members) == 3
    assert (members == boosting.predict(X)).any(axis=0).all()
    assert boosting.score(X, TARGET) > 0.5


@either_form
def test_stacking_hands_the_predictions_of_its_members_to_the_final_regressor(X):
    members = [("shallow", model()), ("deep", model(n_layers=2))]
    stacking = StackingRegressor(members, LinearRegression(), cv=2).fit(X, TARGET)
    features = [member.fit(X, TARGET).predict(X) for _, member in members]
    np.testing.assert_array_equal(stacking.transform(X), np.column_stack(features))
    assert stacking.score(X, TARGET) > 0.5


@either_form
def test_voting_averages_its_members(X):
    members = [("shallow", model()), ("deep", model(n_layers=2))]
    voting = VotingRegressor(members).fit(X, TARGET)
    expected = np.mean([member.fit(X, TARGET).predict(X) for _, member in members], axis=0)
    np.testing.assert_array_equal(voting.predict(X), expected)
    assert voting.score(X, TARGET) > 0.5


def test_permutation_importance_points_at_the_columns_that_matter():
    fitted = model().fit(TABLE, TARGET)
    importances = permutation_importance(
        fitted, TABLE, TARGET, n_repeats=3, random_state=0
    ).importances_mean
    assert importances[-2:].min() > 0.3
    assert np.abs(importances[:-2]).max() < 0.1


def test_partial_dependence_is_the_slope_of_the_target():
    fitted = model().fit(TABLE, TARGET)
    rises = []
    for column in (0, 7):
        result = partial_dependence(fitted, TABLE, [column], grid_resolution=5)
        (grid,), (average,) = result["grid_values"], result["average"]
        assert average.shape == (5,)
        rises.append((average[-1] - average[0]) / (grid[-1] - grid[0]))
    np.testing.assert_allclose(rises, [0, 1], atol=0.3)


LISTED = [np.random.default_rng(n).normal(size=(n % 7 + 2, 2)) for n in range(N_SAMPLES)]
AT_END = np.array([x[-1].sum() for x in LISTED])
AT_STEPS = [x.sum(axis=1) for x in LISTED]


def objects(arrays):
    container = np.empty(len(arrays), dtype=object)
    container[:] = arrays
    return container


@pytest.fixture(params=["one target", "a target a step"])
def unequal(request):
    """A model, and targets for `LISTED`."""
    many = request.param == "a target a step"
    return model(return_sequences=many), AT_STEPS if many else AT_END


def test_grid_search_works_on_sequences_of_unequal_length(unequal):
    regressor, y = unequal
    pipeline = make_pipeline(FunctionTransformer(), regressor)
    grid = {"stackedlstmregressor__n_layers": [1, 2]}
    searches = [
        GridSearchCV(clone(pipeline), grid, cv=2, n_jobs=n_jobs).fit(LISTED, y) for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*(s.cv_results_["mean_test_score"] for s in searches))
    assert all(map(np.array_equal, *(search.predict(LISTED) for search in searches)))
    assert searches[0].cv_results_["mean_test_score"].min() > 0.5


def test_cross_val_score_works_on_sequences_of_unequal_length(unequal):
    regressor, y = unequal
    scores = cross_val_score(regressor, LISTED, y, cv=KFold(2), n_jobs=2)
    expected = [
        clone(regressor)
        .fit([LISTED[i] for i in train], [y[i] for i in train])
        .score([LISTED[i] for i in test], [y[i] for i in test])
        for train, test in KFold(2).split(LISTED)
    ]
    assert scores.tolist() == expected
    assert scores.min() > 0.5


def test_cross_val_predict_works_on_object_arrays_of_sequences(unequal):
    regressor, y = unequal
    y = y if isinstance(y, np.ndarray) else objects(y)
    predictions = cross_val_predict(regressor, objects(LISTED), y, cv=KFold(2), n_jobs=2)
    first = clone(regressor).fit(LISTED[60:], y[60:]).predict(LISTED[:60])
    assert all(map(np.array_equal, predictions[:60], first))


@pytest.fixture
def metadata_routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def spoilt_targets():
    """Targets of which the odd ones are wrong, and weights that leave those out."""
    targets = TARGET.copy()
    targets[1::2] = -10 * targets[1::2] + 50
    return targets, np.tile([1.0, 0.0], N_SAMPLES // 2)


@either_form
@pytest.mark.usefixtures("metadata_routing")
def test_sample_weight_is_routed_through_a_pipeline(X, spoilt_targets):
    targets, weight = spoilt_targets
    regressor = model().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    pipeline = make_pipeline(FunctionTransformer(), regressor)
    pipeline.fit(X, targets, sample_weight=weight)
    expected = model().fit(X[::2], targets[::2]).predict(X)
    np.testing.assert_allclose(pipeline.predict(X), expected, atol=1e-5)
    assert pipeline.score(X, targets, sample_weight=weight) > 0.5
    assert r2_score(TARGET, pipeline.predict(X)) > 0.5


@either_form
@pytest.mark.usefixtures("metadata_routing")
def test_sample_weight_is_routed_through_a_grid_search_to_fit_and_score(X, spoilt_targets):
    targets, weight = spoilt_targets
    regressor = model().set_fit_request(sample_weight=True)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), regressor),
        {"stackedlstmregressor__n_layers": [1, 2]},
        scoring=get_scorer("r2").set_score_request(sample_weight=True),
        cv=2,
    ).fit(X, targets, sample_weight=weight)
    assert search.cv_results_["mean_test_score"].min() > 0.5
    assert r2_score(TARGET, search.predict(X)) > 0.5


@pytest.mark.usefixtures("metadata_routing")
def test_sample_weight_that_nobody_requested_is_refused():
    pipeline = make_pipeline(FunctionTransformer(), model())
    with pytest.raises(ValueError, match=r"sample_weight.* not explicitly set as requested"):
        pipeline.fit(TABLE, TARGET, sample_weight=np.ones(N_SAMPLES))


def test_window_length_and_depth_are_tuned_together_on_a_time_series():
    table = np.random.default_rng(1).normal(size=(160, 2))
    target = table[:, 0] + np.roll(table[:, 1], 2)
    pipeline = make_pipeline(LagWindows(), model(batch_size="auto"))
    grid = {"lagwindows__length": [1, 4], "stackedlstmregressor__n_layers": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=TimeSeriesSplit(2)).fit(table[2:], target[2:])
    scores = search.cv_results_["mean_test_score"].reshape(2, 2)
    assert scores[0].max() < 0.6 < scores[1].min()
    assert search.best_params_["lagwindows__length"] == 4
    assert search.predict(table[2:]).shape == (158,)
    assert (
        len(search.best_estimator_[-1].module_.layers)
        == (search.best_params_["stackedlstmregressor__n_layers"])
    )


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_data_frames_between_the_steps_of_a_pipeline_change_no_bit(output):
    pipeline = make_pipeline(StandardScaler(), LagWindows(3), model())
    expected = clone(pipeline).fit(TABLE, TARGET).predict(TABLE)
    with config_context(transform_output=output):
        predictions = pipeline.fit(TABLE, TARGET).predict(TABLE)
    np.testing.assert_array_equal(predictions, expected)
    assert pipeline[1].feature_names_in_.tolist() == [f"x{i}" for i in range(8)]


@pytest.mark.usefixtures("metadata_routing")
def test_sample_weight_is_routed_to_sequences_of_unequal_length(unequal):
    regressor, y = unequal
    weight = np.tile([1.0, 0.0], N_SAMPLES // 2)
    y = [10 - 5 * row if i % 2 else row for i, row in enumerate(y)]
    regressor.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    pipeline = make_pipeline(FunctionTransformer(), regressor)
    pipeline.set_score_request(sample_weight=True)  # scikit-learn 1.6 asks the pipeline too
    search = GridSearchCV(pipeline, {"stackedlstmregressor__n_layers": [1, 2]}, cv=2, n_jobs=2).fit(
        LISTED, y, sample_weight=weight
    )
    assert search.cv_results_["mean_test_score"].min() > 0.5
    kept = slice(None, None, 2)
    expected = clone(search.best_estimator_).fit(LISTED[kept], y[kept]).predict(LISTED)
    for own, other in zip(search.predict(LISTED), expected, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
