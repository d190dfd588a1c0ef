"""What comes back, as structs: the service encodes them, the client decodes them, and msgspec makes their schema.

Nothing in this room imports anything but msgspec, because the client may need no more. A client ignores a field that it
does not know; a field that is added later gets a default, so that a newer client can read an older service.
"""
