"""The browser's pages: each module is one part of the product, its views render `templates/`."""
