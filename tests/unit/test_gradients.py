"""Every loss's gradient, against its equation written out once more and against finite differences, in float64.

`EQUATIONS` has each loss as its paper states it. It is a function of the weights `p` and of the same weights `q` where
the paper stops the gradient, so what must not be reached is not reached in the finite differences either.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shared.trainer_configs import TRAINER_CONFIGS
from trainers.architectures import make_objective
from trainers.firing import Firing
from trainers.objective import Objective

ROWS, D_IN, D_OUT, NUM_LATENTS = 60, 8, 6, 24
DEAD = (3, 4, 11, 17, 20)
STEP = 1e-6
FRACTION = 0.5
"""Of the token budget: all warm-ups are over."""

Weights = dict[str, Tensor]


class Setting(NamedTuple):
    """What an equation is evaluated at."""

    objective: Any
    x: Tensor
    dead: Tensor
    """int64: those that have not fired for long, this batch included."""


Equation = Callable[[Setting, Weights, Weights], Tensor]


def relu_l1(at: Setting, p: Weights, q: Weights) -> Tensor:
    acts = (at.x @ p["W_enc"].T + p["b_enc"]).relu()
    error = at.x - acts @ p["W_dec"] - p["b_dec"]
    return (error.square().sum(1) + 1.5 * (acts * p["W_dec"].norm(dim=1)).sum(1)).mean()


def relu_l1_2023(at: Setting, p: Weights, q: Weights) -> Tensor:
    acts = ((at.x - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]).relu()
    error = at.x - acts @ p["W_dec"] - p["b_dec"]
    return (error.square().sum(1) + 1.5 * acts.sum(1)).mean()


def jumprelu(at: Setting, p: Weights, q: Weights) -> Tensor:
    pre_acts = (at.x - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]
    fires = pre_acts > p["log_threshold"].exp()
    error = at.x - (pre_acts * fires) @ p["W_dec"] - p["b_dec"]
    return (error.square().sum(1) + 0.1 * fires.sum(1)).mean()


def jumprelu_tanh(at: Setting, p: Weights, q: Weights) -> Tensor:
    pre_acts, threshold, norms = at.x @ p["W_enc"].T + p["b_enc"], p["log_threshold"].exp(), p["W_dec"].norm(dim=1)
    acts = pre_acts * (pre_acts > threshold)
    error = at.x - acts @ p["W_dec"] - p["b_dec"]
    tanh = (FRACTION * 1.5 * (4 * acts * norms).tanh()).sum(1)
    return (error.square().sum(1) + tanh + 0.01 * ((threshold - pre_acts).relu() * norms).sum(1)).mean()


def topk(at: Setting, p: Weights, q: Weights) -> Tensor:
    pre_acts = (at.x - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]
    error = at.x - largest(pre_acts, 4) @ p["W_dec"] - p["b_dec"]
    return at.objective.mse_scale * error.square().mean() + auxk(at, pre_acts, p, topk_error(at, q)) / 32


def topk_error(at: Setting, q: Weights) -> Tensor:
    pre_acts = (at.x - q["b_dec"]) @ q["W_enc"].T + q["b_enc"]
    return at.x - largest(pre_acts, 4) @ q["W_dec"] - q["b_dec"]


def auxk(at: Setting, pre_acts: Tensor, p: Weights, error: Tensor) -> Tensor:
    """What dead latents' largest pre-activations miss of `error`, over its variance."""
    of_dead = torch.full_like(pre_acts, -torch.inf).index_copy(1, at.dead, pre_acts[:, at.dead])
    miss = error - largest(of_dead, 2) @ p["W_dec"]
    return miss.square().mean() / (error - error.mean(0)).square().mean()


def multi_topk(at: Setting, p: Weights, q: Weights) -> Tensor:
    pre_acts = (at.x - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]
    error, wide = (at.x - largest(pre_acts, k) @ p["W_dec"] - p["b_dec"] for k in (4, 16))
    mse = error.square().mean() + wide.square().mean() / 8
    return at.objective.mse_scale * mse + auxk(at, pre_acts, p, topk_error(at, q)) / 32


def batch_topk(at: Setting, p: Weights, q: Weights) -> Tensor:
    (error,), pre_acts = batch_topk_errors(at, p, (NUM_LATENTS,))
    aux = auxk(at, pre_acts, p, batch_topk_errors(at, q, (NUM_LATENTS,))[0][0])
    return at.objective.mse_scale * error.square().mean() + aux / 32


def matryoshka(at: Setting, p: Weights, q: Weights) -> Tensor:
    errors, pre_acts = batch_topk_errors(at, p, (6, 12, NUM_LATENTS))
    aux = auxk(at, pre_acts, p, batch_topk_errors(at, q, (NUM_LATENTS,))[0][0])
    losses = [at.objective.mse_scale * error.square().mean() for error in errors]
    share = 1 / 3 if at.objective.config.group_weighting == "mean" else 1.0
    return share * sum(losses, torch.zeros(())) + aux / 32


