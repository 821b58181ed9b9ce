"""Reload: SIGHUP, `systemctl reload` and `mqvpnctl reload` read the configuration again.

The whole of it is validated first: a wrong one is refused with the reason, and nothing is changed. What is applied
serves new connections; those that exist are kept. Settings that cannot be changed while the daemon runs are named.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Generic, TypeVar

from mqvpn.config.client import ClientSettings
from mqvpn.config.errors import ConfigError
from mqvpn.config.server import ServerSettings
from mqvpn.config.table import CLIENT, SERVER
from mqvpn.daemon.eventlog import event
from mqvpn.daemon.exit import Unusable
from mqvpn.daemon.log import set_level
from mqvpn.system.errors import OperationFailed
from mqvpn.system.notify import Notifier

log = logging.getLogger(__name__)

AnySettings = ServerSettings | ClientSettings
Load = Callable[[], AnySettings]
S = TypeVar("S", bound=AnySettings)


class ReloadRefused(Exception):
    """The new configuration is wrong; `str()` says where. Nothing was changed."""


class Reload(Generic[S]):
    """Reloads `settings` by `load`, which may raise ConfigError.

    `apply` gets the new settings; it raises Unusable or OperationFailed before it changes anything. `live` names the
    settings that it can change; `note` is said of those it cannot.
    """

    def __init__(
        self, settings: S, load: Load, apply: Callable[[S], None], live: Iterable[str], notifier: Notifier
    ) -> None:
        self._settings: S = settings
        self._load = load
        self._apply: Callable[[S], None] = apply
        self._live = frozenset(live)
        self._notifier = notifier
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_signal)

    def __call__(self) -> tuple[str, ...]:
        """Reload now; returns what the operator should know, a line each. Raises ReloadRefused."""
        self._notifier.reloading()
        try:
            notes = self._reload()
        except (ConfigError, Unusable, OperationFailed) as error:
            refused = event("reload-refused", reason=str(error))
            log.error("not reloaded, nothing is changed: %s", error, extra=refused)
            raise ReloadRefused(str(error)) from error
        finally:
            self._notifier.reloaded()
        log.info("configuration reloaded", extra=event("reloaded"))
        for note in notes:
            log.warning("%s", note)
        return notes

    def _reload(self) -> tuple[str, ...]:
        old, fresh = self._settings, self._load()
        if not isinstance(fresh, type(old)):
            raise ConfigError("this configuration is no longer for the same end of the tunnel")
        table = SERVER if isinstance(old, ServerSettings) else CLIENT
        changed = [name for name in table if getattr(old, name) != getattr(fresh, name)]
        fixed = [name for name in changed if name not in self._live]
        kept: S = replace(fresh, **{name: getattr(old, name) for name in fixed})
        self._apply(kept)
        set_level(kept.log_level)
        self._settings = kept
        restart = [f"{table[name].title}: takes effect with a restart" for name in fixed]
        return (*fresh.warnings, *restart)

    def _on_signal(self) -> None:
        try:
            self()
        except ReloadRefused:
            log.debug("SIGHUP: refused")
