"""From what a spec calls a destination to the destination."""

from pathlib import Path

from etcdplan.backup.destination import Destination


def open_place(text: str, base: Path) -> Destination:
    """Return the destination; nothing is connected yet. A directory may be relative to `base`.

    Raises `DestinationError` for a store whose driver is not installed, `SshConfigError` for a configuration of SSH
    that cannot be used.
    """
    # Each is imported where it is used: most specs name one kind.
    match text.partition("://")[0] if "://" in text else "":
        case "s3":
            from etcdplan.backup.s3_store import S3Store

            return S3Store(text)
        case "gs":
            from etcdplan.backup.gcs_store import GcsStore

            return GcsStore(text)
        case "az":
            from etcdplan.backup.azure_store import AzureStore

            return AzureStore(text)
        case "sftp":
            from etcdplan.backup.sftp_store import SftpStore
            from etcdplan.transport.ssh_config import SshSettings

            return SftpStore(text, SshSettings.from_environment())
        case _:
            from etcdplan.backup.directory import Directory

            return Directory(base / text)
