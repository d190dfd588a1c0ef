"""What searches are worth on collections with relevance judgements, by the commands a user would type.

quality.py         each mode, exact and by the graph, beside what the model's authors publish
query_encoders.py  `perwatt bench queries`: what a fitted query encoder loses and saves
fusion.py          the fusion of two rankings beside others, and how deep it looks
"""
