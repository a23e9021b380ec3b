import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import check_random_state

from sklstm import (
    DepthSearchCV,
    StackedLSTMRegressor,
    compare_depths,
)
from sklstm.pipelines import final_step
from sklstm.race import better_half, rounds
from sklstm.training import auto


def small(**params):
    return StackedLSTMRegressor(**{"units": 4, "max_epochs": 5, "random_state": 0, **params})


def scores(search):
    return search.cv_results_["mean_test_score"]


# what it does in a fold


def test_all_depths_race_in_a_third_of_the_folds_and_the_better_half_in_another(sequences):
    X, y = sequences
    table = Table({1: [0, 1], 2: [5, 6], 3: [3, 4], 4: [7, 8], 5: [2, 3]})
    X = np.repeat([-1.0, 1.0], 30)[:, None, None] * np.ones((1, 3, 1))
    search = DepthSearchCV(small(max_epochs=0), (1, 2, 3, 4, 5), cv=KFold(6), scoring=table)
    results = search.fit(X, y).cv_results_
    run = ~np.isnan([results[f"split{fold}_test_score"] for fold in range(6)])
    everyone, better, no_one = [1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]
    assert run.astype(int).tolist() == [no_one, no_one, better, everyone, everyone, better]
    assert results["n_folds"].tolist() == [4, 4, 4, 4, 2]
    assert results["rank_test_score"].tolist() == [4, 2, 3, 1, 5]
    assert search.best_depth_ == 4


@pytest.mark.parametrize(
    ("n_folds", "expected"),
    [
        (1, ([0], [])),
        (2, ([1], [0])),
        (3, ([1], [2])),
        (4, ([2, 3], [1])),
        (5, ([2, 3], [1])),
        (6, ([3, 4], [2, 5])),
        (10, ([5, 6, 4, 7], [3, 8, 2])),
    ],
)
def test_folds_are_taken_from_the_middle_outwards(n_folds, expected):
    assert rounds(n_folds) == expected


@pytest.mark.parametrize(
    ("scores", "left"),
    [
        ([0, 1, 2, 3], [0, 2, 3]),
        ([3, 2, 1, 0], [0, 1]),
        ([1, 2], [0, 1]),
        ([5], [0]),
        ([1, 1, 1, 1], [0, 1]),
        ([0, 1, np.nan, 3, 2, 5], [0, 3, 4, 5]),
    ],
)
def test_the_better_half_and_the_shallowest_are_left(scores, left):
    assert better_half(np.array(scores, dtype=float)[:, np.newaxis]) == left


@pytest.mark.bits
def test_scores_are_those_of_a_grid_search(sequences):
    X, y = sequences
    model = small(linear_steps=None)
    search = DepthSearchCV(model, (1, 2, 3), cv=3).fit(X, y)
    grid = GridSearchCV(model, {"n_layers": [1, 2, 3]}, cv=3).fit(X, y)
    found, expected = (
        np.array([results[f"split{fold}_test_score"] for fold in range(3)])
        for results in (search.cv_results_, grid.cv_results_)
    )
    run = ~np.isnan(found)
    assert run.sum() == 5 + (run[2].sum() == 3)
    assert np.array_equal(found[run], expected[run])


def test_means_of_depths_in_fewer_folds_can_be_compared(sequences):
    X = np.repeat([-1.0, 1.0], 30)[:, None, None] * np.ones((1, 3, 1))
    # Fold 1 of the three is half easy; 2 is easy, with scores that are higher for all.
    table = Table({1: [0, 100], 2: [5, 105], 3: [7, 107], 4: [6, 106]})
    search = DepthSearchCV(small(max_epochs=0), (1, 2, 3, 4), cv=KFold(3), scoring=table)
    results = search.fit(X, sequences[1]).cv_results_
    assert results["n_folds"].tolist() == [2, 1, 2, 2]
    assert results["mean_difference"].tolist() == [0, 5, 7, 6]
    assert (results["mean_test_score"] - results["mean_test_score"][0]).tolist() == [0, 5, 7, 6]


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


