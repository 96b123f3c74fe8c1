"""The model card of an SAE's folder: `README.md` as the Hugging Face hub shows it, made from the files beside it.

What stands between the two marks is written anew each time; front matter that is there already, and all other text,
stay as they are, so that a person can add to a card and it can still be brought up to date.
"""

import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from shared.files import write_atomically
from shared.trainer_config import recorded_place
from trainers.saelens_format import KNOWN
from trainers.weight_files import read_json

CARD, LABELS = "README.md", "labels.jsonl"
BEGIN, END = "<!-- headrace: begin -->", "<!-- headrace: end -->"
TAGS = ["sparse-autoencoder", "mechanistic-interpretability", "headrace"]
UNCHOSEN = "unknown"
"""The licence of a card until somebody chooses one; the hub knows this word."""
METRICS = {
    "tokens": "tokens",
    "fvu": "fraction of variance unexplained (FVU)",
    "l0": "active latents per token (L0)",
    "dead_fraction": "latents that never fired",
    "dense_fraction_10_percent": "latents that fire on more than 10% of tokens",
    "cosine": "cosine of activations and reconstruction",
    "shrinkage": "shrinkage (1 is none)",
    "splice.ce_clean": "cross-entropy of the model, nats per token",
    "splice.ce_spliced": "the same with the reconstruction in place",
    "splice.ce_increase": "increase",
    "splice.ce_recovered": "share recovered of what zeros in place would cost",
    "splice.kl_spliced": "KL(model, model with the reconstruction), nats per token",
}
"""Path in evaluation.json or metrics.json -> what it is called here, in the order of the table."""
HEADRACE_CODE = """
from trainers import load_sae  # Headrace: a torch module with encode, decode and forward

sae = load_sae("{name}")
"""
SAELENS_CODE = """
from sae_lens import SAE

sae = SAE.{call}
"""
SPARSIFY_CODE = """
from sparsify import Sae

sae = Sae.load_from_disk("{name}")
"""


def write_card(
    folder: Path,
    repo_id: str | None = None,
    licence: str | None = None,
    described_by: Path | None = None,
    library: str = "saelens",
    has_labels: bool = False,
) -> None:
    """Writes or brings up to date the card of the SAE in `folder`.

    Args:
        repo_id: where on the hub it is about to be, under its folder's name.
        licence: goes into the front matter; without it the one that is there stays.
        described_by: the folder in our format that it was made from, where `folder` is in another library's.
        library: whose format that is, saelens or sparsify.
        has_labels: whether labels.jsonl goes along from elsewhere; one that lies in `folder` is seen.
    """
    source = described_by or folder
    config = read_json(source / "cfg.json")
    parts = [
        f"# {folder.name}\n\n{_summary(config, library)}",
        _table("Quality on held-out text", _numbers(_read(source / "evaluation.json"))),
        _table("Quality at the end of training", _numbers(_read(source / "metrics.json"))),
        f"## Use\n\n{_use(folder.name, config, repo_id, library)}",
        _labels_section() if has_labels or (folder / LABELS).is_file() else "",
        _table("Training", _facts(config)),
    ]
    body = "\n\n".join(part for part in parts if part)
    _write(folder / CARD, _front_matter(config, library), body, licence)


def write_collection_card(path: Path, repo_id: str, names: list[str], licence: str | None = None) -> None:
    """Writes or brings up to date the card of a repository that has an SAE in each of the folders `names`."""
    links = "\n".join(f"- [{name}]({name}/{CARD})" for name in names)
    code = SAELENS_CODE.format(call=f'from_pretrained("{repo_id}", "{names[0]}")')
    body = f"# {repo_id.rpartition('/')[2]}\n\nSparse autoencoders, each in its own folder:\n\n{links}\n\n{_code(code)}"
    _write(path, {"library_name": "saelens", "tags": ["saelens", *TAGS], "license": UNCHOSEN}, body, licence)


def licence_of(folder: Path) -> str | None:
    """The licence that the card in `folder` names; None if there is no card or nobody has chosen one."""
    path = folder / CARD
    licence = ModelCard.load(path).data.get("license") if path.is_file() else None
    return None if licence == UNCHOSEN else licence


def _write(path: Path, front_matter: dict[str, Any], body: str, licence: str | None) -> None:
    old = ModelCard.load(path) if path.is_file() else None
    known = old.data.to_dict() if old else {}
    known = {**front_matter, **known, **({"license": licence} if licence else {})}
    body = f"{BEGIN}\n{body}\n{_licence_section(known['license'])}{END}"
    text = old.text if old else f"\n{body}\n"
    text = re.sub(f"{BEGIN}.*?{END}", lambda _: body, text, flags=re.DOTALL)
    write_atomically(path, f"---\n{ModelCardData(**known).to_yaml()}\n---\n{text}".encode())


