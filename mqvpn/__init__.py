"""Multipath VPN: MASQUE CONNECT-IP (RFC 9484) over Multipath QUIC."""
