"""SAEs in EleutherAI's sparsify format (1.3): a folder named for its hookpoint, with `cfg.json` and `sae.safetensors`.

sparsify computes topk(relu((x - b_dec) W_enc^T + b_enc)) W_dec + b_dec, for a transcoder without the first b_dec and
with W_skip x if it has one, and nothing else: no ReLU or JumpReLU, no normalisation of rows.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from shared.errors import UserError, one_line
from shared.files import replace_folder, write_atomically
from shared.hookpoints import INPUT
from trainers.hook_names import sparsify_name
from trainers.import_options import ImportOptions
from trainers.sae import SparseAutoencoder
from trainers.sae_facts import SaeFacts
from trainers.topk import TopK
from trainers.weight_files import read_json, read_safetensors

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
RUN_CONFIG = "config.json"
"""Of the whole run; lies beside the hookpoints' folders."""
NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}
"""Our tensors -> sparsify's; shapes are the same. `W_skip`, where there is one, is turned round."""


def recognises(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def refusal(sae: SparseAutoencoder, facts: SaeFacts) -> str | None:
    """Why sparsify cannot hold `sae`; None if it can."""
    if not isinstance(sae, TopK):
        return f"sparsify holds TopK SAEs and no {type(sae).__name__}"
    if sae.normalize != "none":
        return f"sparsify has no normalisation of each row, and this SAE has {sae.normalize}"
    if len(facts.targets) > 1:
        return "sparsify's SAEs are for one hookpoint each"
    if sparsify_name(facts.targets[0]) is None:
        return f"sparsify knows outputs of modules only, and this SAE is for {facts.targets[0]}"
    if _transcodes(facts) and (facts.inputs != (facts.targets[0] + INPUT,) or sae.d_in != sae.d_out):
        return "sparsify's transcoders go from a module's input to its output of the same width"
    return None


def place(facts: SaeFacts, out: Path) -> Path:
    """The hookpoint's folder in the run folder `out`, where sparsify looks for it."""
    name = sparsify_name(facts.targets[0])
    assert name is not None
    return out / name


def write(sae: SparseAutoencoder, facts: SaeFacts, folder: Path) -> None:
    """Writes `sae` into its hookpoint's folder, and of the run what sparsify's readers want to know."""
    assert isinstance(sae, TopK)
    with replace_folder(folder) as temporary:
        (temporary / CONFIG).write_text(json.dumps(_config(sae, facts), indent=2), encoding="utf-8")
        save_file(_tensors(sae, _transcodes(facts)), temporary / WEIGHTS)
    run = {"model": facts.model_name, "dataset": facts.dataset, "ctx_len": facts.context_tokens}
    write_atomically(folder.parent / RUN_CONFIG, json.dumps(run, indent=2).encode())


def read(folder: Path, options: ImportOptions) -> tuple[SparseAutoencoder, SaeFacts]:
    """The SAE in a hookpoint's folder. Raises UserError if a file is damaged, or what it means is not known here."""
    config, tensors = read_json(folder / CONFIG), read_safetensors(folder / WEIGHTS)
    transcodes = bool(config.get("transcode"))
    for key, value in {"activation": "topk", "signed": False}.items():
        if config.get(key, value) != value:
            raise UserError(f"{folder / CONFIG}: Headrace has no SAE with {key} {config[key]}")
    if config.get("skip_connection") and not transcodes:
        raise UserError(f"{folder / CONFIG}: Headrace has skip_connection for transcoders only")
    try:
        num_latents, d_in = tensors["encoder.weight"].shape
        k = int(config["k"])
        if not 1 <= k <= num_latents:
            raise ValueError(f"k is {k}, and there are {num_latents} latents")
        sae = TopK(d_in, num_latents, k, subtracts_b_dec=not transcodes)
        plain = {ours: tensors[theirs].float() for ours, theirs in NAMES.items()}
        if config.get("skip_connection"):
            sae.add_skip()
            plain["W_skip"] = tensors["W_skip"].float().T
        sae.load_state_dict(plain)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise UserError(
            f"{folder} is damaged: {CONFIG} and {WEIGHTS} do not fit each other ({one_line(error)})"
        ) from None
    return sae, _facts(folder, options, transcodes, config.get("headrace"))


def _config(sae: TopK, facts: SaeFacts) -> dict[str, Any]:
    """num_latents is written out: sparsify's own 0, for expansion_factor * d_in, misleads other readers."""
    norms = torch.linalg.vector_norm(sae.W_dec.detach(), dim=1)
    return {
        "activation": "topk",
        "expansion_factor": max(1, sae.num_latents // sae.d_in),
        "normalize_decoder": bool((norms - 1).abs().max() < 1e-4),
        "num_latents": sae.num_latents,
        "k": sae.k,
        "multi_topk": False,
        "skip_connection": sae.W_skip is not None,
        "transcode": _transcodes(facts),
        "d_in": sae.d_in,
        "headrace": facts.headrace,
    }


@torch.no_grad()
def _tensors(sae: TopK, transcodes: bool) -> dict[str, Tensor]:
    tensors = {theirs: getattr(sae, ours).detach().float().cpu().contiguous() for ours, theirs in NAMES.items()}
    if sae.W_skip is not None:
        tensors["W_skip"] = sae.W_skip.detach().float().cpu().T.contiguous()
    if not sae.subtracts_b_dec and not transcodes:  # sparsify does; W (x - b_dec) + (b_enc + W b_dec) is the same
        tensors["encoder.bias"] = tensors["encoder.bias"] + tensors["encoder.weight"] @ tensors["b_dec"]
    return tensors


def _transcodes(facts: SaeFacts) -> bool:
    return facts.inputs != facts.targets


def _facts(folder: Path, options: ImportOptions, transcodes: bool, own: dict[str, Any] | None) -> SaeFacts:
    """The hookpoint is the folder's name, but for `seed0` and the like, which lie in the hookpoint's folder."""
    place = folder.resolve()
    if place.name.startswith("seed") and place.name[4:].isdigit():
        place = place.parent
    run = read_json(place.parent / RUN_CONFIG) if (place.parent / RUN_CONFIG).is_file() else {}
    return options.facts(
        folder,
        "sparsify",
        model_name=run.get("model"),
        hookpoint=place.name if "." in place.name or place.name == "embed_tokens" else None,
        transcodes=transcodes,
        context_tokens=run.get("ctx_len") or 0,
        dataset=run.get("dataset") or "",
        own=own if isinstance(own, dict) else None,
    )
