"""The kinds of events that operators may want to find in the journal: `journalctl MQVPN_EVENT=path-down`.

Each has a message ID, by which the catalog (systemd/mqvpn.catalog, `journalctl -x`) says what it means and what to do.
IDs never change. A message goes with event(), which gives its record the fields; on a terminal they are not seen.
"""

from typing import Any

MESSAGE_IDS = {
    "serving": "cd1177bfe2bb4b9e90a0bb2629c58515",
    "tunnel-up": "83e5ca453ffd481f9de4f46dfcde44d8",
    "tunnel-down": "eee2d629a5ed4839a4e1243c5747cd12",
    "path-up": "c5838007840e4066bee103f156228d7a",
    "path-down": "28bc15a9ae9345b2982384a84310d816",
    "path-silent": "ccdd976b658446968c9c6220f39e828c",
    "path-answers": "76fa82633a16475596cdfe4dc84d5acf",
    "interface-usable": "0c7f3a97ddf84870b9231a2b638b7f1b",
    "interface-unusable": "5472352ac4a348ae835ae8694b48220e",
    "cap-reached": "9585c290be44444b8e2c58c91f445d42",
    "cap-renewed": "707b746d67604951b02b9c85bfe37777",
    "client-connected": "4238447295a14f4bbd2bd28d22c11c5d",
    "client-left": "f04afd83015c40fda17291438e004702",
    "client-refused": "49fc3c27af0f40ef98860368597f57bc",
    "reloaded": "575f79359d8a49fca812680299ec4288",
    "reload-refused": "8b5eb9dc569c48aab30fedaad3f323b4",
    "failed": "884b42afb7d64029b76198fe960ee272",
}


def event(name: str, **fields: str) -> dict[str, Any]:
    """The `extra` of a log call. `path`, `user`, `reason` become MQVPN_PATH, MQVPN_USER, MQVPN_REASON."""
    named = {f"MQVPN_{key.upper()}": value for key, value in fields.items() if value}
    return {"fields": {"MESSAGE_ID": MESSAGE_IDS[name], "MQVPN_EVENT": name, **named}}
