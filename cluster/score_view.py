"""What `headrace features score` prints: what it will cost, and how each explanation did."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cluster.status_table import cell, plain_table
from cluster.wording import count, decimals, plural
from features.judge import Spent
from features.scoring import Cost, Done


def cost_sentence(cost: Cost, num_latents: int, left_out: int) -> str:
    """`20 latents: 380 calls, about 285k tokens in questions, at most 41k in answers`."""
    asked, answered = count(cost.prompt_tokens), count(cost.completion_tokens)
    told = f"{plural(num_latents, 'latent')}: {plural(cost.calls, 'call')} not answered yet"
    told += f", about {asked} tokens in questions, at most {answered} in answers"
    return told + (f"; the limit leaves out {plural(left_out, 'latent')}" if left_out else "")


def spent_sentence(spent: Spent, done: Done) -> str:
    """`380 calls (12 stored), 3 tried again, 0 given up; 281k + 9k tokens; 2 examples without an answer`."""
    told = f"{plural(spent.calls, 'call')} ({spent.stored:,} more were stored), {spent.retries:,} tried again"
    told += f", {spent.failed:,} given up; {count(spent.prompt_tokens)} + {count(spent.completion_tokens)} tokens"
    told += f"; {plural(done.failed_examples, 'example')} without an answer"
    return told + (f"; unexplained: {', '.join(map(str, done.unexplained))}" if done.unexplained else "")


def scores_view(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    """`found` as `run_score.known_scores` gives it; a column for each method that there is."""
    methods = list(dict.fromkeys(score["method"] for one in found for score in one["scores"]))
    table = plain_table("latent", "source", *methods, "explanation", left=("source", "explanation"))
    for one in found:
        values = {score["method"]: score["value"] for score in one["scores"]}
        numbers = [decimals(values.get(name), 2) for name in methods]
        table.add_row(str(one["latent"]), cell(one["source"]), *numbers, cell(one["explanation"]))
    legend = "balanced accuracy, 0.5 is chance; specificity 0 to 3; simulation a correlation"
    return Group(table, Text(legend, "dim"))
