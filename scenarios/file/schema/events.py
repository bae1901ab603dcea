"""What a scenario file may say of things that happen in the course of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, PositiveInt, model_validator

from scenarios.file.schema.moment import Duration, Moment
from scenarios.file.schema.part import Part


class Loss(Part):
    """GPUs of an offer that are gone: `gpus`, `nodes` or a `share` of them."""

    gpus: PositiveInt | None = None
    """So many GPUs."""
    nodes: PositiveInt | None = None
    """So many nodes."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """This part of the GPUs that are there then; what is left is rounded down."""
    of: str | None = None
    """Offer or GPU type, of `cluster`; may be left out where there is one."""

    @model_validator(mode="after")
    def _says_how_many(self) -> Loss:
        given = [name for name in ("gpus", "nodes", "share") if getattr(self, name) is not None]
        if len(given) != 1:
            msg = f"needs one of gpus, nodes and share, not {' and '.join(given) or 'none'}"
            raise ValueError(msg)
        return self


class Event(Part):
    """Something that happens: GPUs are lost, or requests come more or less often."""

    model_config = ConfigDict(serialize_by_alias=True)

    at: Moment
    """When."""
    lasts: Annotated[Duration, Field(gt=0)] | None = Field(default=None, alias="for")
    """For how long; by default until the end."""
    lose: Loss | None = None
    """What is gone; what several events take adds up."""
    traffic: Annotated[float, Field(ge=0, le=1000)] | None = None
    """So many times the requests; of several events at once, the product."""
    of: str | None = None
    """Of which stream or model, for `traffic`; by default of all."""
    name: str = ""
    """What it is called in tables."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Event:
        if (self.lose is None) == (self.traffic is None):
            msg = f"needs either lose or traffic, not {'both' if self.lose else 'neither'}; make two events of two"
            raise ValueError(msg)
        return self

    @property
    def stop_s(self) -> float:
        """When it is over; infinite if never."""
        return float("inf") if self.lasts is None else self.at + self.lasts
