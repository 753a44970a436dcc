"""What an encode has collected so far of one grid."""

from dataclasses import dataclass, field
from typing import Any

from fieldcodec.fit.phases import FitResult
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.volume.lattice_choice import Choice
from fieldcodec.volume.network_chain import DIFFERENCES
from fieldcodec.volume.sections import NETWORK_SECTIONS


def _no_networks() -> dict[str, Any]:
    return {"tree": "explicit", "networks": {}, "weights": "quantised", "corrections": 0, "gave_up": 0}


@dataclass(frozen=True)
class StoredNetwork:
    """A network as a section; `differences` are to the same network of the frame before."""

    spec: NetworkSpec
    data: bytes
    differences: bool = False


@dataclass
class Parts:
    """Sections by their names in reports, the part of the description that depends on how a grid is encoded, fits."""

    sections: dict[str, bytes] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=_no_networks)
    fits: dict[str, FitResult] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    goal_met: bool = True

    def add_network(self, role: str, network: StoredNetwork, fit: FitResult) -> None:
        self.sections[NETWORK_SECTIONS[role]] = network.data
        self.meta["networks"][role] = network.spec.to_json()
        if network.differences:
            self.meta.setdefault(DIFFERENCES, []).append(role)
        self.fits[role] = fit
