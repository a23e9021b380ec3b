"""The state of a fit: all that changes from epoch to epoch, as one dict and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor

# Fields of `FitState` that are numbers.
NUMBERS = (
    *("epochs_done", "steps_done", "last_epoch", "resumed", "stop"),
    *("best_epoch", "best_loss", "n_misses"),
)


@dataclass
class FitState:
    """How far a fit is. With weights, optimizer and history of its net it is all that there is.

    Callbacks keep what they remember here, not in themselves: so a checkpoint stores this state,
    and a fit that is resumed needs nothing else.

    Parameters
    ----------
    epochs_done, steps_done : int
        Epochs in this fit, and steps of its one-cycle schedule.

    last_epoch : int
        The last epoch that was finished, counted over all fits of the net.

    resumed : bool
        Whether the fit continued an earlier one.

    stop : bool
        Whether a callback wants training to stop after this epoch.

    best_epoch, best_loss : int or None, float
        The epoch with the lowest loss, and that loss.

    n_misses : int
        Epochs since then.

    best_weights : list of torch.Tensor
        Weights of the best epoch; before the first epoch of a fit that continues another, those
        with which it began.

    average : list of torch.Tensor or None
        Average of the weights over the last steps.

    is_over : bool
        Whether the fit is over, and the weights that it keeps are in place.
    """

    epochs_done: int = 0
    steps_done: int = 0
    last_epoch: int = 0
    resumed: bool = False
    stop: bool = False
    best_epoch: int | None = None
    best_loss: float = math.inf
    n_misses: int = 0
    best_weights: list[Tensor] | None = None
    average: list[Tensor] | None = None
    is_over: bool = False

    def state_dict(self, net: NeuralNet) -> dict[str, Any]:
        """Return the state of a net in training, or trained. Tensors are not copied.

        Returns
        -------
        dict
            `module`: tensors by name. `optimizer`: the state of each weight, by its name.
            `history`: a dict for each epoch. `numbers`: the numbers of this state. `best` and
            `average`: weights by name, where there are any.
        """
        names = [name for name, _ in net.module_.named_parameters()]
        state: dict[str, Any] = {
            "module": net.module_.state_dict(),
            "optimizer": optimizer_state(net),
            "history": [
                {name: value for name, value in row.items() if name != "batches"}
                for row in net.history
            ],
            "numbers": {name: getattr(self, name) for name in NUMBERS},
        }
        for name, weights in (("best", self.best_weights), ("average", self.average)):
            if weights is not None:
                state[name] = dict(zip(names, weights, strict=True))
        return state

    def load_state_dict(self, net: NeuralNet, state: Mapping[str, Any]) -> None:
        """Put a net with the same plan, and this object, in a state that was returned."""
        # Not module_.load_state_dict, which goes through all names once for each layer: with
        # thousands of layers that takes minutes.
        own = net.module_.state_dict()
        copy_weights(own.values(), [state["module"][name] for name in own])
        load_optimizer_state(net, state["optimizer"])
        net.history_ = type(net.history)({**row, "batches": []} for row in state["history"])
        for name in NUMBERS:
            setattr(self, name, state["numbers"][name])
        # skorch marks in the history which losses are the lowest of the fit so far.
        rows = state["history"][len(state["history"]) - self.epochs_done :]
        for name, callback in net.callbacks_:
            lowest = [row[name] for row in rows if row.get(f"{name}_best")]
            if lowest:
                callback.best_score_ = lowest[-1]
        names = [name for name, _ in net.module_.named_parameters()]
        self.best_weights, self.average = (
            [state[part][name].to(net.device) for name in names] if part in state else None
            for part in ("best", "average")
        )


def optimizer_state(net: NeuralNet) -> dict[str, dict[str, Any]]:
    """Return the state that the optimizer of a net has for each weight, by the weight's name."""
    names = {parameter: name for name, parameter in net.module_.named_parameters()}
    state = net.optimizer_.state.items()
    # An optimizer of a user may keep something under other keys.
    return {names[key]: values for key, values in state if key in names}


def load_optimizer_state(net: NeuralNet, state: Mapping[str, dict[str, Any]]) -> None:
    """Set the state that the optimizer of a net has for some weights, by their names."""
    # Not its load_state_dict, which looks at all weights for each one.
    weights, (group,) = dict(net.module_.named_parameters()), net.optimizer_.param_groups
    for name, values in state.items():
        weight = weights[name]
        net.optimizer_.state[weight] = {
            key: _of_weight(key, value, weight, bool(group.get("fused")))
            for key, value in values.items()
        }


def _of_weight(key: str, value: Any, weight: Tensor, is_fused: bool) -> Any:
    """Put a value of the optimizer on the device of its weight, in the type of the weight."""
    if not isinstance(value, Tensor):
        return value
    if key == "step":  # only fused optimizers count their steps on the device
        return value.to(weight.device) if is_fused else value
    return value.to(weight.device, weight.dtype if value.is_floating_point() else None)


def copies(weights: Iterable[Tensor]) -> list[Tensor]:
    """Copy weights, without their gradients."""
    return [tensor.detach().clone() for tensor in weights]


@torch.no_grad()
def copy_weights(to: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Copy values into tensors, which keep their type and device."""
    for tensor, new in zip(to, values, strict=True):
        tensor.copy_(new)
