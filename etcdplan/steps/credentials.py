"""Steps that give a host the certificates it needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etcdplan.model.effects import Effect, InstallTrust, IssueLeaf
from etcdplan.model.state import State
from etcdplan.steps.base import Step


@dataclass(frozen=True, slots=True)
class TrustAuthority(Step):
    """A host has the CA bundle that its processes verify each other with."""

    kind = "trust"

    host: str
    spkis: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The host's bundle."""
        return f"trust/{self.host}"

    def params(self) -> Mapping[str, Any]:
        """The CAs' SPKI fingerprints (SHA-256)."""
        return {"authorities": list(self.spkis)}

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Write the bundle when it differs."""
        return (
            () if state.host(self.host).trust.get() == self.spkis else (InstallTrust(self.host, self.spkis),)
        )

    def summary(self) -> str:
        """Name the host."""
        return f"install the CA certificate on {self.host}"


@dataclass(frozen=True, slots=True)
class IssueCertificate(Step):
    """A host has a valid pair of key and certificate; the key is made there and never leaves it.

    `lifetime` and `renew_before` are in seconds.
    """

    kind = "certificate"
    renewable = True

    owner: str
    host: str
    leaf: str
    common_name: str
    issuer: str
    sans: tuple[str, ...]
    usages: tuple[str, ...]
    lifetime: int
    renew_before: int

    @property
    def subject(self) -> str:
        """The certificate."""
        return f"certificate/{self.owner}/{self.leaf}"

    def params(self) -> Mapping[str, Any]:
        """What the certificate says, without its times."""
        return {
            "host": self.host,
            "commonName": self.common_name,
            "authority": self.issuer,
            "sans": list(self.sans),
            "usages": list(self.usages),
            "lifetime": self.lifetime,
        }

    def effects(self, state: State) -> tuple[Effect, ...]:
        """Issue one unless a fitting one lies there."""
        if self.wrong(state) is None:
            return ()
        return (
            IssueLeaf(
                self.host, self.leaf, self.common_name, self.issuer, self.sans, self.usages, self.lifetime
            ),
        )

    def wrong(self, state: State) -> str | None:
        """Return what is wrong with the certificate that lies there, None when nothing is."""
        leaf = state.host(self.host).leaf(self.leaf).get()
        if leaf is None:
            return "there is none yet"
        if leaf.issuer != self.issuer:
            return "it was not signed by the CA of the spec"
        if not leaf.key_matches:
            return "its key does not belong to it"
        if leaf.not_before > state.now:
            return "it is not valid yet"
        if leaf.not_after <= state.now:
            return "it has expired"
        if leaf.not_after - state.now < self.renew_before:
            return "it expires soon"
        if set(self.sans) - set(leaf.sans):
            return f"it lacks {', '.join(sorted(set(self.sans) - set(leaf.sans)))}"
        if set(self.usages) - set(leaf.usages):
            return f"it may not be used as {' and '.join(sorted(set(self.usages) - set(leaf.usages)))}"
        return None

    def summary(self) -> str:
        """Name leaf and host."""
        return f"issue the {self.leaf} certificate of {self.owner} on {self.host}"