def test_linear_steps_are_decided_once_a_fold(sequences, monkeypatch):
    X, y = sequences
    decided = []
    decide = auto.linear_steps
    monkeypatch.setitem(
        auto.AUTO_RULES, "linear_steps", lambda decision: decided.append(1) or decide(decision)
    )
    search = DepthSearchCV(small(max_epochs=1), (1, 2, 3), cv=2, refit=False).fit(X, y)
    assert len(decided) == 2
    search.set_params(estimator__linear_steps=3, scoring=takes_steps(3)).fit(X, y)


def takes_steps(n_steps):
    def score(model, *_):
        assert model.linear_steps_ == n_steps
        return 0.0

    return score


def test_depths_of_a_pipeline_are_scored_one_by_one(sequences):
    X, y = sequences
    scaled = DepthSearchCV(small(), (1, 2, 3), cv=2, scoring="r2").fit(X / 2, y)
    pipeline = make_pipeline(FunctionTransformer(halved), small())
    whole = DepthSearchCV(pipeline, (1, 2, 3), cv=2, scoring="r2").fit(X, y)
    assert np.array_equal(scores(whole), scores(scaled))
    assert len(set(scores(whole))) == 3


def halved(X):
    return X / 2


def test_stopping_early_ends_the_fits_of_a_fold(sequences):
    X, y = sequences
    model = small(max_epochs=20, early_stopping=True, n_iter_no_change=1, lr=1e-30)
    search = DepthSearchCV(model, (1, 2), cv=2, refit=False).fit(X, y)
    assert search.cv_results_["mean_fit_epochs"].tolist() == [2, 2]


def two_stages(n, seed=0):
    """Draw a sum that marks reset: its highest value."""
    rng = np.random.default_rng(seed)
    values, marks = rng.normal(size=(n, 16)), rng.random((n, 16)) < 0.2
    total, highest = np.zeros(n), np.full(n, -np.inf)
    for value, mark in zip(values.T, marks.T, strict=True):
        total = np.where(mark, 0, total) + value
        highest = np.maximum(highest, total)
    return np.stack([values, marks], axis=-1), highest


def test_where_depth_matters_it_is_found():
    X, y = two_stages(300)
    model = StackedLSTMRegressor(units=16, linear_steps=None, random_state=0)
    search = DepthSearchCV(model, (1, 2), cv=3, select="one_standard_error").fit(X, y)
    assert search.best_depth_ == 2
    assert compare_depths(search).verdict().endswith("deeper is better.")
    # It is right: one layer, trained in full, is worse on other data.
    other, labels = two_stages(1000, seed=1)
    shallow = clone(model).set_params(n_layers=1).fit(X, y)
    assert 1 - search.score(other, labels) < 0.9 * (1 - shallow.score(other, labels))


def test_repeats_are_fits_from_other_weights_and_are_averaged(sequences):
    X, y = sequences
    fold = [(np.arange(40), np.arange(40, 60))]
    once = DepthSearchCV(small(), (1, 2), cv=fold, refit=False).fit(X, y)
    twice = DepthSearchCV(small(), (1, 2), cv=fold, n_repeats=2, refit=False).fit(X, y)
    second = check_random_state(0).randint(np.iinfo(np.int32).max, size=1)[0]
    other = DepthSearchCV(small(random_state=int(second)), (1, 2), cv=fold, refit=False).fit(X, y)
    assert np.array_equal(scores(twice), (scores(once) + scores(other)) / 2)
    assert len(set(scores(once)) | set(scores(other))) == 4
    assert twice.n_splits_ == 1


def test_repeats_of_a_drawn_seed_differ(sequences):
    X, y = sequences
    generator = np.random.RandomState(0)
    search = DepthSearchCV(small(random_state=generator), (1,), cv=2, n_repeats=3).fit(X, y)
    assert np.isfinite(scores(search)).all()
    assert generator.randint(100) == np.random.RandomState(0).randint(100)


# what it leaves


