"""Lint: each unwise choice gives its code at its place, and wise ones give nothing."""

import re
from collections.abc import Callable

import pytest

from etcdplan.spec.lint import LINT_CODES, Finding, lint
from etcdplan.spec.load import LoadedSpec
from etcdplan.spec.problems import Position
from etcdplan.spec.versions import defects, entries

Load = Callable[..., LoadedSpec]

M2 = "    - {name: member2, host: 10.0.0.2}\n"
M3 = "    - {name: member3, host: 10.0.0.3}\n"
CP = "      - {name: cp1, host: 10.0.0.11}\n"


def _more(count: int) -> str:
    return M3 + "".join(f"    - {{name: m{i}, host: 10.0.1.{i}}}\n" for i in range(1, count + 1))


def _domains(*domains: str) -> tuple[str, str]:
    lines = [f"    - {{name: m{i}, host: 10.0.1.{i}, failureDomain: {d}}}\n" for i, d in enumerate(domains)]
    return f"    - {{name: member1, host: 10.0.0.1}}\n{M2}{M3}", "".join(lines)


def _etcd(line: str) -> tuple[str, str]:
    return "  members:\n", f"    {line}\n  members:\n"


PLAIN = ("  tls:\n", "  tls:\n    mode: none\n    allowPlaintext: true\n")
ALONE = (M2, "", M3, "")

CASES: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "wise": ((), []),
    "four": ((M3, _more(1)), ["EP101 warning spec.members 11:3"]),
    "two": ((M3, ""), ["EP101 warning spec.members 11:3", "EP102 warning spec.members 11:3"]),
    "one": (ALONE, ["EP102 warning spec.members 11:3"]),
    "seven": ((M3, _more(4)), []),
    "eight": ((M3, _more(5)), ["EP101 warning spec.members 11:3", "EP103 warning spec.members 11:3"]),
    "nine": ((M3, _more(6)), ["EP103 warning spec.members 11:3"]),
    "domains": (_domains("a", "b", "c"), []),
    "two of three in a domain": (
        _domains("a", "b", "b"),
        ["EP104 warning spec.members[1].failureDomain 13:34"],
    ),
    "two of five in a domain": (_domains("a", "a", "b", "b", "c"), []),
    "three of five in a domain": (
        _domains("a", "b", "b", "b", "c"),
        ["EP104 warning spec.members[1].failureDomain 13:34"],
    ),
    "one without domain": (_domains("a", "b", "~"), ["EP105 note spec.members[2] 14:7"]),
    "no TLS": (PLAIN, ["EP111 warning spec.tls.mode 16:5"]),
    "quota": (("8GiB", "9GiB"), ["EP112 warning spec.etcd.quotaBackend 9:5"]),
    "small quota": (("8GiB", "63MiB"), ["EP120 warning spec.etcd.quotaBackend 9:5"]),
    "least quota": (("8GiB", "64MiB"), []),
    "data in /etc": (_etcd("dataDir: /etc/etcd"), ["EP121 warning spec.etcd.dataDir 11:5"]),
    "log in /tmp": (_etcd("walDir: /tmp/wal"), ["EP121 warning spec.etcd.walDir 11:5"]),
    "data beside /etc": (_etcd("dataDir: /etcd"), []),
    "two API servers, one member": (
        (*ALONE, CP, f"{CP}      - {{name: cp2, host: 10.0.0.12}}\n"),
        ["EP102 warning spec.members 11:3", "EP113 warning spec.apiServers.instances 18:5"],
    ),
    "own": (
        ("connect: all", "connect: own", "10.0.0.11", "10.0.0.11, member: member1"),
        ["EP114 note spec.apiServers.connect 19:5"],
    ),
    "two with the same own": (
        (
            "connect: all",
            "connect: own",
            CP,
            "".join(f"      - {{name: cp{i}, host: 10.0.0.1{i}, member: member1}}\n" for i in (1, 2)),
        ),
        ["EP113 warning spec.apiServers.instances 20:5", "EP114 note spec.apiServers.connect 19:5"],
    ),
    "fast heartbeat": (("100ms", "9ms"), ["EP115 warning spec.etcd.heartbeatInterval 7:5"]),
    "slow heartbeat": (
        ("100ms", "501ms", "1s", "6s"),
        ["EP115 warning spec.etcd.heartbeatInterval 7:5"],
    ),
    "close election": (("100ms", "101ms"), ["EP116 warning spec.etcd.electionTimeout 8:5"]),
    "late election": (("1s", "11s"), ["EP117 warning spec.etcd.electionTimeout 8:5"]),
    "experimental flag on 3.6": (("snapshot-count", "experimental-memory-mlock"), []),
    "experimental flag on 3.7": (
        ("snapshot-count", "experimental-memory-mlock", "3.6.16", "3.7.3"),
        ["EP110 error spec.etcd.extraArgs.experimental-memory-mlock 10:17"],
    ),
    "v2 on 3.6": (
        ("snapshot-count", "enable-v2"),
        ["EP110 error spec.etcd.extraArgs.enable-v2 10:17"],
    ),
}


