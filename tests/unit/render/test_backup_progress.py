"""How far a snapshot is, on a terminal."""

from etcdplan.render.backup import Progress

MIB = 1024**2


def test_a_bar_with_rate_and_time_left() -> None:
    bar = Progress()
    assert bar.line(0, 100 * MIB, 5.0) == f"[{'-' * 30}] 0.0 MiB of 100.0 MiB, 0.0 MiB/s"
    assert bar.line(MIB, 100 * MIB, 5.05) == ""  # Not more than ten times a second.
    half = f"[{'#' * 15}{'-' * 15}] 50.0 MiB of 100.0 MiB, 25.0 MiB/s, 2 s left"
    assert bar.line(50 * MIB, 100 * MIB, 7.0) == half
    assert bar.line(100 * MIB, 100 * MIB, 7.01).startswith(f"[{'#' * 30}] 100.0 MiB of 100.0 MiB, ")
