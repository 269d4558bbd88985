"""How processes of the fake world start, end, and are started again by their supervisor."""

from typing import TYPE_CHECKING

from etcdplan.hosts.ports import StagedFiles
from tests.support.fake_etcd import FakeCluster, FakeData, FakeMember, founded_id, founder_id
from tests.support.fake_machine import ETCD_UNIT, FakeMachine, FakePair, FakeProcess, split_url

if TYPE_CHECKING:
    from tests.support.fake_world import FakeWorld

ETCD_BOOT = 0.1
"""Seconds from the start of a process to its open sockets."""
API_SERVER_BOOT = 2.0
RESTART_PAUSE = 1.0
TRIES = 3
"""After so many runs in a row that end with an error the supervisor gives up."""
SLATE_CLEAN = 10.0
"""A run that was longer than this begins a new row."""
LOST_PUBLISH = 7.0
"""A newcomer whose first publish is lost answers clients only when it repeats it (`--election-timeout` 1 s)."""

_PAIR_FLAGS = ("cert-file", "peer-cert-file", "etcd-certfile")
_BUNDLE_FLAGS = ("trusted-ca-file", "peer-trusted-ca-file", "etcd-cafile")


def start_process(world: "FakeWorld", machine: FakeMachine, name: str, *, by_effect: bool) -> None:
    """Start a unit with the settings on disk; what it makes of them shows when its sockets are to open."""
    unit = machine.units[name]
    assert unit.process is None and unit.settings is not None
    process = FakeProcess(
        pid=world.new_pid(),
        machine=machine,
        unit=name,
        settings=dict(unit.settings),
        started=world.clock.now,
        version=machine.version,
        trust=machine.trust,
        by_effect=by_effect,
    )
    unit.process = process
    unit.enabled = True
    unit.starts += 1
    takes = ETCD_BOOT if name == ETCD_UNIT else API_SERVER_BOOT
    world.at(takes, lambda: open_sockets(world, process))


def open_sockets(world: "FakeWorld", process: FakeProcess) -> None:
    """Bring a process up, or let it end."""
    if process.machine.units[process.unit].process is not process or process.up or process.stopped:
        return
    code = _files_problem(process)
    if code is None and process.unit == ETCD_UNIT:
        code = _open_data(world, process)
    if code is not None:
        end_process(world, process, code)
        return
    process.up = True
    process.publishes_at = world.clock.now
    if world.slow_publish and process.data is not None and process.data.applied == 0:
        process.publishes_at += LOST_PUBLISH
        world.at(LOST_PUBLISH)


def end_process(world: "FakeWorld", process: FakeProcess, code: int | None) -> None:
    """Take a process away that ended by itself with `code`, or by a signal (None)."""
    unit = process.machine.units[process.unit]
    unit.process, unit.last_exit = None, code
    if not code:
        return
    if world.clock.now - process.started > SLATE_CLEAN:
        unit.tries = 0
    unit.tries += 1
    if unit.tries >= TRIES:
        unit.failing = True
        return

    starts = unit.starts

    def restart() -> None:
        wanted = unit.enabled and not unit.held and unit.starts == starts
        if wanted and unit.process is None and process.machine.powered:
            start_process(world, process.machine, process.unit, by_effect=process.by_effect)

    world.at(RESTART_PAUSE, restart)


def hand_over(world: "FakeWorld", process: FakeProcess) -> None:
    """Let an etcd that ends on SIGTERM give its leadership away, so that the next one leads at once."""
    cluster = process.data.cluster if process.data else None
    if cluster is not None and cluster.leader is process:
        cluster.leader = None
        cluster.election_at = world.clock.now


def pair_of(process: FakeProcess, flag: str) -> FakePair | None:
    """Return the pair on disk that a flag such as `cert-file` names by its directory."""
    path = process.settings.get(flag, "")
    return process.machine.pairs.get(path.split("/")[-2]) if "/" in path else None


def shows_certificate(world: "FakeWorld", etcd: FakeProcess, client_url: str) -> bool:
    """Whether a client that dials this URL accepts the certificate that it is shown; its issuer is not looked at."""
    if not etcd.client_tls:
        return True
    pair = pair_of(etcd, "cert-file")
    return pair is not None and pair.fits(now=world.clock.now, usage="server", name=split_url(client_url)[1])


