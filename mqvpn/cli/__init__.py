"""The commands: mqvpn, mqvpn-server, mqvpn-client, mqvpn-setup, mqvpnctl. Fast to start: a daemon is imported only when
it is to run."""
