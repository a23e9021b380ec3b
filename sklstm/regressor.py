"""The estimator: parameters, fit, partial_fit, predict, score."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ._compat import (
    CallbackSupportMixin,
    Hidden,
    Interval,
    RealNotInt,
    StrOptions,
    fit_context,
    has_callbacks,
    with_callbacks,
)
from .data.array_likes import is_frame, numbers_of_frame
from .data.drift import warn_if_far
from .data.inputs import InputForm, read_inputs
from .data.padding import warn_of_padding
from .data.sequences import Sequences
from .data.targets import TargetForm, drop_unused, mean_score, read_targets
from .fit_tasks import FitTask
from .keras_words import LossNames, advice, refuse_keras_words, warn_of_units_as_layers
from .nn.pooling import POOLINGS
from .nn.stack import StackedLSTM
from .training.auto import plan_epoch, plan_fit
from .training.batches import SequenceDataset
from .training.callbacks import EpochTasks
from .training.checkpoint import Checkpoint
from .training.losses import LOSSES
from .training.net import StackedLSTMNet, make_net, start_net
from .training.plan import LR_SCHEDULES, OPTIMIZERS, FitPlan
from .training.runtime import PRECISIONS, own_torch
from .training.user_callbacks import check_callbacks, copied, naming_missing_loss
from .training.warm_start import continue_net

LARGEST_INT64 = int(np.iinfo(np.int64).max)  # torch and the progress bar count in 64 bits
# Parameters that are not in a plan: they do not decide what a fit computes, or do so by the data
# (n_timesteps), the start (warm_start) or the seed (random_state), which a checkpoint has instead.
NOT_IN_A_FIT = ("n_timesteps", "warm_start", "checkpoint", "callbacks", "random_state", "verbose")


class StackedLSTMRegressor(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """Stacked LSTM regressor.

    A sequence of any length passes through `n_layers` LSTM layers [1]_. Each layer passes its whole
    output sequence to the next one [2]_. The outputs of the top layer are pooled into one vector
    (see `pooling`), or with `return_sequences` kept at each step, and pass through a Dense head. A
    linear shortcut may be added (see `linear_steps`). The model is a :class:`StackedLSTM`, trained
    with a skorch net.

    Read more in the :ref:`User Guide <user_guide>`.

    The parameters are in four groups, *Network*, *Target and loss*, *Training* and *Running*: the
    name of a group stands at its first parameter.

    Parameters
    ----------
    n_layers : int or "auto", default="auto"
        *Network.* Number of stacked LSTM layers. "auto" is the number of values in `units`, or
        else in `dropout`; 2 where both are one number for all layers. Note the order:
        ``StackedLSTMRegressor(3)`` has three layers, while Keras' ``LSTM(50)`` is one layer of
        50 units, ``n_layers=1, units=50``.

    units : int or sequence of int, default=64
        Memory cells in each layer, or one number for each layer, bottom first.

    dropout : float or sequence of float, default=0.0
        Dropout rate in [0, 1) for the output of each layer, the top one included, or one rate
        for each layer, bottom first. Skip connections have no dropout.

    bidirectional : bool, default=False
        Whether every layer reads its sequence in both directions and concatenates the two
        outputs. The second direction starts at the last step of each sequence.

    skip : {"residual"} or None, default="residual"
        Skip connection around each layer above the first. "residual" adds the input of a layer
        to its output [7]_: stacks of any depth can then be trained, and they can grow (see
        `warm_start`). `None` is the plain stack of the textbooks.

    pooling : {"last", "mean", "max", "concat"}, default="concat"
        How the outputs of the top layer become one vector: the final one, their mean or
        maximum over the steps of the sequence, or these three concatenated [4]_. Not used with
        `return_sequences`.

    head_units : sequence of int, default=()
        Sizes of hidden Dense layers (ReLU) between the top LSTM layer and the linear output.

    linear_steps : int, "auto" or None, default="auto"
        Number of last time steps used by a linear shortcut: a ridge regression from these steps
        to the target, to whose output the stack adds a correction. Unlike LSTM layers, it
        follows a series that leaves the range of the training data, up to ten standard
        deviations. Each output is fitted to the samples in which it has a label; with fewer than
        two of them its shortcut is zero. `None` is no shortcut. "auto" is all steps, or as many
        last ones as are at most 512 numbers (with `return_sequences` each step alone), or no
        shortcut, by the first of these rules that applies:

        - A warm start, or `partial_fit` of a fitted model, keeps the shortcut of the first fit. A
          model that begins with `partial_fit` has none.
        - More than 512 features, or fewer than two labels: no shortcut.
        - Fewer than 200 samples, and more labels than numbers that a shortcut would read: a
          shortcut if `loss` is "squared_error", none for the other losses, as ridge regression is
          less robust than they are.
        - A trial: the stack alone is trained on the first 80 % of the samples, for a quarter of
          the epochs of ``max_epochs="auto"``, or for all of them if there are fewer than 200
          samples. If it predicts the last 20 % better than a shortcut alone, or if a target has no
          label in the first 80 %, there is none.

        Samples that `early_stopping` holds out are not used for this.

    return_sequences : bool, default=False
        Whether there is a target at each time step (many-to-many) instead of one for each
        sequence. The Dense head is the same at each step.

    n_timesteps : int, default=None
        For 2-D X only: read each row as this many steps, all features of the first step first.
        `None` reads a row as a univariate sequence, one step for each column.

    standardize : bool, default=True
        *Target and loss.* Whether to centre and scale each feature and each target inside the
        model, by mean and standard deviation; outliers of a feature do not count. For all losses
        but "squared_error", targets are centred by the median and scaled by the interquartile range
        over 1.349, its value for a standard normal distribution: a few large targets do not move
        them. The steps of a sequence share the mean and the scale of a feature.
        Columns of 2-D X share them as well, unless one of the columns varies by less than a
        quarter of the shared scale: then each column has its own.

    loss : {"squared_error", "absolute_error", "huber", "quantile"}, default="squared_error"
        Loss to minimize, on the scaled target. "huber" is quadratic up to 1, which is one
        standard deviation of a normally distributed target, and linear beyond. "quantile" is the
        pinball loss [5]_ of `quantile`. All but "squared_error" are robust to large targets.

    quantile : float or sequence of float, default=0.5
        With ``loss="quantile"``, the quantile to predict, in (0, 1). Several, in rising order,
        give predictions a last axis with one column for each quantile. The model sorts the
        columns, so they never cross [6]_.

    lr : float or "auto", default="auto"
        *Training.* Learning rate; with ``lr_schedule="one_cycle"`` the highest one. "auto" is
        0.01 for 4,000 samples or more, and in `partial_fit`. Fewer samples make fewer steps, so
        their rate is higher: 0.01 times the root of 4,000 over their number, at most 0.03.

    batch_size : int or "auto", default="auto"
        Samples in a mini-batch. "auto" is a 32nd of the samples, at least 32 and at most 64.
        With `return_sequences`, the lower limit is as many samples as have 4,096 steps, from 4
        to 32.

    max_epochs : int or "auto", default="auto"
        Passes over the data; 0 builds the model without training it. "auto" makes about 1,700
        steps of the optimizer, in at least 10 and at most 28 epochs. With `return_sequences` the
        upper limit is 28 times the whole 64s in the mean length of the sequences, from 28 to 112.

    optimizer : {"adam", "adamw", "sgd", "rmsprop"} or torch.optim.Optimizer subclass, \
            default="adamw"
        Optimizer. A class must take `lr` and `weight_decay`. "adamw" is "adam" with decoupled
        weight decay.

    weight_decay : float or "auto", default="auto"
        Weight decay of the optimizer. "auto" is 0.08 for "adamw", which decouples it from the
        gradients, and 0 for any other.

    clip_norm : float or None, default=1.0
        Gradients whose Euclidean norm over all weights is larger are scaled down to it. `None`
        never clips.

    lr_schedule : {"one_cycle", "constant"}, default="one_cycle"
        "one_cycle" raises the learning rate to `lr` over the first 30 % of the steps and lowers
        it to 30 % of that over the rest [3]_. The model then gets an exponential average of the
        weights over about the last 20 % of the steps [8]_; with `early_stopping`, that average at
        the best epoch.

    early_stopping : bool, default=False
        Whether to hold out the last part of the data, or to take the `validation_data` of `fit`,
        to stop when the loss on it no longer improves, and to keep the weights of the best epoch.

    validation_fraction : float or int, default=0.1
        Samples to hold out with `early_stopping`: a fraction of them in (0, 1), rounded up, or
        their number. They are the last ones: overlapping windows would leak into a random part.
        Not used if `fit` gets `validation_data`.

    n_iter_no_change : int, default=20
        Epochs without a lower validation loss after which training stops early. While the
        learning rate is high the validation loss goes up and down, so a small number stops too
        early.

    warm_start : bool, default=False
        Whether `fit` continues from the weights and statistics of the last fit, with a new
        optimizer. A first fit is as without it. A raised `n_layers` adds layers on top that do
        not change any prediction until they are trained. This needs a `skip`, and the new layers
        have the `units` of the one below. They learn less than layers of a fit from scratch,
        since the layers below leave less to explain.

    precision : {"float32", "bfloat16", "float64"}, default="float32"
        *Running.* Arithmetic of the network. "bfloat16" rounds in the layers while they train;
        weights, head and predictions are float32. It needs a processor with AVX-512 or a GPU with
        bfloat16: on any other device, `fit` raises a `ValueError`.

    device : str or torch.device, default="cpu"
        "cpu", "cuda", "auto" (CUDA if there is one) or any torch device with float64.

    checkpoint : str or os.PathLike, default=None
        File in which `fit` stores its state after each epoch. If the same fit has left one, for
        example because the process was killed, `fit` resumes from it and ends with the same bits.
        A file of other data, parameters or versions is refused. The file stays when `fit` is
        done: delete it to train afresh. Fits that run at the same time, as in a search, and later
        warm starts need files of their own. It cannot be used with `callbacks` or an optimizer
        class.

    callbacks : list of skorch callbacks, default=None
        Copies of them run beside the estimator's own and are in `net_.callbacks_`. A callback
        that scikit-learn cannot clone, such as one that holds a file, is used itself, in each fit
        and in each clone of the estimator.

    random_state : int, RandomState instance or None, default=None
        Controls initial weights, the order of the samples and dropout. Pass an int for the same
        bits in every fit. `warm_start` and `partial_fit` use the seed of the first fit, unless
        this is another int.

    verbose : int, default=0
        1 shows a progress bar, 2 skorch's table of epochs.

    Attributes
    ----------
    net_ : skorch.NeuralNetRegressor
        The trained skorch net.

    module_ : StackedLSTM
        The trained torch module. Its `state_dict` is the whole model, scaling included.

    n_features_in_ : int
        Columns of 2-D X; features at each step of every other form.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X was a DataFrame whose column names are all strings.

    n_outputs_ : int
        Number of targets; for y of shape (n_samples, horizon, n_columns),
        ``horizon * n_columns``.

    n_layers_, lr_, batch_size_, max_epochs_, linear_steps_ : int or float
        Values of the parameters in the last fit, each "auto" decided. `max_epochs_` is 1 after
        `partial_fit`; `linear_steps_` is 0 if there is no linear shortcut.

    n_iter_ : int
        Epochs that were run, in all fits that continued one another.

    best_epoch_ : int or None
        In the last fit, the epoch with the lowest loss: the validation loss with
        `early_stopping`, the training loss otherwise. It is counted from 1 over all fits that
        continued one another, as in `loss_curve_`. `None` if the last fit ran no epoch.

    loss_curve_ : list of float
        Training loss of each epoch, on the standardized target.

    validation_loss_curve_ : list of float
        Validation loss of each epoch that had one.

    history_ : skorch.history.History
        All that skorch recorded, one row for each epoch.

    n_parameters_ : int
        Number of trained weights.

    See Also
    --------
    StackedLSTM : The torch module.
    LagWindows : From the table of a series to windows.
    sklearn.neural_network.MLPRegressor : A network for tables.

    Notes
    -----
    On one machine, equal seeds give equal bits. In float32 on a CPU, the prediction for a sample
    does not depend on the samples predicted with it, to the last bit. A diverged epoch stays in
    `history_` and counts in `n_iter_`; an interrupted one does not.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation
       9(8), 1997.
    .. [2] A. Graves, A.-r. Mohamed and G. Hinton, "Speech recognition with deep recurrent
       neural networks", ICASSP 2013.
    .. [3] L. N. Smith and N. Topin, "Super-convergence: very fast training of neural
       networks using large learning rates", arXiv:1708.07120, 2018.
    .. [4] J. Howard and S. Ruder, "Universal language model fine-tuning for text
       classification", ACL 2018.
    .. [5] R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46(1), 1978.
    .. [6] V. Chernozhukov, I. Fernández-Val and A. Galichon, "Quantile and probability
       curves without crossing", Econometrica 78(3), 2010.
    .. [7] Y. Wu et al., "Google's neural machine translation system", arXiv:1609.08144,
       2016.
    .. [8] B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by
       averaging", SIAM Journal on Control and Optimization 30(4), 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 10, 1))
    >>> y = X[:, -3:, 0].sum(axis=1)
    >>> model = StackedLSTMRegressor(n_layers=2, units=16, random_state=0)
    >>> model.fit(X[:400], y[:400]).score(X[400:], y[400:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        # Network
        "n_layers": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "bidirectional": ["boolean"],
        "skip": [StrOptions({"residual"}), None],
        "pooling": [StrOptions(set(POOLINGS))],
        "head_units": ["array-like"],
        "linear_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "return_sequences": ["boolean"],
        "n_timesteps": [Interval(Integral, 1, None, closed="left"), None],
        # Target and loss
        "standardize": ["boolean"],
        "loss": [LossNames(set(LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        # Training
        "lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 0, LARGEST_INT64, closed="both"), StrOptions({"auto"})],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "lr_schedule": [StrOptions(set(LR_SCHEDULES))],
        "early_stopping": ["boolean"],
        "validation_fraction": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Hidden(np.floating),  # which RealNotInt leaves out, but for float64
            Interval(Integral, 1, None, closed="left"),
        ],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        # Running
        "precision": [StrOptions(set(PRECISIONS))],
        "device": [str, torch.device],
        "checkpoint": [str, os.PathLike, None],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @warn_of_units_as_layers
    @refuse_keras_words
    def __init__(
        self,
        # Network
        n_layers: int | str = "auto",
        units: int | Sequence[int] = 64,
        dropout: float | Sequence[float] = 0.0,
        *,
        bidirectional: bool = False,
        skip: str | None = "residual",
        pooling: str = "concat",
        head_units: Sequence[int] = (),
        linear_steps: int | str | None = "auto",
        return_sequences: bool = False,
        n_timesteps: int | None = None,
        # Target and loss
        standardize: bool = True,
        loss: str = "squared_error",
        quantile: float | Sequence[float] = 0.5,
        # Training
        lr: float | str = "auto",
        batch_size: int | str = "auto",
        max_epochs: int | str = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        weight_decay: float | str = "auto",
        clip_norm: float | None = 1.0,
        lr_schedule: str = "one_cycle",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        warm_start: bool = False,
        # Running
        precision: str = "float32",
        device: str | torch.device = "cpu",
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_layers = n_layers
        self.units = units
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.skip = skip
        self.pooling = pooling
        self.head_units = head_units
        self.linear_steps = linear_steps
        self.return_sequences = return_sequences
        self.n_timesteps = n_timesteps
        self.standardize = standardize
        self.loss = loss
        self.quantile = quantile
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    _plan: FitPlan
    _X_form: InputForm
    _y_form: TargetForm

    @refuse_keras_words
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        validation_data: Sequence[Any] | None = None,
    ) -> StackedLSTMRegressor:
        """Fit the model.

        A fit that fails leaves the estimator as it was. A `KeyboardInterrupt` ends training with
        a warning and the weights of the best epoch so far. Before training, while
        ``linear_steps="auto"`` is decided, it is raised and leaves the estimator as it was.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_timesteps, n_features) or \
                (n_samples, n_columns), or list of array-like of shape \
                (n_timesteps, n_features) or (n_timesteps,), or PackedSequence
            Sequences. Those of a list may differ in length. In 3-D X and in a list,
            steps at either end of a sequence are missing if all their features are NaN.
            See `n_timesteps` for how the rows of 2-D X are read.

        y : array-like of shape (n_samples,), (n_samples, n_outputs) or \
                (n_samples, horizon, n_columns)
            Targets; NaN is a missing label. With `return_sequences`, of shape
            (n_samples, n_timesteps) or (n_samples, n_timesteps, n_outputs), or a list
            of arrays of shape (n_timesteps,) or (n_timesteps, n_outputs), or a
            PackedSequence of them.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the loss and in the statistics; only their ratios matter. With
            `return_sequences`, each label of a sequence has the weight of the sequence. Samples
            of weight zero and samples without a label are left out.

        validation_data : tuple (X, y) or (X, y, sample_weight), default=None
            Samples on which the validation loss is measured after each epoch, in the forms of X,
            y and `sample_weight`. Nothing is learnt from them, no scaling either. With
            `early_stopping` they replace the held-out part, and the model is trained on all of X
            and y; without it, their loss is only recorded. Steps of a pipeline and transformers
            of targets do not transform them: pass them as they reach this `fit`.

        Returns
        -------
        StackedLSTMRegressor
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If X, y, `sample_weight`, `validation_data` or a parameter is not as described, if
            callbacks do not go with the other parameters, if the loss is not finite before an
            epoch is finished, or if `checkpoint` is of another fit.
        OSError
            If `checkpoint` cannot be written. Once training has begun that is a warning.
        """
        with _unchanged_on_error(self), own_torch():
            self._fit(X, y, sample_weight, validation_data)
        return self

    @with_callbacks
    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation_data: Sequence[Any] | None,
    ) -> None:
        start = getattr(self, "net_", None) if self.warm_start else None
        data = self._training_data(X, y, sample_weight, is_first=start is None)
        data.validation = self._validation_data(validation_data, data)
        seed, params = self._seed(start), self.get_params(deep=False)
        checkpoint = self._checkpoint(data, seed, start)
        callbacks = self._copied_callbacks(
            one_cycle=self.lr_schedule == "one_cycle",
            validates=self.early_stopping or data.validation is not None,
        )
        if checkpoint is None or checkpoint.plan is None:
            plan = plan_fit(params, data, seed, None if start is None else self._plan)
            n_epochs, state = plan.max_epochs, None
        else:
            plan, state = checkpoint.plan, checkpoint.state
            n_epochs = plan.max_epochs - checkpoint.epochs_done
        task = None
        if has_callbacks(self):
            task = FitTask(self, X, y, sample_weight, plan)
            task.begin(n_epochs)
            callbacks.append(("epoch_tasks", EpochTasks(task)))
        if checkpoint is not None:  # after all others, as it stores what they have decided
            callbacks.append(("checkpoint", checkpoint.callback(plan)))
        net = make_net(plan, data.X.n_features, data.y.n_features, callbacks, self.verbose)
        if start is not None:
            continue_net(net, start)
        elif state is None:
            start_net(net, data)
        with naming_missing_loss() if callbacks else nullcontext():
            net.train(data, n_epochs, state)
        self.net_, self._plan = net, plan
        if task is not None:
            task.end()

    @refuse_keras_words
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> StackedLSTMRegressor:
        """Train for one epoch over the given samples, at the constant rate `lr`.

        The first call sets the statistics. Later calls continue with them, with the weights and
        with the state of the optimizer. There is no validation and no early stopping.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, as in `fit`.

        y : array-like or list of array-like
            Targets, as in `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights; only their ratios within this call matter.

        Returns
        -------
        StackedLSTMRegressor
            The fitted estimator itself.

        Raises
        ------
        ValueError
            As in `fit`.
        """
        self._validate_params()  # which scikit-learn leaves out in further calls
        start = getattr(self, "net_", None)
        with _unchanged_on_error(self), own_torch():
            data = self._training_data(X, y, sample_weight, is_first=start is None)
            callbacks = self._copied_callbacks(one_cycle=False, validates=False)
            start_plan = None if start is None else self._plan
            plan = plan_epoch(self.get_params(deep=False), data, self._seed(start), start_plan)
            is_same = plan == start_plan and not callbacks
            if start is not None and is_same and start.is_like(data.y.n_features, self.verbose):
                # Making a new net would take as long as training on a small batch.
                with start.unchanged_on_error():
                    start.train(data, n_epochs=1)
                return self
            net = make_net(plan, data.X.n_features, data.y.n_features, callbacks, self.verbose)
            if start is None:
                start_net(net, data)
            else:
                continue_net(net, start)
                net.continue_optimizer_of(start)
            with naming_missing_loss() if callbacks else nullcontext():
                net.train(data, n_epochs=1)
            self.net_, self._plan = net, plan
        return self

    def predict(self, X: Any) -> Any:
        """Predict the target of each sequence, or of each step of it.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, as in `fit`. Their lengths may differ from those in `fit`, but for
            2-D X.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_outputs) or \
                (n_samples, horizon, n_columns), or list of ndarray
            Predictions in the form of the y of `fit`, with a last axis of quantiles
            where `quantile` is several; float64, unless X and y are float32. With
            `return_sequences`, NaN where a step of X is missing; an array as y was one,
            but a list where the sequences differ in length; a list or an object array
            as y was one.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not as described, or too extreme for a finite prediction.
        """
        sequences = self._check_inputs(X)
        return self._y_form.restore(self.net_.predict_in_order(sequences), sequences)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Score predictions; 1 is perfect.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, as in `predict`.

        y : array-like or list of array-like
            Targets, as in `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        float
            :math:`R^2` over the labels, the mean of those of the outputs; with
            `return_sequences`, over all labelled steps. With ``loss="quantile"``, the mean
            of :math:`D^2`, the part of the pinball loss of the constant quantile that is
            explained.
        """
        sequences = self._check_inputs(X)
        targets = self._check_targets(sequences, y)
        score = partial(LOSSES[self._plan.loss].score, **self._plan.loss_params)
        y_pred = self.net_.predict_in_order(sequences)
        return mean_score(score, targets, y_pred, sample_weight)

    def set_params(self, **params: Any) -> StackedLSTMRegressor:
        """Set parameters by their names.

        Parameters
        ----------
        **params : dict
            Parameters of the estimator.

        Returns
        -------
        StackedLSTMRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no such parameter. If it is Keras', the message says what it is here.
        """
        said = advice(name for name in params if name not in self.get_params())
        if said:
            raise ValueError(f"Invalid parameter for estimator {type(self).__name__}. {said}")
        super().set_params(**params)
        return self

    @property
    def module_(self) -> StackedLSTM:
        return self.net_.module_

    @property
    def history_(self) -> Any:
        return self.net_.history

    @property
    def n_outputs_(self) -> int:
        return self.net_.get_params_for("module")["n_outputs"]

    @property
    def n_layers_(self) -> int:
        return len(self.module_.layers)

    @property
    def lr_(self) -> float:
        return self.net_.lr

    @property
    def batch_size_(self) -> int:
        return self.net_.batch_size

    @property
    def max_epochs_(self) -> int:
        return self.net_.max_epochs

    @property
    def linear_steps_(self) -> int:
        return self.module_.linear_steps

    @property
    def n_iter_(self) -> int:
        return len(self.net_.history)

    @property
    def best_epoch_(self) -> int | None:
        return self.net_.state_.best_epoch

    @property
    def loss_curve_(self) -> list[float]:
        return [float(row["train_loss"]) for row in self.net_.history]

    @property
    def validation_loss_curve_(self) -> list[float]:
        return [float(row["valid_loss"]) for row in self.net_.history if "valid_loss" in row]

    @property
    def n_parameters_(self) -> int:
        return sum(weights.numel() for weights in self.module_.parameters())

    def __sklearn_clone__(self) -> StackedLSTMRegressor:
        bare = copy.copy(self)
        bare.callbacks = None
        cloned = super(StackedLSTMRegressor, bare).__sklearn_clone__()
        cloned.callbacks = copied(self.callbacks)
        return cloned

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        return tags

    def _check_inputs(self, X: Any) -> Sequences:
        """Bring X of a fitted estimator to one form, and check that it is as in `fit`."""
        if not hasattr(self, "net_"):
            check_is_fitted(self)
        sequences = self._read_inputs(X)
        self._check_n_features(sequences)
        self._warn_if_far(sequences)
        return sequences

    def _check_targets(self, sequences: Sequences, y: Any) -> Sequences:
        """Bring y of a fitted estimator to one form, and check that it is as in `fit`."""
        targets, _ = read_targets(sequences, y, return_sequences=self.module_.return_sequences)
        if targets.n_features != self.n_outputs_:
            raise ValueError(
                f"y has {targets.n_features} outputs, but {type(self).__name__} was fitted with "
                f"{self.n_outputs_}."
            )
        return targets

    def _training_data(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, *, is_first: bool
    ) -> SequenceDataset:
        """Bring the data of a fit to one form, and warn where they look wrong."""
        sequences = self._read_inputs(X, is_first=is_first)
        is_table = self._X_form.kind == "rows"
        if is_first:
            warn_of_padding(sequences, in_rows=is_table)
        else:
            self._check_n_features(sequences)
            self._warn_if_far(sequences)
        targets, self._y_form = read_targets(sequences, y, return_sequences=self.return_sequences)
        sequences, targets, weight = drop_unused(sequences, targets, sample_weight)
        scaler = None if is_first else self.module_.output_scaler
        if scaler is not None and targets.n_features == self.n_outputs_:
            warn_if_far(targets, scaler.mean.cpu().numpy(), scaler.scale.cpu().numpy(), "output")
        return SequenceDataset(sequences, targets, weight, self.return_sequences, is_table)

    def _read_inputs(self, X: Any, *, is_first: bool = False) -> Sequences:
        """Read X, and set or check what scikit-learn knows of it: names and number of columns."""
        form = None if is_first else self._X_form
        check = partial(validate_data, self, reset=is_first, skip_check_array=True)
        is_table = type(X) is not np.ndarray and is_frame(X)
        if is_table:
            # Names come before values: columns of other names may hold NaN.
            X = numbers_of_frame(X, "X")
            check(X, ensure_2d=form is None or form.kind == "rows")
        sequences, form = read_inputs(X, n_timesteps=self.n_timesteps, form=form)
        in_rows = form.kind == "rows"
        if not is_table and (is_first or in_rows):
            values = sequences.values
            check(values.reshape(len(values), -1), ensure_2d=in_rows)
        if is_first:
            self._X_form, self.n_features_in_ = form, form.n_features_in
        return sequences

    def _validation_data(
        self, validation_data: Sequence[Any] | None, data: SequenceDataset
    ) -> SequenceDataset | None:
        """Bring validation data, which are None or (X, y[, sample_weight]), to one form."""
        if validation_data is None:
            return None
        several = isinstance(validation_data, (tuple, list))
        if not several or len(validation_data) not in (2, 3):
            given = f"{len(validation_data)} of them" if several else type(validation_data).__name__
            raise ValueError(
                f"validation_data must be (X, y) or (X, y, sample_weight), got {given}."
            )
        X, y, *sample_weight = validation_data
        try:
            sequences = self._read_inputs(X)
            targets, _ = read_targets(sequences, y, return_sequences=self.return_sequences)
            weight = sample_weight[0] if sample_weight else None
            sequences, targets, weight = drop_unused(sequences, targets, weight)
            if targets.n_features != data.y.n_features:
                raise ValueError(
                    f"y has {targets.n_features} outputs, the y of the training data has "
                    f"{data.y.n_features}."
                )
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"validation_data: {error}") from error
        return SequenceDataset(sequences, targets, weight, has_steps=self.return_sequences)

    def _check_n_features(self, sequences: Sequences) -> None:
        fitted = self.module_.n_features
        if sequences.n_features != fitted:
            raise ValueError(
                f"n_timesteps={self.n_timesteps} makes {sequences.n_features} features at each "
                f"step, but {type(self).__name__} was fitted with {fitted}."
            )

    def _warn_if_far(self, sequences: Sequences) -> None:
        """Warn if X is far from the data of the first fit, from which the scaling is."""
        scaler, names = self.module_.input_scaler, getattr(self, "feature_names_in_", None)
        if scaler is None:
            return
        kind = "feature"
        if self._X_form.kind == "rows" and scaler.mean.ndim > 1:
            kind = "column"
        elif self._X_form.kind == "rows" and self.n_timesteps != 1:
            names = None  # several columns of 2-D X share a mean and a scale
        warn_if_far(sequences, scaler.mean.cpu().numpy(), scaler.scale.cpu().numpy(), kind, names)

    def _checkpoint(
        self, data: SequenceDataset, seed: int, start: StackedLSTMNet | None
    ) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        if self.callbacks:
            raise ValueError(
                f"checkpoint={self.checkpoint!r} cannot be used with callbacks="
                f"{self.callbacks!r}: what they remember is in no checkpoint."
            )
        params = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in NOT_IN_A_FIT
        }
        is_drawn = start is None and self.random_state is None
        return Checkpoint(self.checkpoint, params, data, None if is_drawn else seed, start)

    def _copied_callbacks(self, *, one_cycle: bool, validates: bool) -> list[Any]:
        if not self.callbacks:
            return []
        check_callbacks(self.callbacks, one_cycle=one_cycle, validates=validates)
        return copied(list(self.callbacks))

    def _seed(self, start: StackedLSTMNet | None) -> int:
        """Return the seed of a fit: that of the fit it continues, unless an int is given."""
        if start is not None and not isinstance(self.random_state, Integral):
            return start.seed
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))


@contextmanager
def _unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before  # in one step, which Ctrl-C cannot cut in two
        raise
