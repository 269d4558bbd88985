"""Which host keys are trusted: OpenSSH's known_hosts files (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), read strictly.

Nothing is ever added to a file, and a key is trusted only for the name that it is recorded for.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from etcdplan.hosts.ports import HostUnreachable

Kind = Literal["key", "revoked", "cert-authority"]
_MARKERS: dict[str, Kind] = {"@revoked": "revoked", "@cert-authority": "cert-authority"}


class HostKeyRefused(HostUnreachable):
    """The host's key is unknown, another one than recorded, or revoked; no credential was sent."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its type as in known_hosts, and the wire form that the key is compared by."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` as `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.type} {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a known_hosts file."""

    place: str
    """File and line."""
    hosts: str
    kind: Kind
    key: HostKey

    def names(self, name: str) -> bool:
        """Whether the line is about the host with this lookup name."""
        if self.hosts.startswith("|"):
            return _is_hash_of(self.hosts, name)
        return matches(self.hosts.split(","), name)


def lookup_name(host: str, port: int) -> str:
    """Return the name that a host's keys are recorded under: `host`, or `[host]:port` for other ports than 22."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether a pattern list (`*`, `?`, `!` negates) has the name; a negated match outweighs all others."""
    found = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if _glob(pattern.removeprefix("!"), name):
            if negated:
                return False
            found = True
    return found


class KnownHosts:
    """The entries of some known_hosts files."""

    def __init__(self, files: Sequence[Path], *, needed: bool = False) -> None:
        """Read the files; missing ones count as empty unless they are `needed`.

        Raise `HostKeyRefused` for a file that cannot be read, and for a line that revokes something and cannot be
        read: what it revokes is not known. Other lines that cannot be read grant nothing.
        """
        self.files = tuple(files)
        self._entries: list[Entry] = []
        self._named: dict[str, list[Entry]] = {}
        for file in files:
            try:
                lines = file.read_text("utf-8", "surrogateescape").splitlines()
            except FileNotFoundError:
                if needed:
                    raise HostKeyRefused(f"The known_hosts file {file} does not exist.") from None
                continue
            except OSError as error:
                raise HostKeyRefused(
                    f"The known_hosts file {file} cannot be read: {error.strerror}.",
                    hint="It could revoke keys, so nothing is trusted without it.",
                ) from error
            for number, line in enumerate(lines, 1):
                if entry := _entry(line, f"{file}:{number}"):
                    self._entries.append(entry)

    def key_types(self, name: str) -> tuple[str, ...]:
        """Return the types of the plain keys that are recorded for a lookup name."""
        return tuple(dict.fromkeys(e.key.type for e in self._of(name) if e.kind == "key"))

    def has_authority(self, name: str) -> bool:
        """Whether a certification authority is trusted for this lookup name."""
        return any(entry.kind == "cert-authority" for entry in self._of(name))

    def check(self, name: str, key: HostKey) -> None:
        """Return when `key` is recorded for the lookup name and not revoked; else raise `HostKeyRefused`."""
        self.check_not_revoked(name, key)
        entries = [entry for entry in self._of(name) if entry.kind == "key"]
        if any(entry.key == key for entry in entries):
            return
        same = [entry for entry in entries if entry.key.type == key.type]
        if same:
            known = "; ".join(f"{entry.key} in {entry.place}" for entry in same)
            raise HostKeyRefused(
                f"The host key of {name} has changed: it shows {key}, recorded is {known}.",
                hint="Somebody may be in between, or the host was made anew. Compare the fingerprint with one that was"
                " read on the host itself (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub), then replace that line.",
            )
        where = ", ".join(map(str, self.files)) or "no file"
        others = "; ".join(f"{entry.key} in {entry.place}" for entry in entries)
        raise HostKeyRefused(
            f"The host key of {name} is unknown: it shows {key}, and {where} has no {key.type} key for it"
            + (f" (only {others})." if others else "."),
            hint="Read the fingerprint on the host itself (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub); when it is the"
            f' same, add the line "{name} {key.type} {base64.b64encode(key.blob).decode()}" to a known_hosts file.',
        )

    def check_authority(self, name: str, authority: HostKey) -> None:
        """Return when `authority` may certify the host of that lookup name; else raise `HostKeyRefused`."""
        self.check_not_revoked(name, authority)
        authorities = [entry for entry in self._of(name) if entry.kind == "cert-authority"]
        if not any(entry.key == authority for entry in authorities):
            known = "; ".join(f"{entry.key} in {entry.place}" for entry in authorities)
            raise HostKeyRefused(
                f"{name} shows a host certificate of an authority that is not trusted for it: {authority}"
                f" (trusted: {known or 'none'}).",
                hint="Compare the authority's fingerprint with its owner's, then add a @cert-authority line.",
            )

    def check_not_revoked(self, name: str, key: HostKey) -> None:
        """Raise `HostKeyRefused` when a `@revoked` line has the key, whatever other lines say.

        A line with the host's bare name counts for all of its ports.
        """
        for entry in (*self._of(name), *self._of(re.sub(r"^\[(.*)\]:\d+$", r"\1", name))):
            if entry.kind == "revoked" and entry.key == key:
                raise HostKeyRefused(
                    f"The host key of {name} is revoked: it shows {key}, which {entry.place} revokes.",
                    hint="Give the host a new key (ssh-keygen -A after removing the old ones) and record that one.",
                )

    def _of(self, name: str) -> list[Entry]:
        if name not in self._named:
            self._named[name] = [entry for entry in self._entries if entry.names(name)]
        return self._named[name]


def _entry(line: str, place: str) -> Entry | None:
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    kind: Kind = "key"
    if fields[0].startswith("@"):
        marker = fields.pop(0)
        if marker not in _MARKERS:
            return None
        kind = _MARKERS[marker]
    try:
        hosts, key_type, encoded = fields[:3]
        blob = base64.b64decode(encoded, validate=True)
        if not blob.startswith(len(key_type).to_bytes(4, "big") + key_type.encode()):
            raise ValueError("the key is not of the type that stands before it")
    except (ValueError, binascii.Error):
        if kind == "revoked":
            raise HostKeyRefused(f"{place} revokes a host key, and it cannot be read which.") from None
        return None
    return Entry(place, hosts if hosts.startswith("|") else hosts.lower(), kind, HostKey(key_type, blob))


def _is_hash_of(hosts: str, name: str) -> bool:
    try:
        _, version, salt, digest = hosts.split("|")
        expected = base64.b64decode(digest, validate=True)
        actual = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
    except (ValueError, binascii.Error):
        return False
    return version == "1" and hmac.compare_digest(actual, expected)


def _glob(pattern: str, name: str) -> bool:
    special: dict[str, str] = {"*": ".*", "?": "."}
    as_regex: Callable[[str], str] = lambda char: special.get(char, re.escape(char))  # noqa: E731
    return re.fullmatch("".join(map(as_regex, pattern)), name, re.DOTALL) is not None
