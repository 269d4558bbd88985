"""An in-process gRPC server that answers etcd's methods with what a test tells it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from etcdplan.transport.quiet_grpc import grpc

Answer = Callable[[bytes, Any], bytes]
"""Takes the request's bytes and gRPC's context; returns the reply's bytes."""


class FakeEtcd:
    """Serves any method: `answer` decides, `calls` are the methods and raw requests seen."""

    def __init__(self, *, credentials: Any = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.answer: Answer = lambda _request, _context: b""
        self.calls: list[tuple[str, bytes]] = []
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        address = f"{host}:{port}"
        if credentials is None:
            self.port: int = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self.url = f"{'https' if credentials else 'http'}://{host}:{self.port}"

    def service(self, call: Any) -> Any:
        def handle(request: bytes, context: Any) -> bytes:
            self.calls.append((call.method, request))
            return self.answer(request, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait(10)


def failing(code: Any, text: str) -> Answer:
    """Answer with a gRPC status."""

    def answer(_request: bytes, context: Any) -> bytes:
        context.abort(code, text)
        raise AssertionError

    return answer
