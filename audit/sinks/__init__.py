"""Sinks: other systems that keep every published entry, where this server cannot change what it sent.

A sink is an append-only file, an S3 bucket with Object Lock, or a collector behind HTTP (`IMPRIMATUR_SINKS`). Each is
served by a thread of its own, which reads the published files and touches neither the database nor another sink: what
hangs, lies or is gone holds up nobody. Sending is at least once; the index of an entry makes it the same as once. From
time to time the thread reads back what the sink holds and compares it with the published tree. What differs is an
alarm: it is never overwritten, and never repaired in silence.
"""

from __future__ import annotations

from audit.sinks.configuration import configured
from audit.sinks.sink import Differs, Shown, Sink, SinkError, Stated
from audit.sinks.states import Standing, standing

__all__ = ["Differs", "Shown", "Sink", "SinkError", "Standing", "Stated", "configured", "standing"]
