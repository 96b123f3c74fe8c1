"""SAEs from SAELens, and for it: its format is ours, but not every SAE of ours is one that it knows."""

import dataclasses
from pathlib import Path

from shared.errors import UserError
from shared.hookpoints import INPUT
from trainers.hook_names import hookpoint_of_lens_name
from trainers.import_options import ImportOptions
from trainers.sae import SparseAutoencoder
from trainers.sae_facts import SaeFacts
from trainers.saelens_format import CONFIG, KNOWN, WEIGHTS, architecture_of, load_sae, read_facts, save_sae


def recognises(path: Path) -> bool:
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def refusal(sae: SparseAutoencoder, facts: SaeFacts) -> str | None:
    """Why SAELens cannot hold `sae`; None if it can."""
    architecture = architecture_of(sae, facts)
    if architecture not in KNOWN:
        return f"SAELens has no {architecture}"
    return None


def place(facts: SaeFacts, out: Path) -> Path:
    return out


def write(sae: SparseAutoencoder, facts: SaeFacts, folder: Path) -> None:
    save_sae(sae, folder, facts)


def read(folder: Path, options: ImportOptions) -> tuple[SparseAutoencoder, SaeFacts]:
    """The SAE in a folder. Raises UserError if it is damaged or of another kind, or its module's name is not known."""
    facts = read_facts(folder)
    model_name = options.model_name or facts.model_name
    if options.hookpoint is not None:
        into, out = options.hookpoint.removesuffix(INPUT) + INPUT, options.hookpoint.removesuffix(INPUT)
        transcodes = facts.inputs != facts.targets
        names = {facts.inputs[0]: into, facts.targets[0]: out} if transcodes else {facts.inputs[0]: options.hookpoint}
    else:
        names = {one: _hookpoint(one, model_name, folder) for one in (*facts.inputs, *facts.targets)}
    inputs, targets = (tuple(names[one] for one in some) for some in (facts.inputs, facts.targets))
    own = {**facts.headrace} if facts.headrace else {"imported_from": "saelens"}
    return load_sae(folder), dataclasses.replace(
        facts, model_name=model_name, inputs=inputs, targets=targets, headrace=own
    )


def _hookpoint(name: str, model_name: str, folder: Path) -> str:
    """A module's name, from TransformerLens' if it is one."""
    if name and not name.startswith("blocks."):
        return name
    hookpoint = hookpoint_of_lens_name(name, model_name)
    if hookpoint is None:
        raise UserError(
            f"{folder / CONFIG} names the place {name or 'of its SAE nowhere'!r}, which is no module of "
            f"{model_name or 'its model'}: give --hookpoint"
        )
    return hookpoint
