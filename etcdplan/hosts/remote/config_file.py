"""etcd's configuration file (`--config-file`): with it etcd reads neither flags nor environment.

Source: etcd `server/embed/config.go`, `configYAML` and `securityConfig`.
"""

import re
from typing import Any

from etcdplan.model.state import Settings

_SECURITY = {"client-transport-security": "", "peer-transport-security": "peer-"}
_SECURE = (
    "cert-file",
    "key-file",
    "client-cert-file",
    "client-key-file",
    "client-cert-auth",
    "trusted-ca-file",
    "auto-tls",
)
_LISTS = ("log-outputs", "cipher-suites")
_DURATION = re.compile(r"-?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


def read_config(text: str) -> Settings:
    """Return the settings by the names of their flags; raise `ValueError` for what is not etcd's."""
    settings: dict[str, str] = {}
    for key, value in _mapping(text).items():
        if key not in _SECURITY:
            settings[key] = _scalar(key, value)
            continue
        if not isinstance(value, dict):
            raise ValueError(f"{key} is not a mapping")
        for name, part in value.items():
            if name not in _SECURE:
                raise ValueError(f"{key} has {name!r}, which is not known")
            settings[_SECURITY[key] + name] = _scalar(name, part)
    return {flag: value for flag, value in settings.items() if value}


def write_config(text: str, settings: Settings) -> str:
    """Return a file with these settings and no others, those that stay as they are spelled; comments are lost.

    Raises `ValueError` for one that cannot be written: what is a duration for a flag is a number of nanoseconds here.
    """
    import yaml

    before, now = _mapping(text), read_config(text)
    content: dict[str, Any] = {}
    left = dict(settings)
    for key, prefix in _SECURITY.items():
        part = {name: _typed(left.pop(prefix + name)) for name in _SECURE if prefix + name in left}
        if part:
            content[key] = part
    for flag, value in left.items():
        if now.get(flag) == value:
            content[flag] = before[flag]
        elif flag in _LISTS:
            content[flag] = value.split(",")
        elif _DURATION.fullmatch(value) and flag != "auto-compaction-retention":
            raise ValueError(f"{flag} is a duration, which etcd's configuration file cannot spell as {value}")
        else:
            content[flag] = _typed(value)
    order = {key: number for number, key in enumerate(before)}
    content = dict(sorted(content.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1 << 16)


def _mapping(text: str) -> dict[str, Any]:
    import yaml

    try:
        node = yaml.compose(text, yaml.SafeLoader)
        _check_unique(node)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("it is not YAML") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError("it is not a mapping of names")
    return content


def _check_unique(node: Any) -> None:
    """Raise `ValueError` for a key that is there twice; readers differ in which one counts."""
    if getattr(node, "id", "") != "mapping":
        return
    keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"{twice[0]} is there twice")
    for _, value in node.value:
        _check_unique(value)


def _scalar(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, str | int):
        return str(value)
    raise ValueError(f"{name} is of a kind that no flag has")


def _typed(value: str) -> object:
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch(r"0|-?[1-9]\d{0,17}", value) else value
