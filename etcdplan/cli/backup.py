"""etcdplan backup run, list, verify, prune, fetch"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etcdplan.cli.backup_keygen import keygen
from etcdplan.cli.backup_keys import keys
from etcdplan.cli.backup_units import units
from etcdplan.cli.backup_volume import volume
from etcdplan.cli.measured import Measured, Metrics
from etcdplan.cli.options import AgeIdentity, EtcdDir, Json, Scratch, SpecPath
from etcdplan.cli.output import progress, result, result_json
from etcdplan.errors import EtcdplanError, SpecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdplan.backup.catalogue import Catalogue
    from etcdplan.backup.destination import Destination
    from etcdplan.backup.etcd_tools import EtcdTools
    from etcdplan.backup.manifest import Manifest
    from etcdplan.backup.restoring import SnapshotSource
    from etcdplan.backup.signing import PublicKey
    from etcdplan.backup.take import Proof
    from etcdplan.cli.cluster import LiveCluster
    from etcdplan.spec.backup import Backup
    from etcdplan.spec.load import LoadedSpec

app = typer.Typer(help="Make backups, and prove them.", no_args_is_help=True)


@app.callback()
def backup() -> None:
    """Make backups, and prove them."""


app.command("keygen")(keygen)
app.command("units")(units)
app.command("volume")(volume)
app.command("keys")(keys)


@app.command("run")
def run(
    spec: SpecPath,
    trial: Annotated[
        bool, typer.Option("--trial", help="Restore it on trial, though the spec has 'verify: checksum'.")
    ] = False,
    if_due: Annotated[
        bool,
        typer.Option("--if-due", help="Only when none was taken since spec.backup.schedule's last time."),
    ] = False,
    json: Json = False,
    metrics: Metrics = None,
    from_data: Annotated[
        str | None,
        typer.Option(
            "--from-data", metavar="MEMBER|HOST", help="From what a stopped etcd left there, data and log."
        ),
    ] = None,
    without_quorum: Annotated[
        bool,
        typer.Option(
            "--without-quorum", help="From the survivor that knows of the most; quorum must be lost."
        ),
    ] = False,
    from_volume: Annotated[
        Path | None,
        typer.Option(
            "--from-volume",
            metavar="DIR",
            help="From an etcd's data directory on this machine: a snapshot of a volume.",
        ),
    ] = None,
    volume_log: Annotated[
        Path | None,
        typer.Option(
            "--volume-log", metavar="DIR", help="With --from-volume: its log, where it is elsewhere."
        ),
    ] = None,
    without_ssh: Annotated[
        bool,
        typer.Option(
            "--without-ssh",
            help="Log in to no host: reach etcd at its client URLs; no files of hosts go along.",
        ),
    ] = False,
    etcd_dir: EtcdDir = None,
    scratch: Scratch = None,
    age_identity: AgeIdentity = None,
) -> int:
    """Take a snapshot, encrypted while it streams, to every destination; sign it when it is proven.

    Exits with 6 when some destination does not have it.
    """
    from etcdplan.cli.cluster import connect, load
    from etcdplan.cli.destinations import not_due
    from etcdplan.cli.etcd_alone import connect_to_etcd
    from etcdplan.cli.taking import Taking, survivors_of
    from etcdplan.render.backup import taken_text

    if sum((from_data is not None, without_quorum, from_volume is not None)) > 1:
        raise UsageError(
            "--from-data, --from-volume and --without-quorum are different ways.", hint="Give one of them."
        )
    if volume_log is not None and from_volume is None:
        raise UsageError("--volume-log goes with --from-volume.", hint="Name the data directory, too.")
    if without_ssh and (from_data is not None or without_quorum or from_volume is not None):
        raise UsageError("--without-ssh takes a snapshot from a member that serves.", hint="Leave it out.")
    with Measured("run", spec, metrics) as measured:
        cluster = load(spec)
        if if_due and (since := not_due(cluster.loaded, policy_of(cluster.loaded))):
            result_json({"formatVersion": 1, "due": False}) if json else result(since)
            return measured.end(0)
        taking = Taking.of(cluster, age_identity or [], etcd_dir, scratch, verify="restore" if trial else "")
        way: Callable[..., AbstractContextManager[LiveCluster]] = connect_to_etcd if without_ssh else connect
        with way(cluster, age_identity or []) as reached:
            state = reached.observe()
            if from_data is not None:
                taken = taking.from_data(reached, state, from_data)
            elif from_volume is not None:
                taken = taking.from_volume(reached, state, from_volume, volume_log)
            elif without_quorum:
                taken = taking.from_survivor(reached, state, survivors_of(reached, state))
            else:
                taken = taking.from_member(reached, state)
        if json:
            result_json({"formatVersion": 1, **taken.manifest.model_dump(mode="json", exclude_none=True)})
        else:
            result(taken_text(taken))
        places = map(str, destinations_of(cluster.loaded))
        measured.failed += [place for place in places if place not in taken.destinations]
        return measured.end(6 if taken.failures else 0)


@app.command("list")
def list_backups(spec: SpecPath, json: Json = False, metrics: Metrics = None) -> int:
    """List the backups that count, newest first, and what is there and does not. Exits with 2 when there is none."""
    from etcdplan.render.backup import catalogues_json, catalogues_text

    with Measured("list", spec, metrics) as measured:
        loaded, catalogues = _catalogues(spec)
        if json:
            result_json(catalogues_json(catalogues))
        else:
            result(catalogues_text(loaded.spec.metadata.name, catalogues))
        return measured.end(0 if any(catalogue.backups for _, catalogue in catalogues) else 2)


@app.command("verify")
def verify(
    spec: SpecPath,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The backup; the newest by default.")
    ] = None,
    metrics: Metrics = None,
    etcd_dir: EtcdDir = None,
    scratch: Scratch = None,
    age_identity: AgeIdentity = None,
) -> int:
    """Read a backup back from every destination and restore it on trial, whatever the spec asks for."""
    from etcdplan.backup.catalogue import newest
    from etcdplan.backup.take import Proof, prove
    from etcdplan.render.backup import proven_text

    with Measured("verify", spec, metrics) as measured:
        _, catalogues = _catalogues(spec)
        wanted = name or newest(catalogue for _, catalogue in catalogues)
        failed: list[EtcdplanError] = []
        for destination, catalogue in catalogues:
            manifest = next((one for one in catalogue.backups if one.name == wanted), None)
            try:
                if manifest is None:
                    why = {**catalogue.distrusted, **catalogue.unknown}.get(wanted, "it is not there")
                    raise EtcdplanError(f"{wanted} does not count in {destination}: {why}.")
                tools = tools_for(manifest.etcd_version, etcd_dir)
                trial = prove(destination, manifest, Proof("restore", tools, age_identity or [], scratch))
                result(proven_text(manifest, str(destination), trial))
            except EtcdplanError as error:
                failed.append(error)
                measured.failed.append(str(destination))
        for other in failed[1:]:
            progress(f"Error: {other.message}")
        if failed:
            raise failed[0]
        return measured.end(0)


@app.command("prune")
def prune(
    spec: SpecPath,
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve", help="Do not ask: remove what the policy does not keep.")
    ] = False,
) -> int:
    """Remove the backups that spec.backup.retention does not keep, after showing which. Nothing unsigned is touched.

    Exits with 6 when a destination could not be pruned.
    """
    import time

    from etcdplan.backup.catalogue import forget
    from etcdplan.backup.errors import DestinationError
    from etcdplan.cli.approval import ask
    from etcdplan.render.backup import pruning_text
    from etcdplan.spec.retention import reasons_to_keep

    loaded, catalogues = _catalogues(spec)
    policy = policy_of(loaded)
    if policy.retention is None:
        raise SpecError(
            "The spec does not say which backups are kept.",
            hint="Set spec.backup.retention; docs/backups.md.",
        )
    now = int(time.time())
    kept = [
        (place, reasons_to_keep(catalogue.backups, policy.retention, now=now, max_age=policy.oldest))
        for place, catalogue in catalogues
    ]
    result(pruning_text(loaded.spec.metadata.name, kept))
    going = [(place, name) for place, reasons in kept for name, why in reasons.items() if not why]
    if not going:
        return 0
    if not auto_approve:
        ask("Remove these backups for good?", instead="Use --auto-approve.")
    failed: set[str] = set()
    for place, name in going:
        try:
            forget(place, name)
        except DestinationError as error:
            failed.add(str(place))
            progress(f"Error: {error.message}")
    result(
        f"{len(going)} removed." if not failed else f"Not all were removed from {', '.join(sorted(failed))}."
    )
    return 6 if failed else 0


@app.command("fetch")
def fetch(
    spec: SpecPath,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The backup; by default the newest verified as the spec asks."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="A new file for the snapshot, of mode 0600."),
    ] = None,
    include: Annotated[
        Path | None,
        typer.Option(
            "--include", metavar="DIR", help="A new directory for the files of hosts, of mode 0700."
        ),
    ] = None,
    age_identity: AgeIdentity = None,
) -> int:
    """Write what a backup has, decrypted: whole and as its signed manifest says, or not at all."""
    from etcdplan.backup.fetch import fetch_any, fetch_include
    from etcdplan.render.backup import files_text
    from etcdplan.spec.load import load_spec

    if out is None and include is None:
        raise UsageError("Say what to write, and where.", hint="--out FILE, --include DIR, or both.")
    identities = needed(age_identity)
    copies = copies_of(load_spec(spec), name)
    if include is not None:
        result(f"wrote {include}:\n{files_text(fetch_include(copies, identities, include))}")
    if out is not None:
        manifest = fetch_any(copies, identities, out)
        result(f"wrote {out}: {manifest.name}, etcd {manifest.etcd_version}, revision {manifest.revision}")
    return 0


def needed(identities: list[Path] | None) -> list[Path]:
    """Return the age identities that open a backup; raise `EtcdplanError` when there is none."""
    if not identities:
        raise EtcdplanError(
            "A backup is decrypted with an age identity, and none is given.",
            hint="Name that of a recipient (--age-identity, or ETCDPLAN_AGE_IDENTITY).",
        )
    return identities


def copies_of(loaded: "LoadedSpec", name: str | None) -> "list[tuple[Destination, Manifest]]":
    """Return the copies of a backup that count, at least one; without a name of the newest that is as the policy asks.

    With `verify: restore` the last backup that a restore takes of what it replaces is therefore not the next to be
    restored unless it is named. A destination that cannot be read is told of, and the others will do. Raises
    `BackupError` when there is none.
    """
    from etcdplan.backup.catalogue import newest
    from etcdplan.backup.errors import BackupError

    catalogues = _catalogues_of(loaded, each_must_answer=False)
    asked = policy_of(loaded).verify
    verified = "restore" if asked == "restore" else ""
    wanted = name or newest((catalogue for _, catalogue in catalogues), verified)
    copies = [
        (place, one) for place, catalogue in catalogues for one in catalogue.backups if one.name == wanted
    ]
    if not copies:
        raise BackupError(
            f"No destination has a backup {wanted} that counts.", hint="etcdplan backup list SPEC"
        )
    return copies


def restore_source(
    cluster: "LiveCluster", identities: "Sequence[Path]", etcd_dir: Path | None, scratch: Path | None
) -> "SnapshotSource":
    """Return where a restore takes its snapshot from; nothing is read yet."""
    from etcdplan.backup.restoring import SnapshotSource

    return SnapshotSource(
        copies=lambda name: copies_of(cluster.loaded, name),
        tools=lambda version: tools_for(version, etcd_dir),
        identities=identities,
        etcd=cluster.etcd,
        scratch=scratch,
    )


def policy_of(loaded: "LoadedSpec") -> "Backup":
    """Return the spec's policy; raise `SpecError` when it has none."""
    if loaded.spec.spec.backup is None:
        raise SpecError("The spec has no backup policy.", hint="Set spec.backup; docs/backups.md shows how.")
    return loaded.spec.spec.backup


