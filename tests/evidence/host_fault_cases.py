"""The cases of `tests.evidence.host_faults`: by fault, with the steps that each strikes at."""

from collections.abc import Iterator
from dataclasses import replace

from tests.support import strikes as s
from tests.support.trial import (
    CERTIFICATES,
    ENDED,
    FOLLOWER,
    LEADER,
    LEAVING,
    REPLACEMENT,
    SERVER,
    SETTINGS,
    SPARE,
    THERE,
    Case,
)

_UNITS = "/etc/systemd/system"
_UNIT = f"{_UNITS}/etcd.service"
_AWAY = (6, 7, 8)
"""Stopped, outcome unknown, not observable: how a run may end whose host is away, depending on the moment."""
_ANY = (0, *_AWAY, 9)
_NOT_BEGUN = {"undone": ENDED, "codes": (3, 5, 6, 8), "again": True}
_SUDO, _KEY = "does not let deploy run commands as root", "host key"
_BANNER = "#!/bin/sh\nprintf 'Welcome!\\033]0;owned\\007\\033[2J\\n'; echo 'All is logged.' >&2\nexec /bin/sh \"$@\"\n"
_ESCAPES = "#!/bin/sh\nprintf '\\033]0;owned\\007\\033[2Jno\\n' >&2\nexit 1\n"
_DRIP = "#!/bin/sh\nwhile printf x; do sleep 1; done\n"
_NO_LOCK = s.write(f"{s.STATE}/lock.json", '{"format": 1, "token": 9, "held": tr', f"rm {s.STATE}/lock.json")
_EDIT = f"sed -i 's/--quota-backend-bytes=[0-9]*/--quota-backend-bytes=99999999/' {_UNIT}"


def _struck(
    fault: str, strike: s.Strike, what: str, *rows: tuple[str, str, str, str], **common: object
) -> Iterator[Case]:
    """Yield a case for every row: step, change, boundary, host."""
    for step, change, at, on in rows:
        yield replace(Case(fault, step, change, at, on, what, strike), **common)  # type: ignore[arg-type]


