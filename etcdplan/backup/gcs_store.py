"""Backups in Google Cloud Storage."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from etcdplan.backup.object_store import READ, ObjectStore


class GcsStore(ObjectStore):
    """`gs://bucket/prefix`."""

    module = "gcsfs.core"
    extra = "gcs"

    def _connect(self) -> Any:
        # The application's default credentials or none at all: by itself the driver would go on without any.
        files = self._driver.GCSFileSystem(
            token="google_default",  # noqa: S106 - the name of a way to credentials
            use_listings_cache=False,
            skip_instance_cache=True,
            requests_timeout=READ,
        )
        # Here, since credentials that are refused a call would try for half a minute.
        files.credentials.maybe_refresh()
        return files

    def _sizes(self) -> Iterator[tuple[str, int]]:
        more: dict[str, str] = {}
        while True:
            page = self._files.call(
                "GET", "b/{}/o", self._bucket, prefix=self._prefix, delimiter="/", json_out=True, **more
            )
            yield from ((one["name"], int(one["size"])) for one in page.get("items", ()))
            if not page.get("nextPageToken"):
                return
            more = {"pageToken": page["nextPageToken"]}

    def _remove(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._files.call("DELETE", "b/{}/o/{}", self._bucket, key)
