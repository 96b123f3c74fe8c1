"""Every architecture as `bench_architectures` trains it: how its sparsity is set, and where it leaves its defaults."""

from typing import Any, NamedTuple

from shared.trainer_config import OWN, TRAINER_CONFIGS, TrainerConfig


class Contender(NamedTuple):
    """One architecture, to be brought to a given number of active latents."""

    architecture: str
    keys: dict[str, Any]
    penalty: str | None = None
    """The key that steers sparsity; None: `k` does."""
    values: tuple[float, ...] = ()
    """Of the penalty: what is tried."""

    def configs(self, num_latents: int, active: float, shared: dict[str, Any]) -> list[TrainerConfig]:
        """One for each penalty that is tried, for about `active` latents on a row."""
        kind = TRAINER_CONFIGS[self.architecture]
        whole = {"name": self.architecture, "architecture": self.architecture, "num_latents": num_latents}
        whole |= shared | self.keys
        if self.penalty is None:
            return [kind.model_validate(whole | {"k": max(1, round(active))})]
        return [kind.model_validate(whole | {self.penalty: value}) for value in self.values]


CONTENDERS = (
    Contender("topk", {}),
    Contender("relu_l1", {}, "l1_coefficient", (0.5, 1.0, 2.0, 4.0)),
)


def not_listed() -> set[str]:
    """Architectures that a job file may name and that do not compete."""
    return TRAINER_CONFIGS.keys() - {OWN} - {contender.architecture for contender in CONTENDERS}
