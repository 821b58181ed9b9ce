"""The commands: mqvpn, mqvpn-server, mqvpn-client, mqvpn-setup, mqvpn-dns, mqvpnctl. Fast to start: a daemon is
imported only when it is to run."""
