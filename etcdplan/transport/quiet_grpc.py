"""gRPC, imported so that its C core neither writes to stderr nor watches forks.

Failed handshakes and refused connections come back as errors and are reported once, as ours. Fork handlers
would make each child process wait for gRPC's threads; no child of ours uses gRPC. Both settings are environment
variables that the core reads while it is imported, so they are taken back: child processes do not inherit
them, and a user who has set one keeps it.
"""

import os

_SETTINGS = {"GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}
_ours = [name for name in _SETTINGS if name not in os.environ]
os.environ.update({name: _SETTINGS[name] for name in _ours})
try:
    import grpc
finally:
    for name in _ours:
        del os.environ[name]

__all__ = ["grpc"]
