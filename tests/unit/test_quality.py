"""Every number against its definition on the whole matrix, and sums over shards against sums over the whole."""

from dataclasses import asdict, fields

import pytest
import torch
from torch import Tensor

from trainers.quality import (
    LatentSums,
    Quality,
    ReconstructionSums,
    density_histogram,
    fvu,
    fvu_by_dimension,
    quality,
)

NUM_ROWS, D, L = 4000, 12, 40


def matrices(seed: int = 0, shift: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """x, recon and acts: rows about a mean, recon too short and biased, latents from never to always."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(NUM_ROWS, D, generator=generator) * torch.linspace(0.2, 4, D) + shift
    recon = 0.8 * x + 0.3 * torch.randn(NUM_ROWS, D, generator=generator) + 0.1
    often = torch.logspace(-4, 0, L)
    acts = torch.rand(NUM_ROWS, L, generator=generator) * (torch.rand(NUM_ROWS, L, generator=generator) < often)
    acts[:, :3] = 0
    return x, recon, acts


def sums(x: Tensor, recon: Tensor, acts: Tensor) -> tuple[ReconstructionSums, LatentSums]:
    return ReconstructionSums.of(x, recon), LatentSums.of(acts)


def test_every_number_is_its_definition() -> None:
    x, recon, acts = matrices()
    norms = torch.linspace(0.5, 2, L)
    found = quality(*sums(x, recon, acts), norms)
    x, recon, acts, norms = x.double(), recon.double(), acts.double(), norms.double()
    error, about_mean = x - recon, (x - x.mean(0)).square()
    by_dimension = error.square().sum(0) / about_mean.sum(0)
    density = (acts > 0).double().mean(0)
    expected = Quality(
        tokens=NUM_ROWS,
        fvu=(error.square().sum() / about_mean.sum()).item(),
        fvu_median_dimension=by_dimension.median().item(),
        fvu_worst_dimension=by_dimension.max().item(),
        mse=error.square().mean().item(),
        normalised_mse=(error.square().sum(1) / x.square().sum(1)).mean().item(),
        error_bias_fraction=1 - ((error - error.mean(0)).square().sum() / error.square().sum()).item(),
        cosine=torch.cosine_similarity(x, recon).mean().item(),
        norm_ratio=(recon.norm(dim=1) / x.norm(dim=1)).mean().item(),
        shrinkage=(recon.square().sum(1).mean() / (x * recon).sum(1).mean()).item(),
        l0=(acts > 0).sum(1).double().mean().item(),
        l1=(acts * norms).sum(1).mean().item(),
        dead_fraction=(density == 0).double().mean().item(),
        dense_fraction_1_percent=(density > 0.01).double().mean().item(),
        dense_fraction_10_percent=(density > 0.1).double().mean().item(),
    )
    for name, value in asdict(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-9), name
    assert 3 / L <= expected.dead_fraction < 0.3 < expected.dense_fraction_1_percent


@pytest.mark.parametrize("shard_rows", [1, 17, 1000, NUM_ROWS])
def test_shards_make_the_whole(shard_rows: int) -> None:
    parts = matrices(1)
    whole = sums(*parts)
    shards = [sums(*(one[i : i + shard_rows] for one in parts)) for i in range(0, NUM_ROWS, shard_rows)]
    merged = shards[0]
    for shard in reversed(shards[1:]):
        merged = merged[0] + shard[0], merged[1] + shard[1]
    for mine, theirs in zip(merged, whole, strict=True):
        for one in fields(mine):
            found, expected = (torch.as_tensor(getattr(each, one.name)) for each in (mine, theirs))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, msg=one.name)
    found, expected = (quality(*each, torch.ones(L)) for each in (merged, whole))
    for name, value in asdict(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-11), name


def test_fvu_is_about_the_mean_of_all_rows() -> None:
    x, recon, _ = matrices(shift=0.0)
    near, far = ReconstructionSums.of(x, recon), ReconstructionSums.of(x.double() + 1000, recon.double() + 1000)
    assert fvu(far) == pytest.approx(fvu(near), rel=1e-6)
    assert fvu(ReconstructionSums.of(x, x.double().mean(0).expand(NUM_ROWS, D))) == pytest.approx(1.0, rel=1e-12)
    assert fvu(ReconstructionSums.of(x, x)) == 0.0


def test_fvu_of_some_dimensions_is_that_of_those_columns() -> None:
    x, recon, _ = matrices()
    part = ReconstructionSums.of(x[:, 3:7], recon[:, 3:7])
    assert fvu(ReconstructionSums.of(x, recon), slice(3, 7)) == pytest.approx(fvu(part), rel=1e-12)


def test_a_constant_error_counts() -> None:
    x, _, acts = matrices()
    found = quality(*sums(x, x + 1, acts), torch.ones(L))
    assert found.fvu is not None and found.fvu > 0
    assert found.error_bias_fraction == pytest.approx(1.0)


def test_what_has_no_denominator_has_no_number() -> None:
    nothing = quality(*sums(torch.zeros(0, D), torch.zeros(0, D), torch.zeros(0, L)), torch.ones(L))
    assert nothing.tokens == 0 and nothing.dead_fraction == 1.0
    assert {nothing.fvu, nothing.l0, nothing.cosine, nothing.mse, nothing.fvu_worst_dimension} == {None}
    constant = ReconstructionSums.of(torch.full((5, D), 7.3), torch.zeros(5, D))
    assert fvu(constant) is None and fvu_by_dimension(constant).isnan().all()
    blank = quality(*sums(torch.zeros(5, D), torch.ones(5, D), torch.ones(5, L)), torch.ones(L))
    assert {blank.cosine, blank.norm_ratio, blank.normalised_mse, blank.shrinkage} == {None}


def test_the_histogram_has_a_place_for_every_latent() -> None:
    fired = torch.tensor([0, 0, 1, 10, 99, 100, 1000])
    latents = LatentSums(1000, fired, *(torch.zeros(7, dtype=torch.float64) for _ in range(3)))
    found = density_histogram(latents)
    assert found.never == 2
    assert sum(found.counts) == 5
    filled = {found.edges[place]: count for place, count in enumerate(found.counts) if count}
    assert filled == {-3.0: 1, -2.0: 1, -1.25: 1, -1.0: 1, -0.25: 1}
