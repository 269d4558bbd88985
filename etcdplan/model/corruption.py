"""What is known while a CORRUPT alarm stands: then, and only then, members are asked what they hold.

etcd refuses all writes while it stands, so what serving members hold must be equal.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Corruption:
    """`alarms` are the member IDs that the alarm was raised for, 0 for nobody in particular.

    `contents` says what each member holds that could be asked, by peer URL: equal texts for equal keys at one revision.
    """

    alarms: tuple[int, ...]
    contents: Mapping[str, str]

    def right(self, voters: Collection[str]) -> str | None:
        """Return what more than half of all the voters hold; None when no such majority is known."""
        held = Counter(content for url, content in self.contents.items() if url in voters)
        content, count = max(held.items(), key=lambda pair: pair[1], default=("", 0))
        return content if count > len(voters) // 2 else None

    def of(self, serving: Collection[str]) -> "Corruption":
        """Return what is known when only these serve."""
        return replace(self, contents={url: held for url, held in self.contents.items() if url in serving})
