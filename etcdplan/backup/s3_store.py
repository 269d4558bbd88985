"""Backups in S3, and in stores that speak as it does."""

from collections.abc import Iterator
from typing import Any

from etcdplan.backup.object_store import CONNECT, READ, ObjectStore


class S3Store(ObjectStore):
    """`s3://bucket/prefix`."""

    module = "s3fs"
    extra = "s3"

    def _connect(self) -> Any:
        return self._driver.S3FileSystem(
            anon=False,
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=1,
            config_kwargs={
                "connect_timeout": CONNECT,
                "read_timeout": READ,
                "retries": {"max_attempts": 2},
            },
        )

    def _sizes(self) -> Iterator[tuple[str, int]]:
        more: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=self._prefix, Delimiter="/", **more)
            yield from ((one["Key"], one["Size"]) for one in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _remove(self, key: str) -> None:
        self._call("delete_object", Key=key)

    def _call(self, method: str, **arguments: object) -> Any:
        return self._files.call_s3(method, Bucket=self._bucket, **arguments)