def destinations_of(loaded: "LoadedSpec") -> "list[Destination]":
    """Return where the spec wants its backups."""
    from etcdplan.cli.destinations import destination

    return [destination(loaded, place) for place in policy_of(loaded).destinations]


def trusted_keys(loaded: "LoadedSpec") -> "list[PublicKey]":
    """Return the keys whose signatures count; raise `SpecError` for one that cannot be read."""
    from etcdplan.cli import destinations

    return destinations.trusted_keys(loaded, policy_of(loaded))


def _catalogues(spec: Path) -> "tuple[LoadedSpec, list[tuple[Destination, Catalogue]]]":
    from etcdplan.spec.load import load_spec

    loaded = load_spec(spec)
    return loaded, _catalogues_of(loaded)


def _catalogues_of(
    loaded: "LoadedSpec", *, each_must_answer: bool = True
) -> "list[tuple[Destination, Catalogue]]":
    from etcdplan.cli.destinations import catalogues

    return catalogues(loaded, policy_of(loaded), each_must_answer=each_must_answer)


def proof_for(
    policy: "Backup", version: str, etcd_dir: Path | None, scratch: Path | None, identities: "Sequence[Path]"
) -> "Proof":
    """Return how far a backup is proven; raise `EtcdplanError` when what that needs is not here."""
    from etcdplan.backup.take import Proof

    if policy.verify == "checksum":
        return Proof("checksum")
    if not identities:
        raise EtcdplanError(
            "A trial restore must read the backup, and no age identity is given.",
            hint="Name that of a recipient (--age-identity, or ETCDPLAN_AGE_IDENTITY), or set 'verify: checksum'.",
        )
    return Proof("restore", tools_for(version, etcd_dir), identities, scratch)


def tools_for(version: str, etcd_dir: Path | None) -> "EtcdTools":
    """Return etcd's programs of a version's minor; raise `BackupError` when they are not here."""
    from etcdplan.backup.etcd_tools import find_tools

    return find_tools(version, _places(etcd_dir))


def _places(etcd_dir: Path | None) -> list[Path]:
    """Return where etcd's programs may be: where the user says, else on PATH and among those that labs were built."""
    if etcd_dir is not None:
        return [etcd_dir]
    import shutil

    from etcdplan.lab.cached_build import cache_dir

    on_path = shutil.which("etcd")
    built = sorted((cache_dir() / "etcd").glob("3.*.*"), reverse=True)
    return [*([Path(on_path).parent] if on_path else []), *(path for path in built if path.is_dir())]
