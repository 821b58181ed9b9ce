"""mqvpn-client: keeps one tunnel up, and the machine's TUN, addresses, routes and DNS with it.

The TUN device lives as long as the daemon, so programs notice a reconnect as a pause. Everything is undone
in reverse order when it stops. Exit statuses: 69 unreachable with Reconnect = false, 77 refused.
"""

import asyncio
import os
from contextlib import AsyncExitStack, closing

from mqvpn.config.client import ClientSettings
from mqvpn.daemon import exit, lent, loop, watchdog
from mqvpn.daemon.attempts import Client
from mqvpn.daemon.ca import CAUnusable
from mqvpn.daemon.control import Control
from mqvpn.daemon.controlsocket import control_listener
from mqvpn.daemon.device import Device
from mqvpn.daemon.diagnose import Diagnosis
from mqvpn.daemon.host import Host
from mqvpn.daemon.identity import Identity
from mqvpn.daemon.killswitch import KillSwitch
from mqvpn.daemon.log import start_logging
from mqvpn.daemon.methods import client_methods
from mqvpn.daemon.passed import Passed
from mqvpn.daemon.qlog import Qlog
from mqvpn.daemon.reload import Load, Reload
from mqvpn.daemon.stats import report
from mqvpn.daemon.stop import Stop
from mqvpn.daemon.tasks import begin
from mqvpn.daemon.undojournal import InUse, journal_of
from mqvpn.daemon.upkeep import Upkeep
from mqvpn.system.errors import OperationFailed
from mqvpn.system.link import Netlink
from mqvpn.system.monitor import Monitor
from mqvpn.system.notify import Notifier

LIVE = (
    *("log_level", "paths", "reconnect", "reconnect_interval"),
    *("server_addr", "tls_server_name", "pins", "ca_file", "insecure", "auth_key"),
    *("scheduler", "cc", "spread", "reinjection", "init_max_path_id"),
    *("routes", "exclude", "metric", "ipv6", "allow_lan"),
)


def run(settings: ClientSettings, load: Load | None = None) -> int:
    """Run the client until a signal or a failure ends it; returns the exit status. `load` reads the settings again."""
    start_logging(settings.log_level, settings.name)
    try:
        return loop.run(_serve(settings, load or (lambda: settings)))
    except (CAUnusable, InUse) as error:
        return exit.failing(exit.CONFIG, error)
    except OperationFailed as error:
        return exit.failing(exit.status_of(error), error)


async def _serve(settings: ClientSettings, load: Load) -> int:
    stop = Stop()
    notifier = Notifier()
    async with AsyncExitStack() as up:
        passed = up.enter_context(closing(Passed()))
        undo = up.enter_context(journal_of(settings))
        listener = up.enter_context(control_listener(settings, passed.control()))
        qlog = up.enter_context(Qlog(settings.qlog_dir))
        netlink = up.enter_context(Netlink())
        switch = KillSwitch(settings, undo, passed.block_owner())
        up.callback(lambda: switch.close(lift=stop.by_user))
        switch.engage()
        device = up.enter_context(closing(Device(passed, settings.tun_name)))
        lent.remember(undo, netlink, device.tun)
        host = Host(netlink, settings.tun_name, settings, switch, undo)
        host.take_over()
        up.callback(stop.unless_succeeded, host.restore)
        up.enter_context(Upkeep(host, settings.tun_name))
        identity = Identity(os.environ.get("STATE_DIRECTORY"), str(settings.server_addr))
        up.push_async_callback(identity.close)
        client = Client(settings, netlink, device.tun, host, notifier, stop, qlog.recorder, identity, passed)
        up.callback(client.pump.close)
        device.keep(client.pump, client.device_renewed)
        up.enter_context(client.uplinks)
        await up.enter_async_context(client.caps.counting(client.pump))
        monitor = Monitor()
        up.callback(monitor.close)
        client.watch(monitor)
        up.callback(asyncio.get_running_loop().remove_reader, monitor.fileno())
        reload = Reload(settings, load, client.apply, LIVE, notifier)
        methods = client_methods(client.status, reload, Diagnosis(client.status, netlink))
        up.enter_context(Control(listener, methods))
        reporter = begin(report(notifier, client.status, client.status.describe), "status line")
        up.callback(reporter.cancel)
        watchdog.feed(client.pump, notifier)
        await up.enter_async_context(client.dns)
        if settings.start_wait == "started":
            notifier.ready()
        await client.keep_up()
        notifier.stopping()
    return stop.status
