"""The plain SAE that several losses train: SAELens' `standard`."""

from torch import Tensor

from trainers.sae import SparseAutoencoder


class Relu(SparseAutoencoder):
    """acts = ReLU(W_enc x + b_enc), or of x - b_dec;  recon = acts W_dec + b_dec."""

    def activate(self, pre_acts: Tensor) -> Tensor:
        return pre_acts.relu()