CASES = (
    # An SSH connection is reset, if it can be in the middle of a command.
    *_struck(
        *("F5", s.reset, "SSH is reset"),
        ("S1", SETTINGS, "lock", FOLLOWER),
        ("S19", SETTINGS, "end", LEADER),
        ("S11", REPLACEMENT, "before write_settings apiserver", SERVER),
    ),
    *_struck(
        *("F5", s.reset, "SSH is reset in the middle of the command"),
        ("S3", SETTINGS, "before write_settings", THERE),
        ("S5", CERTIFICATES, "before install_leaf", THERE),
        ("S8", REPLACEMENT, "before start", SPARE),
        ("S12", REPLACEMENT, "before hold", LEAVING),
        middle=True,
    ),
    # The controller and a host do not reach each other.
    *_struck(
        "F6", s.cut_off, "cut off from the controller", ("S1", SETTINGS, "lock", FOLLOWER), **_NOT_BEGUN
    ),
    *_struck(
        *("F6", s.cut_off, "cut off from the controller"),
        ("S3", REPLACEMENT, "before install_trust", SPARE),
        ("S7", REPLACEMENT, "before member_add", THERE),
        ("S12", REPLACEMENT, "before member_remove", LEAVING),
        ("S19", SETTINGS, "end", FOLLOWER),
        undone=ENDED,
        codes=_ANY,
    ),
    *_struck(
        *("F6", s.cut_off, "cut off from the controller for 8 s"),
        ("S8", REPLACEMENT, "before start", SPARE),
        ("S9", REPLACEMENT, "before member_promote", LEADER),
        undone=8,
        codes=_ANY,
    ),
    *_struck(
        *("F6", s.cut_off, "cut off from the controller for 30 s"),
        ("S13", SETTINGS, "after write_settings", THERE),
        ("S11", REPLACEMENT, "after write_settings apiserver", SERVER),
        undone=30,
        codes=_ANY,
    ),
    # A host loses power.
    *_struck(
        *("F8", s.power_cut, "loses power for 5 s"),
        ("S3", REPLACEMENT, "before write_settings", SPARE),
        ("S5", CERTIFICATES, "after make_leaf_key", THERE),
        ("S7", REPLACEMENT, "after member_add", SPARE),
        ("S8", REPLACEMENT, "after start", SPARE),
        ("S9", REPLACEMENT, "before member_promote", LEADER),
        ("S10", SETTINGS, "before move_leader", LEADER),
        ("S12", REPLACEMENT, "before member_remove", LEAVING),
        ("S12", REPLACEMENT, "after hold", LEAVING),
        ("S13", SETTINGS, "before start", THERE),
        ("S11", REPLACEMENT, "before start apiserver", SERVER),
        undone=5,
        codes=_ANY,
    ),
    # A member and its peers do not reach each other; the controller reaches all.
    *_struck("F9", s.partition, "cut off from its peers", ("S1", SETTINGS, "lock", FOLLOWER), **_NOT_BEGUN),
    *_struck(
        *("F9", s.partition, "cut off from its peers for 12 s"),
        ("S7", REPLACEMENT, "before member_add", LEADER),
        ("S8", REPLACEMENT, "before start", SPARE),
        ("S9", REPLACEMENT, "before member_promote", FOLLOWER),
        ("S10", SETTINGS, "before move_leader", LEADER),
        ("S12", REPLACEMENT, "before member_remove", LEADER),
        ("S13", SETTINGS, "before start", LEADER),
        undone=12,
        codes=_ANY,
    ),
    # A disk is full, or a write is not allowed.
    *_struck(
        *("F11", s.full("/"), "its disk is full"),
        ("S5", CERTIFICATES, "before install_leaf", THERE),
        ("S8", REPLACEMENT, "before start", SPARE),
        undone=ENDED,
        codes=(6,),
    ),
    *_struck(
        *("F11", s.full(s.STATE), "the disk of etcdplan's directory is full"),
        ("S3", SETTINGS, "before write_settings", THERE),
        undone=ENDED,
        codes=(6,),
        says="No space left",
    ),
    *_struck(
        *("F11", s.read_only(_UNITS), f"{_UNITS} can only be read"),
        ("S3", REPLACEMENT, "before write_settings", SPARE),
        ("S11", REPLACEMENT, "before write_settings apiserver", SERVER),
        undone=ENDED,
        codes=(6,),
        says="ead-only",
    ),
    *_struck(
        *("F11", s.immutable(_UNIT), "not even root may change the unit's file"),
        ("S13", SETTINGS, "before write_settings", THERE),
        undone=ENDED,
        codes=(6,),
        says="not permitted",
    ),
    # The controller's clock is wrong.
    *(
        replace(case, clock=offset, what=f"the controller's clock is wrong: {offset}")
        for offset in ("+1h", "-1h", "+1d", "-1d")
        for case in _struck("F14", s.no_strike, "", ("S5", REPLACEMENT, "", SPARE), codes=(5,), again=True)
    ),
    # A second apply, from this machine and from another one: both are refused.
    *_struck(
        *("F15", s.second_apply, "a second apply"),
        ("S7", REPLACEMENT, "before member_add", THERE),
        ("S12", REPLACEMENT, "after member_remove", THERE),
        ("S13", SETTINGS, "after stop", THERE),
        ("S11", REPLACEMENT, "after stop apiserver", SERVER),
    ),
    *_struck(
        "F15", s.late_apply, "a second apply, which finds nothing to do", ("S19", SETTINGS, "end", LEADER)
    ),
    # Somebody else changes something.
    *_struck(
        *("F16", s.by_hand("remove"), "removed from the cluster by hand"),
        ("S8", REPLACEMENT, "before write_settings", SPARE),
        ("S12", REPLACEMENT, "before member_remove", LEAVING),
        codes=(0, 3, 6),
        again=True,
    ),
    *_struck(
        "F16", s.by_hand("promote"), "promoted by hand", ("S9", REPLACEMENT, "before member_promote", SPARE)
    ),
    *_struck(
        *("F16", s.by_shell("systemctl stop etcd"), "its etcd is stopped by hand"),
        ("S13", SETTINGS, "before stop", FOLLOWER),
        codes=_ANY,
    ),
    *_struck(
        *("F16", s.by_shell(_EDIT), "its unit is edited by hand"),
        ("S13", SETTINGS, "after write_settings", THERE),
        codes=_ANY,
    ),
    *_struck(
        *("F16", s.by_shell("rm /etc/etcdplan/pki/server/tls.crt"), "its new certificate is deleted by hand"),
        ("S5", CERTIFICATES, "after install_leaf", THERE),
        codes=(0, 3, 6),
        again=True,
    ),
    # A right is taken away.
    *_struck("F17", s.no_sudo, "sudo is no longer allowed", ("S1", SETTINGS, "lock", FOLLOWER), **_NOT_BEGUN),
    *_struck(
        *("F17", s.no_sudo, "sudo is no longer allowed"),
        ("S7", REPLACEMENT, "before member_add", THERE),
        ("S13", SETTINGS, "before stop", THERE),
        ("S11", REPLACEMENT, "before write_settings apiserver", SERVER),
        undone=ENDED,
        codes=(*_AWAY, 9),
        says=_SUDO,
    ),
    *_struck(
        *("F17", s.no_login, "the login is no longer allowed"),
        ("S3", REPLACEMENT, "before install_trust", SPARE),
        undone=ENDED,
        codes=_AWAY,
    ),
    # Somebody else answers.
    *_struck("F18", s.new_host_key, "another host key", ("S1", SETTINGS, "lock", FOLLOWER), **_NOT_BEGUN),
    *_struck(
        *("F18", s.new_host_key, "another host key"),
        ("S3", REPLACEMENT, "before write_settings", SPARE),
        ("S13", SETTINGS, "before start", THERE),
        undone=ENDED,
        codes=(*_AWAY, 9),
        says=_KEY,
    ),
    # systemd does not do its work.
    *_struck(
        *("F22", s.slow_start("etcd.service"), "its start takes longer than systemd allows"),
        ("S8", REPLACEMENT, "before start", SPARE),
        ("S13", SETTINGS, "before start", THERE),
        undone=ENDED,
        codes=(6, 9),
    ),
    *_struck(
        *("F22", s.hung_systemd, "systemd does not answer"),
        ("S13", SETTINGS, "before stop", THERE),
        ("S11", REPLACEMENT, "before stop apiserver", SERVER),
        undone=ENDED,
        codes=(*_AWAY, 9),
    ),
    # The controller is frozen.
    *_struck(
        *("F25", s.freeze(60), "the controller is frozen for 60 s"),
        ("S7", REPLACEMENT, "before member_add", THERE),
        ("S12", REPLACEMENT, "before member_remove", THERE),
        ("S13", SETTINGS, "after stop", THERE),
        ("S19", SETTINGS, "end", LEADER),
        ("S11", REPLACEMENT, "after stop apiserver", SERVER),
        codes=(0, 9),
    ),
    # Odd and hostile hosts.
    *_struck(
        *("odd", s.login_shell(_BANNER), "a login shell with a banner"),
        ("S3", REPLACEMENT, "before write_settings", SPARE),
        undone=ENDED,
    ),
    *_struck(
        *("odd", s.other_etcd, "a second etcd on its host"),
        ("S8", REPLACEMENT, "before start", SPARE),
        undone=ENDED,
    ),
    *(
        case
        for text, what in (
            ("#!/bin/sh\nexec yes\n", "output without end"),
            (_ESCAPES, "terminal escapes"),
            (_DRIP, "a byte a second"),
        )
        for case in _struck(
            *("hostile", s.login_shell(text), f"a login shell that says {what}"),
            ("S3", REPLACEMENT, "before write_settings", SPARE),
            undone=ENDED,
            codes=_AWAY,
        )
    ),
    *_struck(
        "hostile",
        _NO_LOCK,
        "a damaged lock",
        ("S7", REPLACEMENT, "before member_add", LEADER),
        codes=(0, 4, 6),
        undone=ENDED,
    ),
    *_struck(
        *("hostile", s.both(s.forged_journal, s.kill), "a forged journal; the run is killed"),
        ("S7", REPLACEMENT, "after member_add", LEADER),
        codes=(-9,),
    ),
    *_struck(
        *(
            "hostile",
            s.forged_journals,
            "forged journals on all hosts: resume refused until they are removed",
        ),
        ("S8", REPLACEMENT, "after start", LEADER),
        undone=ENDED,
        codes=(-9,),
    ),
)
