"""The version that is installed, as `mqvpn --version` and every status show it."""

UNKNOWN = "(run from its source, not installed)"


def version() -> str:
    """Looked up when asked: the import takes 18 ms, which not every command should pay for."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("mqvpn")
    except PackageNotFoundError:
        return UNKNOWN