def advice(loaded: LoadedSpec) -> list[Finding]:
    """All findings but those on three members and on no backups, which most specs here get."""
    return [finding for finding in lint(loaded) if finding.code not in ("EP122", "EP124")]


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES)
def test_finding(changes: tuple[str, ...], expected: list[str], load: Load) -> None:
    findings = advice(load(*changes))
    places = [f"{f.code} {f.severity} {f.address} {f.position.line}:{f.position.column}" for f in findings]
    assert places == expected
    assert all(f.what and f.remedy for f in findings)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("3.4.19", "EP106-w EP107-w EP108-w EP109-w EP123-n"),
        ("3.4.20", "EP106-e EP106-w EP107-w EP108-w EP109-w EP123-n"),
        ("3.4.21", "EP106-e EP106-w EP107-w EP108-w EP109-w EP123-n"),
        ("3.4.22", "EP106-w EP108-w EP109-w EP123-n"),
        ("3.4.37", "EP106-w EP108-w EP109-w EP123-n"),
        ("3.4.38", "EP108-w EP109-w EP123-n"),
        ("3.4.43", "EP108-w EP109-w EP123-n"),
        ("3.4.44", "EP108-w EP109-w"),
        ("3.4.45", "EP108-w EP109-w"),
        ("3.5.0", "EP106-e EP106-w EP107-w EP109-w EP123-n"),
        ("3.5.5", "EP106-e EP106-w EP107-w EP109-w EP123-n"),
        ("3.5.6", "EP106-w EP109-w EP123-n"),
        ("3.5.22", "EP106-w EP109-w EP123-n"),
        ("3.5.23", "EP109-w EP123-n"),
        ("3.5.32", "EP109-w EP123-n"),
        ("3.5.33", ""),
        ("3.6.0", "EP106-w EP109-w EP123-n"),
        ("3.6.4", "EP106-w EP109-w EP123-n"),
        ("3.6.5", "EP109-w EP123-n"),
        ("3.6.13", "EP109-w EP123-n"),
        ("3.6.14", ""),
        ("3.7.0", "EP109-w EP123-n"),
        ("3.7.1", ""),
    ],
)
def test_versions(version: str, expected: str, load: Load) -> None:
    findings = advice(load("3.6.16", version))
    assert " ".join(f"{f.code}-{f.severity[0]}" for f in findings) == expected
    assert {f.address for f in findings} <= {"spec.etcd.version"}


def test_handshakes_matter_with_tls_only(load: Load) -> None:
    codes = [f.code for f in advice(load(*PLAIN, "3.6.16", "3.6.13"))]
    assert codes == ["EP111", "EP123"]


def test_a_lost_write_matters_to_a_cluster_of_one_only(load: Load) -> None:
    assert "cluster of one" in " ".join(f.what for f in lint(load(*ALONE, "3.6.16", "3.5.4")))
    assert "cluster of one" not in " ".join(f.what for f in lint(load("3.6.16", "3.5.4")))


def test_the_remedy_is_the_first_version_without_the_defect(load: Load) -> None:
    remedies = {f.code: f.remedy for f in advice(load("3.6.16", "3.5.6"))}
    assert remedies["EP106"] == "use 3.5.23 or later"
    assert remedies["EP109"] == "use 3.5.33 or later"


