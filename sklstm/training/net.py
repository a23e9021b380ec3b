"""The skorch net: a module, how it is trained, and how it predicts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNetRegressor
from torch import Tensor, nn

from sklstm.data.scaling import (
    mean_and_scale,
    mean_and_scale_of_columns,
    mean_and_scale_of_labels,
    median_and_spread_of_labels,
)
from sklstm.data.sequences import Sequences, ranges
from sklstm.exceptions import warn
from sklstm.nn.stack import StackedLSTM

from .batches import (
    PREDICT_ROWS,
    Batches,
    SequenceDataset,
    TailSplit,
    blocks_in_order,
    filled_up,
    inputs_of,
    rows_in_block,
)
from .callbacks import DivergedError, EpochTasks, Progress, callbacks_of
from .heap import heap_kept
from .losses import LOSSES
from .plan import FitPlan, check_memory
from .runtime import (
    FitGenerators,
    Workers,
    import_what_nets_need,
    own_torch,
    resolve_autocast,
)
from .shortcut import fit_shortcut
from .state import FitState, copies, copy_weights, load_optimizer_state, optimizer_state

# Samples of a mini-batch whose gradient one thread computes. On one thread, chunks of 32 are as
# fast as the whole batch from 32 units on; narrower layers are bound by the overhead of a step.
CHUNK_ROWS, CHUNK_ROWS_IF_NARROW, NARROW_UNITS = 32, 64, 32
# The optimizers that torch can run as one fused operation on the CPU, which is faster.
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
# The validation loss still falls at the end if it does so by more than this part over the last
# fifth of the epochs: the low rate at the end lowers every loss a little. On fewer than 30 samples
# it is too noisy to tell.
STILL_FALLING, LAST_PART, ENOUGH_HELD_OUT = 0.05, 5, 30
# Callbacks that hold the estimator and its data, or a progress bar, which no file can hold.
NOT_TO_STORE = (EpochTasks, Progress)


def make_net(
    plan: FitPlan,
    n_features: int,
    n_outputs: int,
    callbacks: Sequence[Any] = (),
    verbose: int = 0,
) -> StackedLSTMNet:
    """Make and initialize the net of a fit, with fresh weights.

    Parameters
    ----------
    plan : FitPlan
        What the fit is made by.

    n_features, n_outputs : int
        Features at each step, and targets.

    callbacks : sequence of skorch callbacks
        They run after the net's own.

    verbose : int, default=0
        As for the estimator.
    """
    loss, optimizer = LOSSES[plan.loss], plan.optimizer_class()
    check_memory(plan, n_features, n_outputs)
    net = StackedLSTMNet(
        StackedLSTM,
        **{f"module__{name}": value for name, value in plan.module_params().items()},
        module__n_features=n_features,
        module__n_outputs=n_outputs,
        module__autocast=resolve_autocast(plan.precision, plan.device),
        criterion=loss.criterion,
        **{f"criterion__{name}": value for name, value in plan.loss_params.items()},
        **({} if loss.params else {"criterion__reduction": "none"}),
        optimizer=optimizer,
        optimizer__weight_decay=plan.weight_decay,
        **({"optimizer__fused": True} if optimizer in FUSED else {}),
        lr=plan.lr,
        max_epochs=plan.max_epochs,
        batch_size=plan.batch_size,
        dataset=SequenceDataset,
        iterator_train=Batches,
        iterator_train__shuffle=True,
        iterator_valid=Batches,
        iterator_valid__batch_size=PREDICT_ROWS,
        train_split=TailSplit(plan.validation_fraction if plan.early_stopping else None),
        callbacks=[*callbacks_of(plan, progress=verbose == 1), *callbacks],
        device=plan.device,
        verbose=max(0, int(verbose) - 1),
        seed=plan.seed,
        keeps_best=plan.early_stopping,
        robust=loss.is_robust,
    )
    net.n_user_callbacks_, net.verbose_of_fit_ = len(callbacks), verbose
    import_what_nets_need()
    with own_torch():
        return net.initialize()


def start_net(net: StackedLSTMNet, data: SequenceDataset) -> None:
    """Set the statistics of a net with fresh weights, and fit its linear shortcut."""
    module = net.module_
    if module.input_scaler is not None:
        of_inputs = mean_and_scale_of_columns if net.module__scaled_steps else mean_and_scale
        of_labels = median_and_spread_of_labels if net.robust else mean_and_scale_of_labels
        for scaler, (mean, scale) in (
            (module.input_scaler, of_inputs(data.X, data.sample_weight)),
            (module.output_scaler, of_labels(data.y, data.sample_weight)),
        ):
            scaler.mean.copy_(torch.from_numpy(mean))
            scaler.scale.copy_(torch.from_numpy(scale))
    # Means and scales are those of all samples. But the shortcut predicts, so it must not have seen
    # the samples on which early stopping measures.
    fit_shortcut(module, net.train_split(data)[0], net.robust)


class StackedLSTMNet(NeuralNetRegressor):
    """A skorch net that trains in standardized units and predicts in those of the target.

    Parameters
    ----------
    *args, **kwargs
        As for :class:`skorch.NeuralNetRegressor`.

    seed : int, default=0
        Initial weights depend on it alone, the order of the samples and dropout of an epoch on it
        and on the number of the epoch. Torch's global generators are neither read nor changed.

    keeps_best : bool, default=False
        Whether the weights of the best epoch are kept, rather than the last ones.

    robust : bool, default=False
        Whether the loss does not follow large targets.

    Attributes
    ----------
    state_ : FitState
        How far the last fit is.

    Notes
    -----
    On a CPU, a mini-batch is cut into chunks whose size depends on the module alone. Each chunk
    runs on one thread, and the gradients are added up in the order of the chunks. So the bits of a
    fit do not depend on the number of threads.
    """

    def __init__(
        self,
        *args: Any,
        seed: int = 0,
        keeps_best: bool = False,
        robust: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.seed = seed
        self.keeps_best = keeps_best
        self.robust = robust

    # Methods of skorch's net that are overridden ------------------------------------------

    def initialize_module(self) -> StackedLSTMNet:
        """Make the module without weights, and draw these from the generator of the fit."""
        with torch.device("meta"):
            module = self.initialized_instance(self.module, self.get_params_for("module"))
        generator = FitGenerators(self.seed, "cpu").begin_epoch(0).shuffle
        self.module_ = module.to_empty(device="cpu").reset_parameters(generator)
        self.state_ = FitState()
        return self

    def initialize_callbacks(self) -> StackedLSTMNet:
        """Say which parameter of the estimator an error is about."""
        try:
            return super().initialize_callbacks()
        except (TypeError, ValueError) as error:
            raise ValueError(f"callbacks cannot be used: {error}") from error

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> StackedLSTMNet:
        """Say which parameter of the estimator an error is about."""
        try:
            return super().initialize_optimizer(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimizer={self.optimizer!r} cannot be used: {error}") from error

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any
    ) -> StackedLSTMNet:
        """Train, and keep the weights that the fit promises.

        An interrupt or a divergence ends training with a warning and the weights of the best
        epoch. A divergence in the first epoch is a ValueError.
        """
        keeps_best = self.keeps_best
        try:
            self._run_epochs(X, y, epochs)
        except KeyboardInterrupt:
            self._warn_of_interrupt()
            keeps_best = True
        except DivergedError:
            self._warn_of_divergence()
            keeps_best = True
        else:
            self._warn_if_falling()
        self.finish(keeps_best)
        return self

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the loss and the gradients of a mini-batch, chunk by chunk."""
        self._set_mode(training=True)
        weights = [weight for weight in self.weights_in_training() if weight.requires_grad]
        chunks, n_samples = self._chunks(batch), len(batch[1])
        generators = [self._generators.dropout(number) for number in range(len(chunks))]

        def step(numbered: tuple[int, Any]) -> tuple[Tensor, Tensor, Any]:
            number, (inputs, y) = numbered
            with torch.enable_grad():
                y_pred = self.infer(inputs, generator=generators[number], **fit_params)
                loss = self.get_loss(y_pred, y, X=inputs, training=True) * (len(y) / n_samples)
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            return loss.detach(), y_pred.detach(), gradients

        steps = self._workers.map(step, list(enumerate(chunks)))
        losses, predictions, gradients = zip(*steps, strict=True)
        for weight, *parts in zip(weights, *gradients, strict=True):
            weight.grad = None if parts[0] is None else _sum_in_order(parts)
        return {"loss": _sum_in_order(losses), "y_pred": torch.cat(predictions)}

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Predict a batch in standardized units."""
        return self.module_(**self._module_inputs(x), scaled=True, **fit_params)

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the mean loss over the labels of a batch; NaN is no label."""
        target = self.module_.scale(y_true.to(y_pred.device))
        if "label_weight" not in X:
            return self.criterion_(y_pred, target).mean()
        loss = self.criterion_(y_pred, target.nan_to_num())
        labelled = loss.masked_fill(target.isnan(), 0).flatten(1).sum(dim=1)
        return (labelled * X["label_weight"].to(loss)).mean()

    def evaluation_step(self, batch: tuple[Any, Tensor], training: bool = False) -> Tensor:
        """Predict a batch in the units of the target, so that its size changes no bit.

        Predictions at each step are those of one sequence after the other.
        """
        self._set_mode(training=training)
        with torch.set_grad_enabled(training):
            return self._predict_batch(batch[0])

    # Training -----------------------------------------------------------------------------

    def train(self, data: SequenceDataset, n_epochs: int, state: Any = None) -> None:
        """Train from the beginning of a fit, or from the state of one that is resumed.

        Parameters
        ----------
        data : SequenceDataset
            The training data, the part that early stopping holds out included.

        n_epochs : int
            Epochs to train for.

        state : dict, default=None
            The state of a fit that is resumed, as from ``state_.state_dict``.
        """
        self.begin()
        if state is not None:
            self.state_.load_state_dict(self, state)
        self.notify("on_train_begin", X=data, y=None)
        self.fit_loop(data, epochs=n_epochs)
        try:
            self.notify("on_train_end", X=data, y=None)
        except KeyboardInterrupt:
            _warn("Training was interrupted after its last epoch; the fit is complete.")

    def begin(self) -> None:
        """Begin a fit with the weights and the history that there are."""
        n_epochs = len(self.history)
        self.state_ = FitState(last_epoch=n_epochs, resumed=n_epochs > 0)
        if n_epochs:
            self.state_.best_weights = copies(self.module_.parameters())

    def _run_epochs(self, X: Any, y: Any = None, epochs: int | None = None) -> None:
        """Train epoch by epoch, until all are done or a callback sets ``state_.stop``."""
        data, held_out = self.get_split_datasets(X, y)
        batches = self.get_iterator(data, training=True)
        held_out_batches = None if held_out is None else self.get_iterator(held_out)
        self.n_held_out_ = 0 if held_out is None else len(held_out)
        with self._ready_to_train() as generators:
            batches.generator = generators.shuffle
            for _ in range(self.max_epochs if epochs is None else epochs):
                if self.state_.stop:
                    break
                if self.history:
                    # Records of all batches would make the history of a long fit large. Those of
                    # the last epoch are left for callbacks.
                    self.history[-1]["batches"].clear()
                self.notify("on_epoch_begin", dataset_train=data, dataset_valid=held_out)
                generators.begin_epoch(len(self.history))
                self.run_single_epoch(batches, True, "train", self.train_step)
                with self._weights_to_keep_in_place(held_out is not None):
                    self.run_single_epoch(held_out_batches, False, "valid", self.validation_step)
                self.history.record("lr", float(self.optimizer_.param_groups[0]["lr"]))
                self.state_.epochs_done += 1
                self.notify("on_epoch_end", dataset_train=data, dataset_valid=held_out)

    def train_to_the_end(self, data: SequenceDataset) -> None:
        """Train for a trial, which has no best epoch to keep: it raises what ends it early."""
        self.notify("on_train_begin", X=data, y=None)
        self._run_epochs(data)
        self.finish(keeps_best=False)

    def finish(self, keeps_best: bool) -> None:
        """Put the weights in place that are kept, and forget the others."""
        best = self.state_.best_weights if keeps_best else None
        copy_weights(self.module_.parameters(), best or self.weights_to_keep())
        self.state_.best_weights = self.state_.average = None
        self.state_.is_over = True
        self._set_mode(training=False)

    def as_if_stopped(self) -> StackedLSTMNet:
        """Copy a net in training, with weights and history as if it had been stopped now."""
        stopped = copy.copy(self)  # which copies module and optimizer
        stopped.history_ = type(self.history)(row for row in self.history if "train_loss" in row)
        for name in ("_workers", "_generators"):
            stopped.__dict__.pop(name, None)
        others = [pair for pair in self.callbacks_ if not isinstance(pair[1], NOT_TO_STORE)]
        stopped.callbacks = stopped.callbacks_ = others
        stopped.state_ = replace(self.state_)
        stopped.finish(self.keeps_best)
        return stopped

    def continue_from(self, other: StackedLSTMNet) -> None:
        """Take the weights, the statistics and the history of another net."""
        self.module_.grow_from(other.module_)
        rows = ({**row, "batches": []} for row in other.history)
        self.history_: Any = type(other.history)(rows)

    def continue_optimizer_of(self, other: StackedLSTMNet) -> None:
        """Take the state of another net's optimizer, if the optimizers are of one kind."""
        if type(self.optimizer_) is type(other.optimizer_):
            load_optimizer_state(self, copy.deepcopy(optimizer_state(other)))

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """Put the net back into its state if the block raises."""
        state, n_epochs = replace(self.state_), len(self.history)
        weights = copies(self.module_.state_dict().values())
        of_optimizer = {
            name: {
                key: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
                for key, value in values.items()
            }
            for name, values in optimizer_state(self).items()
        }
        try:
            yield
        except BaseException:
            copy_weights(self.module_.state_dict().values(), weights)
            self.optimizer_.state.clear()
            load_optimizer_state(self, of_optimizer)
            self.state_ = state
            del self.history[n_epochs:]
            raise

    def is_like(self, n_outputs: int, verbose: int) -> bool:
        """Tell whether `make_net` would make such a net, without callbacks of a user."""
        made = self.get_params_for("module")["n_outputs"], self.verbose_of_fit_
        return made == (n_outputs, verbose) and self.n_user_callbacks_ == 0

    def steps_in_fit(self, data: SequenceDataset) -> int:
        """Return the steps of the optimizer in a fit of all epochs."""
        return self.max_epochs * math.ceil(len(data) / self.batch_size)

    def weights_in_training(self) -> list[nn.Parameter]:
        """Return the weights that the optimizer changes, in its order."""
        return [weight for group in self.optimizer_.param_groups for weight in group["params"]]

    def weights_to_keep(self) -> list[Tensor]:
        """Return the average of the weights, if there is one, or else the weights."""
        average = self.state_.average
        return list(self.module_.parameters()) if average is None else average

    def weights_are_finite(self) -> bool:
        """Tell whether every weight is a finite number."""
        return all(bool(weight.isfinite().all()) for weight in self.module_.parameters())

    @torch.no_grad()
    def mean_loss(self, data: SequenceDataset) -> float:
        """Return the mean loss over the samples, in standardized units."""
        self._set_mode(training=False)
        loss = 0.0
        for inputs, y in self.get_iterator(data):
            loss += float(self.get_loss(self.infer(inputs), y, X=inputs)) * len(y)
        return loss / len(data)

    @contextmanager
    def _ready_to_train(self) -> Iterator[FitGenerators]:
        """Have generators and threads, which no net that is stored may hold, inside the block."""
        self._generators = FitGenerators(self.seed, self.device)
        try:
            with own_torch() as n_threads, Workers(n_threads) as self._workers, heap_kept():
                yield self._generators
        finally:
            for name in ("_generators", "_workers"):
                self.__dict__.pop(name, None)

    @contextmanager
    def _weights_to_keep_in_place(self, wanted: bool) -> Iterator[None]:
        """Predict with the weights to keep, rather than with those in training."""
        if not wanted:
            yield
            return
        in_training = copies(self.module_.parameters())
        copy_weights(self.module_.parameters(), self.weights_to_keep())
        try:
            yield
        finally:
            copy_weights(self.module_.parameters(), in_training)

    def _chunks(self, batch: Any) -> list[Any]:
        """Cut a batch into chunks of equal size, which depends on nothing but the module."""
        inputs, y = batch
        is_narrow = self.module_.widest < NARROW_UNITS
        n_chunks = math.ceil(len(y) / (CHUNK_ROWS_IF_NARROW if is_narrow else CHUNK_ROWS))
        if n_chunks == 1 or not self._is_on_cpu:
            return [batch]
        parts = {name: values.tensor_split(n_chunks) for name, values in inputs.items()}
        return [
            ({name: values[i] for name, values in parts.items()}, part)
            for i, part in enumerate(y.tensor_split(n_chunks))
        ]

    def _set_mode(self, *, training: bool) -> None:
        # Setting the mode walks through the module: in each step that would take a tenth of it.
        if self.module_.training != training:
            self.module_.train(training)

    def _module_inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: values.to(self.device) for name, values in batch.items() if name != "label_weight"
        }

    @property
    def _is_on_cpu(self) -> bool:
        return torch.device(self.device).type == "cpu"

    # Ends of training ---------------------------------------------------------------------

    def _warn_if_falling(self) -> None:
        """Warn if the validation loss of a first fit was still falling in its last epochs."""
        n_last = len(self.history) // LAST_PART
        can_tell = self.keeps_best and not self.state_.resumed
        if not can_tell or not n_last or self.n_held_out_ < ENOUGH_HELD_OUT:
            return
        losses = self.history[:, "valid_loss"]
        before, last = min(losses[:-n_last]), min(losses[-n_last:])
        if last < (1 - STILL_FALLING) * before:
            _warn(
                "The validation loss was still falling when training ended after max_epochs="
                f"{self.max_epochs} epochs (from {before:.3g} to {last:.3g} in the last fifth of "
                "them). Raise max_epochs."
            )

    def _warn_of_interrupt(self) -> None:
        state, epoch = self.state_, len(self.history)
        if state.last_epoch < epoch:
            del self.history[-1]
        if state.best_epoch is not None:
            kept = f"the weights of epoch {state.best_epoch} are kept"
        elif state.best_weights is not None:
            kept = "the weights from before are kept"
        elif self.weights_are_finite():
            kept = "no epoch was finished, the weights are kept as they were then"
        else:
            raise self._divergence_error(epoch)
        _warn(f"Training was interrupted in epoch {epoch}; {kept}.")

    def _warn_of_divergence(self) -> None:
        best, epoch = self.state_.best_epoch, len(self.history)
        if best is None:
            raise self._divergence_error(epoch)
        self.initialize_optimizer()  # what it remembers may be infinite
        _warn(
            f"Training diverged in epoch {epoch} (lr={self.lr!r}); the weights of epoch {best} "
            "are kept."
        )

    def _divergence_error(self, epoch: int) -> ValueError:
        return ValueError(
            f"Training diverged in epoch {epoch}: a loss or a weight is not finite at "
            f"lr={self.lr!r} and weight_decay={self.optimizer__weight_decay!r}. Lower them, or "
            "check X and y for extreme values."
        )

    # Prediction ---------------------------------------------------------------------------

    def predict_in_order(self, X: Sequences) -> NDArray[Any]:
        """Predict in batches of like length, and return the predictions in the order of X.

        Returns
        -------
        ndarray of shape (n_samples or steps, n_outputs[, n_quantiles])

        Raises
        ------
        ValueError
            If a prediction is not finite.
        """
        n_each = X.lengths if self.module_.return_sequences else np.ones_like(X.lengths)
        if X.are_rows:
            y = self._predict(X)
        else:
            order = np.argsort(X.lengths, kind="stable")
            by_length = self._predict(X[order])
            y = np.empty_like(by_length)
            y[ranges((np.cumsum(n_each) - n_each)[order], n_each[order])] = by_length
        if not np.isfinite(y).all():
            finite = np.isfinite(y).reshape(len(y), -1).all(axis=1)
            sample = int(np.repeat(np.arange(len(X)), n_each)[finite.argmin()])
            raise ValueError(
                f"The prediction for sample {sample} of X is not finite: extreme values there, or "
                "training diverged (lower lr or weight_decay)."
            )
        return y

    def _predict(self, X: Sequences) -> NDArray[Any]:
        """Predict block by block, as many at once as there are threads."""
        self._set_mode(training=False)
        n_rows = rows_in_block(int(X.lengths.max()), self.module_.widest)
        n_predictions = int(X.lengths.sum()) if self.module_.return_sequences else len(X)

        def predict_block(block: slice) -> NDArray[Any]:
            with torch.inference_mode():
                return self._predict_batch(inputs_of(X, block)).cpu().numpy()

        with own_torch() as n_threads:
            n_threads = min(n_threads, math.ceil(len(X) / n_rows)) if self._is_on_cpu else 1
            with Workers(n_threads) as workers:
                blocks = workers.map(predict_block, blocks_in_order(X, n_rows))
                first = next(blocks)
                if len(first) == n_predictions:
                    return first
                # Blocks are not collected first: thousands of small arrays would split up the heap.
                y = np.empty((n_predictions, *first.shape[1:]), first.dtype)
                y[: len(first)] = first
                n_done = len(first)
                for block in blocks:
                    y[n_done : n_done + len(block)] = block
                    n_done += len(block)
                return y

    def _predict_batch(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Predict a batch, filled up to a number of rows with which its size changes no bit."""
        inputs = self._module_inputs(batch)
        n_rows = len(inputs["x"])
        y = self.module_(**{name: filled_up(values) for name, values in inputs.items()})[:n_rows]
        if not self.module_.return_sequences:
            return y
        if "lengths" not in inputs:
            return y.flatten(0, 1)
        steps = torch.arange(y.shape[1], device=y.device)
        return y[steps < inputs["lengths"].unsqueeze(1)]


def _sum_in_order(parts: Sequence[Tensor]) -> Tensor:
    """Add tensors up in their order; the first one is changed."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


def _warn(message: str) -> None:
    warn(message, ConvergenceWarning)
