import copy
import json
import pickle
from dataclasses import asdict

import pytest

from etcdplan.pki.authority import Authority
from etcdplan.pki.secret import Secret

CANARY = "canary-6f1d"


def test_text_forms_are_masked() -> None:
    secret = Secret(CANARY.encode())
    forms = [repr(secret), str(secret), f"{secret}", f"{secret!r:>9}", f"{secret:>40}", f"{secret:x}"]
    forms += ["%s %r" % (secret, secret), repr([secret]), json.dumps([secret], default=str)]  # noqa: UP031
    assert not any(CANARY in form for form in forms)
    assert str(secret) == "***"
    assert secret.reveal() == CANARY.encode()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused(protocol: int, authority: Authority) -> None:
    for value in (Secret(CANARY.encode()), authority):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(value, protocol)


def test_json_vars_and_bytes_are_refused() -> None:
    secret = Secret(CANARY.encode())
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(TypeError):
        bytes(secret)  # type: ignore[call-overload]


def test_copies_are_the_same_object() -> None:
    secret = Secret(CANARY.encode())
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


def test_an_authority_shows_no_key(authority: Authority) -> None:
    body = authority.key.reveal().decode().splitlines()[1]
    assert "key=***" in repr(authority)
    assert body not in repr(authority) + str(asdict(authority))
