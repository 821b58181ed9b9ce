"""What becomes of a client's tunnel and its paths, as lines of the log."""

import logging
from typing import Any

from mqvpn.daemon.eventlog import event as event_of
from mqvpn.tunnel import events

log = logging.getLogger(__name__)


def tell(event: Any) -> None:
    """Log what this event of the tunnel's says to an operator, if anything."""
    name = getattr(event, "interface", "") or "default interface"
    match event:
        case events.TunnelUp(mtu=mtu):
            log.info("tunnel up over %s, MTU %d", name, mtu, extra=event_of("tunnel-up", path=name))
        case events.AddressesChanged():
            log.info("the server changed our addresses")
        case events.PathUp(path_id=path_id):
            log.info("path %d up over %s", path_id, name, extra=event_of("path-up", path=name))
        case events.PathDown(path_id=path_id, reason=reason):
            fields = event_of("path-down", path=name, reason=reason)
            log.info("path %d over %s is closed: %s", path_id, name, reason, extra=fields)
        case events.PathSilent(path_id=path_id):
            log.warning("path %d over %s does not answer", path_id, name, extra=event_of("path-silent", path=name))
        case events.PathAnswers(path_id=path_id):
            log.info("path %d over %s answers again", path_id, name, extra=event_of("path-answers", path=name))
        case events.ServerBack(remote=(host, _)):
            log.info("%s can be reached again over %s", host, name)
