"""docs/architectures.md: every architecture with its keys and the defaults that the code has; the example trains."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.job_file import load_job
from shared.trainer_config import TrainerConfig
from shared.trainer_configs import OWN, TRAINER_CONFIGS
from tests.trainer_samples import new_trainer, some_block

PAGE = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}
SAME_SECTION = {"skip_transcoder": "transcoder"}
ALSO = {
    "multi_topk": ("topk",),
    "batch_topk": ("topk",),
    "matryoshka": ("batch_topk", "topk"),
    "gated": ("relu_l1_2023",),
    "p_anneal": ("relu_l1_2023",),
    "transcoder": ("topk", "relu_l1"),
    "skip_transcoder": ("topk", "relu_l1"),
    "crosscoder": ("topk", "relu_l1"),
}
"""Where an architecture's section leaves the rest of its keys to."""
ARCHITECTURES = [name for name in TRAINER_CONFIGS if name != OWN]


def rows_of(section: str) -> dict[str, str | None]:
    """Key -> default, as its tables say; None where they say none."""
    found: dict[str, str | None] = {}
    for line in SECTIONS[section].splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        keys = re.findall(r"`(\w+)`", cells[0]) if len(cells) == 3 else []
        defaults = re.findall(r"`([^`]+)`", cells[1]) if keys else []
        found |= dict(zip(keys, [*defaults, *[None] * (len(keys) - len(defaults))], strict=True))
    return found


def as_written(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_key_stands_there_with_its_default(architecture: str) -> None:
    section = SAME_SECTION.get(architecture, architecture)
    own = rows_of(section)
    elsewhere = {key for other in ALSO.get(architecture, ()) for key in rows_of(other)}
    shared, fields = TrainerConfig.model_fields, TRAINER_CONFIGS[architecture].model_fields
    changed = {key for key in shared if key in fields and fields[key].default != shared[key].default} - {"architecture"}
    assert own.keys() <= fields.keys(), "keys that it does not have"
    assert fields.keys() - shared.keys() | changed <= own.keys() | elsewhere
    assert changed - own.keys() <= ({"adam_betas"} if architecture == "matryoshka" else set())
    for key, default in own.items():
        if default is not None:
            assert yaml.safe_load(default) == pytest.approx(as_written(fields[key].default)), key


def test_shared_keys_stand_there_with_their_defaults() -> None:
    told = rows_of("Keys of all")
    assert told.keys() == TrainerConfig.model_fields.keys() - {"name", "architecture"}
    for key, default in told.items():
        if default is not None:
            assert yaml.safe_load(default) == as_written(TrainerConfig.model_fields[key].default), key


def test_the_example_is_a_module_that_a_job_file_names_and_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, trainers = (re.search(rf"```{kind}\n(.*?)```", SECTIONS["One of your own"], re.DOTALL) for kind in KINDS)
    assert code and trainers
    (tmp_path / "mine.py").write_text(code[1])
    job = "name: j\nmodel: {name: m, hookpoints: [h]}\ncorpus: {source: stdlib}\ntokens: 9000\n" + trainers[1]
    (tmp_path / "job.yaml").write_text(job)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (config,) = load_job(tmp_path / "job.yaml").trainers
    trainer = new_trainer(config)
    reports = [trainer.read(number, some_block(number)) for number in range(6)]
    assert reports[-1].fvu is not None and reports[0].fvu is not None and reports[-1].fvu < 0.7 * reports[0].fvu
    assert reports[-1].losses.keys() == {"loss", "mse", "penalty"}


KINDS = ("python", "yaml")
