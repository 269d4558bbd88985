"""Effects happen once each, for the newest token only, whole or not begun, whatever becomes of the connection."""

import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from etcdplan.errors import OutcomeUnknownError, UnobservedError
from etcdplan.hosts.ports import Claim, Fenced, HostOutcomeUnknown, HostRefused, HostUnreachable
from etcdplan.hosts.processes import wait_until
from etcdplan.hosts.remote.once import Effects
from etcdplan.hosts.remote.script import _source
from tests.unit.hosts.remote.conftest import SETTINGS, TOKEN, Bench

SCRIPT = _source(("effects", "changes"))


def record(bench: Bench) -> bytes | None:
    return bench.host.store.read("record.json")


def write_record(bench: Bench, content: bytes, claim: Claim | None = None) -> None:
    bench.host.effects.write_record(claim or bench.claim(), content)


def impatient(bench: Bench, patience: float) -> Effects:
    return Effects(bench.shell, patience)


def test_the_newest_token_alone_is_good_enough(bench: Bench) -> None:
    for token in (TOKEN - 1, TOKEN + 1, 0):
        with pytest.raises(Fenced, match=f"the lock with token {TOKEN}, this run has token {token}"):
            write_record(bench, b"x", bench.claim(token))
    assert record(bench) is None
    write_record(bench, b"x")
    bench.lock(TOKEN + 1)
    with pytest.raises(Fenced):
        write_record(bench, b"y")
    assert record(bench) == b"x"


@pytest.mark.parametrize(
    "lock",
    [
        None,
        b"",
        b"3\n",
        b'{"token": 3}\n',
        b'{"format": 2, "token": 3, "held": true, "x": 1}\n',
        b'{"format": 1, "token": 3, "held": tr',
        b'{"format": 1, "token": 3, "held": true}\n{"format": 1, "token": 3, "held": true}\n',
        b'{"format": 1, "token": 03, "held": true}\n',
        b'{"format": 1, "token": -3, "held": true}\n',
        b'{"format": 1, "token": 3e0, "held": true}\n',
        b'{"format": 1, "token": "3", "held": true}\n',
        b'{"held": true, "format": 1, "token": 3, "held": true}\n',
        b'{"format": 1, "token": 9, "held": true, "x": "{\\"format\\": 1, \\"token\\": 3, \\"held\\": true}"}\n',
        b"\0" * 200,
    ],
)
def test_a_lock_that_is_not_ours_has_no_token(bench: Bench, lock: bytes | None) -> None:
    path = bench.root / "var/lib/etcdplan/lock.json"
    path.unlink() if lock is None else path.write_bytes(lock)
    with pytest.raises(Fenced):
        write_record(bench, b"x")
    assert record(bench) is None


def test_an_id_is_used_once(bench: Bench) -> None:
    claim = Claim(TOKEN, "00000003-run/1")
    write_record(bench, b"x", claim)
    for _ in range(2):
        with pytest.raises(HostRefused, match="already claimed"):
            write_record(bench, b"y", claim)
    assert record(bench) == b"x"
    first, second = bench.notes()[0]
    assert (first, second["result"]) == ({"effect": "write the record", "token": TOKEN}, "done")


@pytest.mark.parametrize("effect_id", ["a/b", "../../x", ".x", "-x", "a b", "$(touch /tmp/x)", "é\n", "'"])
def test_any_id_is_a_file_name(bench: Bench, effect_id: str) -> None:
    write_record(bench, b"x", Claim(TOKEN, effect_id))
    with pytest.raises(HostRefused, match="already claimed"):
        write_record(bench, b"y", Claim(TOKEN, effect_id))
    assert len(bench.notes()) == 1


def test_of_many_with_one_id_one_happens(bench: Bench) -> None:
    claim, done = bench.claim(), list[int]()

    def contend(number: int) -> None:
        try:
            write_record(bench, b"%d" % number, claim)
            done.append(number)
        except HostRefused:
            pass

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert record(bench) == b"%d" % done[0]


