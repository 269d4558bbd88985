"""Scenarios on one lab, over and over: each begins as if for the first time and is judged by itself."""

import contextlib
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from etcdplan.hosts.skeleton import make_host
from etcdplan.lab.binaries import etcd_binaries
from etcdplan.lab.processes import break_member, destroy
from etcdplan.model.state import host_of
from tests.support import real_outcome
from tests.support.cli import VERSION, Lab
from tests.support.crashes import Crashes, End, check_end, end

BOOTSTRAP = "bootstrap of 3"
REPLACEMENT = "replacement of 1 of 3, its disk gone"
SCALE_UP = "scaling 3 → 5"
SCALE_DOWN = "scaling 5 → 3"
SCENARIOS = (BOOTSTRAP, REPLACEMENT, SCALE_UP, SCALE_DOWN)


@dataclass
class Bench:
    """A lab whose scenarios leave it where the next one may begin: three members, or five after scaling up."""

    lab: Lab
    undisturbed: dict[str, End] = field(default_factory=dict)

    def begin(self, scenario: str) -> Crashes:
        """Bring the lab to where a scenario begins."""
        lab = self.lab
        if scenario == BOOTSTRAP:
            with lab.at_home():
                destroy(lab.place)
            lab.make()
        elif scenario == REPLACEMENT:
            break_member(lab.place, "member2", "disk")
        elif scenario == SCALE_UP:
            for number in (4, 5):
                self._renew_host(number)
            self._lead(1)
        elif scenario == SCALE_DOWN:
            self._lead(4)  # So that the leadership is handed over in each run.
        spec = self.five() if scenario == SCALE_UP else lab.spec
        return Crashes(lab, spec, since=real_outcome.history(lab))

    def _lead(self, number: int) -> None:
        """Let a member lead, so that every run makes the same effects."""
        spec = self.five() if number > 3 else self.lab.spec
        state = self.lab.observe(spec)
        members = {host_of(url): member for url, member in state.membership.get().members.items()}  # type: ignore[union-attr]
        heir = members[self.lab.address(number)]
        if state.leader != heir.peer_url:
            now = next(n for n in range(1, 6) if self.lab.address(n) == host_of(state.leader or ""))
            moved = self.lab.etcdctl("move-leader", f"{heir.id:x}", host=now)
            assert moved.returncode == 0, moved

    def five(self) -> Path:
        """Return the spec with five members."""
        return self.lab.variant(members={f"member{number}": number for number in range(1, 6)})

    def _renew_host(self, number: int) -> None:
        root = self.lab.root(number)
        shutil.rmtree(root)
        make_host(root)
        (root / "usr/local/bin/etcd").symlink_to(etcd_binaries(VERSION) / "etcd")

    @contextlib.contextmanager
    def judged(self, scenario: str, *, cut: bool = False) -> Iterator[Crashes]:
        """Begin a scenario; at the end, which is that of an undisturbed run, raise `AssertionError` if it differs."""
        crashes = self.begin(scenario)
        hosts = (1, 3) if scenario == REPLACEMENT else (1, 2, 3)
        with self.lab.writers(*hosts) as writers:
            yield crashes
            check_end(crashes, self.undisturbed[scenario], writers, cut=cut)

    def renew(self, scenario: str) -> None:
        """Go on in a new lab, whatever state a failure has left, as if the scenario had come to its end."""
        crashes = self.begin(BOOTSTRAP)
        self.lab.apply(crashes.spec)
        if REPLACEMENT in self.undisturbed:
            # What the others are compared with has this history.
            self.lab.apply(self.begin(REPLACEMENT).spec)
        if scenario == SCALE_UP:
            self.lab.apply(self.five())

    def run_undisturbed(self, scenario: str, *, env: Mapping[str, str] | None = None) -> None:
        """Run a scenario once without harm; its end is what the others are compared with."""
        crashes = self.begin(scenario)
        self.lab.apply(crashes.spec, env=env)
        self.undisturbed.setdefault(scenario, end(self.lab, crashes.spec, crashes.since))


def header(title: str, command: str, what: str) -> str:
    """Return the head of a table's page."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    cores = subprocess.run(["nproc"], capture_output=True, text=True, check=False).stdout.strip()
    return f"""# {title}

{what}

    {command}

Run on {datetime.now(UTC):%Y-%m-%d}, etcdplan {commit or "of the same commit"}, etcd {VERSION}, \
Python {platform.python_version()}, Linux {platform.release()}, {cores} cores.

"""


def write(path: Path, text: str, say: Callable[[str], None] = print) -> None:
    """Write a page, and show it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    say(text)
