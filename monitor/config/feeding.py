"""How captures and sensors become feature vectors: `monitor feed`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from monitor.config.section import Count, Seconds, Section

Take = Literal["last", "mean", "minimum", "maximum"]
Rate = Annotated[float, Field(gt=0, le=1000)]


class Flows(Section):
    """When a flow is reported."""

    active: Seconds = 60
    """A flow that goes on is reported each so many seconds: one vector per flow and interval."""
    idle: Seconds = 15
    """A flow that is silent for so many seconds is over."""


class Hosts(Section):
    """What a vector of a host is about."""

    interval: Seconds = 1
    """Length of an interval; they begin at whole multiples of it since 1970."""


class Sensor(Section):
    """One measured value of the joined vector."""

    name: Annotated[str, Field(min_length=1)]
    """Name of the feature, or `stream/feature` where several streams have it."""
    take: Annotated[list[Take], Field(min_length=1)] = Field(default_factory=lambda: list[Take](("last",)))
    """What of an interval goes into the vector, each as a feature of its own (`flow.mean`): the last value at its end,
    or the mean, minimum or maximum of the values within."""
    max_age: Seconds | None = None
    """A last value older than this at the end of the interval is left out. Not given: ten intervals."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.take)) < len(self.take):
            raise ValueError(f"take of {self.name} names something twice")
        return self


class Join(Section):
    """Several sensors with clocks of their own, joined to one vector for each interval."""

    sensors: list[Sensor] = Field(default_factory=list)
    """Which values, in the order of the vector; none: rows are sent as they are."""
    stream: Annotated[str, Field(min_length=1, max_length=255)] = "joined"
    """Name of the joined stream."""
    interval: Seconds = 60
    """Length of an interval; they begin at whole multiples of it since 1970."""
    wait: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """An interval is closed when the newest time of any sensor is so many seconds after its end; what comes later is
    counted, and left out."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        seen: set[str] = set()
        for sensor in self.sensors:
            if sensor.name in seen:
                raise ValueError(f"sensor {sensor.name} is named twice")
            seen.add(sensor.name)
        return self


class Feed(Section):
    """How captures and sensors become feature vectors; the service itself reads none of this."""

    vectors: Literal["packets", "flows", "hosts"] = "packets"
    """Of a capture: a vector for each packet (damped statistics), for each flow and interval, or for each host and
    interval."""
    stream: Literal["host", "channel"] = "host"
    """Whose stream a vector is in: the source address's, or that of source and target together. Vectors of hosts are
    always in the host's."""
    decays: Annotated[list[Rate], Field(min_length=1, max_length=10)] = Field(
        default_factory=lambda: [5.0, 3.0, 1.0, 0.1, 0.01]
    )
    """Decay rates of the damped statistics, 1/s: at rate 5 a packet counts half as much after a fifth of a second."""
    max_keys: Count = 100_000
    """Most hosts, channels, connections and flows that are remembered, each; those not seen for longest go first."""
    flows: Flows = Flows()
    """When a flow is reported."""
    hosts: Hosts = Hosts()
    """What a vector of a host is about."""
    join: Join = Join()
    """Sensors that are joined to one vector for each interval."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({f"{decay:g}" for decay in self.decays}) < len(self.decays):
            raise ValueError("decays must differ")
        return self
