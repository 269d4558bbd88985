"""The hosts' network: a bridge on this machine, and a network namespace for each host."""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from tests.bed.command import BedError, run

_INTERFACES = Path("/sys/class/net")
_NAMESPACES = Path("/run/netns")


@dataclass(frozen=True)
class Network:
    """10.77.NUMBER.0/24. The number is the machine's name for everything that belongs to one bed."""

    number: int

    @property
    def bridge(self) -> str:
        return f"epb{self.number}"

    @property
    def controller(self) -> str:
        """The address of this machine, where tests and the tool run."""
        return f"10.77.{self.number}.1"

    def name(self, host: int) -> str:
        """The name of a host's namespace, of its interface on the bridge, and of its control group."""
        return f"{self.bridge}h{host}"

    def address(self, host: int) -> str:
        return f"10.77.{self.number}.{10 + host}"

    def start(self) -> None:
        run(
            *("ip", "-batch", "-"),
            stdin=f"link add {self.bridge} type bridge\n"
            f"addr add {self.controller}/24 dev {self.bridge}\n"
            f"link set {self.bridge} up\n",
        )

    def plug(self, host: int) -> None:
        """Make a host's namespace and its cable. What it does about packets is `set_filter`'s."""
        name = self.name(host)
        # The same hardware address after every power cut: no neighbour has to notice that it changed.
        hardware = f"02:00:0a:4d:{self.number:02x}:{host:02x}"
        run(
            *("ip", "-batch", "-"),
            stdin=f"netns add {name}\n"
            f"link add {name} type veth peer name host0 address {hardware} netns {name}\n"
            f"link set {name} master {self.bridge} up\n",
        )
        run(
            *("ip", "-n", name, "-batch", "-"),
            stdin=f"link set lo up\naddr add {self.address(host)}/24 dev host0\nlink set host0 up\n",
        )

    def unplug(self, host: int) -> None:
        """Remove the cable at once, then the namespace with its sockets: nobody gets a last packet."""
        name = self.name(host)
        if (_INTERFACES / name).exists():
            run("ip", "link", "del", name)
        if (_NAMESPACES / name).exists():
            run("ip", "netns", "del", name)

    def set_filter(self, host: int, drop_input: list[str], drop_output: list[str]) -> None:
        """Have a host drop the packets that match, and nothing else; the conditions are nft's."""
        table = "table inet bed"
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} priority -300;\n"
            + "".join(f"{condition} drop\n" for condition in conditions)
            + "}\n"
            for hook, conditions in (("input", drop_input), ("output", drop_output))
        )
        # In one transaction, whether or not there was such a table.
        rules = f"{table}\ndelete {table}\n{table} {{\n{chains}}}\n"
        run("ip", "netns", "exec", self.name(host), "nft", "-f", "-", stdin=rules)

    def remove(self, hosts: range) -> None:
        for host in hosts:
            self.unplug(host)
        if (_INTERFACES / self.bridge).exists():
            run("ip", "link", "del", self.bridge)


def unused_numbers() -> list[int]:
    """Return, in random order, the numbers whose network this machine has no route and no bridge for."""
    routes = run("ip", "-4", "route", "show", "table", "all")
    taken = {int(number) for number in re.findall(r"\b10\.77\.(\d+)\.", routes)}
    free = [
        number
        for number in range(1, 255)
        if number not in taken and not (_INTERFACES / f"epb{number}").exists()
    ]
    if not free:
        raise BedError("Every network in 10.77.0.0/16 is taken on this machine.")
    random.shuffle(free)
    return free
