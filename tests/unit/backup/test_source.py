"""Which member a snapshot is taken from."""

from dataclasses import replace

import pytest

from etcdplan.backup.source import choose_member
from etcdplan.errors import RefusedError
from etcdplan.model.corruption import Corruption
from tests.plans.clusters import running
from tests.plans.registry import THREE


def test_while_members_differ_the_snapshot_comes_from_the_majority() -> None:
    state = running(THREE)
    membership = state.membership.get()
    assert membership is not None
    first, second, third = sorted(membership.members)
    state = replace(state, leader=third)
    assert choose_member(state).peer_url == first
    held = {first: "other", second: "same", third: "same"}
    assert choose_member(replace(state, corruption=Corruption((0,), held))).peer_url == second
    with pytest.raises(RefusedError, match="not known whose data are right"):
        choose_member(replace(state, corruption=Corruption((0,), {**held, third: "third"})))
