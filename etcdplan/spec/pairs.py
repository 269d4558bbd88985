"""Certificates and keys that a spec names, as far as they can be judged on this machine, without any age identity."""

import stat
from collections.abc import Iterator
from pathlib import Path

from etcdplan.errors import EtcdplanError
from etcdplan.spec.document import read_regular_file
from etcdplan.spec.lint import Finding
from etcdplan.spec.load import LoadedSpec
from etcdplan.spec.problems import Address, render_address
from etcdplan.spec.versions import Severity


def check_pairs(loaded: LoadedSpec) -> tuple[Finding, ...]:
    """Say which plain private keys others may read, and which do not belong to their certificates.

    Passes over what is missing, unreadable or encrypted: what needs the key says so when it needs it.
    """
    tls = loaded.spec.spec.tls
    if tls.mode == "none":
        return ()
    found: list[Finding] = []
    for name, pair in (("ca", tls.ca), ("operator", tls.operator)):
        if pair is not None:
            address: Address = ("spec", "tls", name, "key")
            place, position = render_address(address), loaded.position(address)
            certificate, key = (loaded.path.parent / one for one in (pair.certificate, pair.key))
            for code, severity, what, remedy in _advice(certificate, key):
                found.append(Finding(code, severity, place, position, what, remedy))
    return tuple(sorted(found, key=lambda finding: (finding.code, finding.position)))


def _advice(certificate: Path, key: Path) -> Iterator[tuple[str, Severity, str, str]]:
    from etcdplan.pki.leaf import key_matches
    from etcdplan.pki.secret import Secret

    try:
        content = Secret(read_regular_file(key))
        mode = stat.S_IMODE(key.stat().st_mode)
        if b"PRIVATE KEY" not in content.reveal():
            return
        if mode & 0o077:
            what = f"{key} is open to other users (mode {mode:04o}), and 'apply' refuses it"
            yield "EP118", "warning", what, f"chmod 600 {key}; if others may have read it, replace it"
        if not key_matches(content, read_regular_file(certificate)):
            what = f"{key} is not the key of {certificate}"
            yield "EP119", "error", what, "name the certificate and the key that were made together"
    except (OSError, EtcdplanError):
        return
