"""What an SAE gives without the zeros is what it gives with them, for every architecture."""

import pytest
import torch

from cluster.encoding import encode_rows
from cluster.evaluation import Subject
from trainers.batch_topk import JumpReLU
from trainers.crosscoder import ReluCrosscoder, TopKCrosscoder
from trainers.gated import Gated
from trainers.kl import Sigmoid
from trainers.relu import Relu
from trainers.row_norm import PER_ROW, normalised
from trainers.sae import SparseAutoencoder
from trainers.topk import TopK

D, LATENTS, ROWS = 8, 24, 40
MAKERS = {
    "topk": lambda: TopK(D, LATENTS, 3),
    "topk, nothing subtracted": lambda: TopK(D, LATENTS, 3, subtracts_b_dec=False),
    "relu": lambda: Relu(D, LATENTS),
    "jumprelu": lambda: JumpReLU(D, LATENTS, subtracts_b_dec=True),
    "gated": lambda: Gated(D, LATENTS),
    "sigmoid": lambda: Sigmoid(D, LATENTS),
}
OTHER_MAKERS = {
    "skip": lambda: with_skip(TopK(D, LATENTS, 3, d_out=6, subtracts_b_dec=False)),
    "relu transcoder": lambda: Relu(D, LATENTS, d_out=6),
    "relu crosscoder": lambda: ReluCrosscoder(D, LATENTS),
    "topk crosscoder": lambda: TopKCrosscoder(D, LATENTS, 3, subtracts_b_dec=False),
    "silent": lambda: Silent(D, LATENTS),
}


class Silent(Relu):
    """Never fires."""

    def activate(self, pre_acts: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(pre_acts)


def with_skip(sae: SparseAutoencoder) -> SparseAutoencoder:
    sae.add_skip()
    return sae


def made(name: str, normalize: str = "none") -> SparseAutoencoder:
    sae, draw = (MAKERS | OTHER_MAKERS)[name](), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.normal_(0, 0.4, generator=draw)
    sae.normalize = normalize
    return sae


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
@pytest.mark.parametrize("name", list(MAKERS))
def test_codes_are_the_activations_that_count_as_active(name: str, normalize: str) -> None:
    sae, x = made(name, normalize), torch.randn(ROWS, D, generator=torch.Generator().manual_seed(2))
    found = encode_rows(Subject("s", sae, ("h",), ("h",)), {"h": x})
    dense = torch.zeros(ROWS, LATENTS)
    dense[torch.from_numpy(found.codes.rows).long(), torch.from_numpy(found.codes.latents).long()] = torch.from_numpy(
        found.codes.values
    )
    acts = sae.encode(x).detach()
    torch.testing.assert_close(dense, torch.where(acts > sae.fires_above, acts, 0))
    assert (found.codes.rows[1:] >= found.codes.rows[:-1]).all() and len(found.codes.rows) > 0


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
@pytest.mark.parametrize("name", ["topk", "relu"])
def test_rises_are_what_the_error_grows_by_without_the_latent(name: str, normalize: str) -> None:
    sae, x = made(name, normalize), torch.randn(ROWS, D, generator=torch.Generator().manual_seed(3))
    found = encode_rows(Subject("s", sae, ("h",), ("h",)), {"h": x})
    errors, rows = found.errors, found.codes.rows[: len(found.errors.latents)]
    acts = sae.encode(x).detach()
    with torch.no_grad():
        whole = (x - sae.reconstruct_raw(x, acts)).square().sum(1)
        for row, latent, rise in zip(rows.tolist(), errors.latents.tolist(), errors.rises.tolist(), strict=True):
            without = acts[row].clone()
            without[latent] = 0
            left = (x[row] - sae.reconstruct_raw(x[row : row + 1], without[None])[0]).square().sum()
            assert float(left - whole[row]) == pytest.approx(rise, rel=1e-3, abs=1e-4)
    assert errors.rows == ROWS // 8 and errors.y_square_sum == pytest.approx(float(x[: ROWS // 8].square().sum()))


def dense_rises(sae: SparseAutoencoder, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """[rows, latents], zero where a latent is silent: 2 a <e, w> + a^2 |w|^2, zeros written out."""
    acts = sae.encode(x)
    acts = torch.where(acts > sae.fires_above, acts, 0)
    scaled = acts * normalised(x, sae.normalize)[1].size
    error = y - sae.reconstruct_raw(x, acts)
    return 2 * scaled * (error @ sae.W_dec.T) + scaled.square() * sae.W_dec.square().sum(1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "normalize"),
    [(name, how) for name in MAKERS for how in ("none", *PER_ROW)] + [(name, "none") for name in OTHER_MAKERS],
)
def test_rises_are_those_of_a_dense_reconstruction(name: str, normalize: str) -> None:
    sae, draw = made(name, normalize), torch.Generator().manual_seed(4)
    x = torch.randn(400, D, generator=draw)
    y = x if sae.d_out == D else torch.randn(400, sae.d_out, generator=draw)
    found = encode_rows(Subject("s", sae, ("h",), ("t",)), {"h": x, "t": y})
    rises, count = torch.zeros(50, LATENTS), len(found.errors.latents)
    place = torch.from_numpy(found.codes.rows[:count]).long(), torch.from_numpy(found.errors.latents).long()
    rises[place] = torch.from_numpy(found.errors.rises).float()
    torch.testing.assert_close(rises, dense_rises(sae, x[:50], y[:50]), rtol=1e-4, atol=1e-4)
    assert (count == 0) == (name == "silent") and count == (found.codes.rows < 50).sum()
