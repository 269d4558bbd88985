"""etcdplan backup units SPEC"""

import re
from pathlib import Path
from typing import Annotated

import typer

from etcdplan.cli.options import SpecPath
from etcdplan.cli.output import result
from etcdplan.errors import SpecError, UsageError
from etcdplan.spec.problems import Invalid


def units(
    spec: SpecPath,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the two files go.")],
    spec_there: Annotated[
        str, typer.Option("--spec-there", metavar="PATH", help="Where the spec lies on the host.")
    ],
    program: Annotated[
        str, typer.Option("--program", metavar="PATH", help="etcdplan on the host.")
    ] = "/usr/bin/etcdplan",
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Who runs it there.")] = "etcdplan",
    identity: Annotated[
        str, typer.Option("--identity-there", metavar="PATH", help="The age identity on the host.")
    ] = "",
    etcd_dir: Annotated[
        str, typer.Option("--etcd-there", metavar="DIR", help="Where etcd and etcdutl are on the host.")
    ] = "",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="FILE", help="Metrics on the host; the name ends in .prom.")
    ] = "",
    standby: Annotated[
        str,
        typer.Option(
            "--standby",
            metavar="TIME",
            help="Of a second host: wait so long (10m), run if the first has not.",
        ),
    ] = "",
) -> int:
    """Write a systemd service and timer that take backups on spec.backup.schedule, for a host of yours.

    Nothing is installed: copy them to /etc/systemd/system there, and enable the timer.
    """
    from etcdplan.cli.backup import policy_of
    from etcdplan.cli.files import write_file
    from etcdplan.diff.backup_units import ScheduledBackup, service, timer
    from etcdplan.spec.load import load_spec
    from etcdplan.spec.schedule import parse
    from etcdplan.spec.units import duration

    loaded = load_spec(spec)
    policy = policy_of(loaded)
    if policy.schedule is None:
        raise SpecError(
            "The spec has no schedule for backups.", hint="Set spec.backup.schedule; docs/backups.md."
        )
    there = {"--spec-there": spec_there, "--program": program, "--identity-there": identity}
    there |= {"--etcd-there": etcd_dir, "--metrics": metrics}
    for option, path in there.items():
        if path and (not path.startswith("/") or not path.isprintable()):
            what = f"{option} is {path!r}, which is no path from the root."
            raise UsageError(what, hint="Such as /etc/etcdplan/prod.yaml.")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user):
        raise UsageError(f"--user is {user!r}, which is no name of a user.", hint="Such as etcdplan.")
    try:
        wait = duration(standby) // 1000 if standby else 0
    except Invalid as error:
        raise UsageError(f"--standby: {error}.") from None
    home = Path(spec_there).parent
    writes = [f"{home / place}" for place in policy.destinations if "://" not in place]
    writes += [str(Path(metrics).parent)] if metrics else []
    job = ScheduledBackup(
        loaded.spec.metadata.name, program, spec_there, user, identity, etcd_dir, metrics, wait, writes
    )
    for kind, text in (("service", service(job)), ("timer", timer(job, parse(policy.schedule)))):
        file = out / f"{job.name}.{kind}"
        write_file(file, text.encode(), mode=0o644)
        result(f"wrote {file}")
    return 0
