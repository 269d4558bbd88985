import pytest

from etcdplan.model.server_rules import Operation, Peer, Rejection, verdict

UP = Peer(started=True, learner=False, connected=True)
DOWN = Peer(started=True, learner=False, connected=False)
FRESH = Peer(started=True, learner=False, connected=False, settling=True)
NEW = Peer(started=False, learner=False, connected=False)
LEARNER = Peer(started=True, learner=True, connected=True)

UNHEALTHY = Rejection.UNHEALTHY_CLUSTER
ADDITIONS = (Operation.ADD_VOTER, Operation.ADD_LEARNER)


@pytest.mark.parametrize(
    ("version", "wants_all"),
    [
        ("3.4.23", True),
        ("3.4.45", True),
        ("3.5.0", True),
        ("3.5.29", True),
        ("3.5.30", False),
        ("3.5.100", False),
        ("3.6.0-rc.1", True),
        ("3.6.9", True),
        ("3.6.10", True),
        ("3.6.11", False),
        ("3.7.0", False),
        ("3.8.0", False),
        ("4.0.1", False),
    ],
)
@pytest.mark.parametrize("add", ADDITIONS)
def test_which_versions_want_all_voters_connected_for_an_addition(
    version: str, wants_all: bool, add: Operation
) -> None:
    expected = UNHEALTHY if wants_all else None
    for absent in (DOWN, FRESH, NEW):
        assert verdict(version, [UP, UP, UP, UP, absent], add) is expected
        # A quorum of n+1 and all of n are the same for three.
        assert verdict(version, [UP, UP, absent], Operation.ADD_LEARNER) is UNHEALTHY
        assert verdict(version, [UP, UP, UP, absent, absent], Operation.ADD_LEARNER) is UNHEALTHY
    assert verdict(version, [UP], add) is None
    assert verdict(version, [UP, UP, UP], add) is None


@pytest.mark.parametrize(
    ("peers", "target", "expected"),
    [
        ([UP, UP, UP], 1, None),
        ([UP, UP, DOWN], 2, None),
        ([UP, UP, FRESH], 2, UNHEALTHY),
        ([UP, UP, DOWN], 1, UNHEALTHY),
        ([UP, UP, DOWN], 0, UNHEALTHY),
        ([UP, UP, NEW], 1, Rejection.NOT_ENOUGH_STARTED),
        ([UP, UP, NEW], 2, None),
        ([UP], 0, Rejection.NOT_ENOUGH_STARTED),
        ([UP, UP], 1, None),
        ([UP, DOWN], 1, Rejection.NO_QUORUM),
        ([UP, UP, UP, DOWN, DOWN], 3, None),
        ([UP, UP, UP, DOWN, DOWN], 1, UNHEALTHY),
        ([UP, UP, UP, UP, DOWN], 1, None),
        ([UP, DOWN, DOWN, LEARNER], 3, Rejection.NO_QUORUM),
        ([UP, UP, DOWN, LEARNER], 3, None),
    ],
)
def test_removal(peers: list[Peer], target: int, expected: Rejection | None) -> None:
    for version in ("3.4.23", "3.5.35", "3.6.16", "3.7.3"):
        assert verdict(version, peers, Operation.REMOVE, target) is expected


@pytest.mark.parametrize(
    ("peers", "target", "in_sync", "expected"),
    [
        ([UP, UP, UP, LEARNER], 3, True, None),
        ([UP, UP, DOWN, LEARNER], 3, True, None),
        ([UP, UP, UP, LEARNER], 3, False, Rejection.LEARNER_NOT_READY),
        ([UP, UP, UP, LEARNER], 1, False, Rejection.NOT_A_LEARNER),
        ([UP, UP, DOWN], 2, False, Rejection.LEARNER_NOT_READY),
        ([UP, UP, DOWN], 2, True, Rejection.NOT_A_LEARNER),
        ([UP, DOWN, LEARNER], 2, True, Rejection.NO_LEADER),
    ],
)
def test_promotion(peers: list[Peer], target: int, in_sync: bool, expected: Rejection | None) -> None:
    assert verdict("3.6.16", peers, Operation.PROMOTE, target, learner_in_sync=in_sync) is expected


def test_one_learner_at_most() -> None:
    assert verdict("3.6.16", [UP, UP, UP, LEARNER], Operation.ADD_LEARNER) is Rejection.TOO_MANY_LEARNERS
    assert verdict("3.6.16", [UP, UP, UP, LEARNER], Operation.ADD_VOTER) is None
    assert verdict("3.6.16", [UP, UP, DOWN, LEARNER], Operation.ADD_LEARNER) is UNHEALTHY


def test_an_operation_without_its_target_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="REMOVE"):
        verdict("3.6.16", [UP], Operation.REMOVE)
    with pytest.raises(ValueError, match="ADD_VOTER"):
        verdict("3.6.16", [UP], Operation.ADD_VOTER, 0)
