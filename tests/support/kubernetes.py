"""Real kube-apiservers as systemd units on hosts of the test bed, and a client that writes Kubernetes' objects.

Nobody without a certificate gets an answer of them (`--anonymous-auth=false`): not even `/readyz`, as where a cluster
is hardened.
"""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from etcdplan.lab.apiserver_binary import kube_apiserver
from tests.bed.host import Host
from tests.support.watching import watched

PORT = 6443
PKI = "/etc/kubernetes/pki"
BINARY = "/usr/local/bin/kube-apiserver"
UNIT, DROP_IN, ENVIRONMENT = "unit", "drop-in", "environment"
"""The forms of a unit: where its flags are."""


def _unit(command: str, *, more: str = "") -> str:
    return (
        f"[Unit]\nDescription=Kubernetes API server\n[Service]\nType=notify\n{more}ExecStart={command}\n"
        "Restart=on-failure\nRestartSec=1\nTimeoutStopSec=60\n[Install]\nWantedBy=multi-user.target\n"
    )


def files_of(form: str, name: str, flags: Sequence[str]) -> dict[str, str]:
    """Return the files of a unit in one of the forms, by path; the flags about etcd are still to come."""
    system = "/etc/systemd/system"
    if form == UNIT:
        lines = " \\\n    ".join([BINARY, *flags])
        return {f"{system}/kube-apiserver-{name}.service": _unit(lines)}
    if form == DROP_IN:
        unit = "kube-apiserver.service"
        return {
            f"/usr/lib/systemd/system/{unit}": _unit(BINARY),
            f"{system}/{unit}.d/20-flags.conf": f"[Service]\nExecStart=\nExecStart={' '.join([BINARY, *flags])}\n",
        }
    file = "/etc/default/kube-apiserver"
    unit = _unit(f"{BINARY} $KUBE_API_ARGS", more=f"EnvironmentFile={file}\n")
    return {
        f"/usr/lib/systemd/system/kube-apiserver-{name}.service": unit,
        file: f'# The API server\'s flags.\nKUBE_API_ARGS="{" ".join(flags)}"\n',
    }


