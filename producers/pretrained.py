"""Which `transformers` class loads a model, what its weights are called, what errors say when it cannot be had."""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from shared.config import ModelConfig
from shared.errors import UserError

WEIGHT_ENDINGS = (".safetensors", ".bin", ".json")
HASHED_BYTES = 2**20
"""Of the beginning and of the end of each file: any training step changes both, and 100 GB need not be read."""
POSITIONS_AFTER_PADDING = frozenset(
    {"roberta", "xlm-roberta", "camembert", "roberta-prelayernorm", "xlm-roberta-xl", "xmod"}
)
"""Model types that number positions from the padding id + 1, so that fewer are left for text."""


def load_config(model: ModelConfig) -> Any:
    """The model's `transformers` configuration. Raises UserError if there is none, or it is an encoder-decoder's."""
    from transformers import AutoConfig

    if _looks_like_folder(model.name) and not Path(model.name).is_dir():
        raise UserError(f"model.name: there is no folder {model.name}")
    try:
        config = AutoConfig.from_pretrained(
            model.name, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.name: {_why_not(model, error)}") from None
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"model.name: {model.name} is an encoder-decoder model; give an encoder or a decoder")
    return config


def check_weights(model: ModelConfig) -> None:
    """Raises UserError if a folder holds no weights, or a file of weights that is cut off; reads heads of files only.

    A model on the hub is left to be fetched by whoever needs it.
    """
    folder = Path(model.name)
    if not folder.is_dir():
        return
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".bin")]
    if not files:
        raise UserError(f"model.name: {model.name} holds no weights: there is no file *.safetensors or *.bin")
    for path in files:
        if path.suffix == ".safetensors":
            _check_safetensors(path)


def _check_safetensors(path: Path) -> None:
    try:
        safe_open(path, "np").__exit__(None, None, None)
    except (OSError, SafetensorError) as error:
        raise UserError(f"model.name: {path} is not a whole file of weights: {_first(str(error))}") from None


def auto_class(config: Any) -> Any:
    """AutoModelForCausalLM for decoders; AutoModel for encoders, also those that could be run as decoders."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, AutoModel, AutoModelForCausalLM

    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or "AutoModelForCausalLM" in getattr(config, "auto_map", {})
    masked = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    trained_causal = any("ForCausalLM" in name or "LMHead" in name for name in config.architectures or ())
    is_encoder = masked and not getattr(config, "is_decoder", False) and not trained_causal
    return AutoModelForCausalLM if causal and not is_encoder else AutoModel


def resolve_device(model: ModelConfig, gpus: float = 0) -> str:
    """The device that a producer with `gpus` uses: `cpu` or `cuda`."""
    return ("cuda" if gpus > 0 else "cpu") if model.device == "auto" else model.device


def resolve_dtype(model: ModelConfig, device: str) -> str:
    """The dtype of weights and rows, by name; auto is bfloat16 on a GPU unless the one that is here lacks it."""
    if model.dtype != "auto":
        return model.dtype
    if device == "cpu" or (torch.cuda.is_available() and not torch.cuda.is_bf16_supported()):
        return "float32"
    return "bfloat16"


def max_positions(config: Any) -> int | None:
    """The longest context that the model can take; None if it does not say."""
    text = config.get_text_config()
    found = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if found and text.model_type in POSITIONS_AFTER_PADDING:
        return found - (text.pad_token_id or 0) - 1
    return found


def revision(model: ModelConfig, config: Any) -> str:
    """What the weights are: the hub's commit, or for a folder a hash over its files."""
    if not Path(model.name).is_dir():
        return getattr(config, "_commit_hash", None) or model.revision or "unknown"
    digest = hashlib.sha256()
    for path in sorted(Path(model.name).iterdir()):
        if path.suffix in WEIGHT_ENDINGS:
            digest.update(f"{path.name}\0{path.stat().st_size}\n".encode() + _ends(path))
    return f"local-{digest.hexdigest()[:16]}"


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(HASHED_BYTES)
        file.seek(max(0, path.stat().st_size - HASHED_BYTES))
        return head + file.read()


def _looks_like_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _why_not(model: ModelConfig, error: Exception) -> str:
    text = str(error)
    if "custom code" in text and not model.trust_remote_code:
        return f"{model.name} needs code that comes with it; to trust that: model.trust_remote_code=true"
    if Path(model.name).is_dir():
        has_config = (Path(model.name) / "config.json").is_file()
        return f"{model.name} has no config.json" if not has_config else f"{model.name} is not a model: {_first(text)}"
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON") or "couldn't connect" in text:
        return f"{model.name} is neither a folder nor in the Hugging Face cache of this machine, which is offline"
    return f"cannot load {model.name}: {_first(text)}"


def _first(text: str) -> str:
    return text.strip().split("\n")[0].rstrip(".")
