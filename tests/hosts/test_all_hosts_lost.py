"""Every control-plane host is lost: the runbook of docs/restore.md, with nothing but what it says is needed."""

import base64
import json
import os
import shutil
import ssl
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from etcdplan.hosts.processes import wait_until
from etcdplan.lab.apiserver_binary import kube_apiserver
from etcdplan.lab.binaries import etcd_binaries
from tests.bed.host import Host
from tests.support.backups import with_backups
from tests.support.fleet import VERSION, Fleet
from tests.support.kubernetes import BINARY, ENVIRONMENT, PKI, PORT, ControlPlane, pem

pytestmark = [pytest.mark.bed, pytest.mark.timeout(600)]

ENCRYPTION = "/etc/kubernetes/encryption/config.yaml"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
SECRETS = "/api/v1/namespaces/default/secrets"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
WORDS = base64.b64encode(b"what nobody may lose").decode()


def encryption() -> str:
    key = base64.b64encode(os.urandom(32)).decode()
    return (
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
        "- resources: [secrets]\n  providers:\n"
        f"  - secretbox: {{keys: [{{name: one, secret: {key}}}]}}\n  - identity: {{}}\n"
    )


def reviewed(host: Host, token: str) -> tuple[int, Any]:
    """Return who an API server says that the bearer of a token is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = HTTPSConnection(host.address, PORT, timeout=10, context=context)
    try:
        body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        connection.request("POST", REVIEWS, body, headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        return answer.status, said["status"]["userInfo"]["username"] if answer.status == 201 else said
    finally:
        connection.close()


class NewPlane(ControlPlane):
    """An API server on a fresh host, from the files that were fetched and nothing else."""

    def __init__(self, directory: Path, host: Host, files: Path, printed: str) -> None:
        self.servers = {"cp1": (host, ENVIRONMENT)}
        (old,) = files.iterdir()
        program = kube_apiserver(build=True)
        assert program is not None
        host.put(BINARY, program, 0o755)
        for line in printed.splitlines():
            mode, owner, place = line.split(maxsplit=2)
            path = place.removeprefix(old.name)
            if "etcd" in path:
                continue  # etcdplan's own.
            content = (files / place).read_bytes().replace(old.name.encode(), host.address.encode())
            host.put(path, content, int(mode, 8))
            host.exec("chown", owner, path)
        key = load_pem_private_key((files / old.name / f"{PKI}/ca.key".lstrip("/")).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._ca_key = key
        certificate, own = self._leaf("kube-apiserver-kubelet-client")
        host.put(f"{PKI}/apiserver-kubelet-client.crt", certificate, 0o644)
        host.put(f"{PKI}/apiserver-kubelet-client.key", own, 0o600)
        host.exec("systemctl", "daemon-reload")
        self._context = self._client(directory)


def test_fresh_hosts_the_spec_the_keys_and_one_backup_bring_all_of_it_back(tmp_path: Path) -> None:
    with Fleet.up(tmp_path, 2) as fleet:
        old, new = fleet.host(1), fleet.host(2)
        old.put(ENCRYPTION, encryption().encode(), 0o600)
        plane = ControlPlane(
            tmp_path, {"cp1": (old, ENVIRONMENT)}, {"encryption-provider-config": ENCRYPTION}
        )
        old.put(f"{PKI}/ca.key", pem(plane._ca_key), 0o600)
        fleet.write_spec((1,))
        with fleet.spec.open("a") as text:
            text.write(f"  apiServers:\n    instances:\n{plane.instances()}")
        spec = with_backups(fleet.spec)
        opens = ("--age-identity", tmp_path / "identity", "--etcd-dir", etcd_binaries(VERSION))
        fleet.apply()
        assert wait_until(lambda: plane.ready("cp1"), timeout=60)

        assert plane.request("cp1", "POST", ACCOUNTS, {"metadata": {"name": "robot"}})[0] == 201
        asked = {"spec": {"expirationSeconds": 86_400}}
        status, given = plane.request("cp1", "POST", f"{ACCOUNTS}/robot/token", asked)
        assert status == 201, given
        token = given["status"]["token"]
        assert reviewed(old, token) == (201, "system:serviceaccount:default:robot")
        secret = {"metadata": {"name": "one"}, "data": {"words": WORDS}}
        assert plane.request("cp1", "POST", SECRETS, secret)[0] == 201
        taken = json.loads(fleet.run("backup", "run", spec, "--json", *opens).out)
        assert taken["trial"]["objectsEncrypted"] >= 1
        paths = {file["path"] for file in taken["include"]["files"]}
        assert {f"{PKI}/ca.key", f"{PKI}/sa.key", ENCRYPTION, "/etc/default/kube-apiserver"} <= paths

        # All is lost: the host, and the machine that knew it.
        old.power_cut()
        fleet.runners += 1
        (tmp_path / "admin.pem").unlink()
        spec.write_text(spec.read_text().replace(old.address, new.address))
        files = tmp_path / "files"
        said = fleet.run("backup", "fetch", spec, taken["name"], "--include", files, *opens[:2]).out
        plane = NewPlane(tmp_path, new, files, said.partition(":\n")[2])
        shutil.rmtree(files)
        fleet.run("restore", spec, taken["name"], "--auto-approve", *opens)

        assert wait_until(lambda: plane.ready("cp1"), timeout=60)
        assert reviewed(new, token) == (201, "system:serviceaccount:default:robot")
        status, found = plane.request("cp1", "GET", f"{SECRETS}/one")
        assert status == 200 and found["data"]["words"] == WORDS
        # A token that another key signed is not taken: that it was the key, and not luck.
        assert reviewed(new, token[:-8] + "AAAAAAAA")[0] == 401
