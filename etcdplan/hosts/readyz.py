"""Whether a kube-apiserver on this machine is ready."""

import ssl
from http.client import HTTPException, HTTPSConnection


def is_ready(address: str, port: int, *, timeout: float) -> bool:
    """Ask `/readyz`; a server that wants credentials first (401) has come far enough to serve.

    403 does not mean that: it is the answer of one that starts, until it has read the roles that let anybody ask.

    No secret is sent and nothing but the readiness of a process that runs on this machine is believed, so the
    server's certificate, often one that it made itself, is not checked.
    """
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    connection = HTTPSConnection(host, port, timeout=timeout, context=unchecked)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status in (200, 401)
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