def batch_topk_errors(at: Setting, p: Weights, widths: tuple[int, ...]) -> tuple[list[Tensor], Tensor]:
    """What the first latents of each width leave over, when 4 a row of all are active; and pre-activations."""
    pre_acts = (at.x - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]
    acts = largest(pre_acts.view(1, -1), 4 * len(at.x)).view_as(pre_acts)
    return [at.x - acts[:, :width] @ p["W_dec"][:width] - p["b_dec"] for width in widths], pre_acts


def transcoder_topk(at: Setting, p: Weights, q: Weights) -> Tensor:
    pre_acts = at.x[:, :D_IN] @ p["W_enc"].T + p["b_enc"]
    error = transcoder_error(at, largest(pre_acts, 4), p)
    error_stopped = transcoder_error(at, largest(at.x[:, :D_IN] @ q["W_enc"].T + q["b_enc"], 4), q)
    return at.objective.mse_scale * error.square().mean() + auxk(at, pre_acts, p, error_stopped) / 32


def transcoder_relu(at: Setting, p: Weights, q: Weights) -> Tensor:
    acts = (at.x[:, :D_IN] @ p["W_enc"].T + p["b_enc"]).relu()
    penalty = 1.5 * (acts * p["W_dec"].norm(dim=1)).sum(1)
    return (transcoder_error(at, acts, p).square().sum(1) + penalty).mean()


def transcoder_error(at: Setting, acts: Tensor, p: Weights) -> Tensor:
    skipped = at.x[:, :D_IN] @ p["W_skip"] if "W_skip" in p else 0.0
    return at.x[:, D_IN:] - acts @ p["W_dec"] - p["b_dec"] - skipped


def crosscoder_topk(at: Setting, p: Weights, q: Weights) -> Tensor:
    pre_acts = at.x @ p["W_enc"].T + p["b_enc"]
    error = at.x - largest(pre_acts, 4) @ p["W_dec"] - p["b_dec"]
    error_stopped = at.x - largest(at.x @ q["W_enc"].T + q["b_enc"], 4) @ q["W_dec"] - q["b_dec"]
    return at.objective.mse_scale * error.square().mean() + auxk(at, pre_acts, p, error_stopped) / 32


def crosscoder_relu(at: Setting, p: Weights, q: Weights) -> Tensor:
    acts = (at.x @ p["W_enc"].T + p["b_enc"]).relu()
    loss = torch.zeros(len(at.x), dtype=at.x.dtype)
    for source in (slice(0, D_IN), slice(D_IN, None)):
        recon = acts @ p["W_dec"][:, source] + p["b_dec"][source]
        loss = loss + (at.x[:, source] - recon).square().sum(1) + 1.5 * acts @ p["W_dec"][:, source].norm(dim=1)
    return loss.mean()


def largest(pre_acts: Tensor, k: int) -> Tensor:
    """All but the k largest of each row, and what is negative, set to 0."""
    values, indices = pre_acts.topk(k)
    return torch.zeros_like(pre_acts).scatter(1, indices, values.relu())


class Case(NamedTuple):
    equation: Equation
    keys: dict[str, Any]
    widths: tuple[int, ...] = (D_IN,)
    by_estimator: tuple[str, ...] = ()
    """Parameters whose gradient is not that of the loss; closed forms stand in the tests of the architecture."""


BOTH = (D_IN, D_OUT)
TOPK = {"activation": "topk", "k": 4, "auxk": 2}
MATRYOSHKA = {"k": 4, "auxk": 2, "group_fractions": (0.25, 0.25, 0.5)}
RELU_L1 = {"activation": "relu_l1", "l1_coefficient": 1.5}

CASES = {
    "topk": Case(topk, {"k": 4, "auxk": 2}),
    "multi_topk": Case(multi_topk, {"k": 4, "auxk": 2}),
    "batch_topk": Case(batch_topk, {"k": 4, "auxk": 2}),
    "matryoshka, sum": Case(matryoshka, MATRYOSHKA | {"group_weighting": "sum"}),
    "matryoshka, mean": Case(matryoshka, MATRYOSHKA | {"group_weighting": "mean"}),
    "relu_l1": Case(relu_l1, {"l1_coefficient": 1.5}),
    "relu_l1_2023": Case(relu_l1_2023, {"l1_coefficient": 1.5}),
    "jumprelu": Case(jumprelu, {"l0_coefficient": 0.1, "threshold_init": 0.3}, by_estimator=("log_threshold",)),
    "jumprelu_tanh": Case(
        jumprelu_tanh,
        {"sparsity_coefficient": 1.5, "pre_act_coefficient": 0.01},
        by_estimator=("log_threshold",),
    ),
    "transcoder, topk": Case(transcoder_topk, TOPK, BOTH),
    "transcoder, relu_l1": Case(transcoder_relu, RELU_L1, BOTH),
    "skip_transcoder, topk": Case(transcoder_topk, TOPK, BOTH),
    "skip_transcoder, relu_l1": Case(transcoder_relu, RELU_L1, BOTH),
    "crosscoder, topk": Case(crosscoder_topk, TOPK, BOTH),
    "crosscoder, relu_l1": Case(crosscoder_relu, RELU_L1, BOTH),
}
"""By architecture, and the activation where there is a choice."""
EVERY = pytest.mark.parametrize("architecture", CASES)