def _files_problem(process: FakeProcess) -> int | None:
    settings = process.settings
    for flag in _PAIR_FLAGS:
        pair = pair_of(process, flag)
        if flag in settings and (pair is None or not pair.has_its_key):
            return 1
    if any(flag in settings for flag in _BUNDLE_FLAGS) and not process.trust:
        return 1
    for listen, certificate in (("listen-client-urls", "cert-file"), ("listen-peer-urls", "peer-cert-file")):
        if settings.get(listen, "").startswith("https") and certificate not in settings:
            return 1
    return None


def _open_data(world: "FakeWorld", process: FakeProcess) -> int | None:
    machine = process.machine
    if machine.full:
        return 1
    if machine.data is None:
        made = _first_data(world, process)
        if made is None:
            return 1
        machine.data = made
    process.data = machine.data
    if machine.data.foreign:
        return 1
    return 2 if machine.data.corrupt else None


def _first_data(world: "FakeWorld", process: FakeProcess) -> FakeData | None:
    """Found a cluster or join one, as `--initial-cluster-state` says; None when etcd would exit."""
    settings = process.settings
    entries = [entry.partition("=") for entry in settings.get("initial-cluster", "").split(",")]
    names = {name: url for name, _, url in entries if url}
    url = names.get(settings.get("name", ""))
    if url is None:
        return None  # couldn't find local name in the initial cluster configuration
    others = [other for other in names.values() if other != url]
    known = next(
        (peer for other in others for peer in world.etcds_at_peer_url(other, process) if peer.data), None
    )
    if settings.get("initial-cluster-state") == "existing":
        return _join(world, process, known, url, set(names.values()))
    if settings.get("initial-advertise-peer-urls") != url:
        return None
    return _found(world, process, known, names, url)


def _join(
    world: "FakeWorld", process: FakeProcess, known: FakeProcess | None, url: str, urls: set[str]
) -> FakeData | None:
    if known is None or known.data is None or known.data.cluster is None:
        return None  # cannot fetch cluster info from peer urls
    cluster = known.data.cluster
    members = cluster.config(known.data.applied)
    if {member.peer_url for member in members.values()} != urls:
        return None  # member count is unequal, or: no match found for existing member
    own = next(member for member in members.values() if member.peer_url == url)
    return _new_data(world, process, cluster, own.id, applied=0)


def _found(
    world: "FakeWorld", process: FakeProcess, known: FakeProcess | None, names: dict[str, str], url: str
) -> FakeData | None:
    token = process.settings.get("initial-cluster-token", "etcd-cluster")
    ids = {peer_url: founder_id(peer_url, token) for peer_url in names.values()}
    own, cluster_id = ids[url], founded_id(ids.values())
    if known is not None and known.data is not None and known.data.cluster is not None:
        listed = known.data.cluster.config(known.data.applied).get(own)
        if listed is not None and listed.client_urls:
            return None  # member has already been bootstrapped
    same = [cluster for cluster in world.clusters if cluster.id == cluster_id]
    cluster = same[-1] if same else None
    meets_it = known is not None and known.data is not None and known.data.cluster is cluster
    if cluster is None or (own in cluster.fed and not meets_it):
        members = {
            ids[peer_url]: FakeMember(ids[peer_url], name, peer_url, (), learner=False)
            for name, peer_url in names.items()
        }
        cluster = FakeCluster(cluster_id, [(len(members), members)], committed=len(members))
        world.clusters.append(cluster)
    return _new_data(world, process, cluster, own, applied=cluster.history[0][0])


def restored_data(world: "FakeWorld", staged: StagedFiles) -> FakeData:
    """Return what etcd's tool makes of a snapshot: a member of a cluster in which nothing was written yet."""
    ids = {url: founder_id(url, staged.restore.token) for url, _ in staged.restore.members}
    cluster_id = founded_id(ids.values())
    cluster = next((one for one in world.clusters if one.id == cluster_id), None)
    if cluster is None:
        members = {
            ids[url]: FakeMember(ids[url], name, url, (), learner=False)
            for url, name in staged.restore.members
        }
        cluster = FakeCluster(cluster_id, [(len(members), members)], committed=len(members))
        world.clusters.append(cluster)
    return FakeData(cluster, ids[staged.peer_url], cluster.history[0][0])


def _new_data(
    world: "FakeWorld", process: FakeProcess, cluster: FakeCluster, member_id: int, *, applied: int
) -> FakeData:
    forgetful = member_id in cluster.fed
    if forgetful and process.by_effect:
        world.violations.append(
            f"{world.clock.now:.1f} an empty etcd on {process.machine.address} was started as a member that has run"
        )
    return FakeData(cluster, member_id, applied, forgetful=forgetful)
