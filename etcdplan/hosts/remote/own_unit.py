"""The unit of an etcd that etcdplan itself puts under systemd: one flag a line."""

from etcdplan.hosts.remote.unit_text import quoted
from etcdplan.model.state import Settings

OWN_USER = "etcd"

_UNIT = """\
# Written by etcdplan. The flags may be changed here, one a line; the next plan shows it.
[Unit]
Description=etcd
Documentation=https://etcd.io/docs
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=60
StartLimitBurst=4

[Service]
Type=notify
User={user}
ExecStart={command}
Restart=on-failure
RestartSec=1
# etcd is ready only when a majority runs, which may take as long as the others need.
TimeoutStartSec=infinity
TimeoutStopSec=15
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""


def own_unit(program: str, user: str, settings: Settings) -> str:
    """Return the unit file; raise `ValueError` for settings that are not one printable line each."""
    if any(not f"{flag}{value}".isprintable() for flag, value in settings.items()):
        raise ValueError("a setting is not one printable line")
    words = [quoted(program), *(quoted(f"--{flag}={value}") for flag, value in sorted(settings.items()))]
    return _UNIT.format(user=user, command=" \\\n  ".join(words))
