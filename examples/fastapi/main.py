"""A chat room: messages come by a WebSocket, and everybody else reads along by server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, StreamingResponse

PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Chat</title>
</head>
<body>
  <main>
    <h1>Chat</h1>
    <form><label>Say <input name="said" autocomplete="off"></label> <button>Send</button></form>
    <ul></ul>
  </main>
  <script>
    const socket = new WebSocket(location.href.replace(/^http/, "ws") + "talk");
    document.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      socket.send(event.target.said.value);
      event.target.reset();
    };
    new EventSource("/messages").onmessage = (event) => {
      const item = document.createElement("li");
      item.textContent = JSON.parse(event.data);
      document.querySelector("ul").append(item);
    };
  </script>
</body>
</html>
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.readers = set()
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.get("/healthz")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/address")
async def address(request: Request) -> dict[str, str | None]:
    """Who asks, and by which scheme: as the proxy tells it."""
    return {"client": request.client.host if request.client else None, "scheme": request.url.scheme}


@app.websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            said = await socket.receive_text()
            for reader in set(app.state.readers):
                reader.put_nowait(said)
            await socket.send_text(said)
    except WebSocketDisconnect:
        pass


@app.get("/messages")
async def messages() -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        reader: asyncio.Queue[str] = asyncio.Queue()
        app.state.readers.add(reader)
        try:
            yield ": welcome\n\n"
            while True:
                yield f"data: {json.dumps(await reader.get())}\n\n"
        finally:
            app.state.readers.discard(reader)

    return StreamingResponse(events(), media_type="text/event-stream")
