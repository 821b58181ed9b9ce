"""Every kind of event is found by its name, and explained in the journal's catalog."""

from __future__ import annotations

import re

from mqvpn.daemon.eventlog import MESSAGE_IDS, event
from tests.lab.net import ROOT

CATALOG = ROOT / "systemd/mqvpn.catalog"


def test_the_catalog_explains_each_kind_and_no_other() -> None:
    entries = re.split(r"^-- ", CATALOG.read_text(), flags=re.M)[1:]
    found = {}
    for entry in entries:
        head, _, text = entry.partition("\n\n")
        number, subject = re.fullmatch(r"([0-9a-f]{32})\nSubject: (.+)\nDefined-By: mqvpn\n.*", head, re.S).groups()  # type: ignore[union-attr]
        assert subject
        assert len(text.strip()) > 10
        found[number] = text
    assert set(found) == set(MESSAGE_IDS.values())
    assert len(found) == len(entries) == len(MESSAGE_IDS)


def test_fields_of_the_catalog_are_those_of_the_records() -> None:
    used = set(re.findall(r"@(\w+)@", CATALOG.read_text()))
    assert used <= {"MQVPN_INSTANCE", "MQVPN_PATH", "MQVPN_USER", "MQVPN_REASON"}


def test_an_event_has_a_name_an_id_and_what_is_known() -> None:
    fields = event("path-down", path="wlan0", reason="gone", user="")["fields"]
    assert fields == {
        "MESSAGE_ID": MESSAGE_IDS["path-down"],
        "MQVPN_EVENT": "path-down",
        "MQVPN_PATH": "wlan0",
        "MQVPN_REASON": "gone",
    }