def some_objective(architecture: str, **keys: Any) -> Objective:
    """In float64, with weights like none at a start; DEAD latents have small pre-activations, half of them above 0."""
    name, case = architecture.partition(",")[0], CASES[architecture]
    shared = {"name": "t", "architecture": name, "num_latents": NUM_LATENTS}
    config = TRAINER_CONFIGS[name].model_validate(shared | case.keys | keys)
    objective = make_objective(config, case.widths, seed=0)
    generator = torch.Generator().manual_seed(1)
    objective.start(torch.randn(500, sum(case.widths), generator=generator))
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        objective.sae.W_enc[list(DEAD)] *= 0.1
        objective.sae.b_enc[list(DEAD)] *= 0.1
    return objective.double()


def setting(architecture: str, **keys: Any) -> tuple[Setting, Firing]:
    """The objective, some rows, and who is dead after them."""
    objective = some_objective(architecture, **keys)
    width = sum(CASES[architecture].widths)
    x = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    firing = Firing(NUM_LATENTS, 1000, 1000)
    firing.tokens_since_fired[list(DEAD)] = 10_000
    return Setting(objective, x, torch.empty(0)), firing


def weights(objective: Objective) -> Weights:
    return {name.removeprefix("sae."): parameter for name, parameter in objective.named_parameters()}


@EVERY
def test_the_loss_is_that_of_the_equation_and_so_is_its_gradient(architecture: str) -> None:
    at, firing = setting(architecture)
    result = at.objective.backward(at.x, firing, FRACTION)
    at = at._replace(dead=firing.dead())
    p = weights(at.objective)
    expected = CASES[architecture].equation(at, p, {name: value.detach() for name, value in p.items()})
    assert result.losses["loss"] == pytest.approx(expected.item(), rel=1e-9)
    for name, gradient in zip(p, torch.autograd.grad(expected, list(p.values()), allow_unused=True), strict=True):
        if name not in CASES[architecture].by_estimator:
            assert p[name].grad is not None, name
            assert_close(p[name].grad, gradient, msg=lambda text, name=name: f"{name}: {text}")


@EVERY
def test_the_gradient_is_that_of_finite_differences(architecture: str) -> None:
    at, firing = setting(architecture)
    at.objective.backward(at.x, firing, FRACTION)
    at = at._replace(dead=firing.dead())
    live = weights(at.objective)
    p = {name: value.detach().clone() for name, value in live.items()}
    q = {name: value.clone() for name, value in p.items()}
    equation = CASES[architecture].equation
    for name in p.keys() - set(CASES[architecture].by_estimator):
        flat, found = p[name].view(-1), live[name].grad
        assert found is not None
        for index in range(0, flat.numel(), max(1, flat.numel() // 12)):
            losses = []
            for sign in (1, -1):
                flat[index] += sign * STEP
                losses.append(equation(at, p, q).item())
                flat[index] -= sign * STEP
            slope = (losses[0] - losses[1]) / (2 * STEP)
            assert found.view(-1)[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-8), f"{name} {index}"


WITH_AUXK = pytest.mark.parametrize("architecture", [name for name, case in CASES.items() if "auxk" in case.keys])


@WITH_AUXK
def test_auxk_reaches_dead_latents_alone(architecture: str) -> None:
    gradients = []
    for alpha in (0.0, 1.0):
        at, firing = setting(architecture, auxk_alpha=alpha)
        at.objective.backward(at.x, firing, FRACTION)
        gradients.append({name: value.grad.clone() for name, value in weights(at.objective).items()})
    dead = firing.dead().tolist()
    live = [latent for latent in range(NUM_LATENTS) if latent not in dead]
    assert 2 < len(dead) < NUM_LATENTS / 2
    for name in ("W_enc", "W_dec", "b_enc"):
        by_auxk = gradients[1][name] - gradients[0][name]
        assert by_auxk[live].abs().max() == 0
        assert by_auxk[dead].abs().max() > 0
    d_pre = gradients[1]["b_enc"] - gradients[0]["b_enc"]
    subtracts = at.objective.sae.subtracts_b_dec
    through_the_encoder = -d_pre @ at.objective.sae.W_enc if subtracts else torch.zeros(at.objective.sae.d_out)
    assert_close(gradients[1]["b_dec"] - gradients[0]["b_dec"], through_the_encoder.double())
