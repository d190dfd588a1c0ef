"""Search by words inside a generation: BM25 by tantivy, over the title and text of the payload.

tantivy keeps a folder of files, `lexical/`, hashed in the manifest like every other; who opens it does so through links
in a folder of its own, because tantivy locks what it opens and a generation is not written to. Words are cut at
anything but letters and digits, folded to plain lower-case ones, and stemmed; a query is a bag of such words and no
syntax, and what it says twice counts twice. Title and text are one field: that is how the vectors were made, and how
BM25 is usually measured.

A filter is a part of the query here. The columns are indexed beside the words, keywords by their numbers, and the tree
of a filter becomes a tree of tantivy queries that scores nothing; so min(k, survivors that match) hits come back, and
none is looked for twice. But tantivy skips what cannot be among the best only where words are all that it looks for. So
of a filter that keeps many rows, and whose survivors are known, the best without it are asked for and sifted. Hits are
ordered by score, ties by row.

A text beyond HEAP_BYTES is stored in several segments, and tantivy puts the larger ones first. Scores do not change by
it (frequencies and lengths are counted over all of them), the order of ties does; so where a tie lies across the end of
the answer, all of it is fetched, and the rows decide.
"""
