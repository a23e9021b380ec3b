import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.metrics import get_scorer, make_scorer, max_error, mean_absolute_error
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import StackedLSTMRegressor, step_scorer

RNG = np.random.default_rng(0)
LISTED = [RNG.normal(size=(span, 2)) for span in [5, 3, 7, 2, 7, 4, 2, 6]]
STEPS = [np.cumsum(x[:, 0]) for x in LISTED]
MODEL = StackedLSTMRegressor(1, 4, return_sequences=True, max_epochs=1, random_state=0)
WORK_ON_ARRAYS = [
    "explained_variance",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_squared_error",
    "neg_median_absolute_error",
    "neg_root_mean_squared_error",
    "r2",
]


@pytest.mark.parametrize("scoring", [*WORK_ON_ARRAYS, "neg_max_error", make_scorer(max_error)])
def test_steps_of_all_sequences_are_scored_as_one(scoring):
    model = MODEL.fit(LISTED, STEPS)

    class Joined(DummyRegressor):
        def predict(self, X):
            return np.concatenate(model.predict(X))

    expected = get_scorer(scoring)(Joined(), LISTED, np.concatenate(STEPS))
    assert step_scorer(scoring)(model, LISTED, STEPS) == expected


@pytest.mark.parametrize("scoring", WORK_ON_ARRAYS)
def test_scikit_learn_s_own_scorers_take_arrays_of_labelled_steps(scoring):
    X = RNG.normal(size=(20, 5, 2))
    assert np.isfinite(cross_val_score(MODEL, X, X[:, :, 0], scoring=scoring, cv=2)).all()


def test_unlabelled_steps_are_left_out_and_outputs_averaged():
    y = [np.stack([row, 2 * row], axis=1) for row in STEPS]
    y[0][:2, 1] = np.nan
    model = MODEL.fit(LISTED, y)
    truth, prediction = np.concatenate(y), np.concatenate(model.predict(LISTED))
    errors = [
        mean_absolute_error(truth[:, 0], prediction[:, 0]),
        mean_absolute_error(truth[2:, 1], prediction[2:, 1]),
    ]
    score = step_scorer("neg_mean_absolute_error")(model, LISTED, y)
    assert score == pytest.approx(-np.mean(errors))


def test_r2_is_that_of_score_with_weights_too():
    model = MODEL.fit(LISTED, STEPS)
    weight = np.arange(1.0, 9.0)
    scorer = step_scorer("r2")
    assert scorer(model, LISTED, STEPS) == model.score(LISTED, STEPS)
    weighted = scorer(model, LISTED, STEPS, sample_weight=weight)
    assert weighted == model.score(LISTED, STEPS, sample_weight=weight)


def test_searches_and_pipelines_take_it():
    model = make_pipeline(FunctionTransformer(), MODEL)
    scoring = {name: step_scorer(name) for name in ("r2", "neg_max_error")}
    grid = {"stackedlstmregressor__n_layers": [1, 2]}
    search = GridSearchCV(model, grid, scoring=scoring, refit="r2", cv=2, n_jobs=2)
    search.fit(LISTED, STEPS)
    assert np.isfinite(search.cv_results_["mean_test_neg_max_error"]).all()


def test_it_can_be_pickled_and_read():
    scorer = pickle.loads(pickle.dumps(step_scorer("r2")))
    assert scorer(MODEL.fit(LISTED, STEPS), LISTED, STEPS) == MODEL.score(LISTED, STEPS)
    assert repr(scorer) == "StepScorer(scoring='r2')"


def test_weights_are_routed_to_it():
    weight = np.arange(1.0, 9.0)
    with config_context(enable_metadata_routing=True):
        scoring = step_scorer("r2").set_score_request(sample_weight=True)
        model = clone(MODEL).set_fit_request(sample_weight=False)
        params = {"sample_weight": weight}
        scores = cross_val_score(model, LISTED, STEPS, scoring=scoring, cv=2, params=params)
        plain = cross_val_score(model, LISTED, STEPS, scoring=step_scorer("r2"), cv=2, params={})
    first = clone(MODEL).fit(LISTED[4:], STEPS[4:])
    assert scores[0] == first.score(LISTED[:4], STEPS[:4], sample_weight=weight[:4])
    assert plain[0] == first.score(LISTED[:4], STEPS[:4])


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="r3"):
        step_scorer("r3")
    with pytest.raises(ValueError, match="metric function rather than a scorer"):
        step_scorer(mean_absolute_error)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([row[:1] for row in STEPS], "y has 1 steps at sample 0, the prediction has 5"),
        ([np.stack([row, row], axis=1) for row in STEPS], "y has 2 outputs.*prediction has 1"),
        (STEPS[:7], "inconsistent numbers of samples"),
        (np.zeros(8), r"target at each step.* y has \(8,\)"),
    ],
)
def test_predictions_that_are_not_one_for_each_label_are_refused(y, message):
    model = MODEL.fit(LISTED, STEPS)
    with pytest.raises(ValueError, match=message):
        step_scorer("r2")(model, LISTED, y)


def test_a_label_at_a_missing_step_is_refused():
    X = RNG.normal(size=(8, 5, 2))
    model = MODEL.fit(X, X[:, :, 0])
    gap = X.copy()
    gap[3, :2] = np.nan
    with pytest.raises(ValueError, match="y has a label at sample 3 where the prediction is NaN"):
        step_scorer("r2")(model, gap, X[:, :, 0])


def test_several_quantiles_are_refused():
    X = RNG.normal(size=(8, 5, 2))
    model = clone(MODEL).set_params(loss="quantile", quantile=(0.1, 0.9))
    for y in (X[:, :, 0], X):
        with pytest.raises(ValueError, match="the prediction"):
            step_scorer("r2")(model.fit(X, y), X, y)
