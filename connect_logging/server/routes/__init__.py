"""The HTTP side of the protocol, one module a resource. Routes hold no SQL and decide nothing about events."""
