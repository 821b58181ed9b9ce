"""Text once, then frozen dataclasses: what an operator writes, as ServerSettings or ClientSettings.

`load.load()` joins a file (`file.py`: INI or JSON, both as the C mqvpn reads them) with the command line.
A setting is one field of `tunnel.py`, `server.py` or `client.py`; its section, key, flag, default and help
stand in that one place, and the field's name is its name in JSON too. `reorder.py` has [Reorder], whose rules are
no single settings; `inert.py` knows the keys which have no effect yet. Nothing here is imported eagerly:
`mqvpn --version` must not pay for ConfigObj.
"""
