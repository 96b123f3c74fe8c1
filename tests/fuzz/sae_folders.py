"""SAEs on disk in every format that is read: cfg.json and weights, loaded and imported."""

import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.fuzz.mutation import mutate_file
from tests.fuzz.target import Target
from tests.sae_folders import D_IN, FACTS, HOOKPOINT, METRICS, NUM_LATENTS, random_topk, randomised
from trainers import load_sae
from trainers.crosscoder import ReluCrosscoder
from trainers.formats import export_sae, import_saes
from trainers.gated import Gated
from trainers.import_options import ImportOptions
from trainers.jumprelu import JumpReLU
from trainers.kl import Sigmoid
from trainers.relu import Relu
from trainers.sae_facts import SaeFacts
from trainers.saelens_format import read_facts, save_sae
from trainers.topk import TopK


class SaeFolders(Target):
    """`load_sae`, `read_facts`, `import_saes`."""

    name = "SAE folders"
    writes = True

    def __init__(self, ground: Path) -> None:
        super().__init__(ground)
        self._folders = _sound_folders(ground / "sound")

    def lay(self, draw: random.Random, folder: Path) -> None:
        shutil.copytree(draw.choice(self._folders), folder / "transformer.h.1")
        for _ in range(draw.choice((1, 1, 2))):
            files = sorted(path for path in (folder / "transformer.h.1").iterdir() if path.is_file())
            if files:
                mutate_file(draw, draw.choice(files))

    def feed(self, draw: random.Random, folder: Path) -> None:
        path = folder / "transformer.h.1"
        if draw.random() < 0.4:
            sae = load_sae(path)
            facts = read_facts(path)
            assert isinstance(facts.model_name, str) and isinstance(facts.context_tokens, int)
        else:
            options = ImportOptions(allow_pickle=True, model_name="m", hookpoint="transformer.h.1")
            (made,) = import_saes(path, None, folder / "out", options)
            sae = load_sae(made)
        with torch.no_grad():
            assert sae(torch.zeros(2, sae.d_in)).shape == (2, sae.d_out)


def _sound_folders(ground: Path) -> list[Path]:
    """One for each format and a few architectures."""
    ground.mkdir()
    skip = TopK(D_IN, NUM_LATENTS, 4)
    skip.subtracts_b_dec = False
    skip.add_skip()
    crosscoder = ReluCrosscoder(D_IN, NUM_LATENTS)
    crosscoder.set_sources((D_IN // 2, D_IN // 2), (1.0, 0.5))
    saes = {
        "topk": random_topk(),
        "relu": randomised(Relu(D_IN, NUM_LATENTS)),
        "jumprelu": randomised(JumpReLU(D_IN, NUM_LATENTS)),
        "gated": randomised(Gated(D_IN, NUM_LATENTS)),
        "kl": randomised(Sigmoid(D_IN, NUM_LATENTS)),
        "crosscoder": randomised(crosscoder),
        "skip": randomised(skip),
    }
    other = SaeFacts("m", HOOKPOINT, ("transformer.h.2",), 64, "d")
    for name, sae in saes.items():
        facts = other if name in ("crosscoder", "skip") else FACTS
        save_sae(sae, ground / name, facts, METRICS, torch.full((NUM_LATENTS,), 0.1))  # type: ignore[arg-type]
    export_sae(ground / "topk", "sparsify", ground / "sparsify-run")
    _old_saelens(ground / "topk", ground / "old")
    for ending in ("pt", "safetensors"):
        _dictionary_learning(ground / f"dictionary-{ending}", ending)
    return [*(ground / name for name in saes), ground / "sparsify-run" / "h.1", ground / "old"] + [
        ground / f"dictionary-{ending}" for ending in ("pt", "safetensors")
    ]


def _old_saelens(source: Path, folder: Path) -> None:
    """As before version 6: all flat."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "cfg.json").read_text())
    flat = {key: value for key, value in config.items() if key not in ("metadata", "architecture", "k")}
    flat |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}, "sae_lens_version": "3.1.0"}
    flat |= {"model_name": "gpt2-small", "hook_point": "blocks.1.hook_resid_post", "context_size": 64}
    (folder / "cfg.json").write_text(json.dumps(flat))


def _dictionary_learning(folder: Path, ending: str) -> None:
    folder.mkdir()
    draw = torch.Generator().manual_seed(0)
    state = {
        "encoder.weight": torch.randn(NUM_LATENTS, D_IN, generator=draw),
        "encoder.bias": torch.zeros(NUM_LATENTS),
        "decoder.weight": torch.randn(D_IN, NUM_LATENTS, generator=draw),
        "b_dec": torch.zeros(D_IN),
        "k": torch.tensor(4),
    }
    if ending == "pt":
        torch.save(state, folder / "ae.pt")
    else:
        save_file(state, folder / "ae.safetensors")
    config = {
        "trainer": {
            "dict_class": "AutoEncoderTopK",
            "lm_name": "m",
            "layer": 1,
            "submodule_name": "resid_post_layer_1",
        },
        "buffer": {"ctx_len": 64, "d_submodule": D_IN},
    }
    (folder / "config.json").write_text(json.dumps(config))
