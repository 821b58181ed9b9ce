"""One CONNECT-IP tunnel (RFC 9484): request, addresses, routes, and the server's pool. Sans-I/O; knows no paths."""
