"""What a caller may ask, as typed structs; the schema in /openapi.json is made from the same types.

Unknown fields are refused: a misspelt `efort` that is silently ignored costs its author an afternoon. What a type
cannot say (exactly one of three fields, a vector of the right dimension) is checked here by functions that raise the
same problems.
"""
