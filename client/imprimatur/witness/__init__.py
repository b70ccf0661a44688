"""A small witness of transparency logs (C2SP tlog-witness), for anybody to run somewhere else than the log.

It remembers the newest checkpoint of each log it knows, and cosigns one only if it continues that. It runs on the
standard library and `imprimatur.formats`.
"""
