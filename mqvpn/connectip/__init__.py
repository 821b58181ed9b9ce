"""One CONNECT-IP tunnel (RFC 9484): request, addresses, routes and policy. Sans-I/O; knows no paths."""
