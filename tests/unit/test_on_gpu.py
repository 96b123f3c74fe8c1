"""What a GPU computes is what a CPU computes, and twice the same bits."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_models import text, tiny_gpt2
from torch import Tensor
from torch.testing import assert_close

from cluster.encoding import encode_rows
from cluster.evaluation import Subject
from producers.producer import Producer
from shared.config import Job
from shared.row_table import Rows, read_rows
from shared.trainer_config import TrainerConfig
from tests.trainer_samples import SAMPLES, SEVERAL_HOOKPOINTS, TOPK, new_trainer, some_block
from tests.unit.test_trainer import ALL, read_blocks, same_state
from trainers import Trainer
from trainers.codes import SparseCodes
from trainers.selection import largest_pre_acts, select_largest
from trainers.topk import TopK
from trainers.unit_norm import normalise_rows, project_gradient

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch.cuda.is_available() is false")
TWO_BLOCKS = 2
"""40 batches."""


@pytest.mark.parametrize("config", (SAMPLES | SEVERAL_HOOKPOINTS).values(), ids=(SAMPLES | SEVERAL_HOOKPOINTS).keys())
def test_losses_of_the_first_steps_are_those_of_a_cpu(config: TrainerConfig) -> None:
    config = config.model_copy(update={"batch_rows": 50})
    here, there = new_trainer(config), new_trainer(config, device="cuda")
    for number in range(TWO_BLOCKS):
        expected, found = (one.read(number, some_block(number)) for one in (here, there))
        assert found.losses == pytest.approx(expected.losses, rel=1e-3, abs=1e-4)
        assert found.fvu == pytest.approx(expected.fvu, rel=1e-3)
        assert found.l0 == pytest.approx(expected.l0, rel=1e-2)


@pytest.mark.parametrize("config", ALL.values(), ids=ALL.keys())
def test_a_trainer_that_was_saved_and_loaded_is_one_that_never_stopped(config: TrainerConfig, tmp_path: Path) -> None:
    straight, stopped = (new_trainer(config, 5, device="cuda") for _ in range(2))
    read_blocks(straight, 0, 5)
    read_blocks(stopped, 0, 3)
    stopped.save(tmp_path / "40")
    resumed = Trainer.load(tmp_path / "40", config, "cuda")
    assert same_state(stopped, resumed)
    read_blocks(resumed, 3, 5)
    assert straight.finish() == resumed.finish()
    assert same_state(straight, resumed)


def test_a_wide_trainer_gives_the_same_bits_twice() -> None:
    config = TOPK.model_copy(update={"num_latents": 4096, "k": 24, "batch_rows": 500, "autocast": "bfloat16"})
    first, second = (new_trainer(config, 8, device="cuda") for _ in range(2))
    for trainer in (first, second):
        read_blocks(trainer, 0, 8)
    assert same_state(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("num_columns", "k"),
    [
        (1024, 32),
        (16384, 32),
        (65536, 50),
        (2**20, 64),
        (97, 5),
        (10, 8),
        (64, 2),
        (3, 3),
        (1, 1),
        (64, 64),
        (5001, 600),
        (8192, 4096),
    ],
)
def test_selects_what_torch_topk_selects(num_columns: int, k: int, dtype: torch.dtype) -> None:
    generator = torch.Generator("cuda").manual_seed(num_columns + k)
    pre_acts = torch.randn(33, num_columns, generator=generator, device="cuda").to(dtype)
    values, columns = select_largest(pre_acts, k)
    expected = torch.topk(pre_acts, k).values.float()
    assert torch.equal(values.sort(1, descending=True).values, expected)
    assert torch.equal(pre_acts.gather(1, columns).float(), values)
    assert (columns.sort(1).values.diff() > 0).all()


@pytest.mark.parametrize("num_latents", [512, 5000])
def test_pieces_of_rows_give_what_the_whole_product_gives(num_latents: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.selection.GPU_PIECE_BYTES", 2**20)
    x, W_enc, b_enc = (torch.randn(*shape, device="cuda") for shape in ((1300, 9), (num_latents, 9), (num_latents,)))
    values, columns = largest_pre_acts(x, W_enc, b_enc, 5)
    pre_acts = x @ W_enc.T + b_enc
    assert_close(values.sort(1).values, torch.topk(pre_acts, 5).values.sort(1).values)
    assert_close(pre_acts.gather(1, columns), values)


def some_codes(num_latents: int) -> tuple[Tensor, SparseCodes]:
    """One latent fires on every row, as some do."""
    acts = torch.randn(300, num_latents, device="cuda")
    acts[:, 3] += 10
    values, indices = torch.topk(acts, 20)
    values.sub_(values.median()).relu_()
    return torch.zeros_like(acts).scatter(1, indices, values), SparseCodes.of_largest(values, indices, num_latents)


@pytest.mark.parametrize("width", [1, 70, 768])
@pytest.mark.parametrize("num_latents", [60, 3000])
def test_products_with_codes_are_the_dense_ones(num_latents: int, width: int) -> None:
    acts, codes = some_codes(num_latents)
    W_dec, rows = torch.randn(num_latents, width, device="cuda"), torch.randn(300, width, device="cuda")
    assert_close(codes.decode(W_dec), acts @ W_dec, rtol=1e-4, atol=1e-4)
    values, expected = codes.backward(W_dec, rows), (rows @ W_dec.T) * (acts > 0)
    target = torch.ones(num_latents, width, device="cuda")
    codes.add_product(target, values, rows, beta=2.0)
    assert_close(target, 2 + expected.T @ rows, rtol=1e-4, atol=1e-2)
    codes.add_product(target.fill_(torch.nan), codes.values, rows, beta=0.0)
    assert_close(target, acts.T @ rows, rtol=1e-4, atol=1e-3)
    assert_close(codes.sum_by_latent(values), expected.sum(0), rtol=1e-4, atol=1e-2)
    assert torch.equal(codes.times_above(0.1), (acts > 0.1).sum(0))


def test_unit_directions_are_those_of_a_cpu() -> None:
    weights, gradient = torch.randn(50, 300), torch.randn(50, 300)
    weights[7] = 0
    on_gpu, gradient_there = weights.cuda(), gradient.cuda()
    for one in (weights, on_gpu):
        normalise_rows(one)
    project_gradient(gradient, weights)
    project_gradient(gradient_there, on_gpu)
    assert_close(on_gpu.cpu(), weights)
    assert_close(gradient_there.cpu(), gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 5e-2)])
def test_a_producers_rows_are_those_of_a_cpu(dtype: str, tolerance: float, tmp_path: Path) -> None:
    tiny_gpt2(tmp_path / "model")
    pq.write_table(pa.table({"text": [text(30 + seed, seed) for seed in range(30)]}), tmp_path / "corpus.parquet")
    here, there = (read_unit(tmp_path, dtype, device) for device in ("cpu", "cuda"))
    assert np.array_equal(here.addresses, there.addresses)
    for name, values in here.activations.items():
        found, expected = (as_float(one) for one in (there.activations[name], values))
        assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    again = read_unit(tmp_path, dtype, "cuda")
    assert all(np.array_equal(values, again.activations[name]) for name, values in there.activations.items())


def read_unit(folder: Path, dtype: str, device: str) -> Rows:
    job = Job.model_validate(
        {
            "name": "test",
            "model": {
                "name": str(folder / "model"),
                "hookpoints": ["transformer.h.1", "transformer.h.0.mlp:in"],
                "dtype": dtype,
                "device": device,
            },
            "corpus": {"source": str(folder / "corpus.parquet"), "context_tokens": 32, "unit_contexts": 10},
            "producers": {"contexts_per_forward": 4, "gpus": int(device == "cuda")},
            "evaluation": {"holdout": 0},
            "trainers": [
                {"name": "t", "architecture": "topk", "num_latents": 8, "k": 2, "hookpoint": "transformer.h.1"}
            ],
            "tokens": 1000,
        }
    )
    return read_rows(pa.concat_tables([chunk.table for chunk in Producer(job).chunks(iter([0]))]))


def as_float(values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(values.copy())
    return (tensor.view(torch.bfloat16) if values.dtype == np.uint16 else tensor).float()


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
def test_what_latents_contribute_is_what_a_cpu_finds(normalize: str) -> None:
    draw = torch.Generator().manual_seed(6)
    sae, x = TopK(64, 1024, 16), torch.randn(800, 64, generator=draw)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(0, 0.2, generator=draw)
    sae.normalize = normalize
    expected = encode_rows(Subject("s", sae, ("h",), ("h",)), {"h": x})
    found = encode_rows(Subject("s", sae.cuda(), ("h",), ("h",)), {"h": x.cuda()})
    one, other = (np.zeros((100, 1024)) for _ in range(2))
    for rises, encoded in ((one, expected), (other, found)):
        count = len(encoded.errors.latents)
        rises[encoded.codes.rows[:count], encoded.errors.latents] = encoded.errors.rises
    assert np.isclose(one, other, rtol=1e-3, atol=1e-2).mean() > 0.9999  # a tie in rounding may choose another latent
    assert np.count_nonzero(other) > 1000