def test_results_have_the_columns_of_a_grid_search(sequences):
    X, y = sequences
    search = DepthSearchCV(small(), (1, 2), cv=3).fit(X, y)
    grid = GridSearchCV(small(), {"n_layers": [1, 2]}, cv=3).fit(X, y)
    assert set(search.cv_results_) - set(grid.cv_results_) == {
        "mean_difference",
        "standard_error_difference",
        "n_folds",
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
    results = DepthSearchCV(small(), (1, 2), cv=6).fit(X, y).cv_results_
    folds = np.array([results[f"split{fold}_test_score"] for fold in (2, 3, 4, 5)])
    assert results["mean_test_score"] == pytest.approx(folds.mean(axis=0))
    assert results["std_test_score"] == pytest.approx(folds.std(axis=0))
    assert np.array_equal(np.argsort(-folds.mean(axis=0)), np.argsort(results["rank_test_score"]))
    assert results["mean_difference"] == pytest.approx((folds - folds[:, :1]).mean(axis=0))
    errors = (folds - folds[:, :1]).std(axis=0, ddof=1) / np.sqrt(4)
    assert results["standard_error_difference"] == pytest.approx(errors)


@pytest.mark.bits
def test_the_best_depth_is_fitted_to_all_data_from_scratch(sequences):
    X, y = sequences
    search = DepthSearchCV(small(warm_start=True), (1, 2), cv=3, scoring=Deeper()).fit(X, y)
    model = small(n_layers=2).fit(X, y)
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
    search.set_params(error_score="raise")
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


def test_the_rule_chooses_the_depth():
    X, y = np.repeat([-1.0, 1.0], 30)[:, None, None] * np.ones((1, 3, 1)), np.arange(60.0)
    table = Table({1: (4, 4), 2: (4.5, 3.9), 3: (3, 3)})
    search = DepthSearchCV(small(max_epochs=0), (1, 2, 3), cv=KFold(6), scoring=table, refit=False)
    assert search.fit(X, y).best_depth_ == 2
    assert search.best_score_ == pytest.approx(4.05)
    search.set_params(select="one_standard_error").fit(X, y)
    assert search.best_depth_ == 1
    assert search.best_score_ == 4


def test_an_undefined_score_ranks_last():
    X, y = np.repeat([-1.0, 1.0], 10)[:, None, None] * np.ones((1, 3, 1)), np.arange(20.0)
    table = Table({1: (np.nan, 1), 2: (3, 3), 3: (4, 4)})
    search = DepthSearchCV(small(max_epochs=1), (1, 2, 3), cv=KFold(2), scoring=table, refit=False)
    with pytest.warns(UserWarning, match="not finite"):
        search.fit(X, y)
    assert search.cv_results_["rank_test_score"].tolist() == [3, 2, 1]


@pytest.mark.parametrize("score", [None, {"r2": 1.0}, [1.0]])
def test_a_score_that_is_no_number_is_named(score, sequences):
    search = DepthSearchCV(small(max_epochs=0), scoring=lambda m, X, y: score, error_score="raise")
    with pytest.raises(ValueError, match="scoring must return one number"):
        search.fit(*sequences)


class FailsAt:
    """Scores the training rows of a fold, but fails in folds whose first row is one of some."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, estimator, X, y):
        if y[0] in self.rows:
            raise RuntimeError("no score here")
        return float(y[0])


def test_a_fit_that_fails_has_the_error_score(sequences):
    X, _ = sequences
    y = np.arange(60.0)
    search = DepthSearchCV(small(max_epochs=0), (1, 2), cv=KFold(3), refit=False, error_score=-7.0)
    search.set_params(scoring=FailsAt([40]))
    with pytest.warns(FitFailedWarning, match=r"2 of the 4 fits failed(.|\n)*no score here"):
        search.fit(X, y)
    assert search.cv_results_["split1_test_score"].tolist() == [20, 20]
    assert search.cv_results_["split2_test_score"].tolist() == [-7, -7]
    assert search.cv_results_["n_parameters"].min() > 0

    search.set_params(error_score="raise")
    with pytest.raises(RuntimeError, match="no score here"):
        search.fit(X, y)


def test_a_depth_that_fails_ranks_last(sequences):
    class FailsDeep:
        def __call__(self, estimator, X, y):
            if estimator.n_layers == 2:
                raise RuntimeError("too deep")
            return float(estimator.n_layers)

    search = DepthSearchCV(small(max_epochs=0), (1, 2, 3), cv=3, scoring=FailsDeep(), refit=False)
    with (
        pytest.warns(FitFailedWarning, match="1 of the 5 fits"),
        pytest.warns(UserWarning, match="not finite"),
    ):
        search.fit(*sequences)
    assert search.best_depth_ == 3
    assert search.cv_results_["rank_test_score"].tolist() == [2, 3, 1]


class UnsendableError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one, other):
        super().__init__(f"{one}, {other}")


def fails_deep(estimator, *_):
    if estimator.n_layers == 2:
        raise UnsendableError("too", "deep")
    return 0.0


def test_errors_come_back_from_other_processes(sequences):
    search = DepthSearchCV(small(max_epochs=0), (1, 2), cv=2, scoring=fails_deep, n_jobs=2)
    with (
        pytest.warns(FitFailedWarning, match=r"in fails_deep(.|\n)*too, deep"),
        pytest.warns(UserWarning, match="not finite"),
    ):
        assert search.fit(*sequences).best_depth_ == 1


def test_the_linear_shortcut_stays_where_the_shallowest_depth_fails(sequences):
    steps = set()

    def score(model, X, y):
        steps.add(model.linear_steps_)
        if model.n_layers == 1:
            raise RuntimeError("too shallow")
        return model.score(X, y)

    search = DepthSearchCV(small(max_epochs=1), (1, 2, 3), cv=3, scoring=score, refit=False)
    with (
        pytest.warns(FitFailedWarning, match="2 of the 6 fits"),
        pytest.warns(UserWarning, match="not finite"),
    ):
        search.fit(*sequences)
    grid = small(max_epochs=1).fit(*sequences)
    assert steps == {grid.linear_steps_}
    assert grid.linear_steps_ > 0
    assert search.best_depth_ in (2, 3)


def test_a_score_may_be_an_array_without_dimensions(sequences):
    search = DepthSearchCV(small(max_epochs=0), (1,), cv=2, scoring=lambda m, X, y: np.array(0.5))
    assert search.fit(*sequences).best_score_ == 0.5


def test_an_infinite_error_score_is_no_difference(sequences):
    search = DepthSearchCV(
        small(max_epochs=0), (1, 2), cv=2, scoring=fails_deep, error_score=-np.inf, refit=False
    )
    with (
        pytest.warns(FitFailedWarning),
        pytest.warns(UserWarning, match="not finite"),
    ):
        search.fit(*sequences)
    assert search.cv_results_["rank_test_score"].tolist() == [1, 2]
    assert np.isnan(search.cv_results_["mean_difference"][1])


def test_when_all_folds_fail_the_search_does(sequences):
    X, _ = sequences
    search = DepthSearchCV(small(max_epochs=0), (1,), cv=2, scoring=FailsAt([0, 30]))
    with pytest.raises(RuntimeError, match="no score here") as caught:
        search.fit(X, np.arange(60.0))
    assert "in __call__" in str(caught.value.__cause__)  # the line of the scorer


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
        ({"checkpoint": "fit"}, r"checkpoint='fit'.*one file"),
        ({"units": (8, 4)}, r"units=\(8, 4\).*one number"),
        ({"dropout": (0.1, 0.2)}, r"dropout=\(0.1, 0.2\).*one number"),
    ],
)
def test_estimators_whose_depth_is_not_free_are_refused(params, message, sequences):
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
        ("n_repeats", 0),
        ("error_score", "warn"),
        ("cv", "five"),
        ("estimator", 3),
    ],
)
def test_bad_parameters_are_named(name, value, sequences):
    search = DepthSearchCV(small()).set_params(**{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        search.fit(*sequences)


def test_plain_stacks_are_searched(sequences):
    assert DepthSearchCV(small(skip=None), (1, 2), cv=2).fit(*sequences).best_depth_ in (1, 2)


def test_a_splitter_without_splits_is_named(sequences):
    with pytest.raises(ValueError, match=r"cv=.*no split"):
        DepthSearchCV(small(), cv=[]).fit(*sequences)
