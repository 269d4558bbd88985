"""Making a lab: hosts without anything on them, a CA, and a spec that asks for a cluster on them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from etcdplan.hosts.files import make_directory, plain_reason, write_atomically
from etcdplan.hosts.skeleton import make_host
from etcdplan.hosts.unit_files import CONFIG, PROGRAMS
from etcdplan.lab.directory import LabDirectory, LabFile, free_network, lab_home_locked
from etcdplan.lab.errors import LabError
from etcdplan.pki.authority import LeafRequest, create_authority
from etcdplan.pki.keyfile import write_key
from etcdplan.pki.leaf import new_key_and_csr
from etcdplan.pki.pem import load_private_key

MAX_MEMBERS = 9
MAX_API_SERVERS = 9
_FIRST_API_SERVER = 11
_OPERATOR_DAYS = 365

_SPEC = """\
# The lab {name}: a real etcd cluster on this machine, to play with. Every host is a directory in hosts/.
#
#   etcdplan plan {spec}
#   etcdplan apply {spec}
#   etcdplan lab status
#   etcdplan lab break {member} --lab {name}
#   etcdplan lab down {name}
#
# Things to try: break a member, plan, and let it be replaced; move a member to a spare host; go from {members} members
# to more and back; change a flag of etcd; kill `apply` in the middle of it, then `etcdplan apply --resume {spec}`.
apiVersion: etcdplan/v1
kind: EtcdCluster
metadata:
  name: {name}
spec:
  etcd:
    version: {version}
    runtime: process
    quotaBackend: 2GiB
    # extraArgs:
    #   snapshot-count: "5000"
  members:
{member_list}
    # Spare hosts: {spares}
  tls:
{tls}
{api_servers}"""

_MANAGED_TLS = """\
    ca: {certificate: pki/etcd-ca.crt, key: pki/etcd-ca.key}
    operator: {certificate: pki/operator.crt, key: pki/operator.key}"""

_NO_TLS = """\
    mode: none
    allowPlaintext: true"""


def create(
    name: str,
    *,
    members: int,
    version: str,
    etcd_dir: Path,
    plaintext: bool = False,
    api_servers: int = 0,
    kube_apiserver: Path | None = None,
    demo: bool = False,
) -> LabDirectory:
    """Make a lab and return it; nothing runs in it yet.

    `etcd_dir` holds an etcd of that version (see `binaries.etcd_binaries`), `kube_apiserver` is the program that API
    servers run; `demo` marks the lab as one to throw away. Raises `LabError` for a lab that exists, and when it cannot
    be made; what was made of it is removed by `processes.destroy`.
    """
    if not 1 <= members <= MAX_MEMBERS:
        raise LabError(f"A lab has 1 to {MAX_MEMBERS} members, not {members}.")
    if not 0 <= api_servers <= MAX_API_SERVERS:
        raise LabError(f"A lab has at most {MAX_API_SERVERS} API servers, not {api_servers}.")
    if api_servers and kube_apiserver is None:
        raise LabError(
            "API servers need a kube-apiserver program.", hint="Leave them out, or let one be built."
        )
    lab = LabDirectory.named(name)
    try:
        with lab_home_locked():
            try:
                lab.path.mkdir(mode=0o700)
            except FileExistsError:
                raise LabError(
                    f"There is a lab {name!r} already: {lab.path}.",
                    hint=f"`etcdplan lab down {name}` removes it; or use another name.",
                ) from None
            network = free_network(lab)
            program = str(kube_apiserver.absolute()) if kube_apiserver else None
            lab.write_file(LabFile(name, network, {version: str(etcd_dir.absolute())}, program, demo=demo))
        make_directory(lab.hosts)
        hosts = [f"{network}.{number}" for number in range(1, MAX_MEMBERS + 1)]
        for address in hosts:
            make_host(lab.hosts / address)
            (lab.hosts / address / PROGRAMS / "etcd").symlink_to(etcd_dir.absolute() / "etcd")
        servers = [f"{network}.{_FIRST_API_SERVER + number}" for number in range(api_servers)]
        if kube_apiserver is not None:
            _make_api_servers(lab, servers, kube_apiserver.absolute())
        if not plaintext:
            _make_pki(lab)
        write_atomically(lab.spec, _spec(lab, hosts, members, version, servers, plaintext=plaintext).encode())
    except OSError as error:
        raise LabError(
            f"The lab {name!r} cannot be made in {lab.path.parent}: {plain_reason(error)}.",
            hint="Set ETCDPLAN_LAB_HOME to a directory with room that you can write.",
        ) from error
    return lab


def _make_pki(lab: LabDirectory) -> None:
    """Make CA and operator's certificate, with plain keys: nothing outside this machine trusts this CA."""
    make_directory(lab.pki)
    now = datetime.now(UTC)
    authority = create_authority(f"etcdplan lab {lab.name}"[:64], now=now)
    key, request = new_key_and_csr()
    operator = LeafRequest("etcdplan-operator", (), (), server=False, client=True)
    write_key(lab.pki / "etcd-ca.key", authority.key)
    write_atomically(lab.pki / "etcd-ca.crt", authority.certificate_pem)
    write_key(lab.pki / "operator.key", key)
    write_atomically(
        lab.pki / "operator.crt", authority.sign(request, operator, now=now, days=_OPERATOR_DAYS)
    )


def _make_api_servers(lab: LabDirectory, servers: Sequence[str], program: Path) -> None:
    """Make hosts with a kube-apiserver each, of which all but the `etcd-*` flags is set."""
    key, _ = new_key_and_csr()
    public = load_private_key(key).public_key()
    public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for number, address in enumerate(servers, 1):
        root = lab.hosts / address
        make_host(root)
        (root / PROGRAMS / "kube-apiserver").symlink_to(program)
        for directory in ("etc/kubernetes", "etc/kubernetes/pki", "var/run"):
            make_directory(root / directory)
        # All of them check the tokens that any of them gave out.
        write_key(root / "etc/kubernetes/pki/sa.key", key)
        write_atomically(root / "etc/kubernetes/pki/sa.pub", public_pem)
        flags = {
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": "/etc/kubernetes/pki/sa.pub",
            "service-account-signing-key-file": "/etc/kubernetes/pki/sa.key",
            "cert-dir": "/var/run/kubernetes",
            "bind-address": address,
            "secure-port": "6443",
            "service-cluster-ip-range": "10.96.0.0/16",
            "authorization-mode": "RBAC",
            # Loopback addresses cannot be endpoints of the service `kubernetes`.
            "advertise-address": f"192.0.2.{number}",
            "endpoint-reconciler-type": "none",
        }
        lines = "".join(f"--{flag}={value}\n" for flag, value in flags.items())
        write_atomically(root / CONFIG / f"apiserver-cp{number}.base", lines.encode())


def _spec(
    lab: LabDirectory,
    hosts: Sequence[str],
    members: int,
    version: str,
    servers: Sequence[str],
    *,
    plaintext: bool,
) -> str:
    used = [f"    - {{name: member{number}, host: {host}}}" for number, host in enumerate(hosts[:members], 1)]
    instances = [f"      - {{name: cp{number}, host: {host}}}" for number, host in enumerate(servers, 1)]
    return _SPEC.format(
        name=lab.name,
        spec=lab.spec,
        member=f"member{min(members, 2)}",
        members=members,
        version=version,
        member_list="\n".join(used),
        spares=", ".join(hosts[members:]) or "none",
        tls=_NO_TLS if plaintext else _MANAGED_TLS,
        api_servers="\n".join(["  apiServers:", "    instances:", *instances, ""]) if servers else "",
    )
