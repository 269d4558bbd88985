"""Every change of the member list, and of who leads, is delivered to real etcd and its reply lost: it is made once."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from etcdplan.cli.keys import operator_credentials
from etcdplan.cli.session import session_of
from etcdplan.planner.document import to_document
from etcdplan.planner.unroll import unroll
from tests.support import real_outcome
from tests.support.cli import Lab
from tests.support.lossy_hosts import MUTATING, lossy

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]


def apply_without_replies(lab: Lab, spec: Path) -> Counter[str]:
    """Apply a spec in this process, with replies lost, and return how many of which call were."""
    with lab.live(spec) as live:
        credentials = operator_credentials(live.loaded, live.ca_pem, [])
        document = to_document(unroll(live.target, live.observe()), live.digest, spec_path=str(spec))
        assert document.steps
        with (
            lossy(live.hosts, credentials) as hosts,
            session_of(replace(live, hosts=hosts), [], color=False) as session,
        ):
            session.apply(document)
        return hosts.lost


def outcomes(lab: Lab) -> dict[str, set[str]]:
    """Return the outcomes that the newest journals on the hosts have, by kind of effect."""
    kinds: dict[str, str] = {}
    results: dict[str, set[str]] = {}
    for journal in sorted(lab.place.hosts.glob("*/var/lib/etcdplan/journal/*")):
        for line in journal.read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "effect-intent":
                kinds[record["body"]["effect"]] = record["body"]["kind"]
            elif record["type"] == "effect-result":
                results.setdefault(kinds[record["body"]["effect"]], set()).add(record["body"]["outcome"])
    return results


def test_no_change_is_made_twice(lab: Lab) -> None:
    lab.up()
    founded = real_outcome.asked(lab)
    lab.break_("member2")
    rolling = lab.variant(etcd={"extraArgs": {"snapshot-count": "5000"}})
    with lab.writers(1, 3) as writers:
        lost = apply_without_replies(lab, lab.spec)
        healed = real_outcome.asked(lab)
        lab.settled()
        lost += apply_without_replies(lab, rolling)
        assert writers.stop().acknowledged > 0
        assert writers.lost() == 0
    assert set(lost) == set(MUTATING)
    url = "https://NETWORK.2:2380"
    assert healed - founded == Counter([("remove", url), ("add", url), ("promote", url)])
    assert real_outcome.asked(lab) == healed
    assert all(
        "unknown" in outcomes(lab)[kind]
        for kind in ("member-add", "member-promote", "member-remove", "move-leader")
    )
    lab.settled(rolling)