def test_old_notes_are_thrown_away(bench: Bench) -> None:
    effects = bench.root / "var/lib/etcdplan/effects"
    effects.mkdir()
    for number in range(250):
        (effects / f"old-{number:03}").write_text("")
        os.utime(effects / f"old-{number:03}", (number, number))
    claim = bench.claim()
    write_record(bench, b"x", claim)
    left = {path.name for path in effects.iterdir()}
    assert len(left) == 200
    assert "old-051" in left and "old-050" not in left
    with pytest.raises(HostRefused, match="already claimed"):
        write_record(bench, b"x", claim)


def test_a_lost_answer_is_asked_for(bench: Bench) -> None:
    bench.shell.lose = lambda verb: verb in ("record", "make-key")
    write_record(bench, b"x")
    assert bench.shell.verbs[-2:] == ["record", "outcome"]
    assert bench.host.effects.make_leaf_key(bench.claim(), "server").startswith(b"-----BEGIN CERTIFICATE REQ")
    bench.shell.lose = lambda verb: verb == "stop"
    bench.file("fake/broken", "")
    with pytest.raises(HostRefused, match="Failed to connect to bus"):
        bench.host.effects.stop(bench.claim(), "etcd")


def processes_of(group: int) -> dict[str, str]:
    """Return name and state of the processes of a group."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        state, _, its_group = rest.split()[:3]
        if int(its_group) == group:
            found[name] = state
    return found


def test_an_effect_that_has_not_begun_never_will(bench: Bench) -> None:
    """The connection breaks while the request waits for the guard; asked for, it is over before it began."""
    claim, guard = bench.claim(), bench.root / "var/lib/etcdplan/guard"
    arguments = "n", "record", claim.effect_id.replace("/", "%2F"), str(TOKEN), "{}", "4"
    bench.host.store.replace("x", None, b"", timeout=1)
    bench.shell.lose = lambda verb: verb == "record"
    with subprocess.Popen(["flock", guard, "sleep", "60"], start_new_session=True) as holder:
        assert wait_until(lambda: subprocess.run(["flock", "-n", guard, "true"]).returncode == 1, timeout=5)
        late = bench.shell.begin(SCRIPT, *arguments, stdin=b"")
        late.stdin.write(b"eA==")  # type: ignore[union-attr]
        late.stdin.close()  # type: ignore[union-attr]
        # `late` is frozen while it waits, so that the question comes first.
        assert wait_until(lambda: "flock" in processes_of(late.pid), timeout=20)
        os.killpg(late.pid, signal.SIGSTOP)
        # Until it has stopped, it could still get the guard.
        assert wait_until(lambda: set(processes_of(late.pid).values()) == {"T"}, timeout=20)
        os.killpg(holder.pid, signal.SIGKILL)
    lost = HostOutcomeUnknown("broke")
    answer = impatient(bench, 20)._outcome(claim, "write", lost)
    assert answer.result == "never"
    os.killpg(late.pid, signal.SIGCONT)
    late.wait(timeout=20)
    assert b"n claimed" in late.stdout.read()  # type: ignore[union-attr]
    assert record(bench) is None


def test_an_effect_that_still_runs_is_waited_for(bench: Bench) -> None:
    bench.shell.shim("mv", '#!/bin/sh\nsleep 3\nexec /bin/mv "$@"\n')
    cut = threading.Event()
    run = bench.shell.run

    def broken(script: str, *arguments: str, **more: object) -> object:
        if arguments[1] == "record":
            arguments_, stdin = arguments, more["stdin"]
            process = bench.shell.begin(script, *arguments_, stdin=b"")
            process.stdin.write(stdin)  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
            claimed = bench.root / "var/lib/etcdplan/effects"
            assert wait_until(lambda: claimed.exists() and any(claimed.iterdir()), timeout=5)
            # What sshd does to the session of a connection that dropped, and more.
            process.stdout.close()  # type: ignore[union-attr]
            process.stderr.close()  # type: ignore[union-attr]
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                os.kill(process.pid, number)
            cut.set()
            raise HostOutcomeUnknown("The connection broke.")
        return run(script, *arguments, **more)  # type: ignore[arg-type]

    bench.shell.run = broken  # type: ignore[method-assign, assignment]
    write_record(bench, b"x")
    assert cut.is_set()
    assert record(bench) == b"x"
    assert bench.notes()[0][-1]["result"] == "done"


def test_a_host_that_stays_away_leaves_it_unknown(bench: Bench) -> None:
    bench.shell.lose = lambda verb: verb == "record"
    bench.shell.drop = lambda verb: verb == "outcome"
    started = time.monotonic()
    with pytest.raises(HostOutcomeUnknown, match="whether it did this is unknown: write the record"):
        impatient(bench, 2).do(bench.claim(), "record", "write the record", payload=b"x")
    assert 2 <= time.monotonic() - started < 4


def test_an_effect_that_was_killed_is_unknown(bench: Bench) -> None:
    bench.shell.shim("mktemp", "#!/bin/sh\nkill -9 0\n")
    with pytest.raises(HostOutcomeUnknown, match="was interrupted: whether it did this is unknown"):
        write_record(bench, b"x")
    assert record(bench) is None


def test_what_certainly_did_not_start_is_not_asked_for(bench: Bench) -> None:
    bench.shell.drop = lambda verb: verb == "record"
    with pytest.raises(HostUnreachable):
        write_record(bench, b"x")
    assert bench.shell.verbs[-1] == "record"


def test_effects_are_whole_and_claimed_once_whenever_the_host_dies(bench: Bench) -> None:
    """Every effect's group of processes is killed at a random moment; its ID never works again."""
    rng, content = random.Random(7), {b"%d" % number * 50_000: number for number in range(90)}
    began = time.monotonic()
    write_record(bench, b"first")
    takes = time.monotonic() - began
    seen = {"done": 0, "unknown": 0, "never": 0}
    for payload, number in content.items():
        if number >= 30 and all(seen.values()):
            break
        claim = bench.claim()
        encoded = base64.b64encode(payload)
        name = claim.effect_id.replace("/", "%2F")
        process = bench.shell.begin(
            SCRIPT, "n", "record", name, str(TOKEN), '{"e": 1}', str(len(encoded)), stdin=b""
        )
        killer = bench.shell.power_cut(process, rng.uniform(0.0, 2 * takes))
        process.communicate(encoded, timeout=10)
        killer.join()
        now = record(bench)
        assert now == b"first" or now in content
        answer = impatient(bench, 5)._outcome(claim, "x", HostOutcomeUnknown(""))
        result = answer.encoded.partition(" ")[0] or "unknown" if answer.result == "noted" else answer.result
        seen[result] += 1
        if result == "done":
            assert now == payload
        if result == "never":
            assert now != payload
        with pytest.raises(HostRefused, match="already claimed"):
            write_record(bench, b"again", claim)
    assert all(seen.values()), seen


