"""The best hits of a search, read anew by a model that sees query and document together.

Which hits those are is up to `query`; how a model reads is `embed.rerankers`.
"""
