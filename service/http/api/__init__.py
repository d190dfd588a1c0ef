"""The API as one table: its operations, what Starlette and a router make of them, and the document that describes them.

What an operation does is its endpoint's to say, and who may call it is enforced by `access`.
"""
