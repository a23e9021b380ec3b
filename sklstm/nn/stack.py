"""The stacked LSTM itself, a torch module: LSTM layers, pooling, Dense head, scaling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from math import prod
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from .layers import (
    FAR,
    FARTHEST,
    Bidirectional,
    Dense,
    Dropout,
    LinearPath,
    Plain,
    Residual,
    Standardize,
    at_end,
    draw_weights,
    dtype_of,
    maximum,
    mean,
    run,
    silence,
    squash,
)

POOLINGS = ("last", "mean", "max", "concat")
SKIPS = ("auto", "residual", None)
LOUD = 8


def per_layer(name: str, value: Any, n_layers: int) -> list[Any]:
    """One value a layer: a scalar repeated, or a sequence checked for its length."""
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
    """Whether it can be iterated over, as an array without dimensions cannot."""
    return isinstance(value, Iterable) and getattr(value, "ndim", None) != 0


def _counts(name: str, values: Sequence[Any]) -> list[int]:
    if not _is_sequence(values):
        raise ValueError(f"{name} must be a sequence of integers, got {values!r}.")
    for value in values:
        if not isinstance(value, Integral) or int(value) < 1:
            raise ValueError(f"{name} must be integers of at least 1, got {value!r}.")
    return [int(value) for value in values]


def _rates(name: str, values: Sequence[Any]) -> list[float]:
    for value in values:
        if not isinstance(value, Real) or not 0 <= float(value) < 1:
            raise ValueError(f"{name} must be rates in [0, 1), got {value!r}.")
    return [float(value) for value in values]


class StackedLSTM(nn.Module):
    """A stack of LSTM layers with a Dense head.

    Each layer hands its full sequence of outputs to the one above; the top layer hands
    its final output to the head. In Keras's words: ``LSTM(return_sequences=True)`` for
    every layer but the last, ``LSTM``, ``Dense``. A layer is an ``nn.LSTM`` of its own
    [1]_, so units and dropout may differ between layers, and every layer stays on
    torch's fast path.

    Parameters
    ----------
    n_features : int
        Features at each time step.

    n_outputs : int or None, default=1
        Outputs of the Dense head. `None` leaves the head away: what the top layer puts
        out is the output of the model.

    n_layers : int, default=2
        Number of LSTM layers.

    units : int or sequence of int, default=64
        Memory cells in each layer, or one number a layer, bottom first.

    dropout : float or sequence of float, default=0.0
        Dropout rate in [0, 1) on what each layer hands on, the top one included, or one
        rate a layer, bottom first. Paths around layers are spared.

    bidirectional : bool, default=False
        Whether every layer reads its sequence in both directions and concatenates the
        two outputs. The final output is then what each direction holds after its own
        last step.

    skip : {"auto", "residual"} or None, default=None
        Path around each layer above the first. `None` is the plain stack. "residual" adds
        what a layer puts out to what it reads [3]_; between layers of other widths a linear
        projection is on the path. Layers above the eighth put out zeros until they are
        trained: the sum of more of them at random may be where nothing is learned.
        "auto" is "residual".

    pooling : {"last", "mean", "max", "concat"}, default="last"
        How the top layer's outputs become one vector: the final one, their mean or
        maximum over the steps of the sequence, or these three one after another [2]_.
        Not used with `return_sequences`.

    head_units : sequence of int, default=()
        Sizes of hidden Dense layers (ReLU) before the linear output.

    return_sequences : bool, default=False
        Whether to answer at each time step, with the same head, instead of once.

    linear_steps : int, default=0
        Last steps that a linear path leads from to the outputs, beside the stack; 0 is no
        such path. Its weights are buffers, zero until they are set.

    n_quantiles : int or None, default=None
        Values for each output, sorted, on a last axis of their own.

    standardize : bool, default=False
        Whether to scale inputs and outputs by statistics kept as buffers, which are the
        identity until they are set.

    scaled_steps : int, default=0
        With `standardize`, time steps of every sequence, each of which has input statistics of its
        own; 0 shares them between the steps.

    dtype : torch.dtype, default=None
        Type of the weights; torch's default when `None`.

    autocast : torch.dtype, default=None
        Type to which the layers round while they train, such as ``torch.bfloat16`` [4]_. The
        weights keep theirs, and so do pooling, head and all that is not training.

    Attributes
    ----------
    layers : torch.nn.ModuleList
        The layers, bottom first: ``nn.LSTM``, or, if `bidirectional`, a pair of them,
        `forward_layer` and `backward_layer`.

    paths : torch.nn.ModuleList
        What joins each layer above the first to the one below it.

    head : torch.nn.Module
        The Dense head.

    linear : LinearPath or None
        The linear path.

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
        (n_features,) = _counts("n_features", [n_features])
        (n_layers,) = _counts("n_layers", [n_layers])
        outputs = _counts("n_outputs", [] if n_outputs is None else [n_outputs])
        quantiles = _counts("n_quantiles", [] if n_quantiles is None else [n_quantiles])
        hidden = _counts("head_units", head_units)
        read = _counts("linear_steps", [linear_steps] if linear_steps else [])
        if (hidden or quantiles or read) and not outputs:
            raise ValueError(
                f"head_units={head_units!r}, linear_steps={linear_steps!r} and "
                f"n_quantiles={n_quantiles!r} need a head: set n_outputs."
            )
        if skip not in SKIPS:
            raise ValueError(f"skip must be one of {SKIPS}, got {skip!r}.")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}.")
        cells = _counts("units", per_layer("units", units, n_layers))
        rates = _rates("dropout", per_layer("dropout", dropout, n_layers))

        self.n_features = n_features
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.return_sequences = return_sequences
        self.linear_steps = linear_steps
        self.n_quantiles = n_quantiles
        self.autocast = autocast
        directions = 2 if bidirectional else 1
        widths = [n_features, *(directions * n_cells for n_cells in cells)]
        self.widest = max(widths)
        self.layers = nn.ModuleList(
            Bidirectional(width, n_cells, dtype)
            if bidirectional
            else nn.LSTM(width, n_cells, batch_first=True, dtype=dtype)
            for width, n_cells in zip(widths, cells, strict=False)
        )
        self.paths = nn.ModuleList(
            Plain() if skip is None else Residual(below, width, dtype)
            for below, width in pairwise(widths[1:])
        )
        self.dropouts = nn.ModuleList(Dropout(rate) for rate in rates)
        pooled = widths[-1] * (3 if pooling == "concat" and not return_sequences else 1)
        answers = [prod([*outputs, *quantiles])] if outputs else []
        self.head = _dense_head([pooled, *hidden], answers, dtype)
        self.linear = LinearPath(n_features, outputs[0], read[0], dtype) if read else None
        steps = _counts("scaled_steps", [scaled_steps] if scaled_steps else [])
        self.input_scaler = Standardize(*steps, n_features) if standardize else None
        self.output_scaler = Standardize([pooled, *outputs][-1]) if standardize else None
        self._silence_untrainable()

    def reset_parameters(self, generator: torch.Generator | None = None) -> StackedLSTM:
        """Draw fresh weights, as torch does for its layers, and forget all statistics.

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
            if isinstance(part, Standardize | LinearPath):
                part.reset_parameters()
            else:
                draw_weights(part, generator)
        self._silence_untrainable()
        return self

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        scaled: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict one row for each sequence, or for each step of it.

        Parameters
        ----------
        x : torch.Tensor of shape (batch, n_timesteps, n_features)
            Sequences, unscaled, padded on the right with anything finite.

        lengths : torch.Tensor of shape (batch,), default=None
            Steps of each sequence, an integer from 1 to `n_timesteps`; `None` if no
            sequence is padded.

        scaled : bool, default=False
            Whether to answer in the standardized units that training works in, rather
            than in those of the target.

        generator : torch.Generator, default=None
            What dropout draws from in training, on the device of `x`; `None` is torch's global
            generator.

        Returns
        -------
        torch.Tensor of shape (batch, [n_timesteps,] n_outputs[, n_quantiles])
            Predictions; float64 where statistics are applied, else of the weights' type.
            What stands in the padding means nothing.

        Raises
        ------
        ValueError
            If `lengths` are not as described.
        """
        lengths = None if lengths is None else _checked_lengths(lengths, x)
        x = self.scale_inputs(x)
        with self._rounding(x):
            sequence = self._read(x, lengths, generator).to(x.dtype)
        top = sequence if self.return_sequences else self._pool(sequence, lengths)
        y = self.head(self.dropouts[-1](top, generator))
        if self.n_quantiles is not None:
            y = y.unflatten(-1, (-1, self.n_quantiles)).sort(dim=-1).values
        if self.linear is not None:
            y = self._beside(self.linear, y, x, lengths)
        return y if scaled else self.unscale(y)

    def grow_from(self, other: StackedLSTM) -> None:
        """Take the weights of a stack of as many layers or fewer.

        Layers above its top put out zeros until they are trained: with residual paths and
        the top layer's units, predictions are those of `other`, to the bit.

        Parameters
        ----------
        other : StackedLSTM
            A stack with the same sizes as the lower layers and the head of this one.

        Raises
        ------
        ValueError
            If `other` has more layers or other paths, or if a layer above its top has no
            path around it or another width than the one below.
        RuntimeError
            If other sizes differ.
        """
        n_paths = len(other.paths)
        paths, added = list(self.paths)[:n_paths], list(self.paths)[n_paths:]
        if [type(path) for path in paths] != [type(path) for path in other.paths]:
            raise ValueError(
                f"other has {len(other.layers)} layers, and this stack of {len(self.layers)} does "
                "not have them with the same paths."
            )
        if not all(isinstance(getattr(p, "projection", None), nn.Identity) for p in added):
            raise ValueError(
                "A stack grows by layers with a residual path and the units of the one below."
            )
        self.load_state_dict({**self.state_dict(), **other.state_dict()})
        self._silence_above(len(other.layers))

    def _silence_untrainable(self) -> None:
        """With paths around them, let layers above the eighth start with zeros."""
        if not all(isinstance(path, Plain) for path in self.paths):
            self._silence_above(LOUD)

    def _silence_above(self, n_layers: int) -> None:
        for layer in self.layers[n_layers:]:
            silence(layer)

    def scale_inputs(self, x: Tensor) -> Tensor:
        """Standardize inputs and cast them to the weights' type."""
        dtype = self._weights_dtype()
        if self.input_scaler is None:
            return x.to(dtype)
        return squash(self.input_scaler(x).clamp_(-FARTHEST, FARTHEST).to(dtype))

    def scale(self, y: Tensor) -> Tensor:
        """Standardize targets and cast them to the weights' type."""
        if self.output_scaler is not None:
            y = self.output_scaler(y)
        return y.to(self._weights_dtype())

    def unscale(self, y: Tensor) -> Tensor:
        """Bring scaled outputs back to the units of the target."""
        if self.output_scaler is None:
            return y
        if self.n_quantiles is None:
            return self.output_scaler.inverse(y)
        return self.output_scaler.inverse(y.mT).mT

    def linear_windows(self, linear: LinearPath, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Lay side by side what the linear path reads of scaled inputs; outliers are cut off."""
        near = x if self.input_scaler is None else x.clamp(-FAR, FAR)
        return linear.windows(near, lengths, self.return_sequences)

    def _beside(self, linear: LinearPath, y: Tensor, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Add what the stack puts out to the linear path."""
        path = linear(self.linear_windows(linear, x, lengths))
        if self.n_quantiles is None:
            return path + linear.residual_scale * y
        return path.unsqueeze(-1) + linear.residual_scale.unsqueeze(-1) * y

    def _rounding(self, x: Tensor) -> AbstractContextManager[Any]:
        if self.autocast is None or not self.training:
            return nullcontext()
        return torch.autocast(x.device.type, self.autocast)

    def _read(self, x: Tensor, lengths: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Hand the sequence up from layer to layer."""
        first, *upper = self.layers
        sequence = run(first, x, lengths)
        for dropout, layer, path in zip(self.dropouts, upper, self.paths, strict=False):
            sequence = path(sequence, run(layer, dropout(sequence, generator), lengths))
        return sequence

    def _pool(self, sequence: Tensor, lengths: Tensor | None) -> Tensor:
        if self.pooling == "mean":
            return mean(sequence, lengths)
        if self.pooling == "max":
            return maximum(sequence, lengths)
        final = self._final(sequence, lengths)
        if self.pooling == "last":
            return final
        return torch.cat([final, mean(sequence, lengths), maximum(sequence, lengths)], dim=-1)

    def _final(self, sequence: Tensor, lengths: Tensor | None) -> Tensor:
        if not self.bidirectional:
            return at_end(sequence, lengths)
        forward, backward = sequence.chunk(2, dim=-1)
        return torch.cat([at_end(forward, lengths), backward[:, 0]], dim=-1)

    def _weights_dtype(self) -> torch.dtype:
        return dtype_of(self.layers[0])


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


def _dense_head(widths: list[int], outputs: list[int], dtype: torch.dtype | None) -> nn.Sequential:
    head = nn.Sequential()
    for n_in, n_out in pairwise(widths):
        head.extend([Dense(n_in, n_out, dtype=dtype), nn.ReLU()])
    for n_out in outputs:
        head.append(Dense(widths[-1], n_out, dtype=dtype))
    return head
