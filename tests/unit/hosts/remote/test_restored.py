"""Restored data on a systemd host: staged as a whole or not at all, seen, put in place, and taken back."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etcdplan.hosts.ports import Claim, Fenced, HostRefused, StagedFiles
from etcdplan.hosts.shell import Completed, Stream
from etcdplan.model.restore import Restore
from etcdplan.model.state import Data
from tests.unit.hosts.remote.conftest import SETTINGS, TOKEN, Bench
from tests.unit.hosts.test_data_dir import segment

RESTORE = Restore("b", "0" * 64, 7, (("http://10.0.0.1:2380", "a"),), "token", 1000, 5)
LOG = "0000000000000000-0000000000000000.wal"
ALLOCATED = 200_000
PLACES = ["", "/var/lib/etcd-log/wal"]


@pytest.fixture
def member(tmp_path: Path) -> StagedFiles:
    """What a restore makes, smaller: a log with much room, a database, a raft snapshot."""
    root = tmp_path / "made"
    for name, content in (
        (f"wal/{LOG}", segment(0xC, 0xA).ljust(ALLOCATED, b"\0")),
        ("snap/db", bytes(range(256)) * 5000),
        ("snap/0000000000000001-0000000000000001.snap", b"snap"),
    ):
        path = root / "member" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return StagedFiles(root, RESTORE, "http://10.0.0.1:2380")


@pytest.fixture(params=PLACES)
def log(bench: Bench, request: pytest.FixtureRequest) -> str:
    """Where the log is: within the data, or elsewhere."""
    where: str = request.param
    settings = {**SETTINGS, **({"wal-dir": where} if where else {})}
    bench.host.effects.write_settings(Claim(TOKEN, "settings"), "etcd", settings)
    return where


def facts(bench: Bench) -> tuple[Data | None, Data | None]:
    found = bench.host.inspect(timeout=10)
    return found.data.get(), found.staged.get()


def below(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_it_is_staged_seen_and_put_in_place(bench: Bench, log: str, member: StagedFiles) -> None:
    effects = bench.host.effects
    assert facts(bench) == (None, None)
    effects.stage_data(Claim(TOKEN, "1"), member)
    assert facts(bench) == (None, Data(0xC, 0xA))
    effects.stage_data(Claim(TOKEN, "2"), member)  # In the place of what was there.
    effects.adopt_staged(Claim(TOKEN, "3"))
    assert facts(bench) == (Data(0xC, 0xA), None)
    data = bench.root / "var/lib/etcd"
    wal = bench.root / log.lstrip("/") if log else data / "member/wal"
    made = below(member.root / "member")
    assert {f"wal/{name}": content for name, content in below(wal).items()} == {
        name: content for name, content in made.items() if name.startswith("wal/")
    }
    assert below(data / "member/snap") == below(member.root / "member/snap")
    for place in (data / "member", wal, *data.rglob("*"), *wal.rglob("*")):
        assert place.stat().st_mode & 0o777 == (0o700 if place.is_dir() else 0o600), place
    assert sorted(path.name for path in data.iterdir()) == ["member"]
    effects.set_data_aside(Claim(TOKEN, "4"))
    effects.stage_data(Claim(TOKEN, "5"), member)
    effects.adopt_staged(Claim(TOKEN, "6"))
    assert facts(bench) == (Data(0xC, 0xA), None)


def test_it_does_not_come_in_the_place_of_data(bench: Bench, log: str, member: StagedFiles) -> None:
    effects = bench.host.effects
    effects.stage_data(Claim(TOKEN, "1"), member)
    effects.adopt_staged(Claim(TOKEN, "2"))
    effects.stage_data(Claim(TOKEN, "3"), member)
    before = bench.snapshot()
    with pytest.raises(HostRefused, match="something in the way"):
        effects.adopt_staged(Claim(TOKEN, "4"))
    assert {name for name in bench.snapshot() if "effects" not in name} == {
        name for name in before if "effects" not in name
    }


@pytest.mark.parametrize("debris", ["member/snap/db", "member/wal/.touch", "member/wal/0.tmp"])
def test_what_counts_as_no_data_is_not_in_the_way(
    bench: Bench, log: str, member: StagedFiles, debris: str
) -> None:
    data = bench.root / "var/lib/etcd"
    bench.file(f"var/lib/etcd/{debris}", "left")
    if log:
        bench.file(f"{log}/.touch", "")
    effects = bench.host.effects
    effects.stage_data(Claim(TOKEN, "1"), member)
    assert facts(bench) == (None, Data(0xC, 0xA))
    effects.adopt_staged(Claim(TOKEN, "2"))
    assert facts(bench) == (Data(0xC, 0xA), None)
    assert below(data / "member/snap") == below(member.root / "member/snap")
    [aside] = data.glob("set-aside-*")
    assert (aside / debris).read_text() == "left"


def test_a_half_adopted_one_is_not_set_aside(bench: Bench, log: str, member: StagedFiles) -> None:
    effects, data = bench.host.effects, bench.root / "var/lib/etcd"
    effects.stage_data(Claim(TOKEN, "1"), member)
    bench.shell.shim("mv", '#!/bin/sh\ncase $2 in *wal.staged*) exit 1 ;; esac\nexec /usr/bin/mv "$@"\n')
    if log:
        with pytest.raises(HostRefused):
            effects.adopt_staged(Claim(TOKEN, "2"))
        assert facts(bench) == (None, Data(0xC, 0xA))
        bench.file(f"{log}/.touch", "")  # As an etcd leaves it that was started in between.
    bench.shell.shim("mv", '#!/bin/sh\nexec /usr/bin/mv "$@"\n')
    effects.adopt_staged(Claim(TOKEN, "3"))
    assert facts(bench) == (Data(0xC, 0xA), None)
    assert sorted(path.name for path in data.iterdir()) == ["member"]


class _Cut:
    """A stream that loses its end."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.size = stream.size

    def chunks(self) -> Iterator[bytes]:
        yield b"".join(self.stream.chunks())[: self.size // 2]


def test_a_cut_transfer_leaves_what_was_there(bench: Bench, log: str, member: StagedFiles) -> None:
    bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    before = {name: what for name, what in bench.snapshot().items() if "etcdplan/" not in name}
    real = bench.shell.run

    def cut(script: str, *arguments: str, stdin: bytes | Stream = b"", **limits: Any) -> Completed:
        stream = stdin if isinstance(stdin, bytes) else _Cut(stdin)
        return real(script, *arguments, stdin=stream, **limits)

    bench.shell.run = cut  # type: ignore[method-assign]
    with pytest.raises(HostRefused, match="another checksum"):
        bench.host.effects.stage_data(Claim(TOKEN, "2"), member)
    assert {name: what for name, what in bench.snapshot().items() if "etcdplan/" not in name} == before


def test_a_controller_that_was_replaced_leaves_nothing(bench: Bench, log: str, member: StagedFiles) -> None:
    bench.lock(TOKEN + 1)
    with pytest.raises(Fenced, match="another run has taken over"):
        bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert facts(bench) == (None, None)
    assert not list(bench.root.rglob("*.db"))
    assert not [path for path in bench.root.rglob("*.new.*") if "lib/etcd" in str(path)]


def test_a_lost_answer_is_asked_for(bench: Bench, log: str, member: StagedFiles) -> None:
    bench.shell.lose = lambda verb: verb == "stage-data"
    bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert facts(bench)[1] == Data(0xC, 0xA)


def test_no_room(bench: Bench, log: str, member: StagedFiles) -> None:
    bench.shell.shim(
        "stat", "#!/bin/sh\ncase $3 in '%a %S') echo 30 4096 ;; *) exec /usr/bin/stat \"$@\" ;; esac\n"
    )
    with pytest.raises(HostRefused, match="its disk is full") as caught:
        bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert "122880 are free" in caught.value.message
    assert not list(bench.root.rglob("*.new.*"))


def test_what_a_power_cut_left_behind_goes(bench: Bench, log: str, member: StagedFiles) -> None:
    waits = bench.root / "var/lib/etcd/staged-by-etcdplan"
    (waits / ".new.12345678/member/wal").mkdir(parents=True)
    (waits / ".new.12345678/member/wal" / LOG).write_bytes(segment(1, 2))
    assert facts(bench) == (None, None)
    bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert [path.name for path in waits.iterdir()] == ["member"]


def _is_as_it_was(place: Path, owner: int) -> bool:
    found = place.stat()
    names = sorted(path.name for path in place.iterdir())
    return (found.st_mode & 0o777, found.st_uid, names) == (0o755, owner, ["member"])


def test_a_link_is_not_followed(bench: Bench, log: str, member: StagedFiles) -> None:
    """Etcd's user may write to its data directory, and would be given whatever a link leads to."""
    effects, victim = bench.host.effects, bench.root / "etc/victim"
    (victim / "member").mkdir(parents=True)
    victim.chmod(0o755)
    owner = victim.stat().st_uid
    data = bench.root / "var/lib/etcd"
    data.mkdir(parents=True)
    waits = data / "staged-by-etcdplan"
    waits.symlink_to(victim)
    for number, act in enumerate((lambda c: effects.stage_data(c, member), effects.adopt_staged)):
        with pytest.raises(HostRefused, match="is not a directory of root's"):
            act(Claim(TOKEN, f"link-{number}"))
        assert _is_as_it_was(victim, owner)
    effects.discard_staged(Claim(TOKEN, "discard"))
    assert _is_as_it_was(victim, owner)
    assert not waits.is_symlink()
    effects.stage_data(Claim(TOKEN, "stage"), member)
    assert facts(bench) == (None, Data(0xC, 0xA))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_not_used(bench: Bench, log: str, member: StagedFiles) -> None:
    waits = bench.root / "var/lib/etcd/staged-by-etcdplan"
    waits.mkdir(parents=True)
    os.chown(waits, 65534, 65534)
    with pytest.raises(HostRefused, match="is not a directory of root's"):
        bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert list(waits.iterdir()) == []


def test_it_cannot_be_swapped_while_it_comes(bench: Bench, log: str, member: StagedFiles) -> None:
    """A link that is laid during the transfer leads nobody away, and what came lies where nobody looks."""
    data, victim = bench.root / "var/lib/etcd", bench.root / "etc/victim"
    (victim / "member").mkdir(parents=True)
    victim.chmod(0o755)
    owner = victim.stat().st_uid
    place = f"{bench.root}{log}.staged-by-etcdplan.new.*" if log else f"{data}/staged-by-etcdplan"
    bench.shell.shim(
        "head",
        f"""#!/bin/sh
/usr/bin/head "$@"
for place in {place}; do
    if ! [ -L "$place" ] && [ "${{place%.away}}" = "$place" ]; then
        mv "$place" "$place.away" && ln -s {victim} "$place"
    fi
done
""",
    )
    with contextlib.suppress(HostRefused):
        bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert _is_as_it_was(victim, owner)


def test_the_directory_above_a_log_stays_as_it_is(bench: Bench, member: StagedFiles) -> None:
    settings = {**SETTINGS, "wal-dir": "/srv/wal"}
    bench.host.effects.write_settings(Claim(TOKEN, "settings"), "etcd", settings)
    above = bench.root / "srv"
    above.mkdir()
    above.chmod(0o755)
    bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert above.stat().st_mode & 0o777 == 0o755
    assert facts(bench)[1] == Data(0xC, 0xA)


def test_what_a_cut_transfer_left_takes_no_room(bench: Bench, log: str, member: StagedFiles) -> None:
    left = bench.root / "var/lib/etcd/staged-by-etcdplan/.new.12345678"
    left.mkdir(parents=True)
    bench.shell.shim(
        "stat",
        f"#!/bin/sh\ncase $3:$(ls -d {left} 2>&1) in\n"
        "'%a %S':*'cannot access'*) echo 3000000 4096 ;;\n'%a %S':*) echo 30 4096 ;;\n"
        '*) exec /usr/bin/stat "$@" ;;\nesac\n',
    )
    bench.host.effects.stage_data(Claim(TOKEN, "1"), member)
    assert facts(bench)[1] == Data(0xC, 0xA)
