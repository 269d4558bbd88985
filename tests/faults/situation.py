"""A world and a spec that follow from a seed, and the story of what happened to them."""

from dataclasses import dataclass, field
from random import Random

from etcdplan.spec.models import Spec
from tests.support.fake_machine import split_url
from tests.support.scenarios import founded, fresh, make_spec

HOURS = 3600.0


@dataclass
class Situation:
    """What a schedule works on, and what its faults need to know. `story` tells what happened, in words."""

    seed: int
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.hosts = [f"10.0.0.{n}" for n in range(1, 4)]
        self.flags = "100ms"
        self.api_servers = self.random.choice([0, 0, 1, 2])
        self.connect = self.random.choice(["all", "all", "own"]) if self.api_servers else "all"
        size = self.random.choice([1, 3, 3, 3, 5])
        self.hosts = [f"10.0.0.{n}" for n in range(1, size + 1)]
        self.spec = self.make_spec()
        begun = self.random.random() < 0.7
        self.world = founded(spec=self.spec) if begun else fresh(self.spec)
        self.world.catch_up = self.random.choice([0.1, 0.1, 3.0, 8.0])
        self.world.slow_publish = self.random.random() < 0.3
        self.world.allow_api_outage = self.connect == "own"
        self.running = self.spec
        self.least_sleep = self.random.choice([0.0, 0.5, 0.5, 2.0])
        self.catastrophe = False
        """More data is lost than a cluster survives."""
        self.frozen = 0.0
        self.surprised = False
        """Something broke in the middle of a step: the plan cannot know of it."""
        self.tell(
            f"{'a cluster' if begun else 'empty machines'}: {size} members, {self.api_servers} API servers"
        )

    def tell(self, what: str) -> None:
        """Add to the story."""
        self.story.append(f"{self.world.clock.now % 100_000:9.2f} {what}" if hasattr(self, "world") else what)

    def make_spec(self) -> Spec:
        """Return the spec as it is now."""
        return make_spec(
            hosts=self.hosts,
            api_servers=self.api_servers,
            connect=self.connect,
            etcd={"heartbeatInterval": self.flags, "allowOutage": True},
        )

    def any_host(self) -> str:
        """Return a machine's address."""
        return self.random.choice(sorted(self.world.machines))

    def named(self) -> set[str]:
        """Return the hosts that the spec names."""
        return {*self.hosts, *(server.host for server in self.spec.spec.api_servers.instances)}

    def member_host(self) -> str:
        """Return the address of a machine with a member on it, by preference."""
        return self.random.choice(
            sorted(self.world.member_addresses() & self.world.machines.keys()) or [self.any_host()]
        )

    def survives_without(self, address: str) -> bool:
        """Whether the acknowledged writes are safe when a machine's data is gone."""
        for cluster in self.world.clusters:
            voters = [member for member in cluster.members.values() if not member.learner]
            good = 0
            newest = 0
            for voter in voters:
                host = split_url(voter.peer_url)[1]
                machine = self.world.machines.get(host)
                data = machine.data if machine is not None and host != address else None
                if data is None or data.cluster is not cluster or data.member_id != voter.id:
                    continue
                if data.corrupt or data.forgetful or data.foreign:
                    continue
                good += 1
                newest = max(newest, data.applied)
            if cluster.ever_led and (good <= len(voters) // 2 or newest < cluster.acked):
                return False
        return True
