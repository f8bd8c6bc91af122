"""From a design to a model that can take the weights that go with it."""

from __future__ import annotations

from monitor.model import baselines, objectives
from monitor.model.architecture import Architecture, ClosedForm, Design, Joint
from monitor.model.ensemble import Ensemble
from monitor.model.reconstructor import Reconstructor


def build(design: Design) -> Reconstructor:
    """A model that knows nothing yet, for `load_state_dict`."""
    match design:
        case Architecture():
            return objectives.build(design)
        case ClosedForm():
            return baselines.build(design.network, design.channels, design.code)
        case Joint():
            return Ensemble([build(member) for member in design.members], design.channels)
