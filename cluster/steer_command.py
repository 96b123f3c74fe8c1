"""`headrace features steer`: what a user types, checked before anything heavy is imported."""

import json
from typing import Annotated, TypeVar

import typer

from cluster.screen import err, out
from shared.errors import UserError

T = TypeVar("T")
MODES = ("add", "set", "set_if_active", "scale", "ablate")
"""As `features.steering` has them."""


def steer(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a job's name.")],
    prompt: Annotated[str, typer.Option(help="The text that the model goes on from.")],
    latent: Annotated[list[int], typer.Option(help="A latent's number; again for more.")],
    sae: Annotated[list[str], typer.Option(help="Its SAE; once for all latents, or once for each.")],
    mode: Annotated[list[str] | None, typer.Option(help=f"{', '.join(MODES)}; likewise.")] = None,
    strength: Annotated[list[float] | None, typer.Option(help="Of --unit; a factor for scale; likewise.")] = None,
    unit: Annotated[str, typer.Option(help="max: the latent's largest activation; or absolute.")] = "max",
    on: Annotated[str, typer.Option(help="prompt, generated or both.")] = "both",
    dose: Annotated[
        str | None,
        typer.Option(help="Doses with commas between, of which each multiplies the strengths: what it does."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="With --dose: a token to count, such as a word; default: what the latents promote."),
    ] = None,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to write.")] = 40,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest token.")] = 0.7,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn, the same for both texts.")] = 0,
    samples: Annotated[int | None, typer.Option(min=1, help="Texts of each; default 1, with --dose 8.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let the model write with latents turned up, held or silenced, beside what it writes by itself."""
    count = len(latent)
    names, modes = for_each("--sae", sae, count), for_each("--mode", mode or ["add"], count)
    strengths = for_each("--strength", strength or [1.0], count)
    doses = None if dose is None else numbers("--dose", dose)
    if target and doses is None:
        raise UserError("--target is counted at each dose: give --dose too")
    for one in modes:
        if one not in MODES:
            raise UserError(f"--mode must be one of {', '.join(MODES)}, got {one!r}")
    from cluster.job_place import find_run

    folder, _ = find_run(run)
    with err.status("loading"):
        from cluster.run_steer import Turn, compare_turns, dose_turns, targets_of
        from cluster.steer_view import comparison_view, doses_view, while_writing
        from cluster.workbench import Workbench
        from features.generation import Sampling

        bench = Workbench.open(folder)
        eos = bench.tokenizer.eos_token_id
    turns = [
        Turn(*parts, unit=unit, on=on)  # type: ignore[arg-type]
        for parts in zip(names, latent, modes, strengths, strict=True)
    ]
    stop_ids = () if eos is None else (eos,)
    sampling = Sampling(new_tokens, temperature, seed, samples or (1 if doses is None else 8), stop_ids)
    if doses is None:
        with while_writing(prompt, err) as show:
            facts = compare_turns(bench, turns, prompt, sampling, show)
    else:
        with err.status("writing"):
            facts = dose_turns(bench, turns, prompt, doses, targets_of(bench, turns, target or ()), sampling)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        out.print(comparison_view(facts) if doses is None else doses_view(facts))


def for_each(option: str, given: list[T], count: int) -> list[T]:
    """One for each of `count` latents. Raises UserError if there are neither one nor so many."""
    if len(given) not in (1, count):
        raise UserError(f"{option} must be given once, or {count} times, once for each --latent; got {len(given)}")
    return given * count if len(given) == 1 else given


def numbers(option: str, text: str) -> list[float]:
    """`0,1,2.5` as numbers. Raises UserError if it is something else."""
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise UserError(f"{option} must be numbers with commas between, such as 0,1,2; got {text!r}") from None
