"""What the control sockets answer is what mqvpn.Control.varlink says that they do."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mqvpn.daemon.control import CallFailed
from mqvpn.daemon.methods import client_methods, server_methods
from mqvpn.multipath.pathstate import PathState
from mqvpn.tunnel.events import Cause
from mqvpn.tunnel.state import State

NOTHING = cast(Any, None)


def clients(**parameters: Any) -> Any:
    """The answer of a server that tells after whom it was asked."""

    class Status:
        def page(self, after: int) -> tuple[list[Any], int | None]:
            return [{"number": after + 1}], None

    methods = server_methods(cast(Any, Status()), NOTHING, NOTHING)
    return methods["mqvpn.Control.Clients"].call(parameters)


@pytest.mark.parametrize(("parameters", "first"), [({}, 0), ({"after": None}, 0), ({"after": 6}, 7)])
def test_clients_are_told_from_the_first_on_if_nobody_is_named(parameters: dict[str, Any], first: int) -> None:
    """`after: ?int`: varlink's clients may leave it out, or send null."""
    assert clients(**parameters) == {"schema": 1, "clients": [{"number": first}], "next": None}


@pytest.mark.parametrize("after", ["6", 6.0, True, [6]])
def test_after_is_a_number(after: Any) -> None:
    with pytest.raises(CallFailed, match="InvalidParameter"):
        clients(after=after)


def test_every_state_and_every_cause_is_described() -> None:
    methods = client_methods(NOTHING, NOTHING, NOTHING)
    asked = {"interface": "mqvpn.Control"}
    text = cast(Any, methods["org.varlink.service.GetInterfaceDescription"].call(asked))["description"]
    told = [state.value for state in State] + [one.name.lower() for kind in (Cause, PathState) for one in kind]
    assert [word for word in told if word not in text] == []
