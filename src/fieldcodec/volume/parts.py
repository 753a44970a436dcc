"""What an encode has collected so far of one grid."""

from dataclasses import dataclass, field
from typing import Any

from fieldcodec.fit.phases import FitResult
from fieldcodec.volume.fields import ExpertField
from fieldcodec.volume.lattice_choice import Choice
from fieldcodec.volume.networks import encode_network


def _no_networks() -> dict[str, Any]:
    return {"tree": "explicit", "networks": {}, "weights": "quantised", "corrections": 0, "gave_up": 0}


@dataclass
class Parts:
    """Sections by their names in reports, the part of the description that depends on how a grid is encoded, fits."""

    sections: dict[str, bytes] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=_no_networks)
    fits: dict[str, FitResult] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    goal_met: bool = True

    def add_network(self, role: str, section: str, expert_field: ExpertField, fit: FitResult) -> None:
        self.sections[section] = encode_network(expert_field.frozen)
        self.meta["networks"][role] = expert_field.frozen.spec.to_json()
        self.fits[role] = fit
