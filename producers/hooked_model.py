"""The language model, run only as far as its last hookpoint."""

import inspect
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from producers.hookpoints import Caught, Hooks, Sink, by_context, find_hookpoints
from producers.pretrained import auto_class, load_config
from shared.config import ModelConfig
from shared.errors import UserError

OUTPUT_LAYERS = ("pooler", "lm_head", "embed_out", "cls", "classifier", "score")
"""Parts of a model that files of weights may lack without harm, since nothing before them needs them."""


class HookedModel:
    """A model with hooks: `capture` gives the activations of each hookpoint for some contexts.

    What comes after the last hookpoint is not computed. Padding is masked, so that it changes nothing before it.
    """

    def __init__(self, model: nn.Module, hookpoints: tuple[str, ...], name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        self._hooks = Hooks(find_hookpoints(model, hookpoints, name))
        self._options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}

    @classmethod
    def load(cls, config: ModelConfig, device: str = "cpu", dtype: str = "float32") -> Self:
        """The model with its weights. Raises UserError if they cannot be had or are not all there."""
        return cls(load_weights(config, device, dtype).model, config.hookpoints, config.name)

    @torch.inference_mode()
    def run(self, token_ids: Tensor, attention_mask: Tensor, sink: Sink) -> None:
        """One forward; `sink(hookpoint, activations)` is called for each hookpoint as it is reached.

        Args:
            token_ids, attention_mask: [contexts, tokens], padded on the right.
            sink: gets [contexts, tokens, width]; must copy what it keeps.
        Raises:
            UserError: a hookpoint was not reached, or gives no vector for each token.
        """
        shape = token_ids.shape
        self._hooks.begin(lambda name, activations: sink(name, by_context(name, activations, shape)))
        try:
            self._forward(token_ids, attention_mask)
        except Caught:
            return
        raise UserError(f"model.hookpoints: a forward does not reach {', '.join(self._hooks.missed)}")

    def capture(self, token_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """hookpoint -> [contexts, tokens, width], each a copy."""
        captured: dict[str, Tensor] = {}
        self.run(token_ids, attention_mask, lambda name, activations: captured.update({name: activations.clone()}))
        return captured

    def _forward(self, token_ids: Tensor, attention_mask: Tensor) -> Any:
        """The model's own output."""
        return self.model(
            input_ids=token_ids.to(self.device), attention_mask=attention_mask.to(self.device), **self._options
        )


class LoadedModel(NamedTuple):
    """A model with its weights, on its device."""

    model: nn.Module
    is_causal: bool
    """It was made to predict the next token."""
    missing: tuple[str, ...]
    """Weights after the last layer that the files lack; they are random numbers."""


def load_weights(model: ModelConfig, device: str, dtype: str) -> LoadedModel:
    """The model with its weights. Raises UserError if they cannot be had, or lack some of a layer."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("model.device: this machine has no GPU that torch can use")
    config = load_config(model)
    logging.disable_progress_bar()
    try:
        loaded, report = auto_class(config).from_pretrained(
            model.name,
            config=config,
            dtype=getattr(torch, dtype),
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise UserError(f"model.name: cannot load the weights of {model.name}: {reason}") from error
    missing = sorted(report["missing_keys"])
    _check_complete(model, missing)
    return LoadedModel(loaded.to(device), auto_class(config) is AutoModelForCausalLM, tuple(missing))


def _check_complete(model: ModelConfig, missing: list[str]) -> None:
    """Raises UserError if a weight that may matter is missing: transformers would fill it with random numbers."""
    needed = [key for key in missing if not any(part in OUTPUT_LAYERS for part in key.split("."))]
    if needed:
        raise UserError(f"model.name: {model.name} lacks {len(needed)} weights, such as {needed[0]}")
