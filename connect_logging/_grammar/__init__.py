"""The query language: what a query says, read from its JSON. Shared by client and server."""
