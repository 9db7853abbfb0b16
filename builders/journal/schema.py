"""The tables of a journal, and how an older file becomes a newer one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def _m001_judgements(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE judges (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE)")
    database.execute(
        "CREATE TABLE replies (id INTEGER PRIMARY KEY, judge INTEGER NOT NULL REFERENCES judges(id),"
        " body BLOB NOT NULL, finish_reason TEXT NOT NULL, endpoint TEXT NOT NULL,"
        " prompt_tokens INTEGER, completion_tokens INTEGER)"
    )
    columns = (
        "key BLOB PRIMARY KEY, judge INTEGER NOT NULL REFERENCES judges(id), label INTEGER NOT NULL, score REAL,"
        " rationale TEXT NOT NULL, prompt_tokens REAL, completion_tokens REAL, reply INTEGER REFERENCES replies(id)"
    )
    database.execute(f"CREATE TABLE answers ({columns}) WITHOUT ROWID")
    database.execute(f"CREATE TABLE failures ({columns}, query_id TEXT NOT NULL, docid TEXT NOT NULL) WITHOUT ROWID")


def _m002_runs(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, settings TEXT NOT NULL)")


def _m003_places(database: sqlite3.Connection) -> None:
    for table in ("answers", "failures"):
        database.execute(f"ALTER TABLE {table} ADD COLUMN place INTEGER")
        database.execute(f"ALTER TABLE {table} ADD COLUMN cut INTEGER NOT NULL DEFAULT 0")


APPLICATION_ID = int.from_bytes(b"HFRL", "big")
"""Marks a file as a journal, in the place that SQLite has for it. Journals of version 0.1 lack it: their keys are those
of `JudgeIdentity.old_keys`, beside those that were added since."""
OF_EVERY_VERSION = frozenset({"judges", "replies", "answers", "failures"})

MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_m001_judgements, _m002_runs, _m003_places)
