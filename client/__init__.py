"""The Python client of flaskvstore; the package `flaskvstore` when it is installed."""
