"""What runs as a job or an init container: fetch an index, wait for a service.

Each is a module of its own that needs nothing but the standard library.
"""
