"""Letters that a worker writes: a queue in SQLite, which needs no other service."""

import jobs
from flask import Flask, redirect, render_template_string, request

app = Flask(__name__)
PAGE = """<!doctype html>
<html lang="en"><meta name="viewport" content="width=device-width"><title>Letters</title>
<h1>Letters</h1>
<form method="post"><label>To <input name="name" required></label> <button>Write</button></form>
<ul>{% for name, text in letters %}<li><b>{{ name }}</b>: {{ text or "waiting" }}</li>{% endfor %}</ul>
<p>{{ swept }} old letters were swept.</p>
</html>"""


@app.get("/")
def letters() -> str:
    with jobs.database() as connection:
        rows = connection.execute("SELECT name, text FROM letters ORDER BY id DESC LIMIT 20").fetchall()
        (swept,) = connection.execute("SELECT count FROM swept").fetchone()
    return render_template_string(PAGE, letters=rows, swept=swept)


@app.post("/")
def write():
    with jobs.database() as connection:
        connection.execute("INSERT INTO letters (name) VALUES (?)", (request.form["name"],))
    return redirect("/", 303)
