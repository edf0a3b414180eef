"""Ways to search a collection of texts: steps that a bundle's manifest keeps under a name.

bm25, dense, fuse, rerank        the whole of it
dense                            what a search by an item does
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_RETRIEVALS = {("bm25",), ("dense",), ("bm25", "dense", "fuse"), ("dense", "bm25", "fuse")}


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bm25(_Step):
    """Points whose field holds the words (Robertson and Zaragoza 2009)."""

    step: Literal["bm25"]
    field: str = "text"


class Dense(_Step):
    """Points near to the text's vector."""

    step: Literal["dense"]


class Fuse(_Step):
    """One ranking of two: by reciprocal ranks (Cormack et al. 2009), or by scores in units of their spread."""

    step: Literal["fuse"]
    by: Literal["rrf", "dbsf"] = "rrf"
    depth: int = Field(100, ge=1, le=1000)  # hits of each


class Rerank(_Step):
    """The best few in the order of a model with the task `rank`; the only one that is loaded if none is named."""

    step: Literal["rerank"]
    model: str | None = None
    limit: int = Field(50, ge=1, le=1000)
    field: str = "text"


Step = Annotated[Bm25 | Dense | Fuse | Rerank, Field(discriminator="step")]
Steps = tuple[Step, ...]


def checked(steps: Sequence[Step]) -> Steps:
    """Raises ValueError unless the steps retrieve, fuse where two do, and rerank last if at all."""
    names = tuple(step.step for step in steps)
    if (names[:-1] if names[-1:] == ("rerank",) else names) not in _RETRIEVALS:
        raise ValueError(
            f"the steps {', '.join(names)} are no pipeline: it is bm25, dense, or both and fuse, "
            "and then rerank if at all"
        )
    return tuple(steps)
