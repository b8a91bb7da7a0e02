"""The routes: the page, the visitors' book, the health check, and what is shown when something goes wrong."""

from flask import Blueprint, Response, abort, current_app, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from webapp import facts, visitors
from webapp.browsers import form_is_ours, form_token
from webapp.visitors import Book, BookUnavailable, Draft

pages = Blueprint("pages", __name__)

EXPLANATIONS = {
    400: (
        "That request made no sense",
        "Something in it was missing or garbled. Going back and trying again may help.",
    ),
    404: ("Nothing at this address", "The page may have moved, or the address has a typing mistake."),
    405: ("Not like this", "This address exists, but does not take this kind of request."),
    413: ("Too much at once", "What you sent is larger than this app takes."),
    500: ("Something broke on our side", "It is in the server's log now. Trying again in a moment may help."),
}


@pages.get("/")
def home() -> str:
    before = request.args.get("before", visitors.NEWEST, type=int)
    if not 0 < before <= visitors.NEWEST:
        abort(404)
    return page(before)


@pages.get("/visitors")
def book() -> AnyResponse:
    """Where a browser lands that reloads after a refused form."""
    return redirect(url_for("pages.home", _anchor="visitors"), 303)


@pages.post("/visitors")
def sign() -> AnyResponse | tuple[str, int]:
    draft = Draft(request.form.get("name", ""), request.form.get("message", ""))
    if not form_is_ours():
        return page(draft=draft, problem="This form had expired. Your words are still here: please send it again."), 400
    if problems := draft.problems():
        return page(draft=draft, problems=problems), 400
    try:
        number = the_book().add(draft, current_app.config["RELEASE_ID"])
    except BookUnavailable as error:
        current_app.logger.error("visitors' book: %s", error)
        return page(draft=draft, problem="The book could not be written just now. Your words are still here."), 503
    return redirect(url_for("pages.home", _anchor=f"visitor-{number}"), 303)


@pages.get("/healthz")
def healthz() -> tuple[Response, int]:
    release = current_app.config["RELEASE_ID"]
    try:
        the_book().check()
    except BookUnavailable as error:
        answer, status = jsonify(status="failing", release=release, reason=f"visitors' book: {error}"), 503
    else:
        answer, status = jsonify(status="ok", release=release), 200
    answer.headers["Cache-Control"] = "no-store"
    return answer, status


@pages.app_errorhandler(HTTPException)
def explain(error: HTTPException) -> AnyResponse:
    title, text = EXPLANATIONS.get(error.code or 500, (error.name, error.description or ""))
    response = error.get_response()  # keeps headers such as Allow
    response.data = render_template("error.html", code=error.code, title=title, text=text)
    response.content_type = "text/html; charset=utf-8"
    return response


def the_book() -> Book:
    found: Book = current_app.extensions["visitors"]
    return found


def page(
    before: int = visitors.NEWEST, draft: Draft | None = None, problem: str = "", problems: dict[str, str] | None = None
) -> str:
    """The whole page. `problem` is about the form, `problems` about its fields; without the book, the rest remains."""
    release = current_app.config["RELEASE_ID"]
    try:
        entries = the_book().page(before)
    except BookUnavailable as error:
        current_app.logger.error("visitors' book: %s", error)
        entries = None
    browser, hops = facts.path(request, release)
    return render_template(
        "page.html",
        host=facts.host_name(),
        release=release,
        browser=browser,
        hops=hops,
        live=facts.via(request) != "",
        where=facts.where(),
        what=facts.what(request, release),
        how=facts.how(request),
        book=entries,
        newest=before == visitors.NEWEST,
        draft=draft or Draft(),
        problem=problem,
        problems=problems or {},
        limits={"name": visitors.NAME_LIMIT, "message": visitors.MESSAGE_LIMIT},
        form_token=form_token(),
    )