class ControlPlane:
    """kube-apiservers by name, each on a host and in a form; they are installed and do not run yet."""

    def __init__(
        self, directory: Path, servers: Mapping[str, tuple[Host, str]], flags: Mapping[str, str] | None = None
    ) -> None:
        self.servers, self.flags = servers, flags or {}
        self._ca_key = ec.generate_private_key(ec.SECP256R1())
        self._ca = certificate_of("kubernetes", self._ca_key, self._ca_key, "kubernetes", authority=True)
        self._context = self._client(directory)
        for name, (host, form) in servers.items():
            self._install(name, host, form)

    def _leaf(self, name: str, group: str = "") -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = certificate_of(name, key, self._ca_key, "kubernetes", group=group)
        return certificate.public_bytes(Encoding.PEM), pem(key)

    def _client(self, directory: Path) -> ssl.SSLContext:
        """Return what an administrator shows."""
        certificate, key = self._leaf("admin", "system:masters")
        both = directory / "admin.pem"
        both.write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # Each made its certificate itself.
        context.load_cert_chain(both)
        return context

    def _install(self, name: str, host: Host, form: str) -> None:
        program = kube_apiserver(build=True)
        assert program is not None
        host.put(BINARY, program, 0o755)
        certificate, key = self._leaf("kube-apiserver-kubelet-client")
        public = self._ca_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for path, content, mode in (
            ("ca.crt", self._ca.public_bytes(Encoding.PEM), 0o644),
            ("apiserver-kubelet-client.crt", certificate, 0o644),
            ("apiserver-kubelet-client.key", key, 0o600),
            # All of them check the tokens that any of them gave out.
            ("sa.key", pem(self._ca_key), 0o600),
            ("sa.pub", public, 0o644),
        ):
            host.put(f"{PKI}/{path}", content, mode)
        flags = {
            "advertise-address": host.address,
            "anonymous-auth": "false",
            "authorization-mode": "RBAC",
            "bind-address": host.address,
            "client-ca-file": f"{PKI}/ca.crt",
            "endpoint-reconciler-type": "none",
            "kubelet-client-certificate": f"{PKI}/apiserver-kubelet-client.crt",
            "kubelet-client-key": f"{PKI}/apiserver-kubelet-client.key",
            "secure-port": str(PORT),
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": f"{PKI}/sa.pub",
            "service-account-signing-key-file": f"{PKI}/sa.key",
            "service-cluster-ip-range": "10.96.0.0/16",
            **self.flags,
        }
        for path, text in files_of(
            form, name, [f"--{flag}={value}" for flag, value in flags.items()]
        ).items():
            host.put(path, text)
        host.exec("systemctl", "daemon-reload")

    def instances(self, **members: str) -> str:
        """Return what a spec says of them; `members`, for mode `own`, are by name of the API server."""
        own = {name: f", member: {member}" for name, member in members.items()}
        return "".join(
            f"      - {{name: {name}, host: {host.address}{own.get(name, '')}}}\n"
            for name, (host, _) in self.servers.items()
        )

    def running(self, name: str) -> dict[str, str]:
        """Return the flags about etcd that a running API server was started with, {} when it does not run."""
        host, _ = self.servers[name]
        script = "tr '\\0' '\\n' </proc/$(pgrep -xo kube-apiserver || echo none)/cmdline"
        lines = host.exec("sh", "-c", script, check=False).stdout.splitlines()
        return dict(line[2:].split("=", 1) for line in lines if line.startswith("--etcd-"))

    def members_of(self, name: str) -> set[str]:
        """Return the hosts of the members that a running API server names."""
        urls = self.running(name).get("etcd-servers", "")
        return {url.removeprefix("https://").removesuffix(":2379") for url in urls.split(",") if url}

    def request(
        self, name: str, method: str, path: str, body: object = None, *, timeout: float = 10
    ) -> tuple[int, Any]:
        """Ask an API server as an administrator; return the status and the answer. Raises `OSError`."""
        host, _ = self.servers[name]
        connection = HTTPSConnection(host.address, PORT, timeout=timeout, context=self._context)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.getheader("Content-Type", "").startswith("application/json")
            return answer.status, json.loads(content) if is_json else content.decode()
        except HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def ready(self, name: str) -> bool:
        """Whether an API server says so."""
        try:
            return self.request(name, "GET", "/readyz", timeout=3)[0] == 200
        except OSError:
            return False

    def read(self, name: str, path: str) -> str:
        """Return a file of an API server's host."""
        return self.servers[name][0].exec("cat", path).stdout

    @contextmanager
    def watched(self) -> Iterator[list[frozenset[str]]]:
        """Note all the while which API servers have no process, each combination once in a row."""
        with watched(self.servers, lambda name: not self._listens(name), every=0.2) as seen:
            yield seen
        assert max(map(len, seen)) <= 1, f"more than one at a time: {seen}"

    def _listens(self, name: str) -> bool:
        try:
            with socket.create_connection((self.servers[name][0].address, PORT), timeout=5):
                return True
        except OSError:
            return False

    def objects(self, name: str) -> set[str]:
        """Return the names of the objects that were written, as one API server reads them from etcd."""
        status, found = self.request(name, "GET", OBJECTS)
        assert status == 200, found
        return {item["metadata"]["name"] for item in found["items"]} - {"kube-root-ca.crt"}

    @contextmanager
    def writers(self) -> Iterator["Written"]:
        """Create objects all the while, through each API server."""
        written = Written()
        stop = threading.Event()

        def write(name: str) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                body = {"metadata": {"name": f"{name}-{number}"}, "data": {"written": "once"}}
                try:
                    status, _ = self.request(name, "POST", OBJECTS, body, timeout=5)
                except OSError:
                    status = 0
                with written.lock:
                    if status == 201:
                        written.acknowledged.add(f"{name}-{number}")
                        written.last[name] = time.monotonic()
                    else:
                        written.failed.setdefault(name, []).append(status)
                stop.wait(0.1)

        threads = [threading.Thread(target=write, args=(name,), daemon=True) for name in self.servers]
        for thread in threads:
            thread.start()
        try:
            yield written
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)


OBJECTS = "/api/v1/namespaces/default/configmaps"


@dataclass
class Written:
    """What writers got an acknowledgement for, and the answers of those that failed (0: none), by API server."""

    acknowledged: set[str] = field(default_factory=set)
    failed: dict[str, list[int]] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_of(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: str,
    *,
    group: str = "",
    authority: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group:
        names.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(signer, hashes.SHA256())
