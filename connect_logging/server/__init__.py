"""A place for events: the Connect protocol over HTTP, kept in DuckDB here, or in ClickHouse by any number of servers.

Layers, lowest first; a module imports only from lower ones, and inside ``query``, ``stores``, ``s3`` and
``transfers`` from each other, without a circle:

    S0  data_directory                what holds everything on one computer
    S1  settings                      what to run with
        projects, query/, answers     who may ask, what they ask, and in which shapes they are answered
        observing, tls                what is told of a request; certificates
        periodic                      what is done again and again
    S2  auth, body, parameters        a key becomes a grant; bytes and names are read
        threads                       work that is finished when nobody waits for it any more
        stores/, s3/                  events are kept; objects are read and written
        openapi                       what a route says of itself, and the document of all
        access_log                    a line for each request
    S3  ingest, schemas               a body becomes stored events; how events and queries look in the document
        downloads                     answers that are made piece by piece
        routing                       a request finds the operation that answers it
        metrics, control              what is counted; how a backup asks the running server
    S4  transfers/                    imports and exports of many events, and their jobs
    S5  routes/, middleware           HTTP in, HTTP out
        cycle                         a request and its answer on a connection
        backup                        a copy of the data directory
        backing, copying              what a server stands on, and how it is moved to another place
    S6  app                           puts them together
        connection                    HTTP/1.1 within bounds
    S7  serve                         runs the app as a process
"""