def test_an_effect_waits_for_the_guard_and_then_for_its_token(bench: Bench) -> None:
    """Whoever takes the lock over waits for the effect that runs; the next one of the old run is refused."""
    bench.host.effects.write_settings(bench.claim(), "etcd", SETTINGS)
    bench.shell.shim("mv", '#!/bin/sh\nsleep 1\nexec /bin/mv "$@"\n')
    slow = bench.in_thread(lambda: write_record(bench, b"x"))
    effects = bench.root / "var/lib/etcdplan/effects"
    assert wait_until(lambda: len(list(effects.iterdir())) == 2, timeout=5)
    lock = bench.host.store.read("lock.json")
    assert lock is not None
    newer = lock.replace(b'"token": 3', b'"token": 4')
    assert bench.host.store.replace("lock.json", lock, newer, timeout=20)
    slow.done()
    assert record(bench) == b"x"
    with pytest.raises(Fenced):
        write_record(bench, b"y")


class TestCalls:
    """Calls to etcd: the host lets them through."""

    def test_they_are_effects(self, bench: Bench) -> None:
        effects = bench.host.effects
        effects.member_add(bench.claim(), "http://a", "http://b")
        effects.member_promote(bench.claim(), "http://a", 7)
        effects.member_remove(bench.claim(), "http://a", 8)
        effects.move_leader(bench.claim(), "http://a", 9)
        assert bench.members.called == [("add", "http://b", True), ("promote", 7), ("remove", 8), ("move", 9)]
        assert [note[-1]["result"] for note in bench.notes()] == ["done"] * 4
        with pytest.raises(Fenced):
            effects.member_promote(bench.claim(2), "http://a", 7)
        claim = bench.claim()
        effects.member_promote(claim, "http://a", 7)
        with pytest.raises(HostRefused, match="already claimed"):
            effects.member_promote(claim, "http://a", 7)
        assert len(bench.members.called) == 5

    def test_nobody_takes_over_while_one_is_on_its_way(self, bench: Bench) -> None:
        lock = bench.host.store.read("lock.json")

        def contend() -> None:
            with pytest.raises(HostRefused, match="busy"):
                bench.host.store.replace("lock.json", lock, b"", timeout=1)

        bench.members.during = contend
        bench.host.effects.member_promote(bench.claim(), "http://a", 7)
        assert bench.host.store.replace("lock.json", lock, lock or b"", timeout=1)

    @pytest.mark.parametrize(
        ("error", "result"), [(UnobservedError("no"), "refused"), (OutcomeUnknownError("lost"), "unknown")]
    )
    def test_how_they_ended_is_noted(self, bench: Bench, error: UnobservedError, result: str) -> None:
        bench.members.error = error
        with pytest.raises(type(error)):
            bench.host.effects.member_promote(bench.claim(), "http://a", 7)
        last = bench.notes()[0][-1]
        assert (last["result"], base64.b64decode(last["reply"]).decode()) == (result, error.message)

    def test_after_an_unknown_end_the_guard_is_free_when_its_time_is_over(self, bench: Bench) -> None:
        bench.members.error = OutcomeUnknownError("lost")
        with pytest.raises(OutcomeUnknownError):
            bench.host.effects.member_promote(bench.claim(), "http://a", 7)
        calling = bench.root / "var/lib/etcdplan/calling"
        name, boot, until = calling.read_text().split()
        lock = bench.host.store.read("lock.json")
        with pytest.raises(HostRefused, match="busy"):
            bench.host.store.replace("lock.json", lock, b"", timeout=1)
        calling.write_text(f"{name} {boot} {int(until) - 18}\n")
        assert bench.host.store.replace("lock.json", lock, lock or b"", timeout=5)
        calling.write_text(f"{name} 11111111-2222-3333-4444-555555555555 {until}\n")
        assert bench.host.store.replace("lock.json", lock, lock or b"", timeout=1)

    def test_a_controller_that_was_frozen_does_not_call(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now, do = time.monotonic, Effects.do
        monkeypatch.setattr(
            Effects,
            "do",
            lambda *call: (do(*call), monkeypatch.setattr(time, "monotonic", lambda: now() + 17)),
        )
        with pytest.raises(HostRefused, match="nothing was called"):
            bench.host.effects.member_promote(bench.claim(), "http://a", 7)
        assert bench.members.called == []


def test_an_effect_that_cannot_be_noted_does_not_happen_and_says_why(bench: Bench) -> None:
    """On a file system of 64 KiB for root; an ordinary user, who can mount none, is not permitted to write."""
    place, root = bench.root / "var/lib/etcdplan", os.geteuid() == 0
    (place / "effects").mkdir(exist_ok=True)
    if root:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", place], check=True)
    try:
        if root:
            bench.lock(TOKEN)
            (place / "effects").mkdir()
            with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
                while filler.write(b"x" * 4096):
                    pass
        else:
            (place / "effects").chmod(0o500)
        with pytest.raises(HostRefused, match="its disk is full" if root else "permission is denied"):
            bench.host.effects.write_record(bench.claim(), b"{}")
        assert not (place / "record.json").exists()
    finally:
        if root:
            subprocess.run(["umount", place], check=True)
        else:
            (place / "effects").chmod(0o700)


def test_notes_are_for_people_and_hold_no_key(bench: Bench) -> None:
    bench.host.effects.make_leaf_key(bench.claim(), "server")
    key = next((bench.root / "etc/etcdplan/pki").glob(".server.new/tls.key")).read_text()
    notes = json.dumps(bench.notes()) + "".join(
        base64.b64decode(n[-1]["reply"]).decode() for n in bench.notes()
    )
    assert key.splitlines()[1][:20] not in notes
    assert "make a key for server" in notes
    assert Path(bench.root, "var/lib/etcdplan/effects").stat().st_mode & 0o077 == 0
