"""The documentation page: Swagger UI, under a policy that only lets it load files of this service."""

from importlib.resources import files
from pathlib import Path

from flask import Flask, Response, send_from_directory
from werkzeug.exceptions import NotFound


# style-src needs no 'unsafe-inline': Swagger UI styles through the DOM. Its icons are data: URLs.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = Path(__file__).with_name("files")
SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"
FOLDERS = {
    "start.js": PAGE,
    "swagger-ui.css": SWAGGER_UI,
    "swagger-ui-bundle.js": SWAGGER_UI,
    "favicon-32x32.png": SWAGGER_UI,
}


def documentation_page() -> Response:
    """Return the page."""
    response = send_from_directory(PAGE, "index.html")
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


def register_page_files(app: Flask) -> None:
    """Serve what the page loads, and no other file."""

    @app.get("/swaggerui/<filename>")
    def page_file(filename: str) -> Response:
        if filename not in FOLDERS:
            raise NotFound
        return send_from_directory(FOLDERS[filename], filename)
