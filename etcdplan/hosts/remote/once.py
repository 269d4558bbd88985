"""Effects that a host does once: under its guard, for its newest token, each ID a single time, noted when done.

The host goes on when the connection drops. Then its note is asked for, by the effect's ID: an effect that had not begun
never will, one that still runs is waited for, and only what ended without a note (a host that lost power) is unknown.
"""

import json
import time
from dataclasses import dataclass
from urllib.parse import quote

from etcdplan.errors import EtcdplanError
from etcdplan.hosts.ports import (
    STATE_DIR,
    Claim,
    HostOutcomeUnknown,
    HostRefused,
    HostUnreachable,
    taken_over,
)
from etcdplan.hosts.remote.script import Answer, refused, run, size_of
from etcdplan.hosts.remote.store import busy
from etcdplan.hosts.shell import Shell, Stream

_GUARD = 30.0
_WORK = 60.0
_ASK = 15.0
_SLOWEST = 256 * 1024
"""Bytes a second below which a stream is given up."""
_POLL = 0.5
_DEAD = 8.0
"""Seconds after which a host that cannot be reached at all is not asked any more: whoever comes back is looked at."""


@dataclass(frozen=True, slots=True)
class Effects:
    """How effects reach a host. `patience`: seconds that a lost answer is asked for."""

    shell: Shell
    patience: float = 60.0

    def do(
        self,
        claim: Claim,
        verb: str,
        what: str,
        *arguments: str,
        payload: bytes | None = None,
        stream: bytes | Stream = b"",
        script: str = "changes",
        work: float = 0,
    ) -> bytes:
        """Do it and return the reply; `what` is for people. Raises as `HostEffects` says.

        `work` are seconds that it may take beside what every effect may.
        """
        sized = (*((size_of(payload),) if payload is not None else ()), *arguments)
        note = json.dumps({"effect": what, "token": claim.token})
        changes = ["effects", "dead_man", script] if script == "changes" else ["effects", script]
        scripts = ["sessions", "effects"] if verb == "call" else changes
        streamed = len(stream) if isinstance(stream, bytes) else stream.size
        try:
            answer = run(
                self.shell,
                scripts,
                verb,
                _file_name(claim),
                str(claim.token),
                note,
                *sized,
                payload=payload,
                stream=stream,
                timeout=_GUARD + _WORK + work + streamed / _SLOWEST,
            )
        except HostOutcomeUnknown as lost:
            answer = self._outcome(claim, what, lost, work=work)
        return self._judged(answer, claim, what)

    def note(self, claim: Claim, result: str, message: str = "", *, keep: bool = False) -> None:
        """Note how a call went, and let go of the guard unless it is to be kept; as well as can be."""
        try:
            arguments = _file_name(claim), result, "keep" if keep else "", size_of(message.encode())
            run(self.shell, ["effects"], "called", *arguments, payload=message.encode(), timeout=_ASK)
        except EtcdplanError:
            # What has happened has happened, whether or not it can be written down.
            return

    def _outcome(self, claim: Claim, what: str, lost: HostOutcomeUnknown, *, work: float = 0) -> Answer:
        """Ask the host for what it noted, until it answers and the effect has ended."""
        deadline = time.monotonic() + self.patience + work
        silent_since: float | None = None
        while (left := deadline - time.monotonic()) > 0:
            wait = min(left, _ASK)
            try:
                arguments = _file_name(claim), str(max(1, int(wait) - 2))
                answer = run(self.shell, ["effects"], "outcome", *arguments, timeout=wait)
            except (HostUnreachable, HostOutcomeUnknown, HostRefused) as error:
                silent_since = silent_since or time.monotonic()
                if not isinstance(error, HostUnreachable):
                    silent_since = None
                elif time.monotonic() - silent_since > _DEAD:
                    break
                time.sleep(min(_POLL, max(0.0, deadline - time.monotonic())))
                continue
            if answer.result == "refused":
                break
            if answer.result != "busy":
                return answer
        raise HostOutcomeUnknown(
            f"The connection to host {self.shell.address} broke, and whether it did this is unknown: {what}.",
            hint=lost.hint or "Apply again with --resume when the host answers.",
        ) from lost

    def _judged(self, answer: Answer, claim: Claim, what: str) -> bytes:
        address = self.shell.address
        match answer.result:
            case "done":
                return answer.content
            case "noted":
                result, _, reply = answer.encoded.partition(" ")
                if not result or result == "unknown":
                    raise HostOutcomeUnknown(
                        f"Host {address} was interrupted: whether it did this is unknown: {what}.",
                        hint="Apply again with --resume: what it has done is looked at first.",
                    )
                return self._judged(Answer(result, reply, ()), claim, what)
            case "never":
                raise HostRefused(
                    f"The connection to host {address} broke before it began to {what}; it did not, and will not."
                )
            case "fenced":
                raise taken_over(address, STATE_DIR, answer.text if answer.encoded else None, claim.token)
            case "claimed":
                raise HostRefused(
                    f"Effect {claim.effect_id} was already claimed on host {address}.",
                    hint="Plan again: what it has done is looked at first.",
                )
            case "busy":
                raise busy(address)
            case _:
                raise refused(address, answer)


def _file_name(claim: Claim) -> str:
    name = quote(claim.effect_id, safe="")
    return name.replace(".", "%2E", 1) if name.startswith(".") else name
