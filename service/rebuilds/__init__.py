"""An index rebuilt beside the service that serves it: what from, by which process, how far it is, and when it is due.

Texts are embedded by `embed`, generations built and checked by `index`; requests are for `endpoints` to read.
"""
