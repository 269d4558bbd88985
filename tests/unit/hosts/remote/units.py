"""Services from texts, without a host."""

from collections.abc import Mapping

from etcdplan.hosts.remote.service import Machine, Service, service
from etcdplan.hosts.remote.unit_settings import changed_files, on_disk
from etcdplan.model.state import Settings

MACHINE = Machine("node-1", "0123456789abcdef0123456789abcdef", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
UNIT = "/lib/systemd/system/etcd.service"
ADMIN = "/etc/systemd/system/etcd.service"

DEBIAN = """\
[Unit]
Description=etcd - highly-available key value store
Documentation=man:etcd

[Service]
Environment=DAEMON_ARGS=
Environment=ETCD_NAME=%H
Environment=ETCD_DATA_DIR=/var/lib/etcd/default
EnvironmentFile=-/etc/default/%p
Type=notify
User=etcd
PermissionsStartOnly=true
#ExecStart=/bin/sh -c "GOMAXPROCS=$(nproc) /usr/bin/etcd $DAEMON_ARGS"
ExecStart=/usr/bin/etcd $DAEMON_ARGS
Restart=on-abnormal
#RestartSec=10s
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
Alias=etcd2.service
"""


def load(files: Mapping[str, str], name: str = "etcd.service") -> Service:
    """Return the service of these files."""
    units = {path: text.encode() for path, text in files.items() if "/systemd/system/" in path}
    found = service(name, units, MACHINE, files.get)
    assert found is not None
    return found


def settings(files: Mapping[str, str], name: str = "etcd.service") -> Settings:
    """Return what the files say."""
    return on_disk(load(files, name), etcd=name == "etcd.service")


def changed(files: Mapping[str, str], wanted: Settings, name: str = "etcd.service") -> dict[str, str]:
    """Return the files after a change, which must say what was wanted, and change no more the second time."""
    etcd = name == "etcd.service"
    new = changed_files(load(files, name), wanted, etcd=etcd)
    after = {**files, **new}
    assert settings(after, name) == wanted
    assert changed_files(load(after, name), wanted, etcd=etcd) == {}
    return after
