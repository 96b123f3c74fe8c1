"""What the values of a job file are: numbers, names and quantities with their limits."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from shared.plain_text import NOT_ON_A_LINE
from shared.quantity import parse_bytes


def _no_truth(value: object) -> object:
    """True is not 1: `k: yes` is a slip."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _whole_above_one(count: float) -> float:
    if count > 1 and count != int(count):
        raise ValueError("must be a whole number, or a part of one such as 0.5")
    return count


def on_one_line(text: str) -> str:
    """What is shown, written to job.yaml and typed again must be what was meant."""
    if NOT_ON_A_LINE.search(text):
        raise ValueError("must hold no newline and no control character")
    return text


Whole = Annotated[int, BeforeValidator(_no_truth)]
Number = Annotated[float, BeforeValidator(_no_truth)]
Text = Annotated[str, Field(min_length=1), AfterValidator(on_one_line)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Whole, Field(ge=1)]
PositiveFloat = Annotated[Number, Field(gt=0)]
AtLeastZero = Annotated[Number, Field(ge=0)]
Gpus = Annotated[AtLeastZero, AfterValidator(_whole_above_one)]


class Section(BaseModel):
    """A part of the job file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
