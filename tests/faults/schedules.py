"""Random schedules: runs that are broken at random places in a world that is broken at random times.

A schedule is a number: everything in it follows from its seed, so that what fails once fails again.
"""

from dataclasses import dataclass

from etcdplan.apply.failpoints import Killed
from etcdplan.errors import EtcdplanError
from etcdplan.planner.refusal import Refusal
from tests.faults.attempts import Attempt
from tests.faults.justice import Doubtful, could_have_quorum, unjust
from tests.faults.mishaps import AT_BOUNDARIES, BETWEEN, Chaos
from tests.faults.outcome import url_of
from tests.faults.situation import HOURS, Situation
from tests.support.fake_machine import split_url

MOST_RUNS = 6
"""Runs that are broken; after them the world is left alone."""
MOST_QUIET_RUNS = 8

EXIT_CODES = {3, 4, 5, 6, 7, 8}


class Wrong(AssertionError):
    """A schedule ended as it never may."""


@dataclass
class Schedule(Situation):
    """One schedule."""

    runs: int = 0
    outcome: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.world.before_effect = self._before_effect
        self.world.after_effect = self._after_effect

    def play(self) -> "Schedule":
        """Break things for a while, then let everything come to rest; raise `Wrong`."""
        try:
            died = False
            for _ in range(self.random.randint(1, MOST_RUNS)):
                for _ in range(self.random.choice([0, 1, 1, 2]) if self.runs else 2):
                    self.random.choice(BETWEEN)(self)
                if self.random.random() < 0.4:
                    self.world.settle(self.random.choice([1.0, 10.0, 100.0]))
                died = self.run(self.failpoint(), resume=died and self.random.random() < 0.7)
            self.mend()
            self.rest()
            self.check()
        except Wrong:
            raise
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}\n{self}") from error
        return self

    def __str__(self) -> str:
        return f"seed {self.seed}\n" + "\n".join(self.story)

    def run(self, failpoint: Chaos | None, *, resume: bool) -> bool:
        """Let one process run; return whether it ended otherwise than well."""
        self.runs += 1
        machine = self.random.choice(["one", "one", ""])
        attempt = Attempt(
            self.world, self.spec, machine=machine, least_sleep=self.least_sleep, dies_at_writes=True
        )
        self.running = self.spec
        if failpoint is not None:
            attempt.boundaries._failpoint = failpoint
            attempt.watcher = failpoint.watch
        began, self.frozen = self.world.clock.now, 0.0
        self.tell("resume" if resume else "apply")
        try:
            done = attempt.resume() if resume else attempt.apply()
        except Killed as death:
            self.tell(f"  killed at {death}")
            return True
        except EtcdplanError as error:
            self.tell(f"  exit {error.exit_code}: {error.message}")
            if error.exit_code not in EXIT_CODES or "report this" in error.hint:
                raise Wrong(f"exit {error.exit_code}: {error.message}\n{self}") from error
            return True
        finally:
            self.surprised = False
            if self.world.clock.now - began > 2 * HOURS + self.frozen:
                raise Wrong(f"a run took {self.world.clock.now - began:.0f} s\n{self}")
            self.check()
        self.tell(f"  {done} steps done")
        return False

    def failpoint(self) -> Chaos | None:
        """Return what befalls the next run."""
        if self.random.random() < 0.15:
            return None
        count = self.random.choice([1, 1, 1, 2, 3])
        places = {
            int(self.random.expovariate(1 / self.random.choice([10, 60, 150]))) + 1: self.random.choice(
                AT_BOUNDARIES
            )
            for _ in range(count)
        }
        steps = {
            self.random.randint(1, 10): self.random.choice(BETWEEN)
            for _ in range(self.random.choice([0, 0, 1]))
        }
        return Chaos(self, places, steps)

    def mend(self) -> None:
        """Make everything that is no loss good again."""
        self.tell("everything is mended")
        self.world.heal()
        for address, machine in self.world.machines.items():
            machine.full, machine.hidden = False, {}
            self.world.restore_network(address)
            if not machine.powered:
                self.world.boot(address)
            for unit in machine.units:
                self.world.wake(address, unit)
        self.world.settle(100)

    def rest(self) -> None:
        """Plan and apply until nothing is left to do, or until a refusal is just."""
        refused: set[Refusal] = set()
        for _ in range(MOST_QUIET_RUNS):
            plan = Attempt(self.world, self.spec).plan()
            if not plan.refusals and not plan.steps:
                self.converged()
                return
            for refusal in plan.refusals:
                self.tell(f"refused: {refusal.code}: {refusal.message}")
                try:
                    why = unjust(self.world, self.spec, refusal)
                except Doubtful as remedy:
                    if refusal.code == "does-not-start" and refusal in refused:
                        self.take_flags_back()
                    refused.add(refusal)
                    remedy.follow()
                    self.tell(f"  {remedy}")
                    self.world.settle(100)
                    break
                if why:
                    raise Wrong(f"{why}\n{self}")
                self.outcome = refusal.code
                return
            else:
                self.run(None, resume=False)
                self.world.settle(100)
        if any(
            cluster.ever_led and not could_have_quorum(self.world, cluster) for cluster in self.world.clusters
        ):
            self.outcome = "waits in vain"
            return
        raise Wrong(f"there is always something left to do\n{self}")

    def take_flags_back(self) -> None:
        """Let the spec have the flags that the others run with, as the refusal says."""
        running = (self.world.machines[address].etcd.process for address in self.world.serving())
        self.flags = min(process.settings["heartbeat-interval"] for process in running if process) + "ms"
        self.spec = self.make_spec()
        self.tell(f"the spec wants {self.flags} again")

    def converged(self) -> None:
        """Check that the cluster is what the spec says, and that nothing more is done."""
        self.outcome = "converged"
        wanted = {member.host for member in self.spec.spec.members}
        if set(self.world.serving()) != wanted:
            raise Wrong(f"serving are {self.world.serving()}\n{self}")
        for server in self.spec.spec.api_servers.instances:
            process = self.world.machines[server.host].unit(f"apiserver/{server.name}").process
            if process is None or not process.ready:
                raise Wrong(f"API server {server.name} is not ready\n{self}")
        effects = len(self.world.effects_log)
        if self.run(None, resume=False) or len(self.world.effects_log) != effects:
            raise Wrong(f"a converged cluster is changed\n{self}")

    def check(self) -> None:
        """Check what holds at any time."""
        if self.world.violations:
            raise Wrong("\n".join(self.world.violations) + f"\n{self}")
        if sum(cluster.ever_led for cluster in self.world.clusters) > 1:
            raise Wrong(f"a second cluster\n{self}")
        if not self.catastrophe and self.world.serving() and self.world.writes_lost():
            raise Wrong(f"{self.world.writes_lost()} writes lost\n{self}")

    def _before_effect(self, host: str, effect: str) -> None:
        self.tell(f"    {effect} {host}")
        sizes = [sum(not m.learner for m in cluster.members.values()) for cluster in self.world.clusters]
        self.world.allow_outage = (
            self.surprised or min(sizes, default=0) <= 2
        )  # The spec declares these outages.

    def _after_effect(self, host: str, effect: str) -> None:
        """A member that the spec keeps is never taken out while it has good data and could run on it."""
        if effect == "member_remove":
            host = split_url(url_of(self.world, int(self.world.effects_log[-1].args[1])))[1]
        elif effect != "set_data_aside":
            return
        machine = self.world.machines[host]
        data = machine.data if effect == "member_remove" else machine.aside[-1] if machine.aside else None
        if data is None or data.corrupt or data.forgetful or data.foreign or data.cluster is None:
            return
        before = data.cluster.history[-2 if effect == "member_remove" else -1][1]
        kept = host in {member.host for member in self.running.spec.members}
        if kept and data.member_id in before and (machine.full or not machine.etcd.failing):
            raise Wrong(f"{effect} of {host}, which the spec keeps and which has its data\n{self}")
