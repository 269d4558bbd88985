"""The main job, shown: a cluster from nothing, a failure under load, a plan, an apply, and nothing lost."""

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etcdplan.cli.cluster import connect, load
from etcdplan.cli.output import colored, progress, result, width
from etcdplan.cli.session import session_of, with_failpoints
from etcdplan.errors import OutcomeUnknownError, RefusedError, StoppedError
from etcdplan.planner.document import to_document
from etcdplan.planner.unroll import unroll
from etcdplan.render.text import plan_text

if TYPE_CHECKING:
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.writers import Writers

NAME = "demo"
VICTIM = "member2"
QUIET = 2.0
"""Seconds of undisturbed writing before the failure and after the repair."""


def converge(spec: Path, *, show_plan: bool) -> int:
    """Plan and apply a spec without asking, and return the number of steps done."""
    cluster = load(spec)
    with connect(cluster, [], wrap=with_failpoints) as live:
        document = to_document(unroll(live.target, live.observe()), live.digest, spec_path=str(spec))
        if show_plan:
            color = colored(sys.stdout)
            result(plan_text(document, color=color, width=width()))
        for refusal in document.refusals:
            raise RefusedError(refusal.message, hint=refusal.remedy)
        with session_of(live, [], color=colored(sys.stderr)) as session:
            return session.apply(document)


def run_demo(version: str, etcd_dir: Path | None, *, keep: bool) -> int:
    """Run the demonstration; 0 when every acknowledged write was read back, else 1.

    Raises `LabError` when there is a lab of its name that is not what a killed demonstration left.
    """
    with _alone():
        _clear()
        try:
            lost = _show(version, etcd_dir, keep=keep)
        except (StoppedError, OutcomeUnknownError) as error:
            if not keep:
                error.hint = "The demonstration was ended, and its lab is removed."
            raise
        except KeyboardInterrupt:
            if not keep:
                progress("The demonstration ends here; its lab is removed.")
            raise
        finally:
            if not keep:
                _clear()
    return 1 if lost else 0


def _show(version: str, etcd_dir: Path | None, *, keep: bool) -> int:
    """Run the demonstration and return how many acknowledged writes were lost."""
    from etcdplan.cli.lab import make
    from etcdplan.lab.processes import break_member
    from etcdplan.lab.writers import WRITERS

    made = make(NAME, 3, version, etcd_dir, demo=True)
    try:
        _title(f"1. Three members of etcd {version} with TLS, from nothing")
        converge(made.spec, show_plan=True)
        writers = _writers(made)
        with writers:
            _title(f"2. {WRITERS} writers, and a member that dies with its disk")
            time.sleep(QUIET)
            result(break_member(made, VICTIM, "disk"))
            _title("3. The plan that heals it, and its apply")
            converge(made.spec, show_plan=True)
            time.sleep(QUIET)
        report = writers.report()
        lost = writers.lost()
        _title("4. What the writers noticed")
        result(
            f"writes acknowledged  {report.acknowledged}\n"
            f"writes lost          {lost}\n"
            f"not acknowledged     {report.failed}  (refused, or without an answer in time: they may be there or not)\n"
            f"longest gap          {report.longest_gap:.2f} s without an acknowledged write\n"
            f"slowest write        {report.slowest:.2f} s"
        )
    finally:
        if keep:
            made.write_file(replace(made.file(), demo=False))
    if keep:
        result(f"\nThe lab stays: etcdplan plan {made.spec}; etcdplan lab down {NAME}")
    return lost


@contextmanager
def _alone() -> Iterator[None]:
    """Keep another demonstration of this user from taking this one's lab for one that was left behind."""
    from etcdplan.lab.directory import lab_home
    from etcdplan.lab.errors import LabError

    home = lab_home()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / ".demo").open("w") as file:
        try:
            # Unlike flock, it does not pass on to what is forked, and outlives nobody.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(
                "A demonstration is under way already.", hint="Wait until it has ended, or end it."
            ) from None
        yield


def _clear() -> None:
    """Remove what a demonstration left; raise `LabError` for a lab that somebody made, or kept."""
    from etcdplan.cli.lab import remove
    from etcdplan.lab.directory import LabDirectory
    from etcdplan.lab.errors import LabError

    lab = LabDirectory.named(NAME)
    # Hosts are made last: without any there is nothing to lose.
    if lab.host_roots() and not lab.file().demo:
        raise LabError(
            f"There is a lab {NAME!r} already: {lab.path}.", hint=f"`etcdplan lab down {NAME}` removes it."
        )
    remove(lab)


def _writers(made: "LabDirectory") -> "Writers":
    """Return writers over the client URLs of the lab's spec."""
    from etcdplan.lab.writers import TlsFiles, Writers

    urls = [member.client_url for member in load(made.spec).target.members.values()]
    return Writers(
        urls, tls=TlsFiles(made.pki / "etcd-ca.crt", made.pki / "operator.crt", made.pki / "operator.key")
    )


def _title(text: str) -> None:
    result(f"\n{text}\n{'=' * len(text)}\n")
