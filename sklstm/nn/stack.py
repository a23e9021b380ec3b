"""The stacked LSTM as a torch module: LSTM layers, pooling, Dense head, scaling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from .layers import (
    FARTHEST,
    Bidirectional,
    Dense,
    Dropout,
    LinearShortcut,
    NoSkip,
    Residual,
    Standardize,
    draw_weights,
    squash,
    zero_candidate_weights,
)
from .pooling import POOLINGS

SKIPS = ("residual", None)
# Layers that start with random outputs where there are skip connections; those above start with
# zeros. When all of 30 layers were random, one of three fits to few data learned nothing; with
# eight, all of them did.
RANDOM_LAYERS = 8


def per_layer(name: str, value: Any, n_layers: int) -> list[Any]:
    """Return one value for each layer: a number repeated, or a sequence of that length."""
    if isinstance(value, (Integral, Real)):
        return [value] * n_layers
    if not _is_sequence(value):
        raise ValueError(f"{name} must be one number or one for each layer, got {value!r}.")
    values = list(value)
    if len(values) != n_layers:
        raise ValueError(
            f"{name} must be one value or one for each of the n_layers={n_layers} layers, "
            f"got {len(values)}: {value!r}."
        )
    return values


def _is_sequence(value: Any) -> bool:
    # An array without dimensions has __iter__, and raises when it is called.
    return isinstance(value, Iterable) and getattr(value, "ndim", None) != 0


def _count(name: str, value: Any) -> int:
    if not isinstance(value, Integral) or int(value) < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    return int(value)


class StackedLSTM(nn.Module):
    """A stack of LSTM layers with a Dense head.

    Each layer passes its outputs at all steps to the layer above it. The outputs of the top layer
    are pooled into one vector, which the head reads. In Keras this is
    ``LSTM(return_sequences=True)`` for every layer but the last, ``LSTM``, ``Dense``. Each layer is
    an ``nn.LSTM`` of its own [1]_, so that units and dropout may differ between layers, and torch
    runs each with its fast code.

    Parameters
    ----------
    n_features : int
        Features at each time step.

    n_outputs : int or None, default=1
        Outputs of the Dense head. `None` is a stack without a head: its output is the pooled output
        of the top layer.

    n_layers : int, default=2
        Number of LSTM layers.

    units : int or sequence of int, default=64
        Memory cells in each layer, or one number for each layer, bottom first.

    dropout : float or sequence of float, default=0.0
        Dropout rate in [0, 1) on the output of each layer, the top one included, or one rate for
        each layer, bottom first. Skip connections have no dropout.

    bidirectional : bool, default=False
        Whether every layer reads its sequence in both directions and concatenates the two outputs.
        The last output of a direction is the one after its own last step.

    skip : {"residual"} or None, default=None
        Skip connection around each layer above the first. `None` is a plain stack. "residual" adds
        the input of a layer to its output [3]_, after a linear projection if their widths differ.
        Layers above the eighth output zeros until they are trained: with the sum of more random
        layers, some fits learn nothing.

    pooling : {"last", "mean", "max", "concat"}, default="last"
        How the outputs of the top layer become one vector: the last one, their mean or their
        maximum over the steps of the sequence, or these three side by side [2]_. Not used with
        `return_sequences`.

    head_units : sequence of int, default=()
        Sizes of hidden Dense layers (ReLU) before the linear output.

    return_sequences : bool, default=False
        Whether the head predicts at each time step, rather than once for each sequence.

    linear_steps : int, default=0
        Last steps that a linear shortcut reads, whose outputs are added to those of the stack; 0 is
        no shortcut. Its weights are buffers, zero until they are set.

    n_quantiles : int or None, default=None
        Values for each output, sorted, on a last axis of their own.

    standardize : bool, default=False
        Whether to scale inputs and outputs by statistics kept as buffers. They are the identity
        until they are set.

    scaled_steps : int, default=0
        With `standardize`, the number of time steps of every sequence, if each of them has input
        statistics of its own; 0 is the same statistics for all steps.

    dtype : torch.dtype, default=None
        Type of the weights; torch's default when `None`.

    autocast : torch.dtype, default=None
        Type to which the LSTM layers round in training, such as ``torch.bfloat16`` [4]_. Weights,
        pooling and head keep their type, and so does everything outside training.

    Attributes
    ----------
    layers : torch.nn.ModuleList
        The layers, bottom first: ``nn.LSTM``, or, if `bidirectional`, a module with two of them,
        `forward_layer` and `backward_layer`.

    skips : torch.nn.ModuleList
        For each layer above the first, the module that combines its input and its output.

    head : torch.nn.Sequential
        The Dense head; empty if there is none.

    linear : LinearShortcut or None
        The linear shortcut.

    input_scaler, output_scaler : Standardize or None
        Statistics of the features and of the targets.

    Raises
    ------
    ValueError
        If a size or a rate is out of range, or given for another number of layers.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation
       9(8), 1997; stacked as in A. Graves, A.-r. Mohamed and G. Hinton, "Speech
       recognition with deep recurrent neural networks", ICASSP 2013.
    .. [2] J. Howard and S. Ruder, "Universal language model fine-tuning for text
       classification", ACL 2018 (there called concat pooling).
    .. [3] Y. Wu et al., "Google's neural machine translation system", arXiv:1609.08144,
       2016, section 3.1.
    .. [4] P. Micikevicius et al., "Mixed precision training", ICLR 2018; D. Kalamkar et al.,
       "A study of BFLOAT16 for deep learning training", arXiv:1905.12322, 2019.

    Examples
    --------
    >>> import torch
    >>> from sklstm import StackedLSTM
    >>> module = StackedLSTM(n_features=3, n_layers=2, units=(16, 8))
    >>> module(torch.zeros(5, 10, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int | None = 1,
        *,
        n_layers: int = 2,
        units: int | Sequence[int] = 64,
        dropout: float | Sequence[float] = 0.0,
        bidirectional: bool = False,
        skip: str | None = None,
        pooling: str = "last",
        head_units: Sequence[int] = (),
        return_sequences: bool = False,
        linear_steps: int = 0,
        n_quantiles: int | None = None,
        standardize: bool = False,
        scaled_steps: int = 0,
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        n_features, n_layers = _count("n_features", n_features), _count("n_layers", n_layers)
        n_outputs = None if n_outputs is None else _count("n_outputs", n_outputs)
        n_quantiles = None if n_quantiles is None else _count("n_quantiles", n_quantiles)
        linear_steps = _count("linear_steps", linear_steps) if linear_steps else 0
        steps = [_count("scaled_steps", scaled_steps)] if scaled_steps else []
        if not _is_sequence(head_units):
            raise ValueError(f"head_units must be a sequence of integers, got {head_units!r}.")
        hidden = [_count("head_units", value) for value in head_units]
        if n_outputs is None and (hidden or n_quantiles or linear_steps):
            raise ValueError(
                f"head_units={head_units!r}, linear_steps={linear_steps!r} and "
                f"n_quantiles={n_quantiles!r} need a head: set n_outputs."
            )
        if skip not in SKIPS:
            raise ValueError(f"skip must be one of {SKIPS}, got {skip!r}.")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {tuple(POOLINGS)}, got {pooling!r}.")
        cells = [_count("units", value) for value in per_layer("units", units, n_layers)]
        rates = per_layer("dropout", dropout, n_layers)
        for rate in rates:
            if not isinstance(rate, Real) or not 0 <= float(rate) < 1:
                raise ValueError(f"dropout must be rates in [0, 1), got {rate!r}.")

        self.n_features = n_features
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.return_sequences = return_sequences
        self.linear_steps = linear_steps
        self.n_quantiles = n_quantiles
        self.autocast = autocast
        widths = [n_features, *((2 if bidirectional else 1) * n_cells for n_cells in cells)]
        self.widest = max(widths)
        self.layers = nn.ModuleList(
            Bidirectional(width, n_cells, dtype)
            if bidirectional
            else nn.LSTM(width, n_cells, batch_first=True, dtype=dtype)
            for width, n_cells in zip(widths, cells, strict=False)
        )
        self.skips = nn.ModuleList(
            NoSkip() if skip is None else Residual(below, width, dtype)
            for below, width in pairwise(widths[1:])
        )
        self.dropouts = nn.ModuleList(Dropout(float(rate)) for rate in rates)
        n_pooled = widths[-1] * (1 if return_sequences else POOLINGS[pooling].n_vectors)
        self.head = nn.Sequential()
        for n_in, n_out in pairwise([n_pooled, *hidden]):
            self.head.extend([Dense(n_in, n_out, dtype=dtype), nn.ReLU()])
        if n_outputs is not None:
            n_in = [n_pooled, *hidden][-1]
            self.head.append(Dense(n_in, n_outputs * (n_quantiles or 1), dtype=dtype))
        self.linear = (
            LinearShortcut(
                n_features,
                n_outputs,
                linear_steps,
                at_each_step=return_sequences,
                clip=standardize,
                dtype=dtype,
            )
            if n_outputs and linear_steps
            else None
        )
        self.input_scaler = Standardize(*steps, n_features) if standardize else None
        self.output_scaler = Standardize(n_outputs or n_pooled) if standardize else None
        self._zero_upper_layers()

    def reset_parameters(self, generator: torch.Generator | None = None) -> StackedLSTM:
        """Draw fresh weights, as torch does for its layers, and set all buffers back.

        Parameters
        ----------
        generator : torch.Generator, default=None
            On the device of the weights. `None` draws from torch's global one.

        Returns
        -------
        StackedLSTM
            The module itself.
        """
        for part in self.modules():
            if isinstance(part, Standardize | LinearShortcut):
                part.reset_parameters()
            else:
                draw_weights(part, generator)
        self._zero_upper_layers()
        return self

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        scaled: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict for each sequence, or for each step of it.

        Parameters
        ----------
        x : torch.Tensor of shape (batch, n_timesteps, n_features)
            Sequences, unscaled, padded on the right with any finite values.

        lengths : torch.Tensor of shape (batch,), default=None
            Steps of each sequence, an integer from 1 to `n_timesteps`; `None` if no sequence is
            padded.

        scaled : bool, default=False
            Whether to predict in the standardized units of training, rather than in those of the
            target.

        generator : torch.Generator, default=None
            Generator for dropout in training, on the device of `x`; `None` is torch's global one.

        Returns
        -------
        torch.Tensor of shape (batch, [n_timesteps,] n_outputs[, n_quantiles])
            Predictions; float64 where statistics are applied, else of the weights' type. Values in
            the padding have no meaning.

        Raises
        ------
        ValueError
            If `lengths` are not as described.
        """
        if lengths is not None:
            lengths = _checked_lengths(lengths, x)
        x = self.scale_inputs(x)
        rounds = self.training and self.autocast is not None
        with torch.autocast(x.device.type, self.autocast) if rounds else nullcontext():
            bottom, *upper = self.layers
            sequence = self._run(bottom, x, lengths)
            # The dropout of the top layer is left for the head.
            for layer, dropout, skip in zip(upper, self.dropouts, self.skips, strict=False):
                output = self._run(layer, dropout(sequence, generator), lengths)
                sequence = skip(sequence, output)
        top = sequence.to(x.dtype)
        if not self.return_sequences:
            top = POOLINGS[self.pooling].pool(top, lengths, self.bidirectional)
        y: Tensor = self.head(self.dropouts[-1](top, generator))
        if self.n_quantiles is not None:
            y = y.unflatten(-1, (-1, self.n_quantiles)).sort(dim=-1).values
        linear = self.linear
        if linear is not None:
            shortcut, scale = linear(x, lengths), linear.residual_scale
            if self.n_quantiles is not None:
                shortcut, scale = shortcut.unsqueeze(-1), scale.unsqueeze(-1)
            y = shortcut + scale * y
        return y if scaled else self.unscale(y)

    def _run(self, layer: nn.Module, sequence: Tensor, lengths: Tensor | None) -> Tensor:
        return layer(sequence, lengths) if self.bidirectional else layer(sequence)[0]

    def scale_inputs(self, x: Tensor) -> Tensor:
        """Standardize inputs and cast them to the weights' type."""
        if self.input_scaler is None:
            return x.to(self.dtype)
        return squash(self.input_scaler(x).clamp_(-FARTHEST, FARTHEST).to(self.dtype))

    def scale(self, y: Tensor) -> Tensor:
        """Standardize targets and cast them to the weights' type."""
        return (y if self.output_scaler is None else self.output_scaler(y)).to(self.dtype)

    def unscale(self, y: Tensor) -> Tensor:
        """Convert scaled predictions to the units of the target."""
        if self.output_scaler is None:
            return y
        if self.n_quantiles is None:
            return self.output_scaler.inverse(y)
        return self.output_scaler.inverse(y.mT).mT

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        bottom: Any = self.layers[0]
        return (bottom.forward_layer if self.bidirectional else bottom).weight_ih_l0.dtype

    def grow_from(self, other: StackedLSTM) -> None:
        """Take the weights of a stack of as many layers or fewer.

        Layers above its top output zeros until they are trained. With residual skip connections and
        as many units as in the top layer, the predictions are those of `other`, to the last bit.

        Parameters
        ----------
        other : StackedLSTM
            A stack with the same sizes as the lower layers and the head of this one.

        Raises
        ------
        ValueError
            If `other` has more layers or other skip connections, or if a layer above its top has no
            skip connection or another width than the layer below it.
        RuntimeError
            If other sizes differ.
        """
        n_skips = len(other.skips)
        shared, added = list(self.skips)[:n_skips], list(self.skips)[n_skips:]
        if [type(skip) for skip in shared] != [type(skip) for skip in other.skips]:
            raise ValueError(
                f"other has {len(other.layers)} layers, and this stack of {len(self.layers)} does "
                "not have them with the same skip connections."
            )
        if not all(isinstance(getattr(s, "projection", None), nn.Identity) for s in added):
            raise ValueError(
                "A stack grows by layers with a residual skip connection and the units of the "
                "layer below."
            )
        self.load_state_dict({**self.state_dict(), **other.state_dict()})
        for layer in self.layers[len(other.layers) :]:
            zero_candidate_weights(layer)

    def _zero_upper_layers(self) -> None:
        """Let the layers above `RANDOM_LAYERS` output zeros, if there are skip connections."""
        if not all(isinstance(skip, NoSkip) for skip in self.skips):
            for layer in self.layers[RANDOM_LAYERS:]:
                zero_candidate_weights(layer)


def _checked_lengths(lengths: Tensor, x: Tensor) -> Tensor:
    batch, n_steps = x.shape[:2]
    if batch == 0:
        raise ValueError(f"x has shape {tuple(x.shape)}: with lengths it must hold a sequence.")
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(
            f"lengths must be {batch} integers, got shape {tuple(lengths.shape)} and dtype "
            f"{lengths.dtype}."
        )
    shortest, longest = (int(length) for length in lengths.aminmax())
    if shortest < 1 or longest > n_steps:
        raise ValueError(
            f"lengths must be from 1 to n_timesteps={n_steps}, got {shortest} to {longest}."
        )
    return lengths.to(x.device, torch.long)
