"""The statuses of daemons as text for people; programs take --json."""

from collections.abc import Mapping, Sequence
from typing import Any

from mqvpn.cli.tables import Column, counts, duration, fit, percent, size, table

PATH_COLUMNS = (
    Column("PATH", "id", 5, right=True),
    Column("INTERFACE", "interface"),
    Column("STATE", "state"),
    Column("RTT", "rtt", 0, right=True),
    Column("LOSS", "loss", 1, right=True),
    Column("OUT", "out", 2, right=True),
    Column("IN", "in", 2, right=True),
    Column("RATE", "rate", 6, right=True),
    Column("WINDOW", "window", 7, right=True),
    Column("MTU", "mtu", 4, right=True),
    Column("REMOTE", "remote", 3),
)
CLIENT_PATH_COLUMNS = (
    Column("CLIENT", "client", right=True),
    Column("USER", "user"),
    *(column for column in PATH_COLUMNS if column.key != "interface"),
)
CLIENT_COLUMNS = (
    Column("CLIENT", "client", right=True),
    Column("USER", "user"),
    Column("ADDRESS", "address"),
    Column("SINCE", "since", 1, right=True),
    Column("PATHS", "paths", 2, right=True),
    Column("RTT", "rtt", 4, right=True),
    Column("OUT", "out", 3, right=True),
    Column("IN", "in", 3, right=True),
    Column("WAITED", "waited", 6, right=True),
    Column("FROM", "from", 5),
)
SERVER_COLUMNS = (Column("SERVER", "name"), Column("STATE", "state"))
METERED_COLUMNS = (
    Column("METERED", "name"),
    Column("USED", "used", right=True),
    Column("OF", "cap", right=True),
    Column("PER", "period"),
    Column("", "part", right=True),
)
ROUTE_COLUMNS = (Column("ROUTE", "prefix"), Column("GOES", "goes"), Column("WHY", "why", 1))
GOES = {"tunnel": "into the tunnel", "past": "past the tunnel", "nowhere": "nowhere", "ignored": "as before"}
MAX_ROUTES = 16  # that are shown to people
SHARED = "(shared key)"
Values = Mapping[str, Any]


def status(told: Values, width: int | None) -> list[str]:
    """A daemon's status."""
    lines = _client(told, width) if told["role"] == "client" else _server(told)
    return [fit(line, width) for line in lines]


def paths(told: Values, width: int | None, indent: int = 0) -> list[str]:
    """The paths of a client."""
    rows = [_path(path) for path in told["paths"]]
    rows += [
        _path({}) | {"interface": one["name"] or "(any)", "state": "none", "remote": one["reason"] or ""}
        for one in told["interfaces"]
        if not one["path"]
    ]
    return table(PATH_COLUMNS, rows, width, indent) if rows else []


def clients(listed: Sequence[Values], width: int | None) -> list[str]:
    """The clients of a server."""
    return table(CLIENT_COLUMNS, [_listed(one) for one in listed], width)


def client_paths(listed: Sequence[Values], width: int | None) -> list[str]:
    """The paths of a server's clients."""
    rows = [
        _path(path) | {"client": str(one["number"]), "user": one["user"] or SHARED}
        for one in listed
        for path in one["paths"]
    ]
    return table(CLIENT_PATH_COLUMNS, rows, width)


def _client(told: Values, width: int | None) -> list[str]:
    server = told["server"]
    lines = [f"client {told['instance']}: {_state(told)}"]
    lead = f", at {server['address']}" if server["address"] not in (None, server["name"]) else ""
    lines.append(f"  server     {server['name']}{lead}")
    address = ", ".join(one.partition("/")[0] for one in told["address"]) or "none"
    mtu = f", MTU {told['mtu']}" if told["mtu"] else ""
    lines.append(f"  address    {address} on {told['interface']}{mtu}")
    traffic = told["traffic"]
    lines.append(f"  traffic    {size(traffic['tx_bytes'])} out, {size(traffic['rx_bytes'])} in")
    lines += _reordered(told)
    lines.append(f"  dropped    {counts(_drops(told))}")
    if closed := told["last_close"]:
        lines.append(f"  last end   {duration(closed['ago'])} ago: {closed['reason']}")
    return lines + paths(told, width, indent=2) + _choices(told, width)


