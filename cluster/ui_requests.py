"""What the page sends about features, checked before anything is done with it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cluster.catalog_query import FILTERS, CatalogQuery


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LabelBody(_Body):
    text: str = Field("", max_length=2_000)
    tags: list[Annotated[str, Field(max_length=100)]] = Field([], max_length=50)
    author: str = Field("", max_length=100)


class TextBody(_Body):
    text: str = Field(max_length=100_000)


class RatingBody(_Body):
    explanation: str = Field(max_length=100)
    ratings: dict[str, Annotated[int, Field(ge=0, le=3)]] = Field(min_length=1, max_length=1_000)
    author: str = Field("", max_length=100)


class EffectsBody(_Body):
    ids: list[int] = Field(max_length=10_000)
    position: int | None = None


class ListQuery(BaseModel):
    """What is in the catalogue's address: `density_min=0.01`."""

    model_config = ConfigDict(extra="forbid")
    sort: str = "latent"
    descending: bool = False
    offset: int = 0
    count: int = 50
    text: str = ""
    text_in: str = ""
    tag: str = ""
    state: str = ""
    density_min: float | None = None
    density_max: float | None = None
    max_act_min: float | None = None
    max_act_max: float | None = None
    fvu_share_min: float | None = None
    fvu_share_max: float | None = None
    score_min: float | None = None
    score_max: float | None = None

    def query(self) -> CatalogQuery:
        given = self.model_dump()
        bounds = [(name, given.pop(f"{name}_min"), given.pop(f"{name}_max")) for name in FILTERS]
        return CatalogQuery(**given, bounds=tuple(one for one in bounds if one[1:] != (None, None)))
