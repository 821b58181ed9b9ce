"""The methods of the control socket, by name; mqvpn.Control.varlink describes them.

Besides our own there are varlink's GetInfo and GetInterfaceDescription, so that `varlinkctl` can be used.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from mqvpn.daemon.clientstatus import ClientStatus
from mqvpn.daemon.control import INTERFACE, VARLINK, CallFailed, Method, Parameters
from mqvpn.daemon.diagnose import Diagnosis
from mqvpn.daemon.reload import ReloadRefused
from mqvpn.daemon.serverstatus import ServerStatus
from mqvpn.daemon.status import SCHEMA
from mqvpn.version import version

Methods = dict[str, Method]
Reloading = Callable[[], tuple[str, ...]]


def client_methods(status: ClientStatus, reload: Reloading, diagnosis: Diagnosis) -> Methods:
    """What a client answers."""
    return _common(status, "client", reload, diagnosis)


def server_methods(status: ServerStatus, reload: Reloading, diagnosis: Diagnosis) -> Methods:
    """What a server answers. Who its users are is for admins."""

    def clients(parameters: Parameters) -> Parameters:
        after = parameters.get("after")
        if after is not None and type(after) is not int:
            raise CallFailed(f"{VARLINK}.InvalidParameter", parameter="after")
        shown, following = status.page(-1 if after is None else after)
        return {"schema": SCHEMA, "clients": shown, "next": following}

    return _common(status, "server", reload, diagnosis) | {f"{INTERFACE}.Clients": Method(clients, privileged=True)}


def _common(status: Callable[[], dict[str, Any]], role: str, reload: Reloading, diagnosis: Diagnosis) -> Methods:
    installed = version()

    def reload_now(_: Parameters) -> Parameters:
        try:
            return {"schema": SCHEMA, "notes": list(reload())}
        except ReloadRefused as error:
            raise CallFailed("ReloadRefused", reason=str(error)) from None

    def about(_: Parameters) -> Parameters:
        return {"schema": SCHEMA, "role": role, "version": installed}

    def info(_: Parameters) -> Parameters:
        interfaces = [VARLINK, INTERFACE]
        return {
            "vendor": "mqvpn",
            "product": f"mqvpn {role}",
            "version": installed,
            "url": "https://varlink.org",
            "interfaces": interfaces,
        }

    def description(parameters: Parameters) -> Parameters:
        if parameters.get("interface") != INTERFACE:
            raise CallFailed(f"{VARLINK}.InterfaceNotFound", interface=parameters.get("interface"))
        return {"description": files("mqvpn.daemon").joinpath(f"{INTERFACE}.varlink").read_text()}

    return {
        f"{INTERFACE}.Status": Method(lambda _: status()),
        f"{INTERFACE}.Version": Method(about),
        f"{INTERFACE}.Diagnose": Method(diagnosis, privileged=True),
        f"{INTERFACE}.Reload": Method(reload_now, privileged=True),
        f"{VARLINK}.GetInfo": Method(info),
        f"{VARLINK}.GetInterfaceDescription": Method(description),
    }
