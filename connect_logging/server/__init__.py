"""The self-hosted server: the Connect HTTP API over an embedded DuckDB. Needs the ``server`` extra."""
