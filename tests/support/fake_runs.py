"""The real observe, lock, journal and executor on the fake world."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from etcdplan.apply.events import Event
from etcdplan.apply.holder import Holder
from etcdplan.apply.session import Session
from etcdplan.backup.source import choose_member
from etcdplan.hosts.job_files import PackedProgram
from etcdplan.hosts.ports import Hosts, LeafFile
from etcdplan.model.backups import Backup, Store
from etcdplan.model.effects import IssueLeaf
from etcdplan.model.facts import known
from etcdplan.model.restore import Restore
from etcdplan.model.state import Leaf, State, host_of
from etcdplan.observe.collect import PATIENCE, Credentials, observe
from etcdplan.planner.document import PlanDocument, to_document
from etcdplan.planner.unroll import Plan, unroll
from etcdplan.spec.load import spec_digest
from etcdplan.spec.models import Spec
from tests.support.fake_pki import describe_leaf, describe_trust, fake_leaf, fake_trust
from tests.support.fake_world import FakeWorld
from tests.support.scenarios import CA, target_of


def _leaf(file: LeafFile) -> Leaf:
    return replace(describe_leaf(file.certificate_pem), key_matches=file.key_matches)


CREDENTIALS = Credentials(leaf=_leaf, authorities=describe_trust)


@dataclass(frozen=True)
class FakeSigner:
    """Signs on the virtual clock."""

    world: FakeWorld
    bundle_pem: bytes = fake_trust(CA)

    def sign(self, request_pem: bytes, leaf: IssueLeaf) -> bytes:
        """Return a fake certificate."""
        end = self.world.clock.now + leaf.lifetime
        return fake_leaf(
            issuer=leaf.issuer, sans=leaf.sans, usages=leaf.usages, not_after=end, csr=request_pem
        )


@dataclass
class RunnerDisk:
    """The runner's own journal."""

    files: dict[str, bytes] = field(default_factory=dict)

    def append(self, name: str, content: bytes) -> None:
        """Append."""
        self.files[name] = self.files.get(name, b"") + content


@dataclass
class FakeSource:
    """A backup that is always at hand; what is made of it knows the fake world by itself."""

    world: FakeWorld

    @contextmanager
    def member(self, restore: Restore, peer_url: str) -> Iterator[Path]:
        """Give no directory."""
        yield Path("/nowhere")

    def compare(self, restore: Restore, state: State) -> None:
        """Check that there is something to compare: every restored member serves."""
        members = {url.split("://")[1].rsplit(":", 1)[0] for url, _ in restore.members}
        assert set(self.world.serving()) == members


@dataclass
class FakeTaker:
    """Takes backups that say little of the cluster, and count."""

    world: FakeWorld

    def take(self, state: State, verify: str) -> None:
        """Take one from a member that serves."""
        member = choose_member(state)
        assert host_of(member.peer_url) in self.world.serving()
        [cluster] = [one for one in self.world.clusters if member.id in one.members]
        now = int(self.world.clock.now)
        self.world.backups.append(Backup(f"test-{now}", cluster.id, now, 1, 1, verify))


_ids = count(1)


@dataclass
class Runner:
    """One machine that runs etcdplan against a fake world; `life` says of other holders whether they live."""

    world: FakeWorld
    spec: Spec
    hosts: Hosts | None = None
    events: list[Event] = field(default_factory=list)
    stop: Callable[[], bool] = lambda: False
    tell: Callable[[Event], None] | None = None

    def __post_init__(self) -> None:
        self.name = f"runner{next(_ids)}"
        self.hosts = self.hosts or self.world.controller(self.name)
        records = [machine.record or b"" for machine in self.world.machines.values()]
        begun = any(b'"restore"' in record for record in records)
        abandoned = any(b'"abandoned": true' in record for record in records)
        self.target = replace(
            target_of(self.spec),
            restore=None if begun else self.world.asked,
            abandon=self.world.abandons and not abandoned,
        )
        self.world.rests_on = self.target.backup.max_age if self.target.backup else None

    def observe(self, timeout: float = PATIENCE) -> State:
        """Observe the world."""
        assert self.hosts is not None
        now = int(self.world.clock.now)
        state = observe(self.target, self.hosts, CREDENTIALS, now=now, timeout=timeout)
        there = known(Store(tuple(reversed(self.world.backups))))
        places = self.target.backup.destinations if self.target.backup else ()
        return replace(state, backups=dict.fromkeys(places, there))

    def plan(self) -> Plan:
        """Plan from what is seen."""
        return unroll(self.target, self.observe())

    def document(self) -> PlanDocument:
        """Plan, as a document."""
        return to_document(self.plan(), spec_digest(self.spec))

    def session(self) -> Session:
        """Return a session without threads."""
        assert self.hosts is not None
        return Session(
            target=self.target,
            spec_digest=spec_digest(self.spec),
            hosts=self.hosts,
            observe=self.observe,
            signer=FakeSigner(self.world),
            runner=RunnerDisk(),
            holder=Holder(self.name, self.name, "test", 1, 1, self.name, self.name, "apply"),
            clock=self.world.clock,
            tell=self.tell or self.events.append,
            stop=self.stop,
            beat=False,
            hook=self.world.run_hook,
            programs=lambda: {"etcd": b"a program"},
            packed=lambda _: PackedProgram(b"an archive", "python3.11", "0.1.0"),
            backups=FakeSource(self.world),
            taker=FakeTaker(self.world),
        )

    def apply(self) -> int:
        """Plan and apply."""
        return self.session().apply(self.document())

    def resume(self) -> int:
        """Finish what another runner began."""
        return self.session().resume()
