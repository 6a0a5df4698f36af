"""An embedded place for events: the Connect protocol over HTTP, kept in DuckDB.

Layers, lowest first; a module imports only from lower ones, and inside ``query``, ``stores``, ``s3`` and
``transfers`` from each other, without a circle:

    S0  settings, data_directory      what to run with, and the directory that holds it
    S1  projects, query/, answers     who may ask, what they ask, and in which shapes they are answered
        observing, tls                what is told of a request; certificates
    S2  auth, body, parameters        a key becomes a grant; bytes and names are read
        threads                       work that is finished when nobody waits for it any more
        stores/, s3/                  events are kept; objects are read and written
        openapi                       what a route says of itself, and the document of all
        access_log                    a line for each request
    S3  ingest, schemas               a body becomes stored events; how events and queries look in the document
        downloads                     answers that are made piece by piece
        metrics, control              what is counted; how a backup asks the running server
    S4  transfers/                    imports and exports of many events, and their jobs
    S5  routes/, middleware           HTTP in, HTTP out
        backup                        a copy of the data directory
    S6  app                           puts them together
    S7  serve                         runs the app as a process
"""
