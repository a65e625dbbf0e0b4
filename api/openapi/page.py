"""The pages: a start page, and Swagger UI. A policy lets them load nothing but files of this service."""

from importlib.resources import files
from pathlib import Path

from flask import Flask, Response, send_from_directory
from werkzeug.exceptions import NotFound


# style-src needs no 'unsafe-inline': Swagger UI styles through the DOM. Its icons are data: URLs.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OURS = Path(__file__).with_name("files")
SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"
FOLDERS = {
    **dict.fromkeys(("docs.css", "docs.js", "start.css", "start.js"), OURS),
    **dict.fromkeys(("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"), SWAGGER_UI),
}


def page(filename: str) -> Response:
    """Return a page of ours."""
    response = send_from_directory(OURS, filename)
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


def register_page_files(app: Flask) -> None:
    """Serve what the pages load, and no other file."""

    @app.get("/docs/<filename>")
    def page_file(filename: str) -> Response:
        if filename not in FOLDERS:
            raise NotFound
        return send_from_directory(FOLDERS[filename], filename)
