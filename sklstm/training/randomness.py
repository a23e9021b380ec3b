"""Random numbers of a fit's own: torch's global generators are neither read nor changed."""

from __future__ import annotations

import numpy as np
import torch


class FitGenerators:
    """The generators of one fit, which start anew in each epoch.

    So the state of an epoch follows from the seed and the number of the epoch, fits in several
    threads do not share a generator, and nobody else's draws change a fit.

    Parameters
    ----------
    seed : int
        Seed of the fit.

    device : str
        Device of the weights, on which dropout draws.

    Attributes
    ----------
    shuffle : torch.Generator
        On the CPU: initial weights and the order of the samples.
    """

    def __init__(self, seed: int, device: str) -> None:
        self.seed = seed
        self.device = device
        self.epoch = 0
        self.shuffle = torch.Generator()
        self._dropout: list[torch.Generator] = []
        if torch.device(device).type == "cpu":
            self._dropout.append(self.shuffle)

    def begin_epoch(self, epoch: int) -> FitGenerators:
        """Start anew; epoch 0 is the initialization."""
        self.epoch = epoch
        self.shuffle.manual_seed(self._seed(0))
        for chunk, generator in enumerate(self._dropout):
            generator.manual_seed(self._seed(chunk))
        return self

    def dropout(self, chunk: int) -> torch.Generator:
        """Return what dropout draws from in one chunk of each mini-batch."""
        while len(self._dropout) <= chunk:
            generator = torch.Generator(self.device)
            self._dropout.append(generator.manual_seed(self._seed(len(self._dropout))))
        return self._dropout[chunk]

    def _seed(self, chunk: int) -> int:
        entropy = (self.seed, self.epoch, chunk) if chunk else (self.seed, self.epoch)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
