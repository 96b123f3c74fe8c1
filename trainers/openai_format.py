"""Checkpoints of openai/sparse_autoencoder (arXiv:2406.04093): one file, a state dict; read only.

latents = activation((x - pre_bias) W^T + latent_bias), recon = latents decoder^T + pre_bias. Where the activation is
TopK, rows go through a layer norm before and back after, as their `Autoencoder.from_state_dict` has it. A file of
safetensors cannot hold the activation's name: it may stand in the header, as may k.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from shared.errors import UserError, one_line
from trainers.import_options import ImportOptions
from trainers.relu import Relu
from trainers.sae import SparseAutoencoder
from trainers.sae_facts import SaeFacts
from trainers.topk import TopK
from trainers.weight_files import read_pickle, read_safetensors, read_safetensors_header

ENDINGS = (".pt", ".pth", ".bin", ".safetensors")
STATISTICS = "latents_activation_frequency"
"""A buffer that their `Autoencoder` has and the bare `FastAutoencoder` of their train.py, always a TopK, has not."""


def recognises(path: Path) -> bool:
    return path.is_file() and path.suffix in ENDINGS


def read(path: Path, options: ImportOptions) -> tuple[SparseAutoencoder, SaeFacts]:
    """The SAE in a file. Raises UserError if it is damaged, needs a permission or an option, or is of another kind."""
    state, activation, k = _read_state(path, options)
    k = options.k or k
    try:
        num_latents, d_in = state["encoder.weight"].shape
        if activation == "ReLU":
            sae: SparseAutoencoder = Relu(d_in, num_latents, subtracts_b_dec=True)
        elif k is not None:
            if type(k) is not int or not 1 <= k <= num_latents:
                raise ValueError(f"k is {k}, and there are {num_latents} latents")
            sae = TopK(d_in, num_latents, k)
            sae.normalize = "layer_norm" if STATISTICS in state or "activation" in state else "none"
        else:
            raise UserError(f"{path} does not say how many latents are active: give --k")
        sae.load_state_dict({name: tensor.float() for name, tensor in _named(state).items()})
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a checkpoint of openai/sparse_autoencoder ({one_line(error)})") from None
    return sae, options.facts(path, "openai/sparse_autoencoder")


def _read_state(path: Path, options: ImportOptions) -> tuple[dict[str, Any], str, int | None]:
    """The tensors, the activation's name, and k if it is said."""
    if path.suffix == ".safetensors":
        header = read_safetensors_header(path)
        state: dict[str, Any] = dict(read_safetensors(path))
        k = int(header["k"]) if header.get("k", "").isdigit() else None
        activation = header.get("activation") or ("TopK" if k or options.k else "")
        if not activation:
            raise UserError(f"{path} does not say its activation, which safetensors cannot hold: give --k for a TopK")
    else:
        state = read_pickle(path, options.allow_pickle)
        activation = state.get("activation") or ("ReLU" if STATISTICS in state else "TopK")
        details = state.get("activation_state_dict")
        details = details if isinstance(details, dict) else {}
        k = details.get("k")
        if details.get("postact_fn", "ReLU") != "ReLU":
            raise UserError(f"{path}: Headrace has no TopK followed by {details['postact_fn']}")
    if activation not in ("ReLU", "TopK"):
        raise UserError(f"{path}: Headrace has no SAE with the activation {activation}")
    return state, activation, k


def _named(state: dict[str, Any]) -> dict[str, Tensor]:
    """By our names; a tied decoder is the encoder's transpose."""
    tied = "decoder.linear.weight" in state
    return {
        "W_enc": state["encoder.weight"],
        "W_dec": state["encoder.weight"] if tied else state["decoder.weight"].T,
        "b_enc": state["latent_bias"],
        "b_dec": state["pre_bias"],
    }
