"""Backups in Azure Blob Storage."""

from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from etcdplan.backup.object_store import CONNECT, READ, ObjectStore

T = TypeVar("T")


class AzureStore(ObjectStore):
    """`az://container/prefix`, in the storage account that the environment names."""

    module = "adlfs"
    extra = "azure"

    def _connect(self) -> Any:
        return self._driver.AzureBlobFileSystem(
            anon=False,
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=1,
            connection_timeout=CONNECT,
            read_timeout=READ,
        )

    def _sizes(self) -> list[tuple[str, int]]:
        async def listed() -> list[tuple[str, int]]:
            blobs = self._container().walk_blobs(name_starts_with=self._prefix, delimiter="/")
            return [(blob.name, blob.size) async for blob in blobs if not blob.name.endswith("/")]

        return self._done(listed())

    def _remove(self, key: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        with suppress(ResourceNotFoundError):
            self._done(self._container().delete_blob(key))

    def _container(self) -> Any:
        return self._files.service_client.get_container_client(self._bucket)

    def _done(self, act: Awaitable[T]) -> T:
        """Await it where the driver's connections are at home."""
        from fsspec.asyn import sync

        async def awaited() -> T:
            return await act

        done: T = sync(self._files.loop, awaited)
        return done
