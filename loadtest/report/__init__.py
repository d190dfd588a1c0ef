"""From run records to something a person can decide by: a page, a Markdown summary, JSON. All from the same content."""
