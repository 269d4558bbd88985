"""Settings in the forms in which hosts have them, read and written back in the same form."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etcdplan.hosts.remote.own_unit import own_unit
from tests.unit.hosts.remote.units import ADMIN, DEBIAN, UNIT, changed, load, settings

DEFAULT = "/etc/default/etcd"
API = "kube-apiserver.service"
API_UNIT = f"/etc/systemd/system/{API}"
WANTED = {"name": "b", "data-dir": "/var/lib/etcd", "listen-peer-urls": "http://10.0.0.1:2380"}


def test_our_own_unit() -> None:
    files = {ADMIN: own_unit("/usr/local/bin/etcd", "etcd", {"name": "a", "x": 'q"\\ $y %z'})}
    assert settings(files) == {"name": "a", "x": 'q"\\ $y %z'}
    after = changed(files, WANTED)
    assert after.keys() == files.keys()
    assert "ExecStart=/usr/local/bin/etcd \\\n  --name=b \\\n  --data-dir=/var/lib/etcd" in after[ADMIN]
    assert after[ADMIN].count("\n") == files[ADMIN].count("\n") + 1


def test_debian_is_changed_in_its_file_of_variables() -> None:
    comments = "## etcd(1) daemon options\n# ETCD_NAME=x\nGOMAXPROCS=2\n"
    after = changed({UNIT: DEBIAN, DEFAULT: comments}, WANTED)
    assert after[UNIT] == DEBIAN
    assert after.keys() == {UNIT, DEFAULT}
    assert after[DEFAULT] == (
        comments + "ETCD_NAME=b\nETCD_DATA_DIR=/var/lib/etcd\nETCD_LISTEN_PEER_URLS=http://10.0.0.1:2380\n"
    )
    again = changed(after, {"name": "c", "data-dir": "/d"})
    assert again[DEFAULT] == comments + "ETCD_NAME=c\nETCD_DATA_DIR=/d\n"


def test_debian_without_its_file() -> None:
    assert changed({UNIT: DEBIAN}, WANTED).keys() == {UNIT, DEFAULT}


def test_debian_with_flags_in_its_variable() -> None:
    files = {UNIT: DEBIAN, DEFAULT: 'ETCD_DEBUG=true\nDAEMON_ARGS="--snapshot-count=5 \\\n  --debug-x=1"\n'}
    assert settings(files)["snapshot-count"] == "5"
    after = changed(files, {**WANTED, "snapshot-count": "7"})
    assert after.keys() == {UNIT, DEFAULT}
    assert after[DEFAULT] == (
        'DAEMON_ARGS="--snapshot-count=7 \\\n  --listen-peer-urls=http://10.0.0.1:2380"\n'
        "ETCD_NAME=b\nETCD_DATA_DIR=/var/lib/etcd\n"
    )


@pytest.mark.parametrize("value", ["x", ""])
def test_a_flag_and_its_variable_are_never_both(value: str) -> None:
    """etcd refuses that even when they say the same, so it is no reading and nothing is written."""
    files = {UNIT: DEBIAN, DEFAULT: f'DAEMON_ARGS="--log-level=x"\nETCD_LOG_LEVEL={value}\n'}
    for act in (lambda: settings(files), lambda: changed(files, WANTED)):
        with pytest.raises(ValueError, match="--log-level and ETCD_LOG_LEVEL are both set"):
            act()


def test_flags_in_a_unit_of_the_administrator() -> None:
    unit = (
        "[Service]\nUser=etcd\nExecStart=/opt/etcd --name a --x=1 \\\n    --data-dir=/old -y # no comment\n"
    )
    with pytest.raises(ValueError, match=r"not a flag|no value"):
        settings({ADMIN: unit})
    unit = unit.replace(" -y # no comment", " --client-cert-auth")
    assert settings({ADMIN: unit}) == {"name": "a", "x": "1", "data-dir": "/old", "client-cert-auth": "true"}
    after = changed({ADMIN: unit}, {**WANTED, "client-cert-auth": "true"})
    assert after == {
        ADMIN: "[Service]\nUser=etcd\nExecStart=/opt/etcd --name=b \\\n    --data-dir=/var/lib/etcd "
        "--client-cert-auth --listen-peer-urls=http://10.0.0.1:2380\n"
    }


def test_flags_in_a_unit_of_a_package_are_overridden() -> None:
    unit = "[Service]\nExecStart=/usr/bin/etcd --name=a --data-dir=/d\n"
    after = changed({UNIT: unit}, WANTED)
    override = "/etc/systemd/system/etcd.service.d/zz-etcdplan.conf"
    assert after[UNIT] == unit
    assert after[override].startswith(
        "[Service]\nExecStart=\nExecStart=/usr/bin/etcd --name=b --data-dir=/var/lib/etcd"
    )
    assert changed(after, {"name": "c"}).keys() == {UNIT, override}


def test_a_mixture_stays_one() -> None:
    unit = "[Service]\nEnvironment=ETCD_NAME=a\nEnvironmentFile=/e\nExecStart=/etcd --data-dir=/d $MORE\n"
    after = changed({ADMIN: unit, "/e": "ETCD_X=1\nMORE=--y=2\n"}, {**WANTED, "x": "2", "y": "3"})
    assert after["/e"] == "ETCD_X=2\nMORE=--y=3\nETCD_NAME=b\n"
    assert (
        "ExecStart=/etcd --data-dir=/var/lib/etcd --listen-peer-urls=http://10.0.0.1:2380 $MORE"
        in after[ADMIN]
    )


def test_environment_in_the_unit_only() -> None:
    unit = "[Service]\nEnvironment=ETCD_NAME=a ETCD_OLD=1 HOME=/x\nExecStart=/etcd\n"
    after = changed({ADMIN: unit}, {**WANTED, "x": '%H "$q" \\'})
    assert after.keys() == {ADMIN, "/etc/systemd/system/etcd.service.d/zz-etcdplan-environment.conf"}
    assert after[ADMIN] == unit
    assert load(after).environment()["HOME"].value == "/x"
    assert settings(changed(after, {"name": "z"})) == {"name": "z"}
    assert changed(changed(after, {"name": "z"}), {"old": "7"})


def test_a_setting_that_the_unit_gives_can_be_taken_away_in_its_file() -> None:
    assert "ETCD_DATA_DIR=\n" in changed({UNIT: DEBIAN}, {"name": "a"})[DEFAULT]


@pytest.mark.parametrize("how", ["--config-file=/etc/etcd.yml", "env"])
def test_a_configuration_file_is_all_that_counts(how: str) -> None:
    start = (
        "ExecStart=/etcd --name=ignored --config-file=/etc/etcd.yml" if how != "env" else "ExecStart=/etcd"
    )
    unit = (
        f"[Service]\nEnvironment=ETCD_CONFIG_FILE=/etc/etcd.yml\n{start}\n"
        if how == "env"
        else f"[Service]\n{start}\n"
    )
    text = "name: a\ndata-dir: /d\npeer-transport-security:\n  cert-file: /c\n  client-cert-auth: true\nmax-wals: 5\n"
    files = {ADMIN: unit, "/etc/etcd.yml": text}
    assert settings(files) == {
        "name": "a",
        "data-dir": "/d",
        "peer-cert-file": "/c",
        "peer-client-cert-auth": "true",
        "max-wals": "5",
    }
    after = changed(
        files,
        {**WANTED, "peer-cert-file": "/c2", "strict-reconfig-check": "true", "quota-backend-bytes": "1"},
    )
    assert after[ADMIN] == unit
    with pytest.raises(ValueError, match="is missing"):
        settings({ADMIN: unit})
    with pytest.raises(ValueError, match="not etcd's configuration"):
        settings({ADMIN: unit, "/etc/etcd.yml": "name: a\nname: b\n"})


def test_another_program_is_not_etcd() -> None:
    with pytest.raises(ValueError, match="starts /bin/sh, not etcd"):
        settings({ADMIN: "[Service]\nExecStart=/bin/sh -c 'exec etcd --name=x'\n"})


@pytest.mark.parametrize(
    ("unit", "environment", "place"),
    [
        (
            "ExecStart=/usr/bin/kube-apiserver --v=2 --etcd-servers=http://a:1 --etcd-old=1 --secure-port=6443",
            "",
            API_UNIT,
        ),
        (
            "EnvironmentFile=/e\nExecStart=/kube-apiserver $ARGS",
            'ARGS="--v=2 \\\n  --etcd-servers=http://a:1 --etcd-old=1"\nX=1\n',
            "/e",
        ),
        (
            "EnvironmentFile=/e\nExecStart=/kube-apiserver --v=2 $SERVERS",
            "SERVERS=--etcd-servers=http://a:1 --etcd-old=1\n",
            "/e",
        ),
        (
            "EnvironmentFile=/e\nExecStart=/kube-apiserver --v=2 --etcd-servers=${S} --etcd-old=1",
            "S='http://a:1'\n",
            "/e",
        ),
    ],
)
def test_flags_of_an_api_server_are_put_back_where_they_were(unit: str, environment: str, place: str) -> None:
    files = {API_UNIT: f"[Service]\n{unit}\nRestart=always\n", "/e": environment}
    assert settings(files, API) == {"etcd-servers": "http://a:1", "etcd-old": "1"}
    after = changed(files, {"etcd-servers": "https://a:1,https://b:1", "etcd-old": "1"}, API)
    assert {path for path in after if after[path] != files[path]} == {place}
    assert after[place] == files[place].replace("'", "").replace("http://a:1", "https://a:1,https://b:1")
    more = changed(after, {"etcd-servers": "https://a:1", "etcd-cafile": "/ca"}, API)
    assert "--etcd-cafile=/ca" in "".join(more.values())
    assert "old" not in "".join(more.values())
    command = load(more, API).command()
    assert "--v=2" in [argument.text for argument in command.arguments]


def test_a_list_that_is_given_twice_grows() -> None:
    unit = (
        "[Service]\nExecStart=/kube-apiserver --etcd-servers=http://a:1 --v 2 --etcd_servers http://b:1 --x\n"
    )
    assert settings({API_UNIT: unit}, API) == {"etcd-servers": "http://a:1,http://b:1"}
    after = changed({API_UNIT: unit}, {"etcd-servers": "http://c:1"}, API)
    assert after == {API_UNIT: "[Service]\nExecStart=/kube-apiserver --v 2 --etcd-servers=http://c:1 --x\n"}


def test_an_api_servers_first_flags_about_etcd_go_where_all_others_are() -> None:
    unit = "[Service]\nEnvironmentFile=/e\nExecStart=/kube-apiserver $ARGS\n"
    after = changed(
        {API_UNIT: unit, "/e": 'ARGS="--v=2 --secure-port=1"\n'}, {"etcd-servers": "http://a:1"}, API
    )
    assert after == {API_UNIT: unit, "/e": 'ARGS="--v=2 --secure-port=1 --etcd-servers=http://a:1"\n'}


def test_overrides_survive() -> None:
    flag = "--etcd-servers-overrides=/events#http://a:4001;http://b:4001,/leases#http://c:4001"
    unit = f"[Service]\nExecStart=/kube-apiserver {flag} --etcd-servers=http://a:1\n"
    after = changed(
        {API_UNIT: unit},
        {"etcd-servers": "http://b:1", "etcd-servers-overrides": flag.partition("=")[2]},
        API,
    )
    assert flag in after[API_UNIT]


def test_an_api_server_without_any_flag_about_etcd() -> None:
    unit = "[Service]\nEnvironmentFile=/e\nExecStart=/kube-apiserver --v=2 \\\n    $ARGS\n"
    after = changed({API_UNIT: unit, "/e": "ARGS=--x=1\n"}, {"etcd-servers": "http://a:1"}, API)
    assert after[API_UNIT] == unit.replace("$ARGS", "$ARGS \\\n    --etcd-servers=http://a:1")


NAMES = st.sampled_from(["name", "data-dir", "listen-peer-urls", "snapshot-count", "log-level"])
VALUES = st.from_regex(r"[A-Za-z0-9:/.,=\[\]-]{1,12}", fullmatch=True)
SETTINGS = st.dictionaries(NAMES, VALUES)


@hypothesis_settings(deadline=None)
@given(
    st.lists(
        st.tuples(NAMES, VALUES, st.sampled_from(["flag", "apart", "variable", "file", "unit", "inline"])),
        max_size=5,
    ),
    st.booleans(),
    SETTINGS,
    SETTINGS,
)
def test_any_form_can_be_changed_and_read_back(
    given_: list[tuple[str, str, str]], packaged: bool, first: dict[str, str], second: dict[str, str]
) -> None:
    flags, variable, file, unit = [], [], ["GOGC=50"], ["HOME=/root"]
    for name, value, how in given_:
        variable_name = f"ETCD_{name.upper().replace('-', '_')}"
        value = value.lstrip("-") or "x"
        match how:
            case "flag":
                flags.append(f"--{name}={value}")
            case "apart":
                flags.append(f"-{name} {value}")
            case "variable":
                variable.append(f"--{name}={value}")
            case "file":
                file.append(f"{variable_name}='{value}'")
            case "unit":
                unit.append(f"{variable_name}={value}")
            case _:
                flags.append(f"--{name}=${{V_{len(file)}}}")
                file.append(f"V_{len(file)}={value}")
    arguments = " ".join([*flags, "$MORE"])
    text = f"[Service]\nEnvironment={' '.join(unit)}\nEnvironmentFile=-/e\nExecStart=/etcd {arguments}\nRestart=no\n"
    files = {UNIT if packaged else ADMIN: text, "/e": "\n".join([*file, f'MORE="{" ".join(variable)}"'])}
    try:
        settings(files)
    except ValueError:
        return
    after = changed(changed(files, first), second)
    assert load(after).environment()["GOGC"].value == "50"
    assert load(after).environment()["HOME"].value == "/root"
