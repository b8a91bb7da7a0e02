"""The queue. `python jobs.py work` writes letters until it is told to stop, `python jobs.py sweep` removes old ones."""

import os
import signal
import sqlite3
import sys
import time

PATH = os.path.join(os.environ.get("DATA_DIR", "."), "letters.db")
TABLES = """
CREATE TABLE IF NOT EXISTS letters (id INTEGER PRIMARY KEY, name TEXT, text TEXT, taken TEXT);
CREATE TABLE IF NOT EXISTS swept (count INTEGER);
INSERT INTO swept SELECT 0 WHERE NOT EXISTS (SELECT * FROM swept);
"""
KEPT = 100  # letters
NEXT = "SELECT min(id) FROM letters WHERE taken IS NULL"


def database() -> sqlite3.Connection:
    connection = sqlite3.connect(PATH, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(TABLES)
    return connection


def write_one(me: str) -> bool:
    """Write the oldest letter that nobody else writes; whether there was one."""
    with database() as connection:
        take = f"UPDATE letters SET taken = ? WHERE id = ({NEXT}) RETURNING id, name"
        found = connection.execute(take, (me,)).fetchone()
    if not found:
        return False
    number, name = found
    time.sleep(0.2)  # writing takes a while
    with database() as connection:
        connection.execute("UPDATE letters SET text = ? WHERE id = ?", (f"Dear {name}, all is well. ({me})", number))
    print(f"wrote letter {number}", flush=True)
    return True


def work() -> None:
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))  # the letter at hand is finished
    me = os.environ.get("PROCESS", "worker")
    with database() as connection:  # what was cut off in the middle, as by a power cut
        connection.execute("UPDATE letters SET taken = NULL WHERE text IS NULL AND taken = ?", (me,))
    print("waiting for letters", flush=True)
    while not stop:
        if not write_one(me):
            time.sleep(0.2)


def sweep() -> None:
    with database() as connection:
        old = "DELETE FROM letters WHERE id <= (SELECT max(id) FROM letters) - ?"
        count = connection.execute(old, (KEPT,)).rowcount
        connection.execute("UPDATE swept SET count = count + ?", (count,))
    print(f"swept {count} letters")


if __name__ == "__main__":
    {"work": work, "sweep": sweep}[sys.argv[1]]()
