"""The kernel's policy routing in memory; tests/system/test_routing.py holds it to what the real one does."""

from __future__ import annotations

from mqvpn.system.errors import OperationFailed
from mqvpn.system.routing import Item, Route, Rule


class FakeKernel:
    """Items that carry our protocol number; the interfaces that exist are given."""

    def __init__(self, *interfaces: str) -> None:
        self.interfaces = set(interfaces)
        self.items: set[Item] = set()
        self.log: list[str] = []

    def routes(self, table: int) -> frozenset[Route]:
        return frozenset(item for item in self.items if isinstance(item, Route) and item.table == table)

    def rules(self) -> frozenset[Rule]:
        return frozenset(item for item in self.items if isinstance(item, Rule))

    def add(self, item: Item) -> None:
        self.log.append(f"add {item}")
        if item in self.items:
            raise OperationFailed(f"add {item}", "File exists", "")
        if isinstance(item, Route) and item.interface not in self.interfaces | {None}:
            raise OperationFailed(f"add {item}", "No such device", "")
        self.items.add(item)

    def delete(self, item: Item) -> None:
        self.log.append(f"delete {item}")
        self.items.discard(item)

    def remove_interface(self, name: str) -> None:
        """An interface goes, and its routes with it."""
        self.interfaces.discard(name)
        self.items = {i for i in self.items if not (isinstance(i, Route) and i.interface == name)}
