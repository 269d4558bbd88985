"""What a systemd host needs to go back by itself: a service that watches for the controller's heartbeat.

The service stays once a change was made, and runs only while something is armed; it starts with the host, so that it
outlives a power cut.
"""

import base64

from etcdplan.hosts.remote.script import source

SILENCE = 15
"""Seconds without a heartbeat after which a change is taken back."""

SERVICE = f"""\
# Written by etcdplan. Puts the former configuration back when the controller that changed it has gone.
[Unit]
Description=etcdplan's dead-man
ConditionDirectoryNotEmpty=/var/lib/etcdplan/dead-man/armed
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh /var/lib/etcdplan/dead-man/watch.sh - watch {SILENCE}
Restart=on-failure
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


def arguments() -> tuple[str, str]:
    """Return the program and the unit file of the service, as `arm` takes them."""
    return _encoded(source("effects", "dead_man")), _encoded(SERVICE)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
