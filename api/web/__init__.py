"""The web pages: what the browser runs, and the tool that makes its letters."""
