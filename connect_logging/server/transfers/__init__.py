"""Imports and exports of many events, told of in job documents. Knows no HTTP and no SQL."""