def test_every_known_defect_has_a_range_and_a_source() -> None:
    for entry in entries():
        assert entry["code"] in LINT_CODES
        assert entry["source"].startswith("https://")
        assert entry["severity"] in ("error", "warning", "note")
        for first, last in entry["affected"]:
            low, high = first.split("."), (last or first).split(".")
            assert low[:2] == high[:2]
            assert last is None or int(low[2]) <= int(high[2])
        assert set(entry) - {"needs"} == {"code", "severity", "what", "affected", "source"}


def test_the_recommended_versions_have_no_defect() -> None:
    for version in ("3.5.33", "3.6.14", "3.7.1"):
        assert not list(defects(version, {"tls", "single"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((), True),
        (("version: 3.6.16\n", "version: 3.6.16\n    runtime: process\n"), False),
        ((M3, _more(2)), False),
        ((M3, ""), False),
    ],
)
def test_fewer_than_five_is_a_note_in_production(changes: tuple[str, ...], said: bool, load: Load) -> None:
    found = [f for f in lint(load(*changes)) if f.code == "EP122"]
    assert [(f.severity, f.address) for f in found] == [("note", "spec.members")] * said


def _backups(*recipients: str) -> str:
    keys = "signingKey: k, trustedKeys: [k.pub]"
    encryption = f"encryption: {{{keys}, recipients: [{', '.join(recipients)}]}}"
    return f"  backup:\n    destinations: [b]\n    {encryption}\n  members:\n"


ONE, OTHER = f"age1{'q' * 58}", f"age1{'p' * 58}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), ["EP124 spec 4:1"]),
        (("version: 3.6.16\n", "version: 3.6.16\n    runtime: process\n"), []),
        (("  members:\n", _backups(ONE, OTHER)), []),
        (("  members:\n", _backups(ONE)), ["EP125 spec.backup.encryption.recipients 13:55"]),
        (("  members:\n", _backups(ONE, ONE)), ["EP125 spec.backup.encryption.recipients 13:55"]),
    ],
)
def test_backups_are_wanted_and_for_more_than_one_recipient(
    changes: tuple[str, ...], expected: list[str], load: Load
) -> None:
    found = [f for f in lint(load(*changes)) if f.code in ("EP124", "EP125")]
    assert all(f.severity == "warning" for f in found)
    assert [f"{f.code} {f.address} {f.position.line}:{f.position.column}" for f in found] == expected


def test_backups_without_kubernetes_own_keys_are_noted(load: Load) -> None:
    policy = _backups(ONE, OTHER)
    without = policy.replace("  backup:\n", "  backup:\n    include: false\n", 1)
    assert without != policy
    (finding,) = [f for f in lint(load("  members:\n", without)) if f.code == "EP126"]
    assert (finding.severity, finding.address) == ("note", "spec.backup.include")
    assert not [f for f in lint(load("  members:\n", policy)) if f.code == "EP126"]


def test_a_finding_says_what_and_what_to_do(load: Load) -> None:
    (finding,) = advice(load("8GiB", "16GiB"))
    assert finding.position == Position(9, 5)
    assert finding.what == "16GiB makes starts, restores and defragmentation slow"
    assert finding.remedy == "etcd recommends at most 8GiB"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ((M3, ""), "2 members tolerate no failures, no more than 1 does"),
        ((M3, _more(1)), "4 members tolerate 1 failure, no more than 3 do"),
        ((M3, _more(3)), "6 members tolerate 2 failures, no more than 5 do"),
    ],
)
def test_one_is_not_counted_as_many(changes: tuple[str, ...], what: str, load: Load) -> None:
    assert advice(load(*changes))[0].what == what


def test_every_code_has_a_title_and_a_case() -> None:
    assert all(re.fullmatch(r"EP1\d\d", code) for code in LINT_CODES)
    assert len(set(LINT_CODES.values())) == len(LINT_CODES)
    seen = {line.split()[0] for _, expected in CASES.values() for line in expected}
    elsewhere = {"EP118", "EP119", "EP131", "EP132"}  # test_spec_pairs.py, test_etcd_archive.py
    versions = {entry["code"] for entry in entries()}
    assert seen | versions | {"EP122", "EP124", "EP125", "EP126", "EP127"} | elsewhere == set(LINT_CODES)
