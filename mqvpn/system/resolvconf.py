"""DNS by the `resolvconf` program, where it is installed: openresolv's or Debian's own (resolvconf(8)).

It joins what several programs want into one resolv.conf. Our record is noted in the state directory before it is
made, so that whoever comes after a death can take it back. A `resolvconf` that is resolvectl under another name
speaks to systemd-resolved, and does not count.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from mqvpn.system import durable
from mqvpn.system.dns import ETC, LinkDns
from mqvpn.system.errors import OperationFailed, refused

LIMIT = 10.0  # seconds that the program, and what it starts, may take
HINT = "see what resolvconf says by hand, or choose another DNSMode"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find() -> str | None:
    """The program, or None."""
    program = shutil.which("resolvconf", path=f"{os.environ.get('PATH', '')}:{PATH}")
    return None if program is None or os.path.basename(os.path.realpath(program)) == "resolvectl" else program


class Resolvconf:
    """The records of all instances. The caller holds a lock; `state` is a directory of ours."""

    def __init__(self, state: Path, etc: Path = ETC) -> None:
        self._saved = state / "resolvconf.json"
        self._order = etc / "resolvconf" / "interface-order"

    def apply(self, instance: str, interface: str, dns: LinkDns) -> None:
        """Add or replace the instance's record. Raises OperationFailed."""
        program = find()
        if program is None:
            raise OperationFailed("set the DNS by resolvconf", "it is not installed", "choose another DNSMode")
        records = self._load()
        record, options = f"{interface}.mqvpn", ["-m", "0", "-x"]  # before all others, and nobody else's
        if self._order.exists():  # Debian's: the order follows from the name, and tun* comes before other links
            record, options = f"tun.{record}", []
        if records.get(instance, record) != record:
            self.restore(instance)
        self._save(records | {instance: record})
        try:
            _run([program, "-a", record, *options], dns.resolv_conf())
        except OperationFailed:
            with contextlib.suppress(OperationFailed):
                self.restore(instance)
            raise

    def restore(self, instance: str | None) -> None:
        """Take the instance's record back (None: all records). Raises OperationFailed."""
        records = self._load()
        program = find()
        for name in [instance] if instance is not None else list(records):
            record = records.pop(name, None)
            if record is None:
                continue
            if program is not None:
                _run([program, "-f", "-d", record] if not self._order.exists() else [program, "-d", record], "")
            self._save(records)

    def _load(self) -> dict[str, str]:
        try:
            return {str(name): str(record) for name, record in json.loads(self._saved.read_bytes()).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise OperationFailed(f"read {self._saved}", str(error), "remove this file") from error

    def _save(self, records: dict[str, str]) -> None:
        try:
            if records:
                durable.replace(self._saved, json.dumps(records).encode(), mode=0o600)
            else:
                durable.remove(self._saved)
        except OSError as error:
            raise refused(f"write {self._saved}", error.errno or 0) from error


def _run(argv: list[str], text: str) -> None:
    """Run it with `text` on its standard input. What it starts may outlive it and keep its outputs open."""
    operation = " ".join(argv)
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                argv, input=text.encode(), stdout=subprocess.DEVNULL, stderr=said, timeout=LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise OperationFailed(operation, f"it did not end within {LIMIT:.0f} s", HINT) from None
        except OSError as error:
            raise OperationFailed(operation, error.strerror or "it cannot be started", HINT) from error
        said.seek(0)
        words = " ".join(said.read(500).decode(errors="replace").split())
    if done.returncode:
        raise OperationFailed(operation, f"exit status {done.returncode}{f' ({words})' if words else ''}", HINT)