def _choices(told: Values, width: int | None) -> list[str]:
    """Between servers, what is used of the caps, and where destinations go; no table of what there is not."""
    servers = told.get("servers", ())
    lines = table(SERVER_COLUMNS, [_of_server(one, told) for one in servers], width, 2) if len(servers) > 1 else []
    if metered := [_metered(one) for one in told["interfaces"] if one.get("cap")]:
        lines += table(METERED_COLUMNS, metered, width, 2)
    if routes := told.get("routes", ()):
        lines += table(ROUTE_COLUMNS, [one | {"goes": GOES[one["goes"]]} for one in routes[:MAX_ROUTES]], width, 2)
        if len(routes) > MAX_ROUTES:
            lines.append(f"  and {len(routes) - MAX_ROUTES} more, which --json tells")
    return lines


def _of_server(one: Values, told: Values) -> dict[str, str]:
    if one["current"]:
        state = "in use" if told["state"] == "up" else "asked first"
    else:
        state = f"failed: {one['failure']}" if one["failure"] else "not needed"
    return {"name": one["name"], "state": state}


def _metered(one: Values) -> dict[str, str]:
    return {
        "name": one["name"],
        "used": size(one["used"]),
        "cap": size(one["cap"]),
        "period": one.get("period") or "-",
        "part": percent(one["used"], one["cap"]),
    }


def _reordered(told: Values) -> list[str]:
    """What came out of order, if any packets are put in order."""
    found = told.get("reordering")
    if not found or not found["numbered"]:
        return []
    gaps = {name.removeprefix("gaps_"): count for name, count in found.items() if name.startswith("gaps_")}
    text = f"{percent(found['waited'], found['numbered'])} of {found['numbered']} packets waited"
    if found["waited"]:
        text += f", {found['longest_ms']:.0f} ms at most"
    rest = counts({name: found[name] for name in ("late", "duplicates", "no_room", "discarded") if found[name]})
    ended = counts({name: count for name, count in gaps.items() if count})
    return [f"  reordered  {text}; gaps: {ended}; besides: {rest}"]


def _state(told: Values) -> str:
    if told["state"] == "up":
        return f"connected for {duration(told['up'])}"
    if told["next_attempt"] is not None:
        return f"not connected, next attempt in {told['next_attempt']} s"
    return f"not connected, {told['state']} (attempt {told['attempts']})"


def _server(told: Values) -> list[str]:
    lines = [
        f"server: serving {told['listen']} for {duration(told['uptime'])}",
        f"  clients    {told['connected']} of {told['max_clients']}, {told['half_open']} on their way, "
        f"{told['served']} so far",
        f"  refused    {_refused(told['refused'])}",
    ]
    if tun := told["tun"]:  # what comes out of the tunnel is what the clients sent
        lines.append(f"  traffic    {size(tun['tx_bytes'])} out, {size(tun['rx_bytes'])} in on {told['interface']}")
    return [*lines, f"  dropped    {counts(_drops(told))}"]


def _refused(refused: Mapping[str, int]) -> str:
    return ", ".join(f"{count} with status {status}" for status, count in sorted(refused.items())) or "none"


def _drops(told: Values) -> dict[str, int]:
    """The packets given up, and those that the TUN lost in front of us."""
    lost = told["tun"].get("tx_dropped", 0)
    return {**told["drops"], **({"tun_queue": lost} if lost else {})}


def _path(path: Values) -> dict[str, str]:
    if not path:
        return dict.fromkeys((column.key for column in PATH_COLUMNS), "")
    state = path["state"] + (" backup" if path["backup"] else "")
    return {
        "id": str(path["id"]),
        "interface": path["interface"] or "(any)",
        "state": state,
        "rtt": f"{path['rtt_ms']:.1f} ms",
        "loss": percent(path["lost"], path["tx_packets"]),
        "out": size(path["tx_bytes"]),
        "in": size(path["rx_bytes"]),
        "rate": f"{path['delivery_rate'] * 8 / 1e6:.1f} Mbit/s",
        "window": size(path["cwnd"]),
        "mtu": str(path["mtu"]),
        "remote": path["remote"],
    }


def _listed(one: Values) -> dict[str, str]:
    usable = [path for path in one["paths"] if path["usable"]]
    return {
        "client": str(one["number"]),
        "user": one["user"] or SHARED,
        "address": ", ".join(address.partition("/")[0] for address in one["address"]),
        "since": duration(one["connected"]),
        "paths": f"{len(usable)}/{len(one['paths'])}",
        "rtt": f"{min(path['rtt_ms'] for path in usable):.0f} ms" if usable else "-",
        "out": size(one["traffic"]["tx_bytes"]),
        "in": size(one["traffic"]["rx_bytes"]),
        "waited": percent(order["waited"], order["numbered"]) if (order := one.get("reordering")) else "-",
        "from": ", ".join(path["remote"] for path in one["paths"]),
    }
