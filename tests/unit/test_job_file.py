"""A job file is read as it is written, or refused in one sentence that names the key."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import UserError
from shared.job_file import dump_job, load_job, parse_job
from shared.trainer_configs import TRAINER_CONFIGS

KNOWN = " or ".join([", ".join(list(TRAINER_CONFIGS)[:-1]), list(TRAINER_CONFIGS)[-1]])

TEXT = """
name: sizes
model: {name: gpt2, hookpoints: [transformer.h.8]}
corpus: {source: data/*.parquet}
stream: {buffer_rows: 65536, block_rows: 4096}
trainers:
  - name: topk-{num_latents}-k{k}
    architecture: topk
    num_latents: [512, 1024]
    k: [8, 16]
  - name: relu
    architecture: relu_l1
    num_latents: 512
tokens: 100_000
"""


def refusal(*overrides: str, text: str = TEXT) -> str:
    with pytest.raises(UserError) as caught:
        parse_job(text, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without(key: str) -> str:
    raw = yaml.safe_load(TEXT)
    del raw[key]
    return yaml.safe_dump(raw)


def test_lists_multiply_out_in_the_order_they_are_written() -> None:
    job = parse_job(TEXT)
    names = ["topk-512-k8", "topk-512-k16", "topk-1024-k8", "topk-1024-k16", "relu"]
    assert [trainer.name for trainer in job.trainers] == names


def test_defaults_are_filled_in() -> None:
    job = parse_job(TEXT)
    assert (job.output, job.registry, job.seed, job.producers.count) == ("runs/sizes", "embedded", 0, 1)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(1e-12, 1e3),
    st.sampled_from(["512MiB", 4096, "1.5 GiB"]),
    st.text("äé {}:#'\"-", min_size=1),
)
def test_dumped_job_reads_back_the_same(seed: int, lr: float, log_bytes: str | int, column: str) -> None:
    raw = yaml.safe_load(TEXT)
    raw |= {"seed": seed, "stream": {"log_bytes": log_bytes}}
    raw["trainers"][0]["lr"] = lr
    raw["corpus"]["text_column"] = column
    job = parse_job(yaml.safe_dump(raw))
    assert parse_job(dump_job(job)) == job


def test_overrides_reach_every_key() -> None:
    overrides = ("tokens=5", "trainers.0.k=3", "trainers[1].num_latents=[8, 16]", "trainers.1.name=r-{num_latents}")
    job = parse_job(TEXT, (*overrides, "checkpoint.keep=4"))
    assert (job.tokens, job.checkpoint.keep) == (5, 4)
    assert [trainer.name for trainer in job.trainers] == ["topk-512-k3", "topk-1024-k3", "r-8", "r-16"]


def test_home_folder_is_written_as_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_job(TEXT, ("output=~/runs/x",)).output == "/home/ada/runs/x"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tokens=abc", "tokens must be a whole number, got 'abc'"),
        ("tokens=1e6", "tokens must be a whole number, got '1e6'; write all its digits, such as 1_000_000"),
        ("tokens=1.5M", "tokens must be a whole number, got '1.5M'; write all its digits, such as 1_000_000"),
        ("tokens=", "tokens must be a whole number, got nothing"),
        ("tokens=1.5", "tokens must be a whole number, got 1.5"),
        ("tokens=yes", "tokens must be a number, got True"),
        ("trainers.1.lr=fast", "trainers[1].lr must be a number, got 'fast'"),
        ("trainers.0.lr=.inf", "trainers[0].lr must be a finite number, got inf"),
        ("trainers.0.lr=0", "trainers[0].lr must be above 0, got 0"),
        ("trainers.1.l1_warmup_fraction=1.5", "trainers[1].l1_warmup_fraction must be at most 1, got 1.5"),
        ("stream.lanes=0", "stream.lanes must be at least 1, got 0"),
        ("seed=4294967296", "seed must be below 4294967296, got 4294967296"),
        ("model.dtype=int8", "model.dtype must be auto, float32, float16 or bfloat16, got 'int8'"),
        ("model.hookpoints=h", "model.hookpoints must be a list, got 'h'"),
        ("model.hookpoints=[]", "model.hookpoints must not be empty"),
        ("model.hookpoints=[h, h]", "model.hookpoints must differ from each other"),
        ("model.trust_remote_code=5", "model.trust_remote_code must be true or false, got 5"),
        ("model.name=''", "model.name must not be empty"),
        ("model=gpt2", "model must be a section with keys of its own, got 'gpt2'"),
        ("name=5", "name must be text, got 5; put it in quotes"),
        ("corpus.source=5", "corpus.source must be a path or a list of paths, got 5"),
        ("corpus.source=[]", "corpus.source must be a path or a list of paths, got []"),
        ("registry=localhost", "registry must be embedded, or a redis://, rediss:// or unix:// URL, got 'localhost'"),
        (
            "stream.log_bytes=much",
            "stream.log_bytes must be a size such as 512MiB, 4GiB or a number of bytes, got 'much'",
        ),
        ("stream.log_bytes=-1", "stream.log_bytes must be at least 0, got -1"),
        ("trainers={}", "trainers must be a list, got {}"),
        ("trainers=[]", "trainers must not be empty"),
        ("trainers.0=5", "trainers[0] must be a section with keys of its own, got 5"),
        (
            "trainers.1.architecture=jump",
            f"trainers[1].architecture must be {KNOWN}, got 'jump'",
        ),
        (
            "trainers.1={num_latents: 8, name: x}",
            f"trainers[1].architecture is missing; it must be {KNOWN}",
        ),
        ("trainers.1={architecture: topk, k: 1}", "trainers[1].num_latents is missing"),
        ("trainers.1.num_latents=[]", "trainers[1].num_latents must not be an empty list"),
        ("trainers.0.gpus=1.5", "trainers[0].gpus must be a whole number, or a part of one such as 0.5, got 1.5"),
    ],
)
def test_wrong_value_is_named_with_what_would_be_right(override: str, sentence: str) -> None:
    assert refusal(override) == sentence


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tokns=5", "unknown key tokns; did you mean tokens?"),
        ("stream.lane=2", "unknown key stream.lane; did you mean lanes?"),
        ("trainers.1.k=3", "unknown key trainers[1].k; known are name, architecture, hookpoint, num_latents,"),
        ("5=5", "unknown key 5; known are name, seed, model,"),
    ],
)
def test_unknown_key_is_named_with_those_that_are_near(override: str, sentence: str) -> None:
    assert refusal(override).startswith(sentence)


def test_misspelt_key_is_told_before_the_one_that_it_leaves_out() -> None:
    assert refusal("tokns=5", text=without("tokens")) == "unknown key tokns; did you mean tokens?"
    assert refusal(text=without("tokens")) == "tokens is missing"


def test_trainers_have_the_numbers_of_the_job_file() -> None:
    assert refusal("trainers.1.seed=-1").startswith("trainers[1].seed must be")
    assert refusal("trainers.1.name=topk-512-k8").startswith("trainers[1].name 'topk-512-k8' is taken")
    assert refusal("trainers.0.k=[8, 600]") == "trainers[0].k must be between 1 and num_latents (512), got 600"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fixed", "trainers[0].name 'fixed' is taken; put what varies into it"),
        ("x-{width}", "trainers[0].name 'x-{width}' uses width, which this trainer does not set"),
        ("x-{k:99999}", "trainers[0].name must hold plain {key} places only, got 'x-{k:99999}'"),
        ("x-{", "trainers[0].name must hold plain {key} places only, got 'x-{'"),
        ("a b-{num_latents}-{k}", "trainers[0].name must be at most 64 letters, digits, dots"),
    ],
)
def test_names_must_tell_trainers_apart(name: str, sentence: str) -> None:
    assert refusal(f"trainers.0.name='{name}'").startswith(sentence)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tokens", "an override must look like key=value, got 'tokens'"),
        ("=5", "an override must look like key=value, got '=5'"),
        ("trainers.7.k=1", "there is no 'trainers.7.k' to override"),
        ("tokens.more=1", "there is no 'tokens.more' to override"),
        ("tokens={", "the value of the override 'tokens={', line 1, cannot be read as YAML"),
    ],
)
def test_override_that_leads_nowhere_is_named(override: str, sentence: str) -> None:
    assert refusal(override).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the job file is empty; it must hold keys such as name"),
        ("[]", "the job file is not a job file: it must hold keys"),
        ("a: b: c", "the job file, line 1, cannot be read as YAML: mapping values are not allowed here"),
        (
            "tokens: 1\nseed: 2\ntokens: 3",
            "the job file, line 3, cannot be read as YAML: the key 'tokens' stands twice",
        ),
        ("model: {name: a, name: b}", "the key 'name' stands twice"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("seed: 2024-13-99", "cannot be read as YAML: month must be in 1..12"),
        ("[" * 5000, "cannot be read as YAML: maximum recursion depth exceeded"),
        ("a: \x00", "cannot be read as YAML: unacceptable character"),
    ],
)
def test_text_that_is_no_job_file_is_refused(text: str, words: str) -> None:
    assert words in refusal(text=text)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES = ["name", "seed", "model", "model.hookpoints", "corpus", "corpus.source", "stream.log_bytes", "trainers"]
PLACES += ["trainers.0", "trainers.0.k", "trainers.1.name", "trainers.1.lr", "tokens", "output", "registry", "x"]


@given(st.sampled_from(PLACES), JUNK)
def test_nothing_that_yaml_can_hold_ends_in_anything_but_a_sentence(place: str, junk: Any) -> None:
    try:
        parse_job(TEXT, (f"{place}={yaml.safe_dump(junk)}",))
    except UserError as error:
        assert str(error) and "\n" not in str(error) and "pydantic" not in str(error)


def test_a_key_that_a_terminal_would_act_on_is_shown_by_its_letters() -> None:
    assert refusal(r"""model={"\e[2J\n": 1}""").startswith(r"unknown key model.'\x1b[2J\n'; known are")


@pytest.mark.parametrize("key", ["output", "model.name", "model.hookpoints.0", "corpus.text_column", "registry"])
@pytest.mark.parametrize("character", ["\n", "\t", "\0", "\x1b", "\u2028", "\u202e"])
def test_text_that_is_not_one_line_is_refused_by_its_key(key: str, character: str) -> None:
    value = json.dumps(f"unix:///tmp/a{character}b" if key == "registry" else f"a{character}b")
    said = refusal(f"{key}={value}")
    assert said.startswith(f"{key.replace('.0', '[0]')} must hold no newline and no control character, got ")
    assert said.isprintable()


def test_names_in_every_language_are_taken() -> None:
    job = parse_job(TEXT, ('output="runs/モデル\u3000é \u200d"', "corpus.source='数据.txt'"))
    assert job.output == "runs/モデル\u3000é \u200d"


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    for name, words in (("none.yaml", "No such file"), ("", "is a folder"), ("binary.yaml", "not UTF-8")):
        with pytest.raises(UserError, match=words):
            load_job(tmp_path / name)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("examples/*.yaml")), ids=lambda path: path.name)
def test_examples_are_job_files(path: Path) -> None:
    load_job(path)
