"""The journal: events on disk from the log call until the server has them. This text is its format's specification.

A *spool directory* (mode 0700) holds *segments*, files of mode 0600 named ``<time-ordered hex>.journal``. A segment is
written by one process, which holds an ``flock`` on it for as long as it lives: a segment that can be locked is an
orphan, and whoever locks it owns it. A process that finds a segment of a newer version leaves it alone.

A segment (version 1, all integers little-endian)::

    offset  size
    0       8     magic "CNCTJRNL"
    8       2     version, 1
    10      2     size of this header, 32: where the records begin
    12      4     process id of the writer, for people to read
    16      8     acknowledged: the offset below which nothing has to be sent any more
    24      4     CRC-32 of bytes 16 to 23
    28      4     CRC-32 of bytes 0 to 15
    32      …     records

    a record
    0       4     magic FF 43 4A 01
    4       4     length of the payload, at most 70,000
    8       4     CRC-32 of the payload
    12      …     payload

    a payload
    0       2     length of the collection's name, n
    2       n     the name, in UTF-8
    2+n     8     when it was logged, in seconds since 1970 as a float of 64 bits; 0: the body is complete
    10+n    …     body: the event as a JSON object, or all of it but ``id`` and ``timestamp``

Who reads a body that is not complete puts both in front. The timestamp is the time, to the microsecond. The id is a
UUID of version 7: 48 bits of the time in milliseconds; 24 of the offset of the record, the upper 12 behind the version;
the 50 highest bits of the BLAKE2b digest (8 bytes, big-endian) of the segment's file name, XORed with what the offset
has beyond 24 bits. Wherever and however often the record is read, it is the same event.

Why it is so:

* A record is one ``pwrite`` before the log call returns: what the kernel has survives ``kill -9``. No mmap: a full
  disk has to be an error, not a SIGBUS.
* 0xFF is in no UTF-8 text, so whoever has lost his place in a damaged file finds the next record by looking for the
  magic, and cannot mistake user data for one. A time may look like it, once in 4 billion; then the CRC tells.
* Id and timestamp cost more to make than the rest of an event, and a log call need not wait for them: where a record
  lies, and when it was logged, is all that they take. So a segment must keep its name.
* 70,000 is the largest event (65,536) with the longest collection name, and some: a longer length is damage.
* CRC-32 finds every damage of up to 32 bits in a row, which torn and misdirected writes are not limited to; then
  one of 4 billion goes unnoticed. It is in the standard library and costs 0.1 µs.
* The acknowledgement is overwritten in place by 12 bytes within one sector. Should it be torn all the same, its CRC
  says so, and everything is sent again: the ids make that harmless. So it is never synced either.
* A header is believed only with its CRC; damage to it must not cost the records, which carry their own magic. Where
  neither CRC fits there is no header, and records are looked for from the first byte on.
* An acknowledgement beyond the end says that the file has lost what was delivered anyway: nothing is left to send.
* Threads take their places one after the other and write at once, so that a process that is killed may leave a gap in
  front of a record: of zeros, which are skipped. Nothing was lost by it, as no log call had returned.
* After a record that could not be written the next one takes its place. Where another had been written behind it
  already, a gap remains, which is read as damage is, if anything is in it: by looking for the next magic.
* For durability "disk" a segment's directory is synced once, after the segment: else nobody may find it.
"""
