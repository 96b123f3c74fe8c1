"""Every architecture as `bench_architectures` trains it: how its sparsity is set, and where it leaves its defaults."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from shared.trainer_config import TrainerConfig
from shared.trainer_configs import OWN, TRAINER_CONFIGS

BETWEEN = {"hookpoint": "h", "target_hookpoint": "g"}
L1, TOPK = {"activation": "relu_l1"}, {"activation": "topk"}


class Contender(NamedTuple):
    """One architecture, to be brought to a given number of active latents."""

    architecture: str
    keys: Mapping[str, Any] = MappingProxyType({})
    aims: str | None = "k"
    """The key that takes the number of active latents itself; None: `penalty` steers it."""
    penalty: str | None = None
    values: tuple[float, ...] = ()
    """Of the penalty: what is tried."""

    @property
    def name(self) -> str:
        """As the table has it."""
        activation = self.keys.get("activation")
        return self.architecture if activation is None else f"{self.architecture}, {activation}"

    def configs(self, num_latents: int, active: float, shared: dict[str, Any]) -> list[TrainerConfig]:
        """One for each penalty that is tried, for about `active` latents on a row."""
        kind = TRAINER_CONFIGS[self.architecture]
        whole = {"name": self.architecture, "architecture": self.architecture, "num_latents": num_latents}
        whole |= {**shared, **self.keys}
        if self.penalty is not None:
            return [kind.model_validate(whole | {self.penalty: value}) for value in self.values]
        aimed = {"k": max(1, round(active)), "target_l0": active, "rho": active / num_latents}
        assert self.aims is not None, f"{self.architecture} has neither an aim nor a penalty"
        return [kind.model_validate(whole | {self.aims: aimed[self.aims]})]


CONTENDERS = (
    Contender("topk"),
    Contender("multi_topk"),
    Contender("batch_topk"),
    Contender("matryoshka"),
    Contender("relu_l1", {}, None, "l1_coefficient", (0.5, 1.0, 2.0)),
    Contender("relu_l1_2023", {}, None, "l1_coefficient", (0.1, 0.2, 0.4)),
    Contender("gated", {}, None, "l1_coefficient", (0.2, 0.4, 0.8)),
    Contender("p_anneal", {}, None, "l1_coefficient", (0.05, 0.15, 0.4)),
    Contender("jumprelu", {"threshold_init": 0.1, "bandwidth": 0.1, "l0_warmup_fraction": 0.5}, "target_l0"),
    Contender("jumprelu_tanh", {"accumulate": 1}, None, "sparsity_coefficient", (0.3, 0.7, 1.4)),
    Contender("kl", {"lr": 3e-2, "weight_decay": 1e-3}, "rho"),
    Contender("transcoder", BETWEEN | TOPK),
    Contender("transcoder", BETWEEN | L1, None, "l1_coefficient", (0.25, 0.5, 1.0)),
    Contender("skip_transcoder", BETWEEN | TOPK),
    Contender("skip_transcoder", BETWEEN | L1, None, "l1_coefficient", (0.25, 0.5, 1.0)),
    Contender("crosscoder", TOPK),
    Contender("crosscoder", L1, None, "l1_coefficient", (0.5, 1.0, 2.0)),
)


def not_listed() -> set[str]:
    """Architectures that a job file may name and that do not compete."""
    return TRAINER_CONFIGS.keys() - {OWN} - {contender.architecture for contender in CONTENDERS}