def _front_matter(config: dict[str, Any], library: str) -> dict[str, Any]:
    metadata = config.get("metadata", {})
    model, dataset = metadata.get("model_name", ""), metadata.get("dataset_path", "")
    return {
        "library_name": library if _is_known(config, library) else "headrace",
        "tags": [library, *TAGS] if _is_known(config, library) else TAGS,
        **({"base_model": model} if _is_hub_id(model) else {}),
        **({"datasets": [dataset[5:].partition(":")[0]]} if dataset.startswith("hf://") else {}),
        "license": UNCHOSEN,
    }


def _use(name: str, config: dict[str, Any], repo_id: str | None, library: str) -> str:
    if library == "sparsify":
        return _code(SPARSIFY_CODE.format(name=name))
    call = f'from_pretrained("{repo_id}", "{name}")' if repo_id else f'load_from_disk("{name}")'
    codes = [SAELENS_CODE.format(call=call)] if _is_known(config, library) else []
    return "\n\n".join(map(_code, [*codes, HEADRACE_CODE.format(name=name)]))


def _summary(config: dict[str, Any], library: str) -> str:
    metadata = config.get("metadata", {})
    own = metadata.get("headrace") or {}
    kind = config["architecture"] + (f", k = {config['k']}" if "k" in config else "")
    inputs = own.get("inputs") or [metadata.get("hf_hook_name") or metadata.get("hook_name")]
    targets = own.get("targets") or inputs
    where = (
        _listed(inputs) if targets == inputs else f"{_listed(inputs)}, which it turns into those at {_listed(targets)}"
    )
    origin = f"imported from {own['imported_from']} by" if own.get("imported_from") else "trained with"
    style = {"saelens": "SAELens'", "sparsify": "sparsify's"}[library] if _is_known(config, library) else "Headrace's"
    noun = next((word for word in ("transcoder", "crosscoder") if word in kind), "autoencoder")
    return (
        f"A sparse {noun} ({kind}) with {config['d_sae']:,} latents for the activations of "
        f"`{_shown(metadata.get('model_name', ''))}` at {where}, {config['d_in']:,} values wide; "
        f"{origin} Headrace, in {style} format."
    )


def _listed(hookpoints: list[str]) -> str:
    return " and ".join(f"`{one}`" for one in hookpoints)


def _is_known(config: dict[str, Any], library: str) -> bool:
    """Whether the library that its format is of can use it, and not Headrace alone."""
    return library != "saelens" or config["architecture"] in KNOWN


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """What is known of the training: a few keys of the metadata, then all plain values among Headrace's own."""
    metadata = config.get("metadata", {})
    own = metadata.get("headrace") or {}
    return {
        "model": _shown(metadata.get("model_name", "")),
        "hookpoint": recorded_place(metadata),
        "corpus": metadata.get("dataset_path"),
        "context_tokens": metadata.get("context_size"),
        **{name: value for name, value in own.items() if isinstance(value, str | int | float)},
    }


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    """Those of `METRICS` that are there, by what they are called."""
    numbers = {}
    for path, label in METRICS.items():
        first, _, second = path.partition(".")
        section = found.get(first) if second else found
        value = section.get(second or first) if isinstance(section, dict) else None
        if isinstance(value, int | float):
            numbers[label] = f"{value:.1%}" if "_fraction" in path else value
    return numbers


def _table(title: str, rows: dict[str, Any]) -> str:
    lines = [f"| {name.replace('_', ' ')} | {_value(name, value)} |" for name, value in rows.items()]
    return "\n".join([f"## {title}\n", "| | |", "|---|---|", *lines]) if lines else ""


def _value(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) and value >= 1000 and name != "seed" else str(value)


def _labels_section() -> str:
    return (
        f"## Labels\n\n[{LABELS}]({LABELS}) holds what people called its latents, and their tags, such as "
        "`safety:deception`: one JSON object a line, of which the newest of a latent counts."
    )


def _licence_section(licence: str) -> str:
    if licence != UNCHOSEN:
        return ""
    return (
        "\n## Licence\n\nNot chosen yet. Whoever publishes this: put a licence into `license:` at the top of this file "
        "(such as `apache-2.0`), and mind the model's and the corpus's own.\n"
    )


def _code(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _is_hub_id(model: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model)) and not Path(model).exists()


def _shown(model: str) -> str:
    """A local folder by its last name only: where it lies on somebody's disk is nobody's business."""
    return model if _is_hub_id(model) else Path(model).name
