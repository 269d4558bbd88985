"""What a service executes, as its unit file, drop-ins and environment files make it."""

import pytest

from tests.unit.hosts.remote.units import ADMIN, DEBIAN, UNIT, load, settings

FLAGS = "[Service]\nExecStart=/usr/bin/etcd --name=a\n"
DROP_IN = "/etc/systemd/system/etcd.service.d/10-x.conf"


def argv(files: dict[str, str]) -> list[str]:
    command = load(files).command()
    return [command.program, *(argument.text for argument in command.arguments)]


def test_etc_comes_before_lib() -> None:
    assert argv({UNIT: FLAGS, ADMIN: FLAGS.replace("=a", "=b")}) == ["/usr/bin/etcd", "--name=b"]


def test_a_drop_in_overrides_only_after_it_has_emptied() -> None:
    reset = "[Service]\nExecStart=\nExecStart=/opt/etcd --name=c\n"
    assert argv({UNIT: FLAGS, DROP_IN: reset}) == ["/opt/etcd", "--name=c"]
    with pytest.raises(ValueError, match="2 commands"):
        argv({UNIT: FLAGS, DROP_IN: reset.replace("ExecStart=\n", "")})
    with pytest.raises(ValueError, match="no command"):
        argv({UNIT: FLAGS, DROP_IN: "[Service]\nExecStart=\n"})


def test_drop_ins_of_a_name_are_taken_from_etc_and_sorted_by_name() -> None:
    def drop_in(name: str) -> str:
        return f"[Service]\nExecStart=\nExecStart=/etcd --name={name}\n"

    files = {
        UNIT: FLAGS,
        "/etc/systemd/system/etcd.service.d/10-x.conf": drop_in("etc"),
        "/lib/systemd/system/etcd.service.d/10-x.conf": drop_in("lib"),
        "/etc/systemd/system/etcd.service.d/05-y.conf": drop_in("early"),
    }
    assert argv(files) == ["/etcd", "--name=etc"]
    files["/usr/lib/systemd/system/service.d/99-z.conf"] = drop_in("any")
    assert argv(files) == ["/etcd", "--name=any"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "-/etcd --name=%H --x=%% --y=%m",
            ["--name=node-1", "--x=%", "--y=0123456789abcdef0123456789abcdef"],
        ),
        ("/etcd $A --b=${B} $$X x$A ${NONE}", ["--a", "--a2", "--b=b b", "$X", "x$A", ""]),
        (":/etcd $A --b=${B}", ["$A", "--b=${B}"]),
        ('/etcd "--name=a b" \'--x="\'', ["--name=a b", '--x="']),
        ("/etcd $Q", ["--q=1 2", "3"]),
    ],
)
def test_expansions(line: str, expected: list[str]) -> None:
    variables = 'Environment="A=--a --a2" "B=b b" "Q=\\"--q=1 2\\" 3"\n'
    assert argv({UNIT: f"[Service]\n{variables}ExecStart={line}\n"})[1:] == expected


@pytest.mark.parametrize(
    "line", ["/etcd ; /bin/true", "@/etcd etcd --name=a", "etcd --name=a", "/etcd %u", "/etcd %", "/etcd \\q"]
)
def test_what_is_not_understood_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"etcd.service"):
        argv({UNIT: f"[Service]\nExecStart={line}\n"})


def test_environment_files_win_over_environment_and_the_last_wins() -> None:
    unit = (
        "[Service]\nEnvironmentFile=/a\nEnvironmentFile=-/b\nEnvironment=ETCD_NAME=u X=%H\nExecStart=/etcd\n"
    )
    files = {UNIT: unit, "/a": "ETCD_NAME=a\nY=1\n"}
    found = {name: (one.value, one.file) for name, one in load(files).environment().items()}
    assert found == {"ETCD_NAME": ("a", "/a"), "X": ("node-1", None), "Y": ("1", "/a")}
    assert load({**files, "/b": "ETCD_NAME=b\n"}).environment()["ETCD_NAME"].value == "b"
    with pytest.raises(ValueError, match=r"/a, an environment file of etcd.service, is missing"):
        load({UNIT: unit}).environment()


def test_environment_can_be_emptied_unset_and_passed() -> None:
    def names(more: str) -> set[str]:
        text = f"[Service]\nEnvironment=ETCD_A=1 ETCD_B=2\n{more}ExecStart=/etcd\n"
        return set(load({UNIT: text}).environment())

    assert names("") == {"ETCD_A", "ETCD_B"}
    assert names("Environment=\n") == set()
    assert names("UnsetEnvironment=ETCD_A ETCD_B=3\n") == {"ETCD_B"}
    assert names("PassEnvironment=HOME\n") == {"ETCD_A", "ETCD_B"}
    with pytest.raises(ValueError, match="ETCD_C"):
        names("PassEnvironment=ETCD_C\n")


@pytest.mark.parametrize("path", ["/etc/*.env", "relative", "/a b"])
def test_environment_files_that_are_not_one_path(path: str) -> None:
    with pytest.raises(ValueError, match="not one path"):
        load({UNIT: f"[Service]\nEnvironmentFile={path}\nExecStart=/etcd\n"}).environment()


def test_debians_unit() -> None:
    assert settings({UNIT: DEBIAN}) == {"name": "node-1", "data-dir": "/var/lib/etcd/default"}
    assert load({UNIT: DEBIAN}).environment_files() == [("/etc/default/etcd", True)]


def test_templates() -> None:
    files = {"/etc/systemd/system/kube-apiserver@.service": "[Service]\nExecStart=/k --n=%i --p=%p\n"}
    arguments = load(files, "kube-apiserver@one.service").command().arguments
    assert [argument.text for argument in arguments] == ["--n=one", "--p=kube-apiserver"]
