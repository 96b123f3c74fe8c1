"""Keys of architectures that read or reconstruct other hookpoints than one, and how such trainers are shown."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_run import example_job, example_snapshot, trainer_counters
from rich.console import Console

from cluster.memory_plan import PROCESS_BYTES, trainer_bytes
from cluster.report import write_report
from cluster.status import status_facts
from cluster.status_table import status_view
from shared.errors import UserError
from shared.job_file import dump_job, parse_job
from shared.trainer_config import TrainerConfig

POINTS = ("h.0.mlp:in", "h.0.mlp", "h.1")
TRANSCODER = {"architecture": "transcoder", "hookpoint": "h.0.mlp:in", "target_hookpoint": "h.0.mlp", "k": 2}


def trainer(points: tuple[str, ...] = POINTS, **keys: Any) -> TrainerConfig:
    job = {
        "name": "a",
        "model": {"name": "m", "hookpoints": list(points)},
        "corpus": {"source": "stdlib"},
        "trainers": [{"name": "t", "num_latents": 8, **{key: one for key, one in keys.items() if one is not None}}],
        "tokens": 1000,
    }
    read = parse_job(yaml.safe_dump(job))
    assert parse_job(dump_job(read)) == read
    return read.trainers[0]


@pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder"])
def test_a_transcoder_reads_one_hookpoint_and_reconstructs_another(architecture: str) -> None:
    one = trainer(**{**TRANSCODER, "architecture": architecture})
    assert (one.inputs(POINTS), one.targets(POINTS)) == (("h.0.mlp:in",), ("h.0.mlp",))
    assert one.columns(POINTS) == ("h.0.mlp:in", "h.0.mlp")
    assert one.place(POINTS) == "h.0.mlp:in → h.0.mlp"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"hookpoint": None},
            "trainers[0].hookpoint must say which of model.hookpoints it trains on (h.0.mlp:in, h.0.mlp, h.1)",
        ),
        (
            {"target_hookpoint": None},
            "trainers[0].target_hookpoint must say which of model.hookpoints it reconstructs "
            "(h.0.mlp:in, h.0.mlp, h.1)",
        ),
        (
            {"target_hookpoint": "h.0.mpl"},
            "trainers[0].target_hookpoint must be one of model.hookpoints (h.0.mlp:in, h.0.mlp, h.1), "
            "got 'h.0.mpl'; did you mean h.0.mlp?",
        ),
        ({"hookpoint": "h.0.mlp"}, "trainers[0].target_hookpoint must differ from what it reads, 'h.0.mlp'"),
        ({"target_hook": "h.1"}, "unknown key trainers[0].target_hook; did you mean target_hookpoint?"),
        ({"k": None}, "trainers[0].k is missing; or give active_proportion, above 0"),
        (
            {"activation": "relu"},
            "trainers[0].activation must be topk or relu_l1, got 'relu'",
        ),
        ({"activation": "relu_l1"}, "trainers[0].k belongs to activation topk, and this one is relu_l1"),
        (
            {"l1_coefficient": 3.0},
            "trainers[0].l1_coefficient belongs to activation relu_l1, and this one is topk",
        ),
        (
            {"normalize": "layer_norm"},
            "trainers[0].normalize must be none, sqrt_d or unit_mean_square for a transcoder, got 'layer_norm': "
            "its rows are of several hookpoints, which no one norm can be given back to",
        ),
    ],
)
def test_what_a_transcoder_cannot_be_is_said_in_one_sentence(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        trainer(**{**TRANSCODER, **keys})
    assert str(caught.value) == sentence


CROSSCODER = {"architecture": "crosscoder"}


def test_a_crosscoder_is_for_all_hookpoints_of_the_job_or_for_those_it_names() -> None:
    assert trainer(**CROSSCODER).columns(POINTS) == POINTS
    some = trainer(**CROSSCODER, hookpoints=["h.1", "h.0.mlp"])
    assert some.inputs(POINTS) == some.targets(POINTS) == some.columns(POINTS) == ("h.1", "h.0.mlp")
    assert some.place(POINTS) == "h.1 + h.0.mlp"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"hookpoints": ["h.1", "h.2"]},
            "trainers[0].hookpoints[1] must be one of model.hookpoints (h.0.mlp:in, h.0.mlp, h.1), got 'h.2'; "
            "did you mean h.1?",
        ),
        (
            {"hookpoints": ["h.1"]},
            "trainers[0].hookpoints must name two or more of model.hookpoints (h.0.mlp:in, h.0.mlp, h.1)",
        ),
        ({"hookpoints": []}, "trainers[0].hookpoints must not be empty"),
        ({"hookpoints": "h.1"}, "trainers[0].hookpoints must be a list, got 'h.1'"),
        ({"hookpoints": ["h.1", "h.1"]}, "trainers[0].hookpoints must differ from each other"),
        (
            {"hookpoint": "h.1"},
            "trainers[0].hookpoint is not a key of a crosscoder: give hookpoints, got 'h.1'",
        ),
        ({"k": 3}, "trainers[0].k belongs to activation topk, and this one is relu_l1"),
        (
            {"activation": "topk", "k": 3, "decoder_init_norm": 0.1},
            "trainers[0].decoder_init_norm belongs to activation relu_l1, and this one is topk",
        ),
        (
            {"normalize": "token_norm"},
            "trainers[0].normalize must be none, sqrt_d or unit_mean_square for a crosscoder, got 'token_norm': "
            "its rows are of several hookpoints, which no one norm can be given back to",
        ),
    ],
)
def test_what_a_crosscoder_cannot_be_is_said_in_one_sentence(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        trainer(**CROSSCODER, **keys)
    assert str(caught.value) == sentence


def test_a_crosscoder_needs_two_hookpoints() -> None:
    with pytest.raises(UserError, match=r"hookpoints must name two or more of model.hookpoints \(h\)"):
        trainer(("h",), **CROSSCODER)


def test_the_only_hookpoint_cannot_be_both() -> None:
    with pytest.raises(UserError, match="target_hookpoint must differ from what it reads, 'h'"):
        trainer(("h",), architecture="transcoder", target_hookpoint="h", k=2)


def test_memory_counts_what_is_read_and_what_is_reconstructed() -> None:
    big = {**TRANSCODER, "num_latents": 10_000, "batch_rows": 1}
    plain, skip = trainer(**big), trainer(**{**big, "architecture": "skip_transcoder"})
    weights = trainer_bytes(plain, 300, 700) - PROCESS_BYTES
    assert weights == pytest.approx(16 * 10_000 * (300 + 700), rel=0.01)
    assert trainer_bytes(skip, 300, 700) - trainer_bytes(plain, 300, 700) == 16 * 300 * 700


TWO_PLACES = """
name: gpt2-sizes
model: {name: m, hookpoints: [h.0.mlp:in, h.0.mlp]}
corpus: {source: stdlib}
trainers:
  - {name: relu-16384, architecture: transcoder, num_latents: 8, k: 2, hookpoint: "h.0.mlp:in",
     target_hookpoint: h.0.mlp}
  - {name: topk-16384-k32, architecture: topk, hookpoint: h.0.mlp, num_latents: 8, k: 2}
tokens: 1000
"""


def test_status_shows_where_trainers_read_where_they_differ() -> None:
    both = {name: trainer_counters(300) for name in ("relu-16384", "topk-16384-k32")}
    snapshot = example_snapshot(trainers=both)
    facts = status_facts(snapshot, parse_job(TWO_PLACES))
    assert [one["hookpoint"] for one in facts["trainers"]] == ["h.0.mlp:in → h.0.mlp", "h.0.mlp"]
    assert "h.0.mlp:in → h.0.mlp" in printed(facts, 160)
    assert "hookpoint" not in printed(status_facts(example_snapshot(), example_job()), 160)


def test_the_report_shows_where_trainers_read_where_they_differ(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(TWO_PLACES)
    page = write_report(tmp_path).read_text()
    assert ">hookpoint<" in page and "h.0.mlp:in → h.0.mlp" in page
    (tmp_path / "job.yaml").write_text(dump_job(example_job()))
    assert ">hookpoint<" not in write_report(tmp_path).read_text()


def printed(facts: dict[str, Any], width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(status_view(facts, width))
    return console.file.getvalue()  # type: ignore[attr-defined]
