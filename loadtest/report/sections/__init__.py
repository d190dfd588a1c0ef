"""Sections of a page that need more than a table: what they say, and when there is nothing to say."""
