"""The folder of vectors on disk: fragments, the manifest, and which texts have a vector already.

It takes vectors as they come and knows neither documents nor models.
"""
