"""The API documents and their page."""
